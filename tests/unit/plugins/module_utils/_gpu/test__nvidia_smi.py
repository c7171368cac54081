# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib
import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._gpu import _nvidia_smi

SAMPLES = pathlib.Path(__file__).parents[3] / "fixtures/nvidia_smi"
# The columns of the recorded tables.
RECORDED = (
    *("index", "name", "uuid", "pci.bus_id", "driver_version", "memory.total", "memory.used", "memory.free"),
    *("compute_cap", "persistence_mode", "ecc.mode.current", "mig.mode.current", "mig.mode.pending", "fabric.state"),
    *("fabric.status", "addressing_mode", "pcie.link.gen.max", "pcie.link.width.max", "power.limit", "display_active"),
)


def sample(path: str) -> str:
    return (SAMPLES / path).read_text(encoding="utf-8")


def gpus_of(name: str, xml: str = "") -> list[dict[str, t.Any]]:
    rows, remarks = _nvidia_smi.parse_table(sample(f"csv/{name}.csv"), RECORDED)
    assert remarks == []
    listed = _nvidia_smi.parse_list(sample(f"list/{name}.txt"))
    return _nvidia_smi.build_gpus(rows, listed, _nvidia_smi.parse_mig_instances(xml))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param(
            "h100__590.48.01",
            {
                "index": 0,
                "uuid": "GPU-00000000-0000-0000-0000-000000000000",
                "name": "NVIDIA H100 80GB HBM3",
                "pci_bus_id": "00000000:00:09.0",
                "memory": {"total": 81559, "used": 0, "free": 81081},
                "unified": False,
                "compute_capability": "9.0",
                "persistence_mode": True,
                "ecc": True,
                "mig": {"mode": "disabled", "pending": None, "devices": []},
                "fabric": {"state": "Completed", "status": "Success"},
                "problem": None,
            },
            id="h100",
        ),
        pytest.param(
            "l40s__595.80",
            {
                "index": 0,
                "uuid": "GPU-00000000-0000-0000-0000-000000000000",
                "name": "NVIDIA L40S",
                "pci_bus_id": "00000000:01:00.0",
                "memory": {"total": 46068, "used": 0, "free": 45460},
                "unified": False,
                "compute_capability": "8.9",
                "persistence_mode": False,
                "ecc": True,
                "mig": {"mode": "unsupported", "pending": None, "devices": []},
                "fabric": None,
                "problem": None,
            },
            id="l40s",
        ),
        pytest.param(
            "rtx2080s__610.57.04",
            {
                "index": 0,
                "uuid": "GPU-00000000-0000-0000-0000-000000000000",
                "name": "NVIDIA GeForce RTX 2080 SUPER",
                "pci_bus_id": "00000000:0C:00.0",
                "memory": {"total": 8192, "used": 211, "free": 7582},
                "unified": False,
                "compute_capability": "7.5",
                "persistence_mode": False,
                "ecc": None,
                "mig": {"mode": "unsupported", "pending": None, "devices": []},
                "fabric": None,
                "problem": None,
            },
            id="rtx2080s",
        ),
    ],
)
def test_recorded_gpus(name: str, expected: dict[str, t.Any]) -> None:
    assert gpus_of(name) == [expected]


def test_recorded_mig_devices() -> None:
    mig = gpus_of("h100-mig__590.48.01")[0]["mig"]
    assert mig["mode"] == "enabled"
    assert [(one["index"], one["profile"], one["uuid"]) for one in mig["devices"]] == [
        (0, "3g.40gb", "MIG-00000000-0000-0000-0000-000000000000"),
        (1, "2g.20gb", "MIG-00000001-0000-0000-0000-000000000001"),
        (2, "1g.10gb", "MIG-00000002-0000-0000-0000-000000000002"),
        (3, "1g.10gb", "MIG-00000003-0000-0000-0000-000000000003"),
    ]


