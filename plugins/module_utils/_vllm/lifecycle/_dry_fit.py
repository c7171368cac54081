# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This is private to the collection: it may change or vanish without notice.

"""Start a server's engine once with made-up weights, in a container that is removed, before a byte of weights is here.

vLLM makes the model from its configuration alone (`load_format: dummy`), measures the memory that is left, and takes it
for the KV cache, as it would with the real weights. It runs on the GPUs that the server is to have, without a network.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import tempfile
import time
import typing as t

from ... import _paths
from ..._engine._api import EngineError, EngineTimeout
from ..._secret_text import without_secrets
from ..container import _host, _image, _labels, _model_files, _spec
from ..diagnosis import _log
from ..diagnosis._diagnosis import diagnose
from ..question import _ask, _in_image
from ._readiness import LOG_TAIL

if t.TYPE_CHECKING:
    from ..._engine._driver import Driver, Ran
    from ._converge import Server

STARTS, DOES_NOT_START, UNCLEAR, NOT_TRIED = "starts", "does_not_start", "unclear", "not_tried"

SECONDS = 1800.0  # compiling and capturing graphs for a large model takes minutes
LEFT_BEHIND = 2 * SECONDS

# What tells of the host at this moment, and nothing of whether the server fits there by itself.
BUSY = frozenset(("gpu_shared", "cpu_shared", "profiling_disturbed", "host_out_of_memory", "removed"))
# What may be so only because the model's other files are not here yet.
FILES = frozenset(("no_tokenizer", "file_missing", "model_not_readable", "offline", "unknown", "trust_remote_code"))

_TOKENIZERS = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "tekken.json", "vocab.json")


def nothing(name: str, verdict: str, why: str = "") -> dict[str, t.Any]:
    """Return a result that holds no measurement."""
    return {
        "name": name,
        "verdict": verdict,
        "why": why,
        "seconds": None,
        "kv_cache_tokens": None,
        "max_concurrency": None,
        "max_model_len": None,
        "diagnosis": {},
        "log_tail": [],
    }


def dry_fit(server: Server, engine: Driver, config: t.Mapping[str, t.Any] | None) -> dict[str, t.Any]:
    """Return whether the server's engine starts, and what its KV cache holds then.

    ``config`` is the model's configuration, for a model that is not on the host yet.
    """
    name = server.name
    image = engine.inspect_image(server.params["image"])
    if image is None:
        return nothing(name, UNCLEAR, f"the image {server.params['image']} is not on this host yet; pull it first")
    server.image = image
    server.release = server.release or _image.release_in(engine, server.params["image"], image)
    with contextlib.ExitStack() as stack:
        path = str(server.params["model"])
        whole = os.path.isdir(path)
        if not whole and not config:
            return nothing(name, UNCLEAR, "the configuration of its model is not known, neither here nor at the hub")
        if not whole and config and _is_quantized_as_its_files_say(config):
            why = "vLLM takes from a GPTQ model's weight files which of its layers are quantized; fetch it first"
            return nothing(name, UNCLEAR, why)
        if not whole and config:
            try:
                path = stack.enter_context(_folder_with(config))
            except OSError as error:
                why = f"its configuration cannot be written below {_paths.DRY_FIT}: {error.strerror or error}"
                return nothing(name, UNCLEAR, why)
        server.params = {**server.params, "model": path, "state": "started"}
        try:
            spec = server.wanted_spec(t.cast("t.Any", engine), [], engine.inspect(name))
        except (ValueError, EngineError) as error:
            return nothing(name, UNCLEAR, str(error))
        busy = _running_on(engine, server.host.claimed[name], server.gpus)
        if busy:
            why = f"{', '.join(busy)} runs on its GPUs, and vLLM measures what is free; stop it first to try this"
            return nothing(name, UNCLEAR, why)
        return _judged(server, _run(engine, with_made_up_weights(spec), str(image["Id"])), whole)


def _is_quantized_as_its_files_say(config: t.Mapping[str, t.Any]) -> bool:
    """Tell whether vLLM would make all layers unquantized without the weight files.

    source: maybe_update_config in vllm/model_executor/layers/quantization/auto_gptq.py of 0.23 and 0.32.
    """
    for part in (config, config.get("text_config")):
        quantization = part.get("quantization_config") if isinstance(part, dict) else None
        if isinstance(quantization, dict) and "gptq" in str(quantization.get("quant_method")).lower():
            return not quantization.get("modules_in_block_to_quantize")
    return False


@contextlib.contextmanager
def _folder_with(config: t.Mapping[str, t.Any]) -> t.Iterator[str]:
    """Give a folder that holds a model's configuration and nothing else."""
    os.makedirs(_paths.DRY_FIT, mode=0o755, exist_ok=True)
    _sweep()
    folder = tempfile.mkdtemp(dir=_paths.DRY_FIT)
    try:
        with open(os.path.join(folder, _model_files.CONFIG), "w", encoding="utf-8") as stream:
            json.dump(config, stream)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sweep() -> None:
    """Remove the folders of runs that were killed; no engine that is tried now is as old as they are."""
    for entry in os.scandir(_paths.DRY_FIT):
        with contextlib.suppress(OSError):
            if time.time() - entry.stat(follow_symlinks=False).st_mtime > LEFT_BEHIND:
                shutil.rmtree(entry.path)


