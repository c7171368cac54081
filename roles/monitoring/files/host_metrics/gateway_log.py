# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who asked what at the gateway, counted from its log."""

from __future__ import annotations

import contextlib
import json
import typing as t

from exposition import Metrics, write
from programs import LARGEST, Failed, output_of, read_text

UNIT = "private-llm-gateway"
CURSOR = "-- cursor: "
# Users, models and kinds of status are few; more is a mistake that must not fill Prometheus.
MOST = 10_000
MOST_AMOUNT = 2**63
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
    # Where nothing can be written, the next look counts the same lines once more, from the old cursor.
    with contextlib.suppress(OSError):
        write(state_file, json.dumps(state), 0o600)
    for what, name, text, labels in COUNTED:
        for key, number in sorted(state[what].items()):
            values = json.loads(key)
            metrics.add(name, "counter", text, number, {label: values[at] for at, label in enumerate(labels)})


def read(state_file: str) -> dict[str, t.Any]:
    """Return what was counted so far."""
    try:
        state = json.loads(read_text(state_file, LARGEST))
        # An older release counted requests alone.
        counted = {what: state[what] if what == REQUESTS else state.get(what, {}) for what in KINDS}
        if isinstance(state["cursor"], str):
            return {
                "cursor": state["cursor"],
                **{what: sound(counted[what], len(labels)) for what, _name, _text, labels in COUNTED},
            }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    return {"cursor": "", **{what: {} for what in KINDS}}


def sound(counts: t.Mapping[str, t.Any], labels: int) -> dict[str, float]:
    """Return the counts that have so many labels and a number; ValueError where a key is no list of labels."""
    found = {}
    for key, number in counts.items():
        values = json.loads(key)
        if isinstance(values, list) and len(values) == labels and all(isinstance(one, str) for one in values):
            found[key] = _amount(number)
    return found


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
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
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
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return 0
    return value if 0 <= value <= MOST_AMOUNT else 0  # nor NaN, which would stay in every later sum
