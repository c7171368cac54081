# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read daemon.json, plan a change, check it, and write it in one step, for all modules of that file."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
import typing as t

from .._engine._api import (
    Api,
    EngineAbsent,
    EngineError,
    address_of,
)
from .._engine._lock import DIRECTORY, Holder, LockError, hold
from .._replace import (
    Draft,
    ReplaceError,
    mode_of,
    read_file,
    sweep,
)
from ._daemon_json import DaemonJson, DaemonJsonError
from ._dockerd import (
    DEFAULT_CONFIG_FILE,
    VALIDATE_SINCE,
    added_runtimes,
    config_file_of,
    dockerd_runs,
    flag_conflicts,
    known_settings,
    parse_exec_start,
    parse_major,
    running,
    settings_in,
)
from ._engine_network import (
    network_problem,
    same_namespace,
)
from ._engine_state import (
    describe_engine,
    holds_secret,
    mask,
    pending,
    secrets_in,
    uses_gpu,
)
from ._needs import (
    NONE,
    RESTART,
    needs_between,
    strongest,
)
from ._stale_ports import stale_ports

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "path": {"type": "path", "default": DEFAULT_CONFIG_FILE},
    "backup": {"type": "bool", "default": False},
    "socket": {"type": "path"},
}
LARGEST = 4 * 1024 * 1024  # bytes; a daemon.json has some hundred
ASK_SECONDS = 10.0
LOCK_SECONDS = 300.0  # a change of the file takes one or two

# What a plan is given: the file as it is, and the runtimes that dockerd gets by its command line.
Plan = t.Callable[[DaemonJson, t.Collection[str]], DaemonJson]


class BusyError(ValueError):
    """Another run has been changing the file for long."""


class Change(t.NamedTuple):
    """The file as it is and as it is to be, and by which command lines and which dockerd it is judged."""

    content: bytes | None
    before: DaemonJson
    after: DaemonJson
    argv: list[str]
    unit: list[str]
    dockerd: Dockerd

    @property
    def wanted(self) -> bytes:
        return self.after.to_bytes()


def run(module: AnsibleModule, plan: Plan, taken_out: t.Collection[str] = ()) -> dict[str, t.Any]:
    """Bring the file to what ``plan`` makes of it; the module's whole result. ``taken_out`` are runtimes to be gone."""
    result = _empty(module)
    # A link stays a link: what it points to is read and replaced.
    target = os.path.realpath(result["path"])
    # Whoever only looks needs no lock: the file is replaced in one step.
    with _failing(module, result), contextlib.nullcontext() if module.check_mode else _lock(target):
        if not module.check_mode:
            sweep(target)
        change = _judge(module, plan, taken_out, target, result)
        if result["changed"]:
            _refuse(change, target)
            _write(module, target, change, result)
    return result


def look(module: AnsibleModule, plan: Plan, taken_out: t.Collection[str] = ()) -> dict[str, t.Any]:
    """Return what ``run`` would find and change nothing: ``holds`` what is wanted or not, and what ``refused`` it."""
    result = _empty(module)
    target = os.path.realpath(result["path"])
    with _failing(module, result):
        change = _judge(module, plan, taken_out, target, result)
        result["refused"] = None
        if result["changed"]:
            try:
                _refuse(change, target)
                _validate_copy(module, change, result["path"])
            except DaemonJsonError as error:
                result["refused"] = f"{result['path']}: {error}"
    result["holds"] = not result["changed"]
    for key in ("changed", "diff", "backup_file"):
        del result[key]
    return result


def _empty(module: AnsibleModule) -> dict[str, t.Any]:
    """Return the result before anything is known."""
    path: str = module.params["path"]
    module.no_log_values.update(secrets_in([module.params.get("settings"), module.params["socket"]]))
    return {
        "changed": False,
        "path": path,
        "needs": NONE,
        "pending": [],
        "backup_file": None,
        "engine": describe_engine(None),
        "diff": {"before": "", "after": "", "before_header": path, "after_header": path},
    }


@contextlib.contextmanager
def _failing(module: AnsibleModule, result: dict[str, t.Any]) -> t.Iterator[None]:
    """End the module with a message for everything that stands in the way."""
    path = result["path"]
    try:
        yield
    except (DaemonJsonError, EngineError) as error:
        module.fail_json(msg=f"{path}: {mask(str(error))}", **dict(result, changed=False))
    except (BusyError, LockError, ReplaceError) as error:
        module.fail_json(msg=str(error), **dict(result, changed=False))
    except OSError as error:
        module.fail_json(
            msg=f"{error.filename or path} cannot be read or written: {error.strerror or error}",
            **dict(result, changed=False),
        )


