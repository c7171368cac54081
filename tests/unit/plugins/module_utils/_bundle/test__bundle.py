# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import threading
import typing as t
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._bundle import _archive, _signature
from ansible_collections.private_llm.fleet.plugins.module_utils._bundle._copy import lacking, strangers, take
from ansible_collections.private_llm.fleet.plugins.module_utils._bundle._folder import Folder, Known
from ansible_collections.private_llm.fleet.plugins.module_utils._bundle._index import BundleError, Index, Item
from ansible_collections.private_llm.fleet.plugins.module_utils._bundle._making import (
    Made,
    Part,
    earlier_index,
    folder_part,
    image_part,
    lay_out,
    make,
    model_part,
    plan,
)
from ansible_collections.private_llm.fleet.plugins.module_utils._bundle._registry import Reference
from ansible_collections.private_llm.fleet.plugins.module_utils._hub import _store
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._archive import Archive
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._files import Entry, digest_of
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._manifest import Manifest, Stamp
from ansible_collections.private_llm.fleet.tests.support.tiny_image import write_image


def nothing(count: int) -> None:
    """Take no note."""


def entry(path: str, content: bytes) -> Entry:
    return Entry(path, len(content), hashlib.sha256(content).hexdigest())


def release(folder: Path, **files: bytes) -> Path:
    """Write a release as the store of models keeps it."""
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    entries = [entry(name, content) for name, content in sorted(files.items())]
    stamps = tuple((one, t.cast(Stamp, Stamp.of(str(folder / one.path)))) for one in entries)
    (folder / ".manifest.json").write_text(Manifest(digest_of(entries), 12.5, (), stamps).to_json())
    return folder


def packages(folder: Path, **files: bytes) -> Part:
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder_part("packages", "debian:13", str(folder))


def made(folder: Folder, *parts: Part, earlier: Index | None = None) -> Made:
    return make(parts, folder, earlier, nothing)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(str(tmp_path / "bundle"))


def test_a_bundle_holds_what_went_in_and_is_named_by_it(tmp_path: Path, folder: Folder) -> None:
    part = packages(tmp_path / "deb", a=b"one", b=b"two")
    assert made(folder, part).changed
    assert made(folder, part).changed is False
    assert folder.read_index().root == hashlib.sha256(Path(folder.index_path).read_bytes()).hexdigest()
    item = folder.read_index().item("packages", "debian:13")
    assert item is not None
    assert {file.path: Path(folder.blob(file.sha256)).read_bytes() for file in item.files} == {"a": b"one", "b": b"two"}
    assert folder.check(folder.read_index()).whole


def test_what_is_no_longer_wanted_goes(tmp_path: Path, folder: Folder) -> None:
    made(folder, packages(tmp_path / "deb", a=b"one", b=b"two"))
    (tmp_path / "deb" / "b").unlink()
    made(folder, packages(tmp_path / "deb"))
    assert os.listdir(tmp_path / "bundle" / "blobs" / "sha256") == [entry("a", b"one").sha256]


def test_a_model_is_the_same_bytes_whenever_it_was_fetched(tmp_path: Path) -> None:
    parts = []
    for name in ("first", "second"):
        parts.append(model_part("acme/tiny", str(release(tmp_path / name, config=b"{}", weights=b"w" * 100))))
        shutil.rmtree(tmp_path / name)
    assert parts[0].item == parts[1].item


def test_a_model_of_a_bundle_is_an_archive(tmp_path: Path, folder: Folder) -> None:
    made(folder, model_part("acme/tiny", str(release(tmp_path / "r", config=b"{}", weights=b"w" * 100))))
    for _time in range(2):
        places = lay_out(folder, folder.read_index(), "model", str(tmp_path / "links"))
    archive = Archive(places["acme/tiny"])
    resolution = archive.resolve(None)
    assert [one.path for one in archive.entries(resolution)] == ["config", "weights"]
    # Whoever carries a model asks for the manifest before and after the files.
    assert '"digest"' in archive.manifest_text()
    os.makedirs(tmp_path / "host")
    assert archive.fetch(resolution, archive.entries(resolution), str(tmp_path / "host"), nothing) == 102
    assert (tmp_path / "host" / "weights").read_bytes() == b"w" * 100


