# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The program that the role puts on hosts, run as its timer runs it, and its parts that need no host."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

from ansible_collections.private_llm.fleet.plugins.plugin_utils.monitoring import _dashboards, _rules

ROOT = Path(__file__).resolve().parents[4]
PROGRAM = ROOT / "roles" / "monitoring" / "files" / "host_metrics"
NVIDIA_SMI = ROOT / "scripts" / "lab" / "fake_gpu" / "nvidia-smi"
GPU = {
    "utilization.gpu": "37 %",
    "temperature.gpu": "55",
    "power.draw": "141.25 W",
    "power.limit": "[N/A]",
    "clocks_throttle_reasons.active": "0x0000000000000044",
    "ecc.errors.uncorrected.volatile.total": "1",
    "memory_used": 1024,
}
XIDS = """\
NVRM: Xid (PCI:0000:01:00): 79, pid=1234, name=python3, GPU has fallen off the bus.
NVRM: Xid (PCI:0000:01:00): 79, GPU has fallen off the bus.
NVRM: Xid (PCI:0000:99:00): 31, pid='<unknown>', name=<unknown>, Ch 00000001
"""
REQUESTS = [
    {"user": "ann", "model": "big", "status": 200, "ms": {"total": 1500}, "bytes": 700},
    {"user": "ann", "model": "big", "status": 201, "ms": {"total": 250}, "bytes": 50},
    {"user": "bob", "model": "", "status": 429, "ms": {"total": -1}, "bytes": "many"},
    {"user": "bob", "model": "", "status": 429, "ms": "none"},
]


def journal(folder: Path) -> None:
    """Put a journalctl in place: the kernel's log, and a gateway's, of which only the first look finds requests."""
    lines = [json.dumps(one) for one in REQUESTS] + ["[NOTICE] haproxy version is 2.6.12", '{"user": "no status"}']
    (folder / "gateway.log").write_text("\n".join(lines) + "\n")
    (folder / "kernel.log").write_text(XIDS)
    program = folder / "journalctl"
    program.write_text(
        "#!/bin/sh\n"
        f'case "$*" in\n*--dmesg*) cat {folder}/kernel.log ;;\n'
        f'*"--after-cursor c;1"*) echo "-- cursor: c;1" ;;\n'
        f'*) cat {folder}/gateway.log; echo "-- cursor: c;1" ;;\nesac\n'
    )
    program.chmod(0o755)


