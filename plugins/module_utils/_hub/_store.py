# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The store of models on a host.

<root>/<organization>/<name>/<digest>/...   a release: verified, complete, with a manifest; published by one rename
<root>/<organization>/<name>/current        a link to the release in use
<root>/<organization>/<name>/.staging/      what is being fetched; survives an interruption and is gone after success
<root>/<organization>/<name>/.lock          held by the run that changes any of this
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import functools
import os
import re
import shutil
import stat
import time
import typing as t

from .. import _units
from .._regular import regular
from ._files import (
    MANIFEST_NAME,
    Entry,
    HubError,
    check_repo,
)
from ._kinds import HEAD, KINDS
from ._manifest import Manifest, Origin, Stamp
from ._mounts import lock_problem_here, owners_count

CURRENT = "current"
STAGING = ".staging"
LOCK = ".lock"

# What the name of a file or link ends in until it is put in the place of the one before; the lock is held meanwhile.
NEW = ".new"
_DIGEST = "[0-9a-f]{64}"
_BLOB = "[0-9a-f]{40}"

# Space that stays free for everyone else on the file system.
SPARE_BYTES = 64 * 1000 * 1000


@dataclasses.dataclass(frozen=True)
class Release:
    """A release on disk. Without a manifest it is only known by its digest."""

    digest: str
    path: str
    manifest: Manifest | None


@dataclasses.dataclass(frozen=True)
class Stale:
    """What a look at the stamps of a release says: files that are not there, and files that must be read to be sure."""

    missing: tuple[str, ...]
    doubtful: tuple[str, ...]
    # Files that somebody else can change: they are taken over as copies, after their contents were verified.
    foreign: tuple[str, ...] = ()


class SmallFiles:
    """Small files that a run had read when it had to end early; a courtesy to the next one, and nothing else."""

    LIMIT = 64 * 1024 * 1024

    def __init__(self, store: ModelStore) -> None:
        self._store = store
        self._folder = os.path.join(store.staging_root, "small")

    def keep(self, blobs: t.Mapping[str, bytes]) -> None:
        """Keep contents by the names of their blobs, unless another run works on the model or there is no room."""
        with contextlib.suppress(OSError, HubError), self._store.locked(0, lambda: None):
            self._store.make_staging("small")
            for blob, content in blobs.items():
                path = os.path.join(self._folder, blob)
                if re.fullmatch(_BLOB, blob) and not os.path.lexists(path):
                    _write_new(path + NEW, content)
                    os.replace(path + NEW, path)

    def find(self, blob: str) -> bytes | None:
        """Return the content that was kept under this name; the caller has to compare it."""
        if not re.fullmatch(_BLOB, blob):
            return None
        try:
            descriptor = open_below(self._folder, blob)
            with os.fdopen(descriptor, "rb") as stream:
                return stream.read(self.LIMIT)
        except OSError:
            return None


