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


def test_keys_of_others_are_where_they_were(host: Any) -> None:
    daemon_json = host.file("/etc/docker/daemon.json")
    assert daemon_json.content_string.startswith(
        '{\n\t"labels" : [ "owner=ops","rack=中" ],\n\t"max-concurrent-downloads":5,\n\t"live-restore": true'
    )
    assert daemon_json.mode == 0o640


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
