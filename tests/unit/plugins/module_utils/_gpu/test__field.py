# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What nvidia-smi and hosts were seen to say out there, in public reports."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._gpu import (
    _cdi,
    _look,
    _nvidia_smi,
    _proof,
    _select,
    _status,
)

BANNER = "| NVIDIA-SMI 580.95.05    Driver Version: 580.95.05    CUDA Version: 13.0 |\n"
HEALTHY = {
    "index": "0",
    "uuid": "GPU-11111111-2222-3333-4444-555555555555",
    "name": "NVIDIA H100 80GB HBM3",
    "pci.bus_id": "00000000:34:00.0",
    "driver_version": "580.95.05",
    "memory.total": "81559 MiB",
    "memory.used": "0 MiB",
    "memory.free": "81081 MiB",
    "compute_cap": "9.0",
    "persistence_mode": "Enabled",
    "ecc.mode.current": "Enabled",
    "mig.mode.current": "Disabled",
    "mig.mode.pending": "Disabled",
    "fabric.state": "N/A",
    "fabric.status": "N/A",
}


def host(
    row: t.Mapping[str, str] | None,
    extra: str = "",
    errors: str = "",
    rc: int = 0,
    banner: str = BANNER,
    topology: str = "",
) -> _look.Ask:
    """A driver that has one GPU, or none, and prints something besides."""

    def ask(arguments: t.Sequence[str]) -> _look.Answer:
        question, _equals, fields = (arguments[0] if arguments else "").partition("=")
        if question == "--query-gpu":
            line = "" if row is None else ", ".join({**HEALTHY, **row}[field] for field in fields.split(",")) + "\n"
            return _look.Answer(rc, extra + line, errors)
        if question == "topo":
            return _look.Answer(0, topology, errors)
        return _look.Answer(0, "" if arguments else banner, errors)

    return ask


def proc_of(folder: pathlib.Path, **files: str) -> str:
    """A /proc with these files; two underscores in a name are a slash."""
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return str(folder)


def verdict(ask: _look.Ask, proc: str = "/none") -> tuple[str, str]:
    found = _look.look(ask, 1, sysfs="/none", proc=proc)
    return found["status"], found["message"]


LOADER_LINES = [
    "ERROR: ld.so: object '/$LIB/libwatch.so' from /etc/ld.so.preload cannot be preloaded (cannot open): ignored.",
    "nvidia-smi: /opt/tools/lib/libtinfo.so.6: no version information available (required by nvidia-smi)",
    "ERROR: ld.so: object '/opt/GPU 1/libgpu.so' from LD_PRELOAD cannot be preloaded: ignored.",
    "setlocale: LC_ALL: cannot change locale (de_DE.UTF-8)",
    "profiling is on",
]


@pytest.mark.parametrize("line", LOADER_LINES)
@pytest.mark.parametrize("where", ["extra", "errors"])
def test_a_foreign_line_beside_healthy_gpus_is_a_note_and_no_fault(line: str, where: str) -> None:
    said: dict[str, t.Any] = {where: line + "\n"}
    status, message = verdict(host({}, **said))
    assert status == "ok"
    assert message == f"1 GPU can be used ({line})"


def test_many_foreign_lines_do_not_flood_the_message() -> None:
    status, message = verdict(host({}, errors="".join(f"noise {number}\n" for number in range(500))))
    assert (status, message.count("noise")) == ("ok", 5)
    assert "and 495 more lines" in message


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("Unable to determine the device handle for GPU1: 0000:34:00.0: Unknown Error", "gpu_lost"),
        ("Unable to determine the device handle for gpu 0000:34:00.0: GPU is lost.  Reboot the system.", "gpu_lost"),
        ("Unable to determine the device handle for GPU 0000:34:00.0: GPU requires reset", "reset_required"),
        ("Unable to determine the device handle for GPU1: 0000:34:00.0: Insufficient Permissions", "error"),
        ("GPU 00000000:34:00.0: temperature sensor failed", "error"),
        ("WARNING: infoROM is corrupted at gpu 0000:34:00.0", "ok"),
    ],
)
@pytest.mark.parametrize("where", ["extra", "errors"])
def test_a_line_that_names_a_gpu_counts_whether_on_stdout_or_stderr(line: str, status: str, where: str) -> None:
    said: dict[str, t.Any] = {where: line + "\n"}
    assert verdict(host({}, **said))[0] == status