class ModelStore:
    """The folder of one model."""

    def __init__(self, root: str, repo: str) -> None:
        if not os.path.isabs(root) or os.path.normpath(root).strip("/") == "":
            raise HubError(f"root {root!r} is not the absolute path of a folder for models, such as /srv/models")
        self.root = root
        self.repo = check_repo(repo)
        self.path = os.path.join(root, *repo.split("/"))
        self.current_link = os.path.join(self.path, CURRENT)
        self.staging_root = os.path.join(self.path, STAGING)
        self._owners_count: bool | None = None

    # What is there

    def exists(self) -> bool:
        """Say whether the model's folder is there."""
        return os.path.isdir(self.path)

    def release_path(self, digest: str) -> str:
        """Return where a release is, or would be."""
        return os.path.join(self.path, digest)

    def staging_path(self, digest: str) -> str:
        """Return the folder in which a release is put together."""
        return os.path.join(self.staging_root, digest)

    def releases(self) -> list[Release]:
        """Return all releases, the newest first."""
        found = []
        for name in _names(self.path):
            path = self.release_path(name)
            if re.fullmatch(_DIGEST, name) and os.path.isdir(path) and not os.path.islink(path):
                found.append(Release(name, path, read_manifest(path, name) if self._made_by_us(path) else None))
        return sorted(found, key=lambda r: r.manifest.published if r.manifest else 0.0, reverse=True)

    def release(self, digest: str) -> Release | None:
        """Return the release of that digest; None when it is not there."""
        return next((release for release in self.releases() if release.digest == digest), None)

    def current(self) -> str | None:
        """Return the digest of the release in use."""
        try:
            return os.readlink(self.current_link)
        except OSError:
            return None

    def find(self, origin: Origin) -> Release | None:
        """Return the release that is known to be what the origin means."""
        for release in self.releases():
            if release.manifest and any(known.same_content(origin) for known in release.manifest.origins):
                return release
        return None

    def last_known(self, asked: Origin) -> tuple[Release, Origin] | None:
        """Return the release that a revision was when its hub was asked last, with the origin that says so.

        The revision may be empty, and the commit of what is asked does not count.
        """
        current = self.current()
        found = [
            (release, origin)
            for release in sorted(self.releases(), key=lambda one: one.digest != current)
            for origin in reversed(release.manifest.origins if release.manifest else ())
            if dataclasses.replace(origin, revision="", commit=None)
            == dataclasses.replace(asked, revision="", commit=None)
        ]
        wanted = asked.revision or KINDS[asked.source].default_revision
        for release, origin in found:
            if origin.revision == wanted:
                branches = (other for one, other in found if one is release and other.commit == origin.commit)
                named = (other for other in branches if other.revision not in (HEAD, other.commit))
                return release, next(named, origin) if wanted == HEAD else origin
        return None

    def outdated(self, digest: str, claims: t.Iterable[Origin]) -> dict[str, Manifest]:
        """Return, by path, the manifests of other releases that claim one of these origins, without the claim."""
        claims = list(claims)
        found = {}
        for release in self.releases():
            manifest = release.manifest
            if release.digest == digest or manifest is None:
                continue
            for origin in claims:
                manifest = manifest.without_claim(origin)
            if manifest != release.manifest:
                found[release.path] = manifest
        return found

    # Whose it is

    def _made_by_us(self, path: str) -> bool:
        """Say whether nobody else can have written the manifest in a folder, or can exchange it."""
        if not self.owners_count:
            return True
        return all(is_ours(one) for one in (path, os.path.join(path, MANIFEST_NAME)) if os.path.lexists(one))

    @property
    def owners_count(self) -> bool:
        """Say whether owners and modes on this file system tell who can change a file."""
        if self._owners_count is None:
            self._owners_count = owners_count(self._nearest())
        return self._owners_count

    def refuse_linked_folders(self) -> None:
        """Raise when the organization's or the model's folder is a link: it may lead anywhere."""
        for path in (os.path.dirname(self.path), self.path):
            if os.path.islink(path):
                raise HubError(
                    f"{path} is a link and may lead out of the store; put the folder itself in its place, or set root "
                    "to where the models are"
                )

    def open_to_others(self) -> list[str]:
        """Return the store's folders that a user other than root can write, and in which he could exchange releases."""
        if os.geteuid() != 0 or not self.owners_count:
            return []
        return [path for path in (os.path.dirname(self.path), self.path) if os.path.isdir(path) and not is_ours(path)]

    def root_is_open(self) -> bool:
        """Say whether a user other than root can exchange the organizations' folders.

        Only its owner may close the root.
        """
        root = os.path.realpath(self.root)
        if os.geteuid() != 0 or not self.owners_count or not os.path.isdir(root) or is_ours(root):
            return False
        return not os.stat(root).st_mode & stat.S_ISVTX

    def take_over(self, paths: t.Iterable[str]) -> None:
        """Let nobody but root write folders; what is in them stays as it is."""
        for path in paths:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                os.fchown(descriptor, os.geteuid(), os.getegid())
                os.fchmod(descriptor, 0o755)
            finally:
                os.close(descriptor)

    def shelf(self) -> SmallFiles:
        """Return the shelf of small files that an interrupted run had read."""
        return SmallFiles(self)

    def names(self) -> Names:
        """Count the names that files have in the model's folder."""
        return Names(self.path)

    def check_free_space(self, needed: int) -> None:
        """Raise unless the file system has room for so many more bytes."""
        folder, free = self._nearest(), self.free_space()
        if needed and needed + SPARE_BYTES > free:
            raise HubError(
                f"{self.repo} needs {_units.size(needed)} more in {self.root}, and {folder} has {_units.size(free)}"
                " free; make room, choose fewer files with include and exclude, or set root to a larger file system"
            )

    def free_space(self) -> int:
        """Return the bytes that are free for this user on the model's file system."""
        return shutil.disk_usage(self._nearest()).free

    def file_system(self) -> str:
        """Return where the model's file system is mounted."""
        place = os.path.realpath(self._nearest())
        while not os.path.ismount(place):
            place = os.path.dirname(place)
        return place

    def _nearest(self) -> str:
        """Return the model's folder, or the closest one above it that is there."""
        folder = self.path
        while not os.path.isdir(folder):
            folder = os.path.dirname(folder)
        return folder

    def leftovers(self) -> list[str]:
        """Return folders that may hold wanted files under the paths they are to have; their contents are not known yet.

        These are what interrupted runs left, and the model's folder itself, where people put downloads by hand.
        """
        staged = [self.staging_path(name) for name in _names(self.staging_root) if re.fullmatch(_DIGEST, name)]
        unknown = [release.path for release in self.releases() if release.manifest is None]
        return [*staged, *unknown, self.path]

    # Changing it

    @contextlib.contextmanager
    def locked(self, timeout: float, waiting: t.Callable[[], None]) -> t.Iterator[None]:
        """Hold the lock of the model's folder, which is made if it is missing. The kernel frees it if the run dies."""
        problem = lock_problem_here(self._nearest())
        if problem:
            raise HubError(problem)
        deadline = time.monotonic() + timeout
        path = os.path.join(self.path, LOCK)
        while True:
            folder = self._enter()
            try:
                descriptor = _open_lock(path, folder)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    # The one who held it before may have removed the model, and this file with it.
                    if _inode_in(LOCK, folder) == os.fstat(descriptor).st_ino:
                        break
                except OSError as error:
                    if error.errno not in (errno.EAGAIN, errno.EACCES):
                        os.close(descriptor)
                        raise HubError(
                            f"{path} cannot be locked: {error.strerror}; set root to a file system with locks, such as "
                            "a local one, or NFS whose server runs lockd"
                        ) from error
                os.close(descriptor)
            finally:
                os.close(folder)
            if time.monotonic() > deadline:
                raise HubError(f"another run has been working on {self.path} for {timeout:.0f} s; wait for it to end")
            waiting()
            time.sleep(0.5)
        try:
            yield
        finally:
            os.close(descriptor)

    def _enter(self) -> int:
        """Open the model's folder, which is made if it is missing, without following a link below the root."""
        _make_folder(self.root)
        folder = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        way = self.root
        for part in self.repo.split("/"):
            way = os.path.join(way, part)
            try:
                below = _folder_in(part, folder)
            except OSError as error:
                if error.errno not in (errno.ELOOP, errno.ENOTDIR):
                    raise
                raise HubError(f"{way} is a link or no folder; put a folder in its place, then run again") from error
            finally:
                os.close(folder)
            folder = below
        return folder

    def make_staging(self, name: str) -> str:
        """Make a folder for what is being fetched; one that somebody else has made is refused."""
        if os.path.lexists(self.staging_root) and self.owners_count and not is_ours(self.staging_root):
            raise HubError(
                f"{self.staging_root} belongs to another user, or others can write it; remove it, then run again"
            )
        path = os.path.join(self.staging_root, name)
        _make_folder(path)
        return path

    def sweep(self) -> None:
        """Remove what a run that was killed had not yet put in its place."""
        for path in [self.current_link, *(os.path.join(release.path, MANIFEST_NAME) for release in self.releases())]:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path + NEW)

    def publish(self, digest: str, origin: Origin, entries: t.Sequence[Entry]) -> Release:
        """Turn the staging folder, which holds exactly verified files, into a release by one rename."""
        staging, path = self.staging_path(digest), self.release_path(digest)
        _sweep(staging, {entry.path for entry in entries})
        for folder, _folders, names in os.walk(staging, topdown=False):
            for name in names:
                _make_readable(os.path.join(folder, name), 0o644)
                sync(os.path.join(folder, name))
            _make_readable(folder, 0o755)
            sync(folder)
        files = []
        for entry in entries:
            stamp = Stamp.of(os.path.join(staging, entry.path))
            if stamp is None or stamp.size != entry.size:
                raise HubError(f"{entry.path} vanished from {staging} while it was being published")
            files.append((entry, stamp))
        manifest = Manifest(digest, time.time(), (origin,), tuple(files))
        write_manifest(staging, manifest)
        if os.path.isdir(path):  # only ever one without a manifest
            os.rename(path, os.path.join(self.staging_root, f"broken-{digest}-{os.getpid()}"))
        os.rename(staging, path)
        sync(self.path)
        return Release(digest, path, manifest)

    def switch(self, digest: str) -> None:
        """Let the link name a release, in one step."""
        temporary = self.current_link + NEW
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        os.symlink(digest, temporary)
        os.replace(temporary, self.current_link)
        sync(self.path)

    def clear_staging(self) -> None:
        """Remove everything that was being fetched."""
        if os.path.isdir(self.staging_root):
            with self.links_changing():
                shutil.rmtree(self.staging_root)

    def remove_release(self, release: Release) -> None:
        """Remove a release: first out of sight by one rename, then for good."""
        _make_folder(self.staging_root)
        trash = os.path.join(self.staging_root, f"removed-{release.digest}-{os.getpid()}")
        with self.links_changing():
            os.rename(release.path, trash)
            shutil.rmtree(trash)

    def clear_trash(self) -> None:
        """Remove the folder for removed releases, unless something is being fetched there."""
        with contextlib.suppress(OSError):
            os.rmdir(self.staging_root)

    def remove_model(self) -> None:
        """Remove the model's folder and the organization's if it was the last one; the lock goes last."""
        if os.path.islink(self.current_link):
            os.unlink(self.current_link)
        for name in _names(self.path):
            path = os.path.join(self.path, name)
            if name == LOCK:
                continue
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path)
            else:
                os.unlink(path)
        os.unlink(os.path.join(self.path, LOCK))
        os.rmdir(self.path)
        with contextlib.suppress(OSError):  # other models of the organization are there
            os.rmdir(os.path.dirname(self.path))

    @contextlib.contextmanager
    def links_changing(self) -> t.Iterator[None]:
        """Note what making or removing hard links does to the stamps of releases: it changes nothing but the ctime."""
        before = [(release, self._fresh(release)) for release in self.releases()]
        try:
            yield
        finally:
            for release, stamps in before:
                manifest = read_manifest(release.path, release.digest)
                if manifest is None:
                    continue
                renewed = {}
                for path, old in stamps.items():
                    new = Stamp.of(os.path.join(release.path, path))
                    if new and new != old and dataclasses.replace(new, ctime_ns=old.ctime_ns) == old:
                        renewed[path] = new
                if renewed:
                    write_manifest(release.path, manifest.with_stamps(renewed))

    def _fresh(self, release: Release) -> dict[str, Stamp]:
        if release.manifest is None:
            return {}
        return {
            entry.path: stamp
            for entry, stamp in release.manifest.files
            if Stamp.of(os.path.join(release.path, entry.path)) == stamp
        }

    def donors(self, broken: t.Container[str] = ()) -> dict[tuple[str, int], str]:
        """Return where to find each hash and size: files of releases that look as they did when they were verified.

        Files whose paths are in ``broken`` are known to be something else.
        """
        found: dict[tuple[str, int], str] = {}
        for release in self.releases():
            fresh = self._fresh(release)
            for entry in release.manifest.entries if release.manifest else ():
                path = os.path.join(release.path, entry.path)
                if entry.path in fresh and path not in broken:
                    found.setdefault((entry.sha256, entry.size), path)
        return found


