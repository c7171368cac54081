# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.private_llm.fleet.plugins.module_utils import _respawn
from ansible_collections.private_llm.fleet.plugins.module_utils._hub import _snapshot
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._store import ModelStore
from ansible_collections.private_llm.fleet.plugins.modules import model_snapshot

sys.path.insert(0, str(Path(__file__).resolve().parents[4] / "scripts" / "lab"))


class Run(t.NamedTuple):
    """How the module ended."""

    failed: bool
    result: dict[str, t.Any]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> t.Iterator[t.Callable[..., Run]]:
    environment = dict(os.environ)  # the module sets the SDK's settings in its own

    def call(check: bool = False, **options: t.Any) -> Run:
        arguments = {
            "repo": "acme/tiny",
            "root": str(tmp_path / "models"),
            "_ansible_check_mode": check,
            "_ansible_remote_tmp": str(tmp_path / "tmp"),
            **options,
        }
        with patch_module_args(arguments), pytest.raises(SystemExit) as ended:
            model_snapshot.main()
        return Run(bool(ended.value.code), json.loads(capsys.readouterr().out))

    yield call
    os.environ.clear()
    os.environ.update(environment)


@pytest.fixture
def hub() -> t.Iterator[t.Any]:
    import hub as lab

    with lab.Hub() as server:
        server.add_model("acme/tiny").commit({"config.json": b"{}"})
        yield server


@pytest.fixture
def git_hub(tmp_path: Path) -> t.Iterator[t.Any]:
    import git_hub as lab

    with lab.GitHub(tmp_path / "served") as server:
        server.add_repository("acme/tiny").commit({"config.json": b"{}"})
        yield server


@pytest.fixture
def no_git_lfs(monkeypatch: pytest.MonkeyPatch) -> None:
    from ansible.module_utils.basic import AnsibleModule

    monkeypatch.setattr(
        AnsibleModule, "get_bin_path", lambda self, name, **unused: None if name == "git-lfs" else f"/usr/bin/{name}"
    )


def test_every_key_of_the_result_is_documented(run: t.Callable[..., Run], hub: t.Any) -> None:
    import yaml

    ended = run(check=True, endpoint=hub.url)
    documented = set(yaml.safe_load(model_snapshot.RETURN))
    assert set(ended.result) - {"changed", "diff", "invocation", "warnings"} == documented


