# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The way of a module to the server: find the engine, do the work, leave the module with the result."""

from __future__ import annotations

import typing as t

from .._engine._client import Engine, EngineAbsent
from . import _server

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


def carry_out(
    module: AnsibleModule,
    work: t.Callable[[_server.Server], None],
    archive: str = "",
    needs_engine: bool = True,
) -> None:
    """Do some work on the server that a module's options declare, and end the module."""
    server: _server.Server | None = None
    try:
        driver = engine(needs_engine and not module.check_mode)
        server = _server.Server(module.params, driver, module.check_mode, archive)
        work(server)
    except (ValueError, OSError) as error:
        module.no_log_values.update(server.secrets if server else ())
        found = server.result if server else {}
        module.fail_json(msg=str(error), **{key: value for key, value in found.items() if key != "changed"})
        return
    module.no_log_values.update(server.secrets)
    for warning in server.warnings:
        module.warn(warning)
    module.exit_json(**server.result)


def engine(needed: bool = False) -> Engine | None:
    """Return the engine of this host; None where there is none, and none is needed."""
    try:
        return Engine.connect()
    except EngineAbsent:
        if needed:
            raise
        return None
