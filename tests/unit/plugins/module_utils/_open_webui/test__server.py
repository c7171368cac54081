# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Open WebUI's life on real folders and real SQLite, with an engine of paper; the process may die at every step."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import sqlite3
import typing as t
from pathlib import Path

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._engine import _lock
from ansible_collections.private_llm.fleet.plugins.module_utils._engine._driver import Ran
from ansible_collections.private_llm.fleet.plugins.module_utils._engine._life import ForeignContainerError
from ansible_collections.private_llm.fleet.plugins.module_utils._open_webui import (
    _backup,
    _client,
    _data,
    _in_image,
    _presence,
    _private_folder,
    _server,
    _tree,
)

OLD, NEW, BROKEN = "open-webui:v0.12.0", "open-webui:v0.12.4", "open-webui:v0.12.5"
SCHEMAS = {OLD: 1, NEW: 2, BROKEN: 3}


class Killed(BaseException):
    """The process ends here, without a chance to do anything."""


class World:
    """What outlives a run: containers, and the folders of a host."""

    active: t.ClassVar[World]

    def __init__(self, root: Path) -> None:
        self.root, self.data, self.config = root, root / "data", root / "config"
        self.there: dict[str, dict[str, t.Any]] = {}
        self.calls: list[str] = []
        self.kill_at = -1
        self.made = 0

    def step(self, call: str) -> None:
        if len(self.calls) == self.kill_at:
            raise Killed
        self.calls.append(call)

    # --- the engine ---

    def inspect(self, name: str) -> dict[str, t.Any] | None:
        return copy.deepcopy(self.there.get(name))

    def inspect_image(self, reference: str) -> dict[str, t.Any] | None:
        return {"Id": f"sha256:{reference}"} if reference in SCHEMAS else None

    def inspect_network(self, _name: str) -> dict[str, t.Any] | None:
        return {"IPAM": {"Config": [{"Gateway": "172.17.0.1"}]}}

    def containers(self, stopped: bool = False, labels: t.Sequence[str] = ()) -> list[dict[str, t.Any]]:
        return []

    def create(self, name: str, body: t.Mapping[str, t.Any]) -> str:
        self.step(f"create {name}")
        assert name not in self.there
        self.made += 1
        self.there[name] = {
            "Id": f"container-{self.made}",
            "Name": "/" + name,
            "Image": f"sha256:{body['Image']}",
            "Config": {"Image": body["Image"], "Labels": dict(body["Labels"]), "Cmd": list(body["Cmd"])},
            "HostConfig": copy.deepcopy(dict(body["HostConfig"])),
            "State": {"Running": False, "Status": "created", "StartedAt": "0001-01-01T00:00:00Z"},
        }
        return name

    def start(self, name: str) -> None:
        self.step(f"start {name}")
        container = self.there[name]
        container["State"] = {"Running": True, "Status": "running", "StartedAt": "2100-01-01T00:00:00Z"}
        # An Open WebUI brings its database into its own form as soon as it starts, and cannot read a newer one.
        image = container["Config"]["Image"]
        schema = SCHEMAS[image]
        with contextlib.closing(sqlite3.connect(self.data / "webui.db")) as database:
            database.execute("CREATE TABLE IF NOT EXISTS alembic_version (version_num)")
            row = database.execute("SELECT version_num FROM alembic_version").fetchone()
            assert row is None or int(row[0]) <= schema, f"{image} was started on data of {row[0]}"
            database.execute("DELETE FROM alembic_version")
            database.execute("INSERT INTO alembic_version VALUES (?)", [str(schema)])
            database.commit()
        assert (self.config / "container" / "env").exists()
        if image == BROKEN:
            container["State"].update(Running=False, Status="exited", ExitCode=1)

    def stop(self, name: str, seconds: int) -> None:
        self.step(f"stop {name}")
        self.there[name]["State"].update(Running=False, Status="exited")

    def rename(self, name: str, new_name: str) -> None:
        self.step(f"rename {name} {new_name}")
        assert new_name not in self.there
        self.there[new_name] = {**self.there.pop(name), "Name": "/" + new_name}

    def remove(self, name: str) -> None:
        self.step(f"remove {name}")
        self.there.pop(name, None)

    def set_restart_policy(self, name: str, policy: t.Mapping[str, t.Any]) -> None:
        self.step(f"policy {name} {policy['Name']}")
        self.there[name]["HostConfig"]["RestartPolicy"] = dict(policy)

    def sweep(self) -> None:
        """Nothing that `run_once` makes outlives it here."""

    def log(self, *_arguments: t.Any) -> list[t.Any]:
        return []

    def run_once(self, image: str, command: t.Sequence[str], seconds: float, **_more: t.Any) -> Ran:
        if command[3] == "revisions":
            return Ran(0, "\n".join(str(number) for number in range(SCHEMAS[image] + 1)), "")
        self.step("bring cache")
        return Ran(0, "", "")

    # --- the host ---

    def params(self, **changes: t.Any) -> dict[str, t.Any]:
        given = {name: option.get("default") for name, option in _server.ARGUMENTS.items()}
        folders = {f"{part}_dir": str(self.root / part) for part in ("data", "config", "backup")}
        return {**given, **folders, "image": NEW, "timeout": 0, "called": "web", **changes}

    def run(self, kill_at: int = -1, check: bool = False, archive: str = "", **changes: t.Any) -> dict[str, t.Any]:
        World.active = self
        self.calls, self.kill_at = [], kill_at
        server = _server.Server(
            self.params(**changes), t.cast("t.Any", self), check, archive, sleep=lambda _seconds: None
        )
        server.run()
        return server.result

    def write_chat(self) -> None:
        with contextlib.closing(sqlite3.connect(self.data / "webui.db")) as database:
            database.execute("CREATE TABLE IF NOT EXISTS chat (id INTEGER PRIMARY KEY)")
            database.execute("INSERT INTO chat DEFAULT VALUES")
            database.commit()

    def chats(self) -> int:
        with contextlib.closing(sqlite3.connect(self.data / "webui.db")) as database:
            return int(database.execute("SELECT count(*) FROM chat").fetchone()[0])

    def schema(self) -> str:
        return _data.schema_of_sqlite(str(self.data))

    def running(self) -> str:
        assert list(self.there) == ["open-webui"]
        one = self.there["open-webui"]
        assert one["State"]["Running"]
        return str(one["Config"]["Image"])

    def left(self) -> set[str]:
        """What a run leaves that is there for a while only."""
        found = {path.name for path in self.root.iterdir()} - {"data", "config", "backup"}
        return found | ({path.name for path in self.config.iterdir()} - {"admin_password", "secret_key", "container"})


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(tmp_path / "host")
    made.root.mkdir()

    def exchange(*_arguments: t.Any, **_more: t.Any) -> t.Any:
        one = World.active.there.get("open-webui") or {}
        if (one.get("State") or {}).get("Running"):
            return _client.Reply(200, "application/json", b'{"status": true}', None, None)
        raise _client.UnreachableError("nobody answers")

    def version(_client: t.Any) -> str:
        return str(World.active.there["open-webui"]["Config"]["Image"]).partition(":v")[2]

    monkeypatch.setattr(_client.Client, "exchange", exchange)
    monkeypatch.setattr(_client.Client, "check_version", version)
    hold = _lock.hold
    monkeypatch.setattr(
        _lock, "hold", lambda *arguments: hold(*arguments, directory=str(tmp_path / "run" / "private_llm" / "locks"))
    )
    return made


