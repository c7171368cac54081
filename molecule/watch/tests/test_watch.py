# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Make real servers fall and look how the watch brings them back; the tests run in this order."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
import typing as t
from pathlib import Path

import pytest
from tests.support import playbooks

INVENTORY = str(Path(os.environ["MOLECULE_INVENTORY_FILE"]).parent)
HOST = "private-llm-lab-watch-gpu-01"
WEB_HOST = "private-llm-lab-watch-web-01"
STATE = "/var/lib/private_llm/server_watch/state.json"
METRICS = "/var/lib/private_llm/metrics/server_watch.prom"
RELEASE = "/srv/models/lab/tiny/0123456789abcdef"
WEB, GATEWAY = "open-webui", "private-llm-gateway"
PATIENCE = 300.0  # seconds; a busy machine may need most of it

# Seconds. What the guide promises, also where a busy host multiplies the limits.
NOTICED_IDLE, NOTICED_AT_WORK = 60, 90
BEFORE_ITS_START = 30  # after the engine, or after the server that shares its GPU


def on(command: str, host: str = HOST) -> str:
    """Run a command on a host, which may be away, and return what it printed."""
    done = subprocess.run(
        ["docker", "exec", host, "sh", "-c", command], capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def host_of(name: str) -> str:
    return WEB_HOST if name in (WEB, GATEWAY) else HOST


def memory(name: str) -> dict[str, t.Any]:
    """Return what the watch remembers of a server, of Open WebUI or of the gateway."""
    return t.cast(dict[str, t.Any], json.loads(on("cat " + STATE, host_of(name)))["servers"][name])


def until(what: str, condition: t.Callable[[], bool]) -> None:
    """Wait for a condition, and say what was seen when it does not come."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            if condition():
                return
        except (AssertionError, ValueError, subprocess.TimeoutExpired):
            if time.monotonic() > end:
                raise
        assert time.monotonic() < end, f"{what}: {on('cat ' + STATE)}{on('cat ' + STATE, WEB_HOST)}"
        time.sleep(1)


def until_ready(*names: str) -> None:
    until(f"{names} are ready", lambda: all(memory(name)["state"] in ("ready", "busy") for name in names))


def until_more(name: str, count: str, before: dict[str, t.Any]) -> None:
    until(f"{count} of {name} grow", lambda: memory(name)[count] > before[count])


def last_pass() -> str:
    return on(f"grep '^private_llm_watch_last_pass' {METRICS}")


def engine_start() -> float:
    """Return when the engine of the host was up, in seconds since the epoch."""
    said = on("systemctl show --timestamp=unix --value --property=ActiveEnterTimestamp docker")
    return float(said.strip().lstrip("@"))


def is_running(name: str) -> bool:
    return on(f"docker inspect --format '{{{{.State.Running}}}}' {name}").strip() == "true"


def process_of(container: str, name: str) -> str:
    for line in on(f"docker top {container} -eo pid,args", host_of(container)).splitlines():
        number, _blank, command = line.strip().partition(" ")
        if name in command:
            return number
    raise AssertionError(f"no {name} in {container}")


def test_what_is_watched_is_told() -> None:
    until_ready("alpha", "beta")
    lines = on("cat " + METRICS).splitlines()
    assert 'private_llm_server_up{server="alpha"} 1' in lines
    assert 'private_llm_server_state{server="asleep",state="stopped"} 1' in lines
    assert not any(line.startswith('private_llm_server_up{server="asleep"') for line in lines)


def test_root_alone_can_change_what_root_runs() -> None:
    assert on("find /opt/private_llm/server_watch ! -user root -o -perm /022") == ""
    assert on("systemctl is-active private-llm-watch.timer").strip() == "active"
    assert on("systemctl is-enabled private-llm-watch-boot.service").strip() == "enabled"


def test_after_a_restart_of_the_engine_servers_start_in_their_order() -> None:
    before = {name: memory(name) for name in ("alpha", "beta")}
    # Docker 26.1 starts no container that has GPUs by CDI at its own start.
    on("systemctl restart docker")
    for name, known in before.items():
        until_more(name, "restarts_total", known)
    until_ready("alpha")
    first = time.time()
    until_ready("alpha", "beta")
    assert 0 <= memory("alpha")["own_start"] - engine_start() < BEFORE_ITS_START
    assert memory("alpha")["own_start"] < memory("beta")["own_start"] < first + BEFORE_ITS_START
    assert all(memory(name)["restarts_total"] == before[name]["restarts_total"] + 1 for name in before)
    assert not is_running("asleep")


def until_noticed(name: str, before: dict[str, t.Any], since: float) -> float:
    """Wait until the watch notices that a server fell, and return the seconds since then."""
    until_more(name, "falls_total", before)
    return time.monotonic() - since


ASK = """
import json, sys, urllib.request
name, port = sys.argv[1:]
key = open(f"/etc/private_llm/vllm_server/{name}/api_keys").read().split()[0]
body = {"model": name, "prompt": "Hello", "max_tokens": 480, "ignore_eos": True}
headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
asked = urllib.request.Request(f"http://127.0.0.1:{port}/v1/completions", json.dumps(body).encode(), headers)
urllib.request.urlopen(asked, timeout=600).read()
"""


def keep_busy(name: str, port: int) -> None:
    """Have a server generate a long answer, which it may not end."""
    argv = ["docker", "exec", "--interactive", HOST, "python3", "-", name, str(port)]
    subprocess.run(argv, input=ASK, capture_output=True, text=True, check=False, timeout=700)


def test_an_engine_that_hangs_is_restarted_unless_a_run_works_on_it(capsys: pytest.CaptureFixture[str]) -> None:
    before = {name: memory(name) for name in ("alpha", "beta")}
    # A run locks the server as this does.
    locked = "/run/private_llm/locks/vllm_server.alpha.lock"
    on("rm -f /run/go")
    held = f"flock {locked} sh -c 'until [ -e /run/go ]; do sleep 0.2; done'; rm -f {locked}"
    run = threading.Thread(target=on, args=(held,))
    run.start()
    asking = threading.Thread(target=keep_busy, args=("beta", 18006), daemon=True)
    try:
        until("the run is seen", lambda: memory("alpha")["state"] == "changing")
        engines = [process_of(name, "EngineCore") for name in ("alpha", "beta")]
        asking.start()
        time.sleep(1)
        on(f"kill -STOP {' '.join(engines)}")
        hung = time.monotonic()
        seen = last_pass()
        until("one more pass", lambda: last_pass() > seen)
        changing = memory("alpha")
        assert (changing["state"], changing["restarts_total"]) == ("changing", before["alpha"]["restarts_total"])
    finally:
        on("touch /run/go")
        released = time.monotonic()
        run.join()
    at_work = until_noticed("beta", before["beta"], hung)
    idle = until_noticed("alpha", before["alpha"], released)
    with capsys.disabled():
        print(f"\na hang is noticed after {idle:.0f} s without a request, after {at_work:.0f} s at work")
    assert (idle < NOTICED_IDLE, at_work < NOTICED_AT_WORK) == (True, True)
    for name, known in before.items():
        until_more(name, "restarts_total", known)
    until_ready("alpha", "beta")
    for name in before:
        fall = memory(name)["last_fall"]
        assert (fall["cause"], fall["action"]) == ("hung", "the watch restarted it")
        assert on(f"stat --format %a {fall['log_file']}").strip() == "600"
        assert "Application startup complete" in on(f"cat {fall['log_file']}")
    assert 'last_fall_timestamp_seconds{server="alpha",cause="hung"}' in on("cat " + METRICS)


def test_a_process_that_ends_is_the_engine_s_to_start_again() -> None:
    first = memory("beta")
    on(f"kill -KILL {process_of('beta', 'EngineCore')}")
    until_more("beta", "falls_total", first)
    until_ready("beta")
    last = memory("beta")
    assert last["restarts_total"] == first["restarts_total"]
    assert last["last_fall"]["action"] == "the engine started it again"


def test_what_a_restart_cannot_cure_is_told_and_left() -> None:
    before = memory("beta")
    on(f"mv {RELEASE}/config.json {RELEASE}/away.json")
    # The second fall in a row, of the whole container.
    on(f"kill -KILL {process_of('beta', 'docker-init')}")
    earlier = (before["last_fall"] or {}).get("at")
    until("the fall is told", lambda: (memory("beta")["last_fall"] or {}).get("at") != earlier)
    until("the cause is told", lambda: memory("beta")["last_fall"]["cause"] == "model_not_readable")
    assert memory("beta")["restarts_total"] == before["restarts_total"]
    on(f"mv {RELEASE}/away.json {RELEASE}/config.json")
    until_ready("beta")


def unit(property_name: str) -> str:
    return on(f"systemctl show --value --property={property_name} {GATEWAY}", WEB_HOST).strip()


def test_open_webui_and_the_gateway_are_watched_and_nothing_else_on_their_host() -> None:
    until_ready(WEB, GATEWAY)
    assert sorted(json.loads(on("cat " + STATE, WEB_HOST))["servers"]) == [WEB, GATEWAY]
    lines = on("cat " + METRICS, WEB_HOST).splitlines()
    assert f'private_llm_server_up{{server="{WEB}"}} 1' in lines
    assert f'private_llm_server_up{{server="{GATEWAY}"}} 1' in lines


def test_they_are_healed_when_they_hang() -> None:
    before = {name: memory(name) for name in (WEB, GATEWAY)}
    on(f"kill -STOP {process_of(WEB, 'open-webui serve')}", WEB_HOST)
    on(f"kill -STOP $(systemctl show --value --property=MainPID {GATEWAY}) $(pgrep haproxy)", WEB_HOST)
    for name, known in before.items():
        until_more(name, "restarts_total", known)
    until_ready(WEB, GATEWAY)
    for name, known in before.items():
        healed = memory(name)
        assert healed["falls_total"] == known["falls_total"] + 1, name
        assert (healed["last_fall"]["cause"], healed["last_fall"]["action"]) == ("hung", "the watch restarted it")


def test_a_gateway_that_ends_is_systemd_s_until_it_gives_up() -> None:
    before = memory(GATEWAY)
    on(f"kill -KILL {unit('MainPID')}", WEB_HOST)
    until_more(GATEWAY, "falls_total", before)
    until_ready(GATEWAY)
    assert memory(GATEWAY)["last_fall"]["action"] == "systemd started it again"
    # A configuration that it cannot start with, until systemd does not try any more.
    drop_in = f"/run/systemd/system/{GATEWAY}.service.d"
    limit = "[Unit]\\nStartLimitIntervalSec=1h\\n"  # however slow this machine is
    on(f"mkdir -p {drop_in} && printf '{limit}' > {drop_in}/limit.conf && systemctl daemon-reload", WEB_HOST)
    config = "/etc/private_llm/gateway/current/haproxy.cfg"
    on(f"mv {config} /etc/away.cfg && kill -KILL {unit('MainPID')}", WEB_HOST)
    until("systemd gives it up", lambda: unit("ActiveState") == "failed")
    seen = memory(GATEWAY)["restarts_total"]
    until("the watch tries it", lambda: memory(GATEWAY)["restarts_total"] > seen)
    on(f"mv /etc/away.cfg {config} && rm -r {drop_in} && systemctl daemon-reload", WEB_HOST)
    until_ready(GATEWAY)


def test_what_is_seen_of_them_is_in_the_table() -> None:
    outcome = playbooks.run("playbooks/verify.yml", [INVENTORY])
    assert outcome.returncode == 0, outcome.text[-4000:]
    assert f"Watch of web-01: {WEB} ready, {GATEWAY} ready" in outcome.text
    assert f"{WEB} on web-01 fell once" in outcome.text


def test_after_a_boot_all_is_up_but_what_somebody_stopped() -> None:
    on("docker stop beta")
    until("it is seen", lambda: memory("beta")["state"] == "stopped")
    before = memory("alpha")
    subprocess.run(["docker", "restart", HOST], check=True, capture_output=True, timeout=120)
    until_more("alpha", "restarts_total", before)
    until_ready("alpha")
    assert 0 <= memory("alpha")["own_start"] - engine_start() < BEFORE_ITS_START
    assert (memory("beta")["state"], is_running("beta"), is_running("asleep")) == ("stopped", False, False)
    assert "stopped by somebody" in memory("beta")["message"]


def test_after_a_boot_one_that_somebody_stopped_stays_stopped() -> None:
    on(f"systemctl stop {GATEWAY}", WEB_HOST)
    until("it is seen", lambda: memory(GATEWAY)["state"] == "stopped")
    subprocess.run(["docker", "restart", WEB_HOST], check=True, capture_output=True, timeout=120)
    # systemd starts what is enabled.
    until_ready(WEB, GATEWAY)
    on(f"docker stop {WEB}", WEB_HOST)
    until("it is seen", lambda: memory(WEB)["state"] == "stopped")
    known = memory(WEB)
    on("systemctl restart docker", WEB_HOST)
    before = on(f"grep '^private_llm_watch_last_pass' {METRICS}", WEB_HOST)
    until("one more pass", lambda: on(f"grep '^private_llm_watch_last_pass' {METRICS}", WEB_HOST) > before)
    until("it stays so", lambda: memory(WEB)["state"] == "stopped")
    assert memory(WEB)["restarts_total"] == known["restarts_total"]


def test_it_goes_as_it_came() -> None:
    outcome = playbooks.run("playbooks/servers.yml", [INVENTORY], "-e", "server_watch_state=absent")
    assert outcome.returncode == 0, outcome.text[-4000:]
    outcome = playbooks.run("playbooks/webui.yml", [INVENTORY], "-e", "server_watch_services=false")
    assert outcome.returncode == 0, outcome.text[-4000:]
    for name in (HOST, WEB_HOST):
        left = on(
            "find /opt/private_llm/server_watch /etc/private_llm/server_watch /var/lib/private_llm /etc/systemd/system"
            " -path '*watch*' 2>/dev/null || true",
            name,
        )
        assert left == "", name
        assert on("systemctl list-units --all --no-legend 'private-llm-watch*'", name) == ""
    assert is_running("beta")  # by the run
