# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From vLLM's own option names and YAML values to the argument list of ``vllm serve``."""

from __future__ import annotations

import json
import re
import typing as t

from ._suggestions import kind, value_problem

# The image's own entrypoint differs between releases; this one works in all of them.
ENTRYPOINT = ("vllm", "serve")

# Options that have a place of their own beside `engine`, and what that place is called.
OWNED = {
    "model": "model",
    "model_tag": "model",
    "served_model_name": "served_model_names",
    "host": "bind",
    "port": "port",
    "api_key": "api_keys",
    "config": "engine itself; every option of a configuration file can be written there",
    "hf_token": "model_download_token; a server starts offline, from files that are already on the host",
    "uds": "port; a server of this collection listens on a TCP port",
}

# Lists that vLLM reads in a way of its own; every other list is several values after one option.
_JSON_LISTS = frozenset(("allowed_headers", "allowed_methods", "allowed_origins"))
_COMMA_LISTS = frozenset(("device_ids", "disable_access_log_for_endpoints"))
REPEATED = frozenset(("middleware",))
# Plain switches: they can be turned on, and have no negative form.
_SWITCHES = frozenset(
    ("aggregate_engine_logging", "data_parallel_multi_port_external_lb", "disable_log_stats", "grpc", "headless")
)

# vLLM's own short forms, which are no names here.
SHORT = {
    "ac": "attention_config",
    "asc": "api_server_count",
    "cc": "compilation_config",
    "dcp": "decode_context_parallel_size",
    "dp": "data_parallel_size",
    "ep": "enable_expert_parallel",
    "O": "optimization_level",
    "pcp": "prefill_context_parallel_size",
    "pp": "pipeline_parallel_size",
    "q": "quantization",
    "sc": "speculative_config",
    "tp": "tensor_parallel_size",
}
_LEVEL = re.compile(r"O([0-3])")

_NAME = re.compile(r"[a-z][a-z0-9_]*")


class EngineError(ValueError):
    """An option that cannot become arguments of ``vllm serve``; ``text`` is what is wrong with it."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(f"engine.{name} {text}")
        self.text = text


def normal_name(name: str) -> str:
    """Return the normal name of an option: ``--max-model-len`` and ``max-model-len`` are ``max_model_len``."""
    return name.strip().lstrip("-").replace("-", "_")


def name_problem(name: object) -> str | None:
    """Return why this is not a key of `engine`, or None. It does not say whether vLLM knows the option."""
    if not isinstance(name, str):
        return f"an option name must be a string, not {kind(name)} ({name})"
    if normal_name(name) in OWNED:
        return f"is not set here; use {OWNED[normal_name(name)]}"
    if not _NAME.fullmatch(name):
        return _spelling(name)
    if name.startswith("no_"):
        return f"is the negative form; write {name[3:]}: false"
    return None


def _spelling(name: str) -> str:
    """Return what to write in place of a name that is not an option's name."""
    wanted = normal_name(name)
    level = _LEVEL.fullmatch(wanted)
    if level:
        return f"is vLLM's short form; write optimization_level: {level.group(1)}"
    if wanted in SHORT:
        return f"is vLLM's short form; write {SHORT[wanted]}"
    steps = wanted.lower().split(".")
    if len(steps) > 1 and all(_NAME.fullmatch(step) for step in steps):
        nested = "…"
        for step in reversed(steps[1:]):
            nested = f"{{{step}: {nested}}}"
        return f"is a part of an option; write {steps[0]}: {nested}"
    known = f": {wanted.lower()}" if _NAME.fullmatch(wanted.lower()) else ""
    return f"is not an option name; write it with underscores{known}"


def argument_problem(name: str, value: object) -> str | None:
    """Return why the value cannot be written as arguments of ``vllm serve``, or None."""
    problem = value_problem(value)
    if problem:
        return problem
    try:
        _option(name, value)
    except EngineError as error:
        return error.text
    return None


def serve_arguments(engine: t.Mapping[str, object]) -> list[str]:
    """Return the arguments that state ``engine``, ordered by option name, for use after the positional model.

    ``true`` is ``--x``, ``false`` is ``--no-x``, ``null`` leaves the option to vLLM, a list is several values after one
    option (or what that option wants in place of them), a mapping is compact JSON.
    """
    arguments: list[str] = []
    for name in sorted(engine, key=str):
        problem = name_problem(name)
        if problem:
            raise EngineError(str(name), problem)
        problem = value_problem(engine[name])
        if problem:
            raise EngineError(str(name), problem)
        arguments.extend(_option(str(name), engine[name]))
    return arguments


def _option(name: str, value: object) -> list[str]:
    flag = "--" + name.replace("_", "-")
    if value is None:
        return []
    if isinstance(value, bool):
        if name in _SWITCHES:
            return [flag] if value else []
        return [flag if value else "--no-" + flag[2:]]
    if isinstance(value, t.Mapping):
        return [flag, _json(name, value)]
    if isinstance(value, (list, tuple)):
        return _list(name, flag, value)
    return _with_value(flag, _scalar(name, value))


def _list(name: str, flag: str, values: t.Sequence[object]) -> list[str]:
    if name in _JSON_LISTS:
        return [flag, _json(name, values)]
    if not values:
        raise EngineError(name, "is an empty list; leave it out to keep vLLM's default")
    texts = [
        _json(name, item) if isinstance(item, (t.Mapping, list, tuple)) else _scalar(name, item) for item in values
    ]
    if name in _COMMA_LISTS:
        return _with_value(flag, ",".join(texts))
    if name in REPEATED:
        return [argument for text in texts for argument in _with_value(flag, text)]
    for text in texts:
        if text.startswith("-"):
            raise EngineError(name, f"holds {text}, which begins with a dash; vLLM would take it for an option")
    return [flag, *texts]


def _with_value(flag: str, text: str) -> list[str]:
    # A value that begins with a dash would be read as the next option.
    return [f"{flag}={text}"] if text.startswith("-") else [flag, text]


def _scalar(name: str, value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str):
        if "\x00" in value:
            raise EngineError(name, "holds a NUL character, which no argument can carry")
        return str(value)
    raise EngineError(name, f"must be a boolean, number, string, list or mapping, not {kind(value)}")


def _json(name: str, value: object) -> str:
    try:
        return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise EngineError(name, f"cannot be written as JSON: {error}") from error


def _plain(value: object) -> object:
    """Return the same value made of built-in types only."""
    if isinstance(value, t.Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value)
    return value
