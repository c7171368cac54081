# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The engine's API on the standard library alone: where the engine is, one request, errors in one sentence.

This works before anything is installed on a host. Requests carry a version of the API that both sides speak.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import typing as t
from urllib.parse import quote, urlencode, urlsplit

from .._http import (
    JSON_LIMIT,
    AnswerTooLarge,
    Connection,
    read_limited,
)

SOCKET = "/var/run/docker.sock"
VARIABLE = "DOCKER_HOST"

# Docker 20.10 speaks 1.41; Docker 29 no longer speaks what is older than 1.44. This code is written for these answers.
OLDEST = (1, 41)
NEWEST = (1, 51)

Version = t.Tuple[int, int]


class EngineError(ValueError):
    """The engine refused, or does not answer sensibly. ``said`` is the engine's own sentence, where there is one."""

    def __init__(self, message: str, said: str = "", status: int = 0) -> None:
        super().__init__(message)
        self.said = said
        self.status = status


class EngineAbsent(EngineError):
    """No engine answers at the address."""


class EngineTimeout(EngineError):
    """The engine answers, but the request did not end in time."""


class NotFound(EngineError):
    """The engine does not know the object."""


class Address(t.NamedTuple):
    """Where the engine listens: a Unix socket, or a host and a port without encryption."""

    path: str = SOCKET
    host: str = ""
    port: int = 0

    def __str__(self) -> str:
        return self.path or f"tcp://{self.host}:{self.port}"

    def exists(self) -> bool:
        """Return False where there is certainly no engine: its socket does not exist."""
        return not self.path or os.path.exists(self.path)


def address_of(text: str) -> Address:
    """Return the address that a value of DOCKER_HOST names; EngineError for one that cannot be used here."""
    if not text:
        return Address()
    if text.startswith("/"):
        return Address(text)
    with contextlib.suppress(ValueError):  # for half an IPv6 address, or a port that cannot be one
        parts = urlsplit(text)
        if parts.scheme == "unix" and parts.path:
            return Address(parts.netloc + parts.path if not parts.netloc else "/" + parts.netloc + parts.path)
        if parts.scheme in ("tcp", "http") and parts.hostname:
            return Address("", parts.hostname, parts.port or 2375)
    raise EngineError(
        f"the address of the Docker Engine, {VARIABLE}={_without_password(text)}, cannot be used; "
        "give unix:///path/to/docker.sock, or tcp://host:port for an engine without TLS"
    )


def address_here(environment: t.Mapping[str, str] | None = None) -> Address:
    """Return where the engine of this host is: what DOCKER_HOST says, else the usual socket."""
    return address_of((os.environ if environment is None else environment).get(VARIABLE, "").strip())


def _without_password(text: str) -> str:
    scheme, separator, rest = text.partition("://")
    return scheme + separator + rest.rpartition("@")[2]


def speak(theirs: t.Mapping[str, t.Any], address: Address) -> Version:
    """Return the version of the API to use with an engine that answered /version so; EngineError when none fits."""
    newest, oldest = _version(theirs.get("ApiVersion")), _version(theirs.get("MinAPIVersion")) or OLDEST
    if newest is None:
        raise EngineError(f"what answers at {address} is not a Docker Engine: it tells no version of its API")
    if newest < OLDEST:
        raise EngineError(
            f"the Docker Engine at {address} is release {theirs.get('Version')}, which is too old; "
            "update it to 20.10 or newer"
        )
    return max(min(newest, NEWEST), oldest)


def _version(text: object) -> Version | None:
    major, _dot, minor = str(text or "").partition(".")
    if major.isascii() and major.isdecimal() and minor.isascii() and minor.isdecimal():
        return int(major), int(minor)
    return None


def path_of(*parts: str, **query: object) -> str:
    """Return a path below the API's version, each part escaped; a parameter that is None is left out."""
    path = "/" + "/".join(quote(part, safe="/:@") for part in parts)
    given = {name: _text(value) for name, value in query.items() if value is not None}
    return path + ("?" + urlencode(given) if given else "")


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "1" if value else "0"
    return json.dumps(value) if isinstance(value, (dict, list)) else str(value)


