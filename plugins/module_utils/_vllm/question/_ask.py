# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This is private to the collection: it may change or vanish without notice.

"""Ask an image of vLLM, before a running server is stopped for a change, whether it takes the options and the model.

The image is asked in a container of its own, without a network and without a GPU. vLLM's own command line runs there
over the real model folder until its engine's configuration is complete (`_in_image`). Only an error that the diagnosis
knows as one of options or of the model's configuration refuses a change. Whatever else happens is an unclear answer,
because an image that cannot be asked may well serve.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import inspect
import json
import os
import time
import typing as t

from ..._engine._api import EngineError, EngineTimeout
from ..._regular import regular
from ..._secret_env import is_secret
from ..._secret_text import without_secrets
from ..container import _cache, _keys, _spec
from ..diagnosis._diagnosis import Diagnosis, diagnose
from . import _in_image, _stand_in

if t.TYPE_CHECKING:
    from ..._engine._driver import Driver, Ran
    from ..options._release import Release

PASSED, REFUSED, UNCLEAR = "passed", "refused", "unclear"

SECONDS = 240.0  # a start takes 10 to 30 seconds to get there; a cold disk and a busy host take more
MEMORY = 8 * 2**30  # bytes; 1.5 GiB were seen

PASSES = "passed"  # a folder with an empty file for each question that was passed
KEPT = 200  # of them, the newest

# Run vLLM's own Python, which the first line of its program names.
PYTHON = """
vllm=$(command -v vllm) || { echo 'exec: "vllm": executable file not found in $PATH' >&2; exit 127; }
read -r first < "$vllm"
case "$first" in
  '#!'*python*) set -- ${first#??} "$@" ;;
  *) set -- python3 "$@" ;;
esac
exec "$@"
"""

# Failures that come from the options, or from the model's own files. Others may come from there being no GPU here.
REFUSALS = frozenset(
    (
        "attention_backend",
        "bad_value",
        "batch_too_small",
        "chat_template",
        "chat_template_damaged",
        "config_damaged",
        "context_exceeds_model",
        "data_parallel_dense",
        "doubled_command",
        "environment_refused",
        "environment_value",
        "heads_not_divisible",
        "json_damaged",
        "log_outputs",
        "lora_kind",
        "lora_missing",
        "lora_rank",
        "lora_unsupported",
        "model_not_in_container",
        "model_not_readable",
        "model_refused",
        "multimodal_item",
        "no_front_end",
        "no_tokenizer",
        "no_vllm",
        "nodes_not_dividing",
        "not_divisible",
        "option_field",
        "option_refused",
        "option_validation",
        "quantization_dtype",
        "quantization_hardware",
        "quantization_mismatch",
        "quantization_scheme_hardware",
        "quantization_unknown",
        "too_few_gpus",
        "tool_parser_missing",
        "trust_remote_code",
        "unknown_connector",
        "unknown_model_type",
        "unknown_option",
        "unknown_parser",
        "unknown_reasoning_parser",
        "unsupported_architecture",
    )
)


class Gpu(t.NamedTuple):
    """What vLLM reads of a GPU while it makes its configuration."""

    name: str
    uuid: str
    memory: int
    capability: tuple[int, int]
    unified: bool


class Question(t.NamedTuple):
    """What an image is asked. Two servers with the same question are configured alike."""

    image: str
    arguments: tuple[str, ...]
    env: tuple[tuple[str, str], ...]
    binds: tuple[str, ...]
    gpus: tuple[Gpu, ...]


class Answer(t.NamedTuple):
    """What the image says. ``why`` is a sentence for an unclear answer, ``diagnosis`` and ``log`` are a refusal's."""

    verdict: str
    seconds: float
    why: str = ""
    diagnosis: Diagnosis | None = None
    log: tuple[str, ...] = ()


# --- the question -----------------------------------------------------------------------------------------------------


def question_of(spec: _spec.ServerSpec, image_id: str, gpus: t.Sequence[Gpu] = ()) -> Question:
    """Return what to ask of the image for a server. Keys, secrets and what the server writes stay out of it."""
    without_keys = dataclasses.replace(spec, keys=_keys.NONE)
    own = (_spec.CACHE_MOUNT, _keys.MOUNT)
    volumes = [volume.split(":") for volume in spec.volumes]
    return Question(
        image_id,
        tuple(_spec.command(without_keys)),
        tuple(sorted((name, value) for name, value in spec.env.items() if not is_secret(name, value))),
        tuple(f"{source}:{target}:ro" for source, target, _mode in volumes if target not in own),
        tuple(gpus),
    )


def gpus_of(uuids: t.Sequence[str], rows: t.Sequence[t.Mapping[str, t.Any]]) -> list[Gpu] | None:
    """Return what vLLM would read of these GPUs, from what the host tells of all of its; None where that is missing."""
    found = []
    for uuid in uuids:
        gpu = next((_gpu(row, uuid) for row in rows if _has(row, uuid)), None)
        if gpu is None:
            return None
        found.append(gpu)
    return found


