# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lab's fleet as the tests see it: its hosts, the containers on them, and ways to declare something else."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
import typing as t
import urllib.error
import urllib.request
from pathlib import Path

import yaml
from tests.support import playbooks

GPU_A, GPU_B, WEB = "gpu-a", "gpu-b", "web"
CONTAINER = "private-llm-lab-site-"  # what stands before their names on this machine
HOSTS = (GPU_A, GPU_B, WEB)
INVENTORY = str(Path(os.environ["MOLECULE_INVENTORY_FILE"]).parent)
ARTIFACTS = playbooks.ROOT / ".cache" / "artifacts" / "site"

SITE = "playbooks/site.yml"
PLAN = "playbooks/plan.yml"
SERVERS = "playbooks/servers.yml"
WEBUI = "playbooks/webui.yml"
REPORT = "playbooks/report.yml"
REMOVE = "playbooks/remove.yml"


def on(host: str, *argv: str) -> str:
    """Run a command on a lab host and return what it printed."""
    done = subprocess.run(
        ["docker", "exec", CONTAINER + host, *argv], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, f"{argv} on {host}: {done.stdout}{done.stderr}"
    return done.stdout


def variables(host: str) -> dict[str, t.Any]:
    """The variables of a lab host."""
    done = subprocess.run(
        [str(playbooks.ANSIBLE_PLAYBOOK.with_name("ansible-inventory")), "-i", INVENTORY, "--host", host],
        cwd=playbooks.ROOT,
        env=playbooks.environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    found: dict[str, t.Any] = json.loads(done.stdout)
    return found


def containers(*hosts: str) -> dict[tuple[str, str], tuple[str, str]]:
    """(host, container) of the fleet, with the container's identity and the time of its last start."""
    found = {}
    for host in hosts or HOSTS:
        for name in on(host, "docker", "ps", "--all", "--format", "{{.Names}}").split():
            shown = on(host, "docker", "inspect", "--format", "{{.Id}} {{.State.StartedAt}}", name).split()
            found[host, name] = (shown[0], shown[1])
    return found


def identity(host: str, name: str) -> str:
    """The identity of a container, or nothing when there is none."""
    return on(host, "docker", "ps", "--all", "--no-trunc", "--filter", f"name=^{name}$", "--format", "{{.ID}}").strip()


def declare(folder: Path, hosts: t.Mapping[str, dict[str, t.Any]], groups: t.Mapping[str, str] | None = None) -> str:
    """A further inventory that overrides variables of hosts, and adds hosts to groups; as files, they win over ours."""
    inventory = {group: {"hosts": {host: None}} for host, group in (groups or {}).items()}
    (folder / "hosts.yml").write_text(yaml.safe_dump(inventory or {"all": {}}), encoding="utf-8")
    (folder / "host_vars").mkdir()
    for host, values in hosts.items():
        (folder / "host_vars" / f"{host}.yml").write_text(yaml.safe_dump(values), encoding="utf-8")
    return str(folder)


def instances(host: str, **changes: dict[str, t.Any]) -> list[dict[str, t.Any]]:
    """The servers declared for a host, some of them with other values; engine options are merged."""
    result = []
    for instance in variables(host)["vllm_server_instances"]:
        change = changes.get(instance["name"], {})
        engine = {**instance.get("engine", {}), **change.get("engine", {})}
        result.append({**instance, **change, "engine": engine})
    return result


def run(playbook: str, *arguments: str, declared: str | None = None, **extra: str) -> playbooks.Outcome:
    """Run a playbook of the collection against the fleet."""
    return playbooks.run(playbook, [INVENTORY, *([declared] if declared else [])], *arguments, **extra)


def start(playbook: str, *arguments: str, declared: str | None = None) -> subprocess.Popen[str]:
    """Start a playbook in a process group of its own, to be killed by the test."""
    return subprocess.Popen(
        playbooks.command(playbook, [INVENTORY, *([declared] if declared else [])], *arguments),
        cwd=playbooks.ROOT,
        env=playbooks.environment(ANSIBLE_STDOUT_CALLBACK="ansible.builtin.default"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def until(what: str, condition: t.Callable[[], t.Any], seconds: float = 120) -> None:
    """Wait until the condition holds; fail the test, saying what did not come, after that many seconds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what} did not happen within {seconds:.0f} seconds"
        time.sleep(0.5)


def example(document: str, play: str, changes: t.Mapping[str, str]) -> str:
    """A play that a guide shows, with the lab's names and values in place of the guide's."""
    text = (playbooks.ROOT / document).read_text(encoding="utf-8")
    (found,) = [block for block in re.findall(r"(?ms)^```yaml\n(.*?)^```$", text) if f"- name: {play}\n" in block]
    for theirs, ours in changes.items():
        assert theirs in found, f"{document} shows no {theirs} in: {play}"
        found = found.replace(theirs, ours)
    return str(found)


def address(host: str) -> str:
    """The lab host's address on the lab's network."""
    return str(variables(host)["lab_ip"])


def served(host: str, port: int, key: str | None = None) -> tuple[int, list[str]]:
    """The status and the model names that a server answers with on /v1/models."""
    request = urllib.request.Request(f"http://{address(host)}:{port}/v1/models")
    if key is not None:
        request.add_header("Authorization", f"Bearer {key}")
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, [model["id"] for model in json.load(answer)["data"]]
    except urllib.error.HTTPError as error:
        return error.code, []


def key_of(host: str, server: str) -> str:
    """The API key that was made for a server."""
    return on(host, "cat", f"/etc/private_llm/vllm_server/{server}/api_keys").split()[0]
