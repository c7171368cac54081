# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import pathlib
import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._docker._engine_network import (
    network_problem,
    same_namespace,
)

BRIDGE: t.Mapping[str, t.Any] = {"Driver": "bridge", "Options": {"com.docker.network.bridge.name": "docker0"}}
RULES = "-P PREROUTING ACCEPT\n-N DOCKER\n-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE\n"
FLUSHED = "-P PREROUTING ACCEPT\n-P POSTROUTING ACCEPT\n"


def problem(
    folder: pathlib.Path,
    rules: t.Mapping[str, str | None],
    bridge: t.Any = ...,
    info: t.Mapping[str, t.Any] | None = None,
    configuration: t.Mapping[str, t.Any] | None = None,
    command_line: t.Sequence[str] = ("dockerd",),
) -> str | None:
    return network_problem(
        BRIDGE if bridge is ... else bridge,
        info or {},
        configuration or {},
        command_line,
        lambda argv: rules.get(argv[0]),
        str(folder),
    )


def test_a_bridge_that_was_deleted_under_a_running_engine_is_noticed(tmp_path: pathlib.Path) -> None:
    said = problem(tmp_path, {"iptables": RULES})
    assert said is not None
    assert said.startswith("the engine's bridge docker0 was deleted")
    assert "Restart the engine, and then each container" in said


def test_rules_that_a_firewall_flushed_are_noticed(tmp_path: pathlib.Path) -> None:
    (tmp_path / "docker0").mkdir()
    said = problem(tmp_path, {"iptables": FLUSHED, "iptables-legacy": FLUSHED})
    assert said is not None
    assert "a reload of firewalld or ufw" in said


@pytest.mark.parametrize(
    ("rules", "others"),
    [
        pytest.param({"iptables": RULES}, {}, id="whole"),
        pytest.param({"iptables": FLUSHED, "iptables-legacy": RULES}, {}, id="whole-in-the-other-kind-of-iptables"),
        pytest.param({}, {}, id="no-iptables-to-ask"),
        pytest.param({"iptables": FLUSHED}, {"configuration": {"iptables": False}}, id="told-to-write-none"),
        pytest.param({"iptables": FLUSHED}, {"command_line": ["dockerd", "--iptables=false"]}, id="told-so-by-a-flag"),
        pytest.param({"iptables": FLUSHED}, {"info": {"FirewallBackend": {"Driver": "nftables"}}}, id="nftables"),
        pytest.param({"iptables": FLUSHED}, {"bridge": {"Driver": "null"}}, id="no-bridge-wanted"),
        pytest.param({"iptables": FLUSHED}, {"bridge": None}, id="not-told"),
        pytest.param({"iptables": FLUSHED}, {"bridge": ["x"]}, id="told-in-another-form"),
    ],
)
def test_what_is_whole_or_cannot_be_known_is_no_problem(
    tmp_path: pathlib.Path, rules: dict[str, str], others: dict[str, t.Any]
) -> None:
    (tmp_path / "docker0").mkdir()
    assert problem(tmp_path, rules, **others) is None


def test_a_bridge_of_another_name(tmp_path: pathlib.Path) -> None:
    (tmp_path / "br-own").mkdir()
    own = {"Driver": "bridge", "Options": {"com.docker.network.bridge.name": "br-own"}}
    assert problem(tmp_path, {"iptables": RULES}, bridge=own) is None


def test_same_namespace() -> None:
    assert same_namespace(os.getpid())
    assert not same_namespace(None)
    assert not same_namespace(2**31)
