# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.private_llm.fleet.plugins.module_utils import _respawn
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._store import ModelStore
from ansible_collections.private_llm.fleet.plugins.modules import model_snapshot

ROOT = Path(__file__).resolve().parents[4]
sys.path[:0] = [str(ROOT / "scripts" / "lab"), str(ROOT / "tests" / "support")]

# As Ansible runs the module: in a process of its own, with the options where no process list shows them.
APART = """
import json, sys
from ansible.module_utils.testing import patch_module_args
from ansible_collections.private_llm.fleet.plugins.modules import model_snapshot
with patch_module_args(json.load(sys.stdin)):
    model_snapshot.main()
"""


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


def start(tmp_path: Path, **options: t.Any) -> subprocess.Popen[str]:
    """Start the module in a process of its own."""
    given = {"repo": "acme/tiny", "root": str(tmp_path / "models"), "_ansible_remote_tmp": str(tmp_path), **options}
    environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    environment["PYTHONPATH"] = str(ROOT / ".collections")
    running = subprocess.Popen(
        [sys.executable, "-c", APART],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert running.stdin
    running.stdin.write(json.dumps(given))
    running.stdin.close()
    running.stdin = None
    return running


def end(running: subprocess.Popen[str]) -> Run:
    said, _nothing = running.communicate(timeout=120)
    return Run(bool(running.returncode), json.loads(said))


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
    monkeypatch.setattr(
        model_snapshot, "users_of", lambda path: {os.path.normpath(f"{path}/{name}") for name in mounted}
    )
    snapshot = model_snapshot.ModelSnapshot.__new__(model_snapshot.ModelSnapshot)
    snapshot.store = store
    monkeypatch.setattr(snapshot, "_digests", lambda: ["all"])
    assert snapshot._mounted() == expected


def test_two_processes_at_once(hub: t.Any, tmp_path: Path) -> None:
    import hub as lab

    pytest.importorskip("modelscope_hub")
    weights = bytes(range(256)) * 20_000
    hub.models["acme/tiny"].commit({"w.bin": weights})
    hub.faults = [lab.Fault("lfs-data", "slow", rate=5_000_000, times=-1)]
    ended = [end(running) for running in [start(tmp_path, endpoint=hub.url) for _number in range(2)]]
    assert [run.failed for run in ended] == [False, False]
    assert sorted(run.result["bytes_downloaded"] for run in ended) == [0, len(weights) + 2]
    assert len({run.result["path"] for run in ended}) == 1
    assert (Path(ended[0].result["current"]) / "w.bin").read_bytes() == weights
    assert len([entry for entry in hub.log if entry["path"].startswith("/lfs-data/")]) == 1


@pytest.fixture(params=["modelscope", "huggingface", "git_lfs"])
def anywhere(request: pytest.FixtureRequest, tmp_path: Path) -> t.Iterator[tuple[str, t.Any]]:
    """A hub of each kind, with a big file in its model."""
    import git_hub
    import hf_hub
    import hub as lab

    files = {"config.json": b"{}", "w.bin": bytes(range(256)) * 20_000}
    if request.param == "git_lfs":
        if shutil.which("git-lfs") is None:
            pytest.skip("needs git and git-lfs")
        with git_hub.GitHub(tmp_path / "served") as server:
            server.add_repository("acme/tiny").commit(files)
            yield request.param, server
        return
    pytest.importorskip(f"{request.param}_hub")
    with (lab.Hub if request.param == "modelscope" else hf_hub.HuggingFaceHub)() as server:
        server.add_model("acme/tiny").commit(files)
        yield request.param, server


def test_proxy(anywhere: tuple[str, t.Any], tmp_path: Path) -> None:
    """Only the proxy knows where the hub is, so no part of the work goes around it."""
    import forward_proxy

    source, server = anywhere
    endpoint = f"http://hub.invalid:{server.port}"
    with forward_proxy.ForwardProxy("fleet", "canary-of-the-proxy") as proxy:
        ended = end(start(tmp_path, source=source, endpoint=endpoint, proxy=proxy.url))
        assert not ended.failed, ended.result
        assert ended.result["bytes_downloaded"] == ended.result["bytes_total"] > 5_000_000
        assert set(proxy.asked) == {"hub.invalid"}
        assert len(proxy.asked) == len(server.log)
        assert "canary-of-the-proxy" not in json.dumps(ended.result)
        wrong = proxy.url.replace("canary-of-the-proxy", "canary-that-is-wrong")
        refused = end(start(tmp_path / "other", source=source, endpoint=endpoint, proxy=wrong))
        assert refused.failed
        assert "HTTP 407" in refused.result["msg"]
        assert "canary" not in json.dumps(refused.result)


def test_hosts_that_are_reached_without_the_proxy(anywhere: tuple[str, t.Any], tmp_path: Path) -> None:
    import forward_proxy

    source, server = anywhere
    with forward_proxy.ForwardProxy() as proxy:
        ended = end(start(tmp_path, source=source, endpoint=server.url, proxy=proxy.url, no_proxy=["127.0.0.1"]))
        assert not ended.failed, ended.result
        assert ended.result["bytes_downloaded"] == ended.result["bytes_total"]
        assert proxy.asked == []


def test_connection_that_stalls_is_given_up(anywhere: tuple[str, t.Any], tmp_path: Path) -> None:
    import hub as lab

    source, server = anywhere
    weights = hashlib.sha256(bytes(range(256)) * 20_000).hexdigest()
    server.faults = [lab.Fault(weights if source == "git_lfs" else "lfs-data", "slow", delay=60, times=1)]
    started = time.monotonic()
    ended = end(start(tmp_path, source=source, endpoint=server.url, timeout=1))
    assert not ended.failed, ended.result
    assert ended.result["bytes_downloaded"] == ended.result["bytes_total"]
    assert time.monotonic() - started < 50


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


def test_killed_git_lfs_is_gone_on_with(git_hub: t.Any, tmp_path: Path) -> None:
    """Its process dies with the module's, and what it had fetched is not fetched again."""
    import hub as lab

    if shutil.which("git-lfs") is None:
        pytest.skip("needs git and git-lfs")
    weights = random.Random(5).randbytes(9_000_000)
    git_hub.repositories["acme/tiny"].commit({"w.bin": weights})
    git_hub.faults = [lab.Fault(hashlib.sha256(weights).hexdigest(), "slow", rate=6_000_000, times=-1)]
    incomplete = tmp_path / "models/acme/tiny/.staging/lfs/incomplete"
    for size in (1_500_000, 4_000_000, 6_500_000):
        running = start(tmp_path, source="git_lfs", endpoint=git_hub.url)
        while sum(path.stat().st_size for path in incomplete.glob("*")) < size:
            assert running.poll() is None
            time.sleep(0.01)
        running.kill()
        running.communicate()
        left = sum(path.stat().st_size for path in incomplete.glob("*"))
        time.sleep(0.5)
        assert sum(path.stat().st_size for path in incomplete.glob("*")) == left
    ended = end(start(tmp_path, source="git_lfs", endpoint=git_hub.url))
    assert not ended.failed, ended.result
    assert ended.result["bytes_downloaded"] < len(weights) - 6_500_000 + 1000
    assert Path(ended.result["current"], "w.bin").read_bytes() == weights
    # What was on its way when it was killed comes again.
    sent = [entry["bytes"] for entry in git_hub.log if entry["path"].endswith(hashlib.sha256(weights).hexdigest())]
    assert len(sent) == 4
    assert len(weights) <= sum(sent) < len(weights) + 1_000_000
