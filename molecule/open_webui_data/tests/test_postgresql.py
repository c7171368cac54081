# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host whose Open WebUI keeps its data in PostgreSQL."""

from __future__ import annotations

import typing as t

from web import call

PEOPLE = 'SELECT email FROM "user" ORDER BY email'


def people(other: t.Any) -> list[str]:
    as_postgres = "cd / && setpriv --reuid=postgres --regid=postgres --clear-groups"
    return other.check_output(as_postgres + " psql --tuples-only --no-align webui --command %s", PEOPLE).split()


def test_the_data_are_in_postgresql_and_its_password_is_nowhere_else(other: t.Any) -> None:
    assert call(other, "/ready") == (200, {"status": True})
    assert people(other) == ["admin@example.com"]
    assert not other.file("/srv/open-webui/webui.db").exists
    shown = other.check_output("docker inspect open-webui") + other.check_output("ps -eo args")
    assert "p@ss" not in shown
    assert "p%40ss" not in shown
