# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import json
import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._bundle._index import BundleError
from ansible_collections.private_llm.fleet.plugins.module_utils._bundle._login import (
    DOCKER_HUB,
    Login,
    config_path,
    login_for,
)

HERE = "registry.example.com:5000"


def encoded(text: str) -> dict[str, str]:
    return {"auth": base64.b64encode(text.encode()).decode()}


def found(folder: Path, config: t.Any, registry: str = HERE) -> Login | None:
    path = folder / "config.json"
    path.write_text(config if isinstance(config, str) else json.dumps(config), encoding="utf-8")
    return login_for(registry, str(path))


def helper(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Put a program of the helpers' protocol on the PATH."""
    program = folder / "docker-credential-lab"
    program.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


@pytest.mark.parametrize("key", [HERE, f"https://{HERE}", f"http://{HERE}/v2/", f"https://{HERE}/v1/"])
def test_a_login_is_found_under_the_names_that_docker_writes(tmp_path: Path, key: str) -> None:
    assert found(tmp_path, {"auths": {key: encoded("ann:a:b")}}) == Login("ann", "a:b")


def test_docker_hub_has_a_name_of_its_own(tmp_path: Path) -> None:
    config = {"auths": {"https://index.docker.io/v1/": encoded("ann:a")}}
    assert found(tmp_path, config, DOCKER_HUB) == Login("ann", "a")
    assert found(tmp_path, config) is None


@pytest.mark.parametrize(
    ("entry", "login"),
    [
        ({"username": "ann", "password": "a"}, Login("ann", "a")),
        ({**encoded("ann:"), "identitytoken": "long"}, Login("ann", "long", True)),
        ({}, None),
        ({"auth": ""}, None),
    ],
)
def test_an_entry_has_a_password_or_an_identity_token(tmp_path: Path, entry: t.Any, login: t.Any) -> None:
    assert found(tmp_path, {"auths": {HERE: entry}}) == login


@pytest.mark.parametrize("config", ["", "[]", "{", '"x"', "null", " " * 1048577])
def test_what_is_not_a_configuration_is_said(tmp_path: Path, config: str) -> None:
    with pytest.raises(BundleError, match=r"config\.json is not a configuration of Docker"):
        found(tmp_path, config)


def test_an_entry_that_cannot_be_read_is_named_and_not_shown(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=f"{HERE}: auth is not") as raised:
        found(tmp_path, {"auths": {HERE: {"auth": "s3cret!"}}})
    assert "s3cret" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_without_a_file_there_is_no_login(tmp_path: Path) -> None:
    assert login_for(HERE, str(tmp_path / "none" / "config.json")) is None
    assert found(tmp_path, {}) is None
    assert found(tmp_path, {"auths": [], "credHelpers": 3}) is None


def test_a_file_that_others_can_write_is_not_trusted(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text("{}", encoding="utf-8")
    path.chmod(0o666)
    with pytest.raises(BundleError, match="others can write it"):
        login_for(HERE, str(path))


def test_the_file_is_where_docker_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    monkeypatch.delenv("DOCKER_CONFIG", raising=False)
    assert config_path() == "/home/ann/.docker/config.json"
    monkeypatch.setenv("DOCKER_CONFIG", "/etc/docker-client")
    assert config_path() == "/etc/docker-client/config.json"


@pytest.mark.parametrize("config", [{"credsStore": "lab"}, {"credsStore": "other", "credHelpers": {HERE: "lab"}}])
def test_a_helper_is_asked_over_its_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: t.Any) -> None:
    said = '{"ServerURL": "%s", "Username": "ann", "Secret": "a"}'
    helper(tmp_path, monkeypatch, f'[ "$*" = get ] && printf \'{said}\' "$(cat)" | tee {tmp_path}/said')
    assert found(tmp_path, config) == Login("ann", "a")
    assert json.loads((tmp_path / "said").read_text(encoding="utf-8"))["ServerURL"] == HERE


def test_a_helper_may_keep_an_identity_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper(tmp_path, monkeypatch, """printf '{"Username": "<token>", "Secret": "long"}'""")
    assert found(tmp_path, {"credsStore": "lab"}) == Login("<token>", "long", True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("echo 's3cret'; echo s3cret >&2; exit 3", "docker-credential-lab failed with 3"),
        ("echo 's3cret'", "something that is not a password"),
        ("echo '[\"s3cret\"]'", "something that is not a password"),
        ("exec sleep 60", "did not answer within"),
    ],
)
def test_a_helper_that_fails_is_named_and_its_words_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    helper(tmp_path, monkeypatch, text)
    seconds = 0.2 if "sleep" in text else 30.0
    monkeypatch.setattr(f"{Login.__module__}.HELPER_SECONDS", seconds)
    with pytest.raises(BundleError, match=said) as raised:
        found(tmp_path, {"credsStore": "lab"})
    assert "s3cret" not in str(raised.value)


def test_a_helper_that_has_no_password_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper(tmp_path, monkeypatch, "echo 'credentials not found in native keychain'; exit 1")
    assert found(tmp_path, {"credsStore": "lab"}) is None


@pytest.mark.parametrize("name", ["missing", "../lab", "lab; true"])
def test_a_helper_is_a_program_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    helper(tmp_path, monkeypatch, "echo '{}'")
    with pytest.raises(BundleError, match="is not on the PATH"):
        found(tmp_path, {"credsStore": name})


def test_a_secret_is_not_shown() -> None:
    assert "s3cret" not in repr(Login("ann", "s3cret"))
