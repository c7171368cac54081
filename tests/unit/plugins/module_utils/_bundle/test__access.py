# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import json
import typing as t
from pathlib import Path

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._bundle._access import Access
from ansible_collections.private_llm.fleet.plugins.module_utils._bundle._folder import Folder
from ansible_collections.private_llm.fleet.plugins.module_utils._bundle._index import BundleError
from ansible_collections.private_llm.fleet.plugins.module_utils._bundle._registry import Reference, Registry
from ansible_collections.private_llm.fleet.tests.support.closed_registry import (
    IDENTITY,
    PASSWORD,
    TOKEN,
    USER,
    ClosedRegistry,
)
from ansible_collections.private_llm.fleet.tests.support.tiny_image import write_image


@pytest.fixture(params=["basic", "bearer"])
def registry(request: t.Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[ClosedRegistry]:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    write_image(tmp_path / "registry")
    closed = ClosedRegistry(str(tmp_path / "registry"), request.param)
    yield closed
    closed.close()


def log_in(folder: Path, registry: ClosedRegistry, password: str = PASSWORD, **more: str) -> None:
    """Write what docker login writes."""
    entry = {"auth": base64.b64encode(f"{USER}:{password}".encode()).decode(), **more}
    (folder / "config.json").write_text(json.dumps({"auths": {registry.address: entry}}), encoding="utf-8")


def fetch(registry: ClosedRegistry, folder: Path) -> Folder:
    """Fetch the image into a bundle's folder."""
    asked = Registry(Reference.parse(f"{registry.address}/acme/tiny:1"), plain=True, patient=False)
    into = Folder(str(folder / "bundle"))
    (folder / "bundle" / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
    found = asked.find("acme/tiny:1", "amd64")
    asked.fetch(found, into)
    assert all(into.has(file.sha256, file.size) for file in found.item.files)
    return into


def test_an_image_comes_with_the_password_that_docker_login_left(tmp_path: Path, registry: ClosedRegistry) -> None:
    log_in(tmp_path, registry)
    fetch(registry, tmp_path)
    # Known once, it goes along from then on: nothing is asked for twice.
    assert [path for path, sent in registry.seen if not sent] == ["/v2/acme/tiny/manifests/1"]


def test_a_wrong_password_is_said_with_registry_and_user(tmp_path: Path, registry: ClosedRegistry) -> None:
    log_in(tmp_path, registry, "wrong-s3cret")
    with pytest.raises(BundleError) as raised:
        fetch(registry, tmp_path)
    said = str(raised.value)
    assert f"{registry.address} refuses the user 'ann' that {tmp_path}/config.json has for it" in said
    assert f"run docker login {registry.address} again" in said
    assert "s3cret" not in said


def test_without_a_password_it_is_said_where_one_was_looked_for(tmp_path: Path, registry: ClosedRegistry) -> None:
    with pytest.raises(BundleError, match=f"wants a password, and {tmp_path}/config.json has none for it"):
        fetch(registry, tmp_path)
    (tmp_path / "config.json").write_text('{"credsStore": "missing"}', encoding="utf-8")
    with pytest.raises(BundleError, match=r"wants a password, and docker-credential-missing.*is not on the PATH"):
        fetch(registry, tmp_path)


@pytest.mark.parametrize("registry", ["bearer"], indirect=True)
def test_an_identity_token_is_traded(tmp_path: Path, registry: ClosedRegistry) -> None:
    log_in(tmp_path, registry, "", identitytoken=IDENTITY)
    fetch(registry, tmp_path)
    log_in(tmp_path, registry, "", identitytoken="other")
    with pytest.raises(BundleError, match="refuses the user"):
        fetch(registry, tmp_path)


@pytest.mark.parametrize("registry", ["bearer"], indirect=True)
def test_a_token_that_ran_out_is_asked_for_anew(tmp_path: Path, registry: ClosedRegistry) -> None:
    log_in(tmp_path, registry)
    asked = Registry(Reference.parse(f"{registry.address}/acme/tiny:1"), plain=True, patient=False)
    found = asked.find("acme/tiny:1", "amd64")
    registry.token = "access-2"
    (tmp_path / "bundle" / "blobs" / "sha256").mkdir(parents=True)
    asked.fetch(found, Folder(str(tmp_path / "bundle")))
    assert {sent for _path, sent in registry.seen if sent.startswith("Bearer")} == {
        f"Bearer {TOKEN}",
        "Bearer access-2",
    }


def test_where_blobs_are_kept_nobody_learns_the_password(tmp_path: Path, registry: ClosedRegistry) -> None:
    log_in(tmp_path, registry)
    # The other place asks for a password, too, by which it would learn that of the registry.
    other = ClosedRegistry(str(tmp_path / "registry"), registry.flow)
    try:
        registry.blobs_at = other.address
        with pytest.raises(BundleError, match="401"):
            fetch(registry, tmp_path)
        assert {sent for _path, sent in other.seen} == {""}
    finally:
        other.close()


@pytest.mark.parametrize("registry", ["bearer"], indirect=True)
@pytest.mark.parametrize("token", ["a\r\nX: s3cret", "", "s3cret\N{SNOWMAN}"])
def test_a_token_that_is_none_is_not_shown(tmp_path: Path, registry: ClosedRegistry, token: str) -> None:
    log_in(tmp_path, registry)
    registry.token = token
    with pytest.raises(BundleError, match="answers without a token") as raised:
        fetch(registry, tmp_path)
    assert "s3cret" not in str(raised.value)


def test_a_password_does_not_go_out_in_clear_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    entry = {"auth": base64.b64encode(b"ann:a").decode()}
    (tmp_path / "config.json").write_text(json.dumps({"auths": {"registry.example.com": entry}}), encoding="utf-8")
    access = Access("an image", "registry.example.com", "acme/tiny", False, 1)
    with pytest.raises(BundleError, match="in clear text"):
        access.answer('Bearer realm="http://registry.example.com/token"')
