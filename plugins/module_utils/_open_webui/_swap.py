# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Put what is staged in the place of what is there, so that it can be taken back at any moment, also after a crash.

A data folder is often a mount point, which cannot be renamed. So what is in it is renamed, one by one, from and into a
folder below it. A journal, written before the first rename, says which names were there and which are to come:

    ROOT/.private_llm/new         staged, not in place yet
    ROOT/.private_llm/old         what was there
    ROOT/.private_llm/discarded   what was in place and was taken back
"""

from __future__ import annotations

import json
import os
import shutil
import typing as t

from ansible_collections.private_llm.fleet.plugins.module_utils._open_webui._data import SIDECARS, WORK, DataError

_JOURNAL = "journal.json"


def work(root: str, *names: str) -> str:
    """A path in the folder for work below a root."""
    return os.path.join(root, WORK, *names)


def _names(folder: str) -> list[str]:
    return sorted(name for name in os.listdir(folder) if name != WORK) if os.path.isdir(folder) else []


def _sync(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Swap:
    """What is staged below some roots, to be put in place. The first root holds the journal."""

    def __init__(self, roots: t.Sequence[str]) -> None:
        self.roots = list(roots)
        self._journal = work(self.roots[0], _JOURNAL)

    @property
    def journal(self) -> dict[str, t.Any] | None:
        """What was begun and neither finished nor taken back; None when there is nothing."""
        try:
            with open(self._journal, encoding="utf-8") as handle:
                return t.cast("dict[str, t.Any]", json.load(handle))
        except FileNotFoundError:
            return None

    def _begun(self) -> dict[str, t.Any]:
        journal = self.journal
        if journal is None:
            raise DataError(f"nothing was begun in {self.roots[0]}")
        return journal

    def _write(self, journal: dict[str, t.Any]) -> None:
        partial = self._journal + ".partial"
        with open(partial, "w", encoding="utf-8") as handle:
            json.dump(journal, handle)
            handle.flush()
            os.fsync(handle.fileno())
        os.rename(partial, self._journal)
        _sync(os.path.dirname(self._journal))

    def begin(self, whole: t.Sequence[bool], **notes: t.Any) -> None:
        """Write the journal. Of each root everything is replaced, or only what has a successor."""
        places = []
        for root, everything in zip(self.roots, whole):
            incoming = _names(work(root, "new"))
            managed = {name + suffix for name in incoming for suffix in ("", *SIDECARS)}
            there = [name for name in _names(root) if everything or name in managed]
            places.append({"all": everything, "outgoing": there, "incoming": incoming})
        self._write({"state": "begun", "places": places, **notes})

    def apply(self) -> None:
        """Put everything in place."""
        journal = self._begun()
        for root, place in zip(self.roots, journal["places"]):
            os.makedirs(work(root, "old"), mode=0o700, exist_ok=True)
            for name in place["outgoing"]:
                os.rename(os.path.join(root, name), work(root, "old", name))
            for name in place["incoming"]:
                os.rename(work(root, "new", name), os.path.join(root, name))
            _sync(root)
        self._write({**journal, "state": "applied"})

    def undo(self) -> None:
        """Put everything back as it was, from wherever it was left; a second time does the rest, or nothing."""
        journal = self.journal
        if journal is None:
            return
        for root, place in zip(self.roots, journal["places"]):
            self._undo_place(root, place)
        self.forget()

    def _undo_place(self, root: str, place: dict[str, t.Any]) -> None:
        outgoing, incoming = set(place["outgoing"]), set(place["incoming"])
        ours = {name + suffix for name in outgoing | incoming for suffix in ("", *SIDECARS)}
        os.makedirs(work(root, "discarded"), mode=0o700, exist_ok=True)
        for name in _names(root):
            original = name in outgoing and not os.path.lexists(work(root, "old", name))
            if not original and (place["all"] or name in ours):
                shutil.rmtree(work(root, "discarded", name), ignore_errors=True)
                os.rename(os.path.join(root, name), work(root, "discarded", name))
        for name in _names(work(root, "old")):
            os.rename(work(root, "old", name), os.path.join(root, name))
        _sync(root)

    def forget(self) -> None:
        """Remove the journal, then all that was only kept to go back."""
        if os.path.exists(self._journal):
            os.unlink(self._journal)
        for root in reversed(self.roots):
            shutil.rmtree(work(root), ignore_errors=True)
