# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the module gateway_config is given, from what is declared. Pure."""

from __future__ import annotations

import ipaddress
import typing as t

from .._host_vars import FLAG, LINE, MAPPING, WHOLE, conform, silent
from .._problem import Problem
from ._model import SERVER, USER, fleet_of, label, problems
from ._render import Settings, files
from ._web import WEB, web_problems, webs_of

SETTINGS = {
    "bind": LINE,
    "port": WHOLE,
    "tls": FLAG,
    "max_body_bytes": WHOLE,
    "buffer_bytes": WHOLE,
    "queue_seconds": WHOLE,
    "max_connections": WHOLE,
    "webs": [WEB],
    "metrics_bind": LINE,
    "metrics_port": WHOLE,
}


def options(servers: t.Any, users: t.Any, settings: t.Any) -> dict[str, t.Any]:
    """Return ``files``, ``user_keys`` and ``server_keys``."""
    chosen = conform(settings, SETTINGS, "settings", silent)
    given = {key: value for key, value in chosen.items() if value is not None}
    given["webs"] = webs_of(chosen.get("webs"))
    declared = conform(servers, [SERVER], "servers", silent)
    return {
        "files": files(fleet_of(servers, users), Settings(**given)),
        "user_keys": {
            user["name"]: user["keys"] for user in conform(users, [{**USER, "keys": [LINE]}], "users", silent)
        },
        "server_keys": {
            label(server["name"]): server["key"] for server in declared if server["key"] or server["keyed"]
        },
    }


def problem_lines(
    servers: t.Any, users: t.Any, webs: t.Any = (), open_webui: t.Any = False, binds: t.Any = None
) -> list[str]:
    """Return what is wrong with the declarations, as sentences; ``binds`` are addresses by their variables."""
    found = problems(servers, users) + web_problems(webs, open_webui) + _bind_problems(binds)
    return [problem.sentence for problem in found]


def _bind_problems(binds: t.Any) -> list[Problem]:
    found = []
    for variable, value in conform(binds, MAPPING, "binds", silent).items():
        text = conform(value, LINE, variable, silent) or ""
        try:
            # HAProxy and the programs that ask it do not agree on a zone, so an address of a link is none for them.
            fits = "%" not in text and bool(ipaddress.ip_address(text))
        except ValueError:
            fits = False
        if not fits:
            said = (
                f"is {text!r}; give an IP address of the host without brackets or zone, or 0.0.0.0 or :: for all of "
                "them, not the name of an interface or of a host"
            )
            found.append(Problem("", variable, "gateway", said))
    return found
