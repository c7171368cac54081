# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An image's blobs as the stream that an engine loads: the form of docker save, which every engine reads."""

from __future__ import annotations

import json
import os
import tarfile
import typing as t

from .._hub._files import Entry
from .._regular import regular

BLOCK = 1024 * 1024
_CONFIG = "config.json"


def members_of(files: t.Sequence[Entry], reference: str) -> tuple[bytes, list[Entry]]:
    """Return the text of the archive's list, and the blobs that it names: the configuration first, then the layers."""
    layers = sorted((file for file in files if file.path.startswith("layers/")), key=lambda file: file.path)
    config = [file for file in files if file.path == _CONFIG]
    listed = [
        {
            "Config": _member(config[0]),
            "RepoTags": [tagged(reference)],
            "Layers": [_member(layer) for layer in layers],
        }
    ]
    # An image may have one layer twice; the archive needs its content once.
    return json.dumps(listed).encode("ascii"), list(dict.fromkeys((*config, *layers)))


def tagged(reference: str) -> str:
    """Return a reference with its tag; an engine adds none to what an archive names."""
    return reference if ":" in reference.rpartition("/")[2] else f"{reference}:latest"


def _member(file: Entry) -> str:
    return f"blobs/sha256/{file.sha256}"


def _header(name: str, size: int) -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o644
    return member.tobuf(tarfile.PAX_FORMAT)


def _padding(size: int) -> bytes:
    return b"\0" * (-size % tarfile.BLOCKSIZE)


def stream(folder: str, files: t.Sequence[Entry], reference: str) -> t.Iterator[bytes]:
    """Yield the archive; ``folder`` holds each blob under its SHA-256."""
    text, blobs = members_of(files, reference)
    yield _header("manifest.json", len(text)) + text + _padding(len(text))
    for blob in {blob.sha256: blob for blob in blobs}.values():
        yield _header(_member(blob), blob.size)
        with open(os.path.join(folder, blob.sha256), "rb", buffering=0, opener=regular) as source:
            while True:
                block = source.read(BLOCK)
                if not block:
                    break
                yield block
        yield _padding(blob.size)
    yield b"\0" * (2 * tarfile.BLOCKSIZE)