# The form of drivers 525 to 590, shortened: the whole GPU tells no use of its memory, its instances do.
DIVIDED = """<?xml version="1.0" ?>
<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v12.dtd">
<nvidia_smi_log>
  <gpu id="00000000:00:08.0"><uuid>GPU-whole</uuid><mig_devices>
    None
  </mig_devices></gpu>
  <gpu id="00000000:00:09.0">
    <uuid>GPU-00000000-0000-0000-0000-000000000000</uuid>
    <mig_devices>
      <mig_device>
        <index>0</index>
        <gpu_instance_id>2</gpu_instance_id>
        <compute_instance_id>0</compute_instance_id>
        <fb_memory_usage>
          <total>40448 MiB</total>
          <reserved>0 MiB</reserved>
          <used>298 MiB</used>
          <free>40151 MiB</free>
        </fb_memory_usage>
        <bar1_memory_usage><total>65535 MiB</total></bar1_memory_usage>
      </mig_device>
      <mig_device>
        <index>2</index>
        <gpu_instance_id>9</gpu_instance_id>
        <compute_instance_id>0</compute_instance_id>
        <fb_memory_usage><total>N/A</total></fb_memory_usage>
      </mig_device>
      <mig_device><index>N/A</index></mig_device>
    </mig_devices>
    <fb_memory_usage><total>81559 MiB</total><used>N/A</used><free>N/A</free></fb_memory_usage>
  </gpu>
</nvidia_smi_log>
"""


def test_memory_of_mig_devices() -> None:
    devices = gpus_of("h100-mig__590.48.01", DIVIDED)[0]["mig"]["devices"]
    unknown = {"total": None, "used": None, "free": None}
    assert [(one["gpu_instance_id"], one["compute_instance_id"], one["memory"]) for one in devices] == [
        (2, 0, {"total": 40448, "used": 298, "free": 40151}),
        (None, None, unknown),
        (9, 0, unknown),
        (None, None, unknown),
    ]


@pytest.mark.parametrize("output", ["", "No devices were found", "<nvidia_smi_log><gpu>", "<nvidia_smi_log/>"])
def test_no_mig_instances(output: str) -> None:
    assert _nvidia_smi.parse_mig_instances(output) == {}


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("\n\tFabric Manager version is : 535.161.08\n\n", "535.161.08"),
        ("Fabric Manager version is: 590.48.01", "590.48.01"),
        ("failed to open the log", None),
    ],
)
def test_parse_fabric_manager(output: str, expected: str | None) -> None:
    assert _nvidia_smi.parse_fabric_manager(output) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("81559 MiB", "81559 MiB"),
        ("  x ", "x"),
        ("N/A", None),
        ("[N/A]", None),
        ("[Not Supported]", None),
        ("Not Supported", None),
        ("[Unknown Error]", None),
        ("[GPU requires reset]", None),
        ("[Insufficient Permissions]", None),
        ("ERR!", None),
        ("Requested functionality has been deprecated", None),
        ("", None),
        (None, None),
    ],
)
def test_clean(value: str | None, expected: str | None) -> None:
    assert _nvidia_smi.clean(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [("81559 MiB", 81559), ("81559", 81559), ("46068.5 MiB", 46068), ("[N/A]", None), ("many", None), (None, None)],
)
def test_mebibytes(value: str | None, expected: int | None) -> None:
    assert _nvidia_smi.mebibytes(value) == expected


def row(**changes: str) -> dict[str, str]:
    fields = dict.fromkeys(_nvidia_smi.GPU_FIELDS, "[N/A]")
    return {**fields, "index": "0", "uuid": "GPU-a", "name": "NVIDIA A100", "memory.total": "40960 MiB", **changes}


def built(**changes: str) -> dict[str, t.Any]:
    return _nvidia_smi.build_gpus([row(**changes)], [], {})[0]


def test_a_gpu_that_must_be_reset_says_so() -> None:
    gpu = built(**{"memory.used": "[GPU requires reset]", "ecc.mode.current": "[GPU requires reset]"})
    assert gpu["problem"] == "GPU requires reset"
    assert gpu["memory"] == {"total": 40960, "used": None, "free": None}


def test_an_unknown_error_counts_where_no_healthy_gpu_has_one() -> None:
    assert built(**{"memory.total": "[Unknown Error]"})["problem"] == "Unknown Error"
    assert built(**{"ecc.mode.current": "[Unknown Error]"})["problem"] is None


