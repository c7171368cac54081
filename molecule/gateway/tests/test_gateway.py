# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The converged fleet, as its users find it and while its servers change; the tests run in this order."""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import time
import typing as t
import urllib.error
import urllib.request
from pathlib import Path

import yaml
from tests.support import playbooks

INVENTORY = str(Path(os.environ["MOLECULE_INVENTORY_FILE"]).parent)
CONTAINER = "private-llm-lab-gateway-"
GATEWAYS = ("gw-01", "gw-02")
HOSTS = {"one": "gpu-01", "lone": "gpu-01", "two": "gpu-02"}
BOB = "sk-canary-bob-41e7"
SERVERS = "playbooks/servers.yml"
GATEWAY = "playbooks/gateway.yml"
WEB = "playbooks/webui.yml"
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
    trusted = ssl.create_default_context(cadata=ca())
    return call(url(gateway) + path, key, question(model) if model else None, trusted)


def question(model: str) -> dict[str, t.Any]:
    return {"model": model, "messages": [{"role": "user", "content": "Hello"}], "stream": False}


def call(address: str, key: str, body: t.Any = None, trusted: ssl.SSLContext | None = None) -> tuple[int, t.Any]:
    """Return the status of one request, and its answer."""
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    payload = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(
            urllib.request.Request(address, payload, headers), timeout=60, context=trusted
        ) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def declare(folder: Path, **changes: t.Any) -> str:
    """Return a further inventory, in which the engine of servers has other options."""
    folder /= "inventory"
    (folder / "host_vars").mkdir(parents=True)
    (folder / "hosts.yml").write_text(yaml.safe_dump({"all": {}}))
    for host in set(HOSTS.values()):
        servers = variables(host)["vllm_server_instances"]
        changed = [{**server, "engine": changes.get(server["name"], {})} for server in servers]
        (folder / "host_vars" / f"{host}.yml").write_text(yaml.safe_dump({"vllm_server_instances": changed}))
    return str(folder)


