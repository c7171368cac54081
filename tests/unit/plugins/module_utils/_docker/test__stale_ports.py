# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib
import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._docker._stale_ports import (
    Published,
    parse_proxy,
    proxies_of,
    stale,
    stale_ports,
)

# The command line of Debian 13's docker-proxy, from Docker 26.1.5.
PROXY = (
    "/usr/sbin/docker-proxy -proto tcp -host-ip 0.0.0.0 -host-port 18005 -container-ip 172.17.0.2 -container-port 8000"
)
# What that engine lists for the container that it is for.
LISTED: dict[str, t.Any] = {
    "Names": ["/beta"],
    "Ports": [
        {"IP": "0.0.0.0", "PrivatePort": 8000, "PublicPort": 18005, "Type": "tcp"},
        {"PrivatePort": 9000, "Type": "tcp"},
    ],
}


@pytest.mark.parametrize(
    ("command_line", "expected"),
    [
        (PROXY, Published("0.0.0.0", 18005, "tcp")),
        (PROXY.replace("tcp", "udp").replace("0.0.0.0", "::"), Published("::", 18005, "udp")),
        (PROXY + " -use-listen-fd", Published("0.0.0.0", 18005, "tcp")),
        ("/usr/sbin/docker-proxy -version", None),
        ("/usr/sbin/docker-proxy -host-ip 0.0.0.0 -host-port http", None),
        ("/usr/sbin/dockerd -H fd://", None),
        ("", None),
    ],
)
def test_parse_proxy(command_line: str, expected: Published | None) -> None:
    assert parse_proxy(command_line.split()) == expected


def test_an_address_as_people_write_it() -> None:
    assert str(Published("0.0.0.0", 80, "tcp")) == "0.0.0.0:80/tcp"
    assert str(Published("::", 53, "udp")) == "[::]:53/udp"


def process(proc: pathlib.Path, pid: int, parent: int, command_line: str) -> None:
    folder = proc / str(pid)
    folder.mkdir()
    (folder / "cmdline").write_bytes(command_line.replace(" ", "\0").encode() + b"\0")
    (folder / "status").write_text(f"Name:\tx\nPid:\t{pid}\nPPid:\t{parent}\n", encoding="utf-8")


def test_proxies_of_this_engine_only(tmp_path: pathlib.Path) -> None:
    process(tmp_path, 7563, 1, "/usr/sbin/dockerd -H fd://")
    process(tmp_path, 7644, 7563, PROXY)
    # An engine in a container of this machine has proxies of its own.
    process(tmp_path, 8000, 7999, PROXY.replace("18005", "18006"))
    (tmp_path / "9000").mkdir()
    assert proxies_of(7563, str(tmp_path)) == {Published("0.0.0.0", 18005, "tcp")}


def test_a_proxy_for_a_running_container_is_not_stale() -> None:
    proxy = Published("0.0.0.0", 18005, "tcp")
    assert stale([proxy], [LISTED]) == set()
    assert stale([proxy], []) == {proxy}
    assert stale([proxy._replace(protocol="udp")], [LISTED]) == {proxy._replace(protocol="udp")}


def test_stale_ports(tmp_path: pathlib.Path) -> None:
    process(tmp_path, 7644, 7563, PROXY)
    pauses: list[float] = []
    assert stale_ports(7563, list, str(tmp_path), pauses.append) == ["0.0.0.0:18005/tcp"]
    assert len(pauses) == 1
    assert stale_ports(7563, lambda: [LISTED], str(tmp_path), pauses.append) == []
    assert stale_ports(None, list, str(tmp_path), pauses.append) == []
    assert len(pauses) == 1


def test_a_container_that_is_being_started_is_given_time(tmp_path: pathlib.Path) -> None:
    process(tmp_path, 7644, 7563, PROXY)
    answers = [[], [LISTED]]
    assert stale_ports(7563, lambda: answers.pop(0), str(tmp_path), lambda seconds: None) == []
