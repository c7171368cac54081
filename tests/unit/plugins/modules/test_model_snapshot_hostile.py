# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Odd values of every option of model_snapshot: a clean result or a clear message, and no secret in either."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest

from .conftest import SnapshotRun

Snapshot = t.Callable[..., SnapshotRun]

SECRET = "canary-7f3a"
TOKENS = [
    *(f"{SECRET}\n", f"  {SECRET}", f"\t{SECRET}\r\n", f"{SECRET}\n\n\n"),
    *(f"{SECRET}\nX-Evil: 1", f"{SECRET} {SECRET}", f"{SECRET}\x00", f"{SECRET}\x7f", f"{SECRET}\x1b[2J"),
    *(f"\u201c{SECRET}\u201d", f"{SECRET}é", f"{SECRET}令牌", f"{SECRET}\u200b", f"{SECRET}\u00a0{SECRET}"),
    *(" ", "\n", "\t \r\n", "", f"{SECRET}" * 5000),
]
REPOS = [
    *("", " ", "tiny", "/", "a/b/c", "../tiny", "acme/..", "acme/../x", "acme/tiny\n", " acme/tiny", "acme/tiny "),
    *("acme /tiny", "acme\n/tiny", "acme/ti\x00ny", "-acme/tiny", "acme/-tiny", ".acme/tiny"),
    *("https://hub.example.com/acme/tiny", "acme\\tiny", "acme/" + "x" * 300, "x" * 5000 + "/tiny", "组织/模型"),
    *("acme/ti?ny", "acme/ti#ny", "acme/%2e%2e", "acme/tiny;ls", "acme/$(id)", "acme/{{ tiny }}", "acme/~root"),
]
REVISIONS = [
    *(" ", "\n", "main\n", " main", "main ", "a b", "a\tb", "ma\x00in", "main\x7f", "ma\u00a0in"),
    *("..", "a..b", "-main", "--upload-pack=x", "/main", "a:b", "a~1", "a^", "a?b", "a*b", "a[b", "a\\b", "x" * 300),
    *("分支", "0" * 40, "0" * 39, "F" * 40, "refs/heads/master", "refs/pr/1", "%0a", "{{ x }}", "v1;ls", "@{u}"),
]
ROOTS = [
    *("", " ", "models", "./models", "../models", "/", "//", "/..", "/dev/null", "/dev/null/models", "/proc/models"),
    *("/tmp/a\x00b", "/tmp/a\nb", "/tmp/" + "x" * 300, "/" + "x/" * 3000, "~nobody-there/models"),
]
ENDPOINTS = [
    *(" ", "hub", "hub.example.com", "ftp://hub", "file:///etc/passwd", "http://", "http:///path", "https://:443"),
    *(
        "http://hub:port",
        "http://hub:99999",
        "http://hub:-1",
        "http://hub:0",
        "http://[::1",
        "http://[zz]",
        "http://hub?x",
    ),
    *(
        "http://hub#x",
        "http://hub\n",
        " http://hub",
        "http://hub \n/x",
        "http://hub/\x00",
        "http://hub/é",
        "http://höst",
    ),
    *(f"http://me:{SECRET}@hub", f"me:{SECRET}@hub", f"http://{SECRET}@hub", f"http://me:{SECRET}@hub?x=1"),
]
PROXIES = [
    *(
        " ",
        "\n",
        "http://",
        "socks5://proxy:1080",
        "ftp://proxy",
        "http://proxy:port",
        "http://proxy:99999",
        "http://[",
    ),
    *(f"http://me:{SECRET}/x@proxy", f"http://me:{SECRET}#x@proxy", f"http://me:{SECRET}?x@proxy"),
    *(
        f"http://me:{SECRET} x@proxy",
        f"http://me:{SECRET}\n@proxy",
        f"http://me:{SECRET}é@proxy:99999",
        "http://pro xy",
    ),
    *(f"me:{SECRET}@proxy:port", f"//{SECRET}@proxy", f"http://me:{SECRET}\x00@proxy"),
]
NO_PROXIES: list[t.Any] = [
    *(
        ["hub*.example.com"],
        ["10.0.0.0/33"],
        ["10.0.0.0/-1"],
        ["a b"],
        ["http://hub"],
        ["*.*"],
        ["1.2.3.4.*"],
        ["[::1"],
    ),
    *(
        ["hub\x00"],
        ["höst"],
        [""],
        [" , ,"],
        ["*"],
        ["10.*"],
        ["10.0.0.0/8"],
        ["::/0"],
        [".example.com", "*.corp"],
        "a,b",
    ),
]
PATTERNS: list[t.Any] = [
    *([""], ["\n"], ["\x00"], ["a\nb"], ["["], ["[!"], ["[]"], ["*" * 200], ["../*"], ["/"], ["{}"], [" "]),
    *([None], [[]], [{}], [1], "*.json,*.bin", "*", ["(?P<x>"], ["\\"]),
]
# Ansible itself cannot turn an infinity into an int.
NUMBERS: list[t.Any] = [-1, 10**30, "x", "1.5", 1e300, float("nan"), None, True, [], {}, "²", " 1 "]
SOURCES: list[t.Any] = [
    *([{}], [None], ["modelscope"], "modelscope", {"source": "modelscope"}, [{"source": "x"}], [{"source": "archive"}]),
    *([{"source": "archive", "archive": "/nowhere.tar"}], [{"source": "archive", "archive": "/dev/zero"}]),
    *([{"source": "archive", "archive": "/tmp/\x00"}], [{"source": "archive", "archive": "relative.tar"}]),
    *([{"source": "modelscope", "token": f"{SECRET}é"}], [{"source": "huggingface", "token": f"{SECRET}\nX: 1"}]),
    *([{"source": "modelscope", "repo": "../x"}], [{"source": "modelscope", "revision": "a b"}], [[]], [[[]]]),
    *([{"source": "modelscope", "endpoint": f"http://me:{SECRET}@hub"}], [{"source": "git_lfs", "surprise": 1}]),
]
RELEASES = ["", " ", "..", "../..", "current", ".staging", ".lock", "0" * 63, "0" * 64 + "\n", "F" * 64, "\x00", "/etc"]

