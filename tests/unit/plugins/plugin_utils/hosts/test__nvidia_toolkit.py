# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.filter.nvidia_toolkit_state import nvidia_toolkit_state
from ansible_collections.private_llm.fleet.plugins.plugin_utils.hosts._nvidia_toolkit import (
    differing,
    given_packages,
    is_older,
)

PACKAGES = ["libnvidia-container1", "nvidia-container-toolkit"]
ENGINE = {
    "running": True,
    "version": "26.1.5",
    "data_root": "/var/lib/docker",
    "rootless": False,
    "runtimes": ["nvidia", "runc"],
    "gpu_containers": [],
}
REPOSITORY = {"listed": True, "trusted": True, "others": []}
LOOK = {
    "holds": True,
    "needs": "none",
    "refused": None,
    "packages": [{"name": name, "version": "1.20.1-1"} for name in PACKAGES],
    "locks": PACKAGES,
    "repository": REPOSITORY,
    "engine": ENGINE,
    "gpu": {"status": "ok", "message": "2 GPUs"},
}
WANTED = {
    "host": "gpu1",
    "state": "present",
    "family": "debian",
    "version": "1.20.1",
    "packages": PACKAGES,
    "files": [],
    "allow_insecure": False,
    "hold": True,
    "runtime": "nvidia",
    "cdi": None,
    "path": "/etc/docker/daemon.json",
    "socket": "/var/run/docker.sock",
    "hook": True,
    "marked": False,
    "key_refresh": False,
    "require_gpu": False,
    "stop_users": False,
}
OLD = [{"name": name, "version": "1.19.0-1"} for name in PACKAGES]


def problem(look: dict[str, t.Any], **wanted: t.Any) -> str:
    """Return the one problem of a host."""
    (text,) = nvidia_toolkit_state(look, {**WANTED, **wanted})["problems"]
    return str(text)


def engine(**values: t.Any) -> dict[str, t.Any]:
    """Return a look at another engine."""
    return {**LOOK, "engine": {**ENGINE, **values}}


def test_a_toolkit_as_declared_is_left_alone() -> None:
    assert nvidia_toolkit_state(LOOK, WANTED) == {"differ": [], "held": "", "settled": True, "problems": []}


@pytest.mark.parametrize(
    ("look", "wanted"),
    [
        (LOOK, {"state": "absent"}),
        (LOOK, {"key_refresh": True}),
        (LOOK, {"hook": False}),
        (LOOK, {"marked": True}),
        (LOOK, {"runtime": "nvidia-2"}),
        (LOOK, {"hold": False}),
        (engine(running=False), {}),
        (engine(runtimes=[]), {}),
        ({**LOOK, "holds": False}, {}),
        ({**LOOK, "needs": "restart"}, {}),
        ({**LOOK, "gpu": {"status": "no_gpu", "message": "none"}}, {}),
        ({**LOOK, "packages": OLD}, {}),
        ({**LOOK, "locks": []}, {}),
        ({**LOOK, "repository": {**REPOSITORY, "listed": False}}, {}),
        ({**LOOK, "repository": {**REPOSITORY, "trusted": False}}, {}),
        ({**LOOK, "repository": {**REPOSITORY, "others": ["/etc/apt/sources.list"]}}, {}),
    ],
)
def test_what_differs_is_brought_to_its_state(look: dict[str, t.Any], wanted: dict[str, t.Any]) -> None:
    assert not nvidia_toolkit_state(look, {**WANTED, **wanted})["settled"]


def test_packages_from_files_have_no_repository() -> None:
    assert nvidia_toolkit_state({**LOOK, "repository": None}, WANTED)["settled"]


def test_the_locks_of_dnf_are_not_the_roles() -> None:
    assert nvidia_toolkit_state({**LOOK, "locks": []}, {**WANTED, "family": "redhat"})["settled"]


@pytest.mark.parametrize(
    ("version", "differ"),
    [
        ("1.20.1-1", []),
        ("1.20.1", []),
        ("1.20.10-1", ["a"]),
        ("1.20.1-rc.1-1", ["a"]),
        ("1x20x1-1", ["a"]),
        ("", ["a"]),
    ],
)
def test_differing(version: str, differ: list[str]) -> None:
    assert differing([{"name": "a", "version": version}], ["a"], "1.20.1") == differ


def test_given_packages() -> None:
    files = [
        "/f/libnvidia-container1_1.20.1-1_amd64.deb",
        "nvidia-container-toolkit-1.20.1-1.x86_64.rpm",
        "a_1.20.0-1_b",
    ]
    assert given_packages(files, "1.20.1") == PACKAGES
    assert given_packages(["", "_", "x_1.20.1-_"], "1.20.1") == []


