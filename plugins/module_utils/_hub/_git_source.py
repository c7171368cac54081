# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Models from a git server with LFS, without a work tree.

A commit is fetched into a bare repository, small files are written from its blobs, and git-lfs fetches the objects of a
tree that holds just the wanted pointers; each object is then renamed into place. So nothing is on disk twice, no filter
or hook of the repository runs, and no path is written that was not checked.
"""

from __future__ import annotations

import contextlib
import ctypes
import glob
import hashlib
import os
import signal
import subprocess
import threading
import time
import typing as t

from . import _git as git
from ._files import (
    EVERYTHING,
    Entry,
    HubError,
    HubUnavailable,
    Selection,
)
from ._hashing import sha256_of
from ._source import (
    FETCH_LIMIT,
    PART,
    Access,
    Hub,
    MissingProgram,
    Resolution,
    size_of,
)
from ._store import link_or_copy, partial_size
from ._weights import POINTER_LIMIT, parse_pointer

LOCAL_LIMIT = 600
LFS_ATTEMPTS = 3
BLOCK = 1024 * 1024
IDENTITY = {
    f"GIT_{role}_{what}": value
    for role in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "private_llm.fleet"), ("EMAIL", "root@localhost"), ("DATE", "1700000000 +0000"))
}


# prctl(2): the signal that a process gets when the thread that started it has ended.
PR_SET_PDEATHSIG = 1


def _dying_with_us() -> t.Callable[[], object]:
    """Return a function that makes a child process end when this one is killed: two runs must never write at once."""
    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class GitLfs(Hub):
    """A repository on a git server."""

    name = "git_lfs"
    verifies = True

    def __init__(self, access: Access, scratch: str, storage: str, find_program: t.Callable[[str], str | None]) -> None:
        self._access = access
        self._url = f"{access.endpoint}/{access.repo}.git"
        self._scratch = os.path.join(scratch, "repository.git")
        # The objects outlive this run, so that an interrupted one can be taken up; commit and pointers are small.
        self._storage = storage
        self._find_program = find_program
        self._blobs: dict[str, git.TreeEntry] = {}
        self._pointers: set[str] = set()

    def resolve(self, revision: str | None) -> Resolution:
        """Ask for the refs, which needs no git on this host."""
        pinned = self.pin(revision)
        if pinned is not None:
            return pinned
        # Costly to import, and of no use to a run that asks nothing.
        from . import _transport as transport

        access = self._access
        headers = {"Authorization": git.basic_authorization(access.token)} if access.token else {}
        try:
            refs = git.parse_refs(
                transport.get(
                    git.refs_url(self._url), headers, access.timeout, access.ca_path, attempts=access.attempts
                )
            )
        except transport.TransportError as error:
            raise transport.failed(self._url, transport.explain(error, bool(access.token)), error) from error
        except HubUnavailable as error:
            raise HubUnavailable(f"{self._url}: {error}") from error
        except HubError as error:
            raise HubError(f"{self._url}: {error}") from error
        found = git.choose(refs, revision)
        if found is None:
            names = ", ".join(git.short_names(refs)[:20]) or "neither branches nor tags"
            asked = "a default branch" if revision is None else f"a revision {revision!r}"
            raise HubError(f"{self._url} does not have {asked}; it has {names}")
        return Resolution(found[0], found[1])

    def prepare(self) -> None:
        """Find git and git-lfs."""
        for program in ("git", "git-lfs"):
            if self._find_program(program) is None:
                raise MissingProgram(
                    f"source git_lfs needs {program} on this host; install the package of that name, "
                    "or apply the role private_llm.fleet.model_download"
                )

    def entries(self, resolution: Resolution, selection: Selection = EVERYTHING) -> list[Entry]:
        """Fetch the commit, and read what its wanted files are: from the pointer if there is one, else the content."""
        where = f"{self._url}, revision {resolution.revision}"
        return self._entries(resolution, lambda paths: set(selection.choose(paths, where)))

    def _entries(self, resolution: Resolution, choose: t.Callable[[t.Sequence[str]], t.Container[str]]) -> list[Entry]:
        self.prepare()
        commit = t.cast(str, resolution.commit)
        self._fetch_commit(commit, resolution.revision)
        entries = []
        items = git.parse_tree(self._git("ls-tree", "-r", "-l", "-z", commit))
        if not items:
            raise HubError(f"{self._url}, revision {resolution.revision} lists no file")
        wanted = choose([item.path for item in items])
        with _Blobs(self._command(), self._environment()) as blobs:
            for item in items:
                if item.path not in wanted:
                    continue
                if item.mode not in git.REGULAR_MODES:
                    raise HubError(
                        f"{self._url} holds {item.path!r}, which is not a plain file but a link or a submodule; leave "
                        "it out with exclude if it is not needed"
                    )
                self._blobs[item.path] = item
                content = blobs.read(item.oid) if item.size <= POINTER_LIMIT else b""
                pointer = parse_pointer(content)
                if pointer:
                    self._pointers.add(item.path)
                    entries.append(Entry(item.path, pointer[1], pointer[0]))
                else:
                    entries.append(Entry(item.path, item.size, blobs.sha256(item.oid)))
        return entries

    def small_file(self, resolution: Resolution, path: str) -> bytes | None:
        """Return the content of a file that came with the listed commit; None for one that is behind a pointer."""
        if path not in self._blobs or path in self._pointers:
            return None
        with _Blobs(self._command(), self._environment()) as blobs:
            return blobs.read(self._blobs[path].oid)

    def fetch(
        self, resolution: Resolution, entries: t.Sequence[Entry], folder: str, seen: t.Callable[[int], None]
    ) -> int:
        """Write small files from the commit, and let git-lfs fetch the objects of the others."""
        if not {entry.path for entry in entries} <= set(self._blobs):
            paths = {entry.path for entry in entries}
            self._entries(resolution, lambda listed: paths)
        with _Blobs(self._command(), self._environment()) as blobs:
            for entry in entries:
                if entry.path not in self._pointers:
                    blobs.write(self._blobs[entry.path].oid, os.path.join(folder, entry.path))
                    seen(entry.size)
        small = sum(entry.size for entry in entries if entry.path not in self._pointers)
        pointers = [entry for entry in entries if entry.path in self._pointers]
        wanted = {entry.sha256: entry.size for entry in pointers}
        self._take_up(pointers, folder)
        had = sum(self._progress_of(oid, size) for oid, size in wanted.items())
        if pointers:
            try:
                self._fetch_objects(pointers, seen)
            except HubError:
                self._hand_back(pointers, folder)
                raise
        self._place(pointers, folder)
        return small + sum(wanted.values()) - had

    def _fetch_commit(self, commit: str, revision: str) -> None:
        if not os.path.isdir(self._scratch):
            self._run(["git", "init", "--quiet", "--bare", "--template=", self._scratch], LOCAL_LIMIT)
        if self._has(commit):
            return
        try:
            self._git("fetch", "--quiet", "--no-tags", "--depth", "1", self._url, commit, limit=FETCH_LIMIT)
        except HubError:
            # Not every server gives out a commit by its id; the branches and tags hold it if it is there at all.
            refs = ("+refs/heads/*:refs/remote/heads/*", "+refs/tags/*:refs/remote/tags/*")
            self._git("fetch", "--quiet", self._url, *refs, limit=FETCH_LIMIT)
        if not self._has(commit):
            raise HubError(f"{self._url} has no commit {commit}; check the revision {revision!r}")

    def _has(self, commit: str) -> bool:
        try:
            self._git("cat-file", "-e", f"{commit}^{{tree}}")
        except HubError:
            return False
        return True

    def _fetch_objects(self, entries: t.Sequence[Entry], seen: t.Callable[[int], None]) -> None:
        """Fetch the objects of just these pointers: make a commit of them, and name it to git-lfs."""
        lines = [f"{self._blobs[entry.path].mode} {self._blobs[entry.path].oid}\t{entry.path}" for entry in entries]
        self._git("read-tree", "--empty")
        self._git("update-index", "-z", "--index-info", data="\0".join([*lines, ""]).encode())
        tree = self._git("write-tree").decode().strip()
        wanted = self._git("commit-tree", tree, "-m", "wanted").decode().strip()
        with _Watch(self._storage, seen):
            for attempt in range(1, LFS_ATTEMPTS + 1):
                if self._fetch_once(wanted, last=attempt == LFS_ATTEMPTS):
                    return
                time.sleep(attempt)

    def _fetch_once(self, commit: str, last: bool) -> bool:
        """Fetch once. git-lfs repeats what a network breaks, but not an object that arrives with other contents."""
        try:
            # Not by git, which would leave it alone when it is killed.
            self._run(["git-lfs", "fetch", self._url, commit], FETCH_LIMIT)
        except HubError as error:
            if last:
                raise HubError(f"{error}; what was fetched is kept, run again to go on") from error
            return False
        return True

    def _object(self, oid: str) -> str:
        return os.path.join(self._storage, "objects", oid[:2], oid[2:4], oid)

    def _progress_of(self, oid: str, size: int) -> int:
        """Return the bytes of an object that an earlier run has fetched; a part as long as the object is wrong."""
        if os.path.isfile(self._object(oid)):
            return size
        part = self._part(oid)
        fetched = os.path.getsize(part) if os.path.isfile(part) else 0
        return fetched if fetched < size else 0

    def _part(self, oid: str) -> str:
        return os.path.join(self._storage, "incomplete", f"{oid}.part")

    def _take_up(self, entries: t.Sequence[Entry], folder: str) -> None:
        """Give git-lfs what others have left, and take from it whole objects that a crash may have emptied."""
        for entry in entries:
            self._name_part(entry.sha256)
            whole, part, left = self._object(entry.sha256), self._part(entry.sha256), self._left(entry, folder)
            if os.path.isfile(whole) and sha256_of(whole) != entry.sha256:
                os.unlink(whole)
            if os.path.isfile(left) and not os.path.exists(part):
                os.makedirs(os.path.dirname(part), exist_ok=True)
                os.replace(left, part)

    def _name_part(self, oid: str) -> None:
        """Give what a killed git-lfs has left the name by which it knows parts: it adds digits while it writes."""
        part = self._part(oid)
        for path in glob.glob(os.path.join(self._storage, "incomplete", f"{oid}[0-9]*")):
            if os.path.getsize(path) > size_of(part):
                os.replace(path, part)
            else:
                os.unlink(path)

    def _hand_back(self, entries: t.Sequence[Entry], folder: str) -> None:
        """Leave what came of each file where other sources look for it."""
        for entry in entries:
            part, left = self._part(entry.sha256), self._left(entry, folder)
            if 0 < self._progress_of(entry.sha256, entry.size) < entry.size:
                os.makedirs(os.path.dirname(left), exist_ok=True)
                os.replace(part, left)

    @staticmethod
    def _left(entry: Entry, folder: str) -> str:
        return os.path.join(folder, entry.path) + PART

    def _place(self, entries: t.Sequence[Entry], folder: str) -> None:
        placed: dict[str, str] = {}
        for entry in entries:
            target = os.path.join(folder, entry.path)
            if entry.sha256 in placed:
                link_or_copy(placed[entry.sha256], target)
                continue
            source = self._object(entry.sha256)
            if entry.size == 0 and not os.path.exists(source):  # git-lfs keeps no object for an empty file
                _write(target, [])
                continue
            if not os.path.isfile(source):
                raise HubError(f"{self._url} has the pointer of {entry.path} but not its content")
            os.makedirs(os.path.dirname(target), exist_ok=True)
            os.replace(source, target)
            placed[entry.sha256] = target

    def _command(self) -> list[str]:
        return ["git"]

    def _git(self, *arguments: str, data: bytes | None = None, limit: int = LOCAL_LIMIT) -> bytes:
        return self._run([*self._command(), *arguments], limit, data)

    def _run(self, command: list[str], limit: int, data: bytes | None = None) -> bytes:
        try:
            # AnsibleModule's run_command knows no time-out, and no process that is talked to while it runs.
            done = subprocess.run(  # pylint: disable=ansible-bad-function
                command,
                input=data,
                capture_output=True,
                env=self._environment(),
                timeout=limit,
                check=False,
                preexec_fn=_dying_with_us(),
            )
        except subprocess.TimeoutExpired as error:
            raise HubError(f"{' '.join(command)} did not end within {limit} s") from error
        if done.returncode:
            shown = " ".join(word for word in command if word != self._scratch)
            words = " ".join(done.stderr.decode("utf-8", "replace").split())
            raise HubError(f"{shown} failed: {self._without_secrets(words) or 'no reason given'}")
        return done.stdout

    def _without_secrets(self, text: str) -> str:
        token = self._access.token
        if not token:
            return text
        return text.replace(token, "********").replace(git.basic_authorization(token), "Basic ********")

    def _environment(self) -> dict[str, str]:
        access = self._access
        items = [
            ("core.hooksPath", os.devnull),
            # Forgets the helpers that the host's own configuration names.
            ("credential.helper", ""),
            ("gc.auto", "0"),
            # A connection that stalls is given up, and taken up again where git-lfs can.
            ("http.lowSpeedLimit", "1000"),
            ("http.lowSpeedTime", str(access.timeout)),
            ("lfs.activitytimeout", str(access.timeout)),
            ("lfs.dialtimeout", str(access.timeout)),
            ("lfs.tlstimeout", str(access.timeout)),
            ("lfs.transfer.maxretries", str(access.retries)),
            ("lfs.concurrenttransfers", str(access.workers)),
            ("lfs.locksverify", "false"),
            ("lfs.storage", self._storage),
        ]
        if access.ca_path:
            items.append(("http.sslCAInfo", access.ca_path))
        if access.token:
            # Bound to the endpoint, so that a storage host elsewhere does not get it.
            items.append(
                (f"http.{access.endpoint}/.extraHeader", f"Authorization: {git.basic_authorization(access.token)}")
            )
        return {
            **os.environ,
            **IDENTITY,
            **git.settings(items),
            # Settings and credentials of whoever this runs as, such as those in .netrc, are not ours.
            "HOME": os.path.dirname(self._scratch),
            "XDG_CONFIG_HOME": os.path.dirname(self._scratch),
            "GIT_DIR": self._scratch,
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ALLOW_PROTOCOL": "http:https",
            "GIT_INDEX_FILE": os.path.join(self._scratch, "wanted.index"),
            "LC_ALL": "C",
        }


class _Blobs:
    """Reads blobs through one git process."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(  # pylint: disable=ansible-bad-function
            [*command, "cat-file", "--batch"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )

    def __enter__(self) -> _Blobs:
        return self

    def __exit__(self, *unused: object) -> None:
        if self._process.stdin and self._process.stdout:
            self._process.stdin.close()
            self._process.stdout.close()
        self._process.wait(LOCAL_LIMIT)

    def _blocks(self, oid: str) -> t.Iterator[bytes]:
        if not self._process.stdin or not self._process.stdout:
            raise HubError("git cat-file has no pipes")
        self._process.stdin.write(f"{oid}\n".encode())
        self._process.stdin.flush()
        header = self._process.stdout.readline().split()
        if len(header) != 3 or header[1] != b"blob":
            raise HubError(f"git does not have the blob {oid}")
        left = int(header[2])
        while left:
            block = self._process.stdout.read(min(BLOCK, left))
            if not block:
                raise HubError(f"git ended while it gave out the blob {oid}")
            left -= len(block)
            yield block
        self._process.stdout.read(1)

    def read(self, oid: str) -> bytes:
        """Return the content of a small blob."""
        return b"".join(self._blocks(oid))

    def sha256(self, oid: str) -> str:
        """Return the SHA-256 of a blob."""
        digest = hashlib.sha256()
        for block in self._blocks(oid):
            digest.update(block)
        return digest.hexdigest()

    def write(self, oid: str, path: str) -> None:
        """Write a blob into a file."""
        _write(path, self._blocks(oid))


class _Watch:
    """Reports the growth of a folder while something else writes into it."""

    def __init__(self, folder: str, seen: t.Callable[[int], None]) -> None:
        self._folder = folder
        self._seen = seen
        self._done = threading.Event()
        self._known = partial_size(folder)
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> _Watch:
        self._thread.start()
        return self

    def __exit__(self, *unused: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            last = self._done.wait(1.0)
            size = partial_size(self._folder)
            self._seen(size - self._known)
            self._known = size
            if last:
                return


def _write(path: str, blocks: t.Iterable[bytes]) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    with open(path, "wb") as stream:
        stream.writelines(blocks)
