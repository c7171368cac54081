# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The converged host: what is measured, what an alert does, and how all of it goes; the tests run in this order."""

from __future__ import annotations

import base64
import http.server
import json
import os
import re
import signal
import subprocess
import threading
import time
import typing as t
import urllib.parse
from pathlib import Path

import chat
import pytest
from playwright.sync_api import Route, sync_playwright
from tests.support import playbooks

from ansible_collections.private_llm.fleet.plugins.plugin_utils.monitoring import _dashboards, _files

INVENTORY = str(Path(os.environ["MOLECULE_INVENTORY_FILE"]).parent)
HOST = "private-llm-lab-monitoring-gpu-01"
MONITORING = "playbooks/monitoring.yml"
PROMETHEUS = "http://127.0.0.1:9090"
PORT = 31099  # where the receivers of molecule.yml are
SECRETS = ("canary-hook-8d1f", "canary-robot-2f90", "canary-secret-77b1")
TRIED = playbooks.ROOT / "tests" / "promtool" / "alerts_test.yml"
# Asks for a page and prints it, for hosts have no program for that.
ASK = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=20).read().decode())"
# The same, as a browser needs it.
FETCH = """
import base64, json, sys, urllib.error, urllib.request
try:
    answer = urllib.request.urlopen(sys.argv[1], timeout=20)
except urllib.error.HTTPError as error:
    answer = error
print(json.dumps([answer.status, answer.headers.get("Content-Type") or "", base64.b64encode(answer.read()).decode()]))
"""
# Keeps the server busy: four requests of as many tokens as there is room for, whose answers nobody reads.
LOAD = """
import json, sys, threading, urllib.request
key = open("/etc/private_llm/vllm_server/tiny/api_keys").read().split()[0]
body = json.dumps({"model": "tiny", "prompt": "Hello", "max_tokens": 480, "ignore_eos": True}).encode()
def ask():
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    request = urllib.request.Request("http://127.0.0.1:18005/v1/completions", body, headers)
    for _again in range(200):
        urllib.request.urlopen(request, timeout=600).read()
for _one in range(4):
    threading.Thread(target=ask).start()
"""


def on_host(*argv: str, given: str | None = None) -> str:
    """Run a command on the host and return what it printed."""
    done = subprocess.run(
        ["docker", "exec", "-i", HOST, *argv], input=given, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
    return done.stdout


def page(url: str) -> str:
    return on_host("python3", "-c", ASK, url)


def ask(expression: str) -> list[dict[str, t.Any]]:
    """Return what Prometheus answers to an expression."""
    answer = json.loads(page(f"{PROMETHEUS}/api/v1/query?query={urllib.parse.quote(expression)}"))
    result: list[dict[str, t.Any]] = answer["data"]["result"]
    return result


def until(what: t.Callable[[], t.Any], seconds: float = 180) -> t.Any:
    """Wait until something is true, and return it."""
    end = time.monotonic() + seconds
    while True:
        found = what()
        if found or time.monotonic() > end:
            assert found, what
            return found
        time.sleep(0.5)


class Receiver(http.server.BaseHTTPRequestHandler):
    """Takes what Alertmanager and the bridge post."""

    got: t.ClassVar[list[tuple[str, dict[str, t.Any]]]] = []

    def do_POST(self) -> None:
        self.got.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"errcode": 0}')

    def log_message(self, *unused: object) -> None:
        """Say nothing."""


@pytest.fixture
def receiver() -> t.Iterator[list[tuple[str, dict[str, t.Any]]]]:
    server = http.server.ThreadingHTTPServer(("0.0.0.0", PORT), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Receiver.got
    server.shutdown()
    server.server_close()


def test_every_target_is_up_and_its_labels_join() -> None:
    assert {(one["metric"]["job"], one["metric"]["instance"]): one["value"][1] for one in ask("up")} == {
        ("vllm", "gpu-01:tiny"): "1",
        ("host", "gpu-01"): "1",
    }
    (running,) = ask("vllm:num_requests_running")
    assert [running["metric"][key] for key in ("host", "server", "model")] == ["gpu-01", "tiny", "tiny"]
    # One of the two GPUs of the stand-in has an error of memory and is too hot.
    assert {one["metric"]["gpu"]: one["value"][1] for one in ask("private_llm_gpu_utilization_ratio")} == {
        "0": "0.37",
        "1": "1",
    }
    (hot,) = ask("private_llm_gpu_throttled == 1")
    assert (hot["metric"]["gpu"], hot["metric"]["reason"], hot["metric"]["host"]) == ("1", "thermal_hardware", "gpu-01")
    assert ask("private_llm_model_store_free_bytes > 0")
    assert until(lambda: ask("model:cost:per_hour"))[0]["metric"]["model"] == "tiny"


def test_the_page_of_the_targets_shows_them() -> None:
    """Prometheus is on the loopback of its host, so what the browser asks is asked there."""

    def fetch(route: Route) -> None:
        status, kind, body = json.loads(on_host("python3", "-c", FETCH, route.request.url))
        route.fulfill(status=status, content_type=kind, body=base64.b64decode(body))

    picture = playbooks.ROOT / ".cache" / "artifacts" / "prometheus-targets.png"
    picture.parent.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chat.CHROMIUM, args=list(chat.FLAGS))
        shown = browser.new_page(viewport={"width": 1400, "height": 900})
        shown.route("**/*", fetch)
        # Debian's Prometheus has the older pages alone.
        shown.goto(f"{PROMETHEUS}/classic/targets", timeout=60_000)
        shown.screenshot(path=picture, full_page=True)
        said = shown.inner_text("body")
        browser.close()
    assert "vllm (1/1 up)" in said
    assert "host (1/1 up)" in said
    assert "DOWN" not in said