def test_mig_that_waits_for_a_reset() -> None:
    gpu = built(**{"mig.mode.current": "Disabled", "mig.mode.pending": "Enabled"})
    assert gpu["mig"] == {"mode": "disabled", "pending": "enabled", "devices": []}


def test_a_driver_that_lacks_fields() -> None:
    old = {key: value for key, value in row().items() if key not in ("compute_cap", "fabric.state", "fabric.status")}
    gpu = _nvidia_smi.build_gpus(
        [old], [{"uuid": "GPU-a", "mig": [{"index": 0, "profile": "3g.20gb", "uuid": "MIG-x"}]}], {}
    )[0]
    assert gpu["compute_capability"] is None
    assert gpu["fabric"] is None
    assert gpu["mig"]["mode"] == "enabled"


FIELDS = ("index", "uuid", "memory.total")


@pytest.mark.parametrize(
    ("output", "rows", "remarks"),
    [
        ("", [], []),
        ("0, GPU-a, 1 MiB\n", [{"index": "0", "uuid": "GPU-a", "memory.total": "1 MiB"}], []),
        ("index, uuid, memory.total [MiB]\n0, GPU-a, 1\n", [{"index": "0", "uuid": "GPU-a", "memory.total": "1"}], []),
        ("0,GPU-a,1\n", [{"index": "0", "uuid": "GPU-a", "memory.total": "1"}], []),
        ("0, GPU-a, x, y\n", [{"index": "0", "uuid": "GPU-a", "memory.total": "x, y"}], []),
        (
            "Unable to determine the device handle for GPU0000:02:00.0: Unknown Error\n0, GPU-a, 1 MiB\n",
            [{"index": "0", "uuid": "GPU-a", "memory.total": "1 MiB"}],
            ["Unable to determine the device handle for GPU0000:02:00.0: Unknown Error"],
        ),
    ],
)
def test_parse_table(output: str, rows: list[dict[str, str]], remarks: list[str]) -> None:
    assert _nvidia_smi.parse_table(output, FIELDS) == (rows, remarks)


def test_invalid_field() -> None:
    assert _nvidia_smi.invalid_field(sample("failures/bad-field.rc2.stdout")) == "definitely_not_a_field"
    assert _nvidia_smi.invalid_field(sample("failures/no-devices.rc6.stdout")) is None


@pytest.mark.parametrize(
    ("banner", "expected"),
    [
        ("| NVIDIA-SMI 470.256.02   Driver Version: 470.256.02   CUDA Version: 11.4     |", "11.4"),
        ("| NVIDIA-SMI 590.48.01              Driver Version: 590.48.01      CUDA Version: 13.1     |", "13.1"),
        ("| NVIDIA-SMI 610.57.04              KMD Version: 610.57.04     CUDA UMD Version: 13.3     |", "13.3"),
        ("| NVIDIA-SMI 550.1  Driver Version: 550.1  CUDA Version: N/A |", None),
        ("", None),
    ],
)
def test_parse_cuda_version(banner: str, expected: str | None) -> None:
    assert _nvidia_smi.parse_cuda_version(banner) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.90.07  Fri May 31 09:35:42 UTC 2024\nGCC: gcc\n",
            ("550.90.07", False),
        ),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  595.80  Release Build  (x)\n", ("595.80", True)),
        ("", (None, False)),
    ],
)
def test_parse_kernel_module(text: str, expected: tuple[str | None, bool]) -> None:
    assert _nvidia_smi.parse_kernel_module(text) == expected


def test_parse_list_of_before_r470_and_with_compute_instances() -> None:
    listed = _nvidia_smi.parse_list(
        "GPU 0: A100-SXM4-40GB (UUID: GPU-a)\n"
        "  MIG 3g.20gb     Device  0: (UUID: MIG-GPU-a/3/0)\n"
        "GPU 1: NVIDIA H100 (PCIe) (UUID: GPU-b)\n"
        "  MIG 1c.3g.71gb  Device 12: (UUID: MIG-b)\n"
    )
    assert listed == [
        {
            "index": 0,
            "name": "A100-SXM4-40GB",
            "uuid": "GPU-a",
            "mig": [{"index": 0, "profile": "3g.20gb", "uuid": "MIG-GPU-a/3/0"}],
        },
        {
            "index": 1,
            "name": "NVIDIA H100 (PCIe)",
            "uuid": "GPU-b",
            "mig": [{"index": 12, "profile": "1c.3g.71gb", "uuid": "MIG-b"}],
        },
    ]


