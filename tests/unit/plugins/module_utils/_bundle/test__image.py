# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import dataclasses
import threading
import typing as t
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._bundle import _archive
from ansible_collections.private_llm.fleet.plugins.module_utils._bundle._image import (
    Image,
    ImageSource,
    ask,
    is_same,
    repo_of,
)
from ansible_collections.private_llm.fleet.plugins.module_utils._bundle._index import BundleError
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._files import check_repo, digest_of
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._source import FetchError, Resolution, Throttle
from ansible_collections.private_llm.fleet.tests.support.tiny_image import write_image


class Registry(SimpleHTTPRequestHandler):
    """Serves a folder, unless it is to want a password."""

    closed = False

    def log_message(self, *unused: t.Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        if not Registry.closed:
            super().do_GET()
            return
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="registry"')
        self.end_headers()


@pytest.fixture
def registry(tmp_path: Path) -> t.Iterator[str]:
    write_image(tmp_path / "registry")
    Registry.closed = False
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Registry, directory=str(tmp_path / "registry"))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}/acme/tiny:1"
        server.shutdown()


def fetch(name: str, image: Image, folder: Path) -> tuple[int, int]:
    """Fetch all blobs; return the bytes that came, and those that were told."""
    told: list[int] = []
    came = ImageSource(name, True, image, Throttle(0)).fetch(
        Resolution(image.digest, None), image.blobs, str(folder), told.append
    )
    return came, sum(told)


def test_an_image_is_a_release_of_blobs_named_by_their_sums(tmp_path: Path, registry: str) -> None:
    image = ask(registry, True, "amd64")
    assert [part.path for part in image.parts] == ["config.json", "layers/000"]
    assert {blob.path for blob in image.blobs} == {image.config, *image.layers}
    assert image.digest == digest_of(image.blobs)
    size = sum(blob.size for blob in image.blobs)
    assert fetch(registry, image, tmp_path / "one") == (size, size)
    assert {path.name for path in (tmp_path / "one").iterdir()} == {image.config, *image.layers}
    assert b"".join(_archive.stream(str(tmp_path / "one"), image.parts, "acme/tiny"))


def test_all_that_comes_from_the_registry_counts_for_the_limit(tmp_path: Path, registry: str) -> None:
    image = ask(registry, True, "amd64")
    size = sum(blob.size for blob in image.blobs)
    pauses: list[float] = []
    source = ImageSource(registry, True, image, Throttle(size, clock=lambda: 0.0, sleep=pauses.append))
    source.fetch(Resolution(image.digest, None), image.blobs, str(tmp_path / "one"), lambda count: None)
    # With as many bytes a second as there are, the last of them may come after one second.
    assert max(pauses) == pytest.approx(1.0)


def test_a_blob_goes_on_where_it_ended(tmp_path: Path, registry: str) -> None:
    image = ask(registry, True, "amd64")
    layer = next(blob for blob in image.blobs if blob.sha256 == image.layers[0])
    served = tmp_path / "registry" / "v2" / "acme" / "tiny" / "blobs" / f"sha256:{layer.sha256}"
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / f"{layer.sha256}.incomplete").write_bytes(served.read_bytes())
    size = sum(blob.size for blob in image.blobs)
    assert fetch(registry, image, tmp_path / "one") == (size - layer.size, size)


def test_a_blob_with_other_contents_is_refused(tmp_path: Path, registry: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    image = ask(registry, True, "amd64")
    layer = next(blob for blob in image.blobs if blob.sha256 == image.layers[0])
    (tmp_path / "registry" / "v2" / "acme" / "tiny" / "blobs" / f"sha256:{layer.sha256}").write_bytes(bytes(layer.size))
    with pytest.raises(FetchError, match="could not be fetched"):
        fetch(registry, image, tmp_path / "one")
    assert not (tmp_path / "one" / layer.sha256).exists()


def test_a_registry_that_wants_a_password_says_so_at_once(registry: str) -> None:
    Registry.closed = True
    with pytest.raises(BundleError, match="password"):
        ask(registry, True, "amd64")


def test_what_the_controller_gives_back_is_one_whole_image(registry: str) -> None:
    image = ask(registry, True, "amd64")
    told = image.as_result()
    assert Image.from_result(told) == image
    with pytest.raises(BundleError, match="are not those of the release"):
        Image.from_result({**told, "digest": "a" * 64})
    with pytest.raises(BundleError, match="not the configuration and the layers"):
        Image.from_result({**told, "layers": []})
    elsewhere = [{**file, "path": f"x{file['path']}"} for file in told["files"]]
    with pytest.raises(BundleError, match="not the configuration and the layers"):
        Image.from_result({**told, "files": elsewhere})


def test_an_image_that_has_a_layer_twice_sends_it_once(registry: str) -> None:
    image = ask(registry, True, "amd64")
    twice = dataclasses.replace(image, layers=image.layers * 2)
    assert [part.path for part in twice.parts] == ["config.json", "layers/000", "layers/001"]
    assert Image.from_result(twice.as_result()) == twice


@pytest.mark.parametrize(
    "name", ["vllm/vllm-openai:v0.32.0", "ghcr.io/open-webui/open-webui:v0.12.4-slim", "10.0.0.1:5000/a..b/c", "alpine"]
)
def test_every_image_has_a_place_in_a_store(name: str) -> None:
    assert check_repo(repo_of(name)) == repo_of(name)


def test_an_engine_has_an_image_by_its_id_or_its_layers() -> None:
    plain = {"DriverStatus": [["Backing Filesystem", "extfs"]]}
    containerd = {"DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]]}
    other = {"Id": "sha256:other", "RootFS": {"Layers": ["l"]}}
    assert not is_same(None, "c", ["l"], lambda: containerd)
    assert is_same({"Id": "sha256:c"}, "c", ["l"], lambda: plain)
    assert is_same(other, "c", ["l"], lambda: containerd)
    assert not is_same(other, "c", ["l"], lambda: plain), "built anew with other settings"
    assert not is_same(other, "c", ["l"], lambda: {"DriverStatus": None})
    assert not is_same(other, "c", ["m"], lambda: containerd)


@pytest.mark.parametrize(
    ("reference", "named"),
    [
        ("alpine", "alpine:latest"),
        ("localhost:5000/alpine", "localhost:5000/alpine:latest"),
        ("localhost:5000/alpine:3", "localhost:5000/alpine:3"),
    ],
)
def test_an_archive_names_an_image_with_its_tag(reference: str, named: str) -> None:
    assert _archive.tagged(reference) == named
