# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import typing as t
from pathlib import Path

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._hub import _git, _git_source
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._files import HubError, Selection
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._git_source import GitLfs
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._source import Access, MissingProgram, Resolution

pytestmark = pytest.mark.skipif(shutil.which("git-lfs") is None, reason="needs git and git-lfs")

WEIGHTS = bytes(range(256)) * 20_000
Make = t.Callable[..., GitLfs]


@pytest.fixture
def server(tmp_path: Path) -> t.Iterator[t.Any]:
    import git_hub as lab

    with lab.GitHub(tmp_path / "served", token="hunter2") as running:
        yield running


@pytest.fixture
def make(server: t.Any, access: t.Callable[..., Access], tmp_path: Path) -> Make:
    made: list[GitLfs] = []

    def source(token: str | None = None, find: t.Callable[[str], str | None] = shutil.which) -> GitLfs:
        scratch = tmp_path / f"scratch{len(made)}"
        scratch.mkdir()
        made.append(GitLfs(access(server.url, token=token), str(scratch), str(tmp_path / "lfs"), find))
        return made[-1]

    return source


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_git_source.time, "sleep", lambda seconds: None)


def fault(**values: t.Any) -> t.Any:
    import hub as lab

    return lab.Fault(**values)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def fetch(source: GitLfs, folder: Path, *paths: str) -> tuple[int, int]:
    """Fetch files of the default branch; returns the bytes it says came, and those it reported on the way."""
    resolution = source.resolve(None)
    entries = [entry for entry in source.entries(resolution) if not paths or entry.path in paths]
    seen: list[int] = []
    return source.fetch(resolution, entries, str(folder), seen.append), sum(seen)


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_files_are_what_the_repository_holds(server: t.Any, make: Make, tmp_path: Path) -> None:
    files = {
        ".gitattributes": b"* text=auto eol=crlf\n*.bin filter=lfs diff=lfs merge=lfs -text\n",
        "config.json": b'{\n "a": 1\n}\n',
        "a b/[1],2.bin": WEIGHTS,
        "copy.bin": WEIGHTS,
        "empty.bin": b"",
        "名.txt": b"",
        "unwanted.bin": b"x" * 1000,
    }
    commit = server.add_repository("acme/tiny").commit(files, tag="v1")
    source = make()
    resolution = source.resolve("v1")
    assert resolution == Resolution("v1", commit)
    entries = source.entries(resolution)
    assert {entry.path: (entry.size, entry.sha256) for entry in entries} == {
        path: (len(data), sha256(data)) for path, data in files.items()
    }
    server.reset_log()
    wanted = [entry for entry in entries if entry.path != "unwanted.bin"]
    seen: list[int] = []
    came = source.fetch(resolution, wanted, str(tmp_path / "out"), seen.append)
    assert content(tmp_path / "out") == {path: data for path, data in files.items() if path != "unwanted.bin"}
    assert came == len(WEIGHTS) + sum(len(files[path]) for path in (".gitattributes", "config.json", "名.txt"))
    assert sum(seen) >= len(WEIGHTS)
    assert [entry["path"].rsplit("/", 1)[-1] for entry in server.log] == ["batch", sha256(WEIGHTS)]


def test_a_small_file_comes_with_the_list(server: t.Any, make: Make) -> None:
    server.add_repository("acme/tiny").commit(
        {
            ".gitattributes": b"*.bin filter=lfs diff=lfs merge=lfs -text\n",
            "config.json": b'{"a": 1}',
            "a.bin": WEIGHTS,
        }
    )
    source = make()
    resolution = source.resolve(None)
    assert source.small_file(resolution, "config.json") is None, "nothing is known yet"
    source.entries(resolution)
    server.reset_log()
    assert source.small_file(resolution, "config.json") == b'{"a": 1}'
    assert source.small_file(resolution, "a.bin") is None
    assert server.log == []


def test_one_request_resolves_and_none_pins(server: t.Any, make: Make) -> None:
    repository = server.add_repository("acme/tiny")
    commit = repository.commit({"config.json": b"{}"})
    repository.set_tag("v1", commit)
    source = make()
    assert source.resolve(None) == Resolution("master", commit)
    assert len(server.log) == 1
    assert source.resolve("v1") == Resolution("v1", commit)
    server.reset_log()
    assert source.pin(commit) == source.resolve(commit) == Resolution(commit, commit)
    assert server.log == []


