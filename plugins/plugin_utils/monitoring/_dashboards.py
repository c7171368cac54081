# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Dashboards for Grafana, from short tables. Pure."""

from __future__ import annotations

import json
import typing as t

WIDTH, HEIGHT = 12, 8
SOURCE = {"type": "prometheus", "uid": "${source}"}


class Panel(t.NamedTuple):
    """One graph: its title, its unit as Grafana writes it, and expressions with the legend of each."""

    title: str
    unit: str
    queries: tuple[tuple[str, str], ...]


def _share(name: str, by: str, which: str, share: float) -> str:
    buckets = f"rate({name}_bucket{{{which}}}[5m])"
    return f"histogram_quantile({share:g}, sum by (le, {by}) ({buckets}))"


def _mean(name: str, which: str) -> str:
    return f"sum(rate({name}_sum{{{which}}}[5m])) / sum(rate({name}_count{{{which}}}[5m]))"


def _percentiles(title: str, name: str, which: str) -> Panel:
    return Panel(
        title,
        "s",
        tuple(
            (_share(name, "server, host", which, share), f"p{share * 100:g} {{{{server}}}} {{{{host}}}}")
            for share in (0.5, 0.95)
        ),
    )


OF_MODEL = 'model=~"$model"'
OF_HOST = 'host=~"$host"'

DASHBOARDS: dict[str, tuple[str, str, tuple[Panel, ...]]] = {
    "fleet": (
        "Private LLM: fleet",
        "",
        (
            Panel(
                "Servers that answer",
                "short",
                (("sum by (job) (up)", "{{job}} up"), ("count by (job) (up)", "{{job}} declared")),
            ),
            Panel(
                "Alerts",
                "short",
                (('sum by (alertname) (ALERTS{alertstate="firing", alertname!="DeadMansSwitch"})', "{{alertname}}"),),
            ),
            Panel("Generated tokens a second", "short", (("model:generation_tokens:rate5m", "{{model}}"),)),
            Panel("Prompt tokens a second", "short", (("model:prompt_tokens:rate5m", "{{model}}"),)),
            Panel("Requests a second", "reqps", (("sum by (model) (model:requests:rate5m)", "{{model}}"),)),
            Panel("Requests that wait", "short", (("model:requests_waiting:sum", "{{model}}"),)),
            Panel("Cost of a million tokens", "short", (("model:cost:per_million_tokens", "{{model}}"),)),
            Panel(
                "Requests of users at the gateway",
                "reqps",
                (("sum by (user) (user:requests:rate5m)", "{{user}}"),),
            ),
        ),
    ),
    "model": (
        "Private LLM: model",
        "model",
        (
            _percentiles("Time to first token", "vllm:time_to_first_token_seconds", OF_MODEL),
            _percentiles("Time between tokens", "vllm:inter_token_latency_seconds", OF_MODEL),
            _percentiles("Time in the queue", "vllm:request_queue_time_seconds", OF_MODEL),
            _percentiles("Time of the prefill", "vllm:request_prefill_time_seconds", OF_MODEL),
            Panel(
                "Requests",
                "short",
                (
                    (f"sum by (server, host) (vllm:num_requests_running{{{OF_MODEL}}})", "running {{server}} {{host}}"),
                    (f"sum by (server, host) (vllm:num_requests_waiting{{{OF_MODEL}}})", "waiting {{server}} {{host}}"),
                ),
            ),
            Panel(
                "KV cache",
                "percentunit",
                ((f"max by (server, host) (vllm:kv_cache_usage_perc{{{OF_MODEL}}})", "{{server}} {{host}}"),),
            ),
            Panel(
                "Preemptions and rejections a second",
                "short",
                (
                    (
                        f"sum by (server, host) (rate(vllm:num_preemptions_total{{{OF_MODEL}}}[5m]))",
                        "preempted {{server}} {{host}}",
                    ),
                    (
                        f"sum by (server, host, reason) (rate(vllm:admission_rejections_total{{{OF_MODEL}}}[5m]))",
                        "rejected {{server}} {{reason}}",
                    ),
                ),
            ),
            Panel(
                "Prompt tokens from the cache",
                "percentunit",
                ((f"model:prompt_cached:ratio5m{{{OF_MODEL}}}", "{{model}}"),),
            ),
            Panel(
                "Ends of requests a second",
                "reqps",
                (
                    (
                        f"sum by (finished_reason) (rate(vllm:request_success_total{{{OF_MODEL}}}[5m]))",
                        "{{finished_reason}}",
                    ),
                ),
            ),
            Panel(
                "Tokens of a request",
                "short",
                (
                    (_mean("vllm:request_prompt_tokens", OF_MODEL), "prompt"),
                    (_mean("vllm:request_generation_tokens", OF_MODEL), "answer"),
                ),
            ),
        ),
    ),
    "host": (
        "Private LLM: hosts and GPUs",
        "host",
        (
            Panel(
                "GPU utilization",
                "percentunit",
                ((f"private_llm_gpu_utilization_ratio{{{OF_HOST}}}", "{{host}} GPU {{gpu}}"),),
            ),
            Panel(
                "GPU memory in use",
                "bytes",
                ((f"private_llm_gpu_memory_used_bytes{{{OF_HOST}}}", "{{host}} GPU {{gpu}}"),),
            ),
            Panel(
                "GPU temperature",
                "celsius",
                ((f"private_llm_gpu_temperature_celsius{{{OF_HOST}}}", "{{host}} GPU {{gpu}}"),),
            ),
            Panel("GPU power", "watt", ((f"private_llm_gpu_power_watts{{{OF_HOST}}}", "{{host}} GPU {{gpu}}"),)),
            Panel(
                "GPU throttled",
                "short",
                ((f"private_llm_gpu_throttled{{{OF_HOST}}} == 1", "{{host}} GPU {{gpu}} {{reason}}"),),
            ),
            Panel(
                "GPU faults",
                "short",
                (
                    (
                        f"sum by (host, gpu, xid) (increase(private_llm_gpu_xid_total{{{OF_HOST}}}[1h]))",
                        "{{host}} GPU {{gpu}} Xid {{xid}}",
                    ),
                    (f"increase(private_llm_gpu_ecc_uncorrected_total{{{OF_HOST}}}[1h])", "{{host}} GPU {{gpu}} ECC"),
                ),
            ),
            Panel(
                "Utilization of the GPUs of a server",
                "percentunit",
                (
                    (
                        f"server:gpu{{{OF_HOST}}} * on (host, gpu) group_left () private_llm_gpu_utilization_ratio",
                        "{{server}} {{host}} GPU {{gpu}}",
                    ),
                    (
                        f"server:gpu{{{OF_HOST}}} * on (host, uuid) group_left (gpu) private_llm_gpu_utilization_ratio",
                        "{{server}} {{host}} GPU {{gpu}}",
                    ),
                ),
            ),
            Panel(
                "CPU in use",
                "percentunit",
                ((f'1 - avg by (host) (rate(node_cpu_seconds_total{{{OF_HOST}, mode="idle"}}[5m]))', "{{host}}"),),
            ),
            Panel(
                "Memory available",
                "bytes",
                ((f"node_memory_MemAvailable_bytes{{{OF_HOST}}}", "{{host}}"),),
            ),
            Panel(
                "Free space of the model store",
                "bytes",
                ((f"private_llm_model_store_free_bytes{{{OF_HOST}}}", "{{host}}"),),
            ),
        ),
    ),
}
# What the variable of a dashboard can be.
CHOICES = {"model": "label_values(vllm:num_requests_running, model)", "host": 'label_values(up{job="host"}, host)'}


