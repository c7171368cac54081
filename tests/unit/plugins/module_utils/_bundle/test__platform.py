# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
import subprocess
import typing as t
from pathlib import Path

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._bundle import _platform
from ansible_collections.private_llm.fleet.plugins.module_utils._bundle._index import BundleError
from ansible_collections.private_llm.fleet.plugins.module_utils._engine._client import Engine, EngineError, Ran
from ansible_collections.private_llm.fleet.plugins.module_utils._engine._logs import LogLine
from ansible_collections.private_llm.fleet.plugins.module_utils._run import this_run


class Fake:
    """An engine with containers that get ready after some looks, or end before."""

    def __init__(self, looks: int = 2, ends: bool = False, starts: bool = True, architecture: str = "amd64") -> None:
        self.looks, self.ends, self.starts, self.architecture = looks, ends, starts, architecture
        self.made: dict[str, dict[str, t.Any]] = {}

    def create(self, name: str, body: dict[str, t.Any]) -> str:
        self.made[name] = body
        return name

    def start(self, name: str) -> None:
        if not self.starts:
            raise EngineError("no room")

    def remove(self, name: str) -> None:
        del self.made[name]

    def log(self, name: str) -> list[LogLine]:
        return [LogLine(1.0, "E: no line")] if self.looks else []

    def inspect(self, name: str) -> dict[str, t.Any] | None:
        return None if self.ends and not self.looks else {"State": {"Running": True}}

    def execute(self, name: str, command: list[str], seconds: float) -> Ran:
        self.looks -= 1
        return Ran(1 if self.looks >= 0 else 0, "", "")

    def inspect_image(self, image: str) -> dict[str, t.Any]:
        return {"Id": "new", "Architecture": self.architecture}

    def ping(self) -> dict[str, t.Any]:
        return {"Arch": "amd64"}

    def containers(self, stopped: bool = False, labels: t.Sequence[str] = ()) -> list[dict[str, t.Any]]:
        return [
            {"Id": name, "Image": body["Image"], "ImageID": "new", "Labels": body["Labels"]}
            for name, body in self.made.items()
            if {f"{name}={value}" for name, value in body["Labels"].items()} >= set(labels)
        ]


def engine(**how: t.Any) -> tuple[Fake, Engine]:
    fake = Fake(**how)
    return fake, t.cast(Engine, fake)


def test_a_container_has_the_folder_of_its_platform_and_the_proxies_of_the_machine() -> None:
    body = _platform.body_of("debian:13", "/srv/b.work", "7-1", {"https_proxy": "http://proxy:3128", "HOME": "/root"})
    (mount,) = body["HostConfig"]["Mounts"]
    assert (mount["Source"], mount["Target"]) == ("/srv/b.work/debian_13", "/bundle")
    assert body["Env"] == ["https_proxy=http://proxy:3128"]


def test_a_container_is_found_again_and_removed_with_those_of_its_bundle_alone(tmp_path: Path) -> None:
    fake, used = engine()
    name = _platform.start(used, "debian:13", str(tmp_path / "one"), "")
    other = _platform.start(used, "debian:13", str(tmp_path / "two"), "")
    assert (tmp_path / "one" / "debian_13").is_dir()
    assert _platform.find(used, "debian:13", str(tmp_path / "one"), "") == name
    assert _platform.find(used, "debian:12", str(tmp_path / "one"), "") == ""
    assert _platform.find(used, "debian:13", str(tmp_path / "one"), "7-1") == ""
    assert _platform.remove(used, str(tmp_path / "one")) == [name]
    assert list(fake.made) == [other]


def test_a_container_that_does_not_start_is_removed(tmp_path: Path) -> None:
    fake, used = engine(starts=False)
    with pytest.raises(EngineError, match="no room"):
        _platform.start(used, "debian:13", str(tmp_path), "")
    assert fake.made == {}


def test_it_is_waited_for_until_it_is_ready() -> None:
    slept: list[float] = []
    _platform.wait(engine(looks=2)[1], "x", "debian:13", 60.0, slept.append)
    assert len(slept) == 2


def test_one_that_ends_early_says_why() -> None:
    with pytest.raises(BundleError, match="ended before it was ready: E: no line"):
        _platform.wait(engine(looks=2, ends=True)[1], "x", "debian:13", 60.0, lambda seconds: None)


def test_one_of_another_architecture_says_what_its_programs_need() -> None:
    with pytest.raises(BundleError, match="for another architecture, whose programs this machine can run once"):
        _platform.wait(engine(ends=True, architecture="arm64")[1], "x", "debian:13", 60.0, lambda seconds: None)
    with pytest.raises(BundleError, match=r"E: no line$"):
        _platform.wait(engine(ends=True)[1], "x", "debian:13", 60.0, lambda seconds: None)


def test_one_that_takes_too_long_is_given_up() -> None:
    with pytest.raises(BundleError, match="not ready within 0 seconds: E: no line"):
        _platform.wait(engine(looks=1000)[1], "x", "debian:13", 0.0, lambda seconds: None)


def test_a_run_is_refused_where_another_one_goes_on_and_not_where_it_has_ended(tmp_path: Path) -> None:
    used, work = engine()[1], str(tmp_path)
    with subprocess.Popen(["sleep", "60"]) as other:
        run = this_run(pid=other.pid)
        _platform.start(used, "debian:13", work, run)
        try:
            said = f"another run ({run}) makes a bundle with {work} now; wait until it has ended"
            with pytest.raises(BundleError, match=re.escape(said)):
                _platform.refuse_others(used, work, this_run())
            _platform.refuse_others(used, work, run)
            _platform.refuse_others(used, str(tmp_path / "other"), "")
        finally:
            other.kill()
        other.wait()
    _platform.refuse_others(used, work, this_run())
