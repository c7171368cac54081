# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Models from ModelScope: our own listing call, and the SDK for the transfer."""

from __future__ import annotations

import importlib
import os
import threading
import typing as t

from . import _modelscope as api
from ._files import (
    EVERYTHING,
    Entry,
    HubError,
    Selection,
    is_commit,
)
from ._kinds import KINDS
from ._source import (
    FETCH_LIMIT,
    PART,
    Access,
    FetchError,
    Hub,
    Resolution,
    is_full_disk,
    size_of,
)

LIBRARY = "modelscope_hub"

# Versions of the SDK that were seen to compare every file with its SHA-256 as it arrives.
TRUSTED = ("0.5.1",)


def sdk_environment(access: Access, folder: str) -> dict[str, str]:
    """Return the settings of the SDK, read while it is imported. ``folder`` takes what it would put into a home."""
    settings = {
        "MODELSCOPE_CACHE": folder,
        "MODELSCOPE_HOME": folder,
        "MODELSCOPE_ENDPOINT": access.endpoint,
        # The lock of the model's folder is ours. The SDK's own would make hosts that share a home wait for each other.
        "MODELSCOPE_DOWNLOAD_FILE_LOCK": "false",
        "MODELSCOPE_DOWNLOAD_MAX_RETRIES": str(access.retries),
        "MODELSCOPE_DOWNLOAD_TIMEOUT": str(access.timeout),
        # An hour for each file by default, which a slow link needs for one shard alone.
        "MODELSCOPE_DOWNLOAD_TOTAL_TIMEOUT": str(FETCH_LIMIT),
        "MODELSCOPE_LOG_LEVEL": "CRITICAL",
        "TQDM_DISABLE": "1",
        # Where requests, which the SDK uses, would find credentials that other tools have stored.
        "NETRC": os.devnull,
    }
    if access.ca_path:
        settings["REQUESTS_CA_BUNDLE"] = access.ca_path
    return settings


def describe_failure(error: BaseException, secret: str | None) -> str:
    """Return one line on why the SDK failed, with the reason for each file, and without the token."""
    failed: t.Mapping[str, BaseException] = getattr(error, "failed_files", None) or {}
    if failed:
        shown = [f"{path} ({_headline(reason)})" for path, reason in sorted(failed.items())[:5]]
        rest = len(failed) - len(shown)
        text = f"{len(failed)} of its files could not be fetched: " + ", ".join(shown)
        text += f" and {rest} more" if rest else ""
    else:
        text = _headline(error)
    return text.replace(secret, "********") if secret else text


def may_pass(error: BaseException) -> bool:
    """Say whether a failure of the SDK, or of any file in it, may be gone by the next attempt."""
    failed: t.Mapping[str, BaseException] = getattr(error, "failed_files", None) or {}
    if failed:
        return not any(is_full_disk(reason) for reason in failed.values()) and any(map(may_pass, failed.values()))
    return bool(getattr(error, "retryable", False)) or isinstance(error, (ConnectionError, TimeoutError))


def _headline(error: BaseException) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__


