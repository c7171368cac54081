# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import pathlib
import random
import time
import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._gpu import _look, _status

ROOT = pathlib.Path(__file__).parents[5]
FAILURES = ROOT / "tests/unit/fixtures/nvidia_smi/failures"
STAND_IN = ROOT / "scripts/lab/fake_gpu/nvidia-smi"
ONE = [{"address": "0000:00:09.0", "device": "0x2330", "driver": "nvidia"}]
NOUVEAU = [{"address": "0000:01:00.0", "device": "0x2684", "driver": "nouveau"}]
GIVEN_AWAY = [{"address": "0000:01:00.0", "device": "0x2684", "driver": "vfio-pci"}]
BARE = [
    {"address": "0000:00:09.0", "device": "0x2330", "driver": None},
    {"address": "0000:00:0a.0", "device": "0x2330", "driver": None},
]


@pytest.mark.parametrize(
    ("devices", "status", "message"),
    [
        ([], "no_gpu", "there is no NVIDIA GPU in this host"),
        (
            BARE,
            "no_driver",
            (
                "2 NVIDIA GPUs (0000:00:09.0, 0000:00:0a.0) in this host without a loaded NVIDIA driver;"
                " install it, or load it and look at the kernel's log"
            ),
        ),
        (
            NOUVEAU,
            "no_driver",
            (
                "1 NVIDIA GPU (0000:01:00.0) in this host held by nouveau;"
                " install NVIDIA's driver, which keeps nouveau away, and reboot"
            ),
        ),
        (
            GIVEN_AWAY,
            "no_driver",
            "1 NVIDIA GPU (0000:01:00.0) in this host given to virtual machines (vfio-pci), not to the host",
        ),
    ],
)
def test_judge_without_tool(devices: list[dict[str, t.Any]], status: str, message: str) -> None:
    assert _status.judge_without_tool(devices) == (status, message)


@pytest.mark.parametrize(
    ("sample", "devices", "module", "status", "message"),
    [
        pytest.param(
            "driver-library-mismatch.rc18.stdout",
            ONE,
            "565.57.01",
            "driver_mismatch",
            "the driver was updated and its old kernel module is still loaded"
            " (kernel module 565.57.01, library 565.57); reboot the host, or unload and load the nvidia modules",
            id="mismatch",
        ),
        pytest.param(
            "driver-not-loaded.rc9.stdout",
            BARE[:1],
            None,
            "no_driver",
            "1 NVIDIA GPU (0000:00:09.0) in this host without a loaded NVIDIA driver;"
            " install it, or load it and look at the kernel's log",
            id="not-loaded",
        ),
        pytest.param(
            "driver-not-loaded.rc9.stdout",
            [],
            None,
            "no_gpu",
            "there is no NVIDIA GPU in this host, although nvidia-smi is installed",
            id="not-loaded-and-no-gpu",
        ),
        pytest.param(
            "no-devices.rc6.stdout",
            ONE,
            "590.48.01",
            "error",
            "the driver is loaded and refuses 0000:00:09.0; the kernel's log says why (dmesg, lines with NVRM)",
            id="refused",
        ),
        pytest.param(
            "no-devices.rc6.stdout",
            [],
            "590.48.01",
            "no_gpu",
            "there is no NVIDIA GPU in this host, although the driver is loaded",
            id="no-devices",
        ),
        pytest.param(
            "gpu-access-blocked.rc17.stdout",
            ONE,
            "580.159.04",
            "blocked",
            "nvidia-smi may not open the GPUs' device files; a cgroup or a container keeps them from it, as after"
            " systemctl daemon-reload in a container"
            " (Failed to initialize NVML: GPU access blocked by the operating system)",
            id="blocked",
        ),
        pytest.param(
            "libnvidia-ml-missing.rc12.stdout",
            ONE,
            "580.159.04",
            "no_driver",
            "the driver's library libnvidia-ml.so is missing; install the whole driver, of one version",
            id="no-library",
        ),
        pytest.param(
            "unknown-error.rc255.stdout",
            ONE,
            "590.48.01",
            "blocked",
            "nvidia-smi may not open the GPUs' device files; a cgroup or a container keeps them from it, as after"
            " systemctl daemon-reload in a container (Failed to initialize NVML: Unknown Error)",
            id="unknown",
        ),
    ],
)
def test_judge_recorded_failures(
    sample: str, devices: list[dict[str, t.Any]], module: str | None, status: str, message: str
) -> None:
    rc = int(sample.split(".rc")[1].split(".", maxsplit=1)[0])
    output = (FAILURES / sample).read_text(encoding="utf-8")
    assert _status.judge_failure(rc, output, devices, module) == (status, message)


