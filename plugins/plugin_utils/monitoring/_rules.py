# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Alerts that somebody has to act on, and recorded rates by model. Pure.

Each alert says in ``summary`` what happens, in ``cause`` where to look, and in ``action`` what to do. There are few,
for nobody reads the fortieth.
"""

from __future__ import annotations

import typing as t

import yaml

from ...module_utils._vllm.options._suggestions import did_you_mean
from .._host_vars import NUMBER, conform, silent
from .._problem import Problem
from ._targets import SERVER, readable

LIMITS = "monitoring_limits"
PAGE, WARN = "page", "warn"
SWITCH = "DeadMansSwitch"
WINDOW = "10m"
# Errors that a program causes by its own fault or end, https://docs.nvidia.com/deploy/xid-errors/.
BENIGN = "13|31|43|45"


class Limits(t.NamedTuple):
    """When something becomes an alert."""

    server_down_seconds: float = 120
    engine_stalled_seconds: float = 300
    queue_seconds: float = 600
    first_token_seconds: float = 5
    kv_cache_share: float = 0.95
    error_share: float = 0.05
    restarts: float = 2
    disk_free_share: float = 0.1
    certificate_days: float = 14
    clock_seconds: float = 5


class Alert(t.NamedTuple):
    """One alert rule."""

    name: str
    severity: str
    seconds: float
    expr: str
    summary: str
    cause: str
    action: str


def limits_of(given: t.Any) -> Limits:
    """Return the limits with those that are given; what is wrong with these is told by ``limit_problems``."""
    chosen = conform(given, dict.fromkeys(Limits._fields, NUMBER), LIMITS, silent)
    return Limits(**{key: value for key, value in chosen.items() if value is not None and value > 0})


def limit_problems(given: t.Any, host: str = "") -> list[Problem]:
    """Return what is wrong with limits, each with its variable."""
    found: list[Problem] = []

    def note(where: str, text: str) -> None:
        found.append(Problem(host, where, "monitoring", text))

    chosen = conform(given, dict.fromkeys(Limits._fields, NUMBER), LIMITS, note)
    for key in given if isinstance(given, t.Mapping) else ():
        if key not in Limits._fields:
            known = did_you_mean(str(key), Limits._fields) or f"; there are {', '.join(Limits._fields)}"
            note(f"{LIMITS}.{key}", f"is not a limit{known}")
    for key, value in chosen.items():
        if value is not None and value <= 0:
            note(f"{LIMITS}.{key}", f"is {value}; give a number above 0")
    return found


def alerts(limits: Limits) -> list[Alert]:
    """Return the alert rules."""
    half = seconds(limits.engine_stalled_seconds / 2)
    days = f"{limits.certificate_days:g}"
    return [
        Alert(
            "Down",
            PAGE,
            limits.server_down_seconds,
            'up{job=~"vllm|gateway|host"} == 0',
            "{{ $labels.job }} {{ $labels.instance }} gives no metrics.",
            "The process ended or hangs, its host is down, or a firewall is between it and Prometheus.",
            "Run ansible-playbook private_llm.fleet.verify, which names what failed; on the host look at docker ps, "
            "the container's "
            "log, and for a gateway at journalctl -u private-llm-gateway.",
        ),
        Alert(
            "EngineStalled",
            PAGE,
            limits.engine_stalled_seconds / 2,
            "vllm:num_requests_running > 0\n"
            f"and on (instance, engine) increase(vllm:generation_tokens_total[{half}]) == 0\n"
            f"and on (instance, engine) increase(vllm:prompt_tokens_total[{half}]) == 0\n"
            # What server_watch found; it also sees a server hang that nobody asks.
            'or private_llm_server_state{state="hung"} == 1',
            "{{ $labels.server }} on {{ $labels.host }} has requests and generates nothing; /health may say 200 all "
            "the same. Of Open WebUI or a gateway: it answers nothing.",
            "The engine hangs: a GPU that fell off (see GpuFault), a collective that waits for a lost worker, or a "
            "deadlock.",
            "Save docker logs of the container, then restart it; server_watch does both where it runs.",
        ),
        Alert(
            "QueueNeverEmpty",
            WARN,
            limits.queue_seconds,
            "vllm:num_requests_waiting > 0",
            "Requests wait for {{ $labels.instance }} all the time.",
            "More is asked than the server can do: vllm:num_requests_waiting_by_reason says whether KV cache or the "
            "number of sequences is short.",
            "Add a replica behind the gateway, limit users (gateway_users), or give the server more KV cache; the "
            "plan says what fits.",
        ),
        Alert(
            "SlowFirstToken",
            WARN,
            600,
            "histogram_quantile(0.95, sum by (le, instance, host, server, model) "
            f"(rate(vllm:time_to_first_token_seconds_bucket[{WINDOW}]))) > {limits.first_token_seconds:g}",
            "One in twenty requests to {{ $labels.instance }} waits {{ $value | humanizeDuration }} or longer for its "
            "first token.",
            "A queue (see QueueNeverEmpty), very long prompts, or a GPU that is throttled.",
            "Look at queue and prefill time in the dashboard of the model; max_num_batched_tokens weighs long prompts "
            "against running answers.",
        ),
        Alert(
            "KvCacheFull",
            WARN,
            600,
            f"vllm:kv_cache_usage_perc > {limits.kv_cache_share:g}\n"
            f"and on (instance, engine) increase(vllm:num_preemptions_total[{WINDOW}]) > 0",
            "The KV cache of {{ $labels.instance }} is full, and requests are thrown out and computed again.",
            "More and longer conversations at once than the KV cache holds.",
            "Lower max_model_len or max_num_seqs, set kv_cache_dtype to fp8, give the server more memory, or add a "
            "replica.",
        ),
        Alert(
            "RequestsRejected",
            WARN,
            0,
            f"sum by (instance, host, server, model, reason) (increase(vllm:admission_rejections_total[{WINDOW}])) > 0",
            "{{ $labels.instance }} rejects requests: {{ $labels.reason }}.",
            "The server's own limit of queued requests or tokens was reached.",
            "See QueueNeverEmpty; the limit itself is max_num_queued_reqs or max_num_queued_tokens of the engine.",
        ),
        Alert(
            "Errors",
            PAGE,
            300,
            'sum by (instance, host, server, model) (rate(http_requests_total{job="vllm", handler=~"/v1/.*", '
            'status="5xx"}[5m]))\n'
            '/ sum by (instance, host, server, model) (rate(http_requests_total{job="vllm", handler=~"/v1/.*"}[5m])) '
            f"> {limits.error_share:g}",
            "{{ $value | humanizePercentage }} of the requests to {{ $labels.instance }} fail.",
            "The engine is dead or out of memory while its API still answers.",
            "Read the end of docker logs of the container; ansible-playbook private_llm.fleet.verify gives the "
            "diagnosis.",
        ),
        Alert(
            "RestartLoop",
            PAGE,
            0,
            f'changes(process_start_time_seconds{{job="vllm"}}[30m]) > {limits.restarts:g}\n'
            "or private_llm_server_given_up == 1",
            "{{ $labels.server }} on {{ $labels.host }} starts again and again, or server_watch gave it up.",
            "It dies at its start or at its first requests: too little GPU memory, a broken model, a fault of the GPU.",
            "Run ansible-playbook private_llm.fleet.verify: the diagnosis names the cause and what to change.",
        ),
        Alert(
            "ModelWithoutServer",
            PAGE,
            60,
            'haproxy_backend_active_servers{proxy=~"model:.*", proxy!~".*:to:.*"} == 0',
            "The gateway {{ $labels.instance }} has no server for {{ $labels.proxy }}.",
            "All replicas of the model are down, or were taken away and not brought back.",
            "Run ansible-playbook private_llm.fleet.gateway, which brings back what a killed run took away, then look "
            "at the servers (see Down).",
        ),
        Alert(
            "GpuFault",
            PAGE,
            0,
            # The first fault of its kind is a new series, which has no increase.
            f'increase(private_llm_gpu_xid_total{{xid!~"{BENIGN}"}}[{WINDOW}]) > 0\n'
            f'or private_llm_gpu_xid_total{{xid!~"{BENIGN}"}} unless private_llm_gpu_xid_total offset {WINDOW}\n'
            f"or increase(private_llm_gpu_ecc_uncorrected_total[{WINDOW}]) > 0\n"
            "or private_llm_gpu_driver_up == 0\n"
            "or private_llm_gpus < max_over_time(private_llm_gpus[1d])",
            "A GPU of {{ $labels.host }} has a fault{{ if $labels.xid }} (Xid {{ $labels.xid }}, GPU {{ $labels.gpu "
            "}}){{ end }}.",
            "The driver reported an error (Xid), memory has errors that cannot be corrected, a GPU fell off the bus, "
            "or nvidia-smi does not answer.",
            "Look at dmesg for Xid and at NVIDIA's list of them; drain the host's servers, reset the GPU or reboot "
            "the host, and have it replaced "
            "when the fault comes back.",
        ),
        Alert(
            "ModelStoreFull",
            WARN,
            300,
            f"private_llm_model_store_free_bytes / private_llm_model_store_bytes < {limits.disk_free_share:g}",
            "The disk of the model store on {{ $labels.host }} has {{ $value | humanizePercentage }} left.",
            "Models, older releases that are kept for a rollback, images, or logs on the same disk.",
            "Remove models that nobody uses, or lower the number of releases that model_download keeps.",
        ),
        Alert(
            "CertificateExpires",
            WARN,
            0,
            f"private_llm_certificate_expires_timestamp_seconds - time() < {days} * 86400",
            "The certificate {{ $labels.file }} of {{ $labels.host }} ends in {{ $value | humanizeDuration }}.",
            "It was not renewed, or it was renewed and the gateway still has the old one.",
            "Renew it and run ansible-playbook private_llm.fleet.gateway, which takes it up without a lost connection.",
        ),
        Alert(
            "ClockOff",
            WARN,
            300,
            f'abs(node_time_seconds{{job="host"}} - timestamp(node_time_seconds{{job="host"}})) > '
            f"{limits.clock_seconds:g}",
            "The clock of {{ $labels.host }} is {{ $value | humanizeDuration }} away from that of Prometheus.",
            "No time service runs, or it reaches no server.",
            "Look at timedatectl on both hosts; keys, certificates and the times in logs depend on it.",
        ),
    ]


def alert_file(limits: Limits) -> str:
    """Return the alert rules, and the one that always fires, as a rule file."""
    rules: list[dict[str, t.Any]] = [
        {
            "alert": alert.name,
            "expr": alert.expr,
            "for": seconds(alert.seconds),
            "labels": {"severity": alert.severity},
            "annotations": {"summary": alert.summary, "cause": alert.cause, "action": alert.action},
        }
        for alert in alerts(limits)
    ]
    rules.append(
        {
            "alert": SWITCH,
            "expr": "vector(1)",
            "labels": {"severity": "none"},
            "annotations": {
                "summary": "Prometheus and Alertmanager work; this alert always fires.",
                "cause": "When it stops, one of the two is down, or the way out of the network is.",
                "action": "Look at journalctl -u prometheus -u prometheus-alertmanager on the monitoring host.",
            },
        }
    )
    return written([{"name": "private_llm", "rules": rules}])


# What is summed up, by model; the dashboards ask these.
RECORDED = {
    "model:prompt_tokens:rate5m": "sum by (model) (rate(vllm:prompt_tokens_total[5m]))",
    "model:generation_tokens:rate5m": "sum by (model) (rate(vllm:generation_tokens_total[5m]))",
    "model:requests:rate5m": "sum by (model, finished_reason) (rate(vllm:request_success_total[5m]))",
    "model:requests_running:sum": "sum by (model) (vllm:num_requests_running)",
    "model:requests_waiting:sum": "sum by (model) (vllm:num_requests_waiting)",
    "model:prompt_cached:ratio5m": "sum by (model) (rate(vllm:prompt_tokens_cached_total[5m]))\n"
    "/ sum by (model) (rate(vllm:prompt_tokens_total[5m]))",
    # By user, from the gateway's log, in which there are no tokens.
    "user:requests:rate5m": "sum by (user, model, status) (rate(private_llm_gateway_requests_total[5m]))",
    "user:request_seconds:rate5m": "sum by (user, model) (rate(private_llm_gateway_request_seconds_total[5m]))",
    "user:request_bytes:rate5m": "sum by (user, model) (rate(private_llm_gateway_request_bytes_total[5m]))",
}


def recording_file(given: t.Any, gpu_hour_cost: float) -> str:
    """Return the recording rules: rates by model, which GPUs servers have, and what they cost."""
    rules: list[dict[str, t.Any]] = [{"record": name, "expr": expr} for name, expr in RECORDED.items()]
    for target in readable(given):
        if target["kind"] != SERVER:
            continue
        labels = {key: target[key] for key in ("host", "server", "model") if target[key]}
        rules.append({"record": "server:gpus", "expr": f"vector({target['gpu_count'] or 0})", "labels": labels})
        # Joins what is measured of a GPU to the server that has it. GPUs are named by index or by UUID.
        for gpu in target["gpus"]:
            key = "gpu" if gpu.isdecimal() else "uuid"
            rules.append({"record": "server:gpu", "expr": "vector(1)", "labels": {**labels, key: gpu}})
    if gpu_hour_cost > 0:
        rules += [
            {"record": "model:cost:per_hour", "expr": f"sum by (model) (server:gpus) * {gpu_hour_cost:g}"},
            {
                "record": "model:cost:per_million_tokens",
                "expr": "model:cost:per_hour\n/ ((model:prompt_tokens:rate5m + model:generation_tokens:rate5m > 0) * "
                "3600 / 1e6)",
            },
            # What a model costs, by the share of time that each user's requests took of all requests to it.
            {
                "record": "user:cost:per_hour",
                "expr": "user:request_seconds:rate5m\n"
                "/ on (model) group_left () (sum by (model) (user:request_seconds:rate5m) > 0)\n"
                "* on (model) group_left () model:cost:per_hour",
            },
        ]
    return written([{"name": "private_llm_recorded", "rules": rules}])


def seconds(value: float) -> str:
    """Return a duration as Prometheus writes it.

    >>> seconds(2.5)
    '2500ms'
    """
    return f"{value:g}s" if float(value).is_integer() and value < 1e6 else f"{round(value * 1000)}ms"


def written(groups: list[dict[str, t.Any]]) -> str:
    """Return a rule file."""
    text: str = yaml.safe_dump({"groups": groups}, sort_keys=False, width=200, allow_unicode=True)
    return "# Written by private_llm.fleet; changes made here are lost.\n" + text