def under_load(
    tmp_path: Path,
    model: str,
    declared: str,
    playbook: str = SERVERS,
    arguments: t.Sequence[str] = (),
    before: t.Callable[[], None] = lambda: None,
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
    try:
        before()
        outcome = playbooks.run(playbook, [INVENTORY, declared], *arguments)
    finally:
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


class Web:
    """Open WebUI, as one of its people."""

    def __init__(self, email: str, password: str) -> None:
        self.url = f"http://{variables('web-01')['lab_ip']}:3000"
        status, answer = call(f"{self.url}/api/v1/auths/signin", "", {"email": email, "password": password})
        assert status == 200, answer
        self.token = answer["token"]

    def call(self, path: str, body: t.Any = None) -> t.Any:
        """Return an answer of the API."""
        status, answer = call(self.url + path, self.token, body)
        assert status == 200, f"{path}: {answer}"
        return answer

    def models(self) -> set[str]:
        """Return the ids of the models that this account sees."""
        return {model["id"] for model in self.call("/api/models?refresh=true")["data"]}

    def connected(self) -> list[str]:
        """Return the addresses of the connections in use."""
        config = self.call("/openai/config")
        used = config["OPENAI_API_CONFIGS"]
        return [
            address
            for place, address in enumerate(config["OPENAI_API_BASE_URLS"])
            if used.get(str(place), {}).get("enable", True)
        ]


def before_the_gateway(tmp_path: Path) -> str:
    """Return the inventory as it was before somebody added gateways."""
    folder = tmp_path / "before"
    shutil.copytree(INVENTORY, folder)
    hosts = yaml.safe_load((folder / "ansible_inventory.yml").read_text())
    del hosts["gateway_hosts"]
    (folder / "ansible_inventory.yml").write_text(yaml.safe_dump(hosts))
    return str(folder)


def test_a_fleet_that_gets_a_gateway_keeps_settings_groups_and_chats_of_its_models(tmp_path: Path) -> None:
    """Open WebUI is connected to the servers themselves first, and then to the gateway alone."""
    people = {name: f"{name}@example.com" for name in ("bea", "cal")}
    declared = {
        "open_webui_users": [
            {"email": email, "name": name, "password": f"password of {name}"} for name, email in people.items()
        ],
        "open_webui_groups": [{"name": "testers", "members": [people["bea"]]}],
        "open_webui_models": [{"model": "lone", "public": False, "groups": ["testers"], "name": "Lone (experiment)"}],
        # Where the CA of the gateways is, so that the container stays; sessions outlive its change, too.
        "open_webui_env": {"AIOHTTP_CLIENT_SSL_CERT_FILE": "/run/private_llm/ca.pem"},
    }

    def connect(inventory: str) -> None:
        outcome = playbooks.run(WEB, [inventory], "-e", json.dumps(declared))
        assert outcome.returncode == 0, outcome.text[-3000:]

    connect(before_the_gateway(tmp_path))
    admin = Web("admin@example.com", on("web-01", "cat", "/etc/private_llm/open_webui/admin_password").strip())
    bea, cal = (Web(people[name], f"password of {name}") for name in ("bea", "cal"))
    at = [("gpu-01", 18005), ("gpu-01", 18007), ("gpu-02", 18006)]
    assert admin.connected() == [f"http://{variables(host)['lab_ip']}:{port}/v1" for host, port in at]
    row = admin.call("/api/v1/models/model?id=lone")
    admin.call("/api/v1/models/model/update", {**row, "params": {"max_tokens": 2}})
    told = [{"id": "1", "role": "user", "content": "Hello", "models": ["lone"], "parentId": None, "childrenIds": []}]
    history = {"currentId": "1", "messages": {"1": told[0]}}
    kept = {"title": "Kept", "models": ["lone"], "messages": told, "history": history}
    chat = bea.call("/api/v1/chats/new", {"chat": kept})["id"]

    def works() -> None:
        shown = admin.call("/api/v1/models/model?id=lone")
        assert (shown["name"], shown["params"]) == ("Lone (experiment)", {"max_tokens": 2})
        assert "lone" in bea.models()
        assert "lone" not in cal.models()
        assert call(f"{cal.url}/api/chat/completions", cal.token, question("lone"))[0] != 200
        saved = bea.call(f"/api/v1/chats/{chat}")["chat"]
        asked = {"model": saved["models"][0], "messages": [{"role": "user", "content": "Hello"}], "stream": False}
        answer = bea.call("/api/chat/completions", asked)
        assert answer["usage"]["completion_tokens"] == 2
        assert SAYS.startswith(answer["choices"][0]["message"]["content"].strip())

    works()
    connect(INVENTORY)
    assert admin.connected() == [f"{url('gw-01')}/v1"]
    works()
    assert cal.models() == {"tiny"}


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


def test_two_replicas_change_under_load_though_a_run_is_killed_and_a_gateway_is_down(tmp_path: Path) -> None:
    """The next run brings back what the killed one left away, and does without the gateway that cannot be reached."""
    declared = declare(tmp_path, one={"max_model_len": 480}, two={"max_model_len": 480})
    killed = subprocess.Popen(
        playbooks.command(SERVERS, [INVENTORY, declared]),
        cwd=playbooks.ROOT,
        env=playbooks.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )

    def kill() -> None:
        until(lambda: away("gw-01", "one") and away("gw-02", "one"))
        os.killpg(killed.pid, signal.SIGKILL)
        killed.wait(30)
        assert away("gw-01", "one")
        docker("kill", "gw-02")

    outcome, told = under_load(tmp_path, "tiny", declared, before=kill)
    docker("start", "gw-02")
    assert outcome.returncode == 0, outcome.text[-3000:]
    assert (told["failed"], told["cut"]) == (0, 0), told
    assert told["requests"] >= 100
    until(lambda: answers("gw-02"))
    for gateway in GATEWAYS:
        assert not away(gateway, "one")
        assert not away(gateway, "two")


def test_the_only_replica_changes_under_load_while_a_gateway_goes_down(tmp_path: Path) -> None:
    """Requests wait at the gateway that is there; the one that goes in the middle keeps no server from its change."""
    engine = {"max_model_len": 480}
    with later(lambda: away("gw-02", "lone"), lambda: docker("kill", "gw-02")):
        outcome, told = under_load(tmp_path, "lone", declare(tmp_path, one=engine, two=engine, lone=engine))
    docker("start", "gw-02")
    assert outcome.returncode == 0, outcome.text[-3000:]
    assert (told["failed"], told["cut"]) == (0, 0), told
    assert told["longest_wait_s"] > 5
    tried = outcome.results("gpu-01", "Bring the servers back behind the gateways")[-1]["results"]
    assert [one["item"] for one in tried if one.get("unreachable")] == ["gw-02"]
    # It comes up by itself, with every server.
    until(lambda: answers("gw-02"))


RUNTIME = """
import socket, sys
with socket.socket(socket.AF_UNIX) as proxy:
    proxy.connect("/run/private_llm_gateway/admin.sock")
    proxy.sendall(sys.argv[1].encode() + b"\\n")
    print(b"".join(iter(lambda: proxy.recv(65536), b"")).decode())
"""


def runtime(gateway: str, command: str) -> str:
    """Return what the proxy of a gateway answers on its runtime socket."""
    return on(gateway, "python3", "-c", RUNTIME, command)


def away(gateway: str, server: str) -> bool:
    """Return whether a run has taken a server from behind a gateway."""
    lines = runtime(gateway, "show stat").splitlines()
    return any(f",{HOSTS[server]}:{server}," in line and ",MAINT," in line for line in lines)


def docker(verb: str, host: str) -> None:
    """Start a lab host, or take its power."""
    subprocess.run(["docker", verb, CONTAINER + host], check=True, capture_output=True, timeout=120)


@contextlib.contextmanager
def later(true: t.Callable[[], bool], act: t.Callable[[], None]) -> t.Iterator[None]:
    """Do something as soon as something is true; the block ends when it is done."""

    def wait_and_act() -> None:
        until(true)
        act()

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        done = pool.submit(wait_and_act)
        yield
        done.result()


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
    for host in set(HOSTS.values()):
        running = on(host, "docker", "ps", "--format", "{{.Names}}").split()
        assert sorted(running) == sorted(server for server, at in HOSTS.items() if at == host)


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


def test_the_servers_ports_are_closed_to_all_but_those_who_ask_them() -> None:
    """The rules are those of vllm_server_firewall; web-01 is one of its sources, and this machine is none."""
    reach = "import socket, sys; socket.create_connection((sys.argv[1], 18007), 3)"
    servers = variables("gpu-01")["lab_ip"]
    for host in (*GATEWAYS, "web-01", "gpu-01"):
        on(host, "python3", "-c", reach, servers)
    asked = subprocess.run([sys.executable, "-c", reach, servers], capture_output=True, text=True, check=False)
    assert "timed out" in asked.stderr
    assert "private-llm-firewall.service" in on("gpu-01", "systemctl", "list-dependencies", "--plain", "sysinit.target")


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
