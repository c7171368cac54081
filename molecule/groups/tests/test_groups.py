# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One server on two hosts: what its users get, and what becomes of it when a part of it changes, fails or dies.

The tests run in this order, each on what the one before left.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import time
import typing as t
import urllib.request
from pathlib import Path

import pytest
import yaml
from tests.support import playbooks

INVENTORY = str(Path(os.environ["MOLECULE_INVENTORY_FILE"]).parent)
CONTAINER = "private-llm-lab-groups-"
HEAD, WORKER = "gpu-01", "gpu-02"
SERVERS = "playbooks/servers.yml"
MEETING = "29501"  # the port of the head at which the members meet
SAYS = "Hello from the lab."
WATCHED = "/var/lib/private_llm/server_watch/state.json"
PATIENCE = 400.0  # seconds; a busy machine may need most of it


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


def memory(host: str) -> dict[str, t.Any]:
    """Return what the host's watch remembers of its member."""
    return t.cast(dict[str, t.Any], json.loads(on(host, "cat", WATCHED))["servers"]["pair"])


def until(what: str, condition: t.Callable[[], bool]) -> None:
    """Wait for a condition; a host that boots answers nothing for a while."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            if condition():
                return
        except (AssertionError, ValueError, subprocess.TimeoutExpired):
            if time.monotonic() > end:
                raise
        assert time.monotonic() < end, f"{what}: {memory(HEAD)} {memory(WORKER)}"
        time.sleep(1)


def starts() -> dict[str, str]:
    """Return when each member was started."""
    return {host: str(container(host)["State"]["StartedAt"]) for host in (HEAD, WORKER)}


def until_it_serves_again(before: dict[str, str]) -> None:
    """Wait until the watches started both members anew, and the head generates."""
    until("both members start anew", lambda: all(starts()[host] != before[host] for host in before))
    until("it serves again", lambda: (memory(HEAD)["state"], memory(WORKER)["state"]) == ("ready", "joined"))
    assert answer() == SAYS


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
    # Nobody but root reads the keys, and only the head has any.
    assert on(WORKER, "find", "/etc/private_llm/vllm_server", "-name", "api_keys") == (
        "/etc/private_llm/vllm_server/beside/api_keys\n"
    )
    assert not container(WORKER, "beside")["State"]["Running"]
    outcome = playbooks.run(SERVERS, [INVENTORY], "--limit", HEAD)
    assert outcome.returncode != 0
    assert "are changed together or not at all" in json.dumps(list(outcome.failures().values()))
    assert outcome.changed() == set()


def test_a_member_that_was_killed_starts_the_other_one_too() -> None:
    until("both are watched", lambda: (memory(HEAD)["state"], memory(WORKER)["state"]) == ("ready", "joined"))
    before = starts()
    on(WORKER, "docker", "kill", "pair")
    until_it_serves_again(before)
    assert memory(HEAD)["last_fall"]["cause"] == "parted"


def test_a_host_that_was_rebooted_brings_the_other_one_along() -> None:
    before = starts()
    subprocess.run(
        ["docker", "restart", "--time", "30", CONTAINER + HEAD], check=True, capture_output=True, timeout=300
    )
    until_it_serves_again(before)
    assert memory(WORKER)["last_fall"]["cause"] == "parted"


def walled(*sources: str) -> list[str]:
    """Return arguments of a run that closes the ports of the hosts, but to this machine and these sources."""
    wanted = {"vllm_server_firewall": True, "vllm_server_firewall_sources": ["{{ lab_gateway }}", *sources]}
    return ["-e", json.dumps(wanted)]


def table(host: str) -> str:
    return on(host, "nft", "list", "table", "inet", "private_llm")


def test_rules_are_written_around_a_group_that_runs() -> None:
    before = starts()
    for source in ("192.0.2.7", "192.0.2.8"):
        outcome = playbooks.run(SERVERS, [INVENTORY], *walled(source))
        assert outcome.returncode == 0, outcome.text[-3000:]
        assert source in table(HEAD)
    for host in (HEAD, WORKER):
        assert "192.0.2.7" not in table(host)
        assert MEETING in table(host)
    # This machine is none of the nodes.
    with pytest.raises(OSError, match="timed out"):
        socket.create_connection((address(), int(MEETING)), timeout=3)
    seen = memory(HEAD)["last_probe"]
    until("one more pass", lambda: memory(HEAD)["last_probe"] > seen)
    assert (memory(HEAD)["state"], memory(WORKER)["state"]) == ("ready", "joined")
    assert starts() == before
    assert answer() == SAYS


def test_replicas_over_both_hosts_are_healed_as_a_whole(tmp_path: Path) -> None:
    outcome = playbooks.run(SERVERS, [INVENTORY, declare(tmp_path, {"data_parallel_size": 2})], *walled())
    assert outcome.returncode == 0, outcome.text[-3000:]
    assert "--data-parallel-size" in container(HEAD)["Config"]["Cmd"]
    until("both are watched", lambda: (memory(HEAD)["state"], memory(WORKER)["state"]) == ("ready", "joined"))
    before = starts()
    on(WORKER, "docker", "kill", "pair")
    until_it_serves_again(before)
    assert memory(HEAD)["last_fall"]["cause"] == "parted"


def test_a_change_that_was_cut_off_is_taken_up(tmp_path: Path) -> None:
    before = ids()
    inventory = [INVENTORY, declare(tmp_path, {"max_model_len": 480})]
    with subprocess.Popen(
        playbooks.command(SERVERS, inventory),
        cwd=playbooks.ROOT,
        env=playbooks.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as run:
        until("new members run beside those of before", lambda: is_unproven() or run.poll() is not None)
        assert run.poll() is None, "the run ended before it was killed"
        # It stands still, and claims the group; another run leaves that as it is, and says why.
        run.send_signal(signal.SIGSTOP)
        between = ids()
        refused = playbooks.run(SERVERS, [INVENTORY])
        assert refused.returncode != 0
        assert re.search(r"another run \(.+\) is at work on it since", json.dumps(list(refused.failures().values())))
        assert ids() == between
        run.send_signal(signal.SIGKILL)
    outcome = playbooks.run(SERVERS, inventory)
    assert outcome.returncode == 0, outcome.text[-3000:]
    after = ids()
    assert [one == other for one, other in zip(before, after, strict=True)] == [False, False, True]
    for host in (HEAD, WORKER):
        arguments = container(host)["Config"]["Cmd"]
        assert arguments[arguments.index("--max-model-len") + 1] == "480"
    assert names(HEAD) == ["pair"]
    assert names(WORKER) == ["beside", "pair"]
    assert answer() == SAYS


def is_unproven() -> bool:
    return all("pair.previous" in names(host) and container(host)["State"]["Running"] for host in (HEAD, WORKER))


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
    outcome = playbooks.run(SERVERS, [INVENTORY, declare(tmp_path, {}, state="absent")], *walled())
    assert outcome.returncode == 0, outcome.text[-3000:]
    assert MEETING not in table(HEAD) + table(WORKER)
    assert names(HEAD) == []
    assert names(WORKER) == ["beside"]
    assert "api_keys" not in on(HEAD, "find", "/etc/private_llm")
