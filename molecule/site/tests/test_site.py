# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The converged fleet, used and disturbed as in real life; the tests run in this order."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import chat
import fleet
import yaml
from fleet import GPU_A, GPU_B, WEB
from playwright.sync_api import sync_playwright
from tests.support import playbooks
from tests.support.playbooks import Outcome

ALPHA_SAYS = "Hello from the alpha model."
BETA_SAYS = "Hello from the beta model."
PORT = 18005
# The connection that Open WebUI begins with, and the one that the inventory declares besides; both are switched off.
ELSEWHERE = {"api.openai.com", "192.0.2.1"}


def test_a_server_answers_with_its_key_and_not_without_it() -> None:
    key = fleet.key_of(GPU_A, "alpha")
    assert fleet.served(GPU_A, PORT, key) == (200, ["alpha"])
    assert fleet.served(GPU_A, PORT) == (401, [])
    assert fleet.served(GPU_A, PORT, "wrong") == (401, [])
    # beta is open, and the inventory says so by name.
    assert fleet.served(GPU_B, PORT) == (200, ["beta"])


def test_the_key_is_nowhere_to_be_seen() -> None:
    key = fleet.key_of(GPU_A, "alpha")
    for host in (GPU_A, WEB):
        for name in fleet.on(host, "docker", "ps", "--format", "{{.Names}}").split():
            assert key not in fleet.on(host, "docker", "inspect", name)
            assert key not in fleet.on(host, "docker", "logs", name)
        assert key not in fleet.on(host, "ps", "-eo", "args")
    assert fleet.on(GPU_A, "stat", "-c", "%a %U", "/etc/private_llm/vllm_server/alpha/api_keys").split() == [
        "600",
        "root",
    ]


def test_gpus_reach_the_containers() -> None:
    # Index 1 in the inventory, its UUID in the container; by NVIDIA's hook on one host, by CDI on the other.
    environments = {
        name: fleet.on(host, "docker", "exec", name, "cat", "/proc/1/environ").split("\0")
        for host, name in ((GPU_A, "alpha"), (GPU_B, "beta"))
    }
    assert "NVIDIA_VISIBLE_DEVICES=GPU-00000000-0000-0000-0000-000000000001" in environments["alpha"]
    assert "PRIVATE_LLM_LAB_GPU=GPU-00000000-0000-0000-0000-000000000000" in environments["beta"]


def test_a_second_run_changes_nothing_and_restarts_nothing() -> None:
    before = fleet.containers()
    outcome = fleet.run(fleet.SITE)
    assert outcome.returncode == 0, outcome.text[-4000:]
    assert outcome.changes() == 0, outcome.changed()
    assert fleet.containers() == before
    report = "\n".join(outcome.result("localhost", "Report the fleet")["msg"])
    assert f'"{ALPHA_SAYS}"' in report
    assert f'"{BETA_SAYS}"' in report
    planned = outcome.result("localhost", "Report what will change, and what it will hold")["msg"]
    assert [line.split()[:3] for line in planned[1:3]] == [[GPU_A, "alpha", "nothing"], [GPU_B, "beta", "nothing"]]