def test_every_metric_that_rules_and_dashboards_ask_is_one_that_this_vllm_gives() -> None:
    given = set(re.findall(r"^([a-z_:0-9]+)", page("http://127.0.0.1:18005/metrics"), re.MULTILINE))
    rules = on_host("sh", "-c", "cat /etc/prometheus/private_llm/rules/*.yml")
    asked = set(re.findall(r"vllm:[a-z0-9_]+", " ".join([rules, *_dashboards.expressions()])))
    assert len(asked) >= 12
    assert asked - given == set()


def test_promtool_tries_every_alert_and_reads_every_expression(tmp_path: Path) -> None:
    server = {"kind": "server", "name": "gpu-01:a", "url": "http://192.0.2.1:1", "host": "gpu-01"}
    server |= {"server": "a", "model": "a", "gpus": ["0", "1"], "gpu_count": 2}
    files = _files.files([server], {"gpu_hour_cost": 2.5})["files"]
    rules = [{"record": f"tried:{at}", "expr": one} for at, one in enumerate(_dashboards.expressions())]
    boards = {"groups": [{"name": "dashboards", "rules": rules}]}
    (tmp_path / "alerts.yml").write_text(files["rules/alerts.yml"])
    (tmp_path / "recording.yml").write_text(files["rules/recording.yml"])
    (tmp_path / "dashboards.yml").write_text(json.dumps(boards))
    (tmp_path / "alerts_test.yml").write_text(TRIED.read_text())
    subprocess.run(["docker", "cp", str(tmp_path), f"{HOST}:/srv/promtool"], check=True, capture_output=True)
    assert "SUCCESS" in on_host("promtool", "test", "rules", "/srv/promtool/alerts_test.yml")
    assert f"SUCCESS: {len(rules)} rules found" in on_host("promtool", "check", "rules", "/srv/promtool/dashboards.yml")


def test_nothing_listens_beyond_the_loopback_but_what_was_told() -> None:
    listening = on_host("ss", "-H", "-l", "-t", "-n").splitlines()
    addresses = {line.split()[3] for line in listening}
    ports = {address.rpartition(":")[2] for address in addresses if not address.startswith(("127.", "[::1]"))}
    assert ports == {"22", "18005"}
    assert {"127.0.0.1:9090", "127.0.0.1:9093", "127.0.0.1:9095", "127.0.0.1:9100"} <= addresses
    started = on_host("ps", "-e", "-o", "args")
    assert "--storage.tsdb.retention.time=2d --storage.tsdb.retention.size=1GB" in started


def test_secrets_are_for_their_owner_and_nowhere_else() -> None:
    folder = "/etc/prometheus/private_llm"
    found = on_host("find", folder, "-type", "f", "-perm", "0600", "-printf", "%P %u\n").splitlines()
    assert sorted(found) == ["alertmanager.yml prometheus", "bridge.json prometheus"]
    assert on_host("find", folder, "-type", "f", "-not", "-perm", "0600", "-not", "-perm", "0644") == ""
    outcome = playbooks.run(MONITORING, [INVENTORY], "--diff", "-e", "monitoring_repeat_seconds=61")
    assert outcome.returncode == 0, outcome.text[-3000:]
    ran = outcome.result("gpu-01", "Run Prometheus and Alertmanager")["results"]
    assert [one["actions"] for one in ran] == [["reload"], ["reload"]]
    told = outcome.text + on_host("ps", "-e", "-o", "args") + on_host("journalctl", "--no-pager", "--boot")
    assert [secret for secret in SECRETS if secret in told] == []
    searched = "/etc /opt /root /run /tmp /var/lib/prometheus /var/lib/private_llm"
    holding = on_host("sh", "-c", f"grep -rlE '{'|'.join(SECRETS)}' {searched} 2>/dev/null || true").split()
    assert sorted(holding) == [f"{folder}/alertmanager.yml", f"{folder}/bridge.json"]


