# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._bundle._debs import (
    Apt,
    Deb,
    is_there,
    parse_uris,
    plain_name,
)
from ansible_collections.private_llm.fleet.plugins.module_utils._bundle._index import BundleError

URIS = """'http://mirror.example.com/debian/pool/a_2%253a1_all.deb' a_2%3a1_all.deb 3 SHA256:aa
'file:/repo/b_1_all.deb' b_1_all.deb 5
Reading package lists...
"""

# Stand in for apt-get and dpkg-deb: the first notes its arguments and puts the packages where it is told.
APT_GET = """#!/bin/sh
echo "$@" >> "$LOG"
for one; do case $one in Dir::Cache::archives=*) folder=${one#*=};; esac; done
case "$*" in
*--print-uris*) printf "%s" "$URIS";;
*--download-only*) printf one > "$folder/a_2%3a1_all.deb"; printf three > "$folder/b_1_all.deb";;
*update*) [ -z "$BROKEN" ] || { echo "E: no line" >&2; exit 100; };;
esac
"""
DPKG_DEB = """#!/bin/sh
printf 'Package: %s\\nVersion: 1\\n' "$(basename "$2" | cut -d_ -f1)"
"""


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, text in (("apt-get", APT_GET), ("dpkg-deb", DPKG_DEB)):
        (tools / name).write_text(text)
        (tools / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("URIS", URIS)
    monkeypatch.setenv("LOG", str(tmp_path / "log"))
    return tmp_path / "log"


def test_uris_are_read_as_apt_prints_them() -> None:
    assert parse_uris(URIS) == [Deb("a_2%3a1_all.deb", 3), Deb("b_1_all.deb", 5)]
    assert parse_uris("") == []


def test_a_folder_becomes_a_repository(tmp_path: Path, log: Path) -> None:
    folder = tmp_path / "packages"
    folder.mkdir()
    (folder / "old_1_all.deb").write_text("old")
    apt = Apt(["docker.io", "haproxy"], "/status.before")
    apt.update()
    assert not is_there(str(folder), apt.closure())
    apt.fetch(str(folder))
    # A colon's escape would be taken out of a path by apt.
    assert sorted(os.listdir(folder)) == ["Packages", "a_2.1_all.deb", "b_1_all.deb"]
    assert plain_name("a_2%3a1_all.deb") == "a_2.1_all.deb"
    assert (folder / "Packages").read_text() == "".join(
        f"Package: {name[0]}\nVersion: 1\nFilename: ./{name}\nSize: {len(content)}\n"
        f"SHA256: {hashlib.sha256(content).hexdigest()}\n\n"
        for name, content in (("a_2.1_all.deb", b"one"), ("b_1_all.deb", b"three"))
    )
    assert is_there(str(folder), apt.closure())
    said = log.read_text()
    assert "-o Dir::State::status=/status.before install -- docker.io haproxy" in said
    assert said.count("--no-install-recommends") == said.count("install --")


def test_what_apt_says_is_told(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKEN", "1")
    with pytest.raises(BundleError, match="E: no line"):
        Apt([]).update()
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(BundleError, match="not on this machine"):
        Apt([]).update()
