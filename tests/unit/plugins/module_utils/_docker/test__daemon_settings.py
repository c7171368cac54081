# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._docker._daemon_json import DaemonJson, DaemonJsonError
from ansible_collections.private_llm.fleet.plugins.module_utils._docker._daemon_settings import plan_settings
from ansible_collections.private_llm.fleet.plugins.module_utils._docker._needs import needs_between, strongest


def document(data: t.Any) -> DaemonJson:
    return DaemonJson.from_bytes(json.dumps(data).encode())


@pytest.mark.parametrize(
    ("data", "settings", "absent", "expected"),
    [
        pytest.param({}, {}, [], {}, id="nothing"),
        pytest.param({"a": 1}, {"b": 2}, [], {"a": 1, "b": 2}, id="added"),
        pytest.param(
            {"log-opts": {"max-size": "1m", "tag": "x"}},
            {"log-opts": {"max-size": "2m", "max-file": "3"}},
            [],
            {"log-opts": {"max-size": "2m", "tag": "x", "max-file": "3"}},
            id="objects-merged",
        ),
        pytest.param(
            {"a": {"b": {"c": 1}}}, {"a": {"b": {"d": 2}}}, [], {"a": {"b": {"c": 1, "d": 2}}}, id="at-every-depth"
        ),
        pytest.param({"dns": ["1.1.1.1"]}, {"dns": ["9.9.9.9"]}, [], {"dns": ["9.9.9.9"]}, id="lists-replaced"),
        pytest.param({"a": "x"}, {"a": {"b": 1}}, [], {"a": {"b": 1}}, id="another-kind-replaced"),
        pytest.param({"a": {"b": 1}}, {"a": {}}, [], {"a": {"b": 1}}, id="merging-nothing"),
        pytest.param({"a": None}, {"a": {"b": 1}}, [], {"a": {"b": 1}}, id="null-replaced"),
        pytest.param({"a": 1, "b": 2}, {}, ["a"], {"b": 2}, id="absent"),
        pytest.param({"a": {"b": 1, "c": 2}}, {}, ["a.b"], {"a": {"c": 2}}, id="absent-inside"),
        pytest.param({"a.b": 1, "a": {"b": 2}}, {}, ["a.b"], {"a": {}}, id="all-that-a-dot-can-mean"),
        pytest.param({"a": {"b.c": 1, "d": 2}}, {}, ["a.b.c"], {"a": {"d": 2}}, id="a-dot-in-the-inner-key"),
        pytest.param({"a": 1}, {}, ["b", "c.d"], {"a": 1}, id="absent-already"),
        pytest.param({"a": 1}, {"b": 1}, ["a"], {"b": 1}, id="both"),
    ],
)
def test_plan_settings(data: t.Any, settings: dict[str, t.Any], absent: list[str], expected: t.Any) -> None:
    after = plan_settings(document(data), settings, absent)
    assert after.data == expected
    assert plan_settings(after, settings, absent) is after


@pytest.mark.parametrize(
    ("data", "settings", "absent", "message"),
    [
        ({}, {"a": None}, [], "a is null; to take a key out, list it in absent"),
        ({"a": {}}, {"a": {"b": None}}, [], "a.b is null; to take a key out, list it in absent"),
        ({}, {"a": 1}, ["a"], "a is in settings and in absent; decide for one"),
        ({}, {"a": {"b": 1}}, ["a.b"], "a.b is in settings and in absent; decide for one"),
        ({}, {}, [""], "absent holds an empty key"),
        (
            {},
            {"default-runtime": "ghost"},
            [],
            (
                'line 2: "default-runtime" is ghost, which no entry of "runtimes" defines (there are: runc);'
                " dockerd would not start"
            ),
        ),
        (
            {"default-runtime": "a", "runtimes": {"a": {"path": "a"}}},
            {},
            ["runtimes.a"],
            (
                'line 1: "default-runtime" is a, which no entry of "runtimes" defines (there are: runc);'
                " dockerd would not start"
            ),
        ),
    ],
)
def test_plan_settings_refuses(data: t.Any, settings: dict[str, t.Any], absent: list[str], message: str) -> None:
    with pytest.raises(DaemonJsonError) as error:
        plan_settings(document(data), settings, absent)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        pytest.param({}, {}, "none", id="nothing"),
        pytest.param({"a": 15}, {"a": 15.0}, "none", id="same-number"),
        pytest.param({}, {"live-restore": True}, "reload", id="live-restore-on"),
        pytest.param({"live-restore": True}, {"live-restore": False}, "reload", id="live-restore-off"),
        pytest.param({"live-restore": True}, {}, "restart", id="live-restore-key-gone"),
        pytest.param({"live-restore": True}, {"live-restore": None}, "restart", id="null-is-a-key-gone"),
        pytest.param({}, {"registry-mirrors": ["https://m"]}, "reload", id="mirrors"),
        pytest.param({"registry-mirrors": ["https://m"]}, {}, "restart", id="mirrors-key-gone"),
        pytest.param({"max-concurrent-downloads": 5}, {}, "reload", id="this-key-goes-back-on-reload"),
        pytest.param({"runtimes": {"a": {}}}, {"runtimes": {}}, "reload", id="runtime-gone"),
        pytest.param({"runtimes": {"a": {}}}, {}, "restart", id="runtimes-key-gone"),
        pytest.param({"default-runtime": "a"}, {}, "restart", id="default-runtime-key-gone"),
        pytest.param({}, {"data-root": "/d"}, "restart", id="data-root"),
        pytest.param({"log-opts": {"a": "1"}}, {"log-opts": {"a": "2"}}, "restart", id="log-opts"),
        pytest.param({}, {"cdi-spec-dirs": ["/x"]}, "restart", id="cdi-spec-dirs"),
        pytest.param({}, {"exec-opts": ["native.cgroupdriver=systemd"]}, "restart", id="exec-opts"),
        pytest.param({}, {"features": {"cdi": True}}, "restart", id="cdi"),
        pytest.param({"features": {"cdi": True}}, {"features": {"cdi": False}}, "restart", id="cdi-off"),
        pytest.param({"features": {}}, {"features": {"buildkit": False}}, "reload", id="buildkit"),
        pytest.param({"features": {"buildkit": False}}, {}, "restart", id="features-key-gone"),
        pytest.param({}, {"features": {}}, "none", id="features-still-none"),
        pytest.param({}, {"runtimes": {"a": {}}, "data-root": "/d"}, "restart", id="the-strongest-counts"),
        pytest.param({}, {"never-heard-of": 1}, "restart", id="unknown"),
    ],
)
def test_needs_between(before: dict[str, t.Any], after: dict[str, t.Any], expected: str) -> None:
    assert needs_between(before, after) == expected


def test_strongest() -> None:
    assert strongest() == "none"
    assert strongest("none", "reload") == "reload"
    assert strongest("restart", "none", "reload") == "restart"