def test_an_engine_that_hangs_raises_an_alert_which_people_get(receiver: list[tuple[str, dict[str, t.Any]]]) -> None:
    engine = on_host("pgrep", "-f", "VLLM::EngineCore").split()[0]
    subprocess.run(["docker", "exec", "-d", HOST, "python3", "-c", LOAD], check=True)

    def reading() -> tuple[float, ...]:
        """Return how many requests run and what was generated so far, as the server itself tells it."""
        text = page("http://127.0.0.1:18005/metrics")
        names = ("vllm:num_requests_running", "vllm:generation_tokens_total")
        return tuple(float(re.search(rf"^{name}{{.*}} (\S+)$", text, re.MULTILINE)[1]) for name in names)

    def caught() -> bool:
        """Stop the engine in the middle of requests; where it had none just then, let it go on."""
        until(lambda: reading()[0] > 0)
        on_host("kill", "-STOP", engine)
        # Two equal readings: the engine may still be sending the end of an answer.
        (running, _generated) = until(lambda: next((one for one in [reading()] if one == reading()), None))
        if not running:
            on_host("kill", "-CONT", engine)
        return running > 0

    until(caught)
    assert page("http://127.0.0.1:18005/health") == "\n"

    def stalled(status: str) -> tuple[str, dict[str, t.Any]] | None:
        for path, body in list(receiver):
            for alert in body.get("alerts", []):
                if alert["labels"]["alertname"] == "EngineStalled" and alert["status"] == status:
                    return path, alert
        return None

    path, alert = until(lambda: stalled("firing"))
    assert path == "/canary-hook-8d1f"
    assert alert["annotations"]["summary"].startswith("tiny on gpu-01 has requests and generates nothing")
    assert (alert["labels"]["host"], alert["labels"]["model"], alert["labels"]["severity"]) == (
        "gpu-01",
        "tiny",
        "page",
    )
    # The robot got the same in its own form, signed.
    robot = until(lambda: [(path, body) for path, body in list(receiver) if "msgtype" in body])[0]
    query = urllib.parse.parse_qs(urllib.parse.urlsplit(robot[0]).query)
    assert query.keys() == {"token", "timestamp", "sign"}
    assert until(lambda: [one for one in list(receiver) if "[FIRING] EngineStalled" in json.dumps(one[1])])
    on_host("kill", "-CONT", engine)
    assert until(lambda: stalled("resolved"))


def test_a_run_makes_up_for_one_that_was_killed_before_it_restarted_a_service() -> None:
    drop_in = "/etc/systemd/system/prometheus.service.d/private_llm.conf"
    started = on_host("systemctl", "show", "--property=MainPID", "prometheus")
    said = ["-e", "monitoring_retention=3d"]
    run = subprocess.Popen(
        playbooks.command(MONITORING, [INVENTORY], *said),
        cwd=playbooks.ROOT,
        env=playbooks.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        until(lambda: "retention.time=3d" in on_host("cat", drop_in))
    finally:
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
    # As the installation of any package does; then systemd itself has nothing to tell any more.
    on_host("systemctl", "daemon-reload")
    assert on_host("systemctl", "show", "--property=MainPID", "prometheus") == started
    for actions in (["restart"], ["reload"]):
        outcome = playbooks.run(MONITORING, [INVENTORY], *said)
        assert outcome.returncode == 0, outcome.text[-3000:]
        ran = outcome.result("gpu-01", "Run Prometheus and Alertmanager")["results"]
        assert [one["actions"] for one in ran] == [actions, ["reload"]]
        assert "--storage.tsdb.retention.time=3d" in on_host("ps", "-e", "-o", "args")
    assert outcome.changes() == 0


def test_what_cannot_be_is_refused_before_anything_is_changed(tmp_path: Path) -> None:
    odd = tmp_path / "odd.json"
    odd.write_text(
        json.dumps({"monitoring_limits": {"queue": 1}, "monitoring_receivers": [{"name": "a", "type": "fax"}]})
    )
    outcome = playbooks.run(MONITORING, [INVENTORY], "-e", f"@{odd}")
    assert outcome.returncode != 0
    assert "monitoring_limits.queue: is not a limit" in outcome.text
    assert "monitoring_receivers[0].type: a: must be one of webhook, mail, dingtalk, wecom, feishu" in outcome.text
    assert outcome.changed() == set()


def test_files_for_a_prometheus_that_is_there_are_written_and_no_host_is_touched(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    outcome = playbooks.run(MONITORING, [INVENTORY], "-e", f"fleet_monitoring_folder={folder}")
    assert outcome.returncode == 0, outcome.text[-3000:]
    assert {name for name, _task in outcome.changed()} == {"localhost"}
    (entry,) = json.loads((folder / "targets" / "vllm.json").read_text())
    assert entry["labels"]["instance"] == "gpu-01:tiny"
    assert sorted(one.name for one in folder.rglob("*.yml")) == ["alerts.yml", "recording.yml", "scrape_configs.yml"]


def test_it_goes_without_a_trace() -> None:
    outcome = playbooks.run("playbooks/remove.yml", [INVENTORY], "-e", "fleet_remove_data=true")
    assert outcome.returncode == 0, outcome.text[-3000:]
    for folder in ("/etc", "/opt", "/var/lib"):
        assert on_host("find", folder, "-path", "*private_llm*", "-not", "-path", "*/vllm_server*") == ""
    units = on_host("systemctl", "list-units", "--all", "--plain", "--no-legend")
    assert "private-llm" not in units
    assert not [line for line in units.splitlines() if "prometheus" in line and " running " in line]
