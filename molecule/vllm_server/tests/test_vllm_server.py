# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The converged host, as its users and its administrator find it; the tests run in this order."""

from __future__ import annotations

import json
import os
import typing as t
from pathlib import Path

import pytest
from tests.support import playbooks

SECRETS = "/etc/private_llm/vllm_server"
RELEASE = "/srv/models/lab/tiny/0123456789abcdef"
INVENTORY = str(Path(os.environ["MOLECULE_INVENTORY_FILE"]).parent)

# Runs on the host: prints the status and the answer. The key comes as a file, so that no process shows it.
ASK = """
import json, sys, urllib.error, urllib.request
port, path, key_file, body = json.loads(sys.argv[1])
headers = {"Content-Type": "application/json"}
if key_file:
    headers["Authorization"] = "Bearer " + open(key_file).readline().strip()
data = json.dumps(body).encode() if body else None
try:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, headers)
    with urllib.request.urlopen(request, timeout=60) as got:
        print(json.dumps([got.status, got.read().decode()]))
except urllib.error.HTTPError as error:
    print(json.dumps([error.code, ""]))
except OSError as error:
    print(json.dumps([0, str(error)]))
"""


def ask(host: t.Any, path: str, key_file: str = "", body: t.Any = None, port: int = 18005) -> tuple[int, str]:
    status, answer = json.loads(host.check_output("python3 -c %s %s", ASK, json.dumps([port, path, key_file, body])))
    return status, answer


def inspect(host: t.Any, name: str) -> dict[str, t.Any]:
    return json.loads(host.check_output("docker inspect %s", name))[0]


def test_the_server_answers_who_has_the_key(host: t.Any) -> None:
    body = {"model": "default", "messages": [{"role": "user", "content": "Hello"}]}
    status, answer = ask(host, "/v1/chat/completions", f"{SECRETS}/alpha/api_keys", body)
    assert status == 200
    assert json.loads(answer)["choices"][0]["message"]["content"] == "Hello from the lab."
    assert ask(host, "/v1/chat/completions", "", body)[0] == 401