def test_a_gpu_whose_handle_cannot_be_determined_has_fallen_off_the_bus() -> None:
    line = "Unable to determine the device handle for GPU1: 0000:34:00.0: Unknown Error"
    status, message = _status.judge_failure(255, line, [])
    assert status == "gpu_lost"
    assert "look at its power and seating" in message


IN_PROGRESS = {"fabric.state": "In Progress", "fabric.status": "N/A"}


def test_a_guest_without_switches_is_sent_to_its_hypervisor_for_fabric_manager(tmp_path: pathlib.Path) -> None:
    proc = proc_of(tmp_path, cpuinfo="processor\t: 0\nflags\t\t: fpu vme hypervisor lahf_lm\n")
    status, message = verdict(host(IN_PROGRESS), proc)
    assert status == "fabric_down"
    assert "runs on its hypervisor" in message
    assert "start nvidia-fabricmanager" not in message


def test_a_host_of_its_own_is_told_to_start_fabric_manager(tmp_path: pathlib.Path) -> None:
    proc = proc_of(tmp_path, cpuinfo="processor\t: 0\nflags\t\t: fpu vme lahf_lm\n")
    assert "start nvidia-fabricmanager" in verdict(host(IN_PROGRESS), proc)[1]


MEMINFO = "MemTotal:       125829120 kB\nMemFree:  1024 kB\nMemAvailable:   104857600 kB\n"
UNIFIED = {"total": 122880, "used": 20480, "free": 102400}
NO_MEMORY = dict.fromkeys(("memory.total", "memory.used", "memory.free"), "[N/A]")


@pytest.mark.parametrize(
    "row",
    [
        pytest.param({**NO_MEMORY, "name": "NVIDIA GB10"}, id="gb10-tells-none"),
        pytest.param({**NO_MEMORY, "name": "NVIDIA Something New"}, id="unknown-name-tells-none"),
        pytest.param({"name": "NVIDIA N1X", "memory.total": "8128 MiB"}, id="n1x-tells-its-carve-out"),
        pytest.param({**NO_MEMORY, "name": "NVIDIA Thor", "memory.total": "Not Supported"}, id="thor"),
    ],
)
def test_a_gpu_with_unified_memory_has_the_memory_of_its_host(row: dict[str, str], tmp_path: pathlib.Path) -> None:
    gpu = _look.look(host(row), 1, sysfs="/none", proc=proc_of(tmp_path, meminfo=MEMINFO))["gpus"][0]
    assert (gpu["unified"], gpu["memory"], gpu["problem"]) == (True, UNIFIED, None)


@pytest.mark.parametrize(
    "row",
    [
        pytest.param({}, id="h100"),
        pytest.param({"name": "NVIDIA GH200 480GB", "memory.total": "97871 MiB"}, id="gh200-has-its-own"),
        pytest.param({"memory.total": "[Insufficient Permissions]"}, id="may-not-be-told"),
        pytest.param({"memory.total": "[GPU requires reset]"}, id="out-of-order"),
    ],
)
def test_no_other_gpu_is_given_the_memory_of_its_host(row: dict[str, str], tmp_path: pathlib.Path) -> None:
    gpu = _look.look(host(row), 1, sysfs="/none", proc=proc_of(tmp_path, meminfo=MEMINFO))["gpus"][0]
    assert gpu["unified"] is False
    assert gpu["memory"]["total"] != UNIFIED["total"]


def test_unified_memory_without_a_readable_meminfo_stays_unknown() -> None:
    gpu = _look.look(host({**NO_MEMORY, "name": "NVIDIA GB10"}), 1, sysfs="/none", proc="/none")["gpus"][0]
    assert (gpu["unified"], gpu["memory"]) == (True, {"total": None, "used": None, "free": None})


