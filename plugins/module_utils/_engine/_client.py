# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The Docker Engine as this collection uses it: few verbs, plain data, errors in one sentence."""

from __future__ import annotations

import collections
import contextlib
import http.client
import json
import secrets
import time
import typing as t

from .._http import read_limited, read_pieces
from .._secret_text import without_secrets
from . import _logs, _maker
from ._api import (
    Address,
    Api,
    EngineAbsent,
    EngineError,
    EngineTimeout,
    NotFound,
    address_here,
    path_of,
    speak,
)
from ._driver import Ran
from ._logs import LogLine

T = t.TypeVar("T")

# How long the engine may take to remove a container that somebody else told it to.
REMOVAL_SECONDS = 60
# What the engine needs beside the time that a container was given to stop.
STOP_MARGIN = 60.0
LOG_SECONDS = 300.0
LOG_BYTES = 64 * 1024 * 1024  # of a log in memory; the oldest lines go first
OUTPUT_BYTES = 16 * 1024 * 1024  # of a command's output

# From this version on the answer's type says whether two streams are in it.
_TYPED_STREAMS = (1, 42)
_MULTIPLEXED = "application/vnd.docker.multiplexed-stream"

# Containers that run one command; the label names the process that made them. What a killed run left behind is removed
# by a later one: at once where its maker has ended, and when it is old where that cannot be told.
LABEL_ONCE = "private_llm.fleet.once"
ONCE_LEFT_BEHIND = 3600.0  # seconds


class ImageMissing(EngineError):
    """The image is not on this host."""


