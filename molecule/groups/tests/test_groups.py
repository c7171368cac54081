# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One server on two hosts: what its users get, and what becomes of it when a part of it changes, fails or dies.

The tests run in this order, each on what the one before left.
"""

from __future__ import annotations

import json
import os
import subprocess
import typing as t
import urllib.request
from pathlib import Path

import yaml
from tests.support import playbooks

INVENTORY = str(Path(os.environ["MOLECULE_INVENTORY_FILE"]).parent)
CONTAINER = "private-llm-lab-groups-"
HEAD, WORKER = "gpu-01", "gpu-02"
SERVERS, REMOVE, PLAN = "playbooks/servers.yml", "playbooks/remove.yml", "playbooks/plan.yml"
SAYS = "Hello from the lab."


def on(host: str, *argv: str) -> str:
    """Run a command on a lab host and return what it printed."""
    done = subprocess.run(
        ["docker", "exec", CONTAINER + host, *argv], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, f"{argv} on {host}: {done.stdout}{done.stderr}"
    return done.stdout


def container(host: str, name: str = "pair") -> dict[str, t.Any]:
    """Return what the host's engine says of a container."""
    found: dict[str, t.Any] = json.loads(on(host, "docker", "inspect", name))[0]
    return found


def ids() -> list[str]:
    """Return the identities of both members, and of the server beside them."""
    return [container(HEAD)["Id"], container(WORKER)["Id"], container(WORKER, "beside")["Id"]]


def names(host: str) -> list[str]:
    return sorted(on(host, "docker", "ps", "--all", "--format", "{{.Names}}").split())


def address() -> str:
    """Return the address of the head."""
    done = subprocess.run(
        [str(playbooks.ANSIBLE_PLAYBOOK.with_name("ansible-inventory")), "-i", INVENTORY, "--host", HEAD],
        cwd=playbooks.ROOT,
        env=playbooks.environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return str(json.loads(done.stdout)["lab_ip"])


def answer() -> str:
    """Ask the server one question, at the head, and return what it says."""
    key = on(HEAD, "cat", "/etc/private_llm/vllm_server/pair/api_keys").split()[0]
    body = json.dumps({"model": "pair", "messages": [{"role": "user", "content": "Hello"}]}).encode()
    request = urllib.request.Request(
        f"http://{address()}:18005/v1/chat/completions",
        body,
        {"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as reply:
        return str(json.loads(reply.read())["choices"][0]["message"]["content"])


def declare(folder: Path, engine: dict[str, t.Any], **more: t.Any) -> str:
    """Return a further inventory, in which the server on both hosts has these options."""
    server = {"name": "pair", "model": "lab/tiny", "nodes": [HEAD, WORKER], "port": 18005, "engine": engine, **more}
    (folder / "host_vars").mkdir()
    (folder / "hosts.yml").write_text(yaml.safe_dump({"all": {}}))
    (folder / "host_vars" / f"{HEAD}.yml").write_text(yaml.safe_dump({"vllm_server_instances": [server]}))
    return str(folder)


def test_two_hosts_answer_as_one() -> None:
    assert answer() == SAYS
    for host, rank in ((HEAD, 0), (WORKER, 1)):
        found = container(host)
        assert found["HostConfig"]["RestartPolicy"]["Name"] == "no"
        assert found["Config"]["Labels"]["private_llm.fleet.member"] == f"{rank}:{HEAD},{WORKER}"
        assert "--tensor-parallel-size" in found["Config"]["Cmd"]
        # Nobody but root reads the keys, and only the head has any.
    assert on(WORKER, "find", "/etc/private_llm/vllm_server", "-name", "api_keys") == (
        "/etc/private_llm/vllm_server/beside/api_keys\n"
    )
    assert not container(WORKER, "beside")["State"]["Running"]


def test_a_part_of_it_is_no_run() -> None:
    before = ids()
    for playbook, limit in ((SERVERS, HEAD), (PLAN, f"{WORKER},localhost"), (REMOVE, WORKER)):
        outcome = playbooks.run(playbook, [INVENTORY], "--limit", limit)
        assert outcome.returncode != 0
        assert "are changed together or not at all" in json.dumps(list(outcome.failures().values()))
        assert outcome.changed() == set()
    assert ids() == before


def test_a_member_that_was_killed_starts_the_whole_server_anew() -> None:
    before = ids()
    on(WORKER, "docker", "kill", "pair")
    outcome = playbooks.run(SERVERS, [INVENTORY])
    assert outcome.returncode == 0, outcome.text[-3000:]
    assert f"{WORKER}: its member is exited" in outcome.text
    after = ids()
    assert [one == other for one, other in zip(before, after, strict=True)] == [False, False, True]
    assert answer() == SAYS


def test_a_change_finds_a_dead_head_and_is_of_both(tmp_path: Path) -> None:
    on(HEAD, "docker", "kill", "pair")
    outcome = playbooks.run(SERVERS, [INVENTORY, declare(tmp_path, {"max_model_len": 480})])
    assert outcome.returncode == 0, outcome.text[-3000:]
    for host in (HEAD, WORKER):
        arguments = container(host)["Config"]["Cmd"]
        assert arguments[arguments.index("--max-model-len") + 1] == "480"
    assert names(HEAD) == ["pair"]
    assert names(WORKER) == ["beside", "pair"]
    assert answer() == SAYS


def test_a_change_that_fails_is_put_back_as_a_whole(tmp_path: Path) -> None:
    before = ids()
    key = on(HEAD, "cat", "/etc/private_llm/vllm_server/pair/api_keys")
    outcome = playbooks.run(SERVERS, [INVENTORY, declare(tmp_path, {"max_model_len": 4096})])
    assert outcome.returncode != 0
    (said,) = {text for (host, _task), text in outcome.failures().items() if host == HEAD}
    assert "pair did not become ready, because the member on" in said
    assert "engine.max_model_len is 4096, and the model's config.json allows 2048" in said
    assert "All members were put back, and the group from before serves again." in said
    assert ids() == before
    assert names(HEAD) == ["pair"]
    assert names(WORKER) == ["beside", "pair"]
    assert on(HEAD, "cat", "/etc/private_llm/vllm_server/pair/api_keys") == key
    assert answer() == SAYS


def test_removal_is_of_both(tmp_path: Path) -> None:
    outcome = playbooks.run(SERVERS, [INVENTORY, declare(tmp_path, {}, state="absent")])
    assert outcome.returncode == 0, outcome.text[-3000:]
    assert names(HEAD) == []
    assert names(WORKER) == ["beside"]
    assert "api_keys" not in on(HEAD, "find", "/etc/private_llm")