class ModelScope(Hub):
    """A repository on a ModelScope hub."""

    name = "modelscope"
    verifies = False

    def __init__(self, access: Access, scratch: str, require: t.Callable[[str], None]) -> None:
        self._access = access
        self._scratch = scratch
        self._require = require
        self._where = f"{access.repo} at {access.endpoint}"
        self._listed: dict[Resolution, list[api.Row]] = {}

    def resolve(self, revision: str | None) -> Resolution:
        """Ask what a revision is. The answer of this one request holds the files as well."""
        wanted = revision or KINDS[self.name].default_revision
        page = self._page(wanted)
        if page is None or not page.rows:
            raise HubError(f"{self._where} has no revision {wanted!r}, or no file in it; {self._known_revisions()}")
        commit = wanted if is_commit(wanted) else page.commit
        resolution = Resolution(wanted, commit)
        self._listed[resolution] = self._walk(wanted, page) if page.cut else page.rows
        return resolution

    def entries(self, resolution: Resolution, selection: Selection = EVERYTHING) -> list[Entry]:
        """Return the wanted files of a revision."""
        if resolution not in self._listed:
            resolution = self.resolve(resolution.revision)
        where = f"{self._where}, revision {resolution.revision}"
        rows = [row for row in self._listed[resolution] if not api.is_folder(row)]
        if not rows:
            raise HubError(f"{where} lists no file")
        wanted = set(selection.choose([api.row_path(row) for row in rows], where))
        return api.entries_of((row for row in rows if api.row_path(row) in wanted), where)

    def prepare(self) -> None:
        """Import the SDK, in the collection's virtual environment if need be."""
        os.environ.update(sdk_environment(self._access, self._scratch))
        self._require(LIBRARY)

    def fetch(
        self, resolution: Resolution, entries: t.Sequence[Entry], folder: str, seen: t.Callable[[int], None]
    ) -> int:
        """Let the SDK fetch files; it resumes what an earlier run left and checks sizes and hashes as they come."""
        sdk: t.Any = importlib.import_module(LIBRARY)
        self.verifies = getattr(sdk, "__version__", "") in TRUSTED
        lock, throttle = threading.Lock(), self._access.throttle
        resumed = sum(size_of(os.path.join(folder, entry.path) + PART) for entry in entries)
        transferred = -resumed

        class Callback(sdk.ProgressCallback):
            """Counts the bytes of one file; a restarted file takes back what it had counted."""

            def __init__(self, filename: str, file_size: int) -> None:
                super().__init__(filename, file_size)
                self.had = size_of(os.path.join(folder, filename) + PART)

            def update(self, size: int) -> None:
                """Report progress; the SDK calls this from its threads."""
                nonlocal transferred
                with lock:
                    transferred += size
                seen(size)
                # The first thing it counts is what an earlier run had left, which comes from no network.
                if size != self.had:
                    throttle(size)
                self.had = 0

        revision = self._servable(resolution, entries)
        try:
            sdk.HubApi(endpoint=self._access.endpoint, token=self._access.token or "").download_repo(
                self._access.repo,
                "model",
                revision=revision,
                local_dir=folder,
                max_workers=self._access.workers,
                progress_callbacks=[Callback],
                file_list=[{"Path": e.path, "Size": e.size, "Sha256": e.sha256} for e in entries],
            )
        except Exception as error:  # the SDK has many kinds, and lets those of its libraries through
            raise FetchError(
                f"{self._where}, revision {resolution.revision}: {describe_failure(error, self._access.token)}; "
                "what was fetched is kept, run again to go on",
                may_pass(error),
                max(0, transferred),
            ) from error
        return max(0, transferred)

    def small_file(self, resolution: Resolution, path: str) -> bytes | None:
        """Ask for a small file; None where the hub refuses."""
        from . import _transport as transport

        access = self._access
        url = api.file_url(access.endpoint, access.repo, resolution.commit or resolution.revision, path)
        try:
            return transport.get(url, api.headers(access.token), access.timeout, access.ca_path)
        except transport.TransportError:
            return None

    def _servable(self, resolution: Resolution, entries: t.Sequence[Entry]) -> str:
        """Return the revision to fetch from: the commit, if the hub serves the same files under it.

        Without that, a push between listing and fetching would be noticed by the hashes, and fail the run.
        """
        commit = resolution.commit
        if commit is None or commit == resolution.revision:
            return resolution.revision
        page = self._page(commit)
        if page is None or page.cut:
            return resolution.revision
        paths = {entry.path for entry in entries}
        served = api.entries_of((row for row in page.rows if api.row_path(row) in paths), self._where)
        return commit if set(entries) <= set(served) else resolution.revision

    def _page(self, revision: str, folder: str = "", recursive: bool = True) -> api.Page | None:
        url = api.listing_url(self._access.endpoint, self._access.repo, revision, folder, recursive)
        return api.parse_page(self._get(url), f"the list of files of {self._where}")

    def _get(self, url: str) -> bytes:
        # Costly to import, and of no use to a run that asks nothing.
        from . import _transport as transport

        access = self._access
        try:
            return transport.get(
                url, api.headers(access.token), access.timeout, access.ca_path, attempts=access.attempts
            )
        except transport.TransportError as error:
            raise transport.failed(self._where, transport.explain(error, bool(access.token)), error) from error

    def _walk(self, revision: str, first: api.Page) -> list[api.Row]:
        """Return all rows, folder by folder, where one answer does not hold them."""
        rows = {api.row_path(row): row for row in first.rows}
        folders = [""]
        while folders:
            folder = folders.pop()
            page = self._page(revision, folder, recursive=False)
            if page is None or page.cut:
                raise HubError(
                    f"{self._where} does not list all files of its folder {folder or '/'!r}; it is too large"
                )
            rows.update((api.row_path(row), row) for row in page.rows)
            for row in page.rows:
                if not api.is_folder(row):
                    continue
                below = self._page(revision, api.row_path(row))
                if below is None or below.cut:
                    folders.append(api.row_path(row))
                else:
                    rows.update((api.row_path(found), found) for found in below.rows)
        return list(rows.values())

    def _known_revisions(self) -> str:
        try:
            names = api.parse_revisions(
                self._get(api.revisions_url(self._access.endpoint, self._access.repo)), "the list of revisions"
            )
        except HubError:
            names = []
        return f"it has {', '.join(names[:20])}" if names else "check the name of the branch or tag"
