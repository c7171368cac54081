# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._hub import _mounts
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._mounts import Mount

HOST = """22 1 254:1 / / rw,relatime - ext4 /dev/vda1 rw
30 22 0:5 / /dev rw - devtmpfs udev rw
40 22 254:16 / /srv rw,relatime shared:1 - xfs /dev/vdb rw
41 22 254:16 /data\\040set /mnt/data\\040set rw - xfs /dev/vdb rw
"""


def test_parse() -> None:
    assert _mounts.parse_mountinfo(HOST)[2:] == [
        Mount("254:16", "/", "/srv", "xfs", frozenset({"rw"})),
        Mount("254:16", "/data set", "/mnt/data set", "xfs", frozenset({"rw"})),
    ]
    assert _mounts.parse_mountinfo("\nbroken line\n") == []


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/srv/models/a", ("254:16", "/models/a")),
        ("/srvice", ("254:1", "/srvice")),
        ("/mnt/data set/x", ("254:16", "/data set/x")),
        ("/srv", ("254:16", "/")),
    ],
)
def test_place(path: str, expected: tuple[str, str]) -> None:
    assert _mounts.place_of(path, _mounts.parse_mountinfo(HOST)) == expected


def test_place_is_unknown_without_mounts() -> None:
    assert _mounts.place_of("/srv", []) is None


@pytest.mark.parametrize(
    ("device", "root", "expected"),
    [
        ("254:16", "/models/org/name/d1", {"/srv/models/org/name/d1"}),
        ("254:16", "/models/org/name/d1/sub", {"/srv/models/org/name/d1/sub"}),
        ("254:16", "/models/org/name", {"/srv/models/org/name"}),
        ("254:16", "/models/org/name2", set()),
        ("254:16", "/models", set()),
        ("254:1", "/models/org/name", set()),
    ],
)
def test_mounted_below(device: str, root: str, expected: set[str]) -> None:
    own = _mounts.parse_mountinfo(HOST)
    assert _mounts.mounted_below("/srv/models/org/name", own, [Mount(device, root, "/model")]) == expected


def test_users_are_found_in_the_mount_tables_of_other_processes(tmp_path: Path) -> None:
    model = tmp_path / "model"
    (model / "d1").mkdir(parents=True)
    own = "1 0 8:1 / / rw - ext4 /dev/sda rw\n"
    container = f"9 8 8:1 {os.path.realpath(model)}/d1 /models ro - ext4 /dev/sda rw\n"
    for process, table in (("self", own), ("1", own), ("77", own + container)):
        (tmp_path / "proc" / process).mkdir(parents=True)
        (tmp_path / "proc" / process / "mountinfo").write_text(table)
    assert _mounts.users_of(str(model), str(tmp_path / "proc")) == {f"{os.path.realpath(model)}/d1"}
    assert _mounts.users_of(str(tmp_path / "other"), str(tmp_path / "proc")) == set()


@pytest.mark.parametrize(
    ("kind", "options", "problem"),
    [
        ("ext4", "rw,errors=remount-ro", ""),
        ("nfs4", "rw,vers=4.2,local_lock=none", ""),
        ("nfs", "rw,vers=3,nolock,local_lock=all", "/srv is nfs mounted with local_lock=all, so two hosts could write"),
        ("nfs", "rw,vers=3,local_lock=posix", ""),
        ("nfs4", "rw,local_lock=flock", "/srv is nfs4 mounted with local_lock=flock"),
    ],
)
def test_locks_that_keep_no_other_host_out(kind: str, options: str, problem: str) -> None:
    mounts = _mounts.parse_mountinfo(
        "22 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n"
        f"30 22 0:40 / /srv rw,relatime shared:9 - {kind} server:/export {options}\n"
    )
    assert _mounts.lock_problem("/srv/models/acme/tiny", mounts).startswith(problem)
    assert bool(problem) == bool(_mounts.lock_problem("/srv/models", mounts))
    assert _mounts.lock_problem("/home", mounts) == ""
