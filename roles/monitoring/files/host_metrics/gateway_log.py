# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who asked what at the gateway, counted from its log."""

from __future__ import annotations

import json
import typing as t

from exposition import Metrics, write
from programs import Failed, output_of

UNIT = "private-llm-gateway"
CURSOR = "-- cursor: "
# Users, models and kinds of status are few; more is a mistake that must not fill Prometheus.
MOST = 10_000
REQUESTS, SECONDS, BYTES = "requests", "seconds", "bytes"
# What is counted, by which labels. The log has no tokens; how long answers took and how large they were is what it has.
COUNTED = (
    (
        REQUESTS,
        "private_llm_gateway_requests_total",
        "Requests at the gateway, by user, model and kind of status.",
        ("user", "model", "status"),
    ),
    (
        SECONDS,
        "private_llm_gateway_request_seconds_total",
        "Time that requests took, from their first byte in to their last byte out.",
        ("user", "model"),
    ),
    (BYTES, "private_llm_gateway_request_bytes_total", "Bytes that were answered.", ("user", "model")),
)
KINDS = tuple(what for what, _name, _text, _labels in COUNTED)


def add(metrics: Metrics, state_file: str, seconds: float) -> None:
    """Count what was logged since the last look, and add all that was counted."""
    state = read(state_file)
    where = ["--after-cursor", state["cursor"]] if state["cursor"] else ["--boot"]
    try:
        said = output_of(
            ["journalctl", "--unit", UNIT, "--no-pager", "--output", "cat", "--show-cursor", *where], seconds
        )
    except Failed:
        said = ""
    state = count(state, said)
    write(state_file, json.dumps(state), 0o600)
    for what, name, text, labels in COUNTED:
        for key, number in sorted(state[what].items()):
            values = json.loads(key)
            metrics.add(name, "counter", text, number, {label: values[at] for at, label in enumerate(labels)})


def read(state_file: str) -> dict[str, t.Any]:
    """Return what was counted so far."""
    try:
        with open(state_file, encoding="utf-8") as stream:
            state = json.load(stream)
        # An older release counted requests alone.
        counted = {what: state[what] if what == REQUESTS else state.get(what, {}) for what in KINDS}
        if isinstance(state["cursor"], str) and all(isinstance(one, dict) for one in counted.values()):
            return {"cursor": state["cursor"], **counted}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    return {"cursor": "", **{what: {} for what in KINDS}}


def count(state: t.Mapping[str, t.Any], said: str) -> dict[str, t.Any]:
    """Return the state after further lines of the log. Lines of HAProxy's own are not JSON, and are no requests."""
    counted = {what: dict(state[what]) for what in KINDS}
    cursor = state["cursor"]
    for line in said.splitlines():
        if line.startswith(CURSOR):
            cursor = line[len(CURSOR) :].strip()
            continue
        try:
            entry = json.loads(line)
            who = [str(entry["user"]), str(entry["model"])]
            status = f"{int(entry['status']) // 100}xx"
        except (ValueError, KeyError, TypeError):
            continue
        _add(counted[REQUESTS], [*who, status], 1)
        took = entry.get("ms")
        _add(counted[SECONDS], who, _amount(took.get("total") if isinstance(took, dict) else None) / 1000)
        _add(counted[BYTES], who, _amount(entry.get("bytes")))
    return {"cursor": cursor, **counted}


def _add(counts: dict[str, float], labels: list[str], amount: float) -> None:
    key = json.dumps(labels)
    if key in counts or len(counts) < MOST:
        counts[key] = counts.get(key, 0) + amount


def _amount(value: t.Any) -> float:
    """Return a number of the log; 0 for what is none, and for -1, which is what HAProxy writes for never."""
    return max(0, value) if isinstance(value, (int, float)) and not isinstance(value, bool) else 0
