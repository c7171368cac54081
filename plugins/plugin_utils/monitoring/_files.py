# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""All files of a Prometheus and an Alertmanager, from targets and settings. Pure."""

from __future__ import annotations

import typing as t

import yaml

from ...module_utils._endpoint import Endpoint
from .._host_vars import ANY, LINE, MAPPING, NUMBER, WHOLE, conform, silent
from . import _dashboards, _receivers, _rules, _targets

# The jobs, and the kind of targets of each.
JOBS = {"vllm": _targets.SERVER, "gateway": _targets.GATEWAY, "host": _targets.HOST}
# A job that is there only where it has targets, with the labels of NVIDIA's exporter called as ours are.
DCGM_JOB = {
    "job_name": "dcgm",
    "file_sd_configs": [{"files": ["targets/dcgm.json"]}],
    "metric_relabel_configs": [
        {"source_labels": ["UUID"], "target_label": "uuid"},
        {"action": "labeldrop", "regex": "UUID|Hostname"},
    ],
}
SETTINGS = {
    "interval": NUMBER,
    "alertmanager_port": WHOLE,
    "bridge_port": WHOLE,
    "limits": MAPPING,
    "receivers": [ANY],
    "switch_url": LINE,
    "wait_seconds": NUMBER,
    "repeat_seconds": NUMBER,
    "gpu_hour_cost": NUMBER,
}


def files(targets: t.Any, settings: t.Any) -> dict[str, dict[str, str]]:
    """Return ``files`` for everybody, and ``secret_files``, by their paths below one folder."""
    chosen = {**dict.fromkeys(SETTINGS), **conform(settings, SETTINGS, "settings", silent)}
    interval = chosen["interval"] or 15
    limits = _rules.limits_of(chosen["limits"])
    bridge = Endpoint("http", _targets.LOOPBACK, chosen["bridge_port"] or 9095)
    timing = _receivers.Timing(
        *(
            default if value is None else value
            for value, default in zip(
                (chosen["wait_seconds"], chosen["repeat_seconds"]), _receivers.Timing(), strict=True
            )
        )
    )
    jobs = scrape_configs(targets)
    plain = {
        "prometheus.yml": prometheus_file(jobs, interval, chosen["alertmanager_port"] or 9093),
        "scrape_configs.yml": _written({"scrape_configs": jobs}),
        "rules/alerts.yml": _rules.alert_file(limits),
        "rules/recording.yml": _rules.recording_file(targets, chosen["gpu_hour_cost"] or 0),
        **{f"targets/{job}.json": _targets.file_sd(targets, kind) for job, kind in JOBS.items()},
        **({"targets/dcgm.json": _targets.file_sd(targets, _targets.DCGM)} if DCGM_JOB in jobs else {}),
        **{f"dashboards/{name}.json": text for name, text in _dashboards.files().items()},
    }
    secret = {
        "alertmanager.yml": _receivers.alertmanager_file(
            chosen["receivers"], chosen["switch_url"] or "", timing, bridge
        )
    }
    chats = _receivers.bridge_file(chosen["receivers"], bridge)
    if chats:
        secret["bridge.json"] = chats
    return {"files": plain, "secret_files": secret}


def prometheus_file(jobs: t.Sequence[t.Mapping[str, t.Any]], interval: float, alertmanager_port: int) -> str:
    """Return Prometheus' configuration. Its paths begin at the folder that it is in."""
    return _written(
        {
            "global": {
                "scrape_interval": _rules.seconds(interval),
                "scrape_timeout": _rules.seconds(min(interval, 10)),
                "evaluation_interval": _rules.seconds(interval),
            },
            "rule_files": ["rules/*.yml"],
            "alerting": {
                "alertmanagers": [{"static_configs": [{"targets": [f"{_targets.LOOPBACK}:{alertmanager_port}"]}]}]
            },
            "scrape_configs": list(jobs),
        }
    )


def scrape_configs(targets: t.Any) -> list[dict[str, t.Any]]:
    """Return how each job finds its targets."""
    jobs: list[dict[str, t.Any]] = [
        {"job_name": job, "file_sd_configs": [{"files": [f"targets/{job}.json"]}]} for job in JOBS
    ]
    has_dcgm = any(target["kind"] == _targets.DCGM for target in _targets.readable(targets))
    return [*jobs, DCGM_JOB] if has_dcgm else jobs


def problem_lines(targets: t.Any, settings: t.Any) -> list[str]:
    """Return what is wrong with targets, limits and receivers, as sentences."""
    chosen = conform(settings, {"limits": ANY, "receivers": ANY}, "settings", silent)
    found = [
        *_targets.problems(targets),
        *_rules.limit_problems(chosen.get("limits")),
        *_receivers.problems(chosen.get("receivers")),
    ]
    return [problem.sentence for problem in found]


def _written(content: t.Mapping[str, t.Any]) -> str:
    text: str = yaml.safe_dump(dict(content), sort_keys=False, width=200, allow_unicode=True)
    return "# Written by private_llm.fleet; changes made here are lost.\n" + text
