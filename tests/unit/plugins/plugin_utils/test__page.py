# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
import typing as t
from html.parser import HTMLParser

from ansible_collections.private_llm.fleet.plugins.plugin_utils import _page

GROUPS = {"gpu_hosts": ["gpu-01", "gpu-02"], "webui_hosts": ["web-01"]}
GPU = "GPU-00000000-0000-0000-0000-000000000000"


def server(**changes: t.Any) -> dict[str, t.Any]:
    return {
        "name": "qwen3-8b",
        "status": "ready",
        "message": "",
        "container": {"port": 18005, "gpus": [GPU]},
        "models": [{"id": "qwen3-8b", "max_model_len": 32768}, {"id": "default", "max_model_len": 32768}],
        "load": {"running": 3, "waiting": 1, "kv_cache_usage": 0.84},
        "ready": {"kv_cache_tokens": 245760, "max_concurrency": 7.5},
        "measured": None,
        "watch": {},
        **changes,
    }


def hostvars(**changes: t.Any) -> dict[str, t.Any]:
    gpu = {
        "status": "ok",
        "message": "1 GPU can be used",
        "driver_version": "590.48.01",
        "cuda_version": "13.1",
        "gpus": [{"index": 0, "uuid": GPU, "name": "NVIDIA L40S", "memory": {"total": 46068, "used": 40960}}],
    }
    return {
        "gpu-01": {"ansible_host": "192.0.2.11", "fleet_gpu": gpu, "fleet_found": {"servers": [server()]}},
        "gpu-02": {"fleet_failure": {"stage": "reach", "message": "cannot be reached: no route to host"}},
        "web-01": {
            "ansible_host": "192.0.2.21",
            "open_webui_endpoint": {"bind": "0.0.0.0", "port": 3000},
            "fleet_web_found": {"status": "ready", "webui_version": "0.12.4"},
        },
        **changes,
    }


class Reader(HTMLParser):
    """Checks that tags are closed in order, and keeps the text and what would be fetched."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "br"):
            self.open.append(tag)
        self.fetched += [str(value) for name, value in attrs if name in ("src", "srcset", "data")]
        if tag in ("link", "script", "iframe", "img"):
            self.fetched.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text.append(data)


def read(page: str) -> Reader:
    reader = Reader()
    # Self-closing tags of SVG.
    reader.feed(re.sub(r"<(rect)([^>]*)/>", r"<\1\2></\1>", page))
    assert reader.open == []
    return reader


def test_the_page_is_whole_and_fetches_nothing() -> None:
    reader = read(_page.page(GROUPS, hostvars(), "2026-01-31 08:00 UTC"))
    words = " ".join(reader.text)
    assert reader.fetched == []
    for expected in (
        "2026-01-31 08:00 UTC",
        "1 of 1",
        "192.0.2.11:18005",
        "qwen3-8b, default",
        "32,768",
        "245,760",
        "7.5",
        "3 running, 1 waiting",
        "84% in use",
        "NVIDIA L40S",
        "40.00 GiB of 44.99 GiB",
        "driver 590.48.01, CUDA 13.1",
        "http://192.0.2.21:3000",
        "Open WebUI 0.12.4",
        "cannot be reached: no route to host",
    ):
        assert expected in words, expected


def test_a_bar_is_as_long_as_it_says_and_never_longer() -> None:
    lengths = [re.findall(r'width="(\d+)"', _page.draw_bar("x", "y", share)) for share in (0.0, 0.25, 1.0, 7.0, -1.0)]
    assert lengths == [["1000", width] for width in ("0", "250", "1000", "1000", "0")]
    assert [_page.tone_of(share) for share in (0.5, 0.8, 0.96)] == ["use", "warn", "bad"]


def test_what_hosts_say_is_text_and_never_markup() -> None:
    evil = "<script>alert('&')</script>"
    found = hostvars()
    found["gpu-01"]["fleet_found"]["servers"] = [
        server(name=evil, status="unhealthy", message=evil, models=[{"id": evil, "max_model_len": None}])
    ]
    page = _page.page(GROUPS, found, evil)
    assert "<script" not in page
    assert read(page).fetched == []


def test_problems_of_every_kind_are_listed_once() -> None:
    found = hostvars()
    found["gpu-01"]["fleet_gpu"] = {"status": "driver_mismatch", "message": "reboot", "gpus": []}
    found["gpu-01"]["fleet_found"]["servers"] = [
        server(status="restarting", message="ended with exit code 1", ready={}, load={}, models=[]),
        server(name="asleep", status="stopped", message="exit code 0", ready={}, load={}, models=[]),
    ]
    found["web-01"]["fleet_web_found"] = {"status": "unreachable", "message": "nothing answers"}
    assert [one["what"] for one in _page.gather(GROUPS, found)["problems"]] == [
        "cannot be reached: no route to host",
        "GPUs: reboot",
        "qwen3-8b: restarting: ended with exit code 1",
        "Open WebUI: nothing answers",
    ]
    assert "0 of 2" in _page.page(GROUPS, found, "now")


def test_a_server_that_does_not_run_shows_what_it_measured_before() -> None:
    measured = {"kv_cache_tokens": 111222, "max_concurrency": 3.4}
    stopped = server(status="stopped", ready={}, load={}, models=[], measured=measured)
    row = _page.server_row({"name": "gpu-01", "address": "192.0.2.11"}, stopped)
    assert "111,222" in row
    assert "3.4" in row


def test_an_empty_fleet_has_a_page() -> None:
    assert "No server was found." in " ".join(read(_page.page({}, {}, "now")).text)


def test_a_host_is_shown_under_the_address_by_which_others_reach_its_servers() -> None:
    known = hostvars()
    known["gpu-01"]["vllm_server_address"] = "llm.example.com"
    shown = _page.page(GROUPS, known, "now")
    assert "<code>llm.example.com:18005</code>" in shown
    assert "192.0.2.11" not in shown


def test_a_server_that_fell_is_told_of() -> None:
    fall = {"at": 1795435200.0, "text": "its engine <hung>", "action": "the watch restarted it"}
    fallen = server(watch={"falls": 1, "given_up": False, "last_fall": fall})
    page = _page.page(
        GROUPS, {**hostvars(), "gpu-01": {**hostvars()["gpu-01"], "fleet_found": {"servers": [fallen]}}}, "now"
    )
    sentence = "qwen3-8b fell once, last at 2026-11-23 12:00 UTC: its engine <hung>; the watch restarted it"
    assert sentence in " ".join(read(page).text)


def test_what_the_watch_saw_of_open_webui_is_shown() -> None:
    found = hostvars()
    found["web-01"]["server_watch_seen"] = {"watched": [{"name": "open-webui", "state": "hu<ng"}]}
    assert "Watch of web-01: open-webui hu<ng" in " ".join(read(_page.page(GROUPS, found, "now")).text)
