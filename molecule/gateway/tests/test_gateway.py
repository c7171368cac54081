# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The converged fleet, as its users find it and while its servers change; the tests run in this order."""

from __future__ import annotations

import functools
import json
import os
import ssl
import subprocess
import sys
import time
import typing as t
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import yaml
from tests.support import playbooks

INVENTORY = str(Path(os.environ["MOLECULE_INVENTORY_FILE"]).parent)
CONTAINER = "private-llm-lab-gateway-"
GATEWAYS = ("gw-01", "gw-02")
BOB = "sk-canary-bob-41e7"
SERVERS = "playbooks/servers.yml"
GATEWAY = "playbooks/gateway.yml"
SAYS = "Hello from the lab."


def on(host: str, *argv: str) -> str:
    """Run a command on a lab host and return what it printed."""
    done = subprocess.run(
        ["docker", "exec", CONTAINER + host, *argv], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, f"{argv} on {host}: {done.stdout}{done.stderr}"
    return done.stdout


@functools.cache
def variables(host: str) -> dict[str, t.Any]:
    """Return the variables of a host."""
    done = subprocess.run(
        [str(playbooks.ANSIBLE_PLAYBOOK.with_name("ansible-inventory")), "-i", INVENTORY, "--host", host],
        cwd=playbooks.ROOT,
        env=playbooks.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(json.loads(done.stdout))


def url(gateway: str) -> str:
    """Return the address of a gateway."""
    return f"https://{variables(gateway)['lab_ip']}"


@functools.cache
def ca() -> str:
    """Return the certificate of the fleet's CA."""
    return on("gw-01", "cat", "/etc/private_llm/gateway_ca/ca.pem")


def key_of(user: str, gateway: str = "gw-01") -> str:
    return on(gateway, "cat", f"/etc/private_llm/gateway/keys/{user}").split()[0]


def ask(gateway: str, key: str, model: str = "", path: str = "/v1/chat/completions") -> tuple[int, t.Any]:
    """Return the status of one request, and its answer."""
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "Hello"}]}).encode() if model else None
    request = urllib.request.Request(
        url(gateway) + path, body, {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=60, context=ssl.create_default_context(cadata=ca())) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def declare(folder: Path, **changes: t.Any) -> str:
    """Return a further inventory, in which the engine of servers has other options."""
    servers = [
        {"name": "one", "model": "lab/tiny", "gpus": [], "port": 18005, "served_model_names": ["tiny"]},
        {"name": "two", "model": "lab/tiny", "gpus": [], "port": 18006, "served_model_names": ["tiny"]},
        {"name": "lone", "model": "lab/tiny", "gpus": [], "port": 18007},
    ]
    for server in servers:
        server["engine"] = changes.get(str(server["name"]), {})
    folder /= "inventory"
    (folder / "host_vars").mkdir(parents=True)
    (folder / "hosts.yml").write_text(yaml.safe_dump({"all": {}}))
    (folder / "host_vars" / "gpu-01.yml").write_text(yaml.safe_dump({"vllm_server_instances": servers}))
    return str(folder)


def under_load(
    tmp_path: Path, model: str, declared: str, playbook: str = SERVERS, arguments: t.Sequence[str] = ()
) -> tuple[playbooks.Outcome, dict[str, t.Any]]:
    """Run a playbook while eight clients ask, and return what it did and what they saw."""
    key, trusted, stop = tmp_path / "key", tmp_path / "ca", tmp_path / "stop"
    key.write_text(key_of("ann"))
    trusted.write_text(ca())
    command = [sys.executable, str(playbooks.ROOT / "scripts" / "lab" / "load.py"), url("gw-01")]
    # The clients leave the servers some of the processor to start with; benchmarks/rolling.py leaves none.
    command += [
        "--key-file",
        str(key),
        "--ca-file",
        str(trusted),
        "--model",
        model,
        "--pause",
        "1.5",
        "--until",
        str(stop),
    ]
    load = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    outcome = playbooks.run(playbook, [INVENTORY, declared], *arguments)
    stop.touch()
    told = json.loads(load.communicate(timeout=300)[0])
    print(json.dumps({"asked": model, **told}))
    return outcome, told


def test_every_gateway_serves_every_model_to_those_who_may(tmp_path: Path) -> None:
    assert key_of("ann", "gw-01") == key_of("ann", "gw-02")
    for gateway in GATEWAYS:
        status, answer = ask(gateway, key_of("ann"), "tiny")
        assert (status, answer["choices"][0]["message"]["content"]) == (200, SAYS)
        assert [one["id"] for one in ask(gateway, key_of("ann"), path="/v1/models")[1]["data"]] == ["lone", "tiny"]
        assert [one["id"] for one in ask(gateway, BOB, path="/v1/models")[1]["data"]] == ["lone"]
        assert ask(gateway, "wrong", "tiny")[0] == 401
        assert ask(gateway, BOB, "tiny")[1]["error"]["code"] == "model_not_allowed"
        assert ask(gateway, key_of("ann"), "none")[1]["error"]["code"] == "model_not_found"
        assert ask(gateway, key_of("ann"), path="/metrics")[0] == 404


def test_a_chat_in_the_browser_over_the_gateway() -> None:
    """The browser reaches Open WebUI through the gateway, and Open WebUI the model, both with TLS."""
    picture = playbooks.ROOT / ".cache" / "artifacts" / "gateway-chat.png"
    done = subprocess.run(
        [
            *(sys.executable, str(playbooks.ROOT / "tests" / "browser" / "chat.py")),
            *("--url", "https://chat.lab.test", "--at", url("gw-02").removeprefix("https://")),
            *("--email", "admin@example.com", "--model", "tiny", "--expect", SAYS, "--screenshot", str(picture)),
        ],
        env={
            **os.environ,
            "OPEN_WEBUI_PASSWORD": on("web-01", "cat", "/etc/private_llm/open_webui/admin_password").strip(),
        },
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    asked = [
        on(gateway, "journalctl", "--no-pager", "--unit", "private-llm-gateway", "--output", "cat")
        for gateway in GATEWAYS
    ]
    assert any('"user":"open-webui","model":"tiny"' in log for log in asked)


def test_every_model_is_proven_through_every_gateway() -> None:
    outcome = playbooks.run("playbooks/verify.yml", [INVENTORY])
    assert outcome.returncode == 0, outcome.text[-3000:]
    for gateway in GATEWAYS:
        asked = outcome.result(gateway, "private_llm.fleet.gateway : Ask every model through the gateway")
        assert sorted(asked["answered"]) == ["lone", "tiny"]


def test_a_user_is_limited() -> None:
    asked = [ask("gw-01", BOB, "lone")[0] for _request in range(5)]
    assert asked.count(200) <= 3
    assert 429 in asked


def test_secrets_are_for_root_alone_and_in_no_log() -> None:
    for gateway in GATEWAYS:
        loose = on(gateway, "find", "/etc/private_llm/gateway", "-type", "f", "-perm", "/077")
        assert loose == ""
        assert on(gateway, "stat", "-c", "%a %U", "/run/private_llm_gateway/admin.sock").split() == ["600", "root"]
        log = on(gateway, "journalctl", "--no-pager", "--unit", "private-llm-gateway", "--output", "cat")
        assert '"user":"ann","model":"tiny"' in log
        for secret in (BOB, key_of("ann"), "Hello"):
            assert secret not in log
            assert secret not in on(gateway, "ps", "-eo", "args")


def test_two_replicas_change_under_load_and_nobody_notices(tmp_path: Path) -> None:
    declared = declare(tmp_path, one={"max_model_len": 480}, two={"max_model_len": 480})
    outcome, told = under_load(tmp_path, "tiny", declared)
    assert outcome.returncode == 0, outcome.text[-3000:]
    assert (told["failed"], told["cut"]) == (0, 0), told
    assert told["requests"] >= 100


def test_the_only_replica_changes_under_load_while_a_gateway_is_down(tmp_path: Path) -> None:
    """Requests wait at the gateway that is there, and the one that is not keeps no server from its change."""
    engine = {"max_model_len": 480}
    subprocess.run(["docker", "stop", CONTAINER + "gw-02"], check=True, capture_output=True, timeout=120)
    try:
        outcome, told = under_load(tmp_path, "lone", declare(tmp_path, one=engine, two=engine, lone=engine))
    finally:
        subprocess.run(["docker", "start", CONTAINER + "gw-02"], check=True, capture_output=True, timeout=120)
    assert outcome.returncode == 0, outcome.text[-3000:]
    assert (told["failed"], told["cut"]) == (0, 0), told
    assert told["longest_wait_s"] > 5
    # It comes up by itself, with every server.
    until(lambda: answers("gw-02"))


def answers(gateway: str) -> bool:
    """Return whether a gateway answers for the model that changed."""
    try:
        return ask(gateway, key_of("ann"), "lone")[0] == 200
    except OSError:
        return False


def until(true: t.Callable[[], bool]) -> None:
    """Wait until something is true."""
    end = time.monotonic() + 600
    while not true():
        assert time.monotonic() < end
        time.sleep(1)


def test_a_replica_that_fails_ends_the_roll_and_is_back(tmp_path: Path) -> None:
    wrong = {"max_model_len": 1_000_000}
    outcome, told = under_load(tmp_path, "tiny", declare(tmp_path, one=wrong, two=wrong, lone={"max_model_len": 480}))
    assert outcome.returncode != 0
    assert (told["failed"], told["cut"]) == (0, 0), told
    assert len(on("gpu-01", "docker", "ps", "--quiet").split()) == 3


def test_the_next_run_brings_back_what_a_killed_one_left_away(tmp_path: Path) -> None:
    engine = {"max_model_len": 480}
    declared = declare(tmp_path, one=engine, two=engine, lone=engine)
    # The gateway takes up first what the changed servers measured, so that the run after it has nothing else to do.
    certificate = on("gw-01", "cat", "/etc/private_llm/gateway_ca/tls.pem")
    early = ["-e", "__gateway_renew_days=400"]
    outcome, seen = under_load(tmp_path, "tiny", declared, GATEWAY, early)
    assert outcome.returncode == 0, outcome.text[-3000:]
    assert on("gw-01", "cat", "/etc/private_llm/gateway_ca/tls.pem") != certificate
    assert (seen["failed"], seen["cut"]) == (0, 0), seen
    told = "import socket; s = socket.socket(socket.AF_UNIX); s.connect('/run/private_llm_gateway/admin.sock'); "
    told += "s.sendall(b'set server model:tiny/gpu-01:one state maint\\n'); print(s.recv(100))"
    on("gw-01", "python3", "-c", told)
    outcome = playbooks.run(GATEWAY, [INVENTORY, declared])
    assert outcome.returncode == 0, outcome.text[-3000:]
    assert ("gw-01", "private_llm.fleet.gateway : Bring every server back that was taken away") in outcome.changed()


def test_a_servers_port_can_be_closed_to_all_but_the_gateways() -> None:
    """The rules are those of docs/gateway.md."""
    allowed = ",".join(url(gateway).removeprefix("https://") for gateway in GATEWAYS)
    port = ("-p", "tcp", "-m", "conntrack", "--ctorigdstport", "18005:18007", "--ctdir", "ORIGINAL")
    reach = "import socket, sys; socket.create_connection((sys.argv[1], 18007), 3)"
    servers = variables("gpu-01")["lab_ip"]
    on("web-01", "python3", "-c", reach, servers)
    on("gpu-01", "iptables", "-I", "DOCKER-USER", *port, "-j", "DROP")
    on("gpu-01", "iptables", "-I", "DOCKER-USER", *port, "-s", allowed, "-j", "ACCEPT")
    with pytest.raises(AssertionError, match=r"timed out|TimeoutError"):
        on("web-01", "python3", "-c", reach, servers)
    for gateway in GATEWAYS:
        on(gateway, "python3", "-c", reach, servers)
        assert ask(gateway, key_of("ann"), "lone")[0] == 200


def test_a_gateway_fetches_its_certificate_by_acme_and_takes_up_a_renewed_one(tmp_path: Path) -> None:
    folder = tmp_path / "inventory"
    (folder / "host_vars").mkdir(parents=True)
    (folder / "hosts.yml").write_text(yaml.safe_dump({"all": {}}))
    acme = {"gateway_internal_ca": False, "gateway_acme": True, "gateway_names": ["llm.lab.test"]}
    acme["gateway_acme_server"] = "https://acme.lab.test:14000/dir"
    (folder / "host_vars" / "gw-02.yml").write_text(yaml.safe_dump(acme))

    def run(playbook: str) -> playbooks.Outcome:
        outcome = playbooks.run(playbook, [INVENTORY, str(folder)], "--limit", "gw-02")
        assert outcome.returncode == 0, outcome.text[-3000:]
        return outcome

    def serial() -> str:
        """Return the serial number of the certificate that is served; the CA and the name are checked."""
        told = "openssl s_client -connect 127.0.0.1:443 -servername llm.lab.test -verify_hostname llm.lab.test "
        told += "-CAfile /srv/pebble/root.pem -verify_return_error </dev/null | openssl x509 -noout -serial"
        return on("gw-02", "bash", "-o", "pipefail", "-c", told)

    run("molecule/gateway/acme.yml")
    run(GATEWAY)
    first = serial()
    on("gw-02", "certbot", "renew", "--force-renewal", "--no-random-sleep-on-renew")
    until(lambda: serial() != first)
    assert run(GATEWAY).changed() == set()
    assert "certbot.timer" in on("gw-02", "systemctl", "list-timers", "--no-pager", "--no-legend")


def test_it_goes_without_a_trace() -> None:
    outcome = playbooks.run(GATEWAY, [INVENTORY], "-e", "gateway_state=absent")
    assert outcome.returncode == 0, outcome.text[-3000:]
    for gateway in GATEWAYS:
        assert on(gateway, "find", "/etc", "/usr/local/sbin", "-path", "*private*gateway*") == ""
        assert "private-llm-gateway" not in on(gateway, "systemctl", "list-units", "--all", "--plain", "--no-legend")
