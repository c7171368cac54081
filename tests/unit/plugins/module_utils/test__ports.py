# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import os
import socket

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils import _ports

TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:4655 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 20671 1 0000 100 0 0 10 0
   1: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 20672 1 0000 100 0 0 10 0
   2: 0100007F:1F90 0100007F:D4C2 01 00000000:00000000 00:00000000 00000000     0        0 20673 1 0000 100 0 0 10 0
"""
TCP6 = """\
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when
   0: 00000000000000000000000000000000:4655 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 30671 1 0000 100 0 0 10 0
   1: 00000000000000000000000001000000:1F90 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 30672 1 0000 100 0 0 10 0
"""  # noqa: E501 - as the kernel writes it

CONTAINERS = [
    {"Names": ["/beta"], "Ports": [{"IP": "0.0.0.0", "PrivatePort": 8000, "PublicPort": 18005, "Type": "tcp"}]},
    {"Names": ["/local"], "Ports": [{"IP": "127.0.0.1", "PrivatePort": 80, "PublicPort": 18006, "Type": "tcp"}]},
    {"Names": ["/udp"], "Ports": [{"IP": "0.0.0.0", "PrivatePort": 53, "PublicPort": 18007, "Type": "udp"}]},
    {"Names": ["/unpublished"], "Ports": [{"PrivatePort": 18008, "Type": "tcp"}]},
]


def test_parse_listeners() -> None:
    assert _ports.parse_listeners(TCP) == [
        _ports.Listener("0.0.0.0", 18005, 20671),
        _ports.Listener("127.0.0.1", 8080, 20672),
    ]
    assert _ports.parse_listeners(TCP6) == [
        _ports.Listener("::", 18005, 30671),
        _ports.Listener("::1", 8080, 30672),
    ]
    assert _ports.parse_listeners("") == []


@pytest.mark.parametrize(
    ("one", "two", "meet"),
    [
        ("0.0.0.0", "127.0.0.1", True),
        ("127.0.0.1", "0.0.0.0", True),
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "192.0.2.1", False),
        ("::", "127.0.0.1", True),
        ("0.0.0.0", "::1", False),
        ("0.0.0.0", "::", True),
    ],
)
def test_overlap(one: str, two: str, meet: bool) -> None:
    assert _ports.overlap(one, two) is meet


@pytest.mark.parametrize(
    ("bind", "port", "except_names", "holder"),
    [
        ("0.0.0.0", 18005, (), "beta"),
        ("192.0.2.1", 18005, (), "beta"),
        ("0.0.0.0", 18005, ("beta",), None),
        ("192.0.2.1", 18006, (), None),
        ("0.0.0.0", 18007, (), None),
        ("0.0.0.0", 18008, (), None),
    ],
)
def test_container_on(bind: str, port: int, except_names: tuple[str, ...], holder: str | None) -> None:
    assert _ports.container_on(CONTAINERS, bind, port, except_names) == holder


def test_this_process_is_found_by_its_socket() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        found = _ports.holder("0.0.0.0", port)
        assert found is not None
        assert found.endswith(f"(pid {os.getpid()})")
        assert _ports.holder("127.0.0.2", port) is None
        rows = [{"Names": ["/own"], "Ports": [{"IP": "0.0.0.0", "PublicPort": port, "Type": "tcp"}]}]
        assert _ports.holder("0.0.0.0", port, rows) == "container own"
        assert _ports.holder("0.0.0.0", port, rows, ("own",)) is None
    assert _ports.holder("0.0.0.0", port) is None


def test_a_handle_that_closes_meanwhile_hides_no_other() -> None:
    # The list of handles is read through a handle of its own, which is in the list and closed when the list is there.
    with contextlib.ExitStack() as stack:
        lower = stack.enter_context(open(os.devnull, encoding="ascii"))
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        lower.close()
        listing = os.open(os.devnull, os.O_RDONLY)
        os.close(listing)
        assert listing < server.fileno()
        assert (_ports.holder("127.0.0.1", server.getsockname()[1]) or "").endswith(f"(pid {os.getpid()})")