def files() -> dict[str, str]:
    """Return each dashboard as the JSON that Grafana imports, by its name."""
    return {name: json.dumps(dashboard(name), indent=1) + "\n" for name in DASHBOARDS}


def dashboard(name: str) -> dict[str, t.Any]:
    """Return one dashboard."""
    title, variable, panels = DASHBOARDS[name]
    return {
        "uid": f"private-llm-{name}",
        "title": title,
        "tags": ["private_llm"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [_source(), *([_choice(variable)] if variable else [])]},
        "panels": [_panel(index, panel) for index, panel in enumerate(panels)],
    }


def expressions() -> t.Iterator[str]:
    """Return every expression that a dashboard asks."""
    for _title, _variable, panels in DASHBOARDS.values():
        for panel in panels:
            for expr, _legend in panel.queries:
                yield expr


def _source() -> dict[str, t.Any]:
    return {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}


def _choice(name: str) -> dict[str, t.Any]:
    return {
        "name": name,
        "label": name,
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": CHOICES[name], "refId": name},
        "refresh": 2,
        "includeAll": True,
        "multi": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


def _panel(index: int, panel: Panel) -> dict[str, t.Any]:
    return {
        "id": index + 1,
        "title": panel.title,
        "type": "timeseries",
        "datasource": SOURCE,
        "gridPos": {"x": index % 2 * WIDTH, "y": index // 2 * HEIGHT, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit, "custom": {"fillOpacity": 5}}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": [
            {"refId": chr(ord("A") + at), "datasource": SOURCE, "expr": expr, "legendFormat": legend}
            for at, (expr, legend) in enumerate(panel.queries)
        ],
    }