def test_a_delta_holds_what_is_new_and_makes_the_whole(tmp_path: Path) -> None:
    shards = {f"shard{number}": bytes([number]) * 1000 for number in range(10)}
    first, delta, whole = (Folder(str(tmp_path / name)) for name in ("first", "delta", "whole"))
    made(first, model_part("acme/tiny", str(release(tmp_path / "one", **shards))))
    new = model_part("acme/tiny", str(release(tmp_path / "two", **{**shards, "shard3": b"new" * 300})))
    result = made(delta, new, earlier=first.read_index())
    # The changed shard, and the manifest that names it.
    assert [size for size in sorted(result.own.values()) if size == 900] == [900]
    assert len(result.own) == 2
    made(whole, new)
    shutil.copytree(delta.path, first.path, dirs_exist_ok=True)
    assert first.read_index().root == whole.read_index().root == delta.read_index().root
    assert first.check(first.read_index()).whole
    assert not delta.check(delta.read_index()).whole


def test_a_bundle_is_not_made_over_the_earlier_one(tmp_path: Path, folder: Folder) -> None:
    made(folder, packages(tmp_path / "deb", a=b"one"))
    (tmp_path / "link").symlink_to(folder.path)
    for since in (folder.path, f"{folder.path}/", str(tmp_path / "link")):
        with pytest.raises(BundleError, match="where the bundle itself is made"):
            earlier_index(folder, since)
    assert earlier_index(Folder(str(tmp_path / "other")), folder.path).root == folder.read_index().root


def test_making_goes_on_where_it_was_interrupted(tmp_path: Path, folder: Folder) -> None:
    content = os.urandom(3 * 1024 * 1024)
    part = packages(tmp_path / "deb", big=content)
    sha256 = entry("big", content).sha256
    os.makedirs(tmp_path / "bundle" / "blobs" / "sha256")
    Path(folder.blob(sha256) + ".incomplete").write_bytes(content[: 1024 * 1024])
    seen: list[int] = []
    make([part], folder, None, seen.append)
    assert seen[0] == 1024 * 1024
    assert sum(seen) == len(content)
    assert folder.check(folder.read_index()).whole
    # The start that was left is not what the file has: it is not taken.
    os.unlink(folder.blob(sha256))
    Path(folder.blob(sha256) + ".incomplete").write_bytes(b"x" * 1024 * 1024)
    with pytest.raises(BundleError, match="run again"):
        made(folder, part)
    made(folder, part)
    assert folder.check(folder.read_index()).whole


def test_all_that_is_wrong_is_found_at_once(tmp_path: Path, folder: Folder) -> None:
    made(folder, packages(tmp_path / "deb", a=b"aaaa", b=b"bbbb", c=b"cccc", d=b"dddd"))
    names = {name: entry(name, name.encode() * 4).sha256 for name in "abcd"}
    os.unlink(folder.blob(names["a"]))
    Path(folder.blob(names["b"])).write_bytes(b"bbbc")
    Path(folder.blob(names["c"])).write_bytes(b"ccc")
    Path(folder.blob("0" * 64)).write_bytes(b"stranger")
    checked = folder.check(folder.read_index())
    assert checked.missing == (names["a"],)
    assert checked.wrong == tuple(sorted((names["b"], names["c"])))
    assert checked.extra == ("0" * 64,)


