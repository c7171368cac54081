# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the modules for one server and for several have in common with Ansible."""

from __future__ import annotations

import copy
import typing as t

from ..._engine._api import EngineError, address_here
from ..._engine._client import Engine
from ..._secret_env import HIDDEN
from ._converge import Host, Server

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

GPU_TOOL_FOLDERS = ["/usr/lib/wsl/lib", "/run/nvidia/driver/usr/bin", "/opt/bin"]


def take_options(module: AnsibleModule) -> list[dict[str, t.Any]]:
    """Return the options of each server, and leave none of their environment in what Ansible shows of the call.

    With ``-vvv`` it prints a module's options, and saves them with the result of a job in the background. Masking the
    values as secrets would mask a "1" wherever else one stands.
    """
    given = module.params.get("servers", [module.params])
    taken: list[dict[str, t.Any]] = copy.deepcopy(given)
    for options in given:
        if options.get("env"):
            options["env"] = dict.fromkeys(options["env"], HIDDEN)
    return taken


def host_of(module: AnsibleModule) -> Host:
    return Host(
        module.check_mode,
        lambda: module.get_bin_path("nvidia-smi", opt_dirs=GPU_TOOL_FOLDERS),
        module.warn,
        module.no_log_values.update,
    )


def way_to_engine(module: AnsibleModule, servers: t.Sequence[Server]) -> t.Callable[[], Engine] | None:
    """Return how to reach the engine; None where there is none, and none is needed to say what would be."""
    bare = not address_here().exists()
    if bare and (module.check_mode or all(server.state == "absent" for server in servers)):
        return None
    try:
        engine = Engine.connect()
    except EngineError:
        if module.check_mode:
            return None
        raise
    # One engine for all threads: every request has a connection of its own.
    return lambda: engine