@pytest.mark.parametrize(
    ("name", "cpus"),
    [
        ("h100__590.48.01", "0-19"),
        ("h100-mig__590.48.01", "0-19"),
        ("l40s__595.80", "0-7"),
        ("rtx2080s__610.57.04", "0-23"),
    ],
)
def test_recorded_topology_of_one_gpu(name: str, cpus: str) -> None:
    assert _nvidia_smi.parse_topology(sample(f"topo/{name}.txt")) == [
        {"index": 0, "gpus": {}, "nics": {}, "cpu_affinity": cpus, "numa_affinity": "0"}
    ]


def test_recorded_topology_of_eight_gpus() -> None:
    topology = _nvidia_smi.parse_topology(sample("topo/8xH100-SXM-NV18.txt"))
    assert [gpu["index"] for gpu in topology] == list(range(8))
    assert all(set(gpu["gpus"].values()) == {"NV18"} and len(gpu["gpus"]) == 7 for gpu in topology)
    assert topology[5]["gpus"].keys() == {"0", "1", "2", "3", "4", "6", "7"}
    assert [name for name, link in topology[1]["nics"].items() if link == "PXB"] == ["NIC3"]
    assert len(topology[0]["nics"]) == 12
    assert (topology[0]["cpu_affinity"], topology[0]["numa_affinity"]) == ("0-55,112-167", "0")
    assert (topology[7]["cpu_affinity"], topology[7]["numa_affinity"]) == ("56-111,168-223", "1")


def test_topology_in_pairs_with_named_cards_and_no_affinity() -> None:
    topology = _nvidia_smi.parse_topology(
        "\t\x1b[4mGPU0\tGPU1\tmlx5_0\tCPU Affinity\tNUMA Affinity\x1b[0m\n"
        "GPU0\t X \tNV12\tSYS\t\tN/A\n"
        "GPU1\tNV12\t X \tPIX\t\tN/A\n"
        "mlx5_0\tSYS\tPIX\t X \t\t\n\nLegend:\n"
    )
    assert topology == [
        {"index": 0, "gpus": {"1": "NV12"}, "nics": {"mlx5_0": "SYS"}, "cpu_affinity": None, "numa_affinity": None},
        {"index": 1, "gpus": {"0": "NV12"}, "nics": {"mlx5_0": "PIX"}, "cpu_affinity": None, "numa_affinity": None},
    ]


@pytest.mark.parametrize("output", ["", "topo: not supported\n", "Failed to initialize NVML: Unknown Error\n"])
def test_no_topology(output: str) -> None:
    assert _nvidia_smi.parse_topology(output) == []


def test_parse_processes() -> None:
    output = "GPU-a, 4242, 71234 MiB, /usr/bin/python3 -m x, y\nGPU-a, 17, [N/A], [Not Found]\nNo running processes\n"
    assert _nvidia_smi.parse_processes(output) == [
        {"pid": 4242, "name": "/usr/bin/python3 -m x, y", "gpu_uuid": "GPU-a", "used_memory": 71234, "container": None},
        {"pid": 17, "name": None, "gpu_uuid": "GPU-a", "used_memory": None, "container": None},
    ]


ID = "4c01db0b339c1d5f4b9be7b2a1f0e9d8c7b6a59483726150f1e2d3c4b5a69788"


@pytest.mark.parametrize(
    ("cgroup", "expected"),
    [
        (f"0::/system.slice/docker-{ID}.scope\n", ID),
        (f"12:memory:/docker/{ID}\n11:cpu:/docker/{ID}\n", ID),
        (f"1:name=systemd:/docker/{'a' * 64}/docker/{ID}\n", ID),
        (f"0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-{ID}.scope\n", ID),
        (f"0::/machine.slice/libpod-{ID}.scope/container\n", ID),
        ("0::/user.slice/user-0.slice/session-1.scope\n", None),
        ("0::/\n", None),
        ("", None),
    ],
)
def test_container_of(cgroup: str, expected: str | None) -> None:
    assert _nvidia_smi.container_of(cgroup) == expected
