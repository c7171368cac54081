# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
import http.client
import os
import socket
import threading
import typing as t
from pathlib import Path

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._hub._files import Entry, HubError, digest_of
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._source import FetchError, Resolution, Throttle
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._spread import _server, _source
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._spread._run import RunFolder
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._spread._server import PeerServer, Shelf, listen
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._spread._source import Peers, address_of
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._store import ModelStore

TOKEN = "0123456789abcdef" * 2
CONTENT = bytes(range(256)) * 2000
ENTRIES = (
    Entry("a.bin", len(CONTENT), hashlib.sha256(CONTENT).hexdigest()),
    Entry("sub/b.bin", len(CONTENT), hashlib.sha256(CONTENT).hexdigest()),
)
DIGEST = digest_of(ENTRIES)


class Served(t.NamedTuple):
    """A host that serves, and what a test may do to it."""

    port: int
    store: ModelStore
    folder: RunFolder
    server: PeerServer
    thread: threading.Thread

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def put(self, path: str, content: bytes) -> Path:
        """Have something in the folder where the release is put together."""
        place = Path(self.store.staging_path(DIGEST), path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
        return place

    def ask(self, target: str, token: str = TOKEN, **headers: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request("GET", target, headers={"Authorization": f"Bearer {token}", **headers})
        response = connection.getresponse()
        try:
            return response.status, response.read()
        finally:
            connection.close()


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[Served]:
    monkeypatch.setattr(_server, "LINGER", 0.2)
    folder = RunFolder(TOKEN, str(tmp_path / "run" / "private_llm" / "spread"))
    folder.make()
    store = ModelStore(str(tmp_path / "models"), "acme/tiny")
    listener = listen("127.0.0.1", 0)
    server = PeerServer(listener, TOKEN, [Shelf(store, DIGEST, ENTRIES)], folder)
    thread = threading.Thread(target=server.run, args=(folder.take_server("test"),), daemon=True)
    thread.start()
    yield Served(listener.getsockname()[1], store, folder, server, thread)
    folder.remove()
    thread.join(10)
    listener.close()


def test_nobody_is_served_once_the_run_is_over(served: Served) -> None:
    """Whoever still waited in a socket that is closed would take the connections of whatever gets its number next."""
    served.folder.remove()
    served.thread.join(10)
    assert not served.thread.is_alive()
    with pytest.raises(ConnectionRefusedError):
        served.ask(f"/{DIGEST}/1")


def test_files_are_served_from_a_byte_on_by_their_number(served: Served) -> None:
    served.put("sub/b.bin", CONTENT)
    assert served.ask(f"/{DIGEST}/1") == (206, CONTENT)
    assert served.ask(f"/{DIGEST}/1", Range="bytes=1000-") == (206, CONTENT[1000:])


def test_what_is_there_of_a_file_that_still_comes(served: Served) -> None:
    served.put("a.bin.incomplete", CONTENT[:5000])
    with served.folder.fetching(DIGEST):
        assert served.ask(f"/{DIGEST}/0") == (206, CONTENT[:5000])
        assert served.ask(f"/{DIGEST}/0", Range="bytes=5000-") == (204, b"")


def test_a_file_that_is_not_to_come(served: Served) -> None:
    assert served.ask(f"/{DIGEST}/0", Prefer="wait=0") == (204, b"")
    served.put("a.bin.incomplete", CONTENT[:5000])
    with served.folder.fetching(DIGEST):
        pass
    assert served.ask(f"/{DIGEST}/0", Range="bytes=5000-") == (410, b"")


def test_a_published_release_that_lacks_a_file_is_not_waited_for(served: Served) -> None:
    os.makedirs(served.store.release_path(DIGEST))
    assert served.ask(f"/{DIGEST}/0") == (410, b"")


def test_nobody_waits_for_ever_for_a_host_that_does_nothing(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_source, "LONGEST_WAIT", 1.0)
    with served.folder.fetching("f" * 64):
        waiting = threading.Thread(target=lambda: fetched.append(fetch_failure(served, tmp_path)), daemon=True)
        fetched: list[str] = []
        waiting.start()
        waiting.join(3)
        assert waiting.is_alive(), "it is busy with another release"
    waiting.join(10)
    assert fetched == ["other hosts of this run did not bring 2 of its files: nobody is left who has a.bin"]


def fetch_failure(served: Served, tmp_path: Path) -> str:
    try:
        peers(served).fetch(Resolution("main", None), ENTRIES, str(tmp_path / "new"), lambda size: None)
    except FetchError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("token", ["", "wrong", TOKEN[:-1], TOKEN + "0", TOKEN.upper()])
def test_without_the_token_nothing_is_told(served: Served, token: str) -> None:
    served.put("a.bin", CONTENT)
    assert served.ask(f"/{DIGEST}/0", token=token) == (401, b"")
    assert served.ask("/alive", token=token) == (401, b"")


@pytest.mark.parametrize(
    "target",
    [
        "/",
        f"/{DIGEST}",
        f"/{DIGEST}/2",
        f"/{DIGEST}/-1",
        f"/{DIGEST}/a.bin",
        f"/{DIGEST}/../a.bin",
        f"/{'e' * 64}/0",
        f"/{DIGEST}/0?x",
        "/%2e%2e/0",
        "//etc/passwd",
    ],
)
def test_nothing_else_is_served(served: Served, target: str) -> None:
    served.put("a.bin", CONTENT)
    assert served.ask(target) == (404, b"")


@pytest.mark.parametrize("what", ["the file", "its folder", "the release"])
def test_no_link_is_followed(served: Served, tmp_path: Path, what: str) -> None:
    secret = tmp_path / "secret"
    (secret / "sub").mkdir(parents=True)
    (secret / "sub" / "b.bin").write_bytes(CONTENT)
    staging = Path(served.store.staging_path(DIGEST))
    if what == "the file":
        (staging / "sub").mkdir(parents=True)
        (staging / "sub" / "b.bin").symlink_to(secret / "sub" / "b.bin")
    elif what == "its folder":
        staging.mkdir(parents=True)
        (staging / "sub").symlink_to(secret / "sub")
    else:
        staging.parent.mkdir(parents=True)
        staging.symlink_to(secret)
    assert served.ask(f"/{DIGEST}/1") == (204, b"")


@pytest.mark.parametrize("head", [b"\r\n\r\n", b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 5000, b"\x00\xff\r\n\r\n"])
def test_a_request_that_is_none_ends(served: Served, head: bytes) -> None:
    with socket.create_connection(("127.0.0.1", served.port), timeout=10) as connection:
        try:
            connection.sendall(head)
            connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(1000)
        except OSError:
            answer = b""
    assert answer == b"" or b" 401 " in answer
    assert served.ask("/alive") == (204, b"")


def test_connections_are_bounded(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    many = [socket.create_connection(("127.0.0.1", served.port), timeout=10) for _number in range(_server.CONNECTIONS)]
    deadline = threading.Event()
    for _attempt in range(100):
        try:
            if served.ask("/alive")[0] == 503:
                break
        except (OSError, http.client.HTTPException):
            pass
        deadline.wait(0.05)
    else:
        pytest.fail("more connections were taken than may be")
    for one in many:
        one.close()
    for _attempt in range(100):
        if served.ask("/alive")[0] == 204:
            return
        deadline.wait(0.05)
    pytest.fail("connections that have ended are still counted")


def test_it_ends_when_its_file_is_gone(served: Served) -> None:
    os.unlink(os.path.join(served.folder.path, "server"))
    served.thread.join(5)
    assert not served.thread.is_alive()


def test_it_ends_when_nobody_shows_a_sign_of_life(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after the controller was killed."""
    monkeypatch.setattr(_server, "PING_INTERVAL", 0.1)
    monkeypatch.setattr(_server, "IDLE_LIMIT", 0.5)
    with served.folder.fetching(DIGEST):
        served.thread.join(1.5)
        assert served.thread.is_alive(), "work on the host is a sign of life"
    served.thread.join(5)
    assert not served.thread.is_alive()
    assert not os.path.exists(served.folder.path)


def peers(served: Served, *urls: str, token: str = TOKEN) -> Peers:
    return Peers(urls or (served.url,), token, DIGEST, ENTRIES, 2, 5.0, Throttle(0), sleep=lambda seconds: None)


def test_a_release_is_fetched(served: Served, tmp_path: Path) -> None:
    served.put("a.bin", CONTENT)
    served.put("sub/b.bin", CONTENT)
    seen: list[int] = []
    source = peers(served)
    assert source.fetch(Resolution("main", None), ENTRIES, str(tmp_path / "new"), seen.append) == 2 * len(CONTENT)
    assert (tmp_path / "new" / "sub" / "b.bin").read_bytes() == CONTENT
    assert sum(seen) == source.brought == 2 * len(CONTENT)


def test_a_host_that_is_not_there_is_passed(served: Served, tmp_path: Path) -> None:
    served.put("a.bin", CONTENT)
    source = peers(served, "http://127.0.0.1:9", served.url)
    assert source.fetch(Resolution("main", None), ENTRIES[:1], str(tmp_path), lambda size: None) == len(CONTENT)


def test_what_several_files_met_at_the_same_time_is_one_failure(served: Served) -> None:
    source = peers(served)
    peer = source._peers[0]
    for _file in range(_source.FAILURES):
        source._note_failure(peer, "timed out", began=100.0)
    assert (peer.failures, peer.reason) == (1, "")
    for _round in range(_source.FAILURES - 1):
        source._note_failure(peer, "timed out", began=peer.failed_at)
    assert peer.reason == "timed out"


def test_when_nobody_brings_it_all_reasons_are_told(served: Served, tmp_path: Path) -> None:
    with pytest.raises(FetchError) as raised:
        peers(served, token="f" * 32).fetch(Resolution("main", None), ENTRIES, str(tmp_path), lambda size: None)
    assert str(raised.value) == (
        f"other hosts of this run did not bring 2 of its files: 127.0.0.1:{served.port} (answers 401)"
    )


@pytest.mark.parametrize(
    "url", ["", "https://a:1", "http://a", "http://a:0", "http://a:1/x", "http://a:x", "a:1", "ftp://a:1", "http://:1"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(HubError, match="look at peers"):
        address_of(url)


def test_addresses() -> None:
    assert address_of("http://gpu-01:8790") == ("gpu-01", 8790)
    assert address_of("http://[2001:db8::1]:8790/") == ("2001:db8::1", 8790)