@pytest.fixture
def older(world: World) -> World:
    """A host with an older release, and a chat in it."""
    world.run(image=OLD)
    world.write_chat()
    return world


def test_check_real_check_real(world: World) -> None:
    ahead = world.run(check=True)
    assert (ahead["changed"], ahead["settled"]) == (True, False)
    assert not world.data.exists()
    assert world.run()["written"] == ["admin_password", "secret_key", "admin", "env"]
    ahead = world.run(check=True)
    assert (ahead["changed"], ahead["settled"]) == (False, True)
    again = world.run()
    assert (again["changed"], again["changes"], again["written"]) == (False, [], [])
    assert world.running() == NEW
    assert world.left() == set()


@pytest.mark.parametrize(("check", "given", "used"), [(True, "", "kept"), (True, "given", "given"), (False, "", None)])
def test_check_mode_signs_in_where_that_is_asked(
    world: World, monkeypatch: pytest.MonkeyPatch, check: bool, given: str, used: str | None
) -> None:
    asked: list[str] = []

    def find(_url: str, _email: str, password: str, _warn: t.Any) -> dict[str, t.Any]:
        asked.append(password)
        return {"status": "ready"}

    monkeypatch.setattr(_presence, "find", find)
    world.run()
    (world.config / "admin_password").write_text("kept\n", encoding="utf-8")
    assert world.run(check=True)["web"] == {}
    found = world.run(check=check, sign_in=True, admin_password=given)
    assert (found["web"], asked) == (({"status": "ready"}, [used]) if used else ({}, []))


