# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the module gateway_config is given, from what is declared. Pure."""

from __future__ import annotations

import typing as t

from .._host_vars import FLAG, LINE, WHOLE, conform, silent
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


def problem_lines(servers: t.Any, users: t.Any, webs: t.Any = (), open_webui: t.Any = False) -> list[str]:
    """Return what is wrong with the declarations, as sentences."""
    return [problem.sentence for problem in problems(servers, users) + web_problems(webs, open_webui)]
