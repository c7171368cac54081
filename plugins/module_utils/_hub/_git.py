# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What git servers and git itself say, read without touching either."""

from __future__ import annotations

import base64
import dataclasses
import re
import typing as t

from . import _listing
from ._files import HubError, HubUnavailable, is_commit

REGULAR_MODES = ("100644", "100755")

# gitprotocol-http(5): what ends the list of refs, and lines in it that are none.
_END = b"0000"
_NO_REF = (b"version 1", b"shallow ")

_TREE_LINE = re.compile(r"([0-7]{6}) [a-z]+ ([0-9a-f]{40,64}) +([0-9]{1,20}|-)")


@dataclasses.dataclass(frozen=True)
class TreeEntry:
    """A line of git ls-tree: what kind of thing a path is, and which blob holds it."""

    mode: str
    oid: str
    size: int
    path: str


@dataclasses.dataclass(frozen=True)
class Refs:
    """The refs a server advertises: names to commits, and the name of the branch that HEAD is."""

    commits: dict[str, str]
    head: str | None


def refs_url(url: str) -> str:
    """Return the URL at which a server advertises its refs."""
    return f"{url}/info/refs?service=git-upload-pack"


def basic_authorization(token: str) -> str:
    """Return the value of the header by which git servers take a token; any user name will do."""
    return "Basic " + base64.b64encode(f"oauth2:{token}".encode()).decode("ascii")


def _packets(body: bytes) -> t.Iterator[bytes]:
    position = 0
    while position < len(body):
        try:
            length = int(body[position : position + 4], 16)
        except ValueError as error:
            raise HubUnavailable("the answer is not that of a git server; check the endpoint") from error
        if length > 4:
            yield body[position + 4 : position + length].rstrip(b"\n")
        position += max(length, 4)


def parse_refs(body: bytes) -> Refs:
    """Parse the refs in the answer of a server that speaks the smart protocol."""
    packets = list(_packets(body))
    refusal = next((packet for packet in packets if packet.startswith(b"ERR ")), None)
    if refusal is not None:
        raise HubError(
            f"the git server refuses: {_listing.words(refusal[4:].decode('utf-8', 'replace'))}; check the name, and "
            "whether a token is needed"
        )
    if not packets or packets[0] != b"# service=git-upload-pack":
        raise HubUnavailable("the answer is not that of a git server; check the endpoint")
    if not body.endswith(_END):
        raise HubUnavailable("the answer of the git server was cut off; run again")
    commits: dict[str, str] = {}
    head: str | None = None
    for packet in packets[1:]:
        if packet.startswith(_NO_REF):
            continue
        line, _zero, capabilities = packet.partition(b"\0")
        for capability in capabilities.split(b" "):
            if capability.startswith(b"symref=HEAD:"):
                head = capability[len(b"symref=HEAD:") :].decode("utf-8", "replace")
        oid, _space, name = line.decode("utf-8", "replace").partition(" ")
        oid = oid.lower()
        if not is_commit(oid):
            raise HubError("the git server names its commits in a way this collection does not know")
        if name != "capabilities^{}":
            commits[name] = oid
    return Refs(commits, head)


def choose(refs: Refs, revision: str | None) -> tuple[str, str] | None:
    """Return the name and the commit that a revision means: a branch, a tag, or with None the default branch."""
    if revision is None:
        names = [name for name in (refs.head, "refs/heads/master", "refs/heads/main") if name]
        # An old server does not tell which branch HEAD is; it is one that has its commit.
        head = None if refs.head else refs.commits.get("HEAD")
        names += [name for name, commit in refs.commits.items() if name.startswith("refs/heads/") and commit == head]
    else:
        names = [f"refs/heads/{revision}", f"refs/tags/{revision}", revision]
    for name in names:
        commit = refs.commits.get(f"{name}^{{}}") or refs.commits.get(name)
        if commit:
            return (name[len("refs/heads/") :] if revision is None else revision), commit
    return None


def short_names(refs: Refs) -> list[str]:
    """Return branches and tags as a person writes them."""
    return [
        name[len(kind) :]
        for kind in ("refs/heads/", "refs/tags/")
        for name in refs.commits
        if name.startswith(kind) and not name.endswith("^{}")
    ]


def parse_tree(output: bytes) -> list[TreeEntry]:
    """Parse the files in the output of git ls-tree -r -l -z, which does not list folders."""
    entries = []
    for line in output.split(b"\0"):
        if not line:
            continue
        head, _tab, path = line.partition(b"\t")
        found = _TREE_LINE.fullmatch(head.decode("ascii", "replace"))
        if not found:
            raise HubError(f"git lists the files of the repository in an unknown way: {line[:100]!r}")
        mode, oid, size = found.groups()
        try:
            text = path.decode("utf-8")
        except UnicodeDecodeError as error:
            raise HubError(f"the repository holds a path that is not UTF-8 text: {path!r}") from error
        entries.append(TreeEntry(mode, oid, 0 if size == "-" else int(size), text))
    return entries


def settings(items: t.Sequence[tuple[str, str]]) -> dict[str, str]:
    """Return environment variables by which git takes settings that no process list and no file shows."""
    environment = {"GIT_CONFIG_COUNT": str(len(items))}
    for index, (key, value) in enumerate(items):
        environment[f"GIT_CONFIG_KEY_{index}"] = key
        environment[f"GIT_CONFIG_VALUE_{index}"] = value
    return environment
