# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Bring Open WebUI's container to its declared state, or restore a backup into it.

The life of a container is `_engine._life`'s. What is Open WebUI's own is here: its secrets and environment, a backup
before another image, a copy of the databases to work on, a schema that an image must know, and when it is ready. One
lock is held from the look to the end; nothing is planned before that.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import re
import socket
import time
import typing as t

from .. import _endpoint
from .._engine import _lock
from .._engine._api import EngineAbsent, EngineError
from .._engine._driver import Container, Driver
from .._engine._life import (
    CREATE,
    RECREATE,
    RESTORE,
    START,
    Change,
    ChangeFailed,
    Found,
    Hooks,
    Life,
    Plan,
    is_running,
    look,
    plan,
)
from .._version import numbers_of
from . import (
    _archive,
    _backup,
    _client,
    _data,
    _definition,
    _files,
    _in_image,
    _postgres,
    _presence,
    _private_folder,
    _readiness,
    _restore,
    _swap,
    _tree,
)

DataError = _data.DataError

ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "name": {"type": "str", "default": "open-webui"},
    "image": {"type": "str", "required": True},
    "bind": {"type": "str", "default": "0.0.0.0"},  # noqa: S104  # what the role offers, and says what that means
    "port": {"type": "int", "default": 3000},
    "data_dir": {"type": "path", "required": True},
    "config_dir": {"type": "path", "required": True},
    "database_url": {"type": "str", "default": "", "no_log": True},
    "host_gateway": {"type": "bool", "default": True},
    "restart_policy": {
        "type": "str",
        "default": "unless-stopped",
        "choices": ["no", "on-failure", "always", "unless-stopped"],
    },
    "memory": {"type": "str", "default": ""},
    "env": {"type": "jsonarg", "default": "{}", "no_log": True},
    "admin_email": {"type": "str", "default": "admin@localhost"},
    "admin_name": {"type": "str", "default": "Admin"},
    "admin_password": {"type": "str", "default": "", "no_log": True},
    "secret_key": {"type": "str", "default": "", "no_log": True},
    "backup_dir": {"type": "path", "required": True},
    "backup_keep": {"type": "int", "default": 5},
    "timeout": {"type": "int", "default": 300},
    "called": {"type": "str", "default": ""},
}

# How long another run may take, in seconds; a backup of large data and a migration are in it.
PATIENCE = 7200.0

_STOP_SECONDS = 30
_ASK_SECONDS = 180.0
_OLDER_PREVIOUS = "-previous"
_VERSION_IN_TAG = re.compile(r":v?([0-9]+\.[0-9]+\.[0-9]+)")
_HOST = "host.docker.internal"


def version_in(reference: str) -> str:
    """Return the version that the tag of an image names; empty when it names none."""
    match = _VERSION_IN_TAG.search(reference)
    return match.group(1) if match else ""


def as_host_reaches(url: str, driver: Driver | None) -> str:
    """Return the URL of a database as the host itself reaches it, which does not know its containers' name for it."""
    if _HOST not in url:
        return url
    gateway = "127.0.0.1"
    with contextlib.suppress(EngineError):
        network = driver.inspect_network("bridge") if driver else None
        for pool in ((network or {}).get("IPAM") or {}).get("Config") or []:
            gateway = pool.get("Gateway") or gateway
            break
    return url.replace(_HOST, gateway)


def version_of(name: str, driver: Driver | None) -> str:
    """Return the version that the image of a container names; empty where that cannot be told."""
    with contextlib.suppress(EngineError):
        container = driver.inspect(name) if driver else None
        return version_in(str(((container or {}).get("Config") or {}).get("Image") or ""))
    return ""


@contextlib.contextmanager
def hold_data(data_dir: str, doing: str, waited: t.Callable[[str], None]) -> t.Iterator[None]:
    """Hold the lock of a data folder; whoever waits too long is told for whom."""
    with hold("open_webui_data", os.path.realpath(data_dir), doing, waited):
        yield


@contextlib.contextmanager
def hold(kind: str, name: str, doing: str, waited: t.Callable[[str], None]) -> t.Iterator[None]:
    """Hold a lock, and tell for whom it was waited."""
    began = time.monotonic()

    def waiting(holder: _lock.Holder) -> None:
        waited(str(holder))
        if time.monotonic() - began > PATIENCE:
            raise DataError(f"{holder} has been at work on {name} for {PATIENCE:.0f} seconds; wait for it, or end it")

    with _lock.hold(kind, name, doing, waiting):
        yield


