# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Environment variables that hold a secret, as far as their name or their value tells."""

from __future__ import annotations

import re

HIDDEN = "(hidden)"

# Anywhere in a name, also within one word: DBPASSWORD, MYSECRETS.
_ANYWHERE = re.compile(r"SECRET|PASSWORD|PASSWD|PASSPHRASE|PASSCODE|CREDENTIAL|BEARER|PRIVATE")
# A whole word of a name, between underscores, or its end: HF_TOKEN, HFTOKEN, AWS_ACCESS_KEY_ID, WANDB_KEY, DB_PWD. The
# word TOKENIZERS is none of them.
_WORD = re.compile(r"(?:TOKEN|KEY|KEYS|PWD|PASS|AUTH|AUTHORIZATION|COOKIE|COOKIES|CREDS?|JWT|DSN|SAS)(?:_|$)")
_LAST = re.compile(r"TOKENS$")
# A user, with or without a password, in a URL: http://user:password@proxy. Passwords hold slashes that nobody escaped.
_IN_URL = re.compile(r"://\S*@")


def is_secret(name: str, value: object) -> bool:
    """Return whether a variable must not be shown.

    >>> is_secret("AWS_ACCESS_KEY_ID", "x"), is_secret("https_proxy", "http://me:pw@proxy"), is_secret("THREADS", 4)
    (True, True, False)
    """
    upper = name.upper()
    named = _ANYWHERE.search(upper) or _WORD.search(upper) or _LAST.search(upper)
    return bool(named) or bool(_IN_URL.search(str(value)))


def shown(name: str, value: object) -> object:
    """Return the value of a variable as it may be shown."""
    return HIDDEN if value is not None and is_secret(name, value) else value
