# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fetch an image from a registry by the standard API; manifest and blobs are compared with their digests."""

from __future__ import annotations

import dataclasses
import hashlib
import http.client
import re
import time
import typing as t
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit
from urllib.request import Request, build_opener

from .._hub._arriving import BLOCK, ArrivingFile, WrongContent
from .._hub._files import Entry
from .._hub._source import is_full_disk
from ._access import USER_AGENT, Access, read_object
from ._folder import Folder, Seen, unseen
from ._index import BundleError, Item
from ._login import DOCKER_HUB

MANIFEST_LIMIT = 8 * 1024 * 1024
ATTEMPTS = 5
STALLED_SECONDS = 60
IMPATIENT_SECONDS = 10

_LISTS = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
_MANIFESTS = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")
_DIGEST = re.compile("sha256:[0-9a-f]{64}")
_TAG = re.compile("[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_REPOSITORY = re.compile("[a-z0-9][a-z0-9._/-]*")


@dataclasses.dataclass(frozen=True)
class Reference:
    """Where an image is: registry, repository, and a tag or digest."""

    registry: str
    repository: str
    version: str

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Read a reference as Docker reads it."""
        first, slash, rest = text.partition("/")
        has_registry = bool(slash) and ("." in first or ":" in first or first == "localhost")
        registry, path = (first, rest) if has_registry else ("docker.io", text)
        name, at, digest = path.partition("@")
        repository, colon, tag = name.partition(":")
        version = digest if at else tag if colon else "latest"
        known = _DIGEST if at else _TAG
        if not _REPOSITORY.fullmatch(repository) or not known.fullmatch(version):
            raise BundleError(f"{text!r} is not the reference of an image, such as vllm/vllm-openai:v0.32.0")
        if registry in ("docker.io", "index.docker.io"):
            registry = DOCKER_HUB
            repository = repository if "/" in repository else f"library/{repository}"
        return cls(registry, repository, version)

    def __str__(self) -> str:
        sign = "@" if self.version.startswith("sha256:") else ":"
        return f"{self.registry}/{self.repository}{sign}{self.version}"


@dataclasses.dataclass(frozen=True)
class Found:
    """An image as a registry has it for one platform: what the index of a bundle says of it, and its small files."""

    item: Item
    texts: tuple[tuple[Entry, bytes], ...]

    @property
    def layers(self) -> list[Entry]:
        """Return the blobs that are not small."""
        small = {entry.path for entry, _text in self.texts}
        return [file for file in self.item.files if file.path not in small]


class Registry:
    """The registry of one image, asked with the password that docker login left for it, where it wants one."""

    def __init__(self, reference: Reference, plain: bool = False, patient: bool = True) -> None:
        self._reference = reference
        # Whoever is not patient has other ways to the image, and asks once.
        self._attempts, self._seconds = (ATTEMPTS, STALLED_SECONDS) if patient else (1, IMPATIENT_SECONDS)
        self._base = f"{'http' if plain else 'https'}://{reference.registry}/v2/{quote(reference.repository)}"
        self._access = Access(str(reference), reference.registry, reference.repository, plain, self._seconds)

    def find(self, name: str, architecture: str) -> Found:
        """Ask for the image; ``name`` is what a bundle calls it."""
        text = self._manifest(self._reference.version)
        manifest = read_object(text, str(self._reference))
        if "manifests" in manifest:
            text = self._manifest(_of_platform(manifest, architecture, str(self._reference)))
            manifest = read_object(text, str(self._reference))
        try:
            parts = [("config.json", manifest["config"])]
            parts += [(f"layers/{number:03}", layer) for number, layer in enumerate(manifest["layers"])]
            files = [Entry(path, int(part["size"]), _hex(part["digest"])) for path, part in parts]
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(
                f"{self._reference}: the registry describes the image in a way that is not understood"
            ) from error
        digest = hashlib.sha256(text).hexdigest()
        own = Entry("manifest.json", len(text), digest)
        config = self._small(files[0])
        made_for = read_object(config, str(self._reference)).get("architecture", architecture)
        if made_for != architecture:
            raise BundleError(f"{self._reference} is made for linux/{made_for}, and not for linux/{architecture}")
        about = (("config", files[0].sha256), ("manifest", digest), ("source", str(self._reference)))
        return Found(Item("image", name, (own, *files), about), ((own, text), (files[0], config)))

    def fetch(self, found: Found, folder: Folder, seen: Seen = unseen) -> None:
        """Bring all blobs into a bundle; each goes on where an earlier attempt ended."""
        for entry, text in found.texts:
            folder.add_bytes(text, entry.sha256)
        for entry in found.layers:
            if folder.has(entry.sha256, entry.size):
                seen(entry.size)
            else:
                self._layer(entry, folder, seen)

    def _layer(self, entry: Entry, folder: Folder, seen: Seen) -> None:
        with folder.arriving(entry.sha256, entry.size, seen) as blob:
            seen(blob.tell())
            self.bring(entry, blob)

    def bring(self, entry: Entry, blob: ArrivingFile) -> None:
        """Bring the rest of a blob; BundleError when it does not come."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                self._stream(entry, blob)
                blob.finish()
                return
            except WrongContent as error:
                blob.seek(0)
                blob.truncate()
                why: Exception = error
            except (URLError, OSError, http.client.HTTPException) as error:
                if is_full_disk(error):
                    raise
                why = error
            if attempt < ATTEMPTS:
                time.sleep(float(2**attempt))
        raise BundleError(f"{self._reference}: layer {entry.sha256[:12]} could not be fetched: {why}; run again")

    def _stream(self, entry: Entry, blob: ArrivingFile) -> None:
        at = blob.tell()
        if at == entry.size:
            return
        with self._open(f"/blobs/sha256:{entry.sha256}", {"Range": f"bytes={at}-"} if at else {}) as answer:
            if at and answer.status != 206:
                blob.seek(0)
                blob.truncate()
            while True:
                block = answer.read(BLOCK)
                if not block:
                    return
                blob.write(block)

    def _small(self, entry: Entry) -> bytes:
        if entry.size > MANIFEST_LIMIT:
            raise BundleError(f"{self._reference}: the image's configuration has more than {MANIFEST_LIMIT} bytes")
        text = self._read(f"/blobs/sha256:{entry.sha256}", {})
        if hashlib.sha256(text).hexdigest() != entry.sha256:
            raise BundleError(f"{self._reference}: the registry sends another configuration than its manifest names")
        return text

    def _manifest(self, version: str) -> bytes:
        text = self._read(f"/manifests/{version}", {"Accept": ", ".join((*_LISTS, *_MANIFESTS))})
        if _DIGEST.fullmatch(version) and f"sha256:{hashlib.sha256(text).hexdigest()}" != version:
            raise BundleError(f"{self._reference}: the registry sends another manifest than {version}")
        return text

    def _read(self, path: str, headers: t.Mapping[str, str]) -> bytes:
        for attempt in range(1, self._attempts + 1):
            try:
                with self._open(path, headers) as answer:
                    text: bytes = answer.read(MANIFEST_LIMIT + 1)
                if len(text) > MANIFEST_LIMIT:
                    raise BundleError(f"{self._reference}: {path} is larger than {MANIFEST_LIMIT} bytes")
                return text
            except HTTPError as error:
                error.close()
                why: Exception = error
                if error.code < 500 and error.code != 429:
                    break
            except (URLError, OSError, http.client.HTTPException) as error:
                why = error
            if attempt < self._attempts:
                time.sleep(float(2**attempt))
        raise BundleError(
            f"{self._reference} could not be asked for: {why}; check the name of the image, "
            "and the variable that names its mirror"
        )

    def _open(self, path: str, headers: t.Mapping[str, str]) -> t.Any:
        url = self._base + path
        # A token may have run out since the last request, so that every request may be asked for a new one.
        for attempt in range(2):
            request = Request(url, headers={**headers, "User-Agent": USER_AGENT})
            self._access.sign(request)
            try:
                return build_opener().open(request, timeout=self._seconds)
            except HTTPError as error:
                # Only the registry may ask for a password, and not the place that it keeps blobs at.
                asked = error.code == 401 and urlsplit(error.geturl()).netloc == self._reference.registry
                challenge = error.headers.get("WWW-Authenticate") if asked else None
                if not challenge:
                    raise
                error.close()
            if attempt:
                break
            self._access.answer(challenge)
        raise self._access.refusal()


def _of_platform(listed: t.Mapping[str, t.Any], architecture: str, where: str) -> str:
    """Return the digest of the image for Linux on an architecture."""
    for one in listed["manifests"]:
        platform = one.get("platform") or {}
        if (platform.get("os"), platform.get("architecture")) == ("linux", architecture):
            return f"sha256:{_hex(one['digest'])}"
    raise BundleError(f"{where} is not made for linux/{architecture}")


def _hex(digest: t.Any) -> str:
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise BundleError(f"the registry names a blob {digest!r}, and only sha256 is understood")
    return digest[len("sha256:") :]
