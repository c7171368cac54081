# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.filter.docker_engine_state import docker_engine_state
from ansible_collections.private_llm.fleet.plugins.plugin_utils.hosts._docker_engine import major_version

ENGINE = {
    "running": True,
    "version": "26.1.5",
    "data_root": "/var/lib/docker",
    "rootless": False,
    "swarm": False,
    "network_problem": None,
}
LOOK = {
    "holds": True,
    "needs": "none",
    "refused": None,
    "programs": ["/usr/bin/dockerd"],
    "snap": False,
    "user_sockets": [],
    "engine": ENGINE,
    "unit": {"loaded": True, "active": True, "enabled": True},
}
BARE = {
    **LOOK,
    "holds": False,
    "programs": [],
    "engine": {"running": False},
    "unit": {"loaded": False, "active": False, "enabled": False},
}
WANTED = {
    "host": "gpu1",
    "path": "/etc/docker/daemon.json",
    "source": "distribution",
    "packages": ["docker.io"],
    "live_restore": True,
    "proxies": False,
    "enabled": True,
    "distribution": "Debian",
    "release": "13",
    "family": "Debian",
    "service_mgr": "systemd",
}


def problem(look: dict[str, t.Any], **wanted: t.Any) -> str:
    """Return the one problem of a host."""
    (text,) = docker_engine_state(look, {**WANTED, **wanted})["problems"]
    return str(text)


def test_an_engine_as_declared_is_left_alone() -> None:
    assert docker_engine_state(LOOK, WANTED) == {"there": True, "settled": True, "problems": []}


def test_a_bare_host_gets_an_engine() -> None:
    assert docker_engine_state(BARE, WANTED) == {"there": False, "settled": False, "problems": []}


def test_an_engine_that_answers_is_there_without_a_program_of_a_package() -> None:
    assert docker_engine_state({**LOOK, "programs": []}, WANTED)["there"]


@pytest.mark.parametrize(
    "look",
    [
        {**LOOK, "engine": {**ENGINE, "running": False}},
        {**LOOK, "holds": False},
        {**LOOK, "needs": "reload"},
        {**LOOK, "engine": {**ENGINE, "network_problem": "iptables lost its chains"}},
        {**LOOK, "unit": {"loaded": True, "active": False, "enabled": True}},
        {**LOOK, "unit": {"loaded": True, "active": True, "enabled": False}},
    ],
)
def test_what_differs_is_brought_to_its_state(look: dict[str, t.Any]) -> None:
    assert docker_engine_state(look, WANTED) == {"there": True, "settled": False, "problems": []}


def test_an_engine_without_a_unit_is_somebody_elses_to_start() -> None:
    look = {**LOOK, "unit": {"loaded": False, "active": False, "enabled": False}}
    assert docker_engine_state(look, WANTED)["settled"]
    assert docker_engine_state(look, {**WANTED, "service_mgr": "runit", "enabled": False})["settled"]


def test_a_unit_that_is_not_to_start_with_the_host() -> None:
    look = {**LOOK, "unit": {"loaded": True, "active": True, "enabled": False}}
    assert docker_engine_state(look, {**WANTED, "enabled": False})["settled"]
    assert not docker_engine_state(LOOK, {**WANTED, "enabled": False})["settled"]


@pytest.mark.parametrize(
    "look", [{**LOOK, "engine": {**ENGINE, "data_root": "/var/snap/docker/common"}}, {**BARE, "snap": True}]
)
def test_a_snap_is_refused(look: dict[str, t.Any]) -> None:
    assert problem(look).startswith("Docker on gpu1 is a snap. It ignores /etc/docker/daemon.json")
    assert "snap remove docker" in problem(look)


def test_a_snap_beside_the_engine_that_answers_is_not_in_the_way() -> None:
    assert docker_engine_state({**LOOK, "snap": True, "user_sockets": ["/run/user/1/docker.sock"]}, WANTED)["settled"]


@pytest.mark.parametrize(
    "look", [{**LOOK, "engine": {**ENGINE, "rootless": True}}, {**BARE, "user_sockets": ["/run/user/1/docker.sock"]}]
)
def test_an_engine_of_a_user_is_refused(look: dict[str, t.Any]) -> None:
    assert "runs without root, as a user's own service" in problem(look)


def test_a_distribution_without_an_engine() -> None:
    text = problem(BARE, packages=[], distribution="AlmaLinux", family="RedHat")
    assert text.startswith("gpu1 runs AlmaLinux, which has no Docker engine")
    assert "docker_engine_source to docker" in text
    assert "docker_engine_packages" in text


def test_live_restore_on_a_swarm_node() -> None:
    look = {**LOOK, "engine": {**ENGINE, "swarm": True}}
    assert problem(look).endswith("set docker_engine_live_restore to false.")
    assert docker_engine_state(look, {**WANTED, "live_restore": False})["problems"] == []


@pytest.mark.parametrize(
    ("look", "release", "shown"),
    [
        ({**LOOK, "engine": {**ENGINE, "version": "20.10.24+dfsg1"}}, "12", "20.10.24+dfsg1"),
        (BARE, "12", "20"),
        ({**LOOK, "engine": {**ENGINE, "version": "odd"}}, "13", "odd"),
    ],
)
def test_proxies_of_an_engine_that_is_too_old(look: dict[str, t.Any], release: str, shown: str) -> None:
    assert problem(look, proxies=True, release=release).startswith(f"Docker {shown} on gpu1 knows no proxies in ")


@pytest.mark.parametrize(
    ("version", "wanted", "major"),
    [
        ("26.1.5", {}, 26),
        ("", {}, 23),
        ("", {"release": "12"}, 20),
        ("", {"release": "11"}, 20),
        ("", {"release": "12", "source": "docker"}, 23),
        ("", {"release": "12", "distribution": "Ubuntu"}, 23),
        # Debian's testing has no number.
        ("", {"release": "trixie/sid"}, 23),
        ("", {"release": ""}, 23),
        ("9" * 50, {}, 999_999_999),
    ],
)
def test_major_version(version: str, wanted: dict[str, str], major: int) -> None:
    assert major_version(version, {**WANTED, **wanted}) == major


def test_a_host_without_systemd() -> None:
    text = problem(BARE, service_mgr="openrc", family="Alpine", distribution="Alpine")
    assert text.startswith("gpu1 is not run by systemd but by openrc.")
    assert docker_engine_state(BARE, {**WANTED, "service_mgr": "runit"})["problems"] == []


def test_what_dockerd_would_refuse_comes_after_what_the_role_knows() -> None:
    look = {**LOOK, "refused": "dockerd would not start"}
    assert problem(look) == "dockerd would not start"
    assert problem({**look, "engine": {**ENGINE, "swarm": True}}).startswith("gpu1 is a swarm node")