def test_a_chat_in_the_browser() -> None:
    fleet.ARTIFACTS.mkdir(parents=True, exist_ok=True)
    password = fleet.on(WEB, "cat", "/etc/private_llm/open_webui/admin_password").strip()
    done = subprocess.run(
        [
            sys.executable,
            str(playbooks.ROOT / "tests" / "browser" / "chat.py"),
            "--url",
            f"http://{fleet.address(WEB)}:3000",
            "--email",
            fleet.variables(WEB)["open_webui_admin_email"],
            "--model",
            "alpha",
            "--expect",
            ALPHA_SAYS,
            "--screenshot",
            str(fleet.ARTIFACTS / "chat.png"),
        ],
        env={**os.environ, "OPEN_WEBUI_PASSWORD": password},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (fleet.ARTIFACTS / "chat.png").stat().st_size > 10_000


def test_the_examples_of_the_guides_run(tmp_path: Path) -> None:
    """On a fleet that is as they declare it: they find it so, and change nothing."""
    server = {
        "hosts: gpu_hosts": f"hosts: {GPU_A}",
        "qwen3-8b": "alpha",
        "Qwen/Qwen3-8B": "private-llm-lab/tiny-alpha",
        "gpus: [0]": "gpus: [1]",
    }
    offered = {"http://192.0.2.11": f"http://{fleet.address(GPU_A)}", "qwen3-8b": "alpha"}
    plays = [
        fleet.example("docs/roles.md", "One server on one host", server),
        fleet.example("docs/roles.md", "Where the servers of a host are", {}),
        fleet.example("docs/roles.md", "Offer a server to people", offered),
        fleet.example("docs/fleet.md", "Say how busy every server is", {}),
    ]
    secrets = {
        "vault_open_webui_admin_password": fleet.on(WEB, "cat", "/etc/private_llm/open_webui/admin_password").strip(),
        "vault_qwen3_key": fleet.key_of(GPU_A, "alpha"),
    }
    (tmp_path / "secrets.yml").write_text(yaml.safe_dump(secrets), encoding="utf-8")
    (tmp_path / "examples.yml").write_text("\n".join(plays), encoding="utf-8")
    before = fleet.containers()
    outcome = fleet.run(str(tmp_path / "examples.yml"), "-e", f"@{tmp_path / 'secrets.yml'}")
    assert outcome.returncode == 0, outcome.text[-4000:]
    assert outcome.changes() == 0, outcome.changed()
    assert fleet.containers() == before
    assert outcome.result(GPU_B, "Say it")["msg"] == "beta"
    assert "alpha: ready, 0 running, 0 waiting" in str(outcome.result(GPU_A, "Tell"))


def test_the_report_is_a_page_for_light_and_dark() -> None:
    fleet.ARTIFACTS.mkdir(parents=True, exist_ok=True)
    written = fleet.ARTIFACTS / "fleet.html"
    outcome = fleet.run(fleet.REPORT, "-e", f"fleet_page_file={written}")
    assert outcome.returncode == 0, outcome.text[-4000:]
    assert outcome.changes() == 0
    backgrounds = set()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chat.CHROMIUM, args=list(chat.FLAGS))
        for scheme in ("light", "dark"):
            page = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme=scheme)
            page.goto(written.as_uri())
            page.screenshot(path=fleet.ARTIFACTS / f"fleet-{scheme}.png", full_page=True)
            shown = page.locator("body").inner_text()
            for expected in (GPU_A, GPU_B, "alpha", "beta", "NVIDIA L40S", "Open WebUI", "ready"):
                assert expected in shown, shown
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "wider than its window"
            backgrounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        browser.close()
    assert len(backgrounds) == 2


def _row(lines: list[str]) -> list[str]:
    """The cells of the server alpha in a table of the fleet."""
    (row,) = [line.split() for line in lines if line.split()[:2] == [GPU_A, "alpha"]]
    return row


def test_check_mode_predicts_exactly_what_one_option_changes(tmp_path: Path) -> None:
    changed = fleet.instances(GPU_A, alpha={"engine": {"max_model_len": 512}})
    declared = fleet.declare(tmp_path, {GPU_A: {"vllm_server_instances": changed}})
    before = fleet.containers()

    checked = fleet.run(fleet.SITE, "--check", declared=declared)
    assert checked.returncode == 0, checked.text[-4000:]
    assert fleet.containers() == before

    real = fleet.run(fleet.SITE, declared=declared)
    assert real.returncode == 0, real.text[-4000:]
    assert checked.changed() == real.changed()
    assert {host for host, _task in real.changed()} == {GPU_A}
    after = fleet.containers()
    assert {key for key in before if before[key] != after[key]} == {(GPU_A, "alpha")}
    assert before[GPU_A, "alpha"][0] != after[GPU_A, "alpha"][0]

    # The plan said what caused it, and how many tokens vLLM would then report.
    planned = _row(checked.result("localhost", "Report what will change, and what it will hold")["msg"])
    reported = _row(real.result("localhost", "Report the fleet")["msg"])
    assert "max_model_len" in planned
    tokens = [cell for cell in reported if re.fullmatch(r"[\d,]+,\d{3}", cell)]
    assert len(tokens) == 1, reported
    assert tokens[0] in planned