def _has(row: t.Mapping[str, t.Any], uuid: str) -> bool:
    return row["uuid"] == uuid or any(part["uuid"] == uuid for part in _parts(row))


def _parts(row: t.Mapping[str, t.Any]) -> t.Sequence[t.Mapping[str, t.Any]]:
    return (row.get("mig") or {}).get("devices") or ()


def _gpu(row: t.Mapping[str, t.Any], uuid: str) -> Gpu | None:
    part = next((part for part in _parts(row) if part["uuid"] == uuid), row)
    major, _dot, minor = str(row.get("compute_capability") or "").partition(".")
    memory = (part.get("memory") or {}).get("total")
    if not memory or not (major.isdecimal() and minor.isdecimal()):
        return None
    return Gpu(str(row["name"]), uuid, int(memory) * 2**20, (int(major), int(minor)), bool(row.get("unified")))


# --- the answer -------------------------------------------------------------------------------------------------------


def ask(engine: Driver, question: Question, name: str, release: Release | None = None) -> Answer:
    """Ask the image, and remove the container in which it was asked."""
    begun = time.monotonic()
    gpus = json.dumps([gpu._asdict() for gpu in question.gpus])
    command = program(_in_image.CONFIGURED, inspect.getsource(_stand_in), gpus, question.arguments)
    host = {
        "Binds": list(question.binds),
        "CapAdd": list(_spec.CAP_ADD),
        "Memory": MEMORY,
        "MemorySwap": MEMORY,
    }
    try:
        ran = engine.run_once(question.image, command, SECONDS, dict(question.env), host)
    except EngineTimeout:
        return Answer(UNCLEAR, since(begun), f"it gave no answer within {SECONDS:.0f} seconds")
    except EngineError as error:
        return Answer(UNCLEAR, since(begun), f"it could not be asked: {error}")
    return judge(ran, since(begun), name, release)


def program(until: str, stand_in: str, gpus: str, arguments: t.Iterable[str]) -> list[str]:
    """Return the command that runs `_in_image` in an image."""
    return ["/bin/sh", "-c", PYTHON, "sh", "-c", inspect.getsource(_in_image), until, stand_in, gpus, *arguments]


def since(begun: float) -> float:
    """Return the seconds since then."""
    return round(time.monotonic() - begun, 1)


def judge(ran: Ran, seconds: float, name: str, release: Release | None = None) -> Answer:
    """Return what a container's end and its output say."""
    lines = [line for text in (ran.stdout, ran.stderr) for line in text.splitlines()]
    stages = stages_of(lines)
    if ran.exit_code == 0 and _in_image.CONFIGURED in stages:
        return Answer(PASSED, seconds)
    log = [without_secrets(line) for line in lines if not line.startswith(_in_image.MARK)]
    found = diagnose(log, ran.exit_code, name=name, release=release)
    if found.id in REFUSALS:
        return Answer(REFUSED, seconds, "", found, tuple(log))
    return Answer(UNCLEAR, seconds, f"{found.cause}; it said: {found.evidence}", None, tuple(log))


def stages_of(lines: t.Iterable[str]) -> set[str]:
    """Return how far vLLM came."""
    stages = set()
    for line in lines:
        if line.startswith(_in_image.MARK):
            with contextlib.suppress(ValueError, KeyError, TypeError):
                stages.add(str(json.loads(line[len(_in_image.MARK) :])["stage"]))
    return stages


# --- what was answered before -----------------------------------------------------------------------------------------


def fingerprint(question: Question) -> str:
    """Return a name for the question and for the files that it is about, as far as their sizes and times tell."""
    files = [_listing(bind.split(":")[0]) for bind in question.binds]
    programs = [inspect.getsource(module) for module in (_in_image, _stand_in)]
    text = json.dumps([question, files, programs], sort_keys=True)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def _listing(path: str) -> list[t.Any]:
    """Return the names, sizes and times of a file, or of what is directly in a folder."""
    try:
        if not os.path.isdir(path):
            found = os.stat(path)
            return [path, found.st_size, found.st_mtime_ns]
        with os.scandir(path) as entries:
            rows = [(entry.name, entry.stat(follow_symlinks=False)) for entry in entries]
        return sorted([name, found.st_size, found.st_mtime_ns] for name, found in rows)
    except OSError:
        return []


def has_passed(question: Question, root: str = _cache.ROOT) -> bool:
    """Return whether the image has taken exactly this before, so that it need not be asked again."""
    return os.path.exists(os.path.join(root, PASSES, fingerprint(question)))


def remember(question: Question, root: str = _cache.ROOT) -> None:
    """Keep that the image takes this; where that cannot be kept, it is asked again the next time."""
    folder = os.path.join(root, PASSES)
    with contextlib.suppress(OSError):
        os.makedirs(folder, mode=0o755, exist_ok=True)
        with open(os.path.join(folder, fingerprint(question)), "w", encoding="ascii", opener=regular):
            pass
        old = sorted(os.scandir(folder), key=lambda entry: entry.stat().st_mtime)[:-KEPT]
        for entry in old:
            os.unlink(entry.path)
