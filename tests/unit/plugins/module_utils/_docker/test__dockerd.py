# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._docker._dockerd import (
    config_file_of,
    dockerd_runs,
    flag_conflicts,
    parse_exec_start,
    parse_major,
    running,
)

SHOWN = """\
ExecStart={ path=/usr/sbin/dockerd ; \
argv[]=/usr/sbin/dockerd -H fd:// --containerd=/run/containerd/containerd.sock $DOCKER_OPTS ; \
ignore_errors=no ; start_time=[n/a] ; stop_time=[n/a] ; pid=0 ; code=(null) ; status=0/0 }
"""
DEBIAN = ["/usr/sbin/dockerd", "-H", "fd://", "--containerd=/run/containerd/containerd.sock"]


@pytest.mark.parametrize(
    ("argv", "keys", "expected"),
    [
        (DEBIAN, ["runtimes", "live-restore"], []),
        (DEBIAN, ["hosts"], [("hosts", "-H")]),
        (["dockerd", "--add-runtime", "x=/x"], ["runtimes"], []),
        (["dockerd", "--default-runtime=x"], ["default-runtime"], [("default-runtime", "--default-runtime=x")]),
        (["dockerd", "-Hunix:///x"], ["hosts"], [("hosts", "-Hunix:///x")]),
        (
            ["dockerd", "--registry-mirror=https://m"],
            ["registry-mirrors"],
            [("registry-mirrors", "--registry-mirror=https://m")],
        ),
        (["dockerd", "--log-opt", "a=b", "--label", "x"], ["log-opts"], [("log-opts", "--log-opt")]),
        (["dockerd", "--live-restore"], ["live-restore"], [("live-restore", "--live-restore")]),
        (["dockerd", "-D"], ["debug"], [("debug", "-D")]),
        (["dockerd", "--https-proxy=x"], ["https-proxy"], [("https-proxy", "--https-proxy=x")]),
        ([], ["debug"], []),
    ],
)
def test_flag_conflicts(argv: list[str], keys: list[str], expected: list[tuple[str, str]]) -> None:
    assert flag_conflicts(argv, keys) == expected


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (DEBIAN, "/etc/docker/daemon.json"),
        (["dockerd", "--config-file", "/a.json"], "/a.json"),
        (["dockerd", "--config-file=/b.json", "-D"], "/b.json"),
        ([], "/etc/docker/daemon.json"),
    ],
)
def test_config_file_of(argv: list[str], expected: str) -> None:
    assert config_file_of(argv) == expected


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (
            SHOWN,
            [*DEBIAN, "$DOCKER_OPTS"],
        ),
        ("ExecStart=\n", []),
        ("", []),
        ("ExecStart={ path=/d ; argv[]=/d --label=it's ; x }", ["/d", "--label=it's"]),
    ],
)
def test_parse_exec_start(shown: str, expected: list[str]) -> None:
    assert parse_exec_start(shown) == expected


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("Docker version 20.10.24+dfsg1, build 297e128\n", 20),
        ("Docker version 26.1.5+dfsg1, build a72d7cd", 26),
        ("Docker version 29.7.2, build abcdef0", 29),
        ("podman version 5.4.2", 5),
        ("nonsense", None),
    ],
)
def test_parse_major(version: str, expected: int | None) -> None:
    assert parse_major(version) == expected


def test_running(tmp_path: pathlib.Path) -> None:
    (tmp_path / "proc" / "17").mkdir(parents=True)
    (tmp_path / "proc" / "self").mkdir()
    (tmp_path / "proc" / "17" / "cmdline").write_bytes(b"/usr/sbin/dockerd\0-H\0fd://\0")
    (tmp_path / "proc" / "17" / "comm").write_text("dockerd\n", encoding="utf-8")
    pid_file = tmp_path / "docker.pid"
    proc = str(tmp_path / "proc")

    assert running([str(pid_file)], proc) == (None, [])
    pid_file.write_text("17", encoding="utf-8")
    assert running([str(pid_file)], proc) == (17, ["/usr/sbin/dockerd", "-H", "fd://"])
    assert dockerd_runs(proc)

    # The number may have gone to another process since.
    (tmp_path / "proc" / "17" / "cmdline").write_bytes(b"/usr/bin/vim\0docker.pid\0")
    (tmp_path / "proc" / "17" / "comm").write_text("vim\n", encoding="utf-8")
    assert running([str(pid_file)], proc) == (None, [])
    assert not dockerd_runs(proc)
