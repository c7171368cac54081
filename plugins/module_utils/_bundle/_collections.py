# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible's collections as archives that ansible-galaxy installs; the same files are always the same bytes."""

from __future__ import annotations

import fnmatch
import gzip
import hashlib
import io
import json
import os
import tarfile
import typing as t

from .._regular import regular
from ._index import BundleError

MANIFEST = "MANIFEST.json"
FILES = "FILES.json"
FIELDS: dict[str, t.Any] = {
    "namespace": None,
    "name": None,
    "version": None,
    "authors": [],
    "readme": None,
    "tags": [],
    "description": None,
    "license": [],
    "license_file": None,
    "dependencies": {},
    "repository": None,
    "documentation": None,
    "homepage": None,
    "issues": None,
}


def file_name(info: t.Mapping[str, t.Any]) -> str:
    """Return what the archive of a collection is called."""
    parts = [str(info.get(key) or "") for key in ("namespace", "name", "version")]
    if not all(parts) or any("/" in part for part in parts):
        raise BundleError(f"a collection has no namespace, name and version, but {parts}")
    return f"{'-'.join(parts)}.tar.gz"


def _walk(path: str, ignore: t.Sequence[str]) -> t.Iterator[tuple[str, bool]]:
    """Yield folders and files in order, by their paths below the collection; links and hidden files are left out."""
    for parent, folders, names in os.walk(path):
        below = os.path.relpath(parent, path)
        base = "" if below == "." else below + "/"
        folders[:] = sorted(
            one for one in folders if _wanted(base + one, ignore) and not os.path.islink(os.path.join(parent, one))
        )
        yield from ((base + one, True) for one in folders)
        for name in sorted(names):
            where = os.path.join(parent, name)
            if _wanted(base + name, ignore) and os.path.isfile(where) and not os.path.islink(where):
                yield base + name, False


def _wanted(path: str, ignore: t.Sequence[str]) -> bool:
    name = os.path.basename(path)
    if name.startswith(".") or name == "__pycache__" or name.endswith(".pyc"):
        return False
    return path not in (MANIFEST, FILES, "galaxy.yml") and not any(fnmatch.fnmatch(path, one) for one in ignore)


def _listed(path: str, folder: bool, content: bytes) -> dict[str, t.Any]:
    kind = {"ftype": "dir", "chksum_type": None, "chksum_sha256": None}
    if not folder:
        kind = {"ftype": "file", "chksum_type": "sha256", "chksum_sha256": hashlib.sha256(content).hexdigest()}
    return {"name": path, **kind, "format": 1}


def archive(path: str, info: t.Mapping[str, t.Any], ignore: t.Sequence[str]) -> bytes:
    """Return the archive of a collection that lies in a folder."""
    members: list[tuple[str, bytes | None]] = []
    listed = [_listed(".", True, b"")]
    for name, folder in _walk(path, ignore):
        content = b""
        if not folder:
            with open(os.path.join(path, name), "rb", opener=regular) as stream:
                content = stream.read()
        members.append((name, None if folder else content))
        listed.append(_listed(name, folder, content))
    files = _json({"files": listed, "format": 1})
    manifest = _json(
        {
            "collection_info": {key: info.get(key, default) for key, default in FIELDS.items()},
            "file_manifest_file": _listed(FILES, False, files),
            "format": 1,
        }
    )
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, text in [(MANIFEST, manifest), (FILES, files), *members]:
            member = tarfile.TarInfo(name)
            member.type = tarfile.DIRTYPE if text is None else tarfile.REGTYPE
            member.mode, member.size = (0o755 if text is None else 0o644), len(text or b"")
            tar.addfile(member, io.BytesIO(text or b""))
    return gzip.compress(packed.getvalue(), mtime=0)


def _json(document: t.Mapping[str, t.Any]) -> bytes:
    return (json.dumps(document, indent=1, sort_keys=True) + "\n").encode("utf-8")
