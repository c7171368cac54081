# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the modules that edit daemon.json have in common: read it, plan, check, and write it in one step."""

from __future__ import annotations

import os
import tempfile
import typing as t

from ansible_collections.private_llm.fleet.plugins.module_utils._docker._daemon_json import DaemonJson, DaemonJsonError
from ansible_collections.private_llm.fleet.plugins.module_utils._docker._dockerd import (
    DEFAULT_CONFIG_FILE,
    VALIDATE_SINCE,
    config_file_of,
    dockerd_runs,
    flag_conflicts,
    parse_exec_start,
    parse_major,
    running,
)
from ansible_collections.private_llm.fleet.plugins.module_utils._docker._engine_api import EngineApiError, get
from ansible_collections.private_llm.fleet.plugins.module_utils._docker._engine_state import (
    describe_engine,
    mask,
    pending,
    uses_gpu,
)
from ansible_collections.private_llm.fleet.plugins.module_utils._docker._needs import (
    NONE,
    RESTART,
    needs_between,
    strongest,
)
from ansible_collections.private_llm.fleet.plugins.module_utils._docker._stale_ports import stale_ports

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "path": {"type": "path", "default": DEFAULT_CONFIG_FILE},
    "backup": {"type": "bool", "default": False},
    "socket": {"type": "path"},
}

Plan = t.Callable[[DaemonJson], DaemonJson]


def run(module: AnsibleModule, plan: Plan) -> dict[str, t.Any]:
    """Bring the file to what ``plan`` makes of it; the module's whole result."""
    path: str = module.params["path"]
    result: dict[str, t.Any] = {
        "changed": False,
        "path": path,
        "needs": NONE,
        "pending": [],
        "backup_file": None,
        "engine": describe_engine(None),
        "diff": {"before": "", "after": "", "before_header": path, "after_header": path},
    }
    # A link stays a link: what it points to is read and replaced.
    target = os.path.realpath(path)
    try:
        content = _read(target)
        before = DaemonJson.from_bytes(content)
        after = plan(before)
        info, gpu_containers = _ask(module.params["socket"])
    except (DaemonJsonError, EngineApiError) as error:
        module.fail_json(msg=f"{path}: {error}", **result)
    except OSError as error:
        module.fail_json(msg=f"{path} cannot be read: {error.strerror or error}", **result)

    wanted = after.to_bytes()
    result["changed"] = wanted != (content or b"")
    result["needs"] = needs_between(before.data, after.data)
    result["diff"].update(before=mask(before.text), after=mask(after.text))
    if info is not None:
        late = pending(after.data, info, os.path.realpath)
        pid, argv = running()
        held = _stale_ports(pid, module.params["socket"])
        result["engine"] = describe_engine(info, gpu_containers, argv, held)
        result["pending"] = sorted(late)
        result["needs"] = strongest(result["needs"], *late.values(), *([RESTART] if held else []))

    if result["changed"]:
        _refuse_flag_conflicts(module, before, after, result)
        _write(module, target, wanted, content, result)
    return result


def _read(target: str) -> bytes | None:
    try:
        with open(target, "rb") as stream:
            return stream.read()
    except FileNotFoundError:
        return None


def _ask(socket_path: str | None) -> tuple[dict[str, t.Any] | None, list[str]]:
    """The engine's own words and its containers with GPUs, when a socket is named and an engine runs behind it.

    An engine that does not run is not asked: systemd would start it for the question. One that hangs is an error.
    """
    if not socket_path or not dockerd_runs():
        return None, []
    try:
        info: dict[str, t.Any] = get(socket_path, "/info")
    except EngineApiError as error:
        if isinstance(error.__cause__, (FileNotFoundError, ConnectionRefusedError)):
            return None, []
        raise
    return info, _gpu_containers(socket_path)


def _gpu_containers(socket_path: str) -> list[str]:
    """The names of the running containers with GPUs."""
    names = []
    for listed in get(socket_path, "/containers/json"):
        try:
            container = get(socket_path, f"/containers/{listed['Id']}/json")
        except EngineApiError:
            continue  # it has gone in between
        if uses_gpu(container):
            names.append(str(container.get("Name", listed["Id"])).lstrip("/"))
    return names


def _stale_ports(dockerd: int | None, socket_path: str) -> list[str]:
    """What the engine holds and should not; nothing when it does not tell which containers run."""
    try:
        return stale_ports(dockerd, lambda: get(socket_path, "/containers/json"))
    except EngineApiError:
        return []


def _refuse_flag_conflicts(
    module: AnsibleModule, before: DaemonJson, after: DaemonJson, result: dict[str, t.Any]
) -> None:
    """dockerd does not start when a key of the file is also a flag of its command line.

    The unit counts beside the running process: it may have been changed since, and is what the next start takes.
    """
    for argv in (running()[1], _unit_argv(module)):
        if not argv or os.path.realpath(config_file_of(argv)) != os.path.realpath(module.params["path"]):
            continue
        conflicts = flag_conflicts(argv, set(after.data) - set(before.data))
        if conflicts:
            listed = ", ".join(f'"{key}" ({argument})' for key, argument in conflicts)
            module.fail_json(
                msg=(
                    f"dockerd's command line already sets {listed}; with the same key in {module.params['path']} it "
                    f"would not start. Take the flag out of its unit first: {' '.join(map(mask, argv))}"
                ),
                **dict(result, changed=False),
            )


def _unit_argv(module: AnsibleModule) -> list[str]:
    """The command line that systemd starts dockerd with; empty when systemd has no such unit."""
    systemctl = module.get_bin_path("systemctl")
    if not systemctl:
        return []
    rc, shown, _errors = module.run_command([systemctl, "show", "--property=ExecStart", "docker.service"])
    return parse_exec_start(shown) if rc == 0 else []


def _write(module: AnsibleModule, target: str, wanted: bytes, content: bytes | None, result: dict[str, t.Any]) -> None:
    handle, temporary = tempfile.mkstemp(prefix="daemon-", suffix=".json", dir=module.tmpdir)
    with os.fdopen(handle, "wb") as stream:
        stream.write(wanted)
    module.add_cleanup_file(temporary)
    _validate(module, temporary, result)
    if module.check_mode:
        return
    folder = os.path.dirname(target)
    if not os.path.isdir(folder):
        os.makedirs(folder, mode=0o755)
    if content is not None and module.params["backup"]:
        result["backup_file"] = module.backup_local(target)
    module.atomic_move(temporary, target)


def _validate(module: AnsibleModule, temporary: str, result: dict[str, t.Any]) -> None:
    """Ask dockerd itself, where there is one that can be asked."""
    dockerd = module.get_bin_path("dockerd")
    if not dockerd:
        return
    rc, version, _errors = module.run_command([dockerd, "--version"])
    major = parse_major(version) if rc == 0 else None
    if major is None or major < VALIDATE_SINCE:
        return
    rc, output, errors = module.run_command([dockerd, "--validate", "--config-file", temporary])
    if rc != 0:
        said = (errors.strip() or output.strip() or "nothing").replace(temporary, result["path"])
        module.fail_json(
            msg=f"dockerd refuses what {result['path']} would hold, so it was left as it is. dockerd says: {said}",
            **dict(result, changed=False),
        )