def _lock(target: str) -> t.ContextManager[t.Any]:
    """Hold the lock of the file, so that those who change it do so one after another, each from its look to its end."""
    began = time.monotonic()

    def wait(holder: Holder) -> None:
        if time.monotonic() - began > LOCK_SECONDS:
            raise BusyError(
                f"{target} is being changed by {holder}; wait for its end, or end that process, and run again"
            )

    # Without root's rights, the lock holds among the runs of one user.
    user = os.geteuid()
    folder = os.path.join(tempfile.gettempdir(), f"private_llm-{user}", "locks") if user else DIRECTORY
    return hold("daemon_json", target, f"changes {target}", wait, folder)


def _judge(
    module: AnsibleModule, plan: Plan, taken_out: t.Collection[str], target: str, result: dict[str, t.Any]
) -> Change:
    """Look at the file and the engine, and put into the result what is to be done."""
    info, gpu_containers = _ask(module.params["socket"])
    pid, argv = running()
    unit = _unit_argv(module)
    dockerd = Dockerd(module, info)
    content = read_file(target, LARGEST)
    before = DaemonJson.from_bytes(content, dockerd.release)
    added = {name for one in (argv, unit) for name in (added_runtimes(one) if _reads(one, target) else ())}
    change = Change(content, before, plan(before, added), argv, unit, dockerd)
    after = change.after

    result["changed"] = change.wanted != (content or b"")
    result["needs"] = needs_between(before.data, after.data)
    result["diff"].update(before=mask(before.text), after=mask(after.text))
    problem = after.problem() if result["changed"] or content is not None else None
    if problem:
        raise DaemonJsonError(problem)
    if info is not None:
        late = pending(after.data, info, os.path.realpath, argv or None, taken_out)
        held = _stale_ports(pid, module.params["socket"])
        broken = _network_problem(module, pid, argv, info, after.data)
        result["engine"] = describe_engine(info, gpu_containers, argv, held, broken)
        result["pending"] = sorted(late)
        result["needs"] = strongest(result["needs"], *late.values(), *([RESTART] if held else []))
    return change


def _refuse(change: Change, target: str) -> None:
    """Refuse a change with which dockerd would not start."""
    _refuse_flag_conflicts(target, (change.argv, change.unit), change.before, change.after, change.dockerd.release)
    change.dockerd.refuse_unknown(settings_in(change.after.data) - settings_in(change.before.data))


def _reads(argv: t.Sequence[str], target: str) -> bool:
    """Return whether a dockerd with this command line reads the file."""
    return bool(argv) and os.path.realpath(config_file_of(argv)) == target


def _ask(socket_path: str | None) -> tuple[dict[str, t.Any] | None, list[str]]:
    """Return the engine's information and its containers with GPUs, when a socket is named and an engine runs there.

    An engine that does not run is not asked: systemd would start it for the question. One that hangs is an error.
    """
    if not socket_path or not dockerd_runs():
        return None, []
    api = Api(address_of(socket_path), seconds=ASK_SECONDS)
    try:
        info = api.get("/info")
    except EngineAbsent as error:
        if isinstance(error.__cause__, (FileNotFoundError, ConnectionRefusedError)):
            return None, []
        raise
    if not isinstance(info, dict):
        raise EngineError(f"what answers at {socket_path} is not a Docker Engine: it does not describe itself")
    return info, _gpu_containers(api)