CASES: list[tuple[str, t.Any]] = [
    *(("token", value) for value in TOKENS),
    *(("repo", value) for value in REPOS),
    *(("revision", value) for value in REVISIONS),
    *(("root", value) for value in ROOTS),
    *(("endpoint", value) for value in ENDPOINTS),
    *(("proxy", value) for value in PROXIES),
    *(("no_proxy", value) for value in NO_PROXIES),
    *(("include", value) for value in PATTERNS),
    *(("exclude", value) for value in PATTERNS),
    *((name, value) for name in ("keep", "workers", "retries", "timeout", "lock_timeout") for value in NUMBERS),
    *(("bandwidth", value) for value in (*NUMBERS, "-1M", "1e999", "50 X")),
    *(("sources", value) for value in SOURCES),
    *(("export", value) for value in ("/tmp/\x00", "/dev", "/nowhere/x.tar", "", "relative")),
    *(("ca_path", value) for value in ("/nowhere.pem", "/tmp/\x00", "/dev", "")),
    *(("release", value) for value in RELEASES),
]


@pytest.fixture(scope="module")
def hub() -> t.Iterator[t.Any]:
    import hub as lab

    with lab.Hub() as server:
        server.add_model("acme/tiny").commit({"config.json": b"{}"})
        yield server


def test_there_are_enough_of_them() -> None:
    assert len(CASES) >= 300


@pytest.mark.parametrize(("option", "value"), CASES, ids=[f"{number}-{case[0]}" for number, case in enumerate(CASES)])
def test_odd_value_ends_in_a_result_or_a_clear_message(
    snapshot: Snapshot, hub: t.Any, monkeypatch: pytest.MonkeyPatch, option: str, value: t.Any, tmp_path: Path
) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    # Whatever proxy the option names, the hub of this test is reached without it.
    options: dict[str, t.Any] = {"endpoint": hub.url, "no_proxy": ["127.0.0.1"]}
    if option == "sources":
        del options["endpoint"]
    if option == "release":
        options["state"] = "absent"
    ended = snapshot(check=True, **{**options, option: value})
    assert not (tmp_path / "models").exists()
    said = json.dumps(ended.result)
    assert SECRET not in said
    assert "Traceback" not in said
    if ended.failed:
        assert len(ended.result["msg"]) > 10
        assert not ended.result["changed"] if "changed" in ended.result else True


@pytest.mark.parametrize("token", [f"{SECRET}\n", f" {SECRET}\t", f"{SECRET}\r\n"])
def test_blanks_around_a_token_are_left_out(snapshot: Snapshot, hub: t.Any, token: str) -> None:
    hub.reset_log()
    ended = snapshot(check=True, endpoint=hub.url, token=token)
    assert not ended.failed
    assert {entry["authorization"] for entry in hub.log} == {f"Bearer {SECRET}"}
    assert SECRET not in json.dumps(ended.result)


@pytest.mark.parametrize("source", ["modelscope", "huggingface", "git_lfs"])
@pytest.mark.parametrize("token", [f"{SECRET}\nX: 1", f"{SECRET} x", f"{SECRET}\u201d", f"{SECRET}é", f"{SECRET}\x00"])
def test_token_that_no_header_can_carry_is_refused_unquoted(
    snapshot: Snapshot, hub: t.Any, source: str, token: str
) -> None:
    hub.reset_log()
    for options in ({"source": source, "token": token}, {"sources": [{"source": source, "token": token}]}):
        ended = snapshot(**options)
        assert ended.failed
        assert "token holds a" in ended.result["msg"] or "more than one line" in ended.result["msg"]
        assert SECRET not in json.dumps(ended.result)
    assert hub.log == []
