# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The look at a port tells its answer, and why the administrator can sign in there or not; nothing is an error."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._open_webui import _presence, _private_folder
from ansible_collections.private_llm.fleet.tests.support import fake_open_webui

EMAIL = fake_open_webui.ADMIN["email"]


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> t.Iterator[fake_open_webui.FakeOpenWebUi]:
    monkeypatch.setattr(_private_folder, "private_folder", lambda: None)
    made = fake_open_webui.FakeOpenWebUi()
    yield made
    made.close()


def find(url: str, password: str) -> dict[str, t.Any]:
    warnings: list[str] = []
    found = _presence.find(url, EMAIL, password, warnings.append)
    assert warnings == []
    return found


def test_the_administrator_signs_in(web: fake_open_webui.FakeOpenWebUi) -> None:
    found = find(web.url, fake_open_webui.PASSWORD)
    assert (found["status"], found["has_accounts"], found["signed_in"], found["trouble"]) == ("ready", True, True, "")


def test_a_wrong_password_is_told(web: fake_open_webui.FakeOpenWebUi) -> None:
    found = find(web.url, "wrong")
    assert (found["status"], found["has_accounts"], found["signed_in"]) == ("ready", True, False)
    assert EMAIL in found["trouble"]
    assert "password" in found["trouble"]


def test_without_a_password_nobody_signs_in(web: fake_open_webui.FakeOpenWebUi) -> None:
    found = find(web.url, "")
    assert (found["has_accounts"], found["signed_in"], found["trouble"]) == (True, False, "")
    assert not [call for call in web.calls if "signin" in call]


def test_one_without_accounts_is_not_signed_in_to(web: fake_open_webui.FakeOpenWebUi) -> None:
    web.bend = lambda call, data: {**data, "onboarding": True} if call == "GET /api/config" else data
    found = find(web.url, fake_open_webui.PASSWORD)
    assert (found["has_accounts"], found["signed_in"], found["trouble"]) == (False, False, "")


def test_another_program_is_told_from_none(web: fake_open_webui.FakeOpenWebUi) -> None:
    web.bend = lambda _call, _data: fake_open_webui.Raw(200, "text/html", b"<html>")
    assert find(web.url, "x")["status"] == "other"
    assert find("http://127.0.0.1:9", "x")["status"] == "unreachable"