def test_check_mode_on_a_bare_host_needs_no_engine(world: World) -> None:
    server = _server.Server(world.params(), None, check_mode=True)
    server.run()
    assert server.result["changed"] is True
    assert not world.config.exists()
    with pytest.raises(ValueError, match="no Docker Engine answers on this host"):
        _server.Server(world.params(), None).run()


def test_a_bare_host_with_a_database_that_cannot_be_read_is_refused(world: World) -> None:
    world.data.mkdir()
    (world.data / "webui.db").write_text("no database")
    with pytest.raises(ValueError, match=r"webui\.db"):
        _server.Server(world.params(), None, check_mode=True).run()


def test_data_on_a_network_file_system_are_warned_of(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    root = str(world.root).replace(" ", "\\040")
    monkeypatch.setattr(_tree, "mounts", lambda: [f"30 21 0:40 / {root} rw - nfs4 server:/export rw\n"])
    for database, told in (("", 1), ("postgresql://a:b@127.0.0.1:5432/c", 0)):
        server = _server.Server(world.params(database_url=database), None, check_mode=True)
        monkeypatch.setattr(server, "_schema", str)
        server.run()
        assert len(server.warnings) == told
        assert all("is on a network file system (nfs4)" in warning for warning in server.warnings)


def test_an_upgrade_has_a_backup_before_it_and_leaves_nothing_behind(older: World) -> None:
    result = older.run()
    assert [change["option"] for change in result["changes"]] == ["image"]
    assert result["saved"].endswith("-0.12.0.tar.gz")
    assert (older.running(), older.chats(), older.schema(), older.left()) == (NEW, 1, "2", set())


def test_an_image_that_does_not_come_up_goes_and_everything_is_as_it_was(older: World) -> None:
    environment = (older.config / "container" / "env").read_text()
    before = older.there["open-webui"]["Id"]
    with pytest.raises(ValueError, match=f"{BROKEN} did not come up on web; {OLD} is back, with its data as they were"):
        older.run(image=BROKEN, env='{"MORE": true}')
    assert (older.running(), older.chats(), older.schema(), older.left()) == (OLD, 1, "1", set())
    assert older.there["open-webui"]["Id"] == before
    assert older.there["open-webui"]["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"
    assert (older.config / "container" / "env").read_text() == environment


def test_a_downgrade_is_refused_before_anything_stops(older: World) -> None:
    older.run()
    for check in (True, False):
        with pytest.raises(ValueError, match=r"has the schema 2, which open_webui_image, .*; nothing was stopped"):
            older.run(image=OLD, check=check)
        assert older.calls == []
    assert older.running() == NEW


def test_data_without_their_key_are_refused(older: World) -> None:
    (older.config / "secret_key").unlink()
    with pytest.raises(ValueError, match="holds data, but the secret key they belong to is not in"):
        older.run(image=OLD)
    assert older.calls == []


def test_a_changed_environment_is_a_restart_of_the_same_container(older: World) -> None:
    before = older.there["open-webui"]["Id"]
    result = older.run(image=OLD, env='{"A": "b c", "B": true, "C": {"d": 1}, "D": 2}')
    assert (result["written"], result["changes"][0]["option"]) == (["env"], "env")
    assert older.calls == ["stop open-webui", "start open-webui"]
    assert older.there["open-webui"]["Id"] == before
    text = (older.config / "container" / "env").read_text()
    for line in ("A='b c'", "B=true", "C='{\"d\": 1}'", "D=2"):
        assert f"\n{line}\n" in text
    assert "b c" not in json.dumps(result)


def test_what_a_killed_run_was_writing_goes_with_the_next_one(world: World) -> None:
    world.run()
    drafts = [world.config / ".secret_key.new", world.config / "container" / ".env.new"]
    for draft in drafts:
        draft.write_text("half of a secr")
    assert world.run()["changed"] is False
    assert not any(draft.exists() for draft in drafts)


def test_a_removal_ends_the_sessions(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world.run()
    sessions = tmp_path / "sessions"
    sessions.mkdir(mode=0o700)
    (sessions / "a.session").write_text("{}")
    monkeypatch.setattr(_private_folder, "private_folder", lambda: str(sessions))
    for check in (True, False):
        server = _server.Server(world.params(), t.cast("t.Any", world), check)
        server.remove()
        assert server.result["changed"] is True
        assert sessions.exists() == check
    assert world.there == {}
    assert world.schema() == "2"


def test_an_environment_of_the_future_restarts_once_and_not_at_every_run(world: World) -> None:
    world.run()
    env = world.config / "container" / "env"
    os.utime(env, (5e9, 5e9))
    assert world.run()["changed"] is True
    assert env.stat().st_mtime < 5e9
    assert world.run()["changed"] is False


def test_a_container_of_an_earlier_release_is_recognized_and_made_anew_once(world: World) -> None:
    world.run()
    one = world.there["open-webui"]
    for name in ("CapDrop", "CapAdd", "SecurityOpt", "PidsLimit"):
        one["HostConfig"][name] = None
    # As the engine and the module that made it before write the same.
    one["HostConfig"]["Binds"] = [bind if bind.endswith(":ro") else bind + ":rw" for bind in one["HostConfig"]["Binds"]]
    del one["Config"]["Labels"]["private_llm.fleet.kind"]
    result = world.run()
    assert [change["option"] for change in result["changes"]] == ["capabilities", "security", "pids_limit"]
    one = world.there["open-webui"]
    one["HostConfig"]["CapAdd"] = [f"CAP_{name}" for name in one["HostConfig"]["CapAdd"]]
    assert world.run()["changed"] is False


def test_a_container_of_somebody_else_is_left_alone(world: World) -> None:
    world.run()
    world.there["open-webui"]["Config"]["Labels"] = {}
    with pytest.raises(ForeignContainerError):
        world.run()
    assert world.calls == []


def test_what_an_earlier_release_set_aside_under_its_own_name_is_settled(world: World) -> None:
    world.run()
    world.there["open-webui-previous"] = copy.deepcopy(world.there["open-webui"])
    world.run()
    assert world.running() == NEW
    world.there["open-webui-previous"] = world.there.pop("open-webui")
    world.run()
    assert world.running() == NEW


def upgrade(world: World, kill_at: int) -> None:
    world.run(kill_at)


def failing(world: World, kill_at: int) -> None:
    with pytest.raises(ValueError, match="did not come up"):
        world.run(kill_at, image=BROKEN)


def recreate(world: World, kill_at: int) -> None:
    world.run(kill_at, image=OLD, memory="4g")


KILLS: dict[str, tuple[t.Callable[[World, int], None], str]] = {
    "an upgrade": (upgrade, NEW),
    "an upgrade that fails": (failing, OLD),
    "another container": (recreate, OLD),
}


@pytest.mark.parametrize("case", KILLS)
def test_a_run_that_is_killed_at_any_step_is_gone_on_with_by_the_next_one(older: World, case: str) -> None:
    """After each kill either declaration may come next; the data are whole with both."""
    work, _ending = KILLS[case]
    saved = (dict(older.there), {p: p.read_bytes() for p in older.root.rglob("*") if p.is_file()})
    step = 0
    while True:
        for image in (OLD, NEW):
            # As it was before.
            with _tree.opened_root(str(older.root)) as root:
                for name in os.listdir(older.root):
                    _tree.remove(root, name)
            older.there = copy.deepcopy(saved[0])
            for path, text in saved[1].items():
                path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                path.write_bytes(text)
                path.chmod(0o600)
            try:
                work(older, step)
            except Killed:
                pass
            else:
                assert step > 4
                return
            if image == OLD and older.schema() != "1" and not older.there.get("open-webui.previous"):
                # The newer one was proven before the kill: there is no way back.
                with pytest.raises(ValueError, match="cannot go back"):
                    older.run(image=OLD)
                continue
            older.run(image=image)
            assert (older.running(), older.chats()) == (image, 1), (step, image, older.calls)
            assert older.schema() == str(SCHEMAS[image])
            assert older.left() == set()
            assert older.run(image=image)["changed"] is False
        step += 1


def kills_of_moves(world: World, monkeypatch: pytest.MonkeyPatch, after: int, work: t.Callable[[], t.Any]) -> bool:
    """Do some work that dies after so many moves of data; return whether it did."""
    done, move = 0, _tree.move

    def move_or_die(*arguments: t.Any) -> None:
        nonlocal done
        if done == after:
            raise Killed
        done += 1
        move(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(_tree, "move", move_or_die)
        try:
            work()
        except Killed:
            return True
    return False


@pytest.mark.parametrize("after", range(6))
def test_a_run_that_is_killed_between_two_moves_of_data_is_taken_back(
    older: World, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    with monkeypatch.context() as patch:
        # A process that is killed takes nothing back.
        patch.setattr(
            "ansible_collections.private_llm.fleet.plugins.module_utils._open_webui._restore.Restore.undo", boom
        )
        killed = kills_of_moves(older, monkeypatch, after, older.run)
    if killed:
        assert "open-webui.previous" in older.there
        older.run(image=OLD)
        assert (older.running(), older.chats(), older.schema(), older.left()) == (OLD, 1, "1", set())
    older.run()
    assert (older.running(), older.chats(), older.schema(), older.left()) == (NEW, 1, "2", set())


def boom(_self: t.Any) -> bool:
    raise Killed


def test_a_restore_is_put_in_place_and_one_that_does_not_come_up_is_taken_back(older: World) -> None:
    params = older.params()
    made = _backup.Job(params["data_dir"], params["config_dir"], params["backup_dir"], None).make()
    older.write_chat()
    looked = older.run(check=True, archive=made["path"], image=OLD)
    assert (looked["changed"], older.chats()) == (True, 2)
    restored = older.run(archive=made["path"], image=OLD)
    assert restored["backup"]["schema"] == "1"
    assert (older.running(), older.chats(), older.left()) == (OLD, 1, set())
    older.write_chat()
    with pytest.raises(ValueError, match="did not come up on web; what was there before is back"):
        older.run(archive=made["path"], image=BROKEN)
    assert (older.running(), older.chats(), older.schema(), older.left()) == (OLD, 2, "1", set())


def test_a_restore_where_nothing_was_leaves_nothing_when_it_does_not_come_up(older: World, tmp_path: Path) -> None:
    params = older.params()
    made = _backup.Job(params["data_dir"], params["config_dir"], params["backup_dir"], None).make()
    empty = World(tmp_path / "empty")
    empty.root.mkdir()
    with pytest.raises(ValueError, match="did not come up on web; what was there before is back"):
        empty.run(archive=made["path"], image=BROKEN)
    assert empty.there == {}
    assert os.listdir(empty.data) == []


def test_a_second_run_waits_and_looks_anew(older: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one changes the memory while the second one, which saw the old one, waits."""
    hold = _lock.hold
    first = older.run

    @contextlib.contextmanager
    def late(*arguments: t.Any, **more: t.Any) -> t.Iterator[t.Any]:
        if arguments[0] == "open_webui":
            with monkeypatch.context() as patch:
                patch.setattr(_lock, "hold", hold)
                first(image=OLD, memory="2g")
        with hold(*arguments, **more) as lock:
            yield lock

    with monkeypatch.context() as patch:
        patch.setattr(_lock, "hold", late)
        result = older.run(image=OLD, memory="2g")
    assert result["changed"] is False
    assert older.running() == OLD


def test_a_database_on_the_host_is_reached_at_the_address_that_its_containers_have_for_it(world: World) -> None:
    url = "postgresql://u:p@host.docker.internal:5432/w"
    assert _server.as_host_reaches(url, t.cast("t.Any", world)) == "postgresql://u:p@172.17.0.1:5432/w"
    assert _server.as_host_reaches(url, None) == "postgresql://u:p@127.0.0.1:5432/w"
    assert _server.as_host_reaches("postgresql://u:p@db/w", None) == "postgresql://u:p@db/w"


def test_what_runs_in_the_image_lists_schemas_and_brings_what_is_not_there_yet(tmp_path: Path) -> None:
    versions = tmp_path / "migrations" / "versions"
    versions.mkdir(parents=True)
    (versions / "one.py").write_text("revision: str = 'abc'\ndown_revision = 'x'\n")
    (versions / "two.py").write_text('revision = "def"\n')
    assert _in_image.revisions(tmp_path) == ["abc", "def"]
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "models").mkdir(parents=True)
    (source / "models" / "blob").write_text("weights")
    (source / "models" / "link").symlink_to("blob")
    (target / "models").mkdir(parents=True)
    (target / "models" / "mine").write_text("mine")
    for _time in range(2):
        _in_image.main(["cache", str(source), str(target)])
    assert (target / "models" / "link").read_text() == "weights"
    assert sorted(os.listdir(target / "models")) == ["blob", "link", "mine"]
