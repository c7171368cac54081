# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._open_webui._module import ObjectModule, WebUiModule

if t.TYPE_CHECKING:
    import pathlib

    from ansible_collections.private_llm.fleet.plugins.module_utils._open_webui import _client


class Ended(Exception):
    """The module came to its end."""


class FakeModule:
    """As much of AnsibleModule as WebUiModule uses."""

    check_mode = False

    def __init__(self, **params: t.Any) -> None:
        self.params = {"webui_password": None, "webui_password_file": None, **params}
        self.no_log_values: set[str] = set()
        self.ended: dict[str, t.Any] = {}

    def warn(self, warning: str) -> None:
        raise AssertionError(warning)

    def fail_json(self, msg: str, **kwargs: t.Any) -> t.NoReturn:
        self.ended = {"failed": True, "msg": msg}
        raise Ended

    def exit_json(self, **kwargs: t.Any) -> t.NoReturn:
        self.ended = kwargs
        raise Ended


class Asks(WebUiModule):
    """Does nothing with the password but note it."""

    RESULT: t.ClassVar[dict[str, t.Any]] = {"password": None}

    def run(self) -> None:
        self.result["password"] = self.params["webui_password"]


class Looks(Asks):
    """Goes without a password where there is none."""

    NEEDS_PASSWORD = False


def ended(kind: type[WebUiModule], **params: t.Any) -> FakeModule:
    module = FakeModule(**params)
    with pytest.raises(Ended):
        kind(module).main()
    return module


def test_the_password_comes_from_its_file_and_is_masked(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "admin_password"
    path.write_text("secret one\n", encoding="utf-8")
    module = ended(Asks, webui_password="", webui_password_file=str(path))
    assert module.ended["password"] == "secret one"
    assert "secret one" in module.no_log_values


def test_a_password_that_is_given_wins(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "admin_password"
    path.write_text("kept\n", encoding="utf-8")
    assert ended(Asks, webui_password="given", webui_password_file=str(path)).ended["password"] == "given"


@pytest.mark.parametrize(("content", "why"), [(None, "is not there"), (b" \n", "is empty")])
def test_a_file_without_a_password_is_told(tmp_path: pathlib.Path, content: bytes | None, why: str) -> None:
    path = tmp_path / "admin_password"
    if content is not None:
        path.write_bytes(content)
    module = ended(Asks, webui_password_file=str(path))
    assert module.ended["msg"].startswith(f"webui_password_file {path} {why}; give the password")
    assert ended(Looks, webui_password_file=str(path)).ended["password"] is None


def test_a_folder_and_a_large_file_are_no_password_files(tmp_path: pathlib.Path) -> None:
    large = tmp_path / "large"
    large.write_bytes(b"x" * 5000)
    assert "larger than 4 KiB" in ended(Looks, webui_password_file=str(large)).ended["msg"]
    assert "is not a file" in ended(Looks, webui_password_file=str(tmp_path)).ended["msg"]


class Label(ObjectModule[str]):
    """An object of one word, in a server that may not keep what it is sent, and a part that cannot be read back."""

    NAME = "label"
    there: t.ClassVar[str | None] = None
    keeps = True
    hides = False
    sent: t.ClassVar[list[tuple[str | None, str | None]]] = []

    def check(self) -> None:
        if self.params["word"] == "":
            raise ValueError("word is empty")

    def called(self) -> str:
        return "the label"

    def connect(self, admin: bool = True) -> _client.Client:
        return t.cast("_client.Client", type("Client", (), {"url": "http://web"}))

    def read(self, client: _client.Client) -> str | None:
        return Label.there

    def plan(self, client: _client.Client, before: str | None) -> str | None:
        return t.cast("str | None", self.params["word"])

    def hides_change(self, client: _client.Client, before: str | None, after: str | None) -> bool:
        return self.hides

    def describe(self, found: str | None) -> dict[str, t.Any]:
        return {} if found is None else {"word": found}

    def send(self, client: _client.Client, before: str | None, after: str | None) -> None:
        self.sent.append((before, after))
        if self.keeps:
            Label.there = after


class Forgetful(Label):
    keeps = False


class Secretive(Label):
    hides = True


def declared(kind: type[Label], there: str | None, word: str | None, check_mode: bool = False) -> dict[str, t.Any]:
    Label.there, Label.sent[:] = there, []
    module = FakeModule(word=word)
    module.check_mode = check_mode
    with pytest.raises(Ended):
        kind(module).main()
    return module.ended


@pytest.mark.parametrize("check_mode", [True, False])
@pytest.mark.parametrize(
    ("there", "word", "action"),
    [
        (None, "a", "created"),
        ("a", "b", "updated"),
        ("a", None, "removed"),
        ("a", "a", "unchanged"),
        (None, None, "unchanged"),
    ],
)
def test_an_object_is_brought_to_its_state(there: str | None, word: str | None, action: str, check_mode: bool) -> None:
    shown = {"before": {"word": there} if there else {}, "after": {"word": word} if word else {}}
    result = declared(Label, there, word, check_mode)
    assert (result["action"], result["changed"]) == (action, action != "unchanged")
    assert (result["label"], result["diff"]) == (shown["after"], shown)
    assert Label.sent == ([] if check_mode or action == "unchanged" else [(there, word)])


def test_a_change_that_cannot_be_read_back_is_sent() -> None:
    assert declared(Secretive, "a", "a")["action"] == "updated"
    assert Label.sent == [("a", "a")]


def test_what_is_not_kept_is_told() -> None:
    result = declared(Forgetful, None, "a")
    assert result["msg"] == (
        "Open WebUI at http://web took the label but did not keep it: it is not there instead of {'word': 'a'}"
    )
    assert "is {'word': 'a'} instead of not there" in declared(Forgetful, "a", None)["msg"]


def test_what_cannot_be_asked_for_is_refused_before_anything_is_read() -> None:
    assert declared(Label, "a", "")["msg"] == "word is empty"
