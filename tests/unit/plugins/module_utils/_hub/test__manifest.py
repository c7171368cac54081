# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._hub._files import Entry, HubError
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._manifest import Manifest, Origin, Stamp

ORIGIN = Origin("modelscope", "https://hub.example.com", "acme/tiny", "master", "1" * 40, ("*.json",), ())
MANIFEST = Manifest("d" * 64, 12.5, (ORIGIN,), ((Entry("a/b", 3, "a" * 64), Stamp(3, 10, 11, 12)),))


def test_round_trip() -> None:
    assert Manifest.from_json(MANIFEST.to_json()) == MANIFEST


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "the manifest cannot be read"),
        ("[]", "the manifest cannot be read"),
        ('{"version": 2}', "has version 2, this collection knows 1"),
        (MANIFEST.to_json().replace('"mtime_ns"', '"mtime"'), "the manifest cannot be read: 'mtime_ns'"),
        (MANIFEST.to_json().replace("a/b", "../b"), "is refused because it leads out of the folder"),
    ],
)
def test_broken_manifest(text: str, reason: str) -> None:
    with pytest.raises(HubError, match=reason):
        Manifest.from_json(text)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"endpoint": "https://mirror.example.com"}, True),
        ({"revision": "v1"}, True),
        ({"commit": "2" * 40}, False),
        ({"commit": None}, False),
        ({"repo": "acme/other"}, False),
        ({"include": ()}, False),
        ({"exclude": ("x",)}, False),
        ({"source": "git_lfs"}, False),
    ],
)
def test_same_content(changes: dict[str, object], expected: bool) -> None:
    assert ORIGIN.same_content(dataclasses.replace(ORIGIN, **changes)) is expected


def test_without_a_commit_nothing_is_known_to_be_the_same() -> None:
    unknown = dataclasses.replace(ORIGIN, commit=None)
    assert not unknown.same_content(unknown)


def test_origins_are_remembered_up_to_a_number() -> None:
    assert MANIFEST.with_origin(ORIGIN) is MANIFEST
    manifest = MANIFEST
    for number in range(60):
        manifest = manifest.with_origin(dataclasses.replace(ORIGIN, commit=f"{number:040d}"))
    assert len(manifest.origins) == 50
    assert manifest.origins[-1].commit == f"{59:040d}"


def test_stamps() -> None:
    stamp = Stamp(3, 20, 21, 22)
    assert MANIFEST.with_stamps({"a/b": stamp, "c": stamp}).files == ((MANIFEST.entries[0], stamp),)


def test_stamp_notices_a_change_whose_times_were_set_back(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"abc")
    before = Stamp.of(str(path))
    status = path.stat()
    path.write_bytes(b"abd")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    after = Stamp.of(str(path))
    assert before is not None
    assert after is not None
    assert after != before
    assert dataclasses.replace(after, ctime_ns=before.ctime_ns) == before


def test_stamp_of_what_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/hostname")
    assert [Stamp.of(str(tmp_path / name)) for name in ("nothing", "link", ".")] == [None, None, None]


def test_text_of_a_manifest_is_plain_json() -> None:
    document = json.loads(MANIFEST.to_json())
    assert document["files"][0]["sha256"] == "a" * 64
    assert document["origins"][0]["repo"] == "acme/tiny"
