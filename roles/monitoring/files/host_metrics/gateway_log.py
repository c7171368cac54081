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
    for key, number in sorted(state["requests"].items()):
        user, model, status = json.loads(key)
        metrics.add(
            "private_llm_gateway_requests_total",
            "counter",
            "Requests at the gateway, by user, model and kind of status.",
            number,
            {"user": user, "model": model, "status": status},
        )


def read(state_file: str) -> dict[str, t.Any]:
    """Return what was counted so far."""
    try:
        with open(state_file, encoding="utf-8") as stream:
            state = json.load(stream)
        if isinstance(state["cursor"], str) and isinstance(state["requests"], dict):
            return {"cursor": state["cursor"], "requests": state["requests"]}
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return {"cursor": "", "requests": {}}


def count(state: t.Mapping[str, t.Any], said: str) -> dict[str, t.Any]:
    """Return the state after further lines of the log. Lines of HAProxy's own are not JSON, and are no requests."""
    requests, cursor = dict(state["requests"]), state["cursor"]
    for line in said.splitlines():
        if line.startswith(CURSOR):
            cursor = line[len(CURSOR) :].strip()
            continue
        try:
            entry = json.loads(line)
            key = json.dumps([str(entry["user"]), str(entry["model"]), f"{int(entry['status']) // 100}xx"])
        except (ValueError, KeyError, TypeError):
            continue
        if key in requests or len(requests) < MOST:
            requests[key] = requests.get(key, 0) + 1
    return {"cursor": cursor, "requests": requests}
