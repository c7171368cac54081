# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hostile values in every option and in every answer: a module ends with a result or a clear message."""

from __future__ import annotations

import importlib
import json
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.private_llm.fleet.plugins.module_utils._open_webui import _client, _private_folder
from ansible_collections.private_llm.fleet.plugins.modules import open_webui_chat, open_webui_connection
from ansible_collections.private_llm.fleet.tests.support import fake_open_webui, hostile

TOKEN = "sk-C4nary0fTheToken"

# Options of a run that works, and the calls that such runs make.
MODULES: dict[str, dict[str, t.Any]] = {
    "open_webui_chat": {"model": "qwen", "wait": 0, "expect": "Paris"},
    "open_webui_config": {"settings": {"rag.top_k": 4, "ui.enable_signup": True}},
    "open_webui_connection": {"url": "http://gpu-02:18005/v1", "key": "k", "verify": True, "discover": True},
    "open_webui_group": {"name": "research", "description": "x", "members": ["ann@example.com"]},
    "open_webui_info": {"gather": ["connections", "models", "users", "groups", "settings"]},
    "open_webui_model_access": {"model": "qwen", "groups": ["research"], "users": ["ann@example.com"], "hidden": True},
    "open_webui_user": {"email": "ann@example.com", "name": "Ann B.", "role": "user", "password": "pw of ann"},
}
MORE_OPTIONS: dict[str, tuple[str, ...]] = {
    "open_webui_chat": ("models", "question", "system", "max_tokens", "answer_timeout"),
    "open_webui_config": ("secret_settings",),
    "open_webui_connection": ("prefix_id", "model_ids", "tags", "owner", "enabled", "connections", "purge", "state"),
    "open_webui_group": ("append", "state"),
    "open_webui_info": ("wait",),
    "open_webui_model_access": ("models", "public", "name", "description", "allow_unknown"),
    "open_webui_user": ("update_password", "state"),
}
NUMBERS = {"wait", "timeout", "answer_timeout", "max_tokens"}
# Each option and each answer gets one value of so many; all with all took three minutes, and found no more.
SHARES = 4
COMMON = ("webui_url", "webui_email", "webui_password", "webui_token", "timeout", "validate_certs")
ANSWERS: dict[str, tuple[str, ...]] = {
    "open_webui_chat": ("GET /api/version", "GET /api/models", "POST /api/chat/completions"),
    "open_webui_config": ("GET /api/v1/configs/export", "POST /api/v1/configs/import"),
    "open_webui_connection": (
        "GET /openai/config",
        "POST /openai/config/update",
        "POST /openai/verify",
        "GET /openai/models",
        "GET /api/v1/models/model",
    ),
    "open_webui_group": ("GET /api/v1/users/all", "GET /api/v1/groups/", "GET /api/v1/groups/id/g1/export"),
    "open_webui_info": ("GET /ready", "GET /api/config", "GET /openai/config", "GET /api/v1/groups/"),
    "open_webui_model_access": (
        "GET /api/v1/groups/",
        "GET /api/v1/users/all",
        "GET /api/v1/models/model",
        "POST /api/v1/models/model/update",
    ),
    "open_webui_user": ("GET /api/v1/users/all", "GET /api/v1/users/", "POST /api/v1/users/u2/update"),
}


@pytest.fixture(scope="module")
def server() -> t.Iterator[fake_open_webui.FakeOpenWebUi]:
    made = fake_open_webui.FakeOpenWebUi()
    yield made
    made.close()


