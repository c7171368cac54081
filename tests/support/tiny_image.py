#!/usr/bin/env python3
# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write an image of one small file as a folder that any web server serves as a registry: tiny_image.py FOLDER [TEXT].

It prints the id of the image for amd64. Its name there is acme/tiny:1, and there is one for arm64, too.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import sys
import tarfile
from pathlib import Path

NAME = "acme/tiny"
TAG = "1"
ARCHITECTURES = ("arm64", "amd64")
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


def write_blob(folder: Path, content: bytes) -> dict[str, object]:
    """Write a blob and return how a manifest names it."""
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    (folder / "blobs").mkdir(parents=True, exist_ok=True)
    (folder / "blobs" / digest).write_bytes(content)
    return {"digest": digest, "size": len(content)}


def write_image(root: Path, text: str = "tiny") -> str:
    """Write the image below a folder and return its id for amd64, which is the digest of its configuration."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        member = tarfile.TarInfo("hello")
        member.size = len(text)
        tar.addfile(member, io.BytesIO(text.encode()))
    layer = packed.getvalue()
    diff = f"sha256:{hashlib.sha256(layer).hexdigest()}"
    folder = root / "v2" / NAME
    packed_layer = {
        "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
        **write_blob(folder, gzip.compress(layer, mtime=0)),
    }
    (folder / "manifests").mkdir(parents=True, exist_ok=True)
    listed: list[dict[str, object]] = []
    ids = {}
    for architecture in ARCHITECTURES:
        config = {
            "architecture": architecture,
            "os": "linux",
            "created": "2026-01-01T00:00:00Z",
            "config": {"Cmd": ["/hello"]},
            "rootfs": {"type": "layers", "diff_ids": [diff]},
            "history": [{"created": "2026-01-01T00:00:00Z", "created_by": "tiny_image.py"}],
        }
        described = write_blob(folder, json.dumps(config).encode())
        ids[architecture] = str(described["digest"])
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": "application/vnd.docker.container.image.v1+json", **described},
            "layers": [packed_layer],
        }
        own = json.dumps(manifest).encode()
        digest = f"sha256:{hashlib.sha256(own).hexdigest()}"
        (folder / "manifests" / digest).write_bytes(own)
        platform = {"os": "linux", "architecture": architecture}
        listed.append({"digest": digest, "size": len(own), "platform": platform})
    (folder / "manifests" / TAG).write_bytes(json.dumps({"schemaVersion": 2, "manifests": listed}).encode())
    return ids["amd64"]


if __name__ == "__main__":
    print(write_image(Path(sys.argv[1]), *sys.argv[2:3]))
