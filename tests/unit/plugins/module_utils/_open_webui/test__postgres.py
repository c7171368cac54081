# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._open_webui import _data, _postgres


@pytest.mark.parametrize(
    ("url", "address", "password"),
    [
        ("postgresql://webui:p%40ss@db:5432/webui", "postgresql://webui@db:5432/webui", "p@ss"),
        ("postgres://webui:secret@db/webui?sslmode=require", "postgresql://webui@db/webui", "secret"),
        ("postgresql+psycopg2://u:a:b@[::1]:5432/w", "postgresql://u@[::1]:5432/w", "a:b"),
        (
            "postgresql://u:secret@one:1,two:2/w?target_session_attrs=read-write",
            "postgresql://u@one,two:1,2/w",
            "secret",
        ),
        ("postgresql://u@/w?host=/run/postgresql&password=secret", "postgresql://u@/run/postgresql/w", "secret"),
        ("postgresql://db/webui", "postgresql://db/webui", ""),
    ],
)
def test_the_password_is_taken_out_of_the_address(url: str, address: str, password: str) -> None:
    database = _postgres.Database.parse(url)
    assert (database.address, database.parameters.get("password", "")) == (address, password)
    assert not password or password not in repr(database)


# A program in the place of psql: it shows everything that it was told.
TOOL = """#!/bin/sh
echo "argv: $*" >&2
env | grep ^PG >&2
[ -z "$PGSERVICEFILE" ] || cat "$PGSERVICEFILE" >&2
exit 1
"""
SECRET_URLS = [
    "postgresql://u:not-to-be-seen@db/w",
    "postgresql://u@db/w?password=not-to-be-seen",
    "postgresql+psycopg2://u:a@db/w?sslmode=require&sslpassword=not-to-be-seen&sslkey=/key",
    "postgresql://u:one%2Fnot-to-be-seen@db/w",
]


@pytest.mark.parametrize("url", SECRET_URLS)
def test_a_password_is_in_no_argument_and_in_no_error_wherever_the_url_has_it(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "psql").write_text(TOOL)
    (tmp_path / "psql").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("PGDATABASE", "elsewhere")
    with pytest.raises(_data.DataError) as error:
        _postgres.Database.parse(url).revision()
    said = str(error.value)
    arguments = said.partition("argv: ")[2].partition("PG")[0]
    assert "not-to-be-seen" not in said
    assert "db" not in arguments
    # It was told, but not to everybody.
    assert "(hidden)" in said
    assert "PGDATABASE=w " in said
    assert not list(tmp_path.glob("tmp*"))


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:not/to-be-seen@db/w",
        "postgresql://u:not?to-be-seen@db/w",
        "postgresql://u:not#to-be-seen@db/w",
        "postgresql://u:not[to-be-seen@db/w",
        "postgresql://[::1/to-be-seen",
        "postgresql://u:p@db:to-be-seen/w",
        "postgresql://u:p@db/w?to-be-seen",
        "postgresql://u:to-be-seen%0A@db/w",
        "postgresql://u:p@db/w?sslpassword=to-be-seen%20",
    ],
)
def test_a_url_that_cannot_be_read_is_refused_in_plain_words_without_saying_it(url: str) -> None:
    with pytest.raises(_data.DataError, match="URL of the database") as error:
        _postgres.Database.parse(url).revision()
    assert "to-be-seen" not in str(error.value)


@pytest.mark.parametrize("url", ["sqlite:///x", "postgresql://user:secret@host", "postgresql:///webui"])
def test_a_url_that_names_no_database_is_refused_without_saying_it(url: str) -> None:
    with pytest.raises(_data.DataError) as error:
        _postgres.Database.parse(url)
    assert "secret" not in str(error.value)


def test_a_missing_tool_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(_postgres.ToolMissingError, match="psql is not installed; install PostgreSQL's client"):
        _postgres.Database.parse("postgresql://u:p@db/webui").revision()
