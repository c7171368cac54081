# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
import http.client
import json
import typing as t
import urllib.parse
from pathlib import Path

import hub as lab
import pytest

BIG = bytes(range(256)) * 8192


class Client:
    """Asks the hub, and follows no redirect by itself."""

    def __init__(self, hub: lab.LabServer) -> None:
        self.port = hub.port

    def __call__(
        self, path: str, method: str = "GET", body: t.Any = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            sent = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, json.dumps(body) if body is not None else None, sent)
            response = connection.getresponse()
            return response.status, dict(response.getheaders()), response.read()
        finally:
            connection.close()

    def json(self, path: str, **headers: str) -> t.Any:
        return json.loads(self(path, **headers)[2])


@pytest.fixture
def hub() -> t.Iterator[lab.Hub]:
    with lab.Hub(token="T") as running:
        running.add_model("acme/tiny").commit({"config.json": b"{}", "sub/a.txt": b"hi", "w.bin": BIG}, tag="v1")
        yield running


@pytest.fixture
def ask(hub: lab.Hub) -> Client:
    return Client(hub)


FILES = "/api/v1/models/acme/tiny/repo/files"


def test_listing(hub: lab.Hub, ask: Client) -> None:
    answer = ask.json(f"{FILES}?Revision=master&Recursive=True")
    rows = {row["Path"]: row for row in answer["Data"]["Files"]}
    assert answer["Success"] is True
    assert sorted(rows) == ["config.json", "sub", "sub/a.txt", "w.bin"]
    assert rows["sub"]["Type"] == "tree"
    assert rows["sub"]["Sha256"] == ""
    assert rows["w.bin"]["IsLFS"] is True
    assert rows["w.bin"]["Sha256"] == hashlib.sha256(BIG).hexdigest()
    assert rows["config.json"]["Id"] == "9e26dfeeb6e641a33dae4961196235bdb965b21b"  # as git names this blob
    committer = answer["Data"]["LatestCommitter"]
    assert committer["Id"] == ""
    assert rows["w.bin"]["Revision"].startswith(committer["ShortId"])


def test_listing_of_a_folder(ask: Client) -> None:
    flat = ask.json(f"{FILES}?Revision=v1&Recursive=False")["Data"]["Files"]
    assert [row["Path"] for row in flat] == ["config.json", "sub", "w.bin"]
    below = ask.json(f"{FILES}?Revision=v1&Recursive=True&Root=sub")["Data"]["Files"]
    assert [row["Path"] for row in below] == ["sub/a.txt"]


def test_unknown_revision_is_no_error(ask: Client) -> None:
    status, _headers, body = ask(f"{FILES}?Revision=typo&Recursive=True")
    assert status == 200
    assert json.loads(body)["Data"]["Files"] is None


def test_commits_and_tags_keep_their_files(hub: lab.Hub, ask: Client) -> None:
    model = hub.models["acme/tiny"]
    first = model.branches["master"]
    model.commit({"config.json": b"[]", "sub/a.txt": None})
    for revision, expected in (("v1", b"{}"), (first, b"{}"), ("master", b"[]")):
        path = f"/api/v1/models/acme/tiny/repo?Revision={revision}&FilePath=config.json"
        assert ask(path)[2] == expected
    assert "sub/a.txt" not in ask(f"{FILES}?Revision=master&Recursive=True")[2].decode()


def test_small_and_big_files(ask: Client) -> None:
    base = "/api/v1/models/acme/tiny/repo?Revision=master&FilePath="
    assert ask(base + urllib.parse.quote_plus("sub/a.txt"), Range="bytes=1-")[::2] == (200, b"hi")
    status, headers, _body = ask(base + "w.bin")
    assert status == 302
    place = urllib.parse.urlsplit(headers["Location"])
    assert ask(f"{place.path}?{place.query}")[2] == BIG
    status, headers, body = ask(place.path, Range="bytes=100-199")
    assert (status, body) == (206, BIG[100:200])
    assert headers["Content-Range"] == f"bytes 100-199/{len(BIG)}"
    assert ask(place.path, Range=f"bytes={len(BIG)}-")[0] == 416
    assert ask("/models/acme/tiny/resolve/v1/sub/a.txt")[2] == b"hi"


def test_things_that_are_not_there(ask: Client) -> None:
    for path in (
        "/api/v1/models/acme/none/repo/files?Revision=master",
        "/api/v1/models/acme/tiny/repo?Revision=master&FilePath=none",
        "/api/v1/models/acme/tiny/repo?Revision=typo&FilePath=config.json",
        "/nothing",
        f"/lfs-data/{'0' * 64}",
    ):
        assert ask(path)[0] == 404, path


def test_private_models_look_missing_without_the_token(hub: lab.Hub, ask: Client) -> None:
    hub.add_model("acme/secret", private=True).commit({"a": b"a"})
    path = "/api/v1/models/acme/secret/repo/files?Revision=master"
    assert ask(path)[0] == 404
    assert ask(path, Authorization="Bearer wrong")[0] == 404
    assert ask(path, Authorization="Bearer T")[0] == 200
    assert ask(path, Cookie="x=y; m_session_id=T")[0] == 200


