# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json

import yaml

from ansible_collections.private_llm.fleet.plugins.module_utils._endpoint import Endpoint
from ansible_collections.private_llm.fleet.plugins.plugin_utils.monitoring import _files, _receivers

BRIDGE = Endpoint("http", "127.0.0.1", 9095)
HOOK = {"name": "hook", "type": "webhook", "url": "https://alerts.example.com/x"}
MAIL = {"name": "team", "type": "mail", "to": "ops@example.com", "from": "llm@example.com", "smarthost": "mail:25"}
ROBOT = {"name": "robot", "type": "dingtalk", "url": "https://robot.example.com/?t=1", "secret": "s"}


def test_each_receiver_hears_of_every_alert_and_chats_by_the_bridge() -> None:
    text = _receivers.alertmanager_file(
        [HOOK, {**MAIL, "username": "u", "password": "p"}, ROBOT], "", _receivers.Timing(), BRIDGE
    )
    written = yaml.safe_load(text)
    assert [(one["receiver"], one.get("continue", False)) for one in written["route"]["routes"]] == [
        ("nobody", False),
        ("hook", True),
        ("team", True),
        ("robot", True),
    ]
    ways = {one["name"]: one for one in written["receivers"]}
    assert ways["hook"]["webhook_configs"][0]["url"] == HOOK["url"]
    assert ways["team"]["email_configs"][0]["auth_password"] == "p"
    assert ways["robot"]["webhook_configs"][0]["url"] == "http://127.0.0.1:9095/robot"
    assert json.loads(_receivers.bridge_file([HOOK, ROBOT], BRIDGE)) == {
        "listen": ["127.0.0.1", 9095],
        "chats": {"robot": {"type": "dingtalk", "url": ROBOT["url"], "secret": "s"}},
    }
    assert _receivers.bridge_file([HOOK, MAIL], BRIDGE) == ""


def test_the_alert_that_always_fires_goes_to_its_own_url_alone() -> None:
    written = yaml.safe_load(
        _receivers.alertmanager_file([HOOK], "https://switch.example.com", _receivers.Timing(), BRIDGE)
    )
    first = written["route"]["routes"][0]
    assert (first["receiver"], first["matchers"]) == ("dead-mans-switch", ['alertname="DeadMansSwitch"'])
    assert "continue" not in first


def test_what_a_receiver_lacks_is_named_and_no_secret_is() -> None:
    odd = [
        HOOK,
        HOOK,
        {"name": "a", "type": "fax"},
        {"name": "b", "type": "mail", "to": "x", "secret": "canary"},
        {"name": "c d", "type": "webhook", "url": "canary.example.com"},
        {"type": "webhook"},
    ]
    texts = _files.problem_lines([], {"receivers": odd})
    assert [text.split(":")[0] for text in texts] == [
        "monitoring_receivers[5]",
        "monitoring_receivers[1].name",
        "monitoring_receivers[2].type",
        "monitoring_receivers[3].from",
        "monitoring_receivers[3].smarthost",
        "monitoring_receivers[3].secret",
        "monitoring_receivers[4].name",
        "monitoring_receivers[4].url",
    ]
    assert "canary" not in "".join(texts)


def test_files_are_the_same_for_the_same_input_and_secrets_are_apart() -> None:
    settings = {"receivers": [HOOK, ROBOT], "interval": 1.5}
    one, two = (_files.files([], settings) for _again in range(2))
    assert one == two
    assert "scrape_interval: 1500ms" in one["files"]["prometheus.yml"]
    assert sorted(one["secret_files"]) == ["alertmanager.yml", "bridge.json"]
    assert "example.com" not in "".join(one["files"].values())
    assert sorted(name for name in one["files"] if name.startswith("targets/")) == [
        "targets/gateway.json",
        "targets/host.json",
        "targets/vllm.json",
    ]