def test_a_network_card_of_an_unknown_name_does_not_shift_the_others() -> None:
    table = (
        "\tGPU0\tGPU1\tmlx5_0\tmlx5_bond_0\tmlx5_2\trocep1s0\tCPU Affinity\tNUMA Affinity\n"
        "GPU0\t X \tNV12\tPIX\tSYS\tNODE\tPHB\t0-31\t0\n"
        "GPU1\tNV12\t X \tNODE\tPXB\tSYS\tSYS\t32-63\t1\n"
    )
    first, second = _nvidia_smi.parse_topology(table)
    assert first["nics"] == {"mlx5_0": "PIX", "mlx5_bond_0": "SYS", "mlx5_2": "NODE", "rocep1s0": "PHB"}
    assert (first["gpus"], second["gpus"]) == ({"1": "NV12"}, {"0": "NV12"})
    assert (second["cpu_affinity"], second["numa_affinity"]) == ("32-63", "1")


@pytest.mark.parametrize(
    ("rc", "text"),
    [
        (17, "Failed to initialize NVML: GPU access blocked by the operating system\n"),
        (9, "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n"),
    ],
)
def test_windows_subsystem_is_sent_to_the_driver_of_windows(rc: int, text: str, tmp_path: pathlib.Path) -> None:
    proc = proc_of(tmp_path, sys__kernel__osrelease="5.15.167.4-microsoft-standard-WSL2\n")
    status, message = verdict(host(None, text, rc=rc), proc)
    assert status in ("blocked", "no_driver")
    assert "wsl --update" in message
    assert "daemon-reload" not in message


def test_a_driver_without_cuda_is_not_usable() -> None:
    banner = "| NVIDIA-SMI 535.129.03   Driver Version: 535.129.03   CUDA Version: N/A      |\n"
    status, message = verdict(host({}, banner=banner))
    assert status == "error"
    assert "vGPU manager" in message


@pytest.mark.parametrize("banner", ["", "something else\n", "| Driver Version: 535.129.03 |\n"])
def test_a_banner_that_is_not_understood_is_no_fault(banner: str) -> None:
    assert verdict(host({}, banner=banner))[0] == "ok"


@pytest.mark.parametrize(
    ("address", "bus_id"),
    [("10000:00:00.0", "00010000:00:00.0"), ("0000:34:00.0", "00000000:34:00.0"), ("000f:01:00.0", "0000000F:01:00.0")],
)
def test_pci_domains_of_any_length_are_recognized(address: str, bus_id: str) -> None:
    gpus = [{"index": 0, "pci_bus_id": bus_id}]
    assert _status.judge_gpus(gpus, devices=[{"address": address, "driver": "nvidia"}]) == ("ok", "1 GPU can be used")


def test_errors_of_a_program_are_kept_apart(tmp_path: pathlib.Path) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho out\necho err >&2\nexit 3\n", encoding="utf-8")
    program.chmod(0o755)
    assert _look.asker(str(program), 10)([]) == _look.Answer(3, "out\n", "err\n")


HUGE = "9" * 5000
VALUES = [
    "",
    " ",
    "\0",
    "\x1b[31m",
    "N/A",
    "[N/A]",
    "[]",
    "[",
    "²",
    "٣",
    "-1",
    "-0",
    "1e999",
    "nan",
    "inf",
    "0x10",
    "1,2,3",
    HUGE,
    f"{HUGE} MiB",
    f"-{HUGE}.{HUGE}",
    "1" * 16 + " MiB",
    "\ufeff0",
    "0\u00a0",
    "\u202e0",
    "GPU is lost",
    "[Unknown Error]",
    "ERR!",
    "None",
    "true",
    "{{ 7*7 }}",
    "$(id)",
    "<!ENTITY a 'b'>",
    "&#0;",
    "é" * 300,
    "\ud800".encode("utf-8", "replace").decode(),
    "\u2028",
    "a\tb",
    "%s%n",
]


@pytest.mark.parametrize("field", _nvidia_smi.GPU_FIELDS)
@pytest.mark.parametrize("value", VALUES)
def test_hostile_values_of_gpus_give_a_verdict_and_never_a_traceback(field: str, value: str) -> None:
    found = _look.look(host({field: value}, topology=f"\tGPU0\t{value}\nGPU{value}\t{value}\n"), 1, sysfs="/none")
    assert found["status"] in _status.ALL
    assert found["message"]
    json.dumps(found)
    # All that uses the GPUs afterwards bears them, too.
    wanted = _proof.wanted_uuids(found["gpus"])
    assert all(isinstance(uuid, str) for uuid in wanted)
    assert all(isinstance(uuid, str) for uuid in _cdi.not_offered(found["gpus"], []))
    with contextlib.suppress(_select.GpuSelectionError):
        _select.select_gpus(["0", value], found["gpus"])