@pytest.fixture
def web(
    server: fake_open_webui.FakeOpenWebUi, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> fake_open_webui.FakeOpenWebUi:
    server.restart()
    monkeypatch.setattr(open_webui_connection, "SETTLE_SECONDS", 0)
    monkeypatch.setattr(open_webui_chat, "LIST_PAUSE", 0)
    monkeypatch.setattr(_private_folder, "private_folder", lambda: None)
    monkeypatch.setattr(_client.Client.__init__, "__defaults__", (2, True, lambda _seconds: None, lambda: 1e9, (0.01,)))
    return server


def run(module: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: dict[str, t.Any]) -> dict[str, t.Any]:
    """What a module printed. That it printed one result, and in it nothing that a terminal obeys, is held for all."""
    main = importlib.import_module(f"ansible_collections.private_llm.fleet.plugins.modules.{module}").main
    with patch_module_args({"timeout": 2, "_ansible_remote_tmp": str(tmp_path), **options}), pytest.raises(SystemExit):
        main()
    printed = capsys.readouterr().out
    result: dict[str, t.Any] = json.loads(printed)
    said = [str(result.get("msg", "")), str(result.get("message", "")), *map(str, result.get("warnings", []))]
    for text in said:
        if not text.startswith(("argument '", "value of ")):  # Ansible's own words about what a user wrote
            assert not set(text) & hostile.OBEYED, ascii(text)
        assert "Traceback" not in text
        assert TOKEN not in text
    assert TOKEN not in json.dumps({name: value for name, value in result.items() if name != "invocation"})
    if result.get("failed"):
        assert len(result["msg"]) > 15, result["msg"]
        assert "object has no attribute" not in result["msg"]
    return result


def every(options: t.Iterable[tuple[str, t.Iterable[str]]]) -> list[t.Any]:
    """One case for each module and option or call, with its share of the values, so that a module meets all of them."""
    return [
        pytest.param(module, name, hostile.VALUES[place % SHARES :: SHARES], id=f"{module}-{name}")
        for module, names in options
        for place, name in enumerate(names)
    ]


def test_every_module_is_fed() -> None:
    plugins = Path(__file__).parents[4] / "plugins" / "modules"
    asking = {one.stem for one in plugins.glob("*.py") if "_client.COMMON_ARGUMENTS" in one.read_text(encoding="utf-8")}
    assert set(MODULES) == asking == set(MORE_OPTIONS) == set(ANSWERS)


def test_there_are_enough_of_them() -> None:
    assert len({ascii(one) for one in hostile.VALUES}) >= 150
    assert len(hostile.TEXTS) >= 100
    for module in MODULES:
        met = [ascii(one) for case in OPTIONS if case.values[0] == module for one in case.values[2]]
        assert len(set(met)) >= 150, module


OPTIONS = every((one, (*MODULES[one], *MORE_OPTIONS[one], *COMMON)) for one in MODULES)


@pytest.mark.parametrize(("module", "option", "values"), OPTIONS)
def test_an_option(
    module: str,
    option: str,
    values: list[t.Any],
    web: fake_open_webui.FakeOpenWebUi,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for value in values:
        if option in NUMBERS and str(value).strip().lower().strip("+-") in {"inf", "infinity", "nan", "9" * 5000}:
            continue  # Ansible itself ends in a traceback over these for a whole number, before a module's own code
        web.restart()
        options = {"webui_url": web.url, "webui_token": TOKEN, **MODULES[module], option: value}
        if option in {"models", "connections"}:
            for name in ("model", "url", "key"):
                options.pop(name, None)
        if option in {"webui_email", "webui_password"}:
            options.update(webui_token=None)
            options.setdefault("webui_email", fake_open_webui.ADMIN["email"])
            options.setdefault("webui_password", fake_open_webui.PASSWORD)
        result = run(module, tmp_path, capsys, {name: one for name, one in options.items() if one is not None})
        if option == "webui_token" and isinstance(value, str) and value.strip() and not result.get("failed"):
            sent = {one["Authorization"] for one in web.headers if "Authorization" in one}
            assert sent <= {f"Bearer {value.strip()}"}


@pytest.mark.parametrize(("module", "call", "values"), every(ANSWERS.items()))
def test_a_whole_answer(
    module: str,
    call: str,
    values: list[t.Any],
    web: fake_open_webui.FakeOpenWebUi,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for value in values:
        web.restart()
        web.bend = lambda asked, data, value=value: value if asked == call else data
        run(module, tmp_path, capsys, {"webui_url": web.url, "webui_token": TOKEN, **MODULES[module]})
        assert call in web.calls, web.calls


def bent(data: t.Any, turn: int, value: t.Any) -> t.Any:
    """The data with its part number turn replaced, counted through everything that is in it."""
    places: list[tuple[t.Any, t.Any]] = []

    def collect(inner: t.Any) -> None:
        for key in inner if isinstance(inner, dict) else range(len(inner)) if isinstance(inner, list) else ():
            places.append((inner, key))
            collect(inner[key])

    collect(data)
    if places:
        inner, key = places[turn % len(places)]
        inner[key] = value
    return data


@pytest.mark.parametrize(("module", "call", "values"), every(ANSWERS.items()))
def test_a_part_of_an_answer(
    module: str,
    call: str,
    values: list[t.Any],
    web: fake_open_webui.FakeOpenWebUi,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for turn, value in enumerate(values):
        web.restart()
        web.bend = lambda asked, data, turn=turn, value=value: bent(data, turn, value) if asked == call else data
        run(module, tmp_path, capsys, {"webui_url": web.url, "webui_token": TOKEN, **MODULES[module]})


BODIES: list[tuple[int, str, bytes]] = [
    (200, "application/json", b""),
    (200, "application/json", b"\xff\xfe"),
    (200, "application/json", b"{"),
    (200, "application/json", b"[" * 100_000),
    (200, "application/json", b'{"a": NaN}'),
    (200, "application/json", b'{"version": "\\ud800"}'),
    (200, "application/json", b'{"version": "0.12.4\\u001b[2J"}'),
    (200, "application/json", b"9" * 5000),
    (200, "application/json; charset=\x1b", b"null"),
    (200, "text/html\x1b[2J", b"<html>"),
    (200, "", b"x"),
    (204, "application/json", b""),
    (302, "text/html", b""),
    (400, "application/json", b'{"detail": "\\u001b[2J"}'),
    (400, "text/plain", b"\x1b[2J\x00\xff"),
    (401, "application/json", b"[]"),
    (404, "text/html", b"<html>\x1b</html>"),
    (418, "application/json", b'{"detail": [{"loc": 5, "msg": ["x"]}]}'),
    (429, "application/json", b"{}"),
    (500, "application/json", b'{"error": {"message": {"a": "\\u0007"}}}'),
    (503, "text/html", b"<html><h1>503</h1>\x1b[2J</html>"),
    (599, "image/png", b"\x89PNG\r\n"),
]


@pytest.mark.parametrize("module", MODULES)
def test_an_answer_that_is_no_json_of_ours(
    module: str, web: fake_open_webui.FakeOpenWebUi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = ("GET /api/version", *ANSWERS[module])
    for raw, call in ((raw, call) for raw in BODIES for call in calls):
        web.restart()
        web.bend = lambda asked, data, raw=raw, call=call: fake_open_webui.Raw(*raw) if asked == call else data
        run(module, tmp_path, capsys, {"webui_url": web.url, "webui_token": TOKEN, **MODULES[module]})


@pytest.mark.parametrize("call", ["GET /api/version", "POST /api/v1/auths/signin", "GET /api/config"])
def test_an_answer_while_signing_in(
    call: str, web: fake_open_webui.FakeOpenWebUi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    signed_in = {"webui_email": fake_open_webui.ADMIN["email"], "webui_password": fake_open_webui.PASSWORD}
    for turn, value in enumerate(hostile.VALUES[::2]):
        for bend in (lambda data, value=value: value, lambda data, turn=turn, value=value: bent(data, turn, value)):
            web.restart()
            web.bend = lambda asked, data, bend=bend: bend(data) if asked == call else data
            run(
                "open_webui_group", tmp_path, capsys, {"webui_url": web.url, **signed_in, **MODULES["open_webui_group"]}
            )
