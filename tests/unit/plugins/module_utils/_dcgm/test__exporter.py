# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib
import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._dcgm import _exporter
from ansible_collections.private_llm.fleet.plugins.module_utils._dcgm._exporter import Exporter, ExporterError, Wanted
from ansible_collections.private_llm.fleet.plugins.module_utils._engine import _lock
from ansible_collections.private_llm.fleet.plugins.module_utils._engine._life import (
    ChangeFailed,
    ForeignContainerError,
)
from ansible_collections.private_llm.fleet.plugins.module_utils._engine._logs import LogLine
from ansible_collections.private_llm.fleet.plugins.module_utils._reach import Look

IMAGE = "nvcr.io/nvidia/k8s/dcgm-exporter:1"
WANTED = Wanted(IMAGE, "127.0.0.1", 9400)


class Engine:
    """Containers of paper; ``gives`` says whether one that runs gives metrics."""

    def __init__(self) -> None:
        self.there: dict[str, dict[str, t.Any]] = {}
        self.images = {IMAGE: "sha256:1"}
        self.calls: list[str] = []
        self.gives = True
        self.asked: list[tuple[str, int, str]] = []

    def inspect(self, name: str) -> dict[str, t.Any] | None:
        return self.there.get(name)

    def inspect_image(self, reference: str) -> dict[str, t.Any] | None:
        return {"Id": self.images[reference]} if reference in self.images else None

    def create(self, name: str, body: dict[str, t.Any]) -> str:
        self.calls.append(f"create {name}")
        config = {"Image": body["Image"], "Labels": body["Labels"]}
        self.there[name] = {"Id": name, "Image": self.images[body["Image"]], "Config": config, "State": {}}
        self.there[name]["HostConfig"] = body["HostConfig"]
        return name

    def start(self, name: str) -> None:
        self.calls.append(f"start {name}")
        self.there[name]["State"] = {"Running": self.gives or self.there[name].get("lasts", False)}

    def stop(self, name: str, seconds: int) -> None:
        self.there[name]["State"] = {"Running": False}

    def remove(self, name: str) -> None:
        self.calls.append(f"remove {name}")
        self.there.pop(name, None)

    def rename(self, name: str, new_name: str) -> None:
        self.there[new_name] = self.there.pop(name)

    def set_restart_policy(self, name: str, policy: t.Mapping[str, t.Any]) -> None:
        self.there[name]["HostConfig"] = {**self.there[name]["HostConfig"], "RestartPolicy": policy}

    def log(self, name: str, since: float = 0.0) -> list[LogLine]:
        return [LogLine(0.0, "Failed to initialize NVML")]

    def ask(self, address: str, port: int, path: str) -> Look:
        self.asked.append((address, port, path))
        return Look(200 if self.gives else 0, "HTTP 200" if self.gives else "connection refused")

    def run(self, wanted: Wanted = WANTED, state: str = "started", check: bool = False) -> dict[str, t.Any]:
        now = [0.0]

        def sleep(seconds: float) -> None:
            now[0] += seconds

        self.calls = []
        return Exporter(wanted, t.cast(t.Any, self), self.ask, sleep, lambda: now[0]).run(state, check)


@pytest.fixture
def engine(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    hold = _lock.hold
    monkeypatch.setattr(_lock, "hold", lambda kind, name, doing: hold(kind, name, doing, directory=str(tmp_path)))
    return Engine()


def test_it_is_made_once_with_all_gpus(engine: Engine) -> None:
    assert engine.run(check=True) == {"changed": True, "changes": []}
    assert engine.there == {}
    assert engine.run()["changed"] is True
    assert engine.calls == ["create dcgm-exporter", "start dcgm-exporter"]
    assert engine.asked == [("127.0.0.1", 9400, "/metrics")]
    host = engine.there["dcgm-exporter"]["HostConfig"]
    assert host["DeviceRequests"] == [{"Driver": "nvidia", "Count": -1, "Capabilities": [["gpu"]]}]
    assert host["PortBindings"] == {"9400/tcp": [{"HostIp": "127.0.0.1", "HostPort": "9400"}]}
    assert engine.run(check=True)["changed"] is False
    assert engine.run()["changed"] is False
    assert engine.calls == []


@pytest.mark.parametrize(
    ("other", "option"),
    [
        (WANTED._replace(port=9401), "port"),
        (WANTED._replace(bind="::1"), "bind"),
        (WANTED._replace(gpu_driver="cdi"), "gpu_driver"),
    ],
)
def test_what_differs_makes_another_one(engine: Engine, other: Wanted, option: str) -> None:
    engine.run()
    assert [one["option"] for one in engine.run(other)["changes"]] == [option]
    assert engine.run(other)["changed"] is False
    assert list(engine.there) == ["dcgm-exporter"]


def test_the_same_name_of_another_image_makes_another_one(engine: Engine) -> None:
    engine.run()
    engine.images[IMAGE] = "sha256:2"
    (change,) = engine.run()["changes"]
    assert (change["option"], change["after"]) == ("image", "sha256:2")
    assert engine.run()["changed"] is False


def test_one_that_gives_no_metrics_is_told_with_its_log(engine: Engine) -> None:
    engine.gives = False
    with pytest.raises(ChangeFailed, match=r"has ended .*connection refused.*\nFailed to initialize NVML"):
        engine.run()
    engine.gives = True
    engine.run()


def test_an_image_that_is_not_there_is_named_before_anything_is_done(engine: Engine) -> None:
    with pytest.raises(ExporterError, match="get it first"):
        engine.run(WANTED._replace(image="acme/none:1"))
    assert engine.calls == []
    # It may be fetched by the same run.
    assert engine.run(WANTED._replace(image="acme/none:1"), check=True)["changed"] is True


def test_it_goes(engine: Engine) -> None:
    assert engine.run(state="absent")["changed"] is False
    engine.run()
    assert engine.run(state="absent", check=True)["changed"] is True
    assert engine.run(state="absent")["changed"] is True
    assert engine.there == {}


def test_a_container_of_others_is_left(engine: Engine) -> None:
    engine.there["dcgm-exporter"] = {"Config": {"Image": "theirs", "Labels": {}}, "State": {"Running": True}}
    with pytest.raises(ForeignContainerError):
        engine.run()
    assert engine.run(state="absent")["changed"] is False
    assert list(engine.there) == ["dcgm-exporter"]
    assert _exporter.is_ours(engine.there["dcgm-exporter"]) is False
