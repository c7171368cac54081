# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the API of a Hugging Face hub answers."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import sys
import typing as t
from urllib.parse import quote

from . import _listing
from ._files import HubError, is_commit

_sha1 = functools.partial(hashlib.sha1, usedforsecurity=False) if sys.version_info >= (3, 9) else hashlib.sha1


QUESTION = "is the endpoint a Hugging Face hub or a mirror of one?"

# More files than any repository of models has; a list that goes on after them has no end.
ROWS_LIMIT = 200_000


@dataclasses.dataclass(frozen=True)
class Row:
    """A file in a listing. A small file that is kept in git itself has no SHA-256 there, only the name of its blob.

    ``size`` is None for what is not a plain file, which is refused if it is wanted.
    """

    path: str
    size: int | None
    sha256: str | None
    blob: str


def revision_url(endpoint: str, repo: str, revision: str) -> str:
    """Return the URL that says which commit a revision is."""
    return f"{endpoint}/api/models/{quote(repo)}/revision/{quote(revision, safe='')}"


def tree_url(endpoint: str, repo: str, commit: str) -> str:
    """Return the URL of the first page of the files of a commit."""
    return f"{endpoint}/api/models/{quote(repo)}/tree/{commit}?recursive=true&expand=false"


def file_url(endpoint: str, repo: str, commit: str, path: str) -> str:
    """Return the URL of the content of a file; that of a big file is a redirect to a storage."""
    return f"{endpoint}/{quote(repo)}/resolve/{commit}/{quote(path)}"


def headers(token: str | None) -> dict[str, str]:
    """Return the headers of a request; files are wanted uncompressed, because their sizes are compared."""
    found = {"Accept-Encoding": "identity"}
    if token:
        found["Authorization"] = f"Bearer {token}"
    return found


def parse_commit(body: bytes, what: str) -> str:
    """Parse the commit in the answer about a revision."""
    answer = _listing.decode(body, what, QUESTION)
    commit = _listing.digest(answer.get("sha")) if isinstance(answer, dict) else None
    if not is_commit(commit):
        raise HubError(f"{what} was not answered as by a Hugging Face hub; check the endpoint")
    return t.cast(str, commit)


def parse_tree(body: bytes, what: str) -> list[Row]:
    """Parse the files on a page of a listing."""
    answer = _listing.decode(body, what, QUESTION)
    if not isinstance(answer, list) or not all(isinstance(item, dict) for item in answer):
        raise HubError(f"{what} was not answered with a list of files; check the endpoint")
    rows = []
    for item in answer:
        if item.get("type") == "directory":
            continue
        path = str(item.get("path") or "")
        lfs = item.get("lfs")
        sha256 = _listing.digest(lfs.get("oid") or lfs.get("sha256")) if isinstance(lfs, dict) else None
        size = _listing.size(lfs.get("size") if isinstance(lfs, dict) else item.get("size"))
        rows.append(Row(path, size if item.get("type") == "file" else None, sha256, _listing.digest(item.get("oid"))))
    return rows


def refuse_unfit(rows: t.Iterable[Row], what: str) -> None:
    """Raise when one of the wanted rows is no file that can be fetched."""
    for row in rows:
        if row.size is None:
            raise HubError(
                f"{what} names {row.path!r}, which is not a plain file with a size; leave it out with exclude if it is "
                "not needed"
            )


def check_small(content: bytes, row: Row, where: str) -> str:
    """Return the SHA-256 of a small file when it is the blob that was listed; else raise."""
    # The name of a blob is given by git; it is the only sum that the hub has of these files.
    blob = _sha1(b"blob %d\0" % len(content) + content)
    if len(content) != row.size or blob.hexdigest() != row.blob:
        raise HubError(
            f"{row.path} came from {where} with {len(content)} bytes and other contents than its list of files says "
            f"({row.size} bytes); nothing was downloaded. Run again, or use another endpoint"
        )
    return hashlib.sha256(content).hexdigest()