def test_interrupted_object_is_taken_up(server: t.Any, make: Make, tmp_path: Path) -> None:
    server.add_repository("acme/tiny").commit({"w.bin": WEIGHTS})
    server.faults = [fault(match=sha256(WEIGHTS), kind="cut", at=2_000_000, times=1)]
    assert fetch(make(), tmp_path / "out")[0] == len(WEIGHTS)
    assert [entry["range"] for entry in server.log if sha256(WEIGHTS) in entry["path"]] == [
        None,
        f"bytes=2000000-{len(WEIGHTS) - 1}",
    ]
    assert content(tmp_path / "out") == {"w.bin": WEIGHTS}


def test_object_of_an_earlier_run_is_not_fetched_again(server: t.Any, make: Make, tmp_path: Path) -> None:
    server.add_repository("acme/tiny").commit({"w.bin": WEIGHTS})
    name = sha256(WEIGHTS)
    stored = tmp_path / "lfs" / "objects" / name[:2] / name[2:4] / name
    stored.parent.mkdir(parents=True)
    stored.write_bytes(WEIGHTS)
    assert fetch(make(), tmp_path / "out")[0] == 0
    assert content(tmp_path / "out") == {"w.bin": WEIGHTS}
    assert not [entry for entry in server.log if name in entry["path"]]


@pytest.mark.usefixtures("no_pauses")
def test_wrong_contents_once(server: t.Any, make: Make, tmp_path: Path) -> None:
    server.add_repository("acme/tiny").commit({"w.bin": WEIGHTS})
    server.faults = [fault(match=sha256(WEIGHTS), kind="corrupt", at=5, times=1)]
    fetch(make(), tmp_path / "out")
    assert content(tmp_path / "out") == {"w.bin": WEIGHTS}


@pytest.mark.usefixtures("no_pauses")
def test_wrong_contents_always(server: t.Any, make: Make, tmp_path: Path) -> None:
    server.add_repository("acme/tiny").commit({"w.bin": WEIGHTS})
    server.faults = [fault(match=sha256(WEIGHTS), kind="corrupt", at=5, times=-1)]
    with pytest.raises(
        HubError, match=r"git-lfs fetch http://.* failed: expected OID .*; what was fetched is kept, run again"
    ):
        fetch(make(), tmp_path / "out")
    assert len([entry for entry in server.log if sha256(WEIGHTS) in entry["path"]]) == 3
    assert content(tmp_path / "out") == {}


@pytest.mark.usefixtures("no_pauses")
def test_object_that_the_server_lost(server: t.Any, make: Make, tmp_path: Path) -> None:
    repository = server.add_repository("acme/tiny")
    repository.commit({"w.bin": WEIGHTS})
    repository.lfs_path(sha256(WEIGHTS)).unlink()
    with pytest.raises(HubError, match="Object does not exist"):
        fetch(make(), tmp_path / "out")


def test_private_repository(server: t.Any, make: Make, tmp_path: Path) -> None:
    server.add_repository("acme/tiny", private=True).commit({"w.bin": WEIGHTS, "config.json": b"{}"})
    fetch(make(token="hunter2"), tmp_path / "out")
    assert content(tmp_path / "out") == {"w.bin": WEIGHTS, "config.json": b"{}"}
    secrets = (b"hunter2", _git.basic_authorization("hunter2").split()[1].encode())
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert not any(secret in path.read_bytes() for secret in secrets), path
    with pytest.raises(HubError, match="the hub refused to answer without a token"):
        make().resolve(None)
    with pytest.raises(HubError, match="the hub refused the token") as caught:
        make(token="wrong-token").resolve(None)
    assert "wrong-token" not in str(caught.value)


def test_failing_git_does_not_show_the_token(server: t.Any, make: Make) -> None:
    server.add_repository("acme/tiny", private=True).commit({"config.json": b"{}"})
    source = make(token="wrong-token")
    with pytest.raises(HubError, match=r"git fetch .* failed: ") as caught:
        source.entries(Resolution("master", "1" * 40))
    assert "wrong-token" not in str(caught.value)
    assert _git.basic_authorization("wrong-token") not in str(caught.value)


