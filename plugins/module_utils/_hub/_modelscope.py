# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What ModelScope's API answers, and how a revision becomes a commit."""

from __future__ import annotations

import dataclasses
import typing as t
from urllib.parse import quote, urlencode

from . import _listing
from ._files import (
    Entry,
    HubError,
    is_commit,
)

# The hub cuts a listing at this number of rows without saying so.
LIST_LIMIT = 3000

Row = t.Dict[str, t.Any]


@dataclasses.dataclass(frozen=True)
class Page:
    """One answer of the listing call: its rows, and the commit they belong to if it can be told."""

    rows: list[Row]
    commit: str | None

    @property
    def cut(self) -> bool:
        """Say whether the hub may have left rows out."""
        return len(self.rows) >= LIST_LIMIT


def listing_url(endpoint: str, repo: str, revision: str, folder: str = "", recursive: bool = True) -> str:
    """Return the URL that lists the files of a revision, or of a folder in it."""
    query = {"Revision": revision, "Recursive": str(recursive)}
    if folder:
        query["Root"] = folder
    return f"{endpoint}/api/v1/models/{quote(repo)}/repo/files?{urlencode(query)}"


def revisions_url(endpoint: str, repo: str) -> str:
    """Return the URL that lists branches and tags."""
    return f"{endpoint}/api/v1/models/{quote(repo)}/revisions"


def file_url(endpoint: str, repo: str, revision: str, path: str) -> str:
    """Return the URL of the content of a file."""
    return f"{endpoint}/api/v1/models/{quote(repo)}/repo?{urlencode({'Revision': revision, 'FilePath': path})}"


def headers(token: str | None) -> dict[str, str]:
    """Return the headers of an API call; a token goes where old and new parts of the API look for it."""
    found = {"Accept": "application/json"}
    if token:
        found["Authorization"] = f"Bearer {token}"
        found["Cookie"] = f"m_session_id={token}"
    return found


def _data(body: bytes, what: str) -> t.Any:
    answer = _listing.decode(body, what, "is the endpoint a ModelScope hub?")
    if not isinstance(answer, dict) or not {"Data", "Code", "Success"} & set(answer):
        raise HubError(f"{what} was not answered as by a ModelScope hub; check the endpoint")
    # A refusal may come without data, and both marks as texts.
    if str(answer.get("Success", True)).lower() != "true" or str(answer.get("Code", 200)) != "200":
        raise HubError(f"{what} was refused by the hub: {_listing.words(answer.get('Message') or answer.get('Code'))}")
    return answer.get("Data")


def parse_page(body: bytes, what: str) -> Page | None:
    """Parse a page of a listing; None when the hub does not know the revision."""
    data = _data(body, what)
    if not isinstance(data, dict) or not isinstance(data.get("Files"), (list, type(None))):
        raise HubError(f"{what} was not answered with a list of files; check the endpoint")
    rows = data.get("Files")
    if rows is None:
        return None
    if not all(isinstance(row, dict) for row in rows):
        raise HubError(f"{what} was answered with rows that are not objects")
    committer = data.get("LatestCommitter")
    return Page(rows, find_commit(committer if isinstance(committer, dict) else {}, rows))


def find_commit(committer: t.Mapping[str, t.Any], rows: t.Iterable[Row]) -> str | None:
    """Return the commit of a listing; None when the listing does not tell it for certain.

    The hub names the latest commit by eight digits only; the rows name in full the commits that last changed each file,
    so the latest one is among them unless it did nothing but delete files.
    """
    if is_commit(committer.get("Id")):
        return t.cast(str, committer["Id"])
    short = committer.get("ShortId")
    if not isinstance(short, str) or len(short) < 7:
        return None
    full = {row["Revision"] for row in rows if is_commit(row.get("Revision")) and row["Revision"].startswith(short)}
    return full.pop() if len(full) == 1 else None


def row_path(row: Row) -> str:
    """Return the path of a row."""
    return str(row.get("Path") or "")


def is_folder(row: Row) -> bool:
    """Say whether a row is a folder."""
    return row.get("Type") == "tree"


def entries_of(rows: t.Iterable[Row], where: str) -> list[Entry]:
    """Return the files among the rows; refuse a row that is neither a file nor a folder."""
    entries = []
    for row in rows:
        if is_folder(row):
            continue
        size = _listing.size(row.get("Size"))
        if row.get("Type", "blob") != "blob" or size is None:
            raise HubError(
                f"{where} lists {row_path(row)!r}, which is not a plain file with a size; leave it out with exclude if "
                "it is not needed"
            )
        entries.append(Entry(row_path(row), size, _listing.digest(row.get("Sha256"))))
    return entries


def parse_revisions(body: bytes, what: str) -> list[str]:
    """Parse the names of branches and tags."""
    data = _data(body, what)
    known = data.get("RevisionMap") if isinstance(data, dict) else None
    lists = [known.get(kind) for kind in ("Branches", "Tags")] if isinstance(known, dict) else []
    rows = [row for found in lists if isinstance(found, list) for row in found]
    return [str(row["Revision"]) for row in rows if isinstance(row, dict) and row.get("Revision")]