def collect(folder: Path, machine: t.Any, **config: t.Any) -> dict[str, str]:
    """Run the program once and return its samples by name and labels."""
    (folder / "gpus.json").write_text(json.dumps(machine))
    given = {
        "output": str(folder / "host.prom"),
        "state": str(folder / "state.json"),
        "model_store": str(folder / "not" / "there" / "yet"),
        "certificates": [],
        "gateway": False,
        "nvidia_smi": str(NVIDIA_SMI),
        "seconds": 10,
        **config,
    }
    (folder / "config.json").write_text(json.dumps(given))
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [sys.executable, "-B", str(PROGRAM), str(folder / "config.json")],
        env={**os.environ, "PATH": path, "PRIVATE_LLM_LAB_GPUS": str(folder / "gpus.json")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = [line for line in (folder / "host.prom").read_text().splitlines() if not line.startswith("#")]
    return dict(line.rsplit(" ", 1) for line in lines)


def test_gpus_are_measured_and_faults_are_counted(tmp_path: Path) -> None:
    journal(tmp_path)
    found = collect(tmp_path, {"gpus": [GPU]})
    labels = 'gpu="0",uuid="GPU-00000000-0000-0000-0000-000000000000",name="NVIDIA L40S"'
    assert found["private_llm_gpu_driver_up"] == "1"
    assert found["private_llm_gpus"] == "1"
    assert found[f"private_llm_gpu_utilization_ratio{{{labels}}}"] == "0.37"
    assert found[f"private_llm_gpu_memory_used_bytes{{{labels}}}"] == str(1024**3)
    assert found[f"private_llm_gpu_power_watts{{{labels}}}"] == "141.25"
    assert found[f"private_llm_gpu_ecc_uncorrected_total{{{labels}}}"] == "1"
    assert f"private_llm_gpu_power_limit_watts{{{labels}}}" not in found
    reasons = {re.search('reason="(.+?)"', one)[1]: value for one, value in found.items() if "throttled" in one}
    assert [name for name, value in reasons.items() if value == "1"] == ["power_cap", "thermal_hardware"]
    xids = {one: value for one, value in found.items() if "xid_total" in one}
    assert xids == {
        'private_llm_gpu_xid_total{gpu="0",uuid="GPU-00000000-0000-0000-0000-000000000000",xid="79"}': "2",
        'private_llm_gpu_xid_total{gpu="0000:99:00",uuid="",xid="31"}': "1",
    }
    assert int(found["private_llm_model_store_bytes"]) >= int(found["private_llm_model_store_free_bytes"]) > 0
    assert (tmp_path / "host.prom").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("machine", [{"failure": {"rc": 15, "output": "GPU is lost."}}, {"hang": True}])
def test_a_driver_that_does_not_answer_is_told(tmp_path: Path, machine: dict[str, t.Any]) -> None:
    journal(tmp_path)
    found = collect(tmp_path, machine, seconds=2)
    assert {one: value for one, value in found.items() if "gpu" in one} == {"private_llm_gpu_driver_up": "0"}


def test_requests_of_users_are_counted_once(tmp_path: Path) -> None:
    journal(tmp_path)
    for _again in range(2):
        found = collect(tmp_path, {"gpus": []}, gateway=True)
        assert {one: value for one, value in found.items() if "requests_total" in one} == {
            'private_llm_gateway_requests_total{user="ann",model="big",status="2xx"}': "2",
            'private_llm_gateway_requests_total{user="bob",model="",status="4xx"}': "2",
        }
        assert {one: value for one, value in found.items() if "gateway_request_" in one} == {
            'private_llm_gateway_request_seconds_total{user="ann",model="big"}': "1.75",
            'private_llm_gateway_request_seconds_total{user="bob",model=""}': "0",
            'private_llm_gateway_request_bytes_total{user="ann",model="big"}': "750",
            'private_llm_gateway_request_bytes_total{user="bob",model=""}': "0",
        }
    (tmp_path / "state.json").write_text("{broken")
    assert len([one for one in collect(tmp_path, {"gpus": []}, gateway=True) if "requests_total" in one]) == 2


def test_what_an_older_release_counted_is_kept(tmp_path: Path) -> None:
    journal(tmp_path)
    (tmp_path / "state.json").write_text(json.dumps({"cursor": "c;1", "requests": {'["ann", "big", "2xx"]': 41}}))
    found = collect(tmp_path, {"gpus": []}, gateway=True)
    assert found['private_llm_gateway_requests_total{user="ann",model="big",status="2xx"}'] == "41"


@pytest.mark.parametrize(
    "requests",
    [
        {"no list": 1},
        {'["ann"]': 1},
        {'["ann", "big", "2xx"]': "many"},
        {'["ann", "big", "2xx"]': float("nan")},
        {'["ann", "big", 2]': 1},
        ["ann"],
    ],
)
def test_what_something_else_counted_costs_no_metric_of_the_host(tmp_path: Path, requests: t.Any) -> None:
    journal(tmp_path)
    (tmp_path / "state.json").write_text(json.dumps({"cursor": "", "requests": requests}))
    found = collect(tmp_path, {"gpus": [GPU]}, gateway=True)
    assert found["private_llm_gpus"] == "1"
    assert found['private_llm_gateway_requests_total{user="ann",model="big",status="2xx"}'] == "2"


def test_pipes_and_a_state_that_cannot_be_written_cost_nothing_else(tmp_path: Path) -> None:
    journal(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    found = collect(tmp_path, {"gpus": [GPU]}, gateway=True, certificates=[str(tmp_path / "pipe")])
    assert found["private_llm_gpus"] == "1"
    for state in (tmp_path / "pipe", tmp_path / "away" / "state.json"):
        found = collect(tmp_path, {"gpus": [GPU]}, gateway=True, state=str(state))
        assert found['private_llm_gateway_requests_total{user="ann",model="big",status="2xx"}'] == "2"
        assert found["private_llm_gpus"] == "1"


def test_a_gpu_that_is_told_twice_is_written_once(tmp_path: Path) -> None:
    journal(tmp_path)
    program = tmp_path / "twice"
    program.write_text(f'#!/bin/sh\n"{NVIDIA_SMI}" "$@"\n"{NVIDIA_SMI}" "$@"\necho "rubbish, \\377"\n')
    program.chmod(0o755)
    collect(tmp_path, {"gpus": [GPU]}, nvidia_smi=str(program))
    lines = (tmp_path / "host.prom").read_text().splitlines()
    samples = [line.rsplit(" ", 1)[0] for line in lines if not line.startswith("#")]
    assert len(samples) == len(set(samples)) > 5


def test_the_end_of_a_certificate_is_told_and_what_is_none_is_passed_over(tmp_path: Path) -> None:
    journal(tmp_path)
    certificate = tmp_path / "gw.pem"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=gw", "-days", "30"]
    subprocess.run(
        [*made, "-keyout", str(certificate), "-out", str(tmp_path / "c.pem")], check=True, capture_output=True
    )
    certificate.write_text(certificate.read_text() + (tmp_path / "c.pem").read_text())
    (tmp_path / "odd.pem").write_text("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n")
    odd = [str(tmp_path / "odd.pem"), str(tmp_path / "none.pem")]
    found = collect(tmp_path, {"gpus": []}, certificates=[str(certificate), *odd])
    ends = {one: int(value) for one, value in found.items() if "certificate" in one}
    said = subprocess.run(
        ["openssl", "x509", "-in", str(certificate), "-noout", "-enddate", "-dateopt", "iso_8601"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    day = said.removeprefix("notAfter=").replace(" ", "T").replace("Z", "+00:00")
    seconds = subprocess.run(["date", "-d", day, "+%s"], capture_output=True, text=True, check=True).stdout
    assert ends == {f'private_llm_certificate_expires_timestamp_seconds{{file="{certificate}"}}': int(seconds)}


def test_every_metric_of_ours_that_is_asked_is_one_that_a_program_writes() -> None:
    source = "".join(path.read_text() for path in PROGRAM.glob("*.py"))
    # What server_watch writes.
    others = {"private_llm_server_state", "private_llm_server_given_up"}
    expressions = [*(one.expr for one in _rules.alerts(_rules.Limits())), *_dashboards.expressions()]
    expressions += _rules.RECORDED.values()
    asked = {name for one in expressions for name in re.findall(r"private_llm_\w+", one)}
    assert {name for name in asked - others if f'"{name}"' not in source} == set()