def stale_files(release: Release, full: bool, owners: bool = False) -> Stale:
    """Look at the files of a release; with ``full`` every file that is there is doubtful.

    With ``owners`` files that somebody else can change are told apart.
    """
    missing, doubtful, foreign = [], [], []
    for entry, known in release.manifest.files if release.manifest else ():
        path = os.path.join(release.path, entry.path)
        stamp = Stamp.of(path)
        if stamp is None or stamp.size != entry.size:
            missing.append(entry.path)
        elif owners and not is_ours(path):
            foreign.append(entry.path)
        elif full or stamp != known:
            doubtful.append(entry.path)
    return Stale(tuple(missing), tuple(doubtful), tuple(foreign))


def is_ours(path: str) -> bool:
    """Return whether a file or folder belongs to this user and nobody else can write it."""
    try:
        status = os.lstat(path)
    except OSError:
        return False
    writable = status.st_mode & 0o002 or (status.st_mode & 0o020 and status.st_gid != os.getegid())
    return status.st_uid == os.geteuid() and not writable


class Names:
    """The names that files have below a folder, by their inodes."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._count: dict[tuple[int, int], int] | None = None

    def _of(self, status: os.stat_result) -> int:
        if self._count is None:
            self._count = {}
            for where, _folders, names in os.walk(self._folder):
                for name in names:
                    with contextlib.suppress(OSError):
                        one = os.lstat(os.path.join(where, name))
                        self._count[one.st_dev, one.st_ino] = self._count.get((one.st_dev, one.st_ino), 0) + 1
        return self._count.get((status.st_dev, status.st_ino), 0)

    def can_link(self, path: str) -> bool:
        """Return whether a file is this user's alone, with no name elsewhere by which it could be changed."""
        try:
            status = os.lstat(path)
        except OSError:
            return False
        if not stat.S_ISREG(status.st_mode) or not is_ours(path):
            return False
        return status.st_nlink == 1 or status.st_nlink <= self._of(status)

    def take(self, source: str, target: str) -> None:
        """Make the content of a file available in the store: as a hard link where nobody else can change it."""
        link_or_copy(source, target, self.can_link(source))
        if self._count is not None:
            status = os.lstat(target)
            key = status.st_dev, status.st_ino
            self._count[key] = self._count.get(key, 0) + 1


