# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All of gpu_info's questions, answered as a real machine with two H100 answered them."""

from __future__ import annotations

import json
import pathlib
import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._gpu import _look, _nvidia_smi

SAMPLES = pathlib.Path(__file__).parents[3] / "fixtures/nvidia_smi"
MACHINE = json.loads((SAMPLES / "2xh100__580.159.04.json").read_text(encoding="utf-8"))
FIRST, SECOND = "GPU-10000000-0000-4000-8000-000000000000", "GPU-10000000-0000-4000-8000-000000000001"


def answers(state: str) -> _look.Ask:
    """An nvidia-smi that repeats what was recorded, with the columns that are asked for in their order."""
    recorded = {tuple(answer["arguments"]): answer for answer in MACHINE[state]}
    tables = {key[0].partition("=")[0]: answer for key, answer in recorded.items() if key and "=" in key[0]}

    def ask(arguments: t.Sequence[str]) -> _look.Answer:
        question, _equals, fields = (arguments[0] if arguments else "").partition("=")
        if question == "--query-gpu":
            wanted = fields.split(",")
            for field in wanted:
                if field not in MACHINE["fields"]:
                    return _look.Answer(2, f'Field "{field}" is not a valid field to query.\n')
            known = tables[question]["arguments"][0].partition("=")[2].split(",")
            rows = [dict(zip(known, line.split(", "))) for line in tables[question]["output"].splitlines()]
            return _look.Answer(0, "".join(", ".join(row[field] for field in wanted) + "\n" for row in rows))
        answer = recorded[tuple(arguments)]
        return _look.Answer(answer["rc"], answer["output"])

    return ask


def look(state: str, tmp_path: pathlib.Path) -> dict[str, t.Any]:
    for device in MACHINE["pci"]:
        folder = tmp_path / "devices" / device["address"]
        folder.mkdir(parents=True)
        for name in ("vendor", "device", "class"):
            (folder / name).write_text(device[name] + "\n", encoding="utf-8")
        if device["driver"]:
            (folder / "driver").symlink_to(tmp_path / "drivers" / device["driver"])
    module = tmp_path / "proc" / _look.KERNEL_MODULE
    module.parent.mkdir(parents=True)
    module.write_text(MACHINE["kernel_module"], encoding="utf-8")
    return _look.look(answers(state), 10, None, str(tmp_path / "devices"), str(tmp_path / "proc"))


def test_two_idle_gpus(tmp_path: pathlib.Path) -> None:
    found = look("idle", tmp_path)
    assert (found["status"], found["message"]) == ("ok", "2 GPUs can be used")
    assert (found["driver_version"], found["kernel_module_version"]) == ("580.159.04", "580.159.04")
    assert (found["open_kernel_module"], found["cuda_version"]) == (True, "13.0")
    assert [gpu["uuid"] for gpu in found["gpus"]] == [FIRST, SECOND]
    assert found["gpus"][1] == {
        **found["gpus"][1],
        "index": 1,
        "name": "NVIDIA H100 80GB HBM3",
        "pci_bus_id": "00000000:00:07.0",
        "memory": {"total": 81559, "used": 0, "free": 81079},
        "compute_capability": "9.0",
        "persistence_mode": True,
        "ecc": True,
        "mig": {"mode": "disabled", "pending": None, "devices": []},
        "fabric": {"state": "Completed", "status": "Success"},
        "problem": None,
    }
    assert [(one["index"], one["gpus"], one["nics"]) for one in found["topology"]] == [
        (0, {"1": "NV18"}, {}),
        (1, {"0": "NV18"}, {}),
    ]
    assert {(one["cpu_affinity"], one["numa_affinity"]) for one in found["topology"]} == {("0-31", "0")}
    assert found["pci_devices"] == [
        {"address": "0000:00:06.0", "device": "0x2330", "driver": "nvidia"},
        {"address": "0000:00:07.0", "device": "0x2330", "driver": "nvidia"},
    ]
    assert found["processes"] == []


def test_a_process_on_both_gpus(tmp_path: pathlib.Path) -> None:
    found = look("held", tmp_path)
    assert found["status"] == "ok"
    assert [gpu["memory"]["used"] for gpu in found["gpus"]] == [527, 21101]
    assert [(one["gpu_uuid"], one["pid"], one["name"], one["used_memory"]) for one in found["processes"]] == [
        (FIRST, 796, "python3", 518),
        (SECOND, 796, "python3", 21092),
    ]


def test_a_gpu_whose_device_file_is_withheld(tmp_path: pathlib.Path) -> None:
    found = look("withheld", tmp_path)
    assert [gpu["uuid"] for gpu in found["gpus"]] == [FIRST]
    assert found["status"] == "ok"
    assert found["message"] == (
        "1 GPU can be used"
        " (not 0000:00:07.0, which nvidia-smi leaves out: its device file is kept from it, or it is lost)"
    )


@pytest.mark.parametrize("field", _nvidia_smi.GPU_FIELDS)
def test_the_driver_knows_what_it_is_asked_for(field: str) -> None:
    assert field in MACHINE["fields"]