def test_it_is_what_was_declared(host: t.Any) -> None:
    status, answer = ask(host, "/v1/models", f"{SECRETS}/alpha/api_keys")
    assert status == 200
    assert [(row["id"], row["max_model_len"], row["root"]) for row in json.loads(answer)["data"]] == [
        ("alpha", 512, RELEASE),
        ("default", 512, RELEASE),
    ]
    container = inspect(host, "alpha")
    assert container["State"]["Running"]
    assert container["RestartCount"] == 0
    assert container["Config"]["Entrypoint"] == ["vllm", "serve"]
    assert container["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"
    assert container["HostConfig"]["Init"] is True
    assert container["HostConfig"]["CapDrop"] == ["ALL"]
    assert container["HostConfig"]["SecurityOpt"] == ["no-new-privileges"]
    assert container["HostConfig"]["PidsLimit"] == 32768
    assert container["Config"]["Labels"]["private_llm.fleet.managed-by"] == "private_llm.fleet"
    assert {(mount["Source"], mount["Destination"], mount["RW"]) for mount in container["Mounts"]} == {
        (RELEASE, RELEASE, False),
        (f"{SECRETS}/alpha", "/run/private_llm", False),
        (cache_of(host), "/var/cache/vllm", True),
    }


def cache_of(host: t.Any) -> str:
    """Compiled kernels are kept for the server, the image and the kind of GPU."""
    image = inspect(host, "alpha")["Image"].partition(":")[2][:12]
    return f"/var/cache/private_llm/vllm/servers/alpha/v0.32.0-{image}/nvidia-l40s"


def test_servers_on_different_gpus_started_side_by_side(host: t.Any) -> None:
    alpha, beta = inspect(host, "alpha"), inspect(host, "beta")
    for container, index in ((alpha, 0), (beta, 1)):
        # By UUID, whichever way the inventory named it.
        uuid = f"nvidia.com/gpu=GPU-00000000-0000-0000-0000-{index:012d}"
        assert container["HostConfig"]["DeviceRequests"][0]["DeviceIDs"] == [uuid]
    assert alpha["Mounts"] != beta["Mounts"]
    begun = {container["Name"]: container["State"]["StartedAt"] for container in (alpha, beta)}
    for container in (alpha, beta):
        log = host.check_output("docker logs --timestamps %s 2>&1", container["Id"])
        ready = next(line.split()[0] for line in log.splitlines() if "Application startup complete" in line)
        # Each was under way before the other could answer.
        assert max(begun.values()) < ready
    assert ask(host, "/v1/models", f"{SECRETS}/beta/api_keys", port=18006)[0] == 200
    assert ask(host, "/v1/models", f"{SECRETS}/alpha/api_keys", port=18006)[0] == 401


@pytest.mark.parametrize("name", ["alpha", "beta", "asleep"])
def test_keys_are_for_root_alone(host: t.Any, name: str) -> None:
    for path, mode in (
        ("/etc/private_llm", 0o700),
        (SECRETS, 0o700),
        (f"{SECRETS}/{name}", 0o700),
        (f"{SECRETS}/{name}/api_keys", 0o600),
        (f"{SECRETS}/{name}/config.yaml", 0o600),
    ):
        found = host.file(path)
        assert (found.user, found.group, found.mode) == ("root", "root", mode), path


def test_keys_are_nowhere_else(host: t.Any) -> None:
    keys = [
        key
        for name in ("alpha", "beta", "asleep")
        for key in host.file(f"{SECRETS}/{name}/api_keys").content_string.split()
    ]
    assert len(keys) == 4
    shown = "".join(
        host.check_output(command)
        for command in (
            "docker inspect alpha beta asleep",
            "docker logs alpha 2>&1; docker logs beta 2>&1",
            "docker top alpha -eo pid,args",
            "cat /run/private_llm/progress/* /root/.ansible_async/* 2>/dev/null; ps -eo args; journalctl --no-pager",
        )
    )
    assert "vllm serve" in shown
    assert not [key for key in keys if key in shown]


def test_a_server_that_is_to_be_stopped_is_there_and_does_not_run(host: t.Any) -> None:
    container = inspect(host, "asleep")
    assert container["State"]["Status"] == "created"
    assert container["HostConfig"]["PortBindings"] == {"8000/tcp": [{"HostIp": "127.0.0.1", "HostPort": "18007"}]}


def test_nothing_else_is_there(host: t.Any) -> None:
    assert sorted(host.check_output("docker ps --all --format '{{.Names}}'").split()) == ["alpha", "asleep", "beta"]


def test_the_plan_shows_what_was_measured_and_predicts_what_a_change_brings(host: t.Any) -> None:
    measured = {
        name: json.loads(host.file(f"/var/lib/private_llm/measured/{name}.measured.json").content_string)
        for name in ("alpha", "beta")
    }
    shorter = {"max_model_len": 256, "enforce_eager": True, "kv_cache_memory_bytes": 134217728}
    outcome = playbooks.run(
        "molecule/vllm_server/plan.yml", [INVENTORY], "-e", json.dumps({"vllm_server_engine": shorter})
    )
    assert outcome.returncode == 0, outcome.text[-4000:]
    assert outcome.changes() == 0
    plan = outcome.result("gpu-01", "Tell what was seen")["vllm_server_plan"]
    assert plan["problems"] == []
    rows = {row["name"]: row for row in plan["servers"]}
    alpha, beta = rows["alpha"], rows["beta"]
    # It has a length of its own.
    assert (alpha["actions"], alpha["outage_seconds"]) == ([], 0)
    assert (alpha["kv_tokens"], alpha["max_concurrency"]) == (
        measured["alpha"]["kv_cache_tokens"],
        measured["alpha"]["max_concurrency"],
    )
    assert (beta["actions"], beta["measured"]) == (["recreate", "start"], None)
    assert beta["changes"] == [{"option": "max_model_len", "before": 1024, "after": 256}]
    # Reckoned from the model's configuration; the same memory holds the tokens that vLLM itself told.
    assert beta["kv_tokens"] == measured["beta"]["kv_cache_tokens"] > 0
    assert beta["max_concurrency"] == beta["kv_tokens"] / 256
    assert beta["outage_seconds"] == measured["beta"]["started_in_seconds"] > 0
    assert (rows["asleep"]["actions"], rows["leaving"]["actions"]) == (["recreate"], [])


def test_a_server_without_cdi_comes_back_with_the_engine_and_the_next_run_brings_back_the_others(host: t.Any) -> None:
    before = inspect(host, "alpha")
    # It has no GPU. Somebody starts it, though it is to be stopped.
    host.check_output("docker start asleep")
    begun = inspect(host, "asleep")["State"]["StartedAt"]
    host.check_output("systemctl restart docker")
    back = inspect(host, "asleep")["State"]
    assert back["Running"]
    assert back["StartedAt"] > begun
    # Docker 26.1 does not start containers with CDI devices by itself.
    left = inspect(host, "alpha")["State"]
    assert not left["Running"]
    assert 'could not select device driver "cdi"' in left["Error"]
    outcome = playbooks.run("molecule/vllm_server/converge.yml", [INVENTORY])
    assert outcome.returncode == 0, outcome.text[-4000:]
    after = inspect(host, "alpha")
    assert after["Id"] == before["Id"]
    assert after["State"]["StartedAt"] != before["State"]["StartedAt"]
    assert ask(host, "/health")[0] == 200
    assert inspect(host, "asleep")["State"]["Status"] == "exited"
