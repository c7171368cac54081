# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hide secrets in text of other programs, such as lines of a log: by their form, or by the name before them."""

from __future__ import annotations

import re

from ._secret_env import HIDDEN

# Few lines hold any of these; only they are looked at more closely.
_HINT = re.compile(r"key|token|passw|secret|authorization|bearer|basic|://|sk-|hf_|ms-|eyJ", re.IGNORECASE)
# An option or a setting whose name says so, up to its value: 'api_key': ['…, --api-key …, HF_TOKEN=…, "password":"…
_NAMED = (
    r"(?<![A-Za-z0-9])(?:[\w-]{0,20}[_-])?(?:api[_-]?keys?|access[_-]?keys?|private[_-]?key|password|passwd|secret|"
    r"(?:hf|auth|access|api|bearer|refresh|modelscope)[_-]?token)[\"']?"
    r"(?:\s{0,3}[:=]\s{0,3}|(?<=--api-key)\s|(?<=--hf-token)\s)"
)
_VALUE = rf"(?!None\b|null\b|True\b|False\b|\*|{re.escape(HIDDEN)})[^\s\"',;\])}}]{{4,}}"
_SECRET = re.compile(
    # The user of a URL, with or without a password, in which slashes may be that nobody escaped.
    r"(?P<url>://)[^\s\"'<>]{1,200}(?=@)"
    r"|(?P<scheme>\b(?:Bearer|Basic)\s{1,3})(?=[^\s\"']{0,200}[\d=])[\w.~+/=-]{6,}"
    rf"|(?P<name>{_NAMED})(?:\[[^\]]+\]|(?P<quote>[\"']?){_VALUE})"
    # Keys and tokens that have a form of their own: OpenAI's, Hugging Face's, ModelScope's, and JSON Web Tokens.
    r"|\bsk-[\w-]{8,}|\bhf_[A-Za-z0-9]{20,}|\bms-[0-9a-f]{8}-[0-9a-f-]{20,}|\beyJ[\w-]{10,}\.[\w-]{4,}(?:\.[\w-]*)?",
    re.IGNORECASE,
)


def without_secrets(text: str) -> str:
    """Return a text with the secrets in it hidden.

    >>> without_secrets("GET https://me:pw@mirror.example.com/simple")
    'GET https://(hidden)@mirror.example.com/simple'
    >>> without_secrets("non-default args: {'api_key': ['d0ubt'], 'max_num_batched_tokens': 8192}")
    "non-default args: {'api_key': (hidden), 'max_num_batched_tokens': 8192}"
    """
    return _SECRET.sub(_hidden, text) if _HINT.search(text) else text


def _hidden(match: re.Match[str]) -> str:
    return f"{match['url'] or match['scheme'] or match['name'] or ''}{match['quote'] or ''}{HIDDEN}"
