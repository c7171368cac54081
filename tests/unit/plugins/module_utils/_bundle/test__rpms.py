# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import stat
import typing as t
from pathlib import Path

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._bundle._index import BundleError
from ansible_collections.private_llm.fleet.plugins.module_utils._bundle._rpms import (
    Dnf,
    Rpm,
    is_there,
    parse_sizes,
    parse_urls,
)

# As dnf 4.14 prints them; repoquery ends each row twice.
URLS = """http://mirror.example.com/Packages/b-1-2.noarch.rpm
https://mirror.example.com/Packages/a-1-2.x86_64.rpm
https://mirror.example.com/Packages/a-1-2.x86_64.rpm
"""
SIZES = "3 Packages/a-1-2.x86_64.rpm\n\n5 b-1-2.noarch.rpm\n\n"

# Stand in for dnf and createrepo_c: the first notes its arguments and puts the packages where it is told.
DNF = """#!/bin/sh
echo "$@" >> "$LOG"
for one; do case $one in --downloaddir=*) folder=${one#*=};; esac; done
case "$*" in
*--url*) printf "%s" "$URLS";;
*repoquery*) printf "%s" "$SIZES";;
*--downloadonly*) [ -z "$BROKEN" ] || exit 0
    printf one > "$folder/a-1-2.x86_64.rpm"; printf three > "$folder/b-1-2.noarch.rpm";;
esac
"""
CREATEREPO = """#!/bin/sh
for one; do folder=$one; done
mkdir -p "$folder/repodata" && echo list > "$folder/repodata/repomd.xml"
"""


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, text in (("dnf", DNF), ("createrepo_c", CREATEREPO)):
        (tools / name).write_text(text)
        (tools / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    for name, value in (("URLS", URLS), ("SIZES", SIZES), ("BROKEN", ""), ("LOG", str(tmp_path / "log"))):
        monkeypatch.setenv(name, value)
    return tmp_path / "log"


def test_what_dnf_prints_is_read() -> None:
    names = parse_urls("Last metadata expiration check: 0:00:01 ago.\n" + URLS)
    assert names == ["a-1-2.x86_64.rpm", "b-1-2.noarch.rpm"]
    assert parse_sizes(SIZES, names) == [Rpm("a-1-2.x86_64.rpm", 3), Rpm("b-1-2.noarch.rpm", 5)]
    with pytest.raises(BundleError, match="no size of c-1-2"):
        parse_sizes(SIZES, ["c-1-2.noarch.rpm"])


def test_a_folder_becomes_a_repository(tmp_path: Path, log: Path) -> None:
    folder = tmp_path / "packages"
    folder.mkdir()
    (folder / "old-1-1.noarch.rpm").write_text("old")
    dnf = Dnf(["docker-ce", "haproxy"])
    dnf.update()
    assert not is_there(str(folder), dnf.closure())
    dnf.fetch(str(folder))
    assert sorted(os.listdir(folder)) == ["a-1-2.x86_64.rpm", "b-1-2.noarch.rpm", "repodata"]
    assert is_there(str(folder), dnf.closure())
    (folder / "a-1-2.x86_64.rpm").write_text("half of it")
    assert not is_there(str(folder), dnf.closure())


def test_what_a_host_may_lack_is_taken_and_signatures_are_compared(tmp_path: Path, log: Path) -> None:
    Dnf(["haproxy"]).fetch(str(tmp_path / "packages"))
    asked = log.read_text().splitlines()
    assert "--resolve --alldeps" in asked[0]
    assert asked[0].endswith("-- haproxy")
    # The installation into an empty root is what compares the signatures; it gets the packages that were listed.
    assert "--installroot=" in asked[-1]
    assert asked[-1].endswith("-- a-1-2.x86_64 b-1-2.noarch")
    assert not any("gpgcheck" in line for line in asked)
    assert log.read_text().count("--assumeyes --disableplugin=local --setopt=install_weak_deps=False") == 3


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("URLS", "", "dnf knows none of the packages haproxy"),
        ("BROKEN", "1", "dnf did not fetch a-1-2.x86_64.rpm, b-1-2.noarch.rpm"),
    ],
)
def test_what_dnf_does_not_have_is_told(
    tmp_path: Path, log: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: t.Any
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(BundleError, match=said):
        Dnf(["haproxy"]).fetch(str(tmp_path / "packages"))