def refuse_links(folder: str, top: str, paths: t.Iterable[str]) -> None:
    """Raise when a way from ``top`` to files at ``paths`` in a folder leads through a link: it may lead anywhere."""
    ways: set[str] = set()
    for path in paths:
        parts = os.path.relpath(os.path.join(folder, path), top).split(os.sep)
        ways.update(os.path.join(top, *parts[:depth]) for depth in range(1, len(parts)))
    for way in sorted(ways):
        if os.path.islink(way):
            raise HubError(f"{way} is a link and may lead out of the store; remove it, then run again")


def left_over(folders: t.Iterable[str], entry: Entry) -> str | None:
    """Return a file in one of the folders that may be the entry, because it has its path and size."""
    for folder in folders:
        path = os.path.join(folder, entry.path)
        if os.path.realpath(os.path.dirname(path)) != os.path.normpath(
            os.path.join(os.path.realpath(folder), os.path.dirname(entry.path))
        ):
            continue  # the way to it leads through a link
        stamp = Stamp.of(path)
        if stamp and stamp.size == entry.size:
            return path
    return None


def read_manifest(folder: str, digest: str) -> Manifest | None:
    """Return the manifest of a release; None when it is missing, broken, or that of another release."""
    path = os.path.join(folder, MANIFEST_NAME)
    stamp = Stamp.of(path)
    if stamp is None:
        return None  # a pipe would keep the reader waiting
    try:
        manifest = _read_manifest(path, stamp)
    except (OSError, ValueError):
        return None
    return manifest if manifest.digest == digest else None


