# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This is private to the collection: it may change or vanish without notice.

"""The Docker Engine as this collection uses it: few verbs, plain data, errors in one sentence."""

from __future__ import annotations

import collections
import contextlib
import datetime
import re
import typing as t

if t.TYPE_CHECKING:
    import docker

T = t.TypeVar("T")

SOCKET = "/var/run/docker.sock"

# How long the engine may take to remove a container that somebody else told it to.
REMOVAL_SECONDS = 60

_TIMESTAMP = re.compile(r"^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)$")


class EngineError(ValueError):
    """The engine refused, or is not there."""


class ImageMissing(EngineError):
    """The image is not on this host."""


class LogLine(t.NamedTuple):
    """One line of a container's log and when it was written, in seconds since the epoch."""

    at: float
    text: str


class Ran(t.NamedTuple):
    """How a command in a container ended, and what it printed."""

    exit_code: int
    stdout: str
    stderr: str


class Engine:
    """The engine behind a client of the Docker SDK."""

    def __init__(self, client: docker.DockerClient) -> None:
        self._client = client
        self._api = client.api

    @classmethod
    def connect(cls, timeout: int = 60) -> Engine:
        """The engine that the environment names, else the one on the usual socket."""
        import docker

        try:
            client = docker.from_env(timeout=timeout)
            client.ping()
        except docker.errors.DockerException as error:
            raise EngineError(f"the Docker Engine does not answer: {_reason(error)}") from error
        return cls(client)

    def info(self) -> dict[str, t.Any]:
        return self._call(self._api.info)

    def inspect(self, name: str) -> dict[str, t.Any] | None:
        """A container, or None when there is none of this name."""
        return self._optional(lambda: self._api.inspect_container(name))

    def inspect_image(self, reference: str) -> dict[str, t.Any] | None:
        """An image, or None when it is not on this host."""
        return self._optional(lambda: self._api.inspect_image(reference))

    def containers(self, stopped: bool = False) -> list[dict[str, t.Any]]:
        return self._call(lambda: self._api.containers(all=stopped))

    def image_ids(self) -> list[str]:
        return [str(row["Id"]) for row in self._call(lambda: self._api.images(all=True))]

    def run_once(self, image: str, command: t.Sequence[str], seconds: int) -> str:
        """What a command prints in a container of the image that is cut off from everything, and removed again."""

        def run() -> str:
            body = {
                "Image": image,
                "Entrypoint": [command[0]],
                "Cmd": list(command[1:]),
                "Env": ["NVIDIA_VISIBLE_DEVICES=void"],
                "HostConfig": {"NetworkMode": "none"},
            }
            name = str(self._api.create_container_from_config(body)["Id"])
            try:
                self._api.start(name)
                self._api.wait(name, timeout=seconds)
                return bytes(self._api.logs(name)).decode("utf-8", "replace")
            finally:
                self._api.remove_container(name, v=True, force=True)

        return self._call(run)

    def execute(self, name: str, command: t.Sequence[str], seconds: float) -> Ran:
        """Run a command in a running container, for so long at most."""

        def run() -> Ran:
            made = str(self._api.exec_create(name, ["timeout", f"{seconds:g}", *command])["Id"])
            streams = self._api.exec_start(made, demux=True)
            stdout, stderr = (bytes(stream or b"").decode("utf-8", "replace") for stream in streams)
            return Ran(int(self._api.exec_inspect(made)["ExitCode"] or 0), stdout, stderr)

        return self._call(run)

    def create(self, name: str, body: t.Mapping[str, t.Any]) -> str:
        import docker

        try:
            return str(self._api.create_container_from_config(dict(body), name)["Id"])
        except docker.errors.ImageNotFound as error:
            raise ImageMissing(f"the image {body.get('Image')} is not on this host") from error
        except docker.errors.DockerException as error:
            raise EngineError(_reason(error)) from error

    def start(self, name: str) -> None:
        self._call(lambda: self._api.start(name))

    def unpause(self, name: str) -> None:
        self._call(lambda: self._api.unpause(name))

    def stop(self, name: str, seconds: int) -> None:
        """Stop and give it this long before it is killed. The HTTP request must outlive that."""
        self._call(lambda: self._api.stop(name, timeout=seconds))

    def rename(self, name: str, new_name: str) -> None:
        self._call(lambda: self._api.rename(name, new_name))

    def remove(self, name: str) -> None:
        """Remove it with its anonymous volumes, running or not; gone already is well.

        One that somebody else is just removing, such as what an earlier run left at work, is waited for.
        """
        try:
            self._optional(lambda: self._api.remove_container(name, v=True, force=True))
        except EngineError as error:
            if "already in progress" not in str(error):
                raise
            self._wait_until_removed(name)

    def _wait_until_removed(self, name: str) -> None:
        try:
            self._optional(lambda: self._api.wait(name, timeout=REMOVAL_SECONDS, condition="removed"))
        except EngineError as error:
            raise EngineError(
                f"container {name} is being removed, and the engine did not say within {REMOVAL_SECONDS} seconds that"
                f" it is gone ({error}); look at it with docker ps --all, and at the engine's log, and run again"
            ) from error

    def set_restart_policy(self, name: str, policy: t.Mapping[str, t.Any]) -> None:
        self._call(lambda: self._api.update_container(name, restart_policy=dict(policy)))

    def log(
        self, name: str, since: float = 0.0, until: t.Callable[[str], bool] | None = None, limit: int = 50000
    ) -> list[LogLine]:
        """Both streams since then, oldest first: the newest so many lines, or no further than the line that ``until``
        accepts.

        Reading stops there, so that the start of a server that has logged for weeks costs no more than its start.
        Empty when there is no such container, or the logging driver cannot be read.
        """
        lines: collections.deque[LogLine] = collections.deque(maxlen=limit)

        def read() -> None:
            stream = self._api.logs(name, stream=True, follow=False, timestamps=True, since=int(since) or None)
            try:
                for line in split_lines(stream):
                    lines.append(parse_log_line(line, lines[-1].at if lines else since))
                    if until is not None and (len(lines) >= limit or until(lines[-1].text)):
                        return
            finally:
                stream.close()

        with contextlib.suppress(EngineError):
            self._optional(read)
        return list(lines)

    def _call(self, function: t.Callable[[], T]) -> T:
        import docker
        import requests

        try:
            return function()
        except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
            raise EngineError(_reason(error)) from error

    def _optional(self, function: t.Callable[[], T]) -> T | None:
        import docker

        with contextlib.suppress(docker.errors.NotFound):
            return self._call_through(function)
        return None

    def _call_through(self, function: t.Callable[[], T]) -> T:
        """Like `_call`, but lets "not found" pass."""
        import docker
        import requests

        try:
            return function()
        except docker.errors.NotFound:
            raise
        except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
            raise EngineError(_reason(error)) from error


def _reason(error: Exception) -> str:
    """What the engine itself said, without the SDK's frame around it."""
    explanation = getattr(error, "explanation", None)
    return " ".join(str(explanation or error).split())


def split_lines(chunks: t.Iterable[bytes]) -> t.Iterator[str]:
    """Whole lines out of pieces that may end anywhere."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line.decode("utf-8", "replace")
    if rest:
        yield rest.decode("utf-8", "replace")


def parse_log_line(line: str, at: float = 0.0) -> LogLine:
    """A line with the engine's timestamp in front; without one it belongs to the time ``at``."""
    stamp, _blank, text = line.partition(" ")
    stamped = epoch(stamp)
    return LogLine(stamped, text) if stamped else LogLine(at, line)


def epoch(stamp: str) -> float:
    """Seconds since the epoch for the engine's timestamps, which have nanoseconds; 0 for none or for "never"."""
    match = _TIMESTAMP.match(stamp)
    if not match or stamp.startswith("0001-"):
        return 0.0
    zone = "+00:00" if match.group(3) == "Z" else match.group(3)
    whole = datetime.datetime.fromisoformat(match.group(1) + zone).timestamp()
    return whole + float(match.group(2) or 0)
