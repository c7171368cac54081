# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The engine's API over its socket, with the standard library alone: it must work before anything is installed."""

from __future__ import annotations

import http.client
import json
import socket
import typing as t

DEFAULT_SOCKET = "/var/run/docker.sock"


class EngineApiError(ValueError):
    """The engine does not answer, or not sensibly."""


class EngineRefusal(EngineApiError):
    """The engine answers that it cannot; ``said`` is its own sentence."""

    def __init__(self, message: str, said: str) -> None:
        super().__init__(message)
        self.said = said


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
    return _parse(request(socket_path, "GET", resource, timeout=timeout), socket_path)


def post(socket_path: str, resource: str, body: t.Any = None, timeout: float = 10.0) -> t.Any:
    """The JSON answer to POST ``resource``; None when the answer is empty."""
    answer = request(socket_path, "POST", resource, body, timeout)
    return _parse(answer, socket_path) if answer else None


def request(socket_path: str, method: str, resource: str, body: t.Any = None, timeout: float = 10.0) -> bytes:
    """The answer as it comes."""
    connection = _UnixConnection(socket_path, timeout)
    headers = {"Host": "localhost", "Content-Type": "application/json"}
    try:
        connection.request(method, resource, None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        answer = response.read()
    except socket.timeout as error:
        raise EngineApiError(
            f"the engine at {socket_path} does not answer {resource} within {timeout:g} seconds"
        ) from error
    except (OSError, http.client.HTTPException) as error:
        raise EngineApiError(f"no engine answers at {socket_path}: {error or type(error).__name__}") from error
    finally:
        connection.close()
    if not 200 <= response.status < 300:
        said = _message(answer)
        raise EngineRefusal(f"the engine at {socket_path} answers {resource} with {response.status}: {said}", said)
    return answer


def _parse(answer: bytes, socket_path: str) -> t.Any:
    try:
        return json.loads(answer.decode("utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise EngineApiError(f"no engine answers at {socket_path}: {error}") from error


def _message(answer: bytes) -> str:
    """The engine puts its sentence into an object; others that may answer in its place do not."""
    text = answer.decode("utf-8", "replace").strip()
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text[:300]