@functools.lru_cache(maxsize=8)
def _read_manifest(path: str, stamp: Stamp) -> Manifest:
    """Return the manifest in a file, parsed once as long as the file is the same."""
    with open(path, encoding="utf-8", opener=regular) as stream:
        return Manifest.from_json(stream.read())


def write_manifest(folder: str, manifest: Manifest) -> None:
    """Write the manifest of a release in one step."""
    path = os.path.join(folder, MANIFEST_NAME)
    temporary = path + NEW
    _write_new(temporary, manifest.to_json().encode("utf-8"))
    os.replace(temporary, path)
    sync(folder)


def _write_new(path: str, content: bytes) -> None:
    """Write a new file through to the disk; what had its name is gone before."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fchmod(stream.fileno(), 0o644)
            os.fsync(stream.fileno())
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(path)
        raise


def put_in_place(source: str, target: str) -> None:
    """Move a verified file over a broken one, in one step: whoever has the old one open keeps it."""
    _make_folder(os.path.dirname(target))
    _make_readable(source, 0o644)
    sync(source)
    os.replace(source, target)
    sync(os.path.dirname(target))


def link_or_copy(source: str, target: str, link: bool = True) -> None:
    """Make the content of ``source`` available as ``target`` too, without a second copy where the file system can.

    Without ``link`` it is copied in any case: a file that others can change is then not what is verified and served.
    """
    _make_folder(os.path.dirname(target))
    with contextlib.suppress(FileNotFoundError):
        os.unlink(target)
    if link:
        with contextlib.suppress(OSError):
            os.link(source, target, follow_symlinks=False)
            return
    descriptor = open_below(os.path.dirname(source), os.path.basename(source))
    with os.fdopen(descriptor, "rb") as old:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(target, flags, 0o644), "wb") as new:
            shutil.copyfileobj(old, new, 1024 * 1024)


def open_below(folder: str, path: str) -> int:
    """Open a plain file below a folder for reading, without following a link on the way."""
    way = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    parts = path.split("/")
    for part in parts[:-1]:
        try:
            below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=way)
        finally:
            os.close(way)
        way = below
    try:
        # A pipe would wait for somebody to write into it.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(parts[-1], flags, dir_fd=way)
    finally:
        os.close(way)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "is not a plain file", os.path.join(folder, path))
    return descriptor


def _open_lock(path: str, folder: int) -> int:
    """Open the lock in an open folder; a link in its place is refused."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(LOCK, flags, 0o600, dir_fd=folder)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise
        raise HubError(f"{path} is a link or no plain file; remove it, then run again") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise HubError(f"{path} is a link or no plain file; remove it, then run again")
    return descriptor


