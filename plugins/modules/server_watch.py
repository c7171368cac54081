#!/usr/bin/python

# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: server_watch
short_description: Put the program that watches a host's servers in place
version_added: "0.1.0"
author:
  - private_llm.fleet contributors (@private-llm)
description:
  - Writes a program that asks each vLLM server of this host for one token, and restarts what hangs, into
    C(/opt/private_llm/server_watch), and what it has to know into C(/etc/private_llm/server_watch). The program is made
    from this collection's own code and needs nothing but Python.
  - Where told, the program asks Open WebUI and the gateway of this host as well.
  - It starts nothing by itself. The role P(private_llm.fleet.server_watch#role) adds the units of systemd that run it.
extends_documentation_fragment:
  - private_llm.fleet.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details: Of the program, the files are named that change; of its configuration, the lines are shown.
  idempotent:
    support: full
options:
  servers:
    description:
      - The servers to watch, in the order in which those that share a GPU are started, each with C(name) and C(state).
      - Servers whose state is not V(started) are left alone.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the server and of its container.
        type: str
        required: true
      state:
        description: The declared state.
        type: str
        choices: [started, stopped, absent]
        default: started
  webs:
    description: Open WebUIs to watch, each with C(name), C(bind) and C(port).
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the container.
        type: str
        required: true
      bind:
        description: Address of the host on which it listens.
        type: str
        required: true
      port:
        description: Its port of the host.
        type: int
        required: true
  gateway:
    description: Where the gateway of this host gives its metrics. Without it no gateway is watched.
    type: dict
    suboptions:
      bind:
        description: The address.
        type: str
        required: true
      port:
        description: The port; V(0) where it gives none, and then only its runtime socket is asked.
        type: int
        required: true
  idle_seconds:
    description: Seconds in which a server without a request must generate a token, or else it hangs.
    type: int
    default: 20
  busy_seconds:
    description: Seconds in which something must move in a server at work, or else it hangs.
    type: int
    default: 45
  start_seconds:
    description: Seconds that a start may take. 0 means 20 minutes, and a second for each 50 MB of weights.
    type: int
    default: 0
  restarts:
    description: How many restarts of one server are tried within O(window_seconds).
    type: int
    default: 3
  window_seconds:
    description: The time for which restarts are counted.
    type: int
    default: 3600
  backoff_seconds:
    description: Seconds before the second restart within O(window_seconds); twice as many before each further one.
    type: int
    default: 60
  interval:
    description: Seconds between two passes, which the timer counts.
    type: int
    default: 30
  units_dir:
    description: Folder of the systemd units that run the program. Enabling and starting them is left to others.
    type: path
    default: /etc/systemd/system
  metrics_dir:
    description: Folder of the file for node_exporter's textfile collector, C(server_watch.prom).
    type: path
    default: /var/lib/private_llm/metrics
  state:
    description: V(absent) removes the program, its units, its configuration, its memory and its metrics.
    type: str
    choices: [present, absent]
    default: present
seealso:
  - module: private_llm.fleet.vllm_server_info
"""

EXAMPLES = r"""
- name: Put the program in place
  private_llm.fleet.server_watch:
    servers:
      - {name: qwen3-32b}
      - {name: qwen3-8b, state: stopped}

- name: Remove it
  private_llm.fleet.server_watch:
    state: absent
"""

RETURN = r"""
program:
  description: The folder of the program, as Python runs it.
  returned: always
  type: str
  sample: /opt/private_llm/server_watch
python:
  description: The Python that the program is to be run with.
  returned: always
  type: str
  sample: /usr/bin/python3
files:
  description: The program's files that change, by their paths.
  returned: always
  type: list
  elements: str
units:
  description: The units that change, by the names of their files.
  returned: always
  type: list
  elements: str
  sample: [private-llm-watch.timer]
at_work:
  description: Whether systemd has read the units, starts them with the engine and the host, and runs the timer.
  returned: always
  type: bool
watched:
  description: What the watch saw last, as M(private_llm.fleet.server_watch_info) tells it; empty before its first pass.
  returned: always
  type: list
  elements: dict
"""

import os
import shutil
import sys
import typing as t

from ..module_utils import _replace, _systemd
from ..module_utils._engine import _lock
from ..module_utils._fleet_module import FleetModule
from ..module_utils._open_webui import _definition
from ..module_utils._regular import regular
from ..module_utils._watch import _config, _falls, _main, _memory, _metrics, _program, _units

# The program is made of these and of what they import; a pass loads the second only when a server fell, and the third
# where there is an Open WebUI.
PROGRAM = (_main, _falls, _definition)


# More seconds than a host runs.
MOST = 10**9


def wanted_config(params: t.Mapping[str, t.Any]) -> str:
    """Return the text of the configuration; ValueError for a number that nothing can wait for."""
    for name in ("idle_seconds", "busy_seconds", "start_seconds", "window_seconds", "backoff_seconds", "restarts"):
        if not 0 <= params[name] <= MOST:
            raise ValueError(f"{name} is out of range; give a number from 0 to {MOST:,}")
    limits = _config.Limits(
        idle=float(params["idle_seconds"]),
        busy=float(params["busy_seconds"]),
        start=float(params["start_seconds"]),
        restarts=params["restarts"],
        window=float(params["window_seconds"]),
        backoff=float(params["backoff_seconds"]),
    )
    servers = {one["name"]: one["state"] for one in params["servers"] if one["state"] != "absent"}
    webs = {one["name"]: _config.Door(one["bind"], one["port"]) for one in params["webs"]}
    gateway = params["gateway"] and _config.Door(params["gateway"]["bind"], params["gateway"]["port"])
    docker_host = os.environ.get("DOCKER_HOST", "")
    return _config.render(_config.Config(servers, limits, params["metrics_dir"], docker_host, webs, gateway or None))


def read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace", opener=regular) as stream:
            return stream.read()
    except FileNotFoundError:
        return ""


def at_work(module: FleetModule) -> bool:
    """Ask systemd for the units; a host without it runs none."""
    systemctl = module.get_bin_path("systemctl")
    if not systemctl:
        return False
    names = sorted(_units.units("", "", 0))
    _rc, shown, _errors = module.run_command([systemctl, "show", f"--property={','.join(_units.PROPERTIES)}", *names])
    return _units.at_work(shown, _systemd.runs_old_files)


def present(module: FleetModule) -> None:
    """Put program and configuration in place."""
    files, there = _program.sources(), _program.installed()
    path = os.path.join(_config.ROOT, _config.FILE)
    text, before = wanted_config(module.params), read(path)
    changed = sorted(name for name in set(files) | set(there) if files.get(name) != there.get(name))
    metrics = os.path.join(_config.parse(before).metrics, _metrics.FILE) if before else ""
    folder = module.params["units_dir"]
    wanted = _units.units(sys.executable, _program.ROOT, module.params["interval"])
    known = {name: read(os.path.join(folder, name)) for name in wanted}
    units = sorted(name for name in wanted if known[name] != wanted[name])
    moved = metrics and metrics != os.path.join(module.params["metrics_dir"], _metrics.FILE)
    if (changed or units or text != before) and not module.check_mode:
        # No pass runs a program of which one half is new.
        with _lock.hold("server_watch", "pass", "changing the program"):
            _program.install(files)
            os.makedirs(os.path.dirname(_config.ROOT), mode=0o700, exist_ok=True)
            _replace.write_text(path, text, 0o600)
            for name in units:
                _replace.write_text(os.path.join(folder, name), wanted[name], 0o644)
            if moved and os.path.lexists(metrics):
                remove(metrics)
    module.exit_json(
        changed=bool(changed or units or text != before),
        files=changed,
        units=units,
        at_work=not units and at_work(module),
        watched=_memory.told_all(),
        program=_program.ROOT,
        python=sys.executable,
        diff={
            "before": before
            + "".join(f"{name}\n" for name in changed if name in there)
            + "".join(known[name] for name in units),
            "after": text
            + "".join(f"{name}\n" for name in changed if name in files)
            + "".join(wanted[name] for name in units),
            "before_header": path,
            "after_header": path,
        },
    )


def absent(module: FleetModule) -> None:
    """Remove everything."""
    try:
        metrics = _config.read().metrics
    except _config.ConfigError:
        metrics = module.params["metrics_dir"]
    units = sorted(_units.units("", "", 0))
    places = (
        *(os.path.join(module.params["units_dir"], name) for name in units),
        _program.ROOT,
        _config.ROOT,
        _memory.ROOT,
        os.path.join(metrics, _metrics.FILE),
    )
    there = [path for path in places if os.path.lexists(path)]
    files = sorted(_program.installed())
    if there and not module.check_mode:
        with _lock.hold("server_watch", "pass", "removing the program"):
            for path in there:
                remove(path)
    module.exit_json(
        changed=bool(there),
        files=files,
        units=[name for name in units if os.path.join(module.params["units_dir"], name) in there],
        at_work=False,
        watched=[],
        program=_program.ROOT,
        python=sys.executable,
        diff={"before": "".join(f"{path}\n" for path in there), "after": ""},
    )


def remove(path: str) -> None:
    """Remove a file or a folder, and the folders of this collection above it that are empty then."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        os.unlink(path)
    folder = os.path.dirname(path)
    while "private_llm" in folder.split(os.sep) and not os.listdir(folder):
        os.rmdir(folder)
        folder = os.path.dirname(folder)


def main() -> None:
    door: dict[str, t.Any] = {"bind": {"type": "str", "required": True}, "port": {"type": "int", "required": True}}
    module = FleetModule(
        argument_spec={
            "servers": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "name": {"type": "str", "required": True},
                    "state": {"type": "str", "choices": ["started", "stopped", "absent"], "default": "started"},
                },
            },
            "webs": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {"name": {"type": "str", "required": True}, **door},
            },
            "gateway": {"type": "dict", "options": door},
            "idle_seconds": {"type": "int", "default": 20},
            "busy_seconds": {"type": "int", "default": 45},
            "start_seconds": {"type": "int", "default": 0},
            "restarts": {"type": "int", "default": 3},
            "window_seconds": {"type": "int", "default": 3600},
            "backoff_seconds": {"type": "int", "default": 60},
            "interval": {"type": "int", "default": 30},
            "units_dir": {"type": "path", "default": _units.FOLDER},
            "metrics_dir": {"type": "path", "default": _config.METRICS},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    try:
        if module.params["state"] == "absent":
            absent(module)
        present(module)
    except (ValueError, OSError) as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
