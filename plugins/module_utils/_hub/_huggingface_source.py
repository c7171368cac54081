# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Models from a Hugging Face hub: our own look at revisions and lists, and huggingface_hub for the transfer.

huggingface_hub fetches over HTTP and takes up a connection that broke. What an earlier run left, the SHA-256 of what
comes, errors of the server and wrong contents are seen to here. Its other way, Xet, can neither be taken up by a later
run nor be served by most mirrors, and is not used.
"""

from __future__ import annotations

import importlib
import os
import time
import typing as t
from concurrent.futures import ThreadPoolExecutor

from . import _huggingface as api
from . import _transport as transport
from ._arriving import ArrivingFile, WrongContent
from ._files import (
    EVERYTHING,
    Entry,
    HubError,
    Selection,
    unsafe_because,
)
from ._kinds import KINDS
from ._source import (
    PART,
    Access,
    FetchError,
    Hub,
    Resolution,
    is_full_disk,
    size_of,
)

LIBRARY = "huggingface_hub"

# How often a file is fetched whose content is wrong.
CONTENT_ATTEMPTS = 3
# The bytes that the library holds back before it writes them, which is what an interruption loses of each file.
CHUNK = 1024 * 1024
LONGEST_PAUSE = 30.0  # seconds
NAMES_SHOWN = 5

# What a mirror answers that knows the files of a hub but not its lists, such as a proxy for files alone.
NO_ROUTE = (400, 404, 405, 501)
TREE_HINT = (
    "; it may be a mirror that serves files but no list of them (/api/models/…/tree). Use another endpoint, a git "
    "server (source git_lfs) or an archive"
)


def sdk_environment(access: Access, folder: str) -> dict[str, str]:
    """Return the settings of the library, which it reads while it is imported. ``folder`` takes its home."""
    settings = {
        "HF_HOME": folder,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DOWNLOAD_TIMEOUT": str(access.timeout),
        "HF_HUB_VERBOSITY": "critical",
    }
    if access.ca_path:
        settings["SSL_CERT_FILE"] = access.ca_path
    return settings


class Shelf(t.Protocol):
    """Where small files that were read are kept when a run has to end early, by the names of their blobs."""

    def keep(self, blobs: t.Mapping[str, bytes]) -> None:
        """Keep contents, if that can be."""

    def find(self, blob: str) -> bytes | None:
        """Return the content that was kept under this name; the caller has to compare it."""


class NoShelf:
    """Keeps nothing."""

    def keep(self, blobs: t.Mapping[str, bytes]) -> None:
        """Forget them."""

    def find(self, blob: str) -> bytes | None:
        """Find nothing."""
        return None


class HuggingFace(Hub):
    """A repository on a Hugging Face hub, or on a mirror of one."""

    name = "huggingface"
    verifies = True

    def __init__(
        self, access: Access, scratch: str, require: t.Callable[[str], None], shelf: Shelf | None = None
    ) -> None:
        self._access = access
        self._scratch = scratch
        self._require = require
        self._shelf: Shelf = shelf or NoShelf()
        self._where = f"{access.repo} at {access.endpoint}"
        # What small files hold: they have to be read for their SHA-256, and are not fetched twice.
        self._small: dict[str, bytes] = {}

    def resolve(self, revision: str | None) -> Resolution:
        """Ask which commit a revision is."""
        wanted = revision or KINDS[self.name].default_revision
        url = api.revision_url(self._access.endpoint, self._access.repo, wanted)
        return Resolution(wanted, api.parse_commit(self._ask(url, wanted).body, f"revision {wanted} of {self._where}"))

    def entries(self, resolution: Resolution, selection: Selection = EVERYTHING) -> list[Entry]:
        """Return the wanted files of a commit. Small files, which the hub lists without a SHA-256, are read for it."""
        commit = t.cast(str, resolution.commit)
        where = f"{self._where}, revision {resolution.revision}"
        rows = self._rows(commit, resolution.revision)
        if not rows:
            raise HubError(f"{where} lists no file")
        wanted = set(selection.choose([row.path for row in rows], where))
        rows = [row for row in rows if row.path in wanted]
        api.refuse_unfit(rows, f"the list of files of {self._where}")
        small = [row for row in rows if row.sha256 is None]
        for row in small:
            reason = unsafe_because(row.path)
            if reason:
                raise HubError(
                    f"{where} lists the file {row.path!r}, which is refused because {reason}; nothing was downloaded"
                )
        sums = self._sums(small, commit)
        return [Entry(row.path, row.size or 0, sums[row.path] if row.sha256 is None else row.sha256) for row in rows]

    def small_file(self, resolution: Resolution, path: str) -> bytes | None:
        """Ask for a small file; None where the hub refuses."""
        access = self._access
        url = api.file_url(access.endpoint, access.repo, t.cast(str, resolution.commit), path)
        try:
            return transport.get(url, api.headers(access.token), access.timeout, access.ca_path)
        except transport.TransportError:
            return None

    def _rows(self, commit: str, revision: str) -> list[api.Row]:
        """Return all rows of the list of files, page by page."""
        rows: list[api.Row] = []
        asked: set[str] = set()
        url: str | None = api.tree_url(self._access.endpoint, self._access.repo, commit)
        while url:
            asked.add(url)
            answer = self._ask(url, revision, TREE_HINT)
            rows += api.parse_tree(answer.body, f"the list of files of {self._where}")
            url = answer.next_page
            if url in asked or len(rows) > api.ROWS_LIMIT:
                raise HubError(
                    f"the list of files of {self._where} has no end: after {len(rows)} files the endpoint names a page "
                    "that was there before, or more files than a model has; use another endpoint"
                )
        return rows

    def _sums(self, small: t.Sequence[api.Row], commit: str) -> dict[str, str]:
        """Return the SHA-256 of small files. When one cannot be read, the others are kept for the next run."""
        failed: list[HubError] = []

        def one(row: api.Row) -> str:
            try:
                return self._read(row, commit)
            except HubError as error:
                failed.append(error)
                return ""

        with ThreadPoolExecutor(max_workers=self._access.workers) as pool:
            sums = dict(zip((row.path for row in small), pool.map(one, small)))
        if failed:
            blobs = {row.blob: self._small[row.path] for row in small if sums[row.path]}
            if blobs:
                self._shelf.keep(blobs)
            raise failed[0]
        return sums

    def prepare(self) -> None:
        """Import the library, in the collection's virtual environment if need be."""
        os.environ.update(sdk_environment(self._access, self._scratch))
        self._require(LIBRARY)

    def fetch(
        self, resolution: Resolution, entries: t.Sequence[Entry], folder: str, seen: t.Callable[[int], None]
    ) -> int:
        """Fetch files, several at a time; a file that fails does not keep the others from coming."""
        constants: t.Any = importlib.import_module(f"{LIBRARY}.constants")
        constants.DOWNLOAD_CHUNK_SIZE = CHUNK
        http_get = importlib.import_module(f"{LIBRARY}.file_download").http_get
        commit = t.cast(str, resolution.commit)
        counted: list[int] = []  # appended to by several threads, which is one step
        seen(sum(size_of(os.path.join(folder, entry.path) + PART) for entry in entries))

        def count(size: int) -> None:
            counted.append(size)
            seen(size)
            self._access.throttle(size)

        def one(entry: Entry) -> Exception | None:
            try:
                self._fetch_one(http_get, commit, entry, folder, count)
            except Exception as error:  # the library has many kinds, and lets those of others through
                return error
            return None

        with ThreadPoolExecutor(max_workers=self._access.workers) as pool:
            failed = {entry.path: error for entry, error in zip(entries, pool.map(one, entries)) if error}
        fetched = max(0, sum(counted))
        if failed:
            raise FetchError(
                f"{self._where}, revision {resolution.revision}: {self._describe(failed)}; what was fetched is kept, "
                "run again to go on",
                any(map(may_pass, failed.values())) and not any(map(is_full_disk, failed.values())),
                fetched,
            )
        return fetched

    def _fetch_one(
        self, http_get: t.Any, commit: str, entry: Entry, folder: str, seen: t.Callable[[int], None]
    ) -> None:
        wrong = failures = 0
        while True:
            with ArrivingFile(folder, entry, seen) as file:
                before = file.tell()
                try:
                    self._bring(http_get, commit, entry, file)
                    file.finish()
                    return
                except WrongContent:
                    wrong += 1
                    file.discard()
                    if wrong >= CONTENT_ATTEMPTS:
                        raise
                except Exception as error:
                    if status_of(error) == 416:  # what is there cannot be the start of what the hub has
                        file.discard()
                        wrong += 1
                        if wrong < CONTENT_ATTEMPTS:
                            continue
                    # A connection that brings something is worth any number of attempts.
                    failures = 1 if file.tell() > before else failures + 1
                    if is_full_disk(error) or not may_pass(error) or failures > self._access.retries:
                        raise
                    time.sleep(min(float(2 ** (failures - 1)), LONGEST_PAUSE))

    def _bring(self, http_get: t.Any, commit: str, entry: Entry, file: ArrivingFile) -> None:
        if entry.path in self._small:
            file.seek(0)
            file.truncate()
            file.write(self._small[entry.path])
            return
        if file.tell() == entry.size:
            return
        # Without expected_size, with which the library refuses what is larger than 50 GB. ArrivingFile compares sizes.
        http_get(
            api.file_url(self._access.endpoint, self._access.repo, commit, entry.path),
            file,
            resume_size=file.tell(),
            headers=api.headers(self._access.token),
            displayed_filename=entry.path,
            _nb_retries=0,
        )

    def _read(self, row: api.Row, commit: str) -> str:
        kept = None if row.path in self._small else self._shelf.find(row.blob)
        if kept is not None:
            try:
                found = api.check_small(kept, row, self._where)
            except HubError:
                pass  # it is read anew
            else:
                self._small[row.path] = kept
                return found
        if row.path not in self._small:
            url = api.file_url(self._access.endpoint, self._access.repo, commit, row.path)
            hint = f"; the hub lists {row.path} and does not give it out. Run again, or use another endpoint"
            self._small[row.path] = self._ask(url, commit, hint).body
        return api.check_small(self._small[row.path], row, self._where)

    def _ask(self, url: str, revision: str, hint: str = "") -> transport.Answer:
        access = self._access
        try:
            return transport.ask(
                url, api.headers(access.token), access.timeout, access.ca_path, attempts=access.attempts
            )
        except transport.TransportError as error:
            text = self._explain(error, revision)
            if hint and error.code in (None, "EntryNotFound") and error.status in NO_ROUTE and not error.elsewhere:
                text = f"{error}{hint}"
            raise transport.failed(self._where, text, error) from error

    def _explain(self, error: transport.TransportError, revision: str) -> str:
        token = "the token" if self._access.token else "to answer without a token"
        if error.code == "GatedRepo":
            return f"the hub wants its terms for this model accepted, and refused {token} ({error})"
        if error.code in ("RevisionNotFound", "EntryNotFound"):
            return f"there is no revision {revision!r} ({error}); check the name of the branch, tag or commit"
        return transport.explain(error, bool(self._access.token))

    def _describe(self, failed: t.Mapping[str, Exception]) -> str:
        shown = [f"{path} ({headline(reason)})" for path, reason in sorted(failed.items())[:NAMES_SHOWN]]
        rest = len(failed) - len(shown)
        text = f"{len(failed)} of its files could not be fetched: " + ", ".join(shown)
        text += f" and {rest} more" if rest else ""
        return text.replace(self._access.token, "********") if self._access.token else text


def may_pass(error: BaseException) -> bool:
    """Say whether a failure of the library may be gone by the next attempt."""
    status = status_of(error)
    if status is not None:
        return transport.worth_retrying(status)
    # Its library for HTTP has a family of errors of its own for what happens to connections.
    family = {kind.__name__ for kind in type(error).__mro__}
    return bool(family & {"TransportError", "ConnectionError", "TimeoutError"}) or is_short(error)


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status that an error of the library is about."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None


def is_short(error: BaseException) -> bool:
    """Say whether the library reports that a body ended early, which it does by an OSError without a number."""
    return error.__class__ is OSError and error.errno is None


def headline(error: BaseException) -> str:
    """Return the first line of an error, without the query of a URL, which may hold a signature."""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0].partition('?')[0]}" if text else type(error).__name__