def test_a_stopped_server_comes_back() -> None:
    fleet.on(GPU_B, "docker", "stop", "--time", "2", "beta")
    identity = fleet.identity(GPU_B, "beta")
    outcome = fleet.run(fleet.SERVERS, "--limit", GPU_B)
    assert outcome.returncode == 0, outcome.text[-4000:]
    assert outcome.changes() == 1
    assert fleet.identity(GPU_B, "beta") == identity
    assert fleet.served(GPU_B, PORT) == (200, ["beta"])


def test_a_run_whose_controller_is_killed_is_finished_by_the_next(tmp_path: Path) -> None:
    # The previous change of alpha is undone here, so that the fleet ends as its inventory declares it.
    before = fleet.identity(GPU_A, "alpha")
    process = fleet.start(fleet.SERVERS, "--limit", GPU_A)
    fleet.until("a new container", lambda: fleet.identity(GPU_A, "alpha") not in ("", before))
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)

    outcome = fleet.run(fleet.SERVERS, "--limit", GPU_A)
    assert outcome.returncode == 0, outcome.text[-4000:]
    _only_the_declared_containers()
    assert fleet.served(GPU_A, PORT, fleet.key_of(GPU_A, "alpha")) == (200, ["alpha"])


def test_a_run_whose_connection_is_cut_ends_well(tmp_path: Path) -> None:
    changed = fleet.instances(GPU_B, beta={"engine": {"max_model_len": 768}})
    declared = fleet.declare(tmp_path, {GPU_B: {"vllm_server_instances": changed}})
    before = fleet.identity(GPU_B, "beta")
    process = fleet.start(fleet.SERVERS, "--limit", GPU_B, declared=declared)
    fleet.until("a new container", lambda: fleet.identity(GPU_B, "beta") not in ("", before))
    _cut_connections(GPU_B)
    output, _nothing = process.communicate(timeout=180)
    if process.returncode != 0:
        # The cut came where Ansible itself was talking to the host; the next run takes it from there.
        assert GPU_B in output
    outcome = fleet.run(fleet.SERVERS, "--limit", GPU_B, declared=declared)
    assert outcome.returncode == 0, outcome.text[-4000:]
    _only_the_declared_containers()
    assert fleet.served(GPU_B, PORT) == (200, ["beta"])


def test_a_run_whose_engine_is_killed_is_finished_by_the_next() -> None:
    before = fleet.identity(GPU_B, "beta")
    process = fleet.start(fleet.SERVERS, "--limit", GPU_B)
    fleet.until("a new container", lambda: fleet.identity(GPU_B, "beta") not in ("", before))
    fleet.on(GPU_B, "systemctl", "kill", "--signal", "SIGKILL", "docker.service")
    process.communicate(timeout=300)
    fleet.until(
        "a new engine",
        lambda: "docker" in fleet.on(GPU_B, "sh", "-c", "docker info >/dev/null 2>&1 && echo docker; true"),
    )

    # An engine killed in the middle of a start may not let go of the container's port; the whole site notices that.
    outcome = fleet.run(fleet.SITE, "--limit", GPU_B)
    assert outcome.returncode == 0, outcome.text[-4000:]
    _only_the_declared_containers()
    assert fleet.served(GPU_B, PORT) == (200, ["beta"])
    assert fleet.run(fleet.SERVERS, "--limit", GPU_B).changes() == 0