class Engine:
    """The engine at an address. Threads may share it. It is a `Driver`."""

    def __init__(self, api: Api) -> None:
        self._api = api

    @classmethod
    def connect(cls, address: Address | None = None, timeout: float = 60.0) -> Engine:
        """Return the engine at the address, else the one that DOCKER_HOST names, else the one on the usual socket."""
        where = address or address_here()
        theirs = Api(where, None, timeout).get("/version")
        if not isinstance(theirs, dict):
            raise EngineError(f"what answers at {where} is not a Docker Engine")
        return cls(Api(where, speak(theirs, where), timeout))

    def ping(self) -> dict[str, t.Any]:
        return self._dict(self._api.get("/version"))

    def info(self) -> dict[str, t.Any]:
        return self._dict(self._api.get("/info"))

    def inspect(self, name: str) -> dict[str, t.Any] | None:
        return self._optional(lambda: self._dict(self._api.get(path_of("containers", name, "json"))))

    def inspect_image(self, reference: str) -> dict[str, t.Any] | None:
        if not reference:
            return None
        return self._optional(lambda: self._dict(self._api.get(path_of("images", reference, "json"))))

    def inspect_network(self, name: str) -> dict[str, t.Any] | None:
        return self._optional(lambda: self._dict(self._api.get(path_of("networks", name))))

    def containers(self, stopped: bool = False, labels: t.Sequence[str] = ()) -> list[dict[str, t.Any]]:
        filters = {"label": list(labels)} if labels else None
        return self._list(self._api.get(path_of("containers", "json", all=stopped, filters=filters)))

    def image_ids(self) -> list[str]:
        return [str(row["Id"]) for row in self._list(self._api.get(path_of("images", "json", all=True)))]

    def load_image(self, archive: t.Iterator[bytes], seconds: float) -> None:
        """Load an image from an archive in the form of docker save; EngineError when the engine refuses it."""
        path = path_of("images", "load", quiet=True)
        with self._api.open("POST", path, None, seconds, archive) as response:
            for line in read_limited(response).splitlines():
                said = json.loads(line) if line.startswith(b"{") else {}
                if said.get("error"):
                    raise EngineError(f"the engine does not load the image: {said['error']}", str(said["error"]))

    def create(self, name: str, body: t.Mapping[str, t.Any]) -> str:
        try:
            made = self._dict(self._api.post(path_of("containers", "create", name=name), dict(body)))
        except NotFound as error:
            if "image" not in error.said.lower():
                raise
            raise ImageMissing(f"the image {body.get('Image')} is not on this host", error.said, 404) from error
        return str(made["Id"])

    def start(self, name: str) -> None:
        self._api.post(path_of("containers", name, "start"))

    def stop(self, name: str, seconds: int) -> None:
        self._api.post(path_of("containers", name, "stop", t=seconds), seconds=seconds + STOP_MARGIN)

    def pause(self, name: str) -> None:
        self._api.post(path_of("containers", name, "pause"))

    def unpause(self, name: str) -> None:
        self._api.post(path_of("containers", name, "unpause"))

    def rename(self, name: str, new_name: str) -> None:
        self._api.post(path_of("containers", name, "rename", name=new_name))

    def remove(self, name: str) -> None:
        try:
            with contextlib.suppress(NotFound):
                self._api.delete(path_of("containers", name, v=True, force=True))
        except EngineError as error:
            if "already in progress" not in str(error):
                raise
            self._wait_until_removed(name)

    def _wait_until_removed(self, name: str) -> None:
        try:
            with contextlib.suppress(NotFound):
                self._api.post(path_of("containers", name, "wait", condition="removed"), seconds=REMOVAL_SECONDS)
        except EngineError as error:
            raise EngineError(
                f"container {name} is being removed, and the engine did not say within {REMOVAL_SECONDS} seconds that"
                f" it is gone ({error}); look at it with docker ps --all, and at the engine's log, and run again"
            ) from error

    def wait(self, name: str, seconds: float) -> int:
        try:
            ended = self._dict(self._api.post(path_of("containers", name, "wait"), seconds=seconds))
        except EngineTimeout as error:
            raise EngineTimeout(f"the container {name} has not ended within {seconds:g} seconds") from error
        return int(ended.get("StatusCode") or 0)

    def set_restart_policy(self, name: str, policy: t.Mapping[str, t.Any]) -> None:
        self._api.post(path_of("containers", name, "update"), {"RestartPolicy": dict(policy)})

    # --- logs and commands ---

    def log(
        self, name: str, since: float = 0.0, until: t.Callable[[str], bool] | None = None, limit: int = 50000
    ) -> list[LogLine]:
        lines: collections.deque[LogLine] = collections.deque(maxlen=limit)
        size = 0
        path = path_of("containers", name, "logs", stdout=True, stderr=True, timestamps=True, since=int(since) or None)
        with contextlib.suppress(EngineError), self._api.open("GET", path, seconds=LOG_SECONDS) as response:
            for line in self._lines(name, response):
                if len(lines) == limit:
                    size -= len(lines[0].text)
                lines.append(_logs.parse_log_line(without_secrets(line), lines[-1].at if lines else since))
                size += len(lines[-1].text)
                if until is not None and (len(lines) >= limit or until(lines[-1].text)):
                    break
                while size > LOG_BYTES and len(lines) > 1:
                    size -= len(lines.popleft().text)
        return list(lines)

    def _lines(self, name: str, response: http.client.HTTPResponse) -> t.Iterator[str]:
        pieces = read_pieces(response)
        if self._is_multiplexed(name, response):
            return _logs.merge_lines(_logs.demultiplex(pieces))
        return _logs.split_lines(pieces)

    def _is_multiplexed(self, name: str, response: http.client.HTTPResponse) -> bool:
        if self._api.version is not None and self._api.version >= _TYPED_STREAMS:
            return response.headers.get_content_type() == _MULTIPLEXED
        container = self.inspect(name) or {}
        return not (container.get("Config") or {}).get("Tty")

    def run_once(
        self,
        image: str,
        command: t.Sequence[str],
        seconds: float,
        env: t.Mapping[str, str] | None = None,
        host: t.Mapping[str, t.Any] | None = None,
        user: str = "",
    ) -> Ran:
        self.sweep()
        name = f"private_llm-once-{secrets.token_hex(6)}"
        variables = {"NVIDIA_VISIBLE_DEVICES": "void", **(env or {})}
        body = {
            "Image": image,
            "Entrypoint": [command[0]],
            "Cmd": list(command[1:]),
            "Env": [f"{key}={value}" for key, value in variables.items()],
            "User": user,
            "Labels": {LABEL_ONCE: str(_maker.here())},
            "HostConfig": {
                "NetworkMode": "none",
                "CapDrop": ["ALL"],
                "SecurityOpt": ["no-new-privileges"],
                "PidsLimit": 4096,
                **(host or {}),
            },
        }
        self.create(name, body)
        try:
            self.start(name)
            code = self.wait(name, seconds)
            path = path_of("containers", name, "logs", stdout=True, stderr=True)
            with self._api.open("GET", path) as response:
                return _ran(code, read_pieces(response))
        finally:
            self.remove(name)

    def sweep(self) -> None:
        with contextlib.suppress(EngineError):
            for row in self.containers(stopped=True, labels=[LABEL_ONCE]):
                maker = str((row.get("Labels") or {}).get(LABEL_ONCE))
                if _maker.has_ended(maker) or time.time() - float(row.get("Created") or 0) > ONCE_LEFT_BEHIND:
                    self.remove(str(row["Id"]))

    def execute(self, name: str, command: t.Sequence[str], seconds: float, user: str = "") -> Ran:
        body = {"Cmd": list(command), "AttachStdout": True, "AttachStderr": True, "User": user}
        made = str(self._dict(self._api.post(path_of("containers", name, "exec"), body))["Id"])
        path, how = path_of("exec", made, "start"), {"Detach": False, "Tty": False}
        with self._api.open("POST", path, how, seconds) as response:
            ran = _ran(0, read_pieces(response))
        ended = self._dict(self._api.get(path_of("exec", made, "json")))
        return ran._replace(exit_code=int(ended.get("ExitCode") or 0))

    # --- what answers are ---

    @staticmethod
    def _optional(function: t.Callable[[], T]) -> T | None:
        try:
            return function()
        except NotFound:
            return None

    def _dict(self, answer: t.Any) -> dict[str, t.Any]:
        if not isinstance(answer, dict):
            raise EngineError(f"the Docker Engine at {self._api.address} answers with something that is not an object")
        return answer

    def _list(self, answer: t.Any) -> list[dict[str, t.Any]]:
        if not isinstance(answer, list):
            raise EngineError(f"the Docker Engine at {self._api.address} answers with something that is not a list")
        return [row for row in answer if isinstance(row, dict)]


def _ran(code: int, pieces: t.Iterable[bytes]) -> Ran:
    """Put a command's two streams together; EngineError when it printed too much to be kept."""
    printed = {_logs.STDOUT: bytearray(), _logs.STDERR: bytearray()}
    size = 0
    for stream, part in _logs.demultiplex(pieces):
        size += len(part)
        if size > OUTPUT_BYTES:
            raise EngineError(f"a command in a container printed more than {OUTPUT_BYTES} bytes")
        printed.setdefault(stream, bytearray()).extend(part)
    out, err = (bytes(printed[stream]).decode("utf-8", "replace") for stream in (_logs.STDOUT, _logs.STDERR))
    return Ran(code, out, err)


__all__ = [
    "Address",
    "Engine",
    "EngineAbsent",
    "EngineError",
    "EngineTimeout",
    "ImageMissing",
    "LogLine",
    "NotFound",
    "Ran",
]
