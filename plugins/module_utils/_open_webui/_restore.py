# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Restore an Open WebUI from a backup, so that what was there can be put back until it is said that it need not."""

from __future__ import annotations

import dataclasses
import hashlib
import os

from . import (
    _archive,
    _data,
    _postgres,
    _swap,
    _tree,
)

KEY_FILE = "secret_key"  # the name of a file

_PREVIOUS = "previous.dump"


@dataclasses.dataclass(frozen=True)
class Expected:
    """What a backup must go with: the key that is going to be used, and the schemas that the server knows."""

    secret_key: str = ""
    revisions: frozenset[str] = frozenset()

    def refuse(self, manifest: _archive.Manifest, where: str) -> None:
        """Raise DataError when a backup does not fit."""
        if self.revisions and manifest.schema not in self.revisions:
            raise _data.DataError(
                f"{where} is of Open WebUI {manifest.webui_version or '(unknown)'},"
                f" whose database has the schema {manifest.schema or '(unknown)'};"
                " the image to be started does not know it, because it is older; nothing was restored"
            )
        key = manifest.entries.get(f"{_archive.CONFIG}/{KEY_FILE}")
        if self.secret_key and key and key.sha256 not in _sums(self.secret_key):
            raise _data.DataError(
                f"{where} has another secret key than open_webui_secret_key, with which nobody's session would survive;"
                " remove that variable, or set it to the key of the backup; nothing was restored"
            )


def _sums(secret: str) -> set[str]:
    """Return the sums of a file that holds a secret, with or without the end of its line."""
    return {hashlib.sha256((secret + end).encode()).hexdigest() for end in ("", "\n")}


def about(manifest: _archive.Manifest) -> dict[str, str]:
    """Return what a backup says about itself, without the list of its members."""
    return {
        "created": manifest.created,
        "host": manifest.host,
        "webui_version": manifest.webui_version,
        "database": manifest.database,
        "schema": manifest.schema,
    }


def unfinished(data_dir: str) -> str:
    """Return how far a change came that was neither finished nor taken back: none, begun or applied."""
    _swap.refuse_older_journal(data_dir)
    # The second place is of the secrets; the journal is in the first one.
    journal = _swap.Swap([_swap.Place.beside(data_dir), _swap.Place.inside(data_dir)]).journal
    return str(journal["state"]) if journal else "none"


class Restore:
    """A restore into a data folder, a folder of secrets and perhaps a PostgreSQL database."""

    def __init__(self, data_dir: str, config_dir: str, database: _postgres.Database | None) -> None:
        self.data_dir, self.config_dir, self.database = data_dir, config_dir, database
        self._data, self._config = _swap.Place.beside(data_dir), _swap.Place.inside(config_dir)
        self._swap = _swap.Swap([self._data, self._config])
        self._manifest = os.path.join(self._data.work, _archive.MANIFEST)
        self._dump = os.path.join(self._data.work, _archive.DUMP)
        self._previous = os.path.join(self._data.work, _PREVIOUS)

    @property
    def pending(self) -> bool:
        """Return whether there is something to take back or to finish."""
        _swap.refuse_older_journal(self.data_dir)
        return self._swap.journal is not None

    def prepare(self, archive: str, expected: Expected, unpack: bool = True) -> _archive.Manifest:
        """Check a backup and unpack it beside the data."""
        with _archive.Reader.opened(archive) as reader:
            _swap.refuse_older_journal(self.data_dir)
            manifest = reader.check(_tree.free_bytes(os.path.dirname(self._data.work)))
            self._refuse(manifest, expected, archive)
            if not unpack:
                return manifest
            self._clear()
            unpacked = os.path.join(self._data.work, "unpacked")
            try:
                os.mkdir(unpacked, mode=0o700)
                about = os.stat(self.data_dir)
                reader.unpack(unpacked, manifest, (about.st_uid, about.st_gid))
                self._stage(unpacked, manifest)
            except BaseException:
                self._swap.forget()
                raise
        return manifest

    def _clear(self) -> None:
        """Begin anew: take back what was cut off, and let go of what was never confirmed."""
        _swap.remove_older_work(self.data_dir)
        journal = self._swap.journal
        if journal and journal["state"] == "begun":
            self.undo()
        self._swap.forget()
        for place in self._swap.places:
            with place.opened():
                pass

    def keep(self) -> bool:
        """Let the server go on with a copy of its databases, and keep them as they are; the server must not run."""
        self._clear()
        try:
            _data.snapshot(self.data_dir, os.path.join(self._data.work, "new"))
            if self.database:
                self.database.dump(self._previous)
        except BaseException:
            self._swap.forget()
            raise
        self._swap.begin([False, False], database=bool(self.database))
        try:
            self._swap.apply()
        except BaseException:
            self.undo()
            raise
        return True

    def _refuse(self, manifest: _archive.Manifest, expected: Expected, archive: str) -> None:
        wanted = "postgresql" if self.database else "sqlite"
        if manifest.database != wanted:
            raise _data.DataError(
                f"{archive} has its database in {manifest.database}, and Open WebUI here keeps it in {wanted};"
                " set or clear open_webui_database_url accordingly; nothing was restored"
            )
        expected.refuse(manifest, archive)
        if self.database:
            # Asked before anything stops, so that a database that is out of reach stops nothing.
            self.database.revision()

    def _stage(self, unpacked: str, manifest: _archive.Manifest) -> None:
        with self._data.opened() as (_root, work):
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with _tree.opened_folder(work, "unpacked") as whole:
                _tree.make_private(whole, _archive.DATA)
                os.rename(_archive.DATA, "new", src_dir_fd=whole, dst_dir_fd=work)
                # The secrets may be on another file system.
                with self._config.opened() as (_secrets, beside):
                    _tree.make_private(beside, "new")
                    if _tree.look(whole, _archive.CONFIG) is not None:
                        with _tree.opened_folder(whole, _archive.CONFIG) as found, _tree.opened_folder(
                            beside, "new"
                        ) as new:
                            for name in _tree.names(found):
                                _tree.copy(found, name, new, name)
                if self.database:
                    os.rename(_archive.DUMP, _archive.DUMP, src_dir_fd=whole, dst_dir_fd=work)
                _tree.remove(work, "unpacked")
                with os.fdopen(os.open(_archive.MANIFEST, flags, 0o600, dir_fd=work), "wb") as handle:
                    handle.write(manifest.serialize())

    def apply(self) -> bool:
        """Put what is prepared in place; the server must not run."""
        journal = self._swap.journal
        if journal and journal["state"] == "applied":
            return False
        if not os.path.exists(self._manifest):
            raise _data.DataError(f"nothing is prepared in {self.data_dir}; run the step prepare first")
        if self.database:
            self.database.dump(self._previous)
        self._swap.begin([True, False], database=bool(self.database))
        try:
            if self.database:
                self.database.load(self._dump)
            self._swap.apply()
        except BaseException:
            self.undo()
            raise
        return True

    def undo(self) -> bool:
        """Put back what was there; the server must not run."""
        _swap.refuse_older_journal(self.data_dir)
        journal = self._swap.journal
        if journal is None:
            return False
        if journal.get("database"):
            if self.database is None:
                raise _data.DataError("the restore to be taken back is of a PostgreSQL database; give its URL")
            self.database.load(self._previous)
        self._swap.undo()
        return True

    def finish(self) -> bool:
        """Remove what was there."""
        pending = self.pending
        self._swap.forget()
        return pending