def with_made_up_weights(spec: _spec.ServerSpec) -> _spec.ServerSpec:
    """Return the server as one that needs no weights, and no tokenizer where none is in the model's folder."""
    engine = {**spec.engine, "load_format": "dummy"}
    if not any(os.path.isfile(os.path.join(spec.model, name)) for name in _TOKENIZERS):
        engine["skip_tokenizer_init"] = True
    return dataclasses.replace(spec, engine=engine)


def _running_on(engine: Driver, uuids: t.Collection[str], rows: t.Sequence[t.Mapping[str, t.Any]]) -> list[str]:
    """Return the servers of this collection that run on any of these GPUs."""
    found = []
    for row in engine.containers() if uuids else []:
        container = engine.inspect(str(row["Id"]))
        if container is not None and _labels.is_managed(container):
            gpus = {_host.uuid_of(gpu, rows) for gpu in _spec.spec_of(container).gpus}
            if gpus & set(uuids):
                found.append(str(container.get("Name") or "").lstrip("/"))
    return found


def _run(engine: Driver, spec: _spec.ServerSpec, image_id: str) -> tuple[Ran | str, float]:
    """Run the engine until it waits for requests; return its end, or why there is none, and the seconds it took."""
    question = _ask.question_of(spec, image_id)
    env = dict(question.env)
    if spec.gpus and spec.gpu_driver == "nvidia":
        env["NVIDIA_VISIBLE_DEVICES"] = ",".join(spec.gpus)
    body = _spec.create_body(spec)["HostConfig"]
    kept = ("CapAdd", "DeviceRequests", "Init", "PidsLimit", "ShmSize", "Ulimits")
    host = {**{key: body[key] for key in kept if key in body}, "Binds": list(question.binds)}
    command = _ask.program(_in_image.STARTED, "", "[]", question.arguments)
    begun = time.monotonic()
    try:
        return engine.run_once(image_id, command, SECONDS, env, host), _ask.since(begun)
    except EngineTimeout:
        return f"its engine had not started after {SECONDS:.0f} seconds", _ask.since(begun)
    except EngineError as error:
        return f"its container could not be run: {error}", _ask.since(begun)


def _judged(server: Server, ended: tuple[Ran | str, float], whole: bool) -> dict[str, t.Any]:
    ran, seconds = ended
    if isinstance(ran, str):
        return {**nothing(server.name, UNCLEAR, ran), "seconds": seconds}
    lines = [without_secrets(line) for text in (ran.stdout, ran.stderr) for line in text.splitlines()]
    facts = _log.facts(lines)
    measured = {key: facts.get(key) for key in ("kv_cache_tokens", "max_concurrency", "max_model_len")}
    if ran.exit_code == 0 and _in_image.STARTED in _ask.stages_of(lines):
        return {**nothing(server.name, STARTS), **measured, "seconds": seconds}
    found = diagnose(lines, ran.exit_code, name=server.name, on_gpu=bool(server.gpus), release=server.release)
    unclear = found.id in BUSY or (not whole and found.id in FILES)
    told = f"{found.cause}; it said: {found.evidence}"
    return {
        **nothing(server.name, UNCLEAR if unclear else DOES_NOT_START, told),
        "seconds": seconds,
        "diagnosis": {} if unclear else found._asdict(),
        "log_tail": lines[-LOG_TAIL:],
    }
