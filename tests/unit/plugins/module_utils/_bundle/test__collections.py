# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import typing as t
from pathlib import Path

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._bundle._collections import archive, file_name
from ansible_collections.private_llm.fleet.plugins.module_utils._bundle._folder import Folder
from ansible_collections.private_llm.fleet.plugins.module_utils._bundle._index import BundleError, Index
from ansible_collections.private_llm.fleet.plugins.module_utils._bundle._making import folder_part, link_files, make

INFO = {"namespace": "acme", "name": "tools", "version": "1.2.3", "authors": ["somebody"]}


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    folder = tmp_path / "tools"
    for name in (
        "plugins/modules/one.py",
        "README.md",
        ".git/config",
        "plugins/__pycache__/one.pyc",
        "tests/test.py",
        "galaxy.yml",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    (folder / "link").symlink_to("/etc/passwd")
    return folder


def content_of(packed: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as tar:
        return {one.name: t.cast(t.IO[bytes], tar.extractfile(one)).read() for one in tar if one.isfile()}


def test_an_archive_holds_what_belongs_to_a_collection(collection: Path) -> None:
    content = content_of(archive(str(collection), INFO, ["tests"]))
    assert set(content) == {"MANIFEST.json", "FILES.json", "README.md", "plugins/modules/one.py"}
    manifest = json.loads(content["MANIFEST.json"])
    assert manifest["collection_info"]["version"] == "1.2.3"
    assert manifest["collection_info"]["dependencies"] == {}
    assert manifest["file_manifest_file"]["chksum_sha256"] == hashlib.sha256(content["FILES.json"]).hexdigest()
    sums = {one["name"]: one["chksum_sha256"] for one in json.loads(content["FILES.json"])["files"]}
    assert sums["README.md"] == hashlib.sha256(b"README.md").hexdigest()
    assert sums["plugins/modules"] is None


def test_the_same_files_are_the_same_bytes(collection: Path) -> None:
    before = archive(str(collection), INFO, [])
    os.utime(collection / "README.md", (1, 1))
    assert archive(str(collection), INFO, []) == before


def test_an_archive_is_named_as_galaxy_names_it() -> None:
    assert file_name(INFO) == "acme-tools-1.2.3.tar.gz"
    with pytest.raises(BundleError, match="no namespace, name and version"):
        file_name({**INFO, "version": None})


def test_archives_have_their_names_in_the_bundle(tmp_path: Path) -> None:
    (tmp_path / "archives").mkdir()
    (tmp_path / "archives" / "one.tar.gz").write_bytes(b"one")
    folder = Folder(str(tmp_path / "bundle"))
    made = make(
        [folder_part("collections", "collections", str(tmp_path / "archives"))], folder, None, lambda count: None
    )
    link_files(folder, made.index, "collections")
    link = tmp_path / "bundle" / "collections" / "one.tar.gz"
    assert link.read_bytes() == b"one"
    assert not os.path.isabs(os.readlink(link))
    dead = link.with_name("dead.tar.gz")
    dead.symlink_to("../blobs/sha256/gone")
    link_files(folder, Index(()), "collections")
    assert not os.path.lexists(link)
    assert not os.path.lexists(dead)