def test_a_blob_is_read_once_until_it_changes(tmp_path: Path, folder: Folder) -> None:
    made(folder, packages(tmp_path / "deb", a=b"aaaa", b=b"bbbb"))
    index = folder.read_index()
    remembered = str(tmp_path / "cache" / "known.json")
    assert folder.check(index, Known(remembered)).read == 8
    assert folder.check(index, Known(remembered)).read == 0
    a = Path(folder.blob(entry("a", b"aaaa").sha256))
    a.write_bytes(b"aaab")
    assert folder.check(index, Known(remembered)).wrong == (a.name,)
    a.write_bytes(b"aaaa")
    assert folder.check(index, Known(remembered)).whole
    # A copy has other inodes: nothing of it is known.
    shutil.copytree(folder.path, tmp_path / "copy")
    assert Folder(str(tmp_path / "copy")).check(index, Known(remembered)).read == 8
    (tmp_path / "cache" / "known.json").write_text("[]")
    assert folder.check(index, Known(remembered)).read == 8


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document.update(version=2),
        lambda document: document["items"][0].update(kind="firmware"),
        lambda document: document["items"][0]["files"][0].update(path="../../etc/passwd"),
        lambda document: document["items"][0]["files"][0].update(sha256="../../../etc/passwd"),
        lambda document: document["items"].append(document["items"][0]),
        lambda document: document["items"][0].update(name="a\x1b[2J"),
        lambda document: document["items"][0].update(name="../../etc"),
        lambda document: document["items"][0].update(name="/etc/cron.d"),
        lambda document: document.update(items=3),
    ],
)
def test_an_odd_index_is_refused(change: t.Callable[[t.Any], None], tmp_path: Path, folder: Folder) -> None:
    made(folder, packages(tmp_path / "deb", a=b"one"))
    document = json.loads(Path(folder.index_path).read_text())
    change(document)
    text = json.dumps(document, indent=1, sort_keys=True).encode() + b"\n"
    with pytest.raises(BundleError):
        Index.from_bytes(text, "index.json")


def test_an_index_has_one_form(tmp_path: Path, folder: Folder) -> None:
    made(folder, packages(tmp_path / "deb", a=b"one"))
    text = Path(folder.index_path).read_bytes()
    with pytest.raises(BundleError, match="not written as"):
        Index.from_bytes(text + b"\n", "index.json")
    with pytest.raises(BundleError, match="not the index"):
        Index.from_bytes(b"[", "index.json")


def keygen(path: Path) -> str:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path.with_suffix(".pub").read_text()


@pytest.mark.parametrize("put", [os.mkfifo, os.mkdir])
def test_what_is_no_file_keeps_nobody_waiting(tmp_path: Path, folder: Folder, put: t.Callable[[str], None]) -> None:
    odd = str(tmp_path / "odd")
    put(odd)
    assert folder.check(Index(()), Known(str(tmp_path / "no" / "file"))).whole
    assert not Known(odd).holds("0" * 64, None)
    os.makedirs(folder.path, exist_ok=True)
    put(folder.index_path)
    with pytest.raises(BundleError, match=r"is not a file.*copied as a whole"):
        folder.read_index()
    Path(folder.signature_path).write_text("sig")
    assert not _signature.is_signed_by(folder, odd)
    assert "is not a file" in _signature.problem_with(folder, odd)