def _containers(api: Api) -> list[dict[str, t.Any]]:
    """Return the running containers as the engine lists them."""
    listed = api.get("/containers/json")
    return [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []


def _gpu_containers(api: Api) -> list[str]:
    """Return the names of the running containers with GPUs."""
    names = []
    for listed in _containers(api):
        try:
            container = api.get(f"/containers/{listed.get('Id')}/json")
        except EngineError:
            continue  # it has gone in between
        if isinstance(container, dict) and uses_gpu(container):
            names.append(str(container.get("Name", listed.get("Id"))).lstrip("/"))
    return names


def _stale_ports(dockerd: int | None, socket_path: str) -> list[str]:
    """Return the ports that the engine holds and should not; none when it does not tell which containers run."""
    api = Api(address_of(socket_path), seconds=ASK_SECONDS)
    try:
        return stale_ports(dockerd, lambda: _containers(api))
    except EngineError:
        return []


def _network_problem(
    module: AnsibleModule,
    pid: int | None,
    argv: t.Sequence[str],
    info: t.Mapping[str, t.Any],
    configuration: t.Mapping[str, t.Any],
) -> str | None:
    """Return what is broken about the engine's network, where it is an engine of this very host."""
    if not same_namespace(pid):
        return None

    def rules(command: t.Sequence[str]) -> str | None:
        program = module.get_bin_path(command[0])
        if not program:
            return None
        rc, output, _errors = module.run_command([program, *command[1:]])
        return output if rc == 0 else None

    try:
        bridge = Api(address_of(module.params["socket"]), seconds=ASK_SECONDS).get("/networks/bridge")
    except EngineError:
        return None  # an engine that was told to have no such network has none
    return network_problem(bridge, info, configuration, argv, rules)


def _refuse_flag_conflicts(
    target: str,
    command_lines: t.Iterable[t.Sequence[str]],
    before: DaemonJson,
    after: DaemonJson,
    release: int | None,
) -> None:
    """Refuse a key of the file that is also a flag of dockerd's command line, because dockerd does not start then.

    The unit counts beside the running process: it may have been changed since, and is what the next start takes.
    """
    for argv in command_lines:
        if not _reads(argv, target):
            continue
        conflicts = flag_conflicts(argv, settings_in(after.data) - settings_in(before.data), release)
        if conflicts:
            listed = ", ".join(f'"{key}" ({mask(argument)})' for key, argument in conflicts)
            raise DaemonJsonError(
                f"dockerd's command line already sets {listed}; with the same key in the file it would not start. "
                f"Take the flag out of its unit first: {' '.join(map(mask, argv))}"
            )


def _unit_argv(module: AnsibleModule) -> list[str]:
    """Return the command line that systemd starts dockerd with; empty when systemd has no such unit."""
    systemctl = module.get_bin_path("systemctl")
    if not systemctl:
        return []
    rc, shown, _errors = module.run_command([systemctl, "show", "--property=ExecStart", "docker.service"])
    return parse_exec_start(shown) if rc == 0 else []


class Dockerd:
    """The dockerd of this host, whose release has the rules: by its program, which starts next, or else the engine."""

    def __init__(self, module: AnsibleModule, info: t.Mapping[str, t.Any] | None) -> None:
        self._module = module
        self._program = module.get_bin_path("dockerd")
        told = str((info or {}).get("ServerVersion") or "")
        if self._program:
            rc, version, _errors = module.run_command([self._program, "--version"])
            told = version if rc == 0 and parse_major(version) is not None else told
        self.release = parse_major(told)

    @property
    def _validates(self) -> bool:
        return self.release is not None and self.release >= VALIDATE_SINCE

    def refuse_unknown(self, settings: t.Collection[str]) -> None:
        """Hold new settings against those that an old dockerd has, which cannot be asked to validate a file."""
        if not self._program or self._validates or not settings:
            return
        rc, output, errors = self._module.run_command([self._program, "--help"])
        known = known_settings(output + errors) if rc == 0 else set()
        unknown = sorted(set(settings) - known)
        if known and unknown:
            raise DaemonJsonError(
                f"dockerd {self.release or ''} on this host does not know {', '.join(unknown)} and would not start "
                "with it; the file was left as it is. Take it out of the settings, or install a newer Docker Engine"
            )

    def validate(self, temporary: str, path: str) -> None:
        """Ask dockerd itself, where it is one that can be asked."""
        if not self._program or not self._validates:
            return
        rc, output, errors = self._module.run_command([self._program, "--validate", "--config-file", temporary])
        if rc != 0:
            said = mask((errors.strip() or output.strip() or "nothing").replace(temporary, path))
            raise DaemonJsonError(
                f"dockerd refuses what the file would hold, so it was left as it is. dockerd says: {said}"
            )


def _validate_copy(module: AnsibleModule, change: Change, path: str) -> None:
    """Have dockerd judge a copy of what the file would hold."""
    handle, temporary = tempfile.mkstemp(prefix="daemon-", suffix=".json", dir=module.tmpdir)
    module.add_cleanup_file(temporary)
    with os.fdopen(handle, "wb") as stream:
        stream.write(change.wanted)
    change.dockerd.validate(temporary, path)


def _write(module: AnsibleModule, target: str, change: Change, result: dict[str, t.Any]) -> None:
    if module.check_mode:
        _validate_copy(module, change, result["path"])
        return
    # A proxy's password in it is for root alone; dockerd runs as root.
    mode = mode_of(target) & (0o600 if holds_secret(change.after.text) else 0o777)
    with Draft(target, change.wanted, mode) as draft:
        change.dockerd.validate(draft.path, result["path"])
        if read_file(target, LARGEST) != change.content:
            raise ReplaceError(f"{target} was changed by something else meanwhile; it was left as it is. Run again")
        if change.content is not None and module.params["backup"]:
            result["backup_file"] = module.backup_local(target)
            if holds_secret(change.content.decode("utf-8", "replace")):
                os.chmod(result["backup_file"], 0o600)
        draft.publish()
