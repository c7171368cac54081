# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read the engine's API over its socket, with the standard library alone: it must work before anything is installed."""

from __future__ import annotations

import http.client
import json
import socket
import typing as t

DEFAULT_SOCKET = "/var/run/docker.sock"


class EngineApiError(ValueError):
    """The engine does not answer, or not sensibly."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def get(socket_path: str, resource: str, timeout: float = 10.0) -> t.Any:
    """The JSON answer to GET ``resource``."""
    connection = _UnixConnection(socket_path, timeout)
    try:
        connection.request("GET", resource, headers={"Host": "localhost"})
        response = connection.getresponse()
        body = response.read()
        if response.status != 200:
            said = body[:300].decode("utf-8", "replace").strip()
            raise EngineApiError(f"the engine at {socket_path} answers {resource} with {response.status}: {said}")
        return json.loads(body.decode("utf-8"))
    except socket.timeout as error:
        raise EngineApiError(
            f"the engine at {socket_path} does not answer {resource} within {timeout:g} seconds"
        ) from error
    except (OSError, http.client.HTTPException, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise EngineApiError(f"no engine answers at {socket_path}: {error or type(error).__name__}") from error
    finally:
        connection.close()
