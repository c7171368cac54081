# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Put what is staged in the place of what is there, so that it can be taken back at any moment, also after a crash.

A data folder is often a mount point, which cannot be renamed. So what is in it is moved, one by one, from and into a
folder for work. A journal, written before the first move, says which names were there and which are to come:

    WORK/new         staged, not in place yet
    WORK/old         what was there

Open WebUI's container mounts the data folder and writes there as root. So the folder for work lies beside the data
folder, where no container sees it, and a journal that somebody else could have written is refused.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import stat
import typing as t

from . import _data, _tree

DataError = _tree.DataError

_JOURNAL = "journal.json"
_JOURNAL_LIMIT = 16 << 20
_STATES = ("begun", "applied")
_LISTS = ("outgoing", "incoming")


@dataclasses.dataclass(frozen=True)
class Place:
    """A folder whose content is swapped, and the folder for the work on it."""

    root: str
    work: str

    @classmethod
    def beside(cls, root: str) -> Place:
        """Return a place that works beside its folder, for one that a container sees."""
        parent, name = os.path.split(os.path.realpath(root))
        return cls(root, os.path.join(parent, f".{name}.private_llm"))

    @classmethod
    def inside(cls, root: str) -> Place:
        """Return a place that works in its folder, for one that root alone sees."""
        return cls(root, os.path.join(os.path.realpath(root), _data.WORK))

    @contextlib.contextmanager
    def opened(self) -> t.Iterator[tuple[int, int]]:
        """Open the folder and the folder for the work; both are made where they are missing."""
        os.makedirs(self.root, mode=0o700, exist_ok=True)
        parent, name = os.path.split(self.work)
        with contextlib.ExitStack() as stack:
            root = stack.enter_context(_tree.opened_root(self.root))
            around = stack.enter_context(_tree.opened_root(parent))
            yield root, stack.enter_context(_tree.private_folder(around, name, self.work))

    def forget(self) -> None:
        """Remove the folder for the work, and all that is in it."""
        parent, name = os.path.split(self.work)
        if not os.path.isdir(parent):
            return
        with _tree.opened_root(parent) as around:
            _tree.remove(around, name)


def refuse_older_journal(data_dir: str) -> None:
    """Raise DataError when an older release of this collection was cut off in a data folder.

    It kept its journal where Open WebUI's container can write. What it says is obeyed no more.
    """
    try:
        with _tree.opened_root(data_dir) as root, _tree.opened_folder(root, _data.WORK) as work:
            planted = _tree.look(work, _JOURNAL)
    except OSError:
        return
    if planted is None:
        return
    old = os.path.join(data_dir, _data.WORK)
    raise DataError(
        f"{old}/{_JOURNAL} says that an older release of this collection was cut off while it changed the data. Open"
        f" WebUI's container can write there, so that this release does not obey it; nothing was changed. Stop Open"
        f" WebUI and look: what was there before the change is in {old}/old, what is missing from that is in {data_dir}"
        f" itself. Move back what you want to keep, or keep {data_dir} as it is; then remove {old} and run again"
    )


def remove_older_work(data_dir: str) -> None:
    """Remove what an older release left in a data folder after a change that it finished."""
    refuse_older_journal(data_dir)
    with contextlib.suppress(FileNotFoundError), _tree.opened_root(data_dir) as root:
        _tree.remove(root, _data.WORK)


def _read(folder: int, where: str, places: int) -> dict[str, t.Any] | None:
    """Return a journal; None when there is none, DataError when it is not one of ours."""
    try:
        with _tree.opened_file(folder, _JOURNAL) as handle:
            about = os.fstat(handle.fileno())
            _tree.refuse_foreign(about, where)
            if about.st_nlink != 1 or about.st_size > _JOURNAL_LIMIT:
                raise DataError(f"{where} has a second name, or is too large; look at it, and remove it")
            said = json.loads(handle.read(_JOURNAL_LIMIT).decode())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(f"{where} is not a file: {error.strerror}; look at it, and remove it") from error
    except DataError:
        raise
    except ValueError as error:
        raise DataError(f"{where} cannot be read: {error}; look at it, and remove it") from error
    if not _is_journal(said, places):
        raise DataError(f"{where} is not a journal of this collection; look at it, and remove it")
    return t.cast("dict[str, t.Any]", said)


def _is_journal(said: t.Any, places: int) -> bool:
    if not isinstance(said, dict) or said.get("state") not in _STATES or not isinstance(said.get("places"), list):
        return False
    return len(said["places"]) == places and all(
        isinstance(place, dict)
        and isinstance(place.get("all"), bool)
        and all(isinstance(place.get(key), list) and all(map(_tree.is_plain, place[key])) for key in _LISTS)
        for place in said["places"]
    )