def test_hosts_that_fail_or_cannot_be_reached_do_not_stop_the_others(tmp_path: Path) -> None:
    # What only vLLM itself can find out; a wrong value that is known to be wrong would be refused by the plan.
    broken = fleet.instances(GPU_B, beta={"engine": {"enable_auto_tool_choice": True, "tool_call_parser": "nosuch"}})
    declared = fleet.declare(
        tmp_path,
        {
            GPU_B: {"vllm_server_instances": broken},
            "gpu-gone": {"ansible_host": "127.0.0.1", "ansible_port": 9, "vllm_server_instances": []},
        },
        groups={"gpu-gone": "gpu_hosts"},
    )
    before = fleet.containers()
    outcome = fleet.run(fleet.SITE, declared=declared)
    assert outcome.returncode != 0
    named = "\n".join(outcome.result("localhost", "Hosts that failed")["msg"])
    assert "gpu-gone: reach: cannot be reached" in named
    assert f"{GPU_B}: servers: " in named
    assert "nosuch" in named
    failures = {host: counts["failures"] for host, counts in outcome.stats.items()}
    assert failures == {GPU_A: 0, GPU_B: 1, "gpu-gone": 1, WEB: 0, "localhost": 0}
    assert _connected(outcome) == {GPU_A, GPU_B} | ELSEWHERE  # what failed today is not forgotten
    report = "\n".join(outcome.result("localhost", "Report the fleet")["msg"])
    assert f'"{ALPHA_SAYS}"' in report
    # beta was put back and answers as before.
    assert {key: value[0] for key, value in fleet.containers().items()} == {
        key: value[0] for key, value in before.items()
    }
    assert fleet.served(GPU_B, PORT) == (200, ["beta"])


BAD_INSTANCE = {"model": "private-llm-lab/tiny-alpha", "port": 18100, "engine": {}}


def test_every_bad_input_is_named_before_anything_is_changed(tmp_path: Path) -> None:
    fleet.on(GPU_A, "mkdir", "-p", "/srv/not-a-model")
    fleet.on(
        GPU_B,
        "sh",
        "-c",
        "cp /etc/docker/daemon.json /root/daemon.json; printf '{\"debug\": tru}' > /etc/docker/daemon.json",
    )
    fleet.on(GPU_A, "systemd-run", "--unit", "squatter", "python3", "-m", "http.server", "18101")
    good = fleet.instances(GPU_A)
    wrong = [
        *good,
        {**BAD_INSTANCE, "name": "no-such-gpu", "gpus": [7], "port": 18102},
        {**BAD_INSTANCE, "name": "no-config", "model": "/srv/not-a-model", "port": 18103},
        {**BAD_INSTANCE, "name": "squatted", "port": 18101},
        {**BAD_INSTANCE, "name": "no-such-model", "model": "private-llm-lab/nothing", "port": 18104},
    ]
    declared = fleet.declare(
        tmp_path,
        {
            GPU_A: {"vllm_server_instances": wrong},
            GPU_B: {
                "vllm_server_instances": [
                    {**BAD_INSTANCE, "name": "misspelled", "port": 18106, "max_model_len": 512},
                    {**BAD_INSTANCE, "name": "beta"},
                    {**BAD_INSTANCE, "name": "beta"},
                    {**BAD_INSTANCE, "name": "open", "port": 18105, "api_keys": []},
                ]
            },
            WEB: {"open_webui_admin_password": "not the password"},
        },
    )
    before = fleet.containers()
    try:
        outcome = fleet.run(fleet.SITE, declared=declared)
        untouched = fleet.on(GPU_B, "cat", "/etc/docker/daemon.json")
    finally:
        fleet.on(GPU_B, "cp", "/root/daemon.json", "/etc/docker/daemon.json")
        fleet.on(GPU_A, "systemctl", "stop", "squatter")
    assert outcome.returncode != 0
    problems = outcome.failures()["localhost", "Stop on the problems of the fleet"]
    for host, text in (
        (GPU_A, "no GPU with index 7"),
        (GPU_A, "/srv/not-a-model"),
        (GPU_A, "port 18101"),
        (GPU_A, "private-llm-lab/nothing"),
        (GPU_B, "daemon.json"),
        (GPU_B, "vllm_server_instances[0].max_model_len: is not a key of an instance"),
        (GPU_B, "vllm_server_instances[2].name"),
        (GPU_B, "vllm_server_instances[2].port"),
        (GPU_B, "vllm_server_instances[3].api_keys"),
        (WEB, "open_webui_admin_password"),
    ):
        lines = [line for line in problems.splitlines() if line.startswith(f"- {host}: ") and text in line]
        assert lines, f"no problem of {host} names {text!r} in:\n{problems}"
    assert outcome.changes() == 0
    assert untouched == '{"debug": tru}'
    assert fleet.containers() == before


