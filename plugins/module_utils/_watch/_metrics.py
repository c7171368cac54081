# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the watch tells Prometheus: a file for node_exporter's textfile collector."""

from __future__ import annotations

import typing as t

from . import _memory

FILE = "server_watch.prom"


class Metric(t.NamedTuple):
    """One metric of a server: name, type, text, and its samples by further labels."""

    name: str
    kind: str
    text: str
    samples: t.Callable[[_memory.Memory], t.Mapping[tuple[tuple[str, str], ...], float]]


def _plain(read: t.Callable[[_memory.Memory], float | None]) -> t.Callable[[_memory.Memory], t.Any]:
    def samples(memory: _memory.Memory) -> dict[tuple[tuple[str, str], ...], float]:
        value = read(memory)
        return {} if value is None else {(): value}

    return samples


def _up(memory: _memory.Memory) -> float | None:
    silent = memory.state in (_memory.STOPPED, _memory.CHANGING) and not memory.trouble_since
    return None if silent else float(memory.state in _memory.UP)


def _state(memory: _memory.Memory) -> dict[tuple[tuple[str, str], ...], float]:
    return {(("state", memory.state),): 1.0}


def _last_fall(memory: _memory.Memory) -> dict[tuple[tuple[str, str], ...], float]:
    fall = memory.last_fall
    return {(("cause", str(fall["cause"])),): float(fall["at"])} if fall else {}


METRICS = (
    Metric(
        "private_llm_server_up",
        "gauge",
        "Whether the server generates; absent while it is stopped or a run changes it",
        _plain(_up),
    ),
    Metric("private_llm_server_state", "gauge", "1 for the state that the server is in", _state),
    Metric(
        "private_llm_server_last_probe_timestamp_seconds",
        "gauge",
        "When the server was last asked for a token",
        _plain(lambda memory: memory.last_probe or None),
    ),
    Metric(
        "private_llm_server_last_token_timestamp_seconds",
        "gauge",
        "When the server was last seen to work",
        _plain(lambda memory: memory.last_token or None),
    ),
    Metric(
        "private_llm_server_restarts_total",
        "counter",
        "Starts and restarts by the watch",
        _plain(lambda memory: memory.restarts_total),
    ),
    Metric(
        "private_llm_server_falls_total",
        "counter",
        "How often the server hung or ended by itself",
        _plain(lambda memory: memory.falls_total),
    ),
    Metric(
        "private_llm_server_last_fall_timestamp_seconds",
        "gauge",
        "When the server last fell, with the cause",
        _last_fall,
    ),
    Metric(
        "private_llm_server_given_up",
        "gauge",
        "Whether the watch does not restart the server any more",
        _plain(lambda memory: float(memory.given_up)),
    ),
)
LATEST = "private_llm_watch_last_pass_timestamp_seconds"


def render(memories: t.Mapping[str, _memory.Memory], now: float) -> str:
    """Return the text of the file."""
    lines = [
        f"# HELP {LATEST} When the last pass of the watch ended",
        f"# TYPE {LATEST} gauge",
        f"{LATEST} {now:.0f}",
    ]
    for metric in METRICS:
        lines += [f"# HELP {metric.name} {metric.text}", f"# TYPE {metric.name} {metric.kind}"]
        for name, memory in memories.items():
            for labels, value in metric.samples(memory).items():
                pairs = ",".join(f'{key}="{_escaped(text)}"' for key, text in (("server", name), *labels))
                lines.append(f"{metric.name}{{{pairs}}} {value:.0f}")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
