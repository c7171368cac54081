# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Asking a running vLLM server: is it there, what does it serve, does it generate, how busy is it."""

from __future__ import annotations

import contextlib
import http.client
import json
import math
import re
import socket
import ssl
import typing as t

from ..._http import AnswerTooLarge, Connection, read_limited
from ..._printable import is_unicode, printable

# Metrics of a server with many adapters are some MiB; what a program in a container sends must not fill the memory.
ANSWER_LIMIT = 16 * 1024 * 1024

_METRIC = re.compile(r"^(?P<name>[A-Za-z_:][\w:]*)(?:\{(?P<labels>.*)\})? (?P<value>\S+)(?: \d+)?$")
_LABEL = re.compile(r'([A-Za-z_]\w*)="((?:[^"\\]|\\.)*)"')


class ServerError(ValueError):
    """The server did not answer as it should; the text says what it did."""


class ServerSilent(ServerError):
    """The server took the request, and nothing came back in time."""


class ServerEndless(ServerSilent):
    """The server began an answer, and did not end it in time."""


class ServerAnswered(ServerError):
    """The server answered, and not with what was asked for."""


class Answer(t.NamedTuple):
    """An HTTP answer, complete."""

    status: int
    body: str


class Server:
    """A vLLM server by its address. No proxy, no redirects: it is on this host."""

    def __init__(self, address: str, port: int, key: str | None = None, tls: bool = False, root: str = "") -> None:
        self.address = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)  # noqa: S104 - is being replaced
        self.port = port
        self.tls = tls
        self.root = root.rstrip("/")
        self._key = key

    def request(self, method: str, path: str, body: t.Any = None, timeout: float = 10.0) -> Answer:
        """Send one request and return its answer; raise ServerError when nothing came back."""
        context = None
        if self.tls:
            # The certificate names the service, not the address by which the host reaches itself.
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        connection = Connection(self.address, self.port, timeout, tls=context)
        headers = {"Accept": "application/json"}
        payload = None
        if body is not None:
            payload = json.dumps(body).encode("utf-8")
            headers["Content-Type"] = "application/json"
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key}"
        silence: type[ServerSilent] = ServerSilent
        text = "no answer"
        with contextlib.closing(connection):
            try:
                connection.request(method, self.root + path, body=payload, headers=headers)
                response = connection.getresponse()
                silence, text = ServerEndless, "no end of the answer"
                return Answer(response.status, read_limited(response, ANSWER_LIMIT).decode("utf-8", "replace"))
            except socket.timeout as error:
                raise silence(
                    f"{method} {path} on {self.address}:{self.port}: {text} within {timeout:g} seconds"
                ) from error
            except AnswerTooLarge as error:
                raise ServerAnswered(f"{method} {path} on {self.address}:{self.port}: {error}") from error
            except http.client.BadStatusLine as error:
                said = (
                    "closed without an answer"
                    if isinstance(error, http.client.RemoteDisconnected)
                    else "what answers there is not an HTTP server; does it want https"
                )
                raise ServerError(f"{method} {path} on {self.address}:{self.port}: {said}") from error
            except (OSError, http.client.HTTPException) as error:
                reason = str(error) or type(error).__name__
                raise ServerError(f"{method} {path} on {self.address}:{self.port}: {reason}") from error

    def _told(self, answer: Answer) -> str:
        """Return what to tell of an error, which may repeat the key."""
        return brief(answer.body.replace(self._key, "********") if self._key else answer.body)

    def healthy(self, timeout: float = 5.0) -> bool:
        """Say whether /health answers 200. A server that is still loading does not answer at all."""
        try:
            return self.request("GET", "/health", timeout=timeout).status == 200
        except ServerError:
            return False

    def models(self, timeout: float = 10.0) -> list[dict[str, t.Any]]:
        """Return the models that /v1/models lists."""
        answer = self.request("GET", "/v1/models", timeout=timeout)
        if answer.status != 200:
            raise ServerError(f"GET /v1/models answered {answer.status}: {self._told(answer)}")
        try:
            return [
                {"id": _name(row["id"]), "root": row.get("root"), "max_model_len": _length(row.get("max_model_len"))}
                for row in json.loads(answer.body)["data"]
            ]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ServerError(f"GET /v1/models answered something else: {brief(answer.body)}") from error

    def generate_one_token(self, model: str, timeout: float = 120.0) -> None:
        """Make the model work once, in the way that it can; ServerError when it does not."""
        attempts = (
            ("/v1/completions", {"model": model, "prompt": "Hello", "max_tokens": 1, "temperature": 0}),
            ("/v1/embeddings", {"model": model, "input": "Hello"}),
            ("/classify", {"model": model, "input": "Hello"}),
        )
        for path, body in attempts:
            answer = self.request("POST", path, body, timeout)
            if answer.status == 200:
                _check_generated(path, answer.body)
                return
            if answer.status not in (404, 405) or "does not exist" in answer.body:
                raise ServerError(f"POST {path} answered {answer.status}: {self._told(answer)}")
        raise ServerError("the server neither completes, embeds nor classifies text")

    def metrics(self, timeout: float = 10.0) -> str:
        answer = self.request("GET", "/metrics", timeout=timeout)
        if answer.status != 200:
            raise ServerAnswered(f"GET /metrics answered {answer.status}: {self._told(answer)}")
        return answer.body