def test_log(hub: lab.Hub, ask: Client) -> None:
    ask(f"{FILES}?Revision=master", Authorization="Bearer T")
    ask("/nothing")
    log = ask.json("/_lab/log")
    assert [(entry["path"], entry["status"]) for entry in log] == [(FILES, 200), ("/nothing", 404)]
    assert log[0]["authorization"] == "Bearer T"
    assert log[0]["query"] == {"Revision": "master"}
    ask("/_lab/log", method="DELETE")
    assert hub.log == []


@pytest.mark.parametrize(
    ("fault", "status", "body"),
    [
        ({"kind": "corrupt", "at": 0}, 200, b"\x97i"),
        ({"kind": "truncate", "keep": 1}, 200, b"h"),
        ({"kind": "json200"}, 200, b'{"Code":10990101007'),
        ({"kind": "status", "status": 429, "retry_after": 3}, 429, b'{"Code":429'),
        ({"kind": "slow", "delay": 0.01, "rate": 1000}, 200, b"hi"),
        ({"kind": "redirect", "to": "/else"}, 302, b""),
    ],
)
def test_faults(ask: Client, fault: dict[str, t.Any], status: int, body: bytes) -> None:
    path = "/api/v1/models/acme/tiny/repo?Revision=master&FilePath=sub%2Fa.txt"
    assert ask("/_lab/faults", "PUT", [{"match": "FilePath=sub/a.txt", "skip": 1, **fault}])[0] == 200
    assert ask(path)[::2] == (200, b"hi")
    found = ask(path)
    assert found[0] == status
    assert found[2].startswith(body)
    assert ask(path)[::2] == (200, b"hi")


def test_cut_and_ignored_ranges(hub: lab.Hub, ask: Client) -> None:
    path = f"/lfs-data/{hashlib.sha256(BIG).hexdigest()}"
    hub.faults = [lab.Fault("lfs-data", "cut", at=1000)]
    with pytest.raises(http.client.IncompleteRead) as caught:
        ask(path)
    assert caught.value.partial == BIG[:1000]
    hub.faults = [lab.Fault("lfs-data", "norange")]
    assert ask(path, Range="bytes=5-")[::2] == (200, BIG)


@pytest.mark.parametrize(
    ("path", "body", "reason"),
    [
        ("faults", [{"match": "", "kind": "typo"}], "no fault 'typo'"),
        ("faults", [{"kind": "cut"}], "a fault has match and kind"),
        ("models/acme/none", {}, "no model acme/none"),
        ("models/acme/tiny", {"tags": {"v2": "typo"}}, "has no revision 'typo'"),
        ("models/acme/tiny", {"color": 1}, "a model has no color"),
        ("typo", {}, "nothing at PUT /_lab/typo"),
    ],
)
def test_steering_refused(ask: Client, path: str, body: t.Any, reason: str) -> None:
    status, _headers, answer = ask(f"/_lab/{path}", "PUT", body)
    assert status == 400
    assert reason in json.loads(answer)["error"]


def test_steering_a_model(hub: lab.Hub, ask: Client) -> None:
    row = {"Path": "../evil", "Type": "blob", "Size": 1, "Sha256": "0" * 64}
    body = {"tags": {"v2": "master"}, "private": True, "extra_entries": [row]}
    assert ask("/_lab/models/acme/tiny", "PUT", body)[0] == 200
    rows = ask.json(f"{FILES}?Revision=v2&Recursive=True", Authorization="Bearer T")["Data"]["Files"]
    assert rows[-1] == row
    revisions = ask.json("/api/v1/models/acme/tiny/revisions", Authorization="Bearer T")["Data"]["RevisionMap"]
    assert [item["Revision"] for item in revisions["Tags"]] == ["v1", "v2"]


def test_folder_hub_follows_its_folder(tmp_path: Path) -> None:
    (tmp_path / "acme" / "one").mkdir(parents=True)
    (tmp_path / "acme" / "one" / "a").write_text("1")
    with lab.FolderHub(tmp_path, "127.0.0.1", 0) as hub:
        ask = Client(hub)

        def commit(name: str) -> str | None:
            data = ask.json(f"/api/v1/models/acme/{name}/repo/files?Recursive=True").get("Data")
            return data["LatestCommitter"]["ShortId"] if data else None

        first = commit("one")
        assert first
        assert commit("one") == first
        assert commit("two") is None
        (tmp_path / "acme" / "one" / "b").write_text("2")
        second = commit("one")
        assert second != first
        (tmp_path / "acme" / "one" / "a").unlink()
        assert commit("one") != second
        (tmp_path / "acme" / "two").mkdir()
        (tmp_path / "acme" / "two" / "a").write_text("1")
        assert commit("two")
        (tmp_path / "acme" / "two" / "a").unlink()
        (tmp_path / "acme" / "two").rmdir()
        assert commit("two") is None


def test_the_server_ends_after_its_answer_is_out(hub: lab.Hub, ask: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process dies with whatever its threads have not sent yet."""
    ended_before_its_answer: list[bool] = []
    send = lab._Handler._send_body

    def slow(self: lab._Handler, *arguments: t.Any) -> None:
        ended_before_its_answer.append(hub._asked_to_stop.wait(0.1))
        send(self, *arguments)

    monkeypatch.setattr(lab._Handler, "_send_body", slow)
    status, headers, body = ask("/_lab/stop", "PUT")
    assert (status, headers["Connection"], body) == (200, "close", b"{}")
    assert hub._asked_to_stop.wait(10)
    assert ended_before_its_answer == [False]
