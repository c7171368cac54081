# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._open_webui import _data, _postgres


@pytest.mark.parametrize(
    ("url", "address", "password"),
    [
        ("postgresql://webui:p%40ss@db:5432/webui", "postgresql://webui@db:5432/webui", "p@ss"),
        ("postgres://webui:secret@db/webui?sslmode=require", "postgresql://webui@db/webui?sslmode=require", "secret"),
        ("postgresql+psycopg2://u:a:b@[::1]:5432/w", "postgresql://u@[::1]:5432/w", "a:b"),
        ("postgresql://db/webui", "postgresql://db/webui", ""),
    ],
)
def test_the_password_is_taken_out_of_the_address(url: str, address: str, password: str) -> None:
    database = _postgres.Database.parse(url)
    assert (database.address, database.password) == (address, password)
    assert not password or password not in repr(database)


@pytest.mark.parametrize("url", ["sqlite:///x", "postgresql://user:secret@host", "postgresql:///webui"])
def test_a_url_that_names_no_database_is_refused_without_saying_it(url: str) -> None:
    with pytest.raises(_data.DataError) as error:
        _postgres.Database.parse(url)
    assert "secret" not in str(error.value)


def test_a_missing_tool_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(_postgres.ToolMissingError, match="psql is not installed; install PostgreSQL's client"):
        _postgres.Database.parse("postgresql://u:p@db/webui").revision()