def test_library_is_looked_for_before_anything_is_made(
    run: t.Callable[..., Run], hub: t.Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(module: t.Any, name: str) -> None:
        module.fail_json(msg=f"no {name}")

    monkeypatch.setattr(_respawn, "require", missing)
    ended = run(endpoint=hub.url)
    assert (ended.failed, ended.result["msg"]) == (True, "no modelscope_hub")
    assert not (tmp_path / "models").exists()
    assert hub.log == []
    assert not run(check=True, endpoint=hub.url).failed


def test_lock_is_free_while_the_module_may_start_again(
    run: t.Callable[..., Run], hub: t.Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new interpreter takes the lock itself, while this one waits for it."""
    pytest.importorskip("modelscope_hub")
    first = run(endpoint=hub.url)
    os.unlink(f"{first.result['path']}/config.json")
    locked: list[bool] = []

    def again(module: t.Any, name: str) -> None:
        with ModelStore(str(tmp_path / "models"), "acme/tiny").locked(0, lambda: None):
            locked.append(True)

    monkeypatch.setattr(_respawn, "require", again)
    assert run(endpoint=hub.url).result["missing"] == ["config.json"]
    assert locked == [True]


@pytest.mark.usefixtures("no_git_lfs")
def test_check_on_a_host_without_git_lfs(run: t.Callable[..., Run], git_hub: t.Any, tmp_path: Path) -> None:
    ended = run(check=True, source="git_lfs", endpoint=git_hub.url)
    assert not ended.failed
    assert ended.result["changed"]
    assert ended.result["bytes_missing"] is None
    assert ended.result["path"] is None
    assert ended.result["commit"] in ended.result["actions"][0]
    assert "its files are not known yet" in ended.result["actions"][0]
    assert not (tmp_path / "models").exists()


@pytest.mark.usefixtures("no_git_lfs")
def test_run_on_a_host_without_git_lfs(run: t.Callable[..., Run], git_hub: t.Any, tmp_path: Path) -> None:
    ended = run(source="git_lfs", endpoint=git_hub.url)
    assert ended.failed
    assert "source git_lfs needs git-lfs on this host; install the package of that name" in ended.result["msg"]
    assert not (tmp_path / "models").exists()


def test_token_is_nowhere_in_the_result(run: t.Callable[..., Run], hub: t.Any) -> None:
    for check in (True, False):
        ended = run(check=check, endpoint=hub.url, repo="acme/none", token="hunter2")
        assert ended.failed
        assert "hunter2" not in json.dumps(ended.result)


def test_check_tells_of_too_little_space(
    run: t.Callable[..., Run], hub: t.Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: t.cast("t.Any", type("Usage", (), {"free": 1000})))
    ended = run(check=True, endpoint=hub.url)
    assert ended.failed
    assert "acme/tiny needs 2 B more in" in ended.result["msg"]


@pytest.mark.parametrize(
    ("mounted", "expected"),
    [({""}, {"all"}), ({"d1"}, {"d1"}), ({"d1/sub", "d2"}, {"d1", "d2"}), (set(), set())],
)
def test_mounts_name_the_releases_they_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mounted: set[str], expected: set[str]
) -> None:
    store = ModelStore(str(tmp_path), "acme/tiny")
    monkeypatch.setattr(_snapshot, "users_of", lambda path: {os.path.normpath(f"{path}/{name}") for name in mounted})
    snapshot = _snapshot.Snapshot.__new__(_snapshot.Snapshot)
    snapshot.store = store
    monkeypatch.setattr(snapshot, "_digests", lambda: ["all"])
    assert snapshot._mounted() == expected


def test_git_lfs_is_not_slowed_down_in_silence(run: t.Callable[..., Run], git_hub: t.Any) -> None:
    ended = run(source="git_lfs", endpoint=git_hub.url, bandwidth="1M")
    assert ended.failed
    assert "bandwidth cannot be limited with source git_lfs" in ended.result["msg"]
    assert git_hub.log == []


@pytest.fixture
def mount_elsewhere(tmp_path: Path) -> t.Iterator[t.Callable[[str], t.Callable[[], None]]]:
    """Mount a folder where only another process sees it, as a container does; returns what ends that."""
    held: list[subprocess.Popen[bytes]] = []
    point = tmp_path / "container"
    point.mkdir()

    def mount(path: str) -> t.Callable[[], None]:
        script = 'mount --bind "$0" "$1" && echo mounted && exec sleep 120'
        argv = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, path, str(point)]
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        held.append(process)
        if not process.stdout or not process.stdout.readline():
            pytest.skip("may not mount a folder")

        def stop() -> None:
            process.kill()
            process.wait()

        return stop

    yield mount
    for process in held:
        process.kill()
        process.communicate()


def test_what_a_container_has_mounted_stays(
    run: t.Callable[..., Run], hub: t.Any, mount_elsewhere: t.Callable[[str], t.Callable[[], None]]
) -> None:
    pytest.importorskip("modelscope_hub")
    first = run(endpoint=hub.url).result
    stop = mount_elsewhere(first["path"])
    hub.models["acme/tiny"].commit({"config.json": b"[]"})
    second = run(endpoint=hub.url, keep=0).result
    assert second["releases"] == [second["digest"], first["digest"]]
    assert second["in_use"] == [first["digest"]]
    for release in (None, first["digest"]):
        refused = run(state="absent", release=release)
        assert refused.failed
        assert f"a container has {first['path']} mounted; stop the server that uses acme/tiny first" in str(
            refused.result["msg"]
        )
    assert Path(first["path"], "config.json").read_bytes() == b"{}"
    stop()
    third = run(endpoint=hub.url, keep=0).result
    assert third["actions"] == [f"remove release {first['digest'][:12]}"]
    assert third["releases"] == [second["digest"]]
    assert run(state="absent").result["changed"]