@pytest.mark.parametrize(
    ("rc", "output", "status", "begins"),
    [
        (
            255,
            "Failed to initialize NVML: Insufficient Permissions",
            "blocked",
            "nvidia-smi may not use the driver; run as root",
        ),
        (4, "", "blocked", "nvidia-smi may not use the driver; run as root"),
        (12, "NVIDIA-SMI couldn't find libnvidia-ml.so library in your system.", "no_driver", "the driver's library"),
        (
            15,
            "Unable to determine the device handle for GPU: GPU is lost.",
            "gpu_lost",
            "a GPU has fallen off the bus; reboot",
        ),
        (16, "GPU requires reset", "reset_required", "a GPU must be reset before it can be used; stop what uses it"),
        (17, "", "blocked", "nvidia-smi may not open the GPUs' device files; a cgroup or a container"),
        (18, "", "driver_mismatch", "the driver was updated and its old kernel module is still loaded; reboot"),
        (139, "", "error", "nvidia-smi fails: exit code 139"),
    ],
)
def test_judge_failure(rc: int, output: str, status: str, begins: str) -> None:
    found, message = _status.judge_failure(rc, output, ONE)
    assert found == status
    assert message.startswith(begins)


def test_judge_failure_under_selinux() -> None:
    output = (FAILURES / "selinux-insufficient-permissions.stdout").read_text(encoding="utf-8")
    assert _status.judge_failure(4, output, ONE, selinux=True) == (
        "blocked",
        "nvidia-smi may not use the driver; SELinux is enforcing, so look for its denials (ausearch -m avc -ts recent)"
        " (Failed to initialize NVML: Insufficient Permissions)",
    )


def gpu(index: int, **changes: t.Any) -> dict[str, t.Any]:
    return {"index": index, "problem": None, "fabric": None, **changes}


UP = {"state": "Completed", "status": "Success"}


@pytest.mark.parametrize(
    ("gpus", "remarks", "status", "message"),
    [
        ([gpu(0)], [], "ok", "1 GPU can be used"),
        ([gpu(0, fabric=UP), gpu(1, fabric=UP)], [], "ok", "2 GPUs can be used"),
        (
            [gpu(0)],
            ["WARNING: infoROM is corrupted at gpu 0000:1A:00.0"],
            "ok",
            "1 GPU can be used (WARNING: infoROM is corrupted at gpu 0000:1A:00.0)",
        ),
        (
            [gpu(0), gpu(1, problem="GPU requires reset")],
            [],
            "reset_required",
            "a GPU must be reset before it can be used; stop what uses it and run nvidia-smi --gpu-reset, or reboot"
            " the host: GPU 1 GPU requires reset",
        ),
        (
            [gpu(0)],
            ["Unable to determine the device handle for GPU1: 0000:5D:00.0: GPU is lost."],
            "gpu_lost",
            "a GPU has fallen off the bus; reboot the host, and look at its power and seating:"
            " Unable to determine the device handle for GPU1: 0000:5D:00.0: GPU is lost.",
        ),
        (
            [gpu(0)],
            ["Unable to open GPU 3: out of memory"],
            "error",
            "not every GPU is in order: Unable to open GPU 3: out of memory",
        ),
        (
            [gpu(0, fabric=UP), gpu(1, fabric={"state": "In Progress", "status": None})],
            [],
            "fabric_down",
            (
                "the NVLink fabric is not up (GPU 1 In Progress, no status); start nvidia-fabricmanager,"
                " in exactly the driver's version; without it CUDA fails with error 802"
            ),
        ),
        ([], [], "error", "nvidia-smi lists no GPU: it says nothing"),
    ],
)
def test_judge_gpus(gpus: list[dict[str, t.Any]], remarks: list[str], status: str, message: str) -> None:
    assert _status.judge_gpus(gpus, remarks) == (status, message)


def fabric_manager(switches: int = 6, running: bool = True, version: str | None = "570.86.16") -> dict[str, t.Any]:
    return {"switches": switches, "running": running, "version": version}


