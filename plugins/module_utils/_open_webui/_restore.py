# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Restore an Open WebUI from a backup, so that what was there can be put back until it is said that it need not."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil

from ansible_collections.private_llm.fleet.plugins.module_utils._open_webui import _archive, _data, _postgres, _swap

KEY_FILE = "secret_key"  # the name of a file

_PREVIOUS = "previous.dump"


@dataclasses.dataclass(frozen=True)
class Expected:
    """What a backup must go with: the key that is going to be used, and the schemas that the server knows."""

    secret_key: str = ""
    revisions: frozenset[str] = frozenset()

    def refuse(self, manifest: _archive.Manifest, where: str) -> None:
        """Say why a backup does not fit."""
        if self.revisions and manifest.schema not in self.revisions:
            raise _data.DataError(
                f"{where} is of Open WebUI {manifest.webui_version or '(unknown)'},"
                f" whose database has the schema {manifest.schema or '(unknown)'};"
                " the image to be started does not know it, for it is older; nothing was restored"
            )
        key = manifest.entries.get(f"{_archive.CONFIG}/{KEY_FILE}")
        if self.secret_key and key and key.sha256 not in _sums(self.secret_key):
            raise _data.DataError(
                f"{where} has another secret key than open_webui_secret_key, with which nobody's session would survive;"
                " remove that variable, or set it to the key of the backup; nothing was restored"
            )


def _sums(secret: str) -> set[str]:
    """The sums of a file that holds a secret, with or without the end of its line."""
    return {hashlib.sha256((secret + end).encode()).hexdigest() for end in ("", "\n")}


def about(manifest: _archive.Manifest) -> dict[str, str]:
    """What a backup says about itself, without the list of its members."""
    return {
        "created": manifest.created,
        "host": manifest.host,
        "webui_version": manifest.webui_version,
        "database": manifest.database,
        "schema": manifest.schema,
    }


class Restore:
    """A restore into a data folder, a folder of secrets and perhaps a PostgreSQL database."""

    def __init__(self, data_dir: str, config_dir: str, database: _postgres.Database | None) -> None:
        self.data_dir, self.config_dir, self.database = data_dir, config_dir, database
        self._swap = _swap.Swap([data_dir, config_dir])
        self._manifest = _swap.work(data_dir, _archive.MANIFEST)
        self._dump = _swap.work(data_dir, _archive.DUMP)
        self._previous = _swap.work(data_dir, _PREVIOUS)

    @property
    def pending(self) -> bool:
        """Whether there is something to take back or to finish."""
        return self._swap.journal is not None

    def prepare(self, archive: str, expected: Expected, unpack: bool = True) -> _archive.Manifest:
        """Check a backup and unpack it beside the data."""
        if not unpack:
            manifest = _archive.check(archive)
            self._refuse(manifest, expected, archive)
            return manifest
        self._clear()
        unpacked = _swap.work(self.data_dir, "unpacked")
        os.makedirs(unpacked, mode=0o700)
        try:
            manifest = _archive.check(archive, unpacked)
            self._refuse(manifest, expected, archive)
            self._stage(unpacked, manifest)
        except BaseException:
            self._swap.forget()
            raise
        return manifest

    def _clear(self) -> None:
        """Begin anew: take back what was cut off, and let go of what was never confirmed."""
        journal = self._swap.journal
        if journal and journal["state"] == "begun":
            self.undo()
        self._swap.forget()
        for root in self._swap.roots:
            os.makedirs(_swap.work(root), mode=0o700)

    def keep(self) -> bool:
        """Let the server go on with a copy of its databases, and keep them as they are; the server must not run."""
        self._clear()
        try:
            _data.snapshot(self.data_dir, _swap.work(self.data_dir, "new"))
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
        data, config = os.path.join(unpacked, _archive.DATA), os.path.join(unpacked, _archive.CONFIG)
        os.makedirs(data, exist_ok=True)
        os.rename(data, _swap.work(self.data_dir, "new"))
        # The secrets may be on another file system.
        os.makedirs(_swap.work(self.config_dir, "new"), mode=0o700)
        for name in _backup_names(config):
            copy = _swap.work(self.config_dir, "new", name)
            shutil.copy2(os.path.join(config, name), copy)
            about_it = os.stat(os.path.join(config, name))
            os.chown(copy, about_it.st_uid, about_it.st_gid)
        if self.database:
            os.rename(os.path.join(unpacked, _archive.DUMP), self._dump)
        shutil.rmtree(unpacked)
        with open(self._manifest, "wb") as handle:
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
        journal = self._swap.journal
        if journal is None:
            return False
        if journal["database"]:
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


def _backup_names(folder: str) -> list[str]:
    return sorted(os.listdir(folder)) if os.path.isdir(folder) else []