@pytest.mark.parametrize(
    ("version", "than", "older"),
    [
        ("1.17.7", "1.17.8", True),
        ("1.17.8", "1.17.8", False),
        ("1.17.8~rc.1", "1.17.8", False),
        ("1.18", "1.17.8", False),
        ("1.9.0", "1.17.8", True),
        ("20.10.24+dfsg1", "25", True),
        ("26.1.5", "25", False),
        ("odd", "25", True),
        ("", "25", True),
    ],
)
def test_is_older(version: str, than: str, older: bool) -> None:
    assert is_older(version, than) == older


def test_a_version_with_holes() -> None:
    assert "1.17.8 or newer (nvidia_toolkit_version), or set nvidia_toolkit_allow_insecure" in problem(
        LOOK, version="1.17.7"
    )
    assert nvidia_toolkit_state(LOOK, {**WANTED, "version": "1.17.7", "allow_insecure": True})["problems"] == []
    assert nvidia_toolkit_state(LOOK, {**WANTED, "version": "1.17.7", "state": "absent"})["problems"] == []


def test_files_that_are_not_all_of_them() -> None:
    text = problem(LOOK, files=["/f/libnvidia-container1_1.20.1-1_amd64.deb"])
    assert text.startswith(
        "nvidia_toolkit_package_files must hold one file of nvidia-container-toolkit 1.20.1, and holds "
    )
    assert "libnvidia-container1_1.20.1-1_amd64.deb" in text
    assert "/f/" not in text


@pytest.mark.parametrize(
    ("values", "what"), [({"rootless": True}, "without root"), ({"data_root": "/var/snap/docker/common"}, "is a snap")]
)
def test_an_engine_that_does_not_read_the_file(values: dict[str, t.Any], what: str) -> None:
    assert what in problem(engine(**values))
    assert what in problem(engine(**values), state="absent")


def test_cdi_of_an_engine_that_is_too_old() -> None:
    assert problem(engine(version="20.10.24"), cdi=True).startswith("The Docker engine 20.10.24 on gpu1 knows no CDI")
    # An engine that does not run may become one that knows it.
    assert nvidia_toolkit_state(engine(version=None), {**WANTED, "cdi": True})["problems"] == []
    assert nvidia_toolkit_state(engine(version="20.10.24"), {**WANTED, "cdi": False})["problems"] == []


def test_containers_that_need_the_toolkit() -> None:
    look = engine(gpu_containers=["busy"])
    assert problem(look, state="absent").startswith("busy on gpu1 run with GPUs and would not start again without")
    assert nvidia_toolkit_state(look, {**WANTED, "state": "absent", "stop_users": True})["problems"] == []
    assert nvidia_toolkit_state(look, WANTED)["problems"] == []


def test_a_gpu_that_must_be_there() -> None:
    look = {**LOOK, "gpu": {"status": "no_driver", "message": "there is no driver"}}
    assert problem(look, require_gpu=True) == (
        "no usable GPU: there is no driver; gpu1 must have one (nvidia_toolkit_require_gpu)"
    )


def test_what_dockerd_would_refuse_comes_after_what_the_role_knows() -> None:
    look = {**engine(rootless=True), "refused": "dockerd would not start"}
    assert "without root" in problem(look)
    assert problem({**LOOK, "refused": "dockerd would not start"}) == "dockerd would not start"


@pytest.mark.parametrize(
    ("family", "advice"), [("debian", "apt-mark unhold"), ("redhat", "dnf versionlock"), ("suse", "zypper removelock")]
)
def test_packages_that_somebody_else_holds(family: str, advice: str) -> None:
    look = {**LOOK, "packages": OLD, "locks": PACKAGES[:1]}
    held = nvidia_toolkit_state(look, {**WANTED, "family": family})["held"]
    assert "on gpu1 must change to 1.20.1 and may not (libnvidia-container1), because " in held
    assert advice in held
    assert "nvidia_toolkit_version" in held


@pytest.mark.parametrize(
    ("look", "wanted"),
    [
        # Right already, held by the role itself, or held by nobody.
        ({**LOOK, "locks": PACKAGES[:1]}, {}),
        ({**LOOK, "packages": OLD}, {}),
        ({**LOOK, "packages": OLD, "locks": []}, {"hold": False}),
    ],
)
def test_packages_that_may_change(look: dict[str, t.Any], wanted: dict[str, t.Any]) -> None:
    assert nvidia_toolkit_state(look, {**WANTED, **wanted})["held"] == ""


def test_packages_that_are_no_longer_to_be_held_but_are() -> None:
    look = {**LOOK, "packages": OLD}
    assert "may not" in nvidia_toolkit_state(look, {**WANTED, "hold": False})["held"]
