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

from .._regular import regular
from . import (
    _archive,
    _data,
    _postgres,
    _swap,
    _tree,
)

DATA_ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "data_dir": {"type": "path", "required": True},
    "database_url": {"type": "str", "default": "", "no_log": True},
    "database_schema": {"type": "str", "default": "public"},
}

_LOCK = ".lock"
_MAKING = ".making-"


def database_of(params: t.Mapping[str, t.Any]) -> _postgres.Database | None:
    """Return the PostgreSQL database that a module's options name; None for SQLite."""
    url = params["database_url"]
    return _postgres.Database.parse(url, params["database_schema"]) if url else None


def secrets_in(config_dir: str) -> list[str]:
    """Return the names of the secrets: the files directly in the folder."""
    if not os.path.isdir(config_dir):
        return []
    return sorted(entry.name for entry in os.scandir(config_dir) if entry.is_file(follow_symlinks=False))


@contextlib.contextmanager
def _locked(folder: str) -> t.Iterator[None]:
    """Hold the lock of a folder, so that one job at a time works there; remove what a killed one left behind."""
    os.makedirs(folder, mode=0o700, exist_ok=True)
    with open(os.path.join(folder, _LOCK), "w", encoding="utf-8", opener=regular) as handle:
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
    left_out: list[str] = dataclasses.field(default_factory=list)

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
        return _archive.surplus(there, os.path.basename(path), self.keep)

    def _look(self) -> None:
        if not os.path.isdir(self.data_dir):
            raise _data.DataError(f"{self.data_dir} is not there, so there is nothing to back up")
        _swap.refuse_older_journal(self.data_dir)
        if _swap.Swap([_swap.Place.beside(self.data_dir), _swap.Place.inside(self.config_dir)]).journal is not None:
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
            "left_out": list(self.left_out),
        }

    def _kept(self, found: t.Sequence[_data.Found]) -> list[_data.Found]:
        """Leave out links that lead out of the data: nobody follows them there, and no restore would make them."""
        links = {f"{_archive.DATA}/{one.path}": one.target for one in found if one.kind == "link"}
        out = {
            one.path for one in found if one.kind == "link" and _archive.leads_out(f"{_archive.DATA}/{one.path}", links)
        }
        self.left_out = sorted(out)
        return [one for one in found if one.path not in out]

    def predict(self) -> dict[str, t.Any]:
        """Return what a backup would be, without writing anything or reading a database."""
        self._look()
        members = len(self._kept(_data.listing(self.data_dir))) + len(secrets_in(self.config_dir))
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
        copied = _data.snapshot(self.data_dir, staged)
        dump = os.path.join(os.path.dirname(partial), _archive.DUMP)
        if self.database:
            self.database.dump(dump)
            schema = self.database.revision()
        else:
            schema = _data.schema_of_sqlite(staged) if _data.has_database(staged) else ""
        # Listed after the database was copied, so that every file it knows is there.
        theirs = [one for one in _data.listing(self.data_dir) if one.is_of_users]
        members = self._kept([*copied, *theirs])
        writer = _archive.Writer(partial)
        try:
            with _tree.opened_root(staged) as copies, _tree.opened_root(self.data_dir) as live:
                for one in members:
                    writer.add(f"{_archive.DATA}/{one.path}", live if one.is_of_users else copies, one.path)
            secrets = secrets_in(self.config_dir)
            if secrets:
                with _tree.opened_root(self.config_dir) as config:
                    for name in secrets:
                        writer.add(f"{_archive.CONFIG}/{name}", config, name)
            if self.database:
                with _tree.opened_root(os.path.dirname(dump)) as folder:
                    writer.add(_archive.DUMP, folder, _archive.DUMP)
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
