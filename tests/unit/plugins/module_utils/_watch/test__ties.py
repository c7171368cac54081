# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib
import socket
import sys
import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._watch import _ties

# Recorded on the head and on the worker of a real pair: 10.213.77.133 and 10.213.77.172, on a little-endian machine.
TITLE = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
V4 = "0000000000000000FFFF0000"
ON_HEAD = TITLE + "".join(
    f"   {at}: {V4}{here} {V4}{there} {state} 00000000:00000000 00:00000000 00000000 0 0 1 1 0 20 4 30 10 -1\n"
    for at, (here, there, state) in enumerate(
        [
            ("854DD50A:733D", "00000000:0000", "0A"),
            ("854DD50A:733D", "854DD50A:8080", "01"),
            ("854DD50A:8080", "854DD50A:733D", "01"),
            ("854DD50A:733D", "AC4DD50A:C766", "01"),
            ("854DD50A:733D", "AC4DD50A:C777", "08"),
        ]
    )
)
ON_WORKER = (
    TITLE + "   0: AC4DD50A:C766 854DD50A:733D 01 00000000:00000000 00:00000000 00000000 0 0 1 1 0 20 4 30 10 -1\n"
)

pytestmark = pytest.mark.skipif(sys.byteorder != "little", reason="the recorded tables are of such a machine")


def test_connections_at_the_master_port_are_found_on_both_hosts() -> None:
    assert _ties.parse(ON_HEAD, 29501, head=True) == {"10.213.77.172": frozenset({51046})}
    assert _ties.parse(ON_WORKER, 29501, head=False) == {"10.213.77.133": frozenset({51046})}
    assert _ties.parse(ON_HEAD, 29502, head=True) == {}
    assert _ties.parse(ON_WORKER, 29501, head=True) == {}


def test_both_tables_count(tmp_path: pathlib.Path) -> None:
    paths = [tmp_path / "tcp", tmp_path / "tcp6"]
    for path, text in zip(paths, (ON_WORKER, ON_WORKER.replace("C766", "C767"))):
        path.write_text(text, "ascii")
    tables = [str(path) for path in (*paths, tmp_path / "missing")]
    assert _ties.read(29501, False, tables) == {"10.213.77.133": frozenset({51046, 51047})}


# Two replicas of one model over two hosts, as the kernels of both list their sockets; 7 and 8 belong to others.
HEAD, WORKER, CLIENT = "10.0.0.1", "10.0.0.2", "10.0.0.9"
NOBODY = ("0.0.0.0", 0)
OF_HEAD = [
    _ties.Row("0A", (HEAD, 40491), NOBODY, 1),
    _ties.Row("0A", (HEAD, 29550), NOBODY, 2),
    _ties.Row("0A", ("0.0.0.0", 18005), NOBODY, 3),
    _ties.Row("01", (HEAD, 40491), (WORKER, 57254), 4),
    _ties.Row("01", (HEAD, 40491), (HEAD, 51520), 5),
    _ties.Row("01", (HEAD, 29550), (WORKER, 37386), 2),
    _ties.Row("01", (HEAD, 18005), (CLIENT, 50000), 3),
    # It fetches something from elsewhere.
    _ties.Row("01", (HEAD, 50100), (CLIENT, 443), 6),
    _ties.Row("0A", (HEAD, 40777), NOBODY, 7),
    _ties.Row("01", (HEAD, 40777), (WORKER, 41000), 8),
]
OF_WORKER = [
    _ties.Row("0A", (WORKER, 43995), NOBODY, 1),
    _ties.Row("01", (WORKER, 57254), (HEAD, 40491), 4),
    _ties.Row("01", (WORKER, 37386), (HEAD, 29550), 2),
    _ties.Row("01", (WORKER, 50100), (CLIENT, 443), 6),
    _ties.Row("01", (WORKER, 41000), (HEAD, 40777), 8),
]
OWN = {1, 2, 3, 4, 5, 6}
MEETING = {18005, 29501, 29550}


def test_replicas_are_tied_by_what_their_processes_keep_between_each_other() -> None:
    assert _ties.between(OF_HEAD, OWN, MEETING, set()) == [OF_HEAD[3]]
    assert _ties.between(OF_WORKER, OWN, MEETING, {HEAD}) == [OF_WORKER[1]]


def test_a_head_whose_worker_died_has_no_tie_left() -> None:
    assert _ties.between([row for row in OF_HEAD if row.there != (WORKER, 57254)], OWN, MEETING, set()) == []


def test_a_worker_that_still_waits_for_its_start_is_not_tied() -> None:
    assert _ties.between([OF_WORKER[2]], OWN, MEETING, {HEAD}) == []


def test_the_sockets_of_a_container_are_those_of_its_processes(tmp_path: pathlib.Path) -> None:
    for pid, group, inode in ((11, "0::/system.slice/docker-abc123.scope", 5), (12, "0::/user.slice", 6)):
        (tmp_path / str(pid) / "fd").mkdir(parents=True)
        (tmp_path / str(pid) / "cgroup").write_text(group)
        (tmp_path / str(pid) / "fd" / "3").symlink_to(f"socket:[{inode}]")
        (tmp_path / str(pid) / "fd" / "4").symlink_to("/dev/null")
    (tmp_path / "13").mkdir()  # it ended meanwhile
    assert _ties.sockets_of("abc123", str(tmp_path)) == {5}


def test_a_head_whose_name_nobody_knows_now_is_told_by_no_tie(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_a: object, **_k: object) -> t.NoReturn:
        raise OSError("no answer")

    monkeypatch.setattr(_ties.socket, "getaddrinfo", unknown)
    assert _ties.replicas("abc123", MEETING, "gpu-01", []) == []


def test_a_real_connection_is_seen_by_the_kernel() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert _ties.knock("127.0.0.1", port) == _ties.THERE
        with socket.create_connection(("127.0.0.1", port), source_address=("127.0.0.2", 0)) as client:
            assert _ties.read(port, head=True)["127.0.0.2"] == {client.getsockname()[1]}
            assert _ties.read(port, head=False)["127.0.0.1"] == {client.getsockname()[1]}
    assert _ties.knock("127.0.0.1", port) == _ties.REFUSED


def test_a_host_without_an_answer_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(*_arguments: object) -> socket.socket:
        raise socket.timeout("timed out")

    monkeypatch.setattr(_ties.socket, "create_connection", silent)
    assert _ties.knock("10.0.0.1", 29501) == _ties.AWAY


def test_what_is_lost() -> None:
    known = {"10.0.0.1": [1, 2], "10.0.0.2": [3]}
    assert _ties.lost(known, {"10.0.0.1": frozenset({2}), "10.0.0.2": frozenset({4})}) == ["10.0.0.2"]
    assert _ties.lost({}, {}) == []