def test_unknown_revision_commit_and_repository(server: t.Any, make: Make) -> None:
    server.add_repository("acme/tiny").commit({"config.json": b"{}"}, tag="v1")
    with pytest.raises(HubError, match=r"/acme/tiny\.git does not have a revision 'main'; it has master, v1"):
        make().resolve("main")
    with pytest.raises(HubError, match=f"has no commit {'1' * 40}; check the revision '{'1' * 40}'"):
        make().entries(Resolution("1" * 40, "1" * 40))
    server.repositories.clear()
    with pytest.raises(HubError, match="there is no such repository"):
        make().resolve(None)


@pytest.mark.parametrize("mode", ["120000", "160000"])
def test_links_and_submodules_are_refused(server: t.Any, make: Make, mode: str) -> None:
    repository = server.add_repository("acme/tiny")
    repository.commit({"config.json": b"{}"})
    repository.commit({"odd": b"../../etc/passwd"}, mode=mode)
    source = make()
    with pytest.raises(HubError, match="holds 'odd', which is not a plain file but a link or a submodule"):
        source.entries(source.resolve(None))


def test_missing_programs(server: t.Any, make: Make) -> None:
    server.add_repository("acme/tiny").commit({"config.json": b"{}"})
    source = make(find=lambda name: None if name == "git-lfs" else f"/usr/bin/{name}")
    resolution = source.resolve(None)  # needs no program
    with pytest.raises(MissingProgram, match="source git_lfs needs git-lfs on this host; install the package"):
        source.entries(resolution)


def test_nothing_of_the_repository_runs(server: t.Any, make: Make, tmp_path: Path) -> None:
    """No filter, no hook, and no address from the repository's own LFS settings."""
    marker = tmp_path / "ran"
    files = {
        ".gitattributes": b"*.txt filter=evil\n*.bin filter=lfs\n",
        ".gitconfig": f'[filter "evil"]\n smudge = touch {marker}\n'.encode(),
        ".lfsconfig": b"[lfs]\n url = http://127.0.0.1:9/elsewhere\n",
        "a.txt": b"text",
        "w.bin": WEIGHTS,
    }
    server.add_repository("acme/tiny").commit(files)
    fetch(make(), tmp_path / "out")
    assert content(tmp_path / "out") == files
    assert not os.path.exists(marker)


@pytest.mark.usefixtures("stored_credentials")
def test_stored_credentials_are_not_used(server: t.Any, make: Make) -> None:
    commit = server.add_repository("acme/tiny", private=True).commit({"w.bin": WEIGHTS})
    with pytest.raises(HubError, match=r"failed: .*could not read Username"):
        make().entries(Resolution("master", commit))
    assert {entry["authorization"] for entry in server.log} == {None}


def test_secrets_are_in_no_command(server: t.Any, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []
    before = subprocess.Popen.__init__

    def noted(self: t.Any, args: list[str], *rest: t.Any, **options: t.Any) -> None:
        commands.append([str(word) for word in args])
        before(self, args, *rest, **options)

    monkeypatch.setattr(subprocess.Popen, "__init__", noted)
    server.add_repository("acme/tiny", private=True).commit({"w.bin": WEIGHTS})
    fetch(make(token="hunter2"), tmp_path / "out")
    assert ["git-lfs", "fetch"] in [command[:2] for command in commands]
    said = " ".join(word for command in commands for word in command)
    assert "hunter2" not in said
    assert _git.basic_authorization("hunter2").split()[1] not in said


def test_link_that_is_not_wanted_stands_in_nobodys_way(server: t.Any, make: Make, tmp_path: Path) -> None:
    repository = server.add_repository("acme/tiny")
    repository.commit({"latest": b"/etc/passwd"}, mode="120000")
    repository.commit({"config.json": b"{}"})
    source = make()
    resolution = source.resolve(None)
    with pytest.raises(HubError, match=r"holds 'latest', which is not a plain file .*leave it out with exclude"):
        source.entries(resolution)
    entries = source.entries(resolution, Selection((), ("latest",)))
    assert [entry.path for entry in entries] == ["config.json"]
    # A run that knows from before what is wanted lists nothing.
    assert make().fetch(resolution, entries, str(tmp_path / "out"), lambda count: None) == 2
