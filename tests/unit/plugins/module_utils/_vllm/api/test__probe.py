# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import pathlib
import socket
import threading
import time
import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.api import _probe
from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.api._probe import (
    Server,
    ServerEndless,
    ServerError,
    ServerSilent,
)
from ansible_collections.private_llm.fleet.tests.support import ports

FIXTURES = pathlib.Path(__file__).parents[4] / "fixtures" / "vllm"
COMPLETED = {"usage": {"completion_tokens": 1}, "choices": [{"text": "x"}]}


def test_a_server_is_asked_with_its_key(vllm: t.Any) -> None:
    vllm.answers = {
        "/health": (200, ""),
        "/v1/models": (200, {"data": [{"id": "alpha", "root": "/srv/x", "max_model_len": 512, "permission": []}]}),
        "/v1/completions": (200, COMPLETED),
    }
    server = Server("0.0.0.0", vllm.port, "sk-one")
    assert server.healthy()
    assert server.models() == [{"id": "alpha", "root": "/srv/x", "max_model_len": 512}]
    server.generate_one_token("alpha")
    assert [(method, path, key) for method, path, key, _body in vllm.requests] == [
        ("GET", "/health", "Bearer sk-one"),
        ("GET", "/v1/models", "Bearer sk-one"),
        ("POST", "/v1/completions", "Bearer sk-one"),
    ]
    assert vllm.requests[-1][3] == {"model": "alpha", "prompt": "Hello", "max_tokens": 1, "temperature": 0}


def test_a_server_without_a_key_gets_none(vllm: t.Any) -> None:
    vllm.answers = {"/health": (503, "")}
    assert not Server("127.0.0.1", vllm.port).healthy()
    assert vllm.requests == [("GET", "/health", None, None)]


def test_a_model_that_does_not_complete_embeds_or_classifies(vllm: t.Any) -> None:
    server = Server("127.0.0.1", vllm.port)
    vllm.answers = {"/v1/embeddings": (200, {"data": [{"embedding": [0.1]}]})}
    server.generate_one_token("alpha")
    vllm.answers = {"/classify": (200, {"data": [{"label": "x"}]})}
    server.generate_one_token("alpha")
    vllm.answers = {}
    with pytest.raises(ServerError) as error:
        server.generate_one_token("alpha")
    assert str(error.value) == "the server neither completes, embeds nor classifies text"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((401, {"error": "Unauthorized"}), 'POST /v1/completions answered 401: {"error": "Unauthorized"}'),
        (
            (404, {"error": {"message": "The model `alpha` does not exist."}}),
            'POST /v1/completions answered 404: {"error": {"message": "The model `alpha` does not exist."}}',
        ),
        ((200, "hello"), "POST /v1/completions answered something else: hello"),
        ((200, {"usage": {"completion_tokens": 0}}), "POST /v1/completions answered 200 but generated nothing"),
        ((500, "x" * 500), "POST /v1/completions answered 500: " + "x" * 199 + "…"),
    ],
)
def test_what_is_no_token(vllm: t.Any, answer: tuple[int, t.Any], message: str) -> None:
    vllm.answers = {"/v1/completions": answer}
    with pytest.raises(ServerError) as error:
        Server("127.0.0.1", vllm.port).generate_one_token("alpha")
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((401, "no"), "GET /v1/models answered 401: no"),
        ((200, "<html>"), "GET /v1/models answered something else: <html>"),
        ((200, {"data": [{}]}), 'GET /v1/models answered something else: {"data": [{}]}'),
    ],
)
def test_what_is_no_list_of_models(vllm: t.Any, answer: tuple[int, t.Any], message: str) -> None:
    vllm.answers = {"/v1/models": answer}
    with pytest.raises(ServerError) as error:
        Server("127.0.0.1", vllm.port).models()
    assert str(error.value) == message


def test_nobody_there() -> None:
    port = ports.free_port()
    server = Server("127.0.0.1", port)
    assert not server.healthy()
    with pytest.raises(ServerError) as error:
        server.models()
    assert str(error.value).startswith(f"GET /v1/models on 127.0.0.1:{port}: ")


def test_metrics_of_a_real_server() -> None:
    samples = _probe.parse_metrics((FIXTURES / "metrics_0.32.0.txt").read_text())
    assert _probe.load(samples) == {
        "running": 0,
        "waiting": 0,
        "kv_cache_usage": 0.0,
        "prompt_tokens": 16,
        "generation_tokens": 4,
        "preemptions": 0,
    }
    assert _probe.capacity(samples) == {"kv_cache_tokens": 2097152, "max_concurrency": 4096.0}


@pytest.mark.parametrize(
    ("text", "load", "capacity"),
    [
        ("", (None, None, None), (None, None)),
        (
            (
                'vllm:num_requests_running{engine="0"} 3.0\nvllm:num_requests_running{engine="1"} 4.0\n'
                'vllm:gpu_cache_usage_perc{engine="0"} 0.5\nvllm:num_requests_waiting 1\n'
                'vllm:cache_config_info{block_size="16",num_gpu_blocks="100"} 1.0\n'
            ),
            (7, 1, 0.5),
            (1600, None),
        ),
        (
            (
                'vllm:cache_config_info{kv_cache_size_tokens="100",kv_cache_max_concurrency="2.5",x="a\\"b"} 1\n'
                'vllm:cache_config_info{kv_cache_size_tokens="50",kv_cache_max_concurrency="1.25"} 1\n'
                "vllm:num_requests_running nonsense\n"
            ),
            (None, None, None),
            (150, 3.75),
        ),
    ],
    ids=["nothing", "old-names", "two-engines"],
)
def test_metrics(text: str, load: tuple[t.Any, ...], capacity: tuple[t.Any, ...]) -> None:
    samples = _probe.parse_metrics(text)
    found = _probe.load(samples)
    assert (found["running"], found["waiting"], found["kv_cache_usage"]) == load
    assert tuple(_probe.capacity(samples).values()) == capacity


