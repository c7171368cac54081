# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import pathlib

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.container import _host

GPUS = [{"index": 0, "uuid": "GPU-a"}, {"index": 1, "uuid": "GPU-b"}]

CDI_YAML = """\
---
cdiVersion: 0.5.0
containerEdits:
  deviceNodes:
  - path: /dev/nvidiactl
  hooks:
  - args:
    - nvidia-cdi-hook
    hookName: createContainer
    name: no-device
devices:
- containerEdits:
    deviceNodes:
    - path: /dev/nvidia0
      name: inner
  name: "0"
- containerEdits:
    deviceNodes:
    - path: /dev/nvidia0
  name: GPU-a
- name: all
  containerEdits: {}
kind: nvidia.com/gpu
"""


def test_a_model_is_found_through_its_links(tmp_path: pathlib.Path) -> None:
    release = tmp_path / "org" / "name" / "0123"
    release.mkdir(parents=True)
    (release / "config.json").write_text("{}")
    (tmp_path / "org" / "name" / "current").symlink_to("0123")
    assert _host.resolve_model(str(tmp_path / "org" / "name" / "current")) == str(release.resolve())


def test_what_is_no_model(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("empty")
    for name, message in (
        ("gone", "does not exist; download it first, or correct model"),
        ("file", "is not a directory; name the directory that holds config.json"),
        ("empty", f"{tmp_path}/empty/config.json does not exist, so {tmp_path}/empty is not a model that vLLM can"),
        ("link", f"{tmp_path}/empty/config.json does not exist, so {tmp_path}/link is not a model that vLLM can serve"),
    ):
        with pytest.raises(_host.ModelError) as error:
            _host.resolve_model(str(tmp_path / name))
        assert message in str(error.value)


@pytest.mark.parametrize(
    ("status", "limit"),
    [
        ("Name:\tsystemd\nCapBnd:\t000001ffffffffff\nSeccomp:\t0\n", 65535),
        ("Name:\tsystemd\nCapBnd:\t000001fffeffffff\nSeccomp:\t0\n", 0),
        ("", 65535),
    ],
    ids=["host", "without CAP_SYS_RESOURCE", "unknown"],
)
def test_open_files(status: str, limit: int) -> None:
    assert _host.nofile_limit(status) == limit


def test_cdi_specifications(tmp_path: pathlib.Path) -> None:
    (tmp_path / "nvidia.yaml").write_text(CDI_YAML)
    (tmp_path / "own.json").write_text(json.dumps({"kind": "nvidia.com/gpu", "devices": [{"name": "GPU-b"}]}))
    (tmp_path / "other.json").write_text(json.dumps({"kind": "vendor.com/nic", "devices": [{"name": "nic"}]}))
    (tmp_path / "other.yaml").write_text("kind: vendor.com/nic\ndevices:\n- name: nic\n")
    (tmp_path / "README").write_text("kind: nvidia.com/gpu\ndevices:\n- name: text\n")
    info = {"CDISpecDirs": [str(tmp_path), str(tmp_path / "gone")]}
    assert _host.cdi_devices(info) == {"0", "GPU-a", "all", "GPU-b"}


@pytest.mark.parametrize(
    ("info", "names"),
    [
        ({}, set()),
        ({"CDISpecDirs": []}, set()),
        (
            {
                "CDISpecDirs": ["/etc/cdi"],
                "DiscoveredDevices": [
                    {"Source": "cdi", "ID": "nvidia.com/gpu=0"},
                    {"Source": "cdi", "ID": "vendor.com/nic=1"},
                    {"Source": "other", "ID": "nvidia.com/gpu=9"},
                ],
            },
            {"0"},
        ),
    ],
    ids=["engine without CDI", "CDI off", "engine that lists devices"],
)
def test_cdi_devices(info: dict[str, object], names: set[str]) -> None:
    assert _host.cdi_devices(info) == names


@pytest.mark.parametrize(
    ("uuids", "cdi", "driver", "names"),
    [
        ([], {"0"}, "nvidia", []),
        (["GPU-a"], set(), "nvidia", ["GPU-a"]),
        (["GPU-a", "GPU-b"], {"0", "GPU-a"}, "nvidia", ["GPU-a", "GPU-b"]),
        (["GPU-a", "GPU-b"], {"GPU-a", "1"}, "cdi", ["nvidia.com/gpu=GPU-a", "nvidia.com/gpu=1"]),
        (["MIG-x"], {"MIG-x"}, "cdi", ["nvidia.com/gpu=MIG-x"]),
    ],
)
def test_choose_driver(uuids: list[str], cdi: set[str], driver: str, names: list[str]) -> None:
    assert _host.choose_driver(uuids, GPUS, cdi) == (driver, names)


@pytest.mark.parametrize(
    ("device", "uuid"),
    [
        ("GPU-b", "GPU-b"),
        ("1", "GPU-b"),
        ("nvidia.com/gpu=1", "GPU-b"),
        ("nvidia.com/gpu=GPU-a", "GPU-a"),
        ("7", "7"),
    ],
)
def test_uuid_of(device: str, uuid: str) -> None:
    assert _host.uuid_of(device, GPUS) == uuid
