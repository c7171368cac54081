# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import socket
import threading
import time

from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.lifecycle import _meeting
from ansible_collections.private_llm.fleet.tests.support import ports


def test_a_node_listens_for_the_others_after_its_module_has_ended() -> None:
    port = _meeting.listen("127.0.0.1", 60.0)
    for _other in range(3):
        assert _meeting.obstacle("127.0.0.1", "127.0.0.1", port) == ""
    (said,) = _meeting.unreached("127.0.0.1", [{"node": "b", "address": "127.0.0.2", "port": port}])
    assert said == f"does not reach b at 127.0.0.2, TCP port {port}, from 127.0.0.1 (Connection refused)"


def test_it_listens_no_longer_than_it_must() -> None:
    port = _meeting.listen("127.0.0.1", 0.2)
    end = time.monotonic() + 60
    while _meeting.obstacle("127.0.0.1", "127.0.0.1", port) == "" and time.monotonic() < end:
        time.sleep(0.1)
    assert _meeting.obstacle("127.0.0.1", "127.0.0.1", port) == "Connection refused"


def test_somebody_else_at_the_port_is_no_node() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer_as_somebody_else() -> None:
            with server.accept()[0] as connection:
                connection.sendall(b"HTTP/1.1 400")

        answer = threading.Thread(target=answer_as_somebody_else, daemon=True)
        answer.start()
        port = server.getsockname()[1]
        assert _meeting.obstacle("127.0.0.1", "127.0.0.1", port) == "somebody else answers there"
        answer.join()


def test_nothing_of_the_module_stays_with_the_listener() -> None:
    with socket.create_server(("127.0.0.1", ports.free_port())) as held:
        port = _meeting.listen("127.0.0.1", 60.0)
        address = held.getsockname()
    # Had the listener kept it, nobody else could listen there.
    with socket.create_server(address):
        assert _meeting.obstacle("127.0.0.1", "127.0.0.1", port) == ""