def _inode_in(name: str, folder: int) -> int | None:
    """Return the inode of a name in an open folder; None when it is not there."""
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False).st_ino
    except FileNotFoundError:
        return None


def _folder_in(name: str, folder: int) -> int:
    """Open a folder in an open folder; it is made if it is missing, readable for all whatever the umask is."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(name, flags, dir_fd=folder)
    except FileNotFoundError:
        pass
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, dir_fd=folder)
        descriptor = os.open(name, flags, dir_fd=folder)
        os.fchmod(descriptor, 0o755)
        return descriptor
    return os.open(name, flags, dir_fd=folder)


def partial_size(folder: str) -> int:
    """Return the bytes of all files below a folder."""
    total = 0
    for where, _folders, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(where, name)).st_size
    return total


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _make_folder(path: str) -> None:
    """Make a folder and those above it, readable for all whatever the umask is."""
    if not path or os.path.isdir(path):
        return
    _make_folder(os.path.dirname(path))
    try:
        os.mkdir(path)
    except FileExistsError:
        return
    _make_readable(path, 0o755)


def _make_readable(path: str, mode: int) -> None:
    """Set the mode where it is another one: setting it anew would change the stamp of a file.

    Whoever downloads by hand may write to the root of the models, and could put a link to any file in the place of one.
    """
    descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor).st_mode
        if not stat.S_ISLNK(found) and stat.S_IMODE(found) != mode:
            os.chmod(f"/proc/self/fd/{descriptor}", mode)
    finally:
        os.close(descriptor)


def sync(path: str) -> None:
    """Write a file or folder through to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sweep(folder: str, wanted: set[str]) -> None:
    """Remove everything below a folder that is not wanted, such as parts that a download left behind."""
    for where, folders, names in os.walk(folder, topdown=False):
        for name in names:
            path = os.path.join(where, name)
            if os.path.relpath(path, folder) not in wanted:
                os.unlink(path)
        for name in folders:
            path = os.path.join(where, name)
            if os.path.islink(path):
                os.unlink(path)
            elif not os.listdir(path):
                os.rmdir(path)
