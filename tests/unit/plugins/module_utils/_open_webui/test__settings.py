# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._open_webui import _settings, _shape

# Of Open WebUI 0.12.4's GET /api/v1/configs/export, some of its 431 keys.
CURRENT: dict[str, t.Any] = {
    "ui.enable_signup": False,
    "ui.enable_login_form": True,
    "ui.default_user_role": "pending",
    "ui.default_models": None,
    "ui.banners": [],
    "ui.watermark": "",
    "auth.jwt_expiry": "4w",
    "auth.enable_api_keys": True,
    "rag.top_k": 3,
    "rag.relevance_threshold": 0.0,
    "rag.openai.api_key": "sk-old",
    "models.default_params": {"function_calling": "legacy"},
    "openai.api_keys": ["sk-1"],
    "openai.api_base_urls": ["http://alpha:8000/v1"],
    "webhook_url": "",
}


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("rag.openai.api_key", "sk-1", True),
        ("openai.api_keys", ["sk-1"], True),
        ("ldap.server.app_password", "x", True),
        ("oauth.client_secret", "x", True),
        ("code_execution.jupyter.auth_token", "x", True),
        ("web.search.sougou_api_sk", "x", True),
        ("tool_server.connections", [{"key": "x"}], True),
        ("webhook_url", "https://hooks.example.com/secret", True),
        ("auth.enable_api_keys", True, False),
        ("chat.context_compaction.token_threshold", 1000, False),
        ("rag.tokenizer_model", "x", False),
        ("oauth.client_id", "x", False),
        ("ui.enable_signup", False, False),
    ],
)
def test_is_secret(key: str, value: t.Any, expected: bool) -> None:
    assert _settings.is_secret(key, value) is expected


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"ui.enable_signup": True, "rag.top_k": 5, "ui.banners": [{"id": "a"}]},
        {"ui.default_models": "small"},
        {"ui.default_models": None},
        {"ui.watermark": None},
        {"rag.relevance_threshold": 1},
        {"rag.top_k": 4.0},
        {"auth.jwt_expiry": "-1"},
        {"auth.jwt_expiry": "1h30m"},
        {"models.default_params": {}},
    ],
)
def test_no_problems(wanted: dict[str, t.Any]) -> None:
    assert _settings.problems(wanted, CURRENT) == []


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ({"ui.enable_singup": 1}, "is not a setting of this Open WebUI; close to it: ui.enable_signup"),
        ({"x": 1}, "x is not a setting of this Open WebUI"),
        ({"ui": {"enable_signup": 1}}, "the beginning of some: write ui.enable_signup with the dots in the key"),
        ({"ui.enable_signup": "true"}, "ui.enable_signup takes a boolean, not a text 'true'"),
        ({"ui.enable_signup": 0}, "ui.enable_signup takes a boolean, not a number"),
        ({"ui.enable_signup": None}, "ui.enable_signup takes a boolean, not null"),
        ({"rag.top_k": True}, "rag.top_k takes a number, not a boolean"),
        ({"rag.top_k": 2.5}, "rag.top_k takes a whole number, not 2.5"),
        ({"ui.banners": {}}, "ui.banners takes a list, not a dictionary"),
        ({"ui.default_user_role": "root"}, "takes pending, user or admin, not 'root'"),
        ({"auth.jwt_expiry": "4 weeks"}, "takes a duration such as 4w"),
        ({"openai.api_base_urls": []}, "openai.api_base_urls belongs to the module open_webui_connection"),
    ],
)
def test_problems(wanted: dict[str, t.Any], says: str) -> None:
    (problem,) = _settings.problems(wanted, CURRENT)
    assert says in problem


def test_all_problems_at_once_and_no_secret_among_them() -> None:
    found = _settings.problems({"a": 1, "rag.top_k": "x", "rag.openai.api_key": ["sk-new"]}, CURRENT)
    assert len(found) == 3
    assert "sk-" not in str(found)


def test_misplaced() -> None:
    settings = {"rag.openai.api_key": "sk-new", "oauth.client_secret": "", "rag.top_k": 1}
    found = _settings.misplaced(settings, {"rag.top_k": 2})
    assert found == [
        "rag.openai.api_key is a secret, which settings would show: put it into secret_settings",
        "rag.top_k is in settings and in secret_settings",
    ]


@pytest.mark.parametrize(
    ("mine", "theirs", "expected"),
    [
        (1, 1.0, True),
        (True, 1, False),
        (0, False, False),
        ("a", "a", True),
        ([1], [1], True),
        (None, "", False),
        ({"a": [1]}, {"a": [1]}, True),
    ],
)
def test_same(mine: t.Any, theirs: t.Any, expected: bool) -> None:
    assert _settings.same(mine, theirs) is expected


def test_differing() -> None:
    assert _settings.differing({"rag.top_k": 3, "ui.enable_signup": True}, CURRENT) == {"ui.enable_signup": True}


def test_shown_says_of_a_secret_only_whether_it_is_another_one() -> None:
    keys = ["rag.openai.api_key", "rag.top_k", "webhook_url"]
    assert _settings.shown(CURRENT, keys) == {"rag.openai.api_key": "set", "rag.top_k": 3, "webhook_url": "none"}
    wanted = {"rag.openai.api_key": "sk-new", "rag.top_k": 4, "webhook_url": "https://x"}
    assert _settings.shown(wanted, keys, CURRENT) == {
        "rag.openai.api_key": "set (another one)",
        "rag.top_k": 4,
        "webhook_url": "set",
    }


def test_forgotten_names_what_would_be_lost() -> None:
    (text,) = _settings.forgotten({"oauth.provider_name": "x", "rag.top_k": 1})
    assert text.startswith("oauth.provider_name would be lost")


@pytest.mark.parametrize("answer", [{}, [], None, "text", 1])
def test_an_export_of_an_unknown_shape_is_not_one_without_settings(answer: object) -> None:
    with pytest.raises(_shape.ShapeError):
        _settings.from_api(answer)
