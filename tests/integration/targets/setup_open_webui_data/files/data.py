# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Folders as an Open WebUI leaves them: `make ROOT`; `add ROOT` writes one more chat; `chats ROOT` counts them."""

from __future__ import annotations

import contextlib
import os
import pathlib
import sqlite3
import sys


def write(path: pathlib.Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def make(root: pathlib.Path) -> None:
    write(root / "data" / "uploads" / "report.txt", "a report")
    write(root / "data" / "vector_db" / "index" / "data.bin", "an index")
    write(root / "config" / "secret_key", "the key of the test\n")
    (root / "config" / "secret_key").chmod(0o600)
    database = sqlite3.connect(root / "data" / "webui.db")
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("CREATE TABLE alembic_version (version_num TEXT)")
    database.execute("INSERT INTO alembic_version VALUES ('0bd252b206fb')")
    database.execute("CREATE TABLE chat (id INTEGER PRIMARY KEY)")
    database.execute("INSERT INTO chat DEFAULT VALUES")
    database.commit()
    # As if the server had been killed: what was saved is in the write-ahead log only.
    os._exit(0)


def main() -> None:
    action, root = sys.argv[1], pathlib.Path(sys.argv[2])
    if action == "make":
        make(root)
    with contextlib.closing(sqlite3.connect(root / "data" / "webui.db")) as database:
        if action == "add":
            database.execute("INSERT INTO chat DEFAULT VALUES")
            database.commit()
        print(database.execute("SELECT count(*) FROM chat").fetchone()[0])


if __name__ == "__main__":
    main()
