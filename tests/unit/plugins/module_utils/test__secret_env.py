# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._secret_env import is_secret, shown
from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.lifecycle._ansible import take_options


@pytest.mark.parametrize(
    "name",
    [
        "HF_TOKEN",
        "hftoken",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "WANDB_KEY",
        "GPG_PASSPHRASE",
        "SSH_KEY",
        "DB_PWD",
        "DBPASSWORD",
        "PROXY_PASS",
        "AUTH",
        "HTTP_AUTHORIZATION",
        "SESSION_COOKIE",
        "GOOGLE_APPLICATION_CREDENTIALS",
        "SENTRY_DSN",
        "MY_API_KEYS",
        "PRIVATE_PEM",
        "API_TOKENS",
    ],
)
def test_names_that_say_secret(name: str) -> None:
    assert shown(name, "canary") == "(hidden)"
    assert shown(name, None) is None


@pytest.mark.parametrize(
    "value",
    ["http://user:canary@proxy:3128", "socks5h://canary@proxy", "a,https://u:canary@b", "postgres://u:ca/na@ry@db/x"],
)
def test_values_that_hold_a_password_in_a_url(value: str) -> None:
    assert shown("https_proxy", value) == "(hidden)"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TOKENIZERS_PARALLELISM", "false"),
        ("OMP_NUM_THREADS", 4),
        ("http_proxy", "http://proxy:3128/a"),
        ("VLLM_LOGGING_LEVEL", "DEBUG"),
        ("VLLM_USE_MODELSCOPE", "True"),
        ("PYTHONPATH", "/a:/b"),
    ],
)
def test_others_are_shown(name: str, value: t.Any) -> None:
    assert not is_secret(name, value)


@pytest.mark.parametrize("several", [True, False])
def test_what_ansible_shows_of_a_call_has_no_environment(several: bool) -> None:
    class Module:
        params: dict[str, t.Any]

    options = {"name": "alpha", "env": {"A": "canary", "B": 1}, "port": 1}
    module = Module()
    module.params = {"servers": [options, {"name": "beta", "env": None}]} if several else options
    taken = take_options(t.cast("t.Any", module))
    assert taken[0] == {"name": "alpha", "env": {"A": "canary", "B": 1}, "port": 1}
    assert "canary" not in str(module.params)
    assert options["env"] == {"A": "(hidden)", "B": "(hidden)"}