def test_a_signature_is_of_one_index_and_one_of_the_signers(tmp_path: Path, folder: Folder) -> None:
    made(folder, packages(tmp_path / "deb", a=b"one"))
    signers = tmp_path / "signers"
    signers.write_text(f"maker {keygen(tmp_path / 'key')}")
    other = tmp_path / "others"
    other.write_text(f"other {keygen(tmp_path / 'other')}")
    assert "has no signature" in _signature.problem_with(folder, str(signers))
    assert not _signature.is_signed_by(folder, str(tmp_path / "key"))
    _signature.sign(folder, str(tmp_path / "key"))
    assert _signature.problem_with(folder, str(signers)) == ""
    assert _signature.is_signed_by(folder, str(tmp_path / "key"))
    assert not _signature.is_signed_by(folder, str(tmp_path / "other"))
    assert "nobody in" in _signature.problem_with(folder, str(other))
    assert "there is no file" in _signature.problem_with(folder, str(tmp_path / "none"))
    (tmp_path / "deb" / "a").write_bytes(b"changed")
    made(folder, packages(tmp_path / "deb"))
    assert "does not fit" in _signature.problem_with(folder, str(signers))
    with pytest.raises(BundleError, match="could not be signed"):
        _signature.sign(folder, str(tmp_path / "none"))


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder; sums up what it was asked."""

    asked: t.ClassVar[list[str]] = []
    breaks: t.ClassVar[list[str]] = []

    def log_message(self, *unused: t.Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self.asked.append(f"{self.path} {self.headers.get('Range', '')}".strip())
        if "/blobs/" in self.path and self.breaks:
            self.breaks.pop()
            self.send_error(503)
            return
        super().do_GET()


@pytest.fixture
def registry(tmp_path: Path) -> t.Iterator[str]:
    write_image(tmp_path / "registry")
    Quiet.asked.clear()
    Quiet.breaks.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "registry"))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}/acme/tiny:1"
        server.shutdown()


def test_an_image_comes_from_a_registry_by_its_digests(tmp_path: Path, folder: Folder, registry: str) -> None:
    part = image_part("acme/tiny:1", registry, True, "amd64")
    assert not os.path.exists(folder.path)
    assert plan([part], folder, None).missing
    made(folder, part)
    item = folder.read_index().item("image", "acme/tiny:1")
    assert item is not None
    assert [file.path for file in item.files] == ["config.json", "layers/000", "manifest.json"]
    assert folder.check(folder.read_index()).whole
    Quiet.asked.clear()
    assert not made(folder, image_part("acme/tiny:1", registry, True, "amd64")).changed
    assert [one for one in Quiet.asked if "blobs" in one] == [f"/v2/acme/tiny/blobs/sha256:{item.described['config']}"]
    with pytest.raises(BundleError, match="not made for linux/s390x"):
        image_part("acme/tiny:1", registry, True, "s390x")
    with pytest.raises(BundleError, match="could not be asked"):
        image_part("acme/none:1", registry.replace("tiny", "none"), True, "amd64")


def test_a_bundle_may_hold_an_image_for_each_architecture(folder: Folder, registry: str) -> None:
    made(folder, *(image_part("acme/tiny:1", registry, True, architecture) for architecture in ("amd64", "arm64")))
    index = folder.read_index()
    assert [item.name for item in index.items] == ["acme/tiny:1", "acme/tiny:1 linux/arm64"]
    for item, architecture in zip(index.items, ("amd64", "arm64")):
        config = json.loads(Path(folder.blob(item.described["config"])).read_text(encoding="utf-8"))
        assert config["architecture"] == architecture
    # The layer that both have is there once.
    assert len(index.blobs()) == 5


def test_an_image_that_is_made_for_another_architecture_is_refused(tmp_path: Path, registry: str) -> None:
    manifests = tmp_path / "registry" / "v2" / "acme" / "tiny" / "manifests"
    listed = json.loads((manifests / "1").read_bytes())["manifests"]
    only = next(one["digest"] for one in listed if one["platform"]["architecture"] == "arm64")
    name = f"{registry.rpartition(':')[0]}@{only}"
    with pytest.raises(BundleError, match="is made for linux/arm64, and not for linux/amd64"):
        image_part("acme/tiny:1", name, True, "amd64")
    assert image_part("acme/tiny:1", name, True, "arm64").item.name == "acme/tiny:1 linux/arm64"


def test_a_layer_goes_on_where_it_ended_and_a_damaged_one_is_refused(
    tmp_path: Path, folder: Folder, registry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", nothing)
    part = image_part("acme/tiny:1", registry, True, "amd64")
    layer = next(file for file in part.item.files if file.path == "layers/000")
    served = tmp_path / "registry" / "v2" / "acme" / "tiny" / "blobs" / f"sha256:{layer.sha256}"
    os.makedirs(tmp_path / "bundle" / "blobs" / "sha256")
    Path(folder.blob(layer.sha256) + ".incomplete").write_bytes(served.read_bytes()[:20])
    made(folder, part)
    assert f"/v2/acme/tiny/blobs/sha256:{layer.sha256} bytes=20-" in Quiet.asked
    assert folder.check(folder.read_index()).whole
    os.unlink(folder.blob(layer.sha256))
    served.write_bytes(bytes(layer.size))
    with pytest.raises(BundleError, match="could not be fetched"):
        made(folder, part)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("alpine", "registry-1.docker.io/library/alpine:latest"),
        ("vllm/vllm-openai:v0.32.0", "registry-1.docker.io/vllm/vllm-openai:v0.32.0"),
        ("ghcr.io/open-webui/open-webui:v0.12.4", "ghcr.io/open-webui/open-webui:v0.12.4"),
        ("10.0.0.1:5000/x/y@sha256:" + "a" * 64, "10.0.0.1:5000/x/y@sha256:" + "a" * 64),
    ],
)
def test_references_are_read_as_docker_reads_them(text: str, shown: str) -> None:
    assert str(Reference.parse(text)) == shown


ODD = ["", "Upper/Case:1", "a b:1", "x:y z", "http://host/x:1", "a:b:c", "a@b", "x:标签", "x:-y"]


@pytest.mark.parametrize("text", ODD)
def test_odd_references_are_refused(text: str) -> None:
    with pytest.raises(BundleError, match="not the reference"):
        Reference.parse(text)


def test_an_engine_gets_a_tar_archive(tmp_path: Path) -> None:
    config, layer = b'{"rootfs": {}}', b"layer" * 1000
    files = [
        entry("config.json", config),
        entry("layers/000", layer),
        entry("layers/001", layer),
        entry("manifest.json", b"m"),
    ]
    for content in (config, layer):
        (tmp_path / hashlib.sha256(content).hexdigest()).write_bytes(content)
    packed = b"".join(_archive.stream(str(tmp_path), files, "acme/tiny:1"))
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        names = tar.getnames()
        listed = json.load(t.cast(t.IO[bytes], tar.extractfile("manifest.json")))[0]
        assert t.cast(t.IO[bytes], tar.extractfile(listed["Layers"][1])).read() == layer
        assert t.cast(t.IO[bytes], tar.extractfile(listed["Config"])).read() == config
    assert len(names) == 3
    assert listed["RepoTags"] == ["acme/tiny:1"]


def archive_of(path: Path, *contents: bytes, names: t.Sequence[str] = ()) -> str:
    with tarfile.open(path, "w") as tar:
        for number, content in enumerate(contents):
            member = tarfile.TarInfo(names[number] if names else hashlib.sha256(content).hexdigest())
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return str(path)


def test_a_host_takes_what_belongs_and_nothing_else(tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    files = [entry("a", b"one"), entry("sub/b", b"two"), entry("twin", b"two")]
    assert len(lacking(str(dest), files)) == 2
    take(str(dest), files, archive_of(tmp_path / "t.tar", b"one", b"two"))
    assert lacking(str(dest), files) == []
    assert (dest / "twin").read_bytes() == (dest / "sub" / "b").read_bytes() == b"two"
    (dest / "sub" / "stranger").write_bytes(b"")
    (dest / "a.incomplete").write_bytes(b"")
    assert strangers(str(dest), files) == [str(dest / "sub" / "stranger")]
    os.unlink(dest / "a")
    os.symlink("/etc/passwd", dest / "a")
    assert lacking(str(dest), files) == [files[0].sha256]
    with pytest.raises(BundleError, match="does not belong"):
        take(str(dest), files, archive_of(tmp_path / "t.tar", b"x", names=["../../evil"]))
    (tmp_path / "one").write_bytes(b"one")
    take(str(dest), files, str(tmp_path / "one"), files[0].sha256)
    assert lacking(str(dest), files) == []
    with pytest.raises(BundleError, match="came damaged"):
        take(str(dest), files, str(tmp_path / "one"), files[1].sha256)
    with pytest.raises(BundleError, match="does not belong"):
        take(str(dest), files, str(tmp_path / "one"), "0" * 64)
    with pytest.raises(BundleError, match="came damaged"):
        take(str(dest), files, archive_of(tmp_path / "t.tar", b"onf", names=[files[0].sha256]))


def test_items_may_be_left_out_of_a_bundle() -> None:
    assert Index((Item("image", "a", ()),)).item("model", "a") is None


def test_a_pipe_in_place_of_a_manifest_keeps_nobody_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / ".manifest.json")
    assert _store.read_manifest(str(tmp_path), "0" * 64) is None
    with pytest.raises(BundleError, match="is not a release that model_snapshot keeps"):
        model_part("acme/tiny", str(tmp_path))


def test_an_index_that_may_not_be_read_says_so(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str, *_unused: object, **_more: object) -> t.NoReturn:
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(
        BundleError, match="Permission denied; whoever runs Ansible must be able to read all of the bundle"
    ):
        folder.read_index()
