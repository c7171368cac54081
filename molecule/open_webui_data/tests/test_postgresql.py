# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host whose Open WebUI keeps its data in PostgreSQL."""

from __future__ import annotations

import typing as t

from tests.support.open_webui import call, changed, identity, password, run_on

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


def test_a_backup_is_restored_with_everybody_who_was_in_it_and_nobody_else(other: t.Any) -> None:
    admin = {"email": "admin@example.com", "password": password(other)}
    token = call(other, "/api/v1/auths/signin", body=admin)[1]["token"]

    def join(name: str) -> None:
        body = {"name": name, "email": f"{name}@example.com", "password": f"password of {name}", "role": "user"}
        assert call(other, "/api/v1/auths/add", token, body)[0] == 200

    join("early")
    made = run_on("other", playbook="private_llm.fleet.webui_backup")
    assert made.returncode == 0, made.text
    assert changed(made) == {"Back up Open WebUI"}
    join("late")
    archive = made.result("other", "Back up Open WebUI")["path"]
    before, backups = identity(other)[0], other.check_output("ls /srv/open-webui-backups").split()
    outcome = run_on("other", playbook="private_llm.fleet.webui_restore", open_webui_restore_archive=archive)
    assert outcome.returncode == 0, outcome.text
    assert people(other) == ["admin@example.com", "early@example.com"]
    assert identity(other)[0] != before
    # The session from before the backup goes on.
    assert call(other, "/api/v1/auths/", token)[0] == 200
    # What was there before the restore is in a backup of its own.
    assert len(other.check_output("ls /srv/open-webui-backups").split()) == len(backups) + 1
    for one in (made, outcome):
        assert "p@ss" not in one.text
        assert "p%40ss" not in one.text