def test_a_revision_that_does_not_exist_is_named_before_anything_is_changed(tmp_path: Path) -> None:
    declared = fleet.declare(
        tmp_path, {GPU_A: {"vllm_server_instances": fleet.instances(GPU_A, alpha={"revision": "v99"})}}
    )
    before = fleet.containers()
    # With --limit the list on localhost is left out; the hosts themselves stop the run then.
    outcome = fleet.run(fleet.SITE, "--limit", GPU_A, declared=declared)
    assert outcome.returncode != 0
    assert "v99" in outcome.failures()[GPU_A, "Stop on the problems of this host"]
    assert outcome.changes() == 0
    assert fleet.containers() == before


def test_a_server_that_leaves_the_fleet_leaves_open_webui(tmp_path: Path) -> None:
    leaving = fleet.instances(GPU_B, beta={"state": "absent"})
    declared = fleet.declare(tmp_path, {GPU_B: {"vllm_server_instances": leaving}})
    # A run without the host tells nothing of what it has.
    outcome = fleet.run(fleet.WEBUI, "--limit", f"{GPU_A},{WEB}", declared=declared)
    assert outcome.returncode == 0, outcome.text[-4000:]
    assert outcome.changes() == 0
    assert _connected(outcome) == {GPU_A, GPU_B} | ELSEWHERE
    outcome = fleet.run(fleet.WEBUI, declared=declared)
    assert outcome.returncode == 0, outcome.text[-4000:]
    assert {task.rsplit(" : ")[-1] for _host, task in outcome.changed()} == {"Declare the connections"}
    assert _connected(outcome) == {GPU_A} | ELSEWHERE


def test_removal_takes_what_the_collection_made_and_nothing_else() -> None:
    fleet.on(GPU_B, "docker", "run", "--detach", "--name", "bystander", "--entrypoint", "sleep", _image(GPU_B), "600")
    before = fleet.containers()
    asked = fleet.run(fleet.REMOVE, "--check")
    assert asked.returncode == 0, asked.text[-4000:]
    assert fleet.containers() == before
    outcome = fleet.run(fleet.REMOVE)
    assert outcome.returncode == 0, outcome.text[-4000:]
    servers = {(host, "private_llm.fleet.vllm_server : Remove the declared vLLM servers") for host in (GPU_A, GPU_B)}
    removed = {*servers, (WEB, "private_llm.fleet.open_webui : Remove the container")}
    assert removed <= asked.changed()
    assert removed <= outcome.changed()
    assert {name for _host, name in fleet.containers()} == {"bystander"}
    for host in fleet.HOSTS:
        assert fleet.on(host, "sh", "-c", "ls -d /opt/private_llm 2>/dev/null; true") == ""
    for host, model in ((GPU_A, "alpha"), (GPU_B, "beta")):
        assert fleet.on(host, "readlink", f"/srv/models/private-llm-lab/tiny-{model}/current")
        assert "nvidia-container-runtime" not in fleet.on(host, "cat", "/etc/docker/daemon.json")
    assert "webui.db" in fleet.on(WEB, "ls", "/srv/open-webui")
    assert fleet.run(fleet.REMOVE).changes() == 0


def _image(host: str) -> str:
    return fleet.on(host, "docker", "images", "--format", "{{.Repository}}:{{.Tag}}").split()[0]


def _connected(outcome: Outcome) -> set[str]:
    """The hosts, or their addresses, that Open WebUI has connections to after a run."""
    (declared,) = [one for one in outcome.results(WEB, "Declare the connections") if "connections" in one]
    hosts = {fleet.address(host): host for host in (GPU_A, GPU_B)}
    found = [str(urlsplit(connection["url"]).hostname) for connection in declared["connections"]]
    return {hosts.get(one, one) for one in found}


def _only_the_declared_containers() -> None:
    assert set(fleet.containers()) == {(GPU_A, "alpha"), (GPU_B, "beta"), (WEB, "open-webui")}


def _cut_connections(host: str) -> None:
    """End the SSH sessions on a host, and nothing that runs in them."""
    fleet.on(host, "pkill", "--full", "^sshd.*: root@notty")