@pytest.mark.parametrize(
    ("gpus", "manager", "status", "message"),
    [
        pytest.param([gpu(0)], fabric_manager(), "ok", "1 GPU can be used", id="matches"),
        pytest.param([gpu(0)], fabric_manager(0, False, None), "ok", "1 GPU can be used", id="not-needed"),
        pytest.param(
            [gpu(0)],
            fabric_manager(version="570.86.15"),
            "fabric_down",
            "Fabric Manager is of version 570.86.15 and the driver of 570.86.16; start nvidia-fabricmanager, in exactly"
            " the driver's version (570.86.16); without it CUDA fails with error 802",
            id="differs",
        ),
        pytest.param(
            [gpu(0)],
            fabric_manager(running=False),
            "fabric_down",
            "this host has 6 NVSwitches and no running Fabric Manager; start nvidia-fabricmanager, in exactly the"
            " driver's version (570.86.16); without it CUDA fails with error 802",
            id="stopped",
        ),
        # Seen from a container, or with NVSwitches that are another machine's: the GPUs themselves know better.
        pytest.param([gpu(0, fabric=UP)], fabric_manager(running=False), "ok", "1 GPU can be used", id="fabric-is-up"),
        pytest.param(
            [gpu(0, fabric={"state": "Not Started", "status": None})],
            fabric_manager(version="570.86.15"),
            "fabric_down",
            "the NVLink fabric is not up (GPU 0 Not Started, no status); start nvidia-fabricmanager, in exactly the"
            " driver's version (570.86.16); this host has 570.86.15; without it CUDA fails with error 802",
            id="fabric-is-down",
        ),
    ],
)
def test_judge_fabric(gpus: list[dict[str, t.Any]], manager: dict[str, t.Any], status: str, message: str) -> None:
    assert _status.judge_gpus(gpus, [], "570.86.16", manager) == (status, message)


@pytest.mark.parametrize(
    ("vendor", "device_class", "expected"),
    [
        ("0x10de\n", "0x030200\n", True),
        ("0x10DE", "0x030000", True),
        ("0x10de", "0x040300", False),  # the sound of a graphics card
        ("0x10de", "0x068000", False),  # an NVSwitch
        ("0x1002", "0x030000", False),
        ("", "", False),
    ],
)
def test_is_gpu(vendor: str, device_class: str, expected: bool) -> None:
    assert _status.is_gpu(vendor, device_class) is expected


def make_pci(folder: pathlib.Path) -> str:
    for address, vendor, kind, driver in (
        ("0000:00:02.0", "0x8086", "0x030000", "i915"),
        ("0000:01:00.0", "0x10de", "0x030200", "nvidia"),
        ("0000:01:00.1", "0x10de", "0x040300", None),
        ("0000:05:00.0", "0x10de", "0x068000", "nvidia-nvswitch"),
        ("0000:02:00.0", "0x10de", "0x030200", None),
    ):
        device = folder / "devices" / address
        device.mkdir(parents=True)
        (device / "vendor").write_text(vendor + "\n", encoding="utf-8")
        (device / "class").write_text(kind + "\n", encoding="utf-8")
        (device / "device").write_text("0x2330\n", encoding="utf-8")
        if driver:
            (folder / "drivers" / driver).mkdir(parents=True, exist_ok=True)
            (device / "driver").symlink_to(folder / "drivers" / driver)
    return str(folder / "devices")


def test_pci_devices(tmp_path: pathlib.Path) -> None:
    assert _look.pci_devices(make_pci(tmp_path)) == [
        {"address": "0000:01:00.0", "device": "0x2330", "driver": "nvidia"},
        {"address": "0000:02:00.0", "device": "0x2330", "driver": None},
    ]
    assert _look.pci_devices(str(tmp_path / "none")) == []


def look(tmp_path: pathlib.Path, machine: dict[str, t.Any], monkeypatch: pytest.MonkeyPatch) -> dict[str, t.Any]:
    """Look at a machine through the lab's stand-in for nvidia-smi: a real process, recorded forms."""
    path = tmp_path / "gpus.json"
    path.write_text(json.dumps(machine), encoding="utf-8")
    monkeypatch.setenv("PRIVATE_LLM_LAB_GPUS", str(path))
    nowhere = str(tmp_path / "none")
    return _look.look(_look.asker(str(STAND_IN), 10), 10, sysfs=nowhere, proc="/proc")


