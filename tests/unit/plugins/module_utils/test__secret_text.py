# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._secret_text import without_secrets


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("vllm serve m --api-key canary-1 --port 8000", "vllm serve m --api-key (hidden) --port 8000"),
        ("--hf-token=canary-1", "--hf-token=(hidden)"),
        ("args: {'api_key': ['canary-1', 'canary-2'], 'port': 8000}", "args: {'api_key': (hidden), 'port': 8000}"),
        ("HF_TOKEN: 'canary-1'", "HF_TOKEN: '(hidden)'"),
        ('{"password": "canary-1", "user": "ann"}', '{"password": "(hidden)", "user": "ann"}'),
        ("S3_SECRET=canary-1", "S3_SECRET=(hidden)"),
        ("b'Authorization: Bearer canary-1'", "b'Authorization: Bearer (hidden)'"),
        ("401 for url https://ann:ca/na:ry@hub.example.com/x", "401 for url https://(hidden)@hub.example.com/x"),
        ("postgresql://webui:canary@db.example.com/webui", "postgresql://(hidden)@db.example.com/webui"),
        ("Incorrect key provided: sk-canary-1234", "Incorrect key provided: (hidden)"),
        ("token hf_abcdefghijklmnopqrstuvwxyz is not valid", "token (hidden) is not valid"),
        ("ms-01234567-89ab-cdef-0123-456789abcdef is unknown", "(hidden) is unknown"),
        ("jwt eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.sig", "jwt (hidden)"),
    ],
)
def test_what_looks_like_a_secret_is_hidden(said: str, shown: str) -> None:
    assert without_secrets(said) == shown
    assert without_secrets(shown) == shown


@pytest.mark.parametrize(
    "said",
    [
        "max_num_batched_tokens=8192, eos_token_id: 151645, api_key=None, hf_token=None",
        "tokenizer='/mnt/model', trust_remote_code=False, hf_overrides={}, hf_config_path=None",
        "the api_key option is not valid, and a password is wanted",
        "password authentication failed for user",
        "Basic statistics of the cache, Bearer is missing",
        "http://127.0.0.1:8000/v1 and ann@example.com",
        "KeyError: 'token'",
        "task-runner, disk-usage and ms-swift",
    ],
)
def test_what_does_not_stays(said: str) -> None:
    assert without_secrets(said) == said
