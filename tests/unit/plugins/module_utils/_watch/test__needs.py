# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib
import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._watch import _needs

UUID = "GPU-00000000-0000-0000-0000-000000000001"


class Engine:
    """Knows which CDI devices there are."""

    def __init__(self, *devices: str) -> None:
        self.devices = devices

    def info(self) -> dict[str, t.Any]:
        found = [{"Source": "cdi", "ID": f"nvidia.com/gpu={name}"} for name in self.devices]
        return {"CDISpecDirs": ["/etc/cdi"], "DiscoveredDevices": found}


def container(model: str, gpus: t.Sequence[str] = (), driver: str = "cdi", binds: t.Sequence[str] = ()) -> t.Any:
    requests = [{"Driver": driver, "DeviceIDs": list(gpus)}] if gpus else []
    return {
        "Config": {"Cmd": [model]},
        "HostConfig": {"Binds": [f"{model}:{model}:ro", *binds], "DeviceRequests": requests},
    }


def missing(engine: Engine, one: t.Any) -> str:
    return _needs.missing(t.cast(t.Any, engine), one)


@pytest.fixture
def model(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(_needs, "_gpus", lambda: [{"index": 1, "uuid": UUID}])
    (tmp_path / "model").mkdir()
    (tmp_path / "model/config.json").write_text("{}")
    return str(tmp_path / "model")


def test_a_store_that_is_not_mounted_yet_is_waited_for(model: str, tmp_path: pathlib.Path) -> None:
    assert missing(Engine(), container(model)) == ""
    lost = str(tmp_path / "lost")
    assert missing(Engine(), container(lost)) == f"waiting for {lost}"
    assert missing(Engine(), container(model, binds=[f"{lost}:/data:ro"])) == f"waiting for {lost}"
    (tmp_path / "empty").mkdir()
    assert "config.json does not exist" in missing(Engine(), container(str(tmp_path / "empty")))
    # A volume of the engine's own is the engine's to find.
    assert missing(Engine(), container(model, binds=["name:/data"])) == ""


def test_gpus_and_the_way_to_them_are_waited_for(model: str) -> None:
    by_cdi = container(model, [f"nvidia.com/gpu={UUID}"])
    assert missing(Engine(UUID, "1"), by_cdi) == ""
    assert missing(Engine(UUID, "1"), container(model, ["nvidia.com/gpu=1"])) == ""
    assert missing(Engine("0"), by_cdi) == f"waiting for the CDI device nvidia.com/gpu={UUID}"
    assert missing(Engine("0"), container(model, ["nvidia.com/gpu=0"])) == "waiting for the GPU nvidia.com/gpu=0"
    assert missing(Engine(), container(model, [UUID], "nvidia")) == ""
    # Parts of a GPU are not in the list of GPUs.
    assert missing(Engine("MIG-1"), container(model, ["nvidia.com/gpu=MIG-1"])) == ""
