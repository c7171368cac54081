# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An upgrade with people in it, one that fails, and a backup that becomes another host's data; in this order."""

from __future__ import annotations

import json
import threading
import typing as t
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.support import playbooks
from tests.support.open_webui import CONFIG, call, changed, identity, run, run_on

RESTORE = "private_llm.fleet.webui_restore"
BACKUPS = "/srv/open-webui-backups"
OLDER = "private-llm-lab/open-webui:v0.12.0-slim"
BROKEN = "private-llm-lab/open-webui:v0.12.5-slim"

# It changes the data, as a migration does, and ends.
BREAK = r"""
FROM private-llm-lab/open-webui:v0.12.4-slim
RUN printf '%s\n' 'import sqlite3' 'database = sqlite3.connect("data/webui.db")' \
    'database.execute("DELETE FROM chat")' 'database.commit()' 'raise SystemExit("this release is broken")' > break.py
RUN echo 'python3 break.py' > start.sh
"""

# Where the backup is restored: beside what runs on the other host.
RESTORED = {
    "open_webui_name": "restored",
    "open_webui_port": 3001,
    "open_webui_data_dir": "/srv/restored",
    "open_webui_config_dir": "/etc/private_llm/restored",
    "open_webui_database_url": "",
}
RESTORED_URL = "http://127.0.0.1:3001"


@pytest.fixture(scope="module")
def ann(host: t.Any) -> str:
    """The session that Ann began on the older release."""
    return host.file("/srv/ann").content_string


def chats(host: t.Any, token: str, url: str = "http://127.0.0.1:3000") -> set[str]:
    status, listed = call(host, "/api/v1/chats/", token, url=url)
    assert status == 200, listed
    return {chat["title"] for chat in listed}


def backups(host: t.Any) -> list[str]:
    return host.check_output(f"ls {BACKUPS}").split()


def test_an_older_release_was_upgraded_with_its_people_and_their_sessions(host: t.Any, ann: str) -> None:
    assert call(host, "/api/version")[1]["version"] == "0.12.4"
    status, me = call(host, "/api/v1/auths/", ann)
    assert (status, me["email"]) == (200, "ann@example.com")
    assert chats(host, ann) == {"Written before the upgrade"}
    assert len(backups(host)) == 1
    assert backups(host)[0].endswith("Z-0.12.0.tar.gz")
    assert host.check_output("docker ps --all --format '{{.Names}}'").split() == ["open-webui"]
    assert not host.file(f"{CONFIG}/container.previous").exists
    assert host.check_output("ls -A /srv/open-webui").split() == [
        "cache",
        "uploads",
        "webui.db",
        "webui.db-shm",
        "webui.db-wal",
    ]


def test_nothing_was_asked_outside_of_the_host(host: t.Any) -> None:
    rule = host.check_output("iptables --list DOCKER-USER --verbose --exact --numeric").splitlines()[2].split()
    assert rule[2] == "DROP"
    assert rule[0] == "0", "packets of containers were on their way out of the host"


def test_a_downgrade_below_the_schema_is_refused_before_anything_stops(host: t.Any, other: t.Any, ann: str) -> None:
    before = identity(host), identity(other), backups(host)
    # The database of one host is SQLite's, that of the other one PostgreSQL's.
    outcome = run(open_webui_image=OLDER)
    assert outcome.returncode != 0
    refused = {at: said for (at, _task), said in outcome.failures().items()}
    for at in ("web", "other"):
        assert f"the database of Open WebUI on {at} has the schema 0bd252b206fb, which open_webui_image" in refused[at]
        assert (
            f"{OLDER}, does not know: its database cannot go back to an older version; nothing was stopped"
            in refused[at]
        )
    assert outcome.changes() == 0
    assert (identity(host), identity(other), backups(host)) == before
    assert chats(host, ann) == {"Written before the upgrade"}


def test_an_image_that_does_not_come_up_goes_and_everything_is_as_it_was(host: t.Any, ann: str) -> None:
    recipe = b64encode(BREAK.encode()).decode()
    host.check_output("echo %s | base64 --decode | docker build --quiet --tag %s -", recipe, BROKEN)
    before, environment = identity(host)[0], host.check_output(f"sha256sum {CONFIG}/container/env")
    # The environment would be another one, too.
    outcome = run_on("web", open_webui_image=BROKEN, open_webui_env={"NEW": "1"})
    assert outcome.returncode != 0
    message = list(outcome.failures().values())[-1]
    assert f"{BROKEN} did not come up on web; private-llm-lab/open-webui:v0.12.4-slim is back" in message
    assert "this release is broken" in message
    assert "container open-webui has ended by itself" in message
    assert identity(host)[0] == before
    assert host.check_output(f"sha256sum {CONFIG}/container/env") == environment
    assert call(host, "/ready") == (200, {"status": True})
    assert chats(host, ann) == {"Written before the upgrade"}
    # As many backups are kept as were asked for.
    assert [name.rsplit("-", 1)[1] for name in backups(host)] == ["0.12.0.tar.gz", "0.12.4.tar.gz"]
    assert host.check_output("docker ps --all --format '{{.Names}}'").split() == ["open-webui"]


class Writer(threading.Thread):
    """Somebody who writes one chat after the other."""

    def __init__(self, host: t.Any, token: str) -> None:
        super().__init__()
        self.host, self.token = host, token
        self.titles: list[str] = []
        self.done = threading.Event()

    def run(self) -> None:
        while not self.done.is_set():
            title = f"chat {len(self.titles)}"
            body = {"chat": {"title": title, "messages": []}}
            assert call(self.host, "/api/v1/chats/new", self.token, body)[0] == 200
            self.titles.append(title)