class Api:
    """Requests to the engine at an address. Every request has a connection of its own, so threads can share this."""

    def __init__(self, address: Address, version: Version | None = None, seconds: float = 60.0) -> None:
        self.address = address
        self.version = version
        self._seconds = seconds

    def get(self, path: str, seconds: float | None = None, limit: int = JSON_LIMIT) -> t.Any:
        """Return the JSON answer to GET."""
        return self._json("GET", path, None, seconds, limit)

    def post(self, path: str, body: t.Any = None, seconds: float | None = None) -> t.Any:
        """Return the JSON answer to POST; None when the answer is empty."""
        return self._json("POST", path, body, seconds, JSON_LIMIT)

    def delete(self, path: str, seconds: float | None = None) -> None:
        self._json("DELETE", path, None, seconds, JSON_LIMIT)

    def _json(self, method: str, path: str, body: t.Any, seconds: float | None, limit: int) -> t.Any:
        with self.open(method, path, body, seconds) as response:
            answer = read_limited(response, limit)
        if not answer.strip():
            return None
        try:
            return json.loads(answer.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise EngineError(
                f"the engine at {self.address} answers {path} with something that is not JSON: {error}"
            ) from error

    @contextlib.contextmanager
    def open(
        self,
        method: str,
        path: str,
        body: t.Any = None,
        seconds: float | None = None,
        pieces: t.Iterator[bytes] | None = None,
    ) -> t.Iterator[http.client.HTTPResponse]:
        """Give the answer to be read by the caller; EngineError when the engine refuses or the exchange breaks off.

        ``pieces`` are sent as a tar archive as they come, in place of ``body``.
        """
        limit = self._seconds if seconds is None else seconds
        where = "/v{}.{}".format(*self.version) + path if self.version else path
        connection = Connection(self.address.host or "localhost", self.address.port, limit, self.address.path)
        payload = None if body is None else json.dumps(body).encode("utf-8")
        kind = "application/x-tar" if pieces is not None else "application/json" if payload is not None else ""
        headers = {"Host": "docker", **({"Content-Type": kind} if kind else {})}
        try:
            try:
                connection.connect()
            except OSError as error:
                raise EngineAbsent(
                    f"no Docker Engine answers at {self.address}: {error.strerror or error or type(error).__name__}; "
                    f"start it, or name the right address in {VARIABLE}"
                ) from error
            connection.request(method, where, payload if pieces is None else pieces, headers)
            response = connection.getresponse()
            # 304 is the engine's "it is so already", for a start or a stop.
            if not 200 <= response.status < 300 and response.status != 304:
                raise _refusal(self.address, path, response.status, read_limited(response, 1024 * 1024))
            yield response
        except socket.timeout as error:
            raise EngineTimeout(
                f"the Docker Engine at {self.address} did not answer {path} within {limit:g} seconds"
            ) from error
        except AnswerTooLarge as error:
            raise EngineError(f"the Docker Engine at {self.address} answers {path} with too much: {error}") from error
        except (OSError, http.client.HTTPException) as error:
            raise EngineError(
                f"the Docker Engine at {self.address} broke off its answer to {path}: {error or type(error).__name__}"
            ) from error
        finally:
            connection.close()


def _refusal(address: Address, path: str, status: int, answer: bytes) -> EngineError:
    said = _sentence(answer) or f"status {status}"
    kind = NotFound if status == 404 else EngineError
    return kind(said if status < 500 else f"the Docker Engine at {address} failed at {path}: {said}", said, status)


def _sentence(answer: bytes) -> str:
    """Return the engine's sentence out of its object; what answers in an engine's place may send none."""
    text = answer.decode("utf-8", "replace").strip()
    try:
        found = str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        found = text[:300]
    return " ".join(found.split())
