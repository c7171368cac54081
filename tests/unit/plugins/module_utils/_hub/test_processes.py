# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The whole module in processes of its own, with the real libraries of the hubs: two at once, killed, by a proxy."""

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

ROOT = Path(__file__).resolve().parents[5]
sys.path.insert(0, str(ROOT / "tests" / "support"))

WEIGHTS = bytes(range(256)) * 20_000
FILES = {"config.json": b"{}", "w.bin": WEIGHTS}

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


@pytest.fixture(params=["modelscope", "huggingface", "git_lfs"])
def anywhere(request: pytest.FixtureRequest, tmp_path: Path) -> t.Iterator[tuple[str, t.Any]]:
    """A hub of each kind, with a big file in its model."""
    import git_hub
    import hf_hub
    import hub as lab

    if request.param == "git_lfs":
        if shutil.which("git-lfs") is None:
            pytest.skip("needs git and git-lfs")
        with git_hub.GitHub(tmp_path / "served") as server:
            server.add_repository("acme/tiny").commit(FILES)
            yield request.param, server
        return
    pytest.importorskip(f"{request.param}_hub")
    with (lab.Hub if request.param == "modelscope" else hf_hub.HuggingFaceHub)() as server:
        server.add_model("acme/tiny").commit(FILES)
        yield request.param, server


def big(source: str) -> str:
    """What the requests for the big file have in their paths, of those of its content alone."""
    return hashlib.sha256(WEIGHTS).hexdigest() if source == "git_lfs" else "lfs-data"


def test_two_at_once(anywhere: tuple[str, t.Any], tmp_path: Path) -> None:
    import hub as lab

    source, server = anywhere
    server.faults = [lab.Fault(big(source), "slow", rate=10_000_000, times=-1)]
    ended = [end(running) for running in [start(tmp_path, source=source, endpoint=server.url) for _run in range(2)]]
    assert [run.failed for run in ended] == [False, False], [run.result.get("msg") for run in ended]
    assert sorted(run.result["bytes_downloaded"] for run in ended) == [0, len(WEIGHTS) + 2]
    assert len({run.result["path"] for run in ended}) == 1
    assert Path(ended[0].result["current"], "w.bin").read_bytes() == WEIGHTS
    assert len([entry for entry in server.log if big(source) in entry["path"]]) == 1


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


@pytest.mark.parametrize("direct", ["127.0.0.1", "127.0.0.0/8", "127.0.0.*"])
def test_hosts_that_are_reached_without_the_proxy(anywhere: tuple[str, t.Any], tmp_path: Path, direct: str) -> None:
    import forward_proxy

    source, server = anywhere
    with forward_proxy.ForwardProxy() as proxy:
        ended = end(start(tmp_path, source=source, endpoint=server.url, proxy=proxy.url, no_proxy=[direct]))
        assert not ended.failed, ended.result
        assert ended.result["bytes_downloaded"] == ended.result["bytes_total"]
        assert proxy.asked == []


def test_connection_that_stalls_is_given_up(anywhere: tuple[str, t.Any], tmp_path: Path) -> None:
    import hub as lab

    source, server = anywhere
    server.faults = [lab.Fault(big(source), "slow", delay=60, times=1)]
    started = time.monotonic()
    ended = end(start(tmp_path, source=source, endpoint=server.url, timeout=1))
    assert not ended.failed, ended.result
    assert ended.result["bytes_downloaded"] == ended.result["bytes_total"]
    assert time.monotonic() - started < 50


def test_killed_git_lfs_is_gone_on_with(tmp_path: Path) -> None:
    """Its process dies with the module's, and what it had fetched is not fetched again."""
    import git_hub
    import hub as lab

    if shutil.which("git-lfs") is None:
        pytest.skip("needs git and git-lfs")
    weights = random.Random(5).randbytes(9_000_000)
    oid = hashlib.sha256(weights).hexdigest()
    incomplete = tmp_path / "models/acme/tiny/.staging/lfs/incomplete"

    def arrived() -> int:
        return sum(path.stat().st_size for path in incomplete.glob("*"))

    with git_hub.GitHub(tmp_path / "served") as server:
        server.add_repository("acme/tiny").commit({"w.bin": weights})
        server.faults = [lab.Fault(oid, "slow", rate=6_000_000, times=-1)]
        for size in (1_500_000, 4_000_000, 6_500_000):
            running = start(tmp_path, source="git_lfs", endpoint=server.url)
            while arrived() < size:
                assert running.poll() is None
                time.sleep(0.01)
            running.kill()
            running.communicate()
            left = arrived()
            time.sleep(0.3)
            assert arrived() == left
        ended = end(start(tmp_path, source="git_lfs", endpoint=server.url))
        sent = [entry["bytes"] for entry in server.log if entry["path"].endswith(oid)]
    assert not ended.failed, ended.result
    assert ended.result["bytes_downloaded"] == len(weights) - left
    assert Path(ended.result["current"], "w.bin").read_bytes() == weights
    # What was on its way when it was killed comes again.
    assert len(sent) == 4
    assert len(weights) <= sum(sent) < len(weights) + 1_000_000
