# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The files of a model: what a hub lists, which of them are wanted, and the digest that names the lot."""

from __future__ import annotations

import dataclasses
import fnmatch
import hashlib
import re
import typing as t
from urllib.parse import urlsplit

from .._printable import is_unicode

# The store keeps its own record of a release under this name.
MANIFEST_NAME = ".manifest.json"
# Bytes of a path below the folder of a release; PATH_MAX of Linux is 4096 with the folders above.
LONGEST_PATH = 3000
# What the name of a file ends in while it is being fetched.
PART = ".incomplete"

_CONTROL = re.compile("[\x00-\x1f\x7f\x80-\x9f]")
_SHA256 = re.compile("[0-9a-f]{64}")
_REPO = re.compile(r"\w[\w.\-]*/\w[\w.\-]*")


class HubError(ValueError):
    """Something about a model, its hub or its store is not as it must be; the text says what and what to do."""


class HubUnavailable(HubError):
    """The hub did not answer, or something else answered in its place: what it has cannot be known now."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """A file as the hub lists it."""

    path: str
    size: int
    sha256: str


# The options of a module that say the same of a file; `given_entries` reads them.
FILE_OPTIONS = {
    "path": {"type": "str", "required": True},
    "size": {"type": "int", "required": True},
    "sha256": {"type": "str", "required": True},
}


def given_entries(files: t.Iterable[t.Mapping[str, t.Any]]) -> list[Entry]:
    """Return the files that a module was given by `FILE_OPTIONS`."""
    return [Entry(file["path"], file["size"], file["sha256"]) for file in files]


def check_repo(repo: str) -> str:
    """Return ``repo`` when it is ``<organization>/<name>`` and safe as two folders; else raise."""
    too_long = any(len(part.encode("utf-8", "replace")) > 255 for part in repo.split("/"))
    if not _REPO.fullmatch(repo) or ".." in repo or too_long:
        raise HubError(f"repo {repo!r} is not <organization>/<name>, such as Qwen/Qwen3-8B")
    return repo


def check_endpoint(endpoint: str) -> str:
    """Return ``endpoint`` without its last slash when it is a plain http(s) URL; else raise."""
    if "@" in endpoint:
        raise HubError("endpoint holds a user or a password; give the token in the option token, where it stays secret")
    plain = re.fullmatch(r"https?://[^\s/?#]+(/[^\s?#]*)?", endpoint) and endpoint.isascii() and endpoint.isprintable()
    if not plain or not has_host(endpoint):
        raise HubError(f"endpoint {endpoint!r} is not a URL such as https://hub.example.com")
    return endpoint.rstrip("/")


def has_host(url: str) -> bool:
    """Say whether a URL names a host, and a possible port if it names a port."""
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def check_revision(revision: str | None) -> str | None:
    """Return the name of a branch, tag or commit as git allows it, None for none; else raise."""
    if not revision:
        return None
    # git check-ref-format(1)
    fit = re.fullmatch(r"[^\s\x00-\x20\x7f-\x9f~^:?*\[\\]+", revision) and is_unicode(revision)
    if not fit or ".." in revision or revision.startswith(("-", "/")) or len(revision.encode("utf-8")) > 255:
        raise HubError(
            f"revision {revision!r} cannot be the name of a branch, tag or commit; look for blanks and newlines in it"
        )
    return revision


def check_path(name: str, path: str | None) -> None:
    """Raise when the path in the option ``name`` cannot be that of a file."""
    if path and (_CONTROL.search(path) or not is_unicode(path)):
        raise HubError(f"{name} {path!r} holds a character that no path here may have; give a path of plain text")


def check_patterns(name: str, patterns: t.Sequence[str]) -> tuple[str, ...]:
    """Return shell patterns when each can match a path; else raise."""
    for pattern in patterns:
        if not pattern or _CONTROL.search(pattern) or not is_unicode(pattern):
            raise HubError(
                f"{name} holds the pattern {pattern!r}, which matches no path; use patterns such as *.safetensors"
            )
    return tuple(patterns)


def unsafe_because(path: str) -> str:
    """Return why a path from a listing must not be written below a folder; empty when it may be."""
    parts = path.split("/")
    if not path:
        return "it is empty"
    if path.startswith("/"):
        return "it is absolute"
    if "\\" in path:
        return "it holds a backslash"
    if _CONTROL.search(path):
        return "it holds a control character"
    if ".." in parts:
        return "it leads out of the folder"
    if "" in parts or "." in parts:
        return "it has an empty part"
    if parts[0].lower() in (MANIFEST_NAME, ".git"):
        return "the name is reserved"
    if not is_unicode(path):
        return "it is not valid Unicode text"
    if len(path.encode("utf-8")) > LONGEST_PATH:
        return "it is longer than a path may be"
    too_long = max(len(part.encode("utf-8")) for part in parts) > 255
    return "a part of it is longer than a file name may be" if too_long else ""


def check_entries(entries: t.Iterable[Entry], where: str) -> list[Entry]:
    """Return the entries in order of their paths when all of them can be written as they are; else raise."""
    known: dict[str, Entry] = {}
    for entry in entries:
        reason = unsafe_because(entry.path)
        if reason:
            raise HubError(
                f"{where} lists the file {entry.path!r}, which is refused because {reason}; nothing was downloaded. "
                "Leave it out with exclude if it is not needed"
            )
        if entry.size < 0 or not _SHA256.fullmatch(entry.sha256):
            raise HubError(
                f"{where} lists {entry.path!r} without a size or a SHA-256, so it cannot be verified; leave it out "
                "with exclude if it is not needed"
            )
        if known.setdefault(entry.path, entry) != entry:
            raise HubError(f"{where} lists {entry.path!r} twice, with different contents")
    for path in known:
        if path + PART in known:
            raise HubError(
                f"{where} lists both {path!r} and {path + PART!r}, which the first is called while it is fetched; "
                "leave one of them out with exclude"
            )
        parts = path.split("/")
        for depth in range(1, len(parts)):
            if "/".join(parts[:depth]) in known:
                raise HubError(f"{where} lists {'/'.join(parts[:depth])!r} both as a file and as a folder")
    if not known:
        raise HubError(f"{where} lists no file")
    return [known[path] for path in sorted(known)]


@dataclasses.dataclass(frozen=True)
class Selection:
    """Which files are wanted: those that match any include pattern (all without one) and no exclude pattern.

    A pattern is matched against the whole path; ``*`` matches slashes too; one that ends in a slash is a folder.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def choose(self, paths: t.Sequence[str], where: str) -> list[str]:
        """Return the wanted paths; raise when there are none."""

        def matches(path: str, patterns: t.Sequence[str]) -> bool:
            return any(fnmatch.fnmatchcase(path, f"{p}*" if p.endswith("/") else p) for p in patterns)

        chosen = [p for p in paths if (not self.include or matches(p, self.include)) and not matches(p, self.exclude)]
        if not chosen:
            raise HubError(
                f"include {list(self.include)} and exclude {list(self.exclude)} leave none of the {len(paths)} files "
                f"of {where}; patterns are matched against the whole path, such as *.safetensors or onnx/*"
            )
        return chosen

    def of(self, entries: t.Sequence[Entry], where: str) -> list[Entry]:
        """Return the wanted entries; raise when there are none."""
        wanted = set(self.choose([entry.path for entry in entries], where))
        return [entry for entry in entries if entry.path in wanted]


EVERYTHING = Selection()


def digest_of(entries: t.Iterable[Entry]) -> str:
    """Return the name of a set of files: SHA-256 over their sorted paths, sizes and contents."""
    lines = sorted(f"{entry.path}\0{entry.size}\0{entry.sha256}\n" for entry in entries)
    return hashlib.sha256("".join(lines).encode("utf-8")).hexdigest()


def total_size(entries: t.Iterable[Entry]) -> int:
    """Return the bytes of all files together."""
    return sum(entry.size for entry in entries)


def is_commit(revision: object) -> bool:
    """Say whether a revision is a full commit id, which can never mean anything else later."""
    return isinstance(revision, str) and re.fullmatch("[0-9a-f]{40}", revision) is not None