class Swap:
    """What is staged for some places, to be put there. The work folder of the first one holds the journal."""

    def __init__(self, places: t.Sequence[Place]) -> None:
        self.places = list(places)

    @property
    def journal(self) -> dict[str, t.Any] | None:
        """Return what was begun and neither finished nor taken back; None when there is nothing."""
        work = self.places[0].work
        parent, name = os.path.split(work)
        if not os.path.isdir(parent):
            return None
        with _tree.opened_root(parent) as around:
            if _tree.look(around, name) is None:
                return None
            with _tree.private_folder(around, name, work) as folder:
                return _read(folder, os.path.join(work, _JOURNAL), len(self.places))

    def _begun(self) -> dict[str, t.Any]:
        journal = self.journal
        if journal is None:
            raise DataError(f"nothing was begun in {self.places[0].root}")
        return journal

    def _write(self, journal: dict[str, t.Any]) -> None:
        with self.places[0].opened() as (_root, work):
            partial = _JOURNAL + ".partial"
            _tree.remove(work, partial)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(partial, flags, 0o600, dir_fd=work), "w", encoding="utf-8") as handle:
                json.dump(journal, handle)
                handle.flush()
                os.fsync(handle.fileno())
            os.rename(partial, _JOURNAL, src_dir_fd=work, dst_dir_fd=work)
            _tree.sync(work)

    def begin(self, whole: t.Sequence[bool], **notes: t.Any) -> None:
        """Write the journal. Of each place everything is replaced, or only what has a successor."""
        places = []
        for place, everything in zip(self.places, whole):
            with place.opened() as (root, work):
                incoming = _staged(work, "new")
                managed = {name + suffix for name in incoming for suffix in ("", *_data.SIDECARS)}
                there = [name for name in _content(root) if everything or name in managed]
            places.append({"all": everything, "outgoing": there, "incoming": incoming})
        self._write({"state": "begun", "places": places, **notes})

    def apply(self) -> None:
        """Put everything in place."""
        journal = self._begun()
        for place, said in zip(self.places, journal["places"]):
            with place.opened() as (root, work):
                _tree.make_private(work, "old")
                with _tree.opened_folder(work, "old") as old:
                    for name in said["outgoing"]:
                        _tree.move(root, name, old)
                if said["incoming"]:
                    with _tree.opened_folder(work, "new") as new:
                        for name in said["incoming"]:
                            _tree.move(new, name, root)
                _tree.sync(root)
        self._write({**journal, "state": "applied"})

    def undo(self) -> None:
        """Put everything back as it was, from wherever it was left; a second time does the rest, or nothing."""
        journal = self.journal
        if journal is None:
            return
        for place, said in zip(self.places, journal["places"]):
            with place.opened() as (root, work):
                _tree.make_private(work, "old")
                with _tree.opened_folder(work, "old") as old:
                    _undo(root, old, said)
        self.forget()

    def forget(self) -> None:
        """Remove the journal, then all that was only kept to go back."""
        parent, name = os.path.split(self.places[0].work)
        if os.path.isdir(parent):
            with _tree.opened_root(parent) as around:
                if _tree.look(around, name) is not None:
                    with _tree.private_folder(around, name, self.places[0].work) as work:
                        _tree.remove(work, _JOURNAL)
                        _tree.sync(work)
        for place in reversed(self.places):
            place.forget()


def _content(root: int) -> list[str]:
    return [name for name in _tree.names(root) if name != _data.WORK]


def _staged(work: int, name: str) -> list[str]:
    found = _tree.look(work, name)
    if found is None or not stat.S_ISDIR(found.st_mode):
        return []
    with _tree.opened_folder(work, name) as folder:
        return _tree.names(folder)


def _undo(root: int, old: int, said: dict[str, t.Any]) -> None:
    outgoing, incoming = set(said["outgoing"]), set(said["incoming"])
    ours = {name + suffix for name in outgoing | incoming for suffix in ("", *_data.SIDECARS)}
    kept = set(_tree.names(old))
    _tree.remove(root, _tree.PARTIAL)
    kept.discard(_tree.PARTIAL)
    for name in _content(root):
        original = name in outgoing and name not in kept
        if not original and (said["all"] or name in ours):
            _tree.remove(root, name)
    for name in sorted(kept):
        _tree.move(old, name, root)
    _tree.sync(root)
