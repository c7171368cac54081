# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine runs as it was declared, and what others had declared is where they left it."""

from __future__ import annotations

import json
from typing import Any

import pytest


@pytest.fixture(name="info")
def fixture_info(host: Any) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(host.check_output("docker info --format '{{json .}}'"))
    return answer


def test_engine_took_up_its_configuration(info: dict[str, Any]) -> None:
    assert info["LiveRestoreEnabled"] is True
    assert info["LoggingDriver"] == "local"
    assert info["RegistryConfig"]["Mirrors"] == ["https://mirror.example.com/"]


def test_engine_trusts_registries_without_tls(info: dict[str, Any]) -> None:
    registries = info["RegistryConfig"]
    assert registries["IndexConfigs"]["registry.example.com:5000"]["Secure"] is False
    assert "10.1.2.0/24" in registries["InsecureRegistryCIDRs"]


def test_data_root_and_proxies(host: Any, info: dict[str, Any]) -> None:
    """The engine answers with its own stars in place of a password, and nothing else has it to read."""
    if host.backend.get_hostname() != "debian13":
        assert (info["DockerRootDir"], info["HttpProxy"]) == ("/var/lib/docker", "")
        return
    assert info["DockerRootDir"] == "/var/lib/docker/moved"
    assert host.file("/var/lib/docker/moved/image").is_directory
    assert info["HttpProxy"] == "http://xxxxx:xxxxx@proxy.example.com:3128"
    assert info["HttpsProxy"] == "http://proxy.example.com:3129"
    assert info["NoProxy"] == "localhost,.example.com"
    assert "hunter2" in host.file("/etc/docker/daemon.json").content_string
    assert "hunter2" not in host.check_output("journalctl --no-pager --output=cat")


def test_where_the_packages_came_from(host: Any) -> None:
    if host.backend.get_hostname() != "debian13":
        assert host.package("docker.io").is_installed
        return
    assert host.package("docker-ce").is_installed
    assert not host.package("docker.io").is_installed
    policy = host.check_output("apt-cache policy docker-ce")
    assert "http://127.0.0.1:8080/linux/debian trixie/stable" in policy
    assert host.file("/etc/apt/sources.list.d/docker.sources").exists
    assert not host.file("/etc/apt/sources.list.d/docker.list").exists


def test_keys_of_others_are_where_they_were(host: Any) -> None:
    daemon_json = host.file("/etc/docker/daemon.json")
    assert daemon_json.content_string.startswith(
        '{\n\t"labels" : [ "owner=ops","rack=中" ],\n\t"max-concurrent-downloads":5,\n\t"live-restore": true'
    )
    # Where it names a proxy with a password, nobody else may read it any more.
    assert daemon_json.mode == (0o600 if host.backend.get_hostname() == "debian13" else 0o640)


def test_keys_of_others_are_in_effect(info: dict[str, Any]) -> None:
    assert sorted(info["Labels"]) == ["owner=ops", "rack=中"]


def test_containers_get_the_declared_log_options(host: Any) -> None:
    host.check_output("docker create --name logged --network none sleeper /usr/bin/sleep 1")
    try:
        config = json.loads(host.check_output("docker inspect --format '{{json .HostConfig.LogConfig}}' logged"))
    finally:
        host.check_output("docker rm logged")
    assert config == {"Type": "local", "Config": {"max-file": "3", "max-size": "10m"}}


def test_the_file_from_before_each_change_is_kept(host: Any) -> None:
    first = next(
        path
        for path in host.check_output("ls -tr /etc/docker").splitlines()
        if path.startswith("daemon.json.") and path.endswith("~")
    )
    assert json.loads(host.file(f"/etc/docker/{first}").content_string).keys() == {"labels", "max-concurrent-downloads"}


def test_the_engine_starts_with_the_host(host: Any) -> None:
    if host.process.filter(pid=1)[0].comm == "systemd":
        assert host.service("docker").is_enabled
    else:
        # Debian's script knows of the engine that was started beside it.
        assert "is running" in host.check_output("service docker status")


def test_a_container_runs(host: Any) -> None:
    assert host.check_output("docker inspect --format '{{.State.Running}} {{.RestartCount}}' keep") == "true 0"