@pytest.fixture(scope="module")
def archive(host: t.Any, ann: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, set[str]]:
    """A backup that was made while Ann wrote, on the controller; and what she had written before."""
    folder = tmp_path_factory.mktemp("backups")
    writer = Writer(host, ann)
    writer.start()
    try:
        while len(writer.titles) < 3:
            writer.done.wait(0.1)
            assert writer.is_alive()
        before = set(writer.titles)
        outcome = run_on("web", playbook="private_llm.fleet.webui_backup", open_webui_backup_fetch=str(folder))
    finally:
        writer.done.set()
        writer.join()
    assert outcome.returncode == 0, outcome.text
    assert changed(outcome) == {"Back up Open WebUI", "Fetch the backup to the controller"}
    assert len(backups(host)) == 2
    fetched = sorted((folder / "web").iterdir())
    assert [path.name for path in fetched] == backups(host)[-1:]
    return fetched[0], before | {"Written before the upgrade"}


def test_a_backup_is_for_root_only(host: t.Any, archive: t.Any) -> None:
    for path, mode in ((BACKUPS, "0o700"), (f"{BACKUPS}/{archive[0].name}", "0o600")):
        assert (oct(host.file(path).mode), host.file(path).user) == (mode, "root")


def test_it_is_restored_on_another_host_with_everything_that_was_in_it(
    host: t.Any, other: t.Any, ann: str, archive: tuple[Path, set[str]]
) -> None:
    path, written = archive
    outcome = run_on(
        "other", playbook="private_llm.fleet.webui_restore", open_webui_restore_archive=str(path), **RESTORED
    )
    assert outcome.returncode == 0, outcome.text
    # Ann does not even have to sign in again.
    status, me = call(other, "/api/v1/auths/", ann, url=RESTORED_URL)
    assert (status, me["email"]) == (200, "ann@example.com")
    assert written <= chats(other, ann, RESTORED_URL) <= chats(host, ann)
    _status, files = call(other, "/api/v1/files/", ann, url=RESTORED_URL)
    assert [file["filename"] for file in files["items"]] == ["note.txt"]
    assert "uploaded before the upgrade" in other.check_output("cat /srv/restored/uploads/*_note.txt")
    admin = {"email": "admin@example.com", "password": host.file(f"{CONFIG}/admin_password").content_string.strip()}
    status, session = call(other, "/api/v1/auths/signin", body=admin, url=RESTORED_URL)
    assert status == 200
    _status, connections = call(other, "/openai/config", session["token"], url=RESTORED_URL)
    assert "http://host.docker.internal:18005/v1" in connections["OPENAI_API_BASE_URLS"]
    assert "key-of-the-backend" in connections["OPENAI_API_KEYS"]
    _status, people = call(other, "/api/v1/users/all", session["token"], url=RESTORED_URL)
    assert {user["email"] for user in people["users"]} == {"admin@example.com", "ann@example.com"}
    key = other.file("/etc/private_llm/restored/secret_key")
    assert (oct(key.mode), key.content_string) == ("0o600", host.file(f"{CONFIG}/secret_key").content_string)


# What a restore must refuse, and what it says.
REFUSED: dict[str, tuple[dict[str, t.Any], str]] = {
    "damaged": ({"open_webui_restore_archive": "DAMAGED"}, "nothing was restored"),
    "too old an image": (
        {"open_webui_image": OLDER},
        "whose database has the schema 0bd252b206fb; the image to be started does not know it",
    ),
    "another key": ({"open_webui_secret_key": "x" * 43}, "another secret key than open_webui_secret_key"),
    "PostgreSQL": (
        {"open_webui_database_url": "postgresql://webui:it%27s%20p%40ss@host.docker.internal/webui"},
        "has its database in sqlite, and Open WebUI here keeps it in postgresql",
    ),
}


@pytest.fixture(scope="module")
def refusals(other: t.Any, archive: tuple[Path, set[str]]) -> dict[str, playbooks.Outcome]:
    """All of them at once, for none of them may change anything."""
    whole = str(archive[0])
    damaged = Path(whole.replace(".tar.gz", "-damaged.tar.gz"))
    damaged.write_bytes(archive[0].read_bytes()[:-3000])

    def attempt(case: str) -> playbooks.Outcome:
        given = {"open_webui_restore_archive": whole, **RESTORED, **REFUSED[case][0]}
        # Data of their own, as on a host that has none.
        given["open_webui_data_dir"] = f"/srv/refused-{list(REFUSED).index(case)}"
        texts = {name: str(damaged) if value == "DAMAGED" else value for name, value in given.items()}
        return run_on("other", playbook=RESTORE, **texts)

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(REFUSED, pool.map(attempt, REFUSED), strict=True))


@pytest.mark.parametrize("case", REFUSED)
def test_a_restore_is_refused_before_anything_stops(
    other: t.Any, ann: str, case: str, refusals: dict[str, playbooks.Outcome]
) -> None:
    outcome = refusals[case]
    assert outcome.returncode != 0
    assert REFUSED[case][1] in "\n".join(outcome.failures().values())
    assert not changed(outcome) - {"Copy the backup from the controller"}
    assert other.check_output("ls -A /srv | grep refused | while read name; do ls -A /srv/$name; done") == ""
    assert call(other, "/api/v1/auths/", ann, url=RESTORED_URL)[0] == 200
    assert json.dumps(REFUSED[case][0].get("open_webui_secret_key", "no secret")) not in outcome.text
