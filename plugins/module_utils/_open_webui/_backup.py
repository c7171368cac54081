# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Make a backup of an Open WebUI: databases first, then the files that they know."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import shutil
import socket
import tempfile
import time
import typing as t

from ansible_collections.private_llm.fleet.plugins.module_utils._open_webui import _archive, _data, _postgres

DATA_ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "data_dir": {"type": "path", "required": True},
    "database_url": {"type": "str", "default": "", "no_log": True},
    "database_schema": {"type": "str", "default": "public"},
}

_LOCK = ".lock"
_MAKING = ".making-"


def database_of(params: t.Mapping[str, t.Any]) -> _postgres.Database | None:
    """The PostgreSQL database that a module's options name; None for SQLite."""
    url = params["database_url"]
    return _postgres.Database.parse(url, params["database_schema"]) if url else None


def secrets_in(config_dir: str) -> list[str]:
    """The names of the secrets: the files directly in the folder."""
    if not os.path.isdir(config_dir):
        return []
    return sorted(entry.name for entry in os.scandir(config_dir) if entry.is_file(follow_symlinks=False))


@contextlib.contextmanager
def _locked(folder: str) -> t.Iterator[None]:
    """One at a time in a folder; what a killed one left behind is removed."""
    os.makedirs(folder, mode=0o700, exist_ok=True)
    with open(os.path.join(folder, _LOCK), "w", encoding="utf-8") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _data.DataError(f"another backup into {folder} is being made; wait for it") from None
        for name in os.listdir(folder):
            if name.startswith(_MAKING):
                shutil.rmtree(os.path.join(folder, name))
        yield


@dataclasses.dataclass
class Job:
    """A backup to be made."""

    data_dir: str
    config_dir: str
    backup_dir: str
    database: _postgres.Database | None
    keep: int = 0
    webui_version: str = ""

    def _target(self) -> tuple[float, str]:
        while True:
            now = time.time()
            stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
            path = os.path.join(self.backup_dir, _archive.name_for(stamp, self.webui_version))
            if not os.path.exists(path):
                return now, path
            time.sleep(0.2)

    def _surplus(self, path: str) -> list[str]:
        there = os.listdir(self.backup_dir) if os.path.isdir(self.backup_dir) else []
        return _archive.surplus({*there, os.path.basename(path)}, self.keep)

    def _look(self) -> None:
        if not os.path.isdir(self.data_dir):
            raise _data.DataError(f"{self.data_dir} is not there, so there is nothing to back up")
        journal = os.path.join(self.data_dir, _data.WORK, "journal.json")
        if os.path.exists(journal):
            raise _data.DataError(
                f"a change in {self.data_dir} is under way or was cut off;"
                " the playbooks webui and webui_restore clear that up"
            )

    def _result(self, path: str, size: int, members: int, schema: str) -> dict[str, t.Any]:
        return {
            "path": path,
            "size": size,
            "members": members,
            "database": "postgresql" if self.database else "sqlite",
            "schema": schema,
            "pruned": self._surplus(path),
        }

    def predict(self) -> dict[str, t.Any]:
        """What a backup would be; nothing is written, and no database is read."""
        self._look()
        members = len(_data.listing(self.data_dir)) + len(secrets_in(self.config_dir))
        return self._result(self._target()[1], 0, members + bool(self.database), "")

    def make(self) -> dict[str, t.Any]:
        """Make it, prove it, give it its name, and remove those that are too many."""
        self._look()
        with _locked(self.backup_dir):
            now, path = self._target()
            making = tempfile.mkdtemp(dir=self.backup_dir, prefix=_MAKING)
            try:
                partial = os.path.join(making, "archive")
                manifest = self._write(partial, os.path.join(making, "snapshot"), now)
                _archive.check(partial)
                os.rename(partial, path)
            finally:
                shutil.rmtree(making)
            result = self._result(path, os.path.getsize(path), len(manifest.entries), manifest.schema)
            for name in result["pruned"]:
                os.unlink(os.path.join(self.backup_dir, name))
        return result

    def _write(self, partial: str, staged: str, now: float) -> _archive.Manifest:
        members = [(one.path, staged) for one in _data.snapshot(self.data_dir, staged)]
        dump = os.path.join(os.path.dirname(partial), _archive.DUMP)
        if self.database:
            self.database.dump(dump)
            schema = self.database.revision()
        else:
            database = os.path.join(staged, _data.DATABASE)
            schema = _data.schema_of_sqlite(database) if os.path.exists(database) else ""
        # Listed after the database was copied, so that every file it knows is there.
        members += [(one.path, self.data_dir) for one in _data.listing(self.data_dir) if one.is_of_users]
        writer = _archive.Writer(partial)
        try:
            for path, root in members:
                writer.add(f"{_archive.DATA}/{path}", os.path.join(root, path))
            for name in secrets_in(self.config_dir):
                writer.add(f"{_archive.CONFIG}/{name}", os.path.join(self.config_dir, name))
            if self.database:
                writer.add(_archive.DUMP, dump)
            manifest = _archive.Manifest(
                created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now)),
                host=socket.gethostname(),
                webui_version=self.webui_version,
                database="postgresql" if self.database else "sqlite",
                schema=schema,
                entries=writer.entries,
            )
            writer.finish(manifest)
        finally:
            writer.close()
        return manifest