@pytest.mark.parametrize("value", ["+Inf", "-Inf", "NaN", "1e999", "abc"])
def test_numbers_that_cannot_be_reckoned_with_are_left_out(value: str) -> None:
    text = f"vllm:num_requests_running {value}\nvllm:num_requests_waiting 2\n"
    busy = _probe.load(_probe.parse_metrics(text))
    assert (busy["running"], busy["waiting"]) == (None, 2)
    names = ("kv_cache_size_tokens", "num_gpu_blocks", "block_size", "kv_cache_max_concurrency")
    labels = ",".join(f'{name}="{value}"' for name in names)
    said = _probe.capacity(_probe.parse_metrics("vllm:cache_config_info{" + labels + "} 1\n"))
    assert said == {"kv_cache_tokens": None, "max_concurrency": None}


def test_numbers_whose_sum_is_too_large_are_left_out() -> None:
    text = 'vllm:num_requests_running{a="1"} 1e308\nvllm:num_requests_running{a="2"} 1e308\n'
    assert _probe.load(_probe.parse_metrics(text))["running"] is None
    labels = 'num_gpu_blocks="1e308",block_size="1e308"'
    said = _probe.capacity(_probe.parse_metrics("vllm:cache_config_info{" + labels + "} 1\n"))
    assert said["kv_cache_tokens"] is None


def test_an_answer_without_an_end_is_refused(vllm: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_probe, "ANSWER_LIMIT", 1000)
    vllm.answers = {"/metrics": (200, "x" * 2000)}
    with pytest.raises(ServerError, match=r"the answer is larger than 1\.0 kB"):
        Server("127.0.0.1", vllm.port).metrics()


@pytest.mark.parametrize(("head", "error"), [("", ServerSilent), ("\r\n", ServerEndless)])
def test_a_byte_now_and_then_is_not_waited_for(head: str, error: type[ServerError]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        stop = threading.Event()

        def trickle() -> None:
            connection, _address = listening.accept()
            with connection, contextlib.suppress(OSError):
                connection.sendall(b"HTTP/1.1 200 OK\r\n" + head.encode())
                while not stop.wait(0.05):
                    connection.sendall(b"X-A: b\r\n")

        thread = threading.Thread(target=trickle)
        thread.start()
        begun = time.monotonic()
        with pytest.raises(ServerError, match=r"no .*answer within 0\.4 seconds") as raised:
            Server("127.0.0.1", listening.getsockname()[1]).request("GET", "/health", timeout=0.4)
        assert raised.type is error
        assert time.monotonic() - begun < 20
        stop.set()
        thread.join()


@pytest.mark.parametrize("answer", ["[" * 100_000, '{"data": ["a"]}', "7", "null"])
def test_odd_lists_of_models_end_in_a_clear_word(vllm: t.Any, answer: str) -> None:
    vllm.answers = {"/v1/models": (200, answer)}
    with pytest.raises(ServerError, match="answered something else"):
        Server("127.0.0.1", vllm.port).models()


def test_an_odd_length_of_the_context_is_none(vllm: t.Any) -> None:
    vllm.answers = {"/v1/models": (200, {"data": [{"id": 1, "max_model_len": "x"}]})}
    assert Server("127.0.0.1", vllm.port).models() == [{"id": "1", "root": None, "max_model_len": None}]


@pytest.mark.parametrize("count", ["0", "1", -1, None, 0.5])
def test_a_count_that_is_not_a_number_of_tokens_proves_nothing(vllm: t.Any, count: t.Any) -> None:
    vllm.answers = {"/v1/completions": (200, {"usage": {"completion_tokens": count}})}
    with pytest.raises(ServerError, match="generated nothing"):
        Server("127.0.0.1", vllm.port).generate_one_token("alpha")


@pytest.mark.parametrize("name", [None, [], "\ud800"])
def test_what_cannot_be_the_name_of_a_model_is_not_one(vllm: t.Any, name: t.Any) -> None:
    vllm.answers = {"/v1/models": (200, {"data": [{"id": name}]})}
    with pytest.raises(ServerError, match="answered something else"):
        Server("127.0.0.1", vllm.port).models()


def test_an_error_is_told_without_the_key_and_as_a_terminal_may_show_it(vllm: t.Any) -> None:
    vllm.answers = {"/v1/models": (401, "sk-hunter2 is \x1b[31mwrong")}
    with pytest.raises(ServerError) as caught:
        Server("127.0.0.1", vllm.port, "sk-hunter2").models()
    assert str(caught.value) == "GET /v1/models answered 401: ******** is \\x1b[31mwrong"


def test_what_is_not_an_http_server_is_told_as_that() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _address = listening.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"\x15\x03\x01\x00\x02\x02F")

        threading.Thread(target=serve, daemon=True).start()
        with pytest.raises(ServerError, match="is not an HTTP server; does it want https"):
            Server("127.0.0.1", listening.getsockname()[1]).models()
