# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import dataclasses
import json
import os
import tarfile
import typing as t
from pathlib import Path

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._hub._archive import Archive, export, exported_digest
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._files import MANIFEST_NAME, HubError
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._source import FetchError, Resolution
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._store import ModelStore, Release

from .conftest import COMMIT
from .conftest import entry as entry_of
from .test__apply import bring

if t.TYPE_CHECKING:
    from .conftest import Memory


@pytest.fixture
def release(store: ModelStore, memory: Memory) -> Release:
    bring(store, memory)
    return store.releases()[0]


@pytest.fixture
def tar(release: Release, tmp_path: Path) -> Path:
    path = tmp_path / "model.tar"
    export(release, str(path), lambda count: None)
    return path


def fetch(archive: Archive, folder: Path) -> dict[str, bytes]:
    archive.fetch(archive.resolve(None), archive.entries(archive.resolve(None)), str(folder), lambda count: None)
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def repack(tar: Path, compression: str, change: t.Callable[[str, bytes], tuple[str, bytes] | None]) -> Path:
    """The archive once more, with other members."""
    import io

    path = tar.with_name("repacked.tar")
    with tarfile.open(tar) as old, tarfile.open(path, f"w:{compression}") as new:
        for member in reversed(old.getmembers()):
            content = old.extractfile(member)
            changed = change(member.name, content.read() if content else b"")
            if changed:
                info = tarfile.TarInfo(changed[0])
                info.size = len(changed[1])
                new.addfile(info, io.BytesIO(changed[1]))
    return path


def test_tar_holds_the_release(tar: Path, release: Release, memory: Memory, tmp_path: Path) -> None:
    archive = Archive(str(tar))
    assert archive.resolve(None) == Resolution("master", COMMIT)
    assert archive.resolve(COMMIT) == Resolution(COMMIT, COMMIT)
    assert archive.resolve(release.digest).commit == COMMIT
    assert archive.pin(COMMIT) is None
    assert fetch(archive, tmp_path / "out") == memory.files
    assert release.manifest
    assert archive.known_as(release.digest) == release.manifest.origins
    assert archive.known_as("0" * 64) == ()
    with pytest.raises(HubError, match=rf"does not hold revision 'v2' but {COMMIT}, master"):
        archive.resolve("v2")


def test_folder_is_an_archive_too(release: Release, memory: Memory, tmp_path: Path) -> None:
    assert fetch(Archive(release.path), tmp_path / "out") == memory.files
    assert not os.path.samefile(Path(release.path, "config.json"), tmp_path / "out" / "config.json")


@pytest.mark.parametrize("compression", ["", "gz", "xz"])
def test_tar_made_by_hand(tar: Path, memory: Memory, tmp_path: Path, compression: str) -> None:
    path = repack(tar, compression, lambda name, content: (f"./{name}", content))
    assert fetch(Archive(str(path)), tmp_path / "out") == memory.files


def test_export_is_known_and_leaves_nothing_else(tar: Path, release: Release) -> None:
    assert exported_digest(str(tar)) == release.digest
    assert exported_digest(str(tar.with_name("none.tar"))) is None
    assert [p.name for p in tar.parent.iterdir() if p.is_file()] == ["model.tar"]


def test_damaged_release_is_not_exported(tar: Path, release: Release, tmp_path: Path) -> None:
    Path(release.path, "weights/a.bin").write_bytes(b"x" * 5000)
    with pytest.raises(HubError, match=r"weights/a\.bin in .* is damaged; repair it"):
        export(release, str(tmp_path / "other.tar"), lambda count: None)
    assert not (tmp_path / "other.tar").exists()
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["model.tar"]
    with pytest.raises(HubError, match="could not be written: No such file"):
        export(release, str(tmp_path / "none" / "other.tar"), lambda count: None)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda n, c: (n, c.replace(b"a", b"x", 1) if n == "weights/a.bin" else c), r"damaged: weights/a\.bin came"),
        (lambda n, c: (n, c[:-1] if n == "weights/a.bin" else c), r"damaged: weights/a\.bin came with 4999 bytes"),
        (lambda n, c: None if n == "weights/a.bin" else (n, c), r"lacks weights/a\.bin"),
        (lambda n, c: None if n == ".manifest.json" else (n, c), r"holds no \.manifest\.json; an archive is"),
        (lambda n, c: (n, b"{}" if n == ".manifest.json" else c), "cannot be used: the manifest cannot be read"),
        (lambda n, c: (n, c.replace(b'"size": 5000', b'"size": 5001')), "cannot be used: its manifest was changed"),
        (lambda n, c: (n, c.replace(b"weights/a", b"../../../a")), "cannot be used: the manifest lists the file"),
    ],
)
def test_damaged_archive(tar: Path, tmp_path: Path, change: t.Any, reason: str) -> None:
    with pytest.raises(HubError, match=reason):
        fetch(Archive(str(repack(tar, "", change))), tmp_path / "out")
    assert not (tmp_path / "out" / "weights" / "a.bin").exists()