def test_look_at_two_gpus(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mig = [{"profile": "1g.10gb", "uuid": "MIG-1"}, {"profile": "1g.10gb", "uuid": "MIG-2"}]
    machine = {
        "gpus": [{"uuid": "GPU-a", "memory_used": 68}, {"uuid": "GPU-b", "mig": mig, "name": "NVIDIA H100"}],
        "processes": [{"gpu": 0, "pid": os.getpid(), "name": "python3", "used_memory": 68}],
    }
    found = look(tmp_path, machine, monkeypatch)
    assert (found["status"], found["message"]) == ("ok", "2 GPUs can be used")
    assert (found["driver_version"], found["cuda_version"]) == ("590.48.01", "13.1")
    assert [one["uuid"] for one in found["gpus"]] == ["GPU-a", "GPU-b"]
    assert found["gpus"][0]["memory"] == {"total": 46068, "used": 68, "free": 46000}
    assert [one["uuid"] for one in found["gpus"][1]["mig"]["devices"]] == ["MIG-1", "MIG-2"]
    assert found["gpus"][1]["mig"]["devices"][1]["memory"] == {"total": 9856, "used": 0, "free": 9856}
    assert found["topology"][1]["gpus"] == {"0": "SYS"}
    assert [(one["pid"], one["gpu_uuid"], one["used_memory"]) for one in found["processes"]] == [
        (os.getpid(), "GPU-a", 68)
    ]


def test_look_with_a_driver_that_does_not_know_every_field() -> None:
    asked = []

    def ask(arguments: t.Sequence[str]) -> _look.Answer:
        asked.append(arguments)
        fields = arguments[0].partition("=")[2].split(",") if arguments else []
        for unknown in ("compute_cap", "fabric.state", "fabric.status"):
            if unknown in fields:
                return _look.Answer(2, f'Field "{unknown}" is not a valid field to query.\n')
        if arguments and arguments[0].startswith("--query-gpu"):
            return _look.Answer(0, ", ".join("0" if field == "index" else "x" for field in fields) + "\n")
        return _look.Answer(0, "")

    found = _look.look(ask, 1, sysfs="/nonexistent", proc="/nonexistent")
    assert found["status"] == "ok"
    assert found["gpus"][0]["compute_capability"] is None
    assert len([one for one in asked if one and one[0].startswith("--query-gpu")]) == 4


def test_look_gives_up_on_a_field_it_did_not_ask_for() -> None:
    found = _look.look(
        lambda arguments: _look.Answer(2, 'Field "moon" is not a valid field to query.'), 1, sysfs="/none", proc="/none"
    )
    assert found["status"] == "error"
    assert found["message"].startswith('nvidia-smi fails: Field "moon" is not a valid field to query.; look into')


def test_look_at_a_failure(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failure = {
        "rc": 18,
        "output": "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 565.57",
    }
    found = look(tmp_path, {"failure": failure}, monkeypatch)
    assert found["status"] == "driver_mismatch"
    assert "(kernel module unknown, library 565.57)" in found["message"]
    assert found["gpus"] == []


def test_look_does_not_wait_for_ever(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "gpus.json"
    path.write_text('{"hang": true}', encoding="utf-8")
    monkeypatch.setenv("PRIVATE_LLM_LAB_GPUS", str(path))
    begin = time.monotonic()
    found = _look.look(_look.asker(str(STAND_IN), 0.5), 0.5, sysfs="/none", proc="/none")
    assert time.monotonic() - begin < 20
    assert found["status"] == "hung"
    assert found["message"].startswith("nvidia-smi did not answer within 0.5 seconds; a GPU or the driver hangs")


def test_look_without_nvidia_smi(tmp_path: pathlib.Path) -> None:
    found = _look.look(None, 1, sysfs=make_pci(tmp_path), proc="/none")
    assert found["status"] == "no_driver"
    assert len(found["pci_devices"]) == 2
    assert found.keys() == _look.empty().keys()


def test_look_with_an_nvidia_smi_that_cannot_run(tmp_path: pathlib.Path) -> None:
    found = _look.look(_look.asker(str(tmp_path / "nothing"), 1), 1, sysfs="/none", proc="/none")
    assert (found["status"], found["message"]) == (
        "error",
        "nvidia-smi cannot be run: No such file or directory; install the whole driver, of one version and made for "
        "this system",
    )


def test_look_at_a_host_with_switches(tmp_path: pathlib.Path) -> None:
    process = tmp_path / "proc/4242"
    process.mkdir(parents=True)
    (process / "comm").write_text("nv-fabricmanage\n", encoding="utf-8")
    found = _look.look_at_fabric_manager(
        lambda arguments: _look.Answer(0, "Fabric Manager version is : 570.86.15\n"),
        make_pci(tmp_path),
        str(tmp_path / "proc"),
    )
    assert found == {"switches": 1, "running": True, "version": "570.86.15"}
    assert _look.look_at_fabric_manager(None, "/none", "/none") == {"switches": 0, "running": False, "version": None}


RECORDED = [
    path.read_text(encoding="utf-8")
    for path in sorted((ROOT / "tests/unit/fixtures/nvidia_smi").rglob("*"))
    if path.is_file() and path.name != "README.md"
]


@pytest.mark.parametrize("seed", range(40))
def test_look_never_throws(seed: int) -> None:
    """Whatever it prints, cut and mixed up, in answer to whatever was asked, there is a verdict and a sentence."""
    chance = random.Random(seed)

    def ask(arguments: t.Sequence[str]) -> _look.Answer:
        text = "".join(chance.sample(RECORDED, 2))
        begin = chance.randrange(len(text))
        lines = text[begin : begin + chance.randrange(2000)].splitlines(keepends=True)
        chance.shuffle(lines)
        return _look.Answer(chance.choice([0, 0, 0, 2, 9, 15, 255]), "".join(lines))

    found = _look.look(ask, 1, ask, sysfs="/none", proc="/none")
    assert found["status"] in _status.ALL
    assert found["message"]
    assert found.keys() == _look.empty().keys()
