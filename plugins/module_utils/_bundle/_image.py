# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An image as a release: its blobs are files that the store of models keeps, and that hosts hand on to each other."""

from __future__ import annotations

import dataclasses
import json
import re
import threading
import typing as t
from concurrent.futures import ThreadPoolExecutor

from .._hub._arriving import ArrivingFile
from .._hub._files import EVERYTHING, Entry, Selection, check_entries, digest_of, given_entries
from .._hub._manifest import Origin
from .._hub._source import FetchError, Resolution, Throttle, is_full_disk
from ._index import BundleError, check_sha256
from ._registry import Reference, Registry

# As many layers at a time as Docker fetches, and one.
WORKERS = 4


@dataclasses.dataclass(frozen=True)
class Image:
    """An image as its registry lists it: blobs named by their SHA-256, and which of them are what."""

    blobs: tuple[Entry, ...]
    config: str
    # The layers from the lowest on, as they are sent, and as they are unpacked.
    layers: tuple[str, ...]
    diff_ids: tuple[str, ...]

    @property
    def digest(self) -> str:
        """Return the name of the release."""
        return digest_of(self.blobs)

    @property
    def parts(self) -> list[Entry]:
        """Return the blobs under the paths that say what they are."""
        sizes = {blob.sha256: blob.size for blob in self.blobs}
        named = [("config.json", self.config), *((f"layers/{n:03}", one) for n, one in enumerate(self.layers))]
        return [Entry(path, sizes[sha256], sha256) for path, sha256 in named]

    def as_result(self) -> dict[str, t.Any]:
        """Return it for the controller, which gives it back to the hosts."""
        return {
            "digest": self.digest,
            "files": [dataclasses.asdict(blob) for blob in self.blobs],
            "config": self.config,
            "layers": list(self.layers),
            "diff_ids": list(self.diff_ids),
        }

    @classmethod
    def from_result(cls, given: t.Mapping[str, t.Any]) -> Image:
        """Read what `as_result` made; raise when it is not one whole image."""
        blobs = check_entries(given_entries(given["files"]), "listed")
        image = cls(tuple(blobs), given["config"], tuple(given["layers"]), tuple(given["diff_ids"]))
        named = {check_sha256(sha256) for sha256 in (image.config, *image.layers)}
        if {blob.path for blob in blobs} != named or any(blob.path != blob.sha256 for blob in blobs):
            raise BundleError("listed: the files are not the configuration and the layers of the image")
        if image.digest != given["digest"]:
            raise BundleError(f"listed: the files are not those of the release {given['digest']!r}")
        return image


def repo_of(name: str) -> str:
    """Return the place of an image in a store of releases, by which people know it, too."""
    return f"image/{re.sub('[^A-Za-z0-9-]+', '_', name)}"


Info = t.Callable[[], t.Mapping[str, t.Any]]


def is_same(found: t.Mapping[str, t.Any] | None, config: str, diff_ids: t.Sequence[str], info: Info) -> bool:
    """Say whether the engine has just this image; ``info`` is what the engine tells of itself.

    An engine with containerd's store names images by their manifests; there alone the layers tell. An image that was
    built anew may have other settings on the same layers.
    """
    if found is None or found.get("Id") == f"sha256:{config}":
        return found is not None
    if (found.get("RootFS") or {}).get("Layers") != list(diff_ids):
        return False
    return any("containerd" in str(one) for one in info().get("DriverStatus") or ())


def ask(name: str, plain: bool, architecture: str) -> Image:
    """Ask the registry which blobs an image has; BundleError when it does not say so at once."""
    reference = Reference.parse(name)
    found = Registry(reference, plain, patient=False).find(name, architecture)
    config, *layers = (file for file in found.item.files if file.path != "manifest.json")
    text = next(text for entry, text in found.texts if entry.sha256 == config.sha256)
    try:
        diff_ids = tuple(str(one) for one in json.loads(text.decode("utf-8"))["rootfs"]["diff_ids"])
    except (ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{reference}: the configuration of the image names no layers") from error
    blobs = {one.sha256: Entry(one.sha256, one.size, one.sha256) for one in (config, *layers)}
    ordered = check_entries(blobs.values(), str(reference))
    return Image(tuple(ordered), config.sha256, tuple(one.sha256 for one in layers), diff_ids)


class ImageSource:
    """The registry of one image, as a source of its blobs."""

    name = "registry"
    verifies = True

    def __init__(self, name: str, plain: bool, image: Image, throttle: Throttle) -> None:
        self._reference = Reference.parse(name)
        self._registry = Registry(self._reference, plain)
        self._image = image
        self._throttle = throttle
        self._lock = threading.Lock()
        self.where = self._reference.registry

    def pin(self, revision: str | None) -> Resolution | None:
        """Return what the image is, which was asked before."""
        return Resolution(self._image.digest, None)

    def resolve(self, revision: str | None) -> Resolution:
        """Return what the image is, which was asked before."""
        return Resolution(self._image.digest, None)

    def entries(self, resolution: Resolution, selection: Selection = EVERYTHING) -> list[Entry]:
        """Return the blobs."""
        return list(self._image.blobs)

    def prepare(self) -> None:
        """Need nothing."""

    def small_file(self, resolution: Resolution, path: str) -> bytes | None:
        """Return None: nobody asks for a blob before the others come."""
        return None

    def known_as(self, digest: str) -> tuple[Origin, ...]:
        """Return nothing: the registry is where an image comes from."""
        return ()

    def fetch(
        self, resolution: Resolution, entries: t.Sequence[Entry], folder: str, seen: t.Callable[[int], None]
    ) -> int:
        """Fetch blobs into a folder; what came before a failure is kept."""
        came = 0

        def count(size: int) -> None:
            nonlocal came
            with self._lock:
                came += size
            seen(size)
            self._throttle(size)

        def one(entry: Entry) -> Exception | None:
            try:
                with ArrivingFile(folder, entry, count) as file:
                    seen(file.tell())
                    self._registry.bring(entry, file)
            except (BundleError, OSError) as error:
                return error
            return None

        with ThreadPoolExecutor(max_workers=WORKERS) as pool:
            failed = [error for error in pool.map(one, entries) if error]
        full = next((error for error in failed if is_full_disk(error)), None)
        if full is not None:
            raise full
        if failed:
            raise FetchError(str(failed[0]), False, max(0, came))
        return max(0, came)
