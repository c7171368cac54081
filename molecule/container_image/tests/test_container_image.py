# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Three engines have two images of which each layer left its registry once; the tests run in this order."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import time
from pathlib import Path

import pytest
from tests.support import canaries, playbooks

INVENTORY = str(Path(os.environ["MOLECULE_INVENTORY_FILE"]).parent)
HOSTS = ("first", "second", "third")
PREFIX = "private-llm-lab-container_image"
CONVERGE = "molecule/container_image/converge.yml"
PASSWORD = canaries.SECRETS["password of a registry"].value
# How the header of a request has it, and the engine's file of logins.
SECRETS = (PASSWORD, base64.b64encode(f"ann:{PASSWORD}".encode()).decode())
SENT = re.compile(r'"GET /v2/acme/(open|closed)/blobs/sha256:(\w+) HTTP/1.1" 200 (\d+)')


def run(*argv: str) -> str:
    """Run a command here and return what it printed."""
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def on(host: str, *argv: str) -> str:
    return run("docker", "exec", f"{PREFIX}-{host}", *argv)


def reference(name: str) -> str:
    """Return what the hosts call an image."""
    settings = json.loads(
        run("docker", "inspect", "--format", "{{json .NetworkSettings.Networks}}", f"{PREFIX}-{name}")
    )
    return f"{settings['private-llm-lab']['IPAddress']}:5000/acme/{name}:v0.32.0"


def sent(name: str, since: str = "0") -> list[int]:
    """Return the sizes of the layers that a registry sent, one for each time."""
    log = run("docker", "logs", "--since", since, f"{PREFIX}-{name}")
    return sorted(int(size) for image, _sha, size in SENT.findall(log) if image == name and int(size) > 1_000_000)


def forget(name: str) -> None:
    """Take an image from every host."""
    for host in HOSTS:
        on(host, "docker", "rmi", reference(name))


@pytest.mark.parametrize("name", ["open", "closed"])
def test_all_have_the_same_image_and_its_registry_sent_each_layer_once(name: str) -> None:
    made = run("docker", "image", "inspect", "--format", "{{.Id}}", f"private-llm-lab/spread-{name}")
    found = {on(host, "docker", "image", "inspect", "--format", "{{.Id}}", reference(name)) for host in HOSTS}
    assert found == {made}
    assert len(sent(name)) == 3
    for host in HOSTS:
        assert (
            on(host, "sh", "-c", "find /var/cache/private_llm/images /run/private_llm -type f 2>/dev/null || true")
            == ""
        )


def test_the_plan_says_who_gets_it_from_whom_and_changes_nothing(tmp_path: Path) -> None:
    forget("open")
    odd = tmp_path / "servers.json"
    odd.write_text(
        json.dumps(
            {
                "vllm_server_image": reference("open"),
                "vllm_server_instances": [{"name": "tiny", "model": "/srv/models/tiny", "gpus": [], "port": 18005}],
            }
        )
    )
    outcome = playbooks.run("playbooks/plan.yml", [INVENTORY], "-e", f"@{odd}")
    told = f"{reference('open')}: first fetches it, second, third from there in a chain; 12.0 MB cross the line"
    assert told in outcome.text, outcome.text[-4000:]
    assert outcome.changes() == 0
    assert len(sent("open")) == 3


def test_a_password_of_the_registry_is_nowhere_but_in_the_file_of_logins(tmp_path: Path) -> None:
    forget("closed")
    since = str(time.time())
    with canaries.Watch(tmp_path) as watch:
        outcome = playbooks.run(CONVERGE, [INVENTORY], "-vvv", "--diff", ANSIBLE_LOG_PATH=str(tmp_path / "log"))
    assert outcome.returncode == 0, outcome.text[-4000:]
    assert len(sent("closed", since)) == 3
    (from_registry, *from_hosts) = (
        outcome.result(host, "Get the image from the host before this one, or from the registry") for host in HOSTS
    )
    assert from_registry["bytes_from_peers"] == 0
    assert from_registry["bytes_downloaded"] > 12_000_000
    assert [one["bytes_from_peers"] > 12_000_000 for one in from_hosts] == [True, True]
    shown = outcome.text + (tmp_path / "log").read_text()
    argv = b"\n".join(watch.lines).decode(errors="replace")
    assert "image_release" in shown
    assert [secret for secret in SECRETS if secret in shown or secret in argv] == []
    for host in HOSTS:
        searched = "/etc /opt /root /run /tmp /var/cache /var/lib/private_llm /var/log /var/tmp"
        holding = on(host, "sh", "-c", f"grep -rlE '{'|'.join(SECRETS)}' {searched} 2>/dev/null || true")
        assert holding.split() == ["/root/.docker/config.json"]


def test_a_second_run_changes_nothing_and_asks_no_registry() -> None:
    since = str(time.time())
    outcome = playbooks.run(CONVERGE, [INVENTORY])
    assert outcome.returncode == 0, outcome.text[-4000:]
    assert outcome.changes() == 0
    assert "GET" not in run("docker", "logs", "--since", since, f"{PREFIX}-open")
    assert "GET" not in run("docker", "logs", "--since", since, f"{PREFIX}-closed")


def test_a_host_that_did_not_log_in_gets_nothing_from_those_that_did() -> None:
    forget("closed")
    on("third", "mv", "/root/.docker/config.json", "/root/.docker/away")
    try:
        outcome = playbooks.run(CONVERGE, [INVENTORY])
    finally:
        on("third", "mv", "/root/.docker/away", "/root/.docker/config.json")
    assert {host for host, _task in outcome.failures()} == {"third"}
    assert "docker login" in str(outcome.result("third", "Say why this host takes no part")["msg"])
    for host in ("first", "second"):
        on(host, "docker", "image", "inspect", reference("closed"))
