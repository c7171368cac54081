# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a host says of an archive on the controller, when that host is in other hands."""

from __future__ import annotations

import hashlib
import io
import tarfile
import typing as t
from pathlib import Path

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._hub._files import Entry, HubError, digest_of
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._manifest import Manifest, Stamp
from ansible_collections.private_llm.fleet.plugins.plugin_utils import _carrying
from ansible_collections.private_llm.fleet.plugins.plugin_utils._carrying import Carrying

EVIL = b"* * * * * root id\n"
GOOD = b"{}"


def entry(path: str, content: bytes) -> Entry:
    return Entry(path, len(content), hashlib.sha256(content).hexdigest())


@pytest.fixture
def tar(tmp_path: Path) -> Path:
    """An archive that somebody has crafted: one more member than its manifest lists."""
    listed = entry("config.json", GOOD)
    manifest = Manifest(digest_of([listed]), 0.0, (), ((listed, Stamp(len(GOOD), 0, 0, 0)),)).to_json().encode()
    path = tmp_path / "model.tar"
    with tarfile.open(path, "w") as archive:
        for name, content in ((".manifest.json", manifest), ("../../outside", EVIL), ("config.json", GOOD)):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.fixture
def carrying(tar: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Callable[[t.Any], list[str]]:
    """Carry what a host asks for; returns the paths on the host that files were copied to."""
    scratch = tmp_path / "a" / "scratch"
    scratch.mkdir(parents=True)
    monkeypatch.setattr(_carrying.tempfile, "mkdtemp", lambda **unused: str(scratch))

    class Action:
        class _task:  # noqa: N801 - as Ansible names it
            args: t.ClassVar[dict[str, str]] = {"repo": "acme/tiny"}

    def carry(look: t.Any) -> list[str]:
        copied: list[str] = []
        made = Carrying(t.cast(t.Any, Action()), str(tar), {})
        monkeypatch.setattr(made, "_ask_module", lambda: look)
        monkeypatch.setattr(made, "_copy", lambda source, target: copied.append(target))
        made.carry()
        return copied

    return carry


def look_at(*entries: Entry, **changes: t.Any) -> dict[str, t.Any]:
    """What a host says that lacks these files."""
    return {
        "missing": [one.path for one in entries],
        "files": [vars(one) for one in entries],
        "path": "/srv/models/acme/tiny/" + "0" * 64,
        "digest": "0" * 64,
        "bytes_missing": sum(one.size for one in entries),
        "bytes_needed": 0,
        "actions": [],
        **changes,
    }


def test_what_the_host_lacks_is_carried(carrying: t.Callable[[t.Any], list[str]]) -> None:
    (target,) = carrying(look_at(entry("config.json", GOOD)))
    assert target.startswith("/srv/models/acme/tiny/.staging/")
    assert target.endswith("/config.json")


@pytest.mark.parametrize("path", ["../../outside", "/etc/cron.d/outside", "a/../../outside"])
def test_lying_host_and_crafted_archive_write_nothing_outside(
    carrying: t.Callable[[t.Any], list[str]], tmp_path: Path, path: str
) -> None:
    with pytest.raises(HubError, match=r"the host lists the file .* which is refused because"):
        carrying(look_at(entry(path, EVIL)))
    assert list(tmp_path.rglob("outside*")) == []


def test_file_that_the_archive_does_not_list_is_not_carried(carrying: t.Callable[[t.Any], list[str]]) -> None:
    with pytest.raises(HubError, match="does not list 'other' as it is wanted"):
        carrying(look_at(entry("other", EVIL)))


@pytest.mark.parametrize(
    "look",
    [
        {},
        look_at(files=None),
        look_at(files=[1], missing=["x"]),
        look_at(files=[{"path": "x"}], missing=["x"]),
        look_at(files=[{"path": "x", "size": float("inf"), "sha256": "0"}], missing=["x"]),
        look_at(missing=None),
        look_at(missing=[{}]),
        look_at(bytes_missing=None),
        look_at(bytes_missing="x"),
    ],
)
def test_odd_answer_of_a_host_is_an_error_of_ours(carrying: t.Callable[[t.Any], list[str]], look: t.Any) -> None:
    with pytest.raises(HubError, match="did not say in a way that is understood which files"):
        carrying(look)