def test_cut_archive(tar: Path, tmp_path: Path) -> None:
    tar.write_bytes(tar.read_bytes()[:7000])
    with pytest.raises(FetchError, match="could not be read to its end"):
        fetch(Archive(str(tar)), tmp_path / "out")
    with pytest.raises(HubError, match=r"cannot be read: .*No such file"):
        Archive(str(tmp_path / "none.tar")).resolve(None)


def test_release_from_an_archive_is_known_by_where_it_came_from_first(
    tar: Path, release: Release, memory: Memory, tmp_path: Path
) -> None:
    from ansible_collections.private_llm.fleet.plugins.module_utils._hub._apply import apply_plan
    from ansible_collections.private_llm.fleet.plugins.module_utils._hub._plan import make_plan

    other = ModelStore(str(tmp_path / "other"), "acme/tiny")
    archive = Archive(str(tar))
    target = memory.target()
    origin = dataclasses.replace(target.origin, source="archive", endpoint=str(tar))
    target = dataclasses.replace(target, origin=origin, known_as=archive.known_as(target.digest))
    with other.locked(1, lambda: None):
        plan = make_plan(other, target, False, 1, set, lambda count: None)
        assert apply_plan(other, archive, target, plan, lambda *unused: None) == 12_002
    found = other.find(memory.target().origin)
    assert found is not None
    assert found.digest == release.digest


def test_files_one_by_one(tar: Path, memory: Memory, tmp_path: Path) -> None:
    archive = Archive(str(tar))
    wanted = [entry for entry in archive.entries(archive.resolve(None)) if entry.path != "weights/a.bin"]
    found = {}
    for entry, path in archive.files(wanted, str(tmp_path / "out")):
        found[entry.path] = Path(path).read_bytes()
        assert len([p for p in (tmp_path / "out").rglob("*") if p.is_file()]) == 1
    assert found == {path: content for path, content in memory.files.items() if path != "weights/a.bin"}
    assert [p for p in (tmp_path / "out").rglob("*") if p.is_file()] == []


@pytest.mark.parametrize("path", ["../outside", "/tmp/outside-of-the-scratch-folder", "a/../../outside"])
def test_path_that_the_manifest_does_not_list_is_not_copied(tar: Path, tmp_path: Path, path: str) -> None:
    """Whoever asks may have been told the path by a host in other hands, and the tar file may hold such a member."""
    crafted = repack(tar, "", lambda name, data: (path, b"evil") if name == "config.json" else (name, data))
    folder = tmp_path / "scratch" / "inner"
    folder.mkdir(parents=True)
    wanted = [entry_of(path, b"evil")]
    with pytest.raises(HubError, match=r"does not list .* as it is wanted; nothing was copied"):
        list(Archive(str(crafted)).files(wanted, str(folder)))
    assert list(tmp_path.rglob("outside*")) == []
    assert not os.path.exists("/tmp/outside-of-the-scratch-folder")


def test_pipe_in_place_of_an_archive_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(HubError, match="is neither a file nor a folder"):
        Archive(str(tmp_path / "pipe")).resolve(None)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("origins", [1]),
        ("origins", 7),
        ("origins", [{"source": "x"}]),
        ("files", [[]]),
        ("files", None),
        ("published", "never"),
        ("published", []),
        ("digest", 5),
        ("version", []),
    ],
)
def test_odd_manifest_is_an_error_of_ours(tar: Path, key: str, value: t.Any) -> None:
    def change(name: str, data: bytes) -> tuple[str, bytes]:
        return (name, json.dumps({**json.loads(data), key: value}).encode()) if name == MANIFEST_NAME else (name, data)

    with pytest.raises(HubError, match="cannot be used"):
        Archive(str(repack(tar, "", change))).resolve(None)


@pytest.mark.parametrize("text", ["[" * 100_000, "null", "", "{}", '{"version": 1e999}', '{"version":1,"files":[{}]}'])
def test_manifest_that_is_none_is_an_error_of_ours(tmp_path: Path, text: str) -> None:
    (tmp_path / MANIFEST_NAME).write_text(text)
    with pytest.raises(HubError, match="cannot be used"):
        Archive(str(tmp_path)).resolve(None)
