# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t

import yaml

from ansible_collections.private_llm.fleet.plugins.plugin_utils.monitoring import _files, _targets

ALPHA = {"name": "alpha", "model": "Qwen/Qwen3-8B", "port": 18005, "gpus": [0, 1]}
GROUPS = {"gpu_hosts": ["gpu-01"], "gateway_hosts": ["gw-01"], "webui_hosts": ["gw-01"], "monitoring_hosts": ["mon-01"]}


def fleet(**of_all: t.Any) -> dict[str, t.Any]:
    return {
        "gpu-01": {"ansible_host": "192.0.2.1", "vllm_server_instances": [ALPHA], **of_all},
        "gw-01": {"ansible_host": "192.0.2.2", **of_all},
        "mon-01": {"ansible_host": "192.0.2.3", **of_all},
    }


OPEN = {"monitoring_exporter_bind": "0.0.0.0", "gateway_metrics_bind": "0.0.0.0"}


def test_every_server_gateway_and_host_is_a_target_once_with_labels_that_join() -> None:
    found = _targets.targets(GROUPS, fleet(**OPEN), "mon-01")
    assert [(one["kind"], one["name"], one["url"]) for one in found] == [
        ("server", "gpu-01:alpha", "http://192.0.2.1:18005"),
        ("gateway", "gw-01", "http://192.0.2.2:8405"),
        ("host", "gpu-01", "http://192.0.2.1:9100"),
        ("host", "gw-01", "http://192.0.2.2:9100"),
        ("host", "mon-01", "http://127.0.0.1:9100"),
    ]
    assert {key: found[0][key] for key in ("host", "server", "model", "gpus", "gpu_count")} == {
        "host": "gpu-01",
        "server": "alpha",
        "model": "alpha",
        "gpus": ["0", "1"],
        "gpu_count": 2,
    }
    assert _targets.problems(found) == []


def test_the_dcgm_exporter_is_a_target_of_gpu_hosts_where_it_is_wanted() -> None:
    found = _targets.targets(GROUPS, fleet(**OPEN, monitoring_dcgm_image="acme/dcgm:1", monitoring_dcgm_port=9401), "")
    assert [(one["name"], one["url"], one["host"]) for one in found if one["kind"] == "dcgm"] == [
        ("gpu-01", "http://192.0.2.1:9401", "gpu-01")
    ]
    assert _targets.problems([one for one in found if one["kind"] == "dcgm"]) == []
    files = _files.files(found, {})["files"]
    (job,) = [one for one in yaml.safe_load(files["prometheus.yml"])["scrape_configs"] if one["job_name"] == "dcgm"]
    assert {"source_labels": ["UUID"], "target_label": "uuid"} in job["metric_relabel_configs"]
    assert json.loads(files["targets/dcgm.json"])[0]["labels"]["host"] == "gpu-01"
    # Without one nothing says so.
    plain = _files.files(_targets.targets(GROUPS, fleet(**OPEN), ""), {})["files"]
    assert not [name for name, text in plain.items() if name.startswith(("targets", "prom")) and "dcgm" in name + text]


def test_what_listens_for_its_own_host_alone_is_named_with_the_variable_to_set() -> None:
    texts = [one.sentence for one in _targets.problems(_targets.targets(GROUPS, fleet(), "mon-01"))]
    assert [("gateway_metrics_bind" in one, "monitoring_exporter_bind" in one) for one in texts] == [
        (True, False),
        (False, True),
        (False, True),
    ]
    assert "monitoring_targets[1].url: the metrics of gateway gw-01 cannot be read" in texts[0]


def test_on_one_host_everything_is_reached_on_the_loopback() -> None:
    groups = {"gpu_hosts": ["gpu-01"], "monitoring_hosts": ["gpu-01"]}
    found = _targets.targets(groups, fleet(), "gpu-01")
    assert [one["url"] for one in found] == ["http://127.0.0.1:18005", "http://127.0.0.1:9100"]
    assert _targets.problems(found) == []


def test_a_server_that_gives_a_number_of_gpus_has_that_many_and_names_none() -> None:
    hostvars = {"g": {"vllm_server_instances": [{**ALPHA, "gpus": 4}, {**ALPHA, "name": "cpu", "port": 1, "gpus": []}]}}
    found = _targets.targets({"gpu_hosts": ["g"]}, hostvars, "")
    assert [(one["server"], one["gpus"], one["gpu_count"]) for one in found if one["kind"] == "server"] == [
        ("alpha", [], 4),
        ("cpu", [], 0),
    ]


def test_a_file_of_targets_has_scheme_path_and_labels() -> None:
    hostvars = {
        "g": {"vllm_server_instances": [{**ALPHA, "url": "https://llm.example.com/alpha/v1"}]},
        "h": {"vllm_server_instances": [{**ALPHA, "bind": "2001:db8::7"}]},
    }
    found = _targets.targets({"gpu_hosts": ["g", "h"]}, hostvars, "")
    assert json.loads(_targets.file_sd(found, "server")) == [
        {
            "targets": ["llm.example.com:443"],
            "labels": {
                "__metrics_path__": "/alpha/metrics",
                "__scheme__": "https",
                "host": "g",
                "instance": "g:alpha",
                "model": "alpha",
                "server": "alpha",
            },
        },
        {
            "targets": ["[2001:db8::7]:18005"],
            "labels": {
                "__metrics_path__": "/metrics",
                "__scheme__": "http",
                "host": "h",
                "instance": "h:alpha",
                "model": "alpha",
                "server": "alpha",
            },
        },
    ]
    assert json.loads(_targets.file_sd(found, "gateway")) == []


def test_odd_targets_are_named_and_left_out() -> None:
    given = [
        {"kind": "printer", "name": "a", "url": "http://a"},
        {"kind": "host", "name": "b", "url": "ftp://b"},
        {"kind": "host", "name": "c", "url": "http://c"},
        {"kind": "host", "name": "c", "url": "http://d"},
        {"kind": "host", "url": "http://e"},
        7,
    ]
    texts = [one.sentence for one in _targets.problems(given)]
    assert [text.split(":")[0] for text in texts] == [
        "monitoring_targets[4]",
        "monitoring_targets[5]",
        "monitoring_targets[0].kind",
        "monitoring_targets[1].url",
        "monitoring_targets[3].name",
    ]
    assert [one["targets"] for one in json.loads(_targets.file_sd(given, "host"))] == [["c:80"], ["d:80"]]


def test_a_bind_that_is_no_address_is_named() -> None:
    hostvars = {"m": {"monitoring_exporter_bind": "eth0"}}
    found = _targets.targets({"monitoring_hosts": ["m"]}, hostvars, "m")
    (problem,) = _targets.problems(found)
    assert "monitoring_exporter_bind is 'eth0', which is not an IP address" in problem.sentence
