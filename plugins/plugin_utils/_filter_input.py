# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a filter is given: in the form it expects, or refused with the name of what is wrong."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleFilterError

from ..module_utils._vllm.declaration._instances import shape_problems
from ..module_utils._vllm.declaration._rows import KEYS
from ..module_utils._vllm.options._suggestions import kind, value_problem, whole_number
from ._host_vars import ANY, WHOLE, Shape, conform, one_line

_DERIVED = ("model_repo", "model_path", "key_file")
_TEXTS = ("name", "model", "image", "bind", "url", "state", *_DERIVED)


def demand(value: t.Any, shape: Shape, where: str) -> t.Any:
    """Return the value in the given shape; refuse one of another."""

    def refuse(place: str, text: str) -> None:
        raise AnsibleFilterError(f"{one_line(place)}: {text}")

    if value is None:
        raise AnsibleFilterError(f"{where}: is nothing")
    return conform(value, shape, where, refuse)


def demand_port(value: t.Any) -> int:
    """Return the number of a port; refuse anything else."""
    number = int(demand(value, WHOLE, "port"))
    if not 0 < number < 65536:
        raise AnsibleFilterError("port: must be between 1 and 65535")
    return number


def optional(value: t.Any, shape: Shape, where: str) -> t.Any:
    """Return the value in the given shape, or nothing where there is none; refuse one of another."""
    return None if value is None else demand(value, shape, where)


def normal_form(value: t.Any) -> list[dict[str, t.Any]]:
    """Return servers as the filter vllm_instances makes them; refuse anything else."""
    servers: list[dict[str, t.Any]] = []
    for index, server in enumerate(demand(value, [ANY], "servers")):
        where = f"servers[{index}]"
        if not isinstance(server, dict):
            raise AnsibleFilterError(f"{where}: must be a mapping, not {kind(server)}")
        missing = [key for key in (*KEYS, *_DERIVED) if key not in server]
        if missing:
            raise AnsibleFilterError(f"{where}: has no {missing[0]}; give it what the filter vllm_instances returns")
        problems = shape_problems(where, server)
        problems += [
            f"{where}.{key}: must be a string, not {kind(server[key])}"
            for key in _TEXTS
            if not isinstance(server[key], str)
        ]
        problems += [
            f"{where}.{key}: holds a character that cannot be printed"
            for key in _TEXTS
            if isinstance(server[key], str) and not server[key].isprintable()
        ]
        problems += [
            f"{where}.{key}: must be a {'mapping' if key in ('engine', 'env') else 'list'}, not nothing"
            for key in ("engine", "env", "volumes", "served_model_names", "gpus")
            if server[key] is None
        ]
        problems += [
            f"{where}.{key}: {problem}" for key in _DERIVED for problem in [value_problem(server[key])] if problem
        ]
        if isinstance(server["gpus"], list):
            odd = next((one for one in server["gpus"] if not isinstance(one, (int, str))), None)
            problems += [] if odd is None else [f"{where}.gpus: holds {kind(odd)}"]
        if server["port"] is not None and whole_number(server["port"]) is None:
            problems.append(f"{where}.port: must be a whole number, not {kind(server['port'])}")
        if problems:
            raise AnsibleFilterError(one_line(problems[0]))
        servers.append(server)
    return servers