SPECS = [
    "[" * 100_000,
    '{"a":' * 100_000,
    '{"kind": "nvidia.com/gpu", "devices": 5}',
    '{"kind": "nvidia.com/gpu", "devices": "abc"}',
    '{"kind": "nvidia.com/gpu", "devices": {"name": 1}}',
    '{"kind": "nvidia.com/gpu", "devices": [1, null, [], {"name": null}, {"name": {}}]}',
    '{"kind": ["nvidia.com/gpu"]}',
    '{"kind": null, "devices": true}',
    f'{{"kind": "nvidia.com/gpu", "devices": [{{"name": {"1" * 5000}}}]}}',
    "kind: nvidia.com/gpu\ndevices:\n- - - name: x\n",
    "kind: nvidia.com/gpu\ndevices: 5\n",
    "kind: nvidia.com/gpu\ndevices:\n-\n  name:\n",
    "kind: nvidia.com/gpu\ndevices:\n" + "- name: &a *a\n" * 1000,
    *VALUES,
]


@pytest.mark.parametrize("text", SPECS)
def test_hostile_cdi_specifications_are_read_or_passed_over(text: str) -> None:
    assert all(isinstance(name, str) for name in _cdi.names_in_spec(text))


def test_a_pipe_among_the_specifications_keeps_nobody_waiting(tmp_path: pathlib.Path) -> None:
    os.mkfifo(tmp_path / "nvidia.yaml")
    assert _cdi.names_by_file([str(tmp_path)]) == {}


@pytest.mark.parametrize("text", VALUES)
def test_hostile_answers_to_the_other_questions_are_read_or_passed_over(text: str) -> None:
    for parse in (
        _nvidia_smi.parse_list,
        _nvidia_smi.parse_mig_instances,
        _nvidia_smi.parse_topology,
        _nvidia_smi.parse_processes,
        _nvidia_smi.parse_meminfo,
        _cdi.parse_list,
        _proof.seen_uuids,
    ):
        for form in (
            text,
            f"GPU {text}: {text} (UUID: {text})\n  MIG {text} Device {text}: (UUID: {text})",
            f"<nvidia_smi_log><gpu><uuid>{text}</uuid><mig_device><index>{text}</index></mig_device></gpu></nvidia_smi_log>",
            f"GPU-a, {text}, {text}, python",
            f"MemTotal: {text} kB",
        ):
            json.dumps(list(parse(form)))


def test_entities_of_an_xml_answer_are_not_expanded() -> None:
    text = '<!DOCTYPE x [<!ENTITY a "b">]><x><gpu><uuid>&a;</uuid></gpu></x>'
    assert _nvidia_smi.parse_mig_instances(text) == {}


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("[GPU is lost]", "gpu_lost"),
        ("[GPU requires reset]", "reset_required"),
        ("[Unknown Error]", "error"),
    ],
)
def test_a_gpu_that_does_not_tell_its_index_is_not_passed_over(said: str, status: str) -> None:
    lost = ", ".join([said] * len(HEALTHY)) + "\n"
    found, message = verdict(host({}, lost))
    assert found == status
    assert message.endswith(f": {said}")


@pytest.mark.parametrize(
    "remark",
    [
        "GPU access blocked by the operating system",
        "Insufficient External Power",
        "In use by another client",
        "Timeout",
        "Not Ready",
    ],
)
def test_any_remark_in_place_of_an_essential_value_is_a_fault(remark: str) -> None:
    status, message = verdict(host({"memory.total": f"[{remark}]"}))
    assert (status, message) == ("error", f"not every GPU is in order: GPU 0 {remark}")


@pytest.mark.parametrize(("rc", "status"), [(15, "gpu_lost"), (16, "reset_required"), (14, "ok")])
def test_an_exit_code_that_tells_of_a_fault_counts_beside_rows(rc: int, status: str) -> None:
    assert verdict(host({}, rc=rc))[0] == status