class Server(Hooks):
    """An Open WebUI on this host. With an archive, what is in that takes the place of its data."""

    data_is_vital = True

    def __init__(
        self,
        params: t.Mapping[str, t.Any],
        driver: Driver | None,
        check_mode: bool = False,
        archive: str = "",
        sleep: t.Callable[[float], None] = time.sleep,
    ) -> None:
        self._params, self._engine, self._check, self._archive, self._sleep = params, driver, check_mode, archive, sleep
        self._name, self._image = str(params["name"]), str(params["image"])
        self._host = str(params.get("called") or socket.gethostname())
        env = json.loads(params["env"] or "{}")
        if not isinstance(env, dict):
            raise DataError("env is not a dictionary; give the variables by their names")
        self._files = _files.Files(params, env)
        self._where = as_host_reaches(params["database_url"], driver)
        self._database = _postgres.Database.parse(self._where) if self._where else None
        self._restore = _restore.Restore(params["data_dir"], params["config_dir"], self._database)
        self._definition = _definition.Definition(params, self._files.folder, "")
        self._version = ""
        self._known: frozenset[str] | None = None
        self._manifest: _archive.Manifest | None = None
        self._backs_up = self._was_backed_up = False
        self._old_image = ""
        self._url = _endpoint.here("http", str(params["bind"]), int(params["port"])).url
        self.warnings: list[str] = []
        self.secrets: set[str] = set()
        self.result: dict[str, t.Any] = {
            "changed": False,
            "container": "",
            "image": "",
            "changes": [],
            "written": [],
            "saved": "",
            "backup": {},
            "waited_for": "",
            "settled": False,
            "web": {},
        }

    @property
    def _driver(self) -> Driver:
        if self._engine is None:
            raise EngineAbsent("no Docker Engine answers on this host; install it (role docker_engine), and run again")
        return self._engine

    # --- from the look to the end ---

    def run(self) -> None:
        """Bring it to its state; `result` says what was done."""
        self._warn_of_network()
        if self._check and self._params.get("sign_in"):
            self._sign_in()
        with self._held():
            if self._engine is None and self._check:
                # Before a first run there may be no engine yet. A database that cannot be read stops that one, too.
                if self._database is None and not self._archive:
                    self._schema()
                self.result.update(changed=True, written=self._files.pending())
                return
            self._converge()

    def remove(self) -> None:
        """Remove the container; data and secrets stay."""
        if self._engine is None:
            return
        with self._held():
            self._adopt()
            found = look(self._driver, self._name, _definition.is_ours)
            the_plan = plan("absent", found, self._definition.changes)
            self.result["changed"] = the_plan.changed
            if the_plan.changed and not self._check:
                Life(self._driver, self._name, self).remove(the_plan, found)
            if not self._check:
                _private_folder.end_sessions()

    @contextlib.contextmanager
    def _held(self) -> t.Iterator[None]:
        with contextlib.ExitStack() as stack:
            if not self._check:
                doing = f"{'restores a backup into' if self._archive else 'changes'} Open WebUI {self._name}"
                stack.enter_context(hold("open_webui", self._name, doing, self._waited))
                stack.enter_context(hold_data(self._params["data_dir"], doing, self._waited))
            yield

    def _waited(self, holder: str) -> None:
        self.result["waited_for"] = holder

    def _converge(self) -> None:
        _swap.refuse_older_journal(self._params["data_dir"])
        self._adopt()
        if not self._check:
            self._driver.sweep()
        image = self._driver.inspect_image(self._image)
        self.result["image"] = self._definition.image_id = str((image or {}).get("Id") or "")
        found = look(self._driver, self._name, _definition.is_ours)
        if found.previous is not None and not self._check:
            found = self._resume(found)
        self._look_at_data(found)
        the_plan = self._plan(found)
        self._refuse(found)
        if the_plan.makes and not self._definition.image_id and not self._check:
            raise DataError(f"the image {self._image} is not on {self._host}; get it first (role container_image)")
        pending = self._files.pending()
        current = found.current
        restarts = (
            current is not None
            and not the_plan.makes
            and is_running(current)
            and ("env" in pending or self._files.is_newer_than(_readiness.started(current)))
        )
        changes = list(the_plan.changes) + ([Change("env", "(hidden)", "(hidden)")] if restarts else [])
        self.result["changes"] = [change._asdict() for change in changes]
        self.result["written"] = pending
        self.result["changed"] = the_plan.changed or restarts or bool(pending)
        self.result["settled"] = not self.result["changed"] and found.previous is None and not self._archive
        if self._check:
            if self._archive:
                self._manifest = self._restore.prepare(self._archive, _restore.Expected(), unpack=False)
                self.result["backup"] = _restore.about(self._manifest)
            return
        self._carry_out(the_plan, found, restarts)
        ours = self._driver.inspect(self._name) or {}
        self.result.update(container=str(ours.get("Id") or ""), settled=True)

    def _plan(self, found: Found) -> Plan:
        the_plan = plan("started", found, self._definition.changes, _definition.IN_PLACE)
        if not self._archive:
            return the_plan
        return Plan((RECREATE, START) if found.current is not None else (CREATE, START), the_plan.changes)

    def _adopt(self) -> None:
        """Settle what an older release set aside: it had another name for that.

        Its journal, which says that something was cut off, was refused before. So a container under that name is one
        that was proven to be replaced, or that had not been replaced yet.
        """
        older = self._name + _OLDER_PREVIOUS
        left = self._driver.inspect(older)
        if left is None or not _definition.is_ours(left) or self._check:
            return
        if self._driver.inspect(self._name) is None:
            self._driver.rename(older, self._name)
        else:
            self._driver.remove(older)

    def _resume(self, found: Found) -> Found:
        """Take back what a run began that was cut off, unless it is what is wanted now: then it is proven first."""
        if not self._archive and RESTORE not in plan("started", found, self._definition.changes).actions:
            return found
        life = Life(self._driver, self._name, self, waits=False)
        life.carry_out(Plan((RESTORE,), ()), found)
        self.result["changed"] = True
        return look(self._driver, self._name, _definition.is_ours)

    def _carry_out(self, the_plan: Plan, found: Found, restarts: bool) -> None:
        current = found.current
        self._old_image = str(((current or {}).get("Config") or {}).get("Image") or "")
        self._backs_up = bool(self._archive) or (
            current is not None and the_plan.makes and current.get("Image") != self._definition.image_id
        )
        life = Life(self._driver, self._name, self)
        try:
            if not the_plan.makes:
                self._files.write()
                self._files.settle()
            if restarts:
                self._driver.stop(self._name, _STOP_SECONDS)
                self._driver.start(self._name)
            life.carry_out(the_plan, found)
        except ChangeFailed as error:
            raise DataError(self._failure(error, found)) from error

    def _failure(self, error: ChangeFailed, found: Found) -> str:
        """Say why a change failed and what has become of the container."""
        if self._archive and found.current is None and self._restore.pending:
            # There was nothing to put back but the data.
            self._driver.remove(self._name)
            self.undo_data()
            return (
                f"the backup {self._archive} did not come up on {self._host}; what was there before is back."
                f"\n{error.error}"
            )
        if not error.put_back:
            return f"{error.error}\n{error.ending}"
        if self._archive:
            return (
                f"the backup {self._archive} did not come up on {self._host}; what was there before is back.\n{error}"
            )
        if self._backs_up:
            return (
                f"{self._image} did not come up on {self._host}; {self._old_image} is back, with its data as they were."
                f"\n{error}"
            )
        return str(error)

    # --- what is there ---

    def _warn_of_network(self) -> None:
        warning = "" if self._database else _tree.network_warning(str(self._params["data_dir"]), _tree.mounts())
        if warning:
            self.warnings.append(warning)

    def _sign_in(self) -> None:
        """Tell what answers on the port, and whether the administrator can sign in there; a failure is told, too."""
        password = self._params["admin_password"] or self._files.kept(_files.PASSWORD_FILE)
        self.secrets.update({password, password.strip()} - {""})
        self.result["web"] = _presence.find(self._url, str(self._params["admin_email"]), password, self.warnings.append)

    def _look_at_data(self, found: Found) -> None:
        """Ask what runs for its version; without an answer the image's tag tells it."""
        image = str(((found.current or {}).get("Config") or {}).get("Image") or "")
        self._version = version_in(image)
        if found.current is not None and is_running(found.current):
            with contextlib.suppress(ValueError):
                self._version = _client.Client(self._url, timeout=10, retry_pauses=()).check_version()

    def _schema(self) -> str:
        """Return the schema of the data that are there; empty when there are none."""
        if self._database is None:
            data_dir = str(self._params["data_dir"])
            return _data.schema_of_sqlite(data_dir) if _data.has_database(data_dir) else ""
        try:
            return self._database.revision()
        except _postgres.ToolMissingError:
            if self._check:
                return ""
            raise

    def _refuse(self, found: Found) -> None:
        """Refuse an image that is older than the data, and data without their key, before anything stops."""
        if self._archive:
            return
        schema = self._schema()
        has_data = bool(schema) or (self._database is None and _data.has_database(str(self._params["data_dir"])))
        if has_data and not self._files.has_key:
            place = "the database of Open WebUI" if self._database else str(self._params["data_dir"])
            raise DataError(
                f"{place} on {self._host} holds data, but the secret key they belong to is not in"
                f" {os.path.join(self._files.config_dir, _files.KEY_FILE)}: restore it, or set open_webui_secret_key; a"
                " new key signs everybody out and makes stored second factors and OAuth sessions unreadable"
            )
        image_id, running = self._definition.image_id, self._version if found.current is not None else ""
        wanted = version_in(self._image)
        older = bool(running and wanted) and numbers_of(wanted) < numbers_of(running)
        if found.current is not None and found.current.get("Image") == image_id:
            return
        if image_id and schema:
            # Check mode starts no container, so that it judges by the version.
            known = frozenset() if self._check else self._revisions()
            refused = schema not in known if known else older
        else:
            # An image that is not there yet is judged by its version, where that is another minor one.
            refused = older and numbers_of(wanted)[:2] != numbers_of(running)[:2]
        if refused:
            said = f"has the schema {schema}" if schema else f"is of version {running}"
            raise DataError(
                f"the database of Open WebUI on {self._host} {said}, which open_webui_image, {self._image}, does not"
                " know: its database cannot go back to an older version; nothing was stopped. Raise the version, or"
                " restore a backup from then (playbook webui_restore)"
            )

    def _revisions(self) -> frozenset[str]:
        """Return the schemas that the image knows, as the image itself says; empty when it does not say."""
        if self._known is None:
            ran = self._driver.run_once(
                self._image, ["python3", "-c", inspect.getsource(_in_image), "revisions"], _ASK_SECONDS
            )
            self._known = frozenset(ran.stdout.split()) if ran.exit_code == 0 else frozenset()
        return self._known

    # --- hooks of the life ---

    def body(self) -> t.Mapping[str, t.Any]:
        return self._definition.body()

    def stop_seconds(self, container: Container) -> int:
        return _STOP_SECONDS

    def resume(self, replacing: bool) -> None:
        if replacing:
            return
        unfinished = _restore.unfinished(str(self._params["data_dir"]))
        if unfinished == "begun" or (unfinished == "applied" and self._driver.inspect(self._name) is None):
            self._restore.undo()
        elif unfinished == "applied":
            self._restore.finish()
        self._files.forget()

    def drain(self, container: Container) -> None:
        """Do while it still runs what needs no stop, and refuse what cannot be done."""
        self._make_ready()

    def _make_ready(self) -> None:
        if not self._backs_up or self._was_backed_up:
            return
        if self._archive:
            expected = _restore.Expected(self._params["secret_key"], self._revisions())
            self._manifest = self._restore.prepare(self._archive, expected)
            self.result["backup"] = _restore.about(self._manifest)
        if self._database is not None or _data.has_database(str(self._params["data_dir"])):
            job = _backup.Job(
                data_dir=str(self._params["data_dir"]),
                config_dir=str(self._params["config_dir"]),
                backup_dir=str(self._params["backup_dir"]),
                database=self._database,
                keep=int(self._params["backup_keep"]),
                webui_version=self._version,
            )
            made = job.make()
            self.result["saved"] = made["path"]
            if made["left_out"]:
                self.warnings.append(
                    f"links that lead out of the data are not in {made['path']}: {made['left_out'][:5]}"
                )
        self._was_backed_up = True

    def prepare_data(self, old: Container | None) -> None:
        self._make_ready()
        if self._archive:
            self._restore.apply()
        elif self._backs_up:
            self._restore.keep()
        if old is not None:
            self._files.keep()
        self._files.write()
        self._files.settle()
        if old is None or self._backs_up:
            self._bring_cache()

    def _bring_cache(self) -> None:
        """Copy what the image has for the data folder, over which the host's is mounted; a volume would get it, too."""
        # All of the data folder, not its folder cache: where that is a link, the engine would follow it on the host.
        host = {
            "Binds": [f"{self._params['data_dir']}:/data"],
            "CapAdd": list(_definition.CAPABILITIES),
        }
        source = inspect.getsource(_in_image)
        command = ["python3", "-c", source, "cache", f"{_definition.DATA_MOUNT}/cache", "/data/cache"]
        ran = self._driver.run_once(self._image, command, float(self._params["timeout"]), host=host)
        if ran.exit_code:
            raise DataError(
                f"what {self._image} brings for the data folder cannot be copied to {self._params['data_dir']}:"
                f" {' '.join(ran.stderr.split()[-30:])}"
            )

    def undo_data(self) -> None:
        self._restore.undo()
        self._files.undo()

    def keep_data(self) -> None:
        self._restore.finish()
        self._files.forget()

    def prove(self, container: Container, put_back: bool) -> dict[str, t.Any]:
        patience = float(self._params["timeout"])
        waiter = _readiness.Waiter(self._driver, self._name, self._url, self._host, patience, self._sleep)
        return waiter.wait(container)
