# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What can be said of the rules without Prometheus; promtool tries them in the scenario monitoring."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import pytest
import yaml

from ansible_collections.private_llm.fleet.plugins.plugin_utils.monitoring import _dashboards, _rules

TESTS = Path(__file__).parents[4]  # tests
TRIED = yaml.safe_load((TESTS / "promtool" / "alerts_test.yml").read_text(encoding="utf-8"))["tests"]
SAMPLE = (TESTS / "unit" / "fixtures" / "monitoring" / "vllm_0.32.0.txt").read_text(encoding="utf-8")
ALERTS = _rules.alerts(_rules.Limits())
NAME = re.compile(r"(?:vllm:|http_|process_)[a-z0-9_]+")


def names(expressions: t.Iterable[str]) -> set[str]:
    return {name for expression in expressions for name in NAME.findall(expression)}


def test_there_are_few_alerts_and_each_says_what_to_do() -> None:
    assert len(ALERTS) <= 13
    assert [one.name for one in ALERTS if not (one.summary and one.cause and one.action.endswith("."))] == []


@pytest.mark.parametrize("alert", [*(one.name for one in ALERTS), _rules.SWITCH])
def test_each_alert_is_tried_both_ways(alert: str) -> None:
    tried = [one["name"] for one in TRIED]
    assert any(name.startswith(f"{alert} fires") for name in tried)
    # The one that always fires has no other way.
    assert any(name.startswith(f"{alert} is quiet") for name in tried) or alert == _rules.SWITCH


def test_every_metric_of_vllm_is_one_that_it_gives() -> None:
    given = set(re.findall(r"^([a-z_:0-9]+)", SAMPLE, re.MULTILINE))
    asked = names([*(one.expr for one in ALERTS), *_rules.RECORDED.values(), *_dashboards.expressions()])
    assert len(asked) >= 15
    assert asked - given == set()


def test_limits_change_rules_and_odd_ones_are_named() -> None:
    text = _rules.alert_file(_rules.limits_of({"engine_stalled_seconds": 8, "error_share": "much", "restarts": -1}))
    (rule,) = [one for one in yaml.safe_load(text)["groups"][0]["rules"] if one["alert"] == "EngineStalled"]
    assert rule["for"] == "4s"
    assert "[4s]" in rule["expr"]
    problems = _rules.limit_problems({"engine_stall_seconds": 8, "error_share": "much", "restarts": -1})
    assert [(one.where, one.text.partition(";")[0]) for one in problems] == [
        ("monitoring_limits.error_share", "is a string, not a number"),
        ("monitoring_limits.engine_stall_seconds", "is not a limit"),
        ("monitoring_limits.restarts", "is -1"),
    ]
    assert "engine_stalled_seconds" in problems[1].text


def test_gpus_of_servers_are_recorded_and_cost_where_a_price_is_given() -> None:
    target = {
        "kind": "server",
        "name": "g:a",
        "url": "http://g:1",
        "host": "g",
        "server": "a",
        "model": "m",
        "gpus": ["0", "GPU-1"],
        "gpu_count": 2,
    }
    (group,) = yaml.safe_load(_rules.recording_file([target], 2.5))["groups"]
    recorded = {(one["record"], *one.get("labels", {}).items()): one["expr"] for one in group["rules"]}
    labels = (("host", "g"), ("server", "a"), ("model", "m"))
    assert recorded["server:gpus", *labels] == "vector(2)"
    assert recorded["server:gpu", *labels, ("gpu", "0")] == "vector(1)"
    assert recorded["server:gpu", *labels, ("uuid", "GPU-1")] == "vector(1)"
    assert recorded["model:cost:per_hour",] == "sum by (model) (server:gpus) * 2.5"
    assert "user:request_seconds:rate5m" in recorded["user:cost:per_hour",]
    assert "cost" not in _rules.recording_file([target], 0)


def test_dashboards_have_what_grafana_needs() -> None:
    for name in _dashboards.DASHBOARDS:
        board = _dashboards.dashboard(name)
        panels = board["panels"]
        assert board["uid"] == f"private-llm-{name}"
        assert len({one["id"] for one in panels}) == len(panels)
        places = [(one["gridPos"]["x"], one["gridPos"]["y"]) for one in panels]
        assert len(set(places)) == len(places)
        assert all(one["gridPos"]["x"] + one["gridPos"]["w"] <= 24 for one in panels)
        variables = {one["name"] for one in board["templating"]["list"]}
        used = {word for one in panels for ask in one["targets"] for word in re.findall(r"\$(\w+)", ask["expr"])}
        assert used <= variables
        assert all(one["targets"] and one["title"] for one in panels)