@pytest.mark.parametrize("reason", ["GPU is lost.  Reboot the system to recover this GPU", "Unknown Error"])
@pytest.mark.parametrize("rc", [0, 6, 255])
def test_a_lost_gpu_is_told_although_no_devices_were_found_besides(reason: str, rc: int) -> None:
    said = f"Unable to determine the device handle for GPU0: 0000:34:00.0: {reason}\nNo devices were found\n"
    assert verdict(host(None, said, rc=rc))[0] == "gpu_lost"


def test_no_devices_is_the_same_with_every_exit_code() -> None:
    assert verdict(host(None, "No devices were found\n", rc=0)) == verdict(host(None, "No devices were found\n", rc=6))


@pytest.mark.parametrize(
    ("rc", "said", "status", "advice"),
    [
        (255, "Failed to initialize NVML: Driver Not Loaded\n", "no_gpu", "no NVIDIA GPU"),
        (255, "Failed to initialize NVML: Not Found\n", "error", "look into the kernel's log"),
        (-11, "", "error", "signal 11"),
        (127, "Command 'nvidia-smi' not found, but can be installed with:\n", "error", "install the whole driver"),
        (
            1,
            "nvidia-smi: /lib64/libc.so.6: version `GLIBC_2.34' not found (required by nvidia-smi)\n",
            "error",
            "install the whole driver",
        ),
    ],
)
def test_every_failure_says_what_to_do(rc: int, said: str, status: str, advice: str) -> None:
    found, message = verdict(host(None, said, rc=rc))
    assert found == status
    assert advice in message


@pytest.mark.parametrize("name", ["NVIDIA A16, 16Q", "GRID, V100, 8Q"])
def test_a_name_with_commas_does_not_shift_the_other_values(name: str) -> None:
    gpu = _look.look(host({"name": name}), 1, sysfs="/none", proc="/none")["gpus"][0]
    assert (gpu["name"], gpu["memory"]["total"], gpu["fabric"]) == (name, 81559, None)


@pytest.mark.parametrize(("written", "total"), [("80 GiB", None), ("80000 MB", None), ("81559MiB", 81559)])
def test_a_number_in_another_unit_is_not_taken_for_mebibytes(written: str, total: int | None) -> None:
    assert _nvidia_smi.mebibytes(written) == total


@pytest.mark.parametrize(
    "row",
    [
        pytest.param({"memory.total": "[N/A]"}, id="tells-what-is-used"),
        pytest.param({**NO_MEMORY, "mig.mode.current": "Enabled"}, id="divided-without-devices"),
    ],
)
def test_a_gpu_that_tells_some_memory_or_is_divided_has_its_own(row: dict[str, str], tmp_path: pathlib.Path) -> None:
    gpu = _look.look(host(row), 1, sysfs="/none", proc=proc_of(tmp_path, meminfo=MEMINFO))["gpus"][0]
    assert (gpu["unified"], gpu["memory"]["total"]) == (False, None)


@pytest.mark.parametrize(
    "between",
    [
        "GPU 1: NVIDIA A100 (UUID: [Unknown Error])",
        "Unable to determine the device handle for gpu 0000:35:00.0: GPU is lost.",
    ],
)
def test_parts_of_a_gpu_that_cannot_be_named_are_not_those_of_the_one_before(between: str) -> None:
    listed = f"GPU 0: NVIDIA A100 (UUID: GPU-0)\n{between}\n  MIG 1g.5gb      Device  0: (UUID: MIG-c7)\n"
    assert [(gpu["uuid"], gpu["mig"]) for gpu in _nvidia_smi.parse_list(listed)] == [("GPU-0", [])]


@pytest.mark.parametrize(
    "spec",
    [
        'kind: nvidia.com/gpu # ours\ndevices:\n- name: "0" # the first\n',
        '"kind": "nvidia.com/gpu"\n"devices":\n- "name": "0"\n',
        '\ufeff{"kind": "nvidia.com/gpu", "devices": [{"name": "0"}]}',
    ],
)
def test_a_specification_edited_by_hand_is_read(spec: str) -> None:
    assert _cdi.names_in_spec(spec) == {"0"}
