# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A server's container as modules return it; writing and reading modules share this one view."""

from __future__ import annotations

import typing as t

from ..api._probe import Server
from ..container import _keys, _labels, _spec


def container_facts(
    container: t.Mapping[str, t.Any] | None, image_env: t.Mapping[str, str] | None = None
) -> dict[str, t.Any]:
    """Return the facts of a container, without a secret; empty when there is no container."""
    if container is None:
        return {}
    spec = _spec.spec_of(container, image_env)
    state = container.get("State") or {}
    return {
        "id": str(container.get("Id") or ""),
        "image_id": str(container.get("Image") or ""),
        "status": str(state.get("Status") or ""),
        "exit_code": state.get("ExitCode"),
        "restart_count": int(container.get("RestartCount") or 0),
        "created": str(container.get("Created") or ""),
        "started_at": str(state.get("StartedAt") or ""),
        "config_hash": str(((container.get("Config") or {}).get("Labels") or {}).get(_labels.LABEL_CONFIG) or ""),
        "authenticated": spec.keys != _keys.NONE,
        **{key: value for key, value in _spec.as_options(spec).items() if key != "keys"},
    }


def server_of(spec: _spec.ServerSpec, key: str | None) -> Server:
    """Return the server at the address at which the host itself reaches it."""
    return Server(
        spec.bind,
        spec.port,
        key,
        tls=isinstance(spec.engine.get("ssl_certfile"), str),
    )