def _check_generated(path: str, body: str) -> None:
    try:
        answer = json.loads(body)
        count = answer["usage"]["completion_tokens"] if path == "/v1/completions" else len(answer["data"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ServerError(f"POST {path} answered something else: {brief(body)}") from error
    if not isinstance(count, int) or count <= 0:
        raise ServerError(f"POST {path} answered 200 but generated nothing")


def _name(value: object) -> str:
    """Return the name of a model; ValueError for what cannot be one, or cannot be written anywhere."""
    if not isinstance(value, (str, int)) or not is_unicode(str(value)):
        raise ValueError("not a name")
    return str(value)


def _length(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def brief(text: str, limit: int = 200) -> str:
    text = printable(" ".join(text[: 10 * limit].split()))
    return text if len(text) <= limit else text[: limit - 1] + "…"


# --- metrics ----------------------------------------------------------------------------------------------------------


class Sample(t.NamedTuple):
    """One line of a Prometheus exposition."""

    name: str
    labels: dict[str, str]
    value: float


def parse_metrics(text: str) -> list[Sample]:
    samples = []
    for line in text.splitlines():
        match = None if line.startswith("#") else _METRIC.match(line)
        if match:
            value = _number(match["value"])
            if value is not None:
                samples.append(Sample(match["name"], dict(_LABEL.findall(match["labels"] or "")), value))
    return samples


def load(samples: t.Sequence[Sample]) -> dict[str, t.Any]:
    """Return how busy the server is. Up to vLLM 0.11 the metric of the cache's share had another name."""
    usage = _values(samples, "vllm:kv_cache_usage_perc") or _values(samples, "vllm:gpu_cache_usage_perc")
    return {
        "running": _total(samples, "vllm:num_requests_running"),
        "waiting": _total(samples, "vllm:num_requests_waiting"),
        "kv_cache_usage": max(usage) if usage else None,
        "prompt_tokens": _total(samples, "vllm:prompt_tokens_total"),
        "generation_tokens": _total(samples, "vllm:generation_tokens_total"),
        "preemptions": _total(samples, "vllm:num_preemptions_total"),
    }


def capacity(samples: t.Sequence[Sample]) -> dict[str, t.Any]:
    """Return the size of the KV cache as the server measured it; what an older release does not say is null."""
    result: dict[str, t.Any] = {"kv_cache_tokens": None, "max_concurrency": None}
    infos = [sample.labels for sample in samples if sample.name == "vllm:cache_config_info"]
    if not infos:
        return result
    tokens = [_number(labels.get("kv_cache_size_tokens")) for labels in infos]
    if any(value is None for value in tokens):
        tokens = [
            blocks * size if blocks is not None and size is not None else None
            for blocks, size in (
                (_number(labels.get("num_gpu_blocks")), _number(labels.get("block_size"))) for labels in infos
            )
        ]
    known = [value for value in tokens if value is not None]
    if known:
        total = sum(known)
        result["kv_cache_tokens"] = int(total) if math.isfinite(total) else None
    concurrency = [_number(labels.get("kv_cache_max_concurrency")) for labels in infos]
    certain = [value for value in concurrency if value is not None]
    if certain and math.isfinite(sum(certain)):
        result["max_concurrency"] = round(sum(certain), 2)
    return result


def _number(text: str | None) -> float | None:
    """Return a number that can be reckoned with; None for what is not one, for NaN and for infinities."""
    try:
        value = float(text) if text is not None else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _values(samples: t.Sequence[Sample], name: str) -> list[float]:
    return [sample.value for sample in samples if sample.name == name]


def _total(samples: t.Sequence[Sample], name: str) -> int | None:
    total = sum(_values(samples, name)) if _values(samples, name) else math.nan
    return int(total) if math.isfinite(total) else None
