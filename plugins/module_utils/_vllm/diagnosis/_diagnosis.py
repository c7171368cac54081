# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Why a vLLM server did not start, or died later: the cause, the line that shows it, and what to change.

The cause is looked for where it can be. The exception that ended a process counts more than a warning before it, and
more than what other processes say of its end; of a chain of exceptions the innermost counts. An exception that is not
known is told as well as that can be done: its message, its process, what vLLM was doing, and what kind of thing failed.
"""

from __future__ import annotations

import re
import typing as t

from ..options._argv import normal_name
from ..options._release import Release
from . import _deaths, _exceptions, _log
from ._exceptions import Chain, Failure, Found
from ._signatures import (
    LIKELY,
    ROOT,
    SIGNATURES,
    SYMPTOM,
    Context,
    Signature,
    options_in,
)

__all__ = ["SIGNATURES", "Diagnosis", "diagnose"]

KILLED = 137  # the exit code of a process that was killed: 128 and the signal's number


class Diagnosis(t.NamedTuple):
    """What a person needs to know about a failed start.

    ``variable`` is the option to change first, empty when no option is wrong, and ``value`` what to change it to; None
    where that is to leave it out, or for the person to choose.
    """

    cause: str
    evidence: str
    fix: str
    id: str
    variable: str = ""
    value: t.Any = None


class Match(t.NamedTuple):
    """A signature that was found, and where."""

    signature: Signature
    groups: t.Mapping[str, str]
    evidence: str


# What only says that something else went wrong; never the reason, even when nothing better is found.
_WRAPPER = re.compile(
    r"Engine core initialization failed|WorkerProc initialization failed|EngineCore failed to start|EngineDeadError|"
    r"EngineCore encountered an issue|died unexpectedly|See (?:the )?root cause above|See stack trace|"
    r"Engine process failed to start|Worker failed with error|failed to be inspected|Error raised in subprocess|"
    r"[Ee]ngine loop (?:is not running|has died)|Background loop (?:has errored|is stopped)|died with exit code|"
    r"Engine core proc\S* \S+ died|exited unexpectedly|"
    r"please check the stack trace above|_multiprocessing\.RemoteError|MQEngineDeadError|API server (?:process )?failed"
)
# What follows from the end of another process.
_AFTERMATH = re.compile(
    r"^(?:\w+\.)*(?:BrokenPipeError|ConnectionResetError|CancelledError|KeyboardInterrupt|SystemExit|EOFError|"
    r"ContextTerminated|GeneratorExit)\b|Broken pipe|Connection (?:closed by|reset by) peer|^RuntimeError: cancelled|"
    r"Context was terminated|Socket operation on non-socket|remote process exited|Cannot schedule new futures"
)
# What is printed at every end, and tells nothing about its reason.
_NEVER = re.compile(
    r"Finished server process|resource_tracker|leaked (?:semaphore|shared_memory|\w+) objects|[Ss]hutting down|"
    r"Waiting for (?:application|background)|Application shutdown complete|Started server process|"
    r"destroy_process_group|"
    r"\[shutdown\]|^\s*\^+\s*$|warnings\.warn\(|Set TORCHDYNAMO_VERBOSE|For further information visit|"
    r"^\s*(?:[|+█▄▀▐▌ ]+)$|Process \S+:$|Exception (?:in thread|ignored)|failed to start\.?$"
)
# What a tool says of its failure, inside of a longer message or beside it.
_TOOL_SAYS = re.compile(
    r"\b(?:fatal|error|Error|ERROR|not found|No such file|cannot find|undefined|unsupported|not supported|not defined|"
    r"denied|failed|refused|invalid|exceeds|out of memory|unknown)\b"
)
_TOOL_WRAPS = re.compile(r"^(?:ninja: build stopped|collect2: error|make: \*\*\*|FAILED: |error: command .* failed)")
_COMMAND_FAILED = re.compile(r"returned non-zero exit status|died with <Signals")

_REPEATED = re.compile(r"Worker failed with error '(.+?)', please check the stack trace", re.DOTALL)
# What a process says of an error and goes on.
_GOES_ON = re.compile(r"[Rr]etry|[Ff]all(?:ing|s)? back|[Ii]gnor|[Ss]kipp|[Cc]ontinu|[Dd]isabl")

EVIDENCE = 500  # characters


def diagnose(
    lines: t.Sequence[str],
    exit_code: int | None = None,
    out_of_memory: bool = False,
    name: str = "",
    flags: t.Collection[str] = (),
    on_gpu: bool | None = None,
    running: bool = False,
    release: Release | None = None,
    command: t.Sequence[str] = (),
) -> Diagnosis:
    """Return why the server whose log this is did not start. ``lines`` may also be an error of the Docker Engine.

    ``flags`` are those of the host's processor, and ``on_gpu`` whether the container has GPUs. ``running`` is for a
    server that has not ended: then what it says while it hangs counts as well. ``release`` is that of the image, and
    ``command`` what the container was started with; where they are not given, the log may tell.
    """
    lines = [_log.bounded(line) for line in lines]
    found = _exceptions.read(lines)
    context = _context_of([" ".join(command), *lines], found)
    if release is not None:
        context = context._replace(release=release[:2])
    ending = _ending(found)
    best = _best(found, ending, context)
    if best is not None and best.signature.rank == ROOT:
        return _filled(best, context)
    if out_of_memory:
        return Diagnosis(
            "the kernel killed vLLM for want of host memory",
            f"exit code {exit_code}, out of memory" if exit_code is not None else "out of memory",
            "free memory on the host, or use a smaller model or KV cache",
            "host_out_of_memory",
        )
    if not ending and (best is None or best.signature.rank == SYMPTOM):
        if exit_code == KILLED:
            return Diagnosis(
                "something killed vLLM, nearly always the kernel for want of host memory",
                f"exit code {exit_code}",
                "free memory on the host, or use a smaller model or KV cache; journalctl -k shows what the kernel "
                "killed",
                "host_out_of_memory",
            )
        death = _death(lines, exit_code, flags, on_gpu, name)
        if death is not None:
            said = _said_at_the_end(found)
            return _filled(death._replace(evidence=_joined([said, death.evidence])), context)
    if best is None and not ending and not running:
        best = _handled(found, context)
    if best is not None and (best.signature.rank == LIKELY or not ending):
        return _filled(best, context)
    if running and not ending:
        stalled = _stalled(lines, context)
        if stalled is not None:
            return _filled(stalled, context)
    return _unknown(lines, found, ending, exit_code, name)


# --- what ended it ----------------------------------------------------------------------------------------------------


def _telling(chain: Chain) -> list[Failure]:
    """Return the exceptions of a chain that say something themselves, innermost first.

    That a command failed says little, but that is all there is where its output went elsewhere.
    """
    found = [
        failure
        for failure in chain.failures
        if not _WRAPPER.search(failure.head) and not _AFTERMATH.search(failure.head) and not _wraps_model(failure)
    ]
    return [one for one in found if not _COMMAND_FAILED.search(one.head)] or found


def _wraps_model(failure: Failure) -> bool:
    """Tell a refusal that only passes on that a child process failed."""
    return "failed to be inspected" in failure.text or failure.text.rstrip().endswith("Error raised in subprocess:")


def _ending(found: Found) -> list[Chain]:
    """Return the chains that can be the reason, the likeliest first.

    In each process the last one counts, for it went on after those before. Among processes the first one counts, for
    the others follow from its end. What was only logged counts where nothing says why a process ended.
    """
    for weight in (_exceptions.ENDING, _exceptions.LOGGED):
        last: dict[str, Chain] = {}
        for chain in found.chains:
            if chain.weight == weight and _telling(chain):
                before = last.pop(chain.process, None)
                # The same exception is logged first and printed at the very end, with fewer of its frames.
                again = before is not None and _telling(before)[0].text == _telling(chain)[0].text
                last[chain.process] = before if again and before is not None else chain
        if last:
            return sorted(last.values(), key=lambda chain: chain.at)
    return _repeated(found)


def _repeated(found: Found) -> list[Chain]:
    """Return what the engine repeats of a worker's error, where the worker's own words are not in the log."""
    for chain in found.chains:
        for failure in chain.failures:
            match = _REPEATED.search(failure.text)
            if match:
                return [chain._replace(failures=(Failure(match.group(1).strip(), failure.frames),))]
    return []


def _best(found: Found, ending: t.Sequence[Chain], context: Context) -> Match | None:
    """Return the best of the known failures that the log shows."""
    candidates: list[Match] = []
    for chain in ending:
        candidates += [match for match in [_in_chain(chain, context)] if match is not None]
    # Where it is known which exception ended a process, an error that was only logged before did not.
    levels = ("", "CRITICAL") if ending and ending[0].weight == _exceptions.ENDING else ("", "ERROR", "CRITICAL")
    for loose in found.loose:
        if loose.level in levels and not _NEVER.search(loose.text) and not _GOES_ON.search(loose.text):
            candidates += [match for match in [_search(loose.text, context)] if match is not None]
    if not candidates:
        return None
    best = min(candidates, key=lambda match: match.signature.rank)
    return _explained(best, found, context) or best


def _handled(found: Found, context: Context) -> Match | None:
    """Return what a thread or a warning said, where nothing else says why a process ended."""
    matches = [_in_chain(chain, context) for chain in found.chains]
    return min((one for one in matches if one is not None), key=lambda one: one.signature.rank, default=None)


def _explained(best: Match, found: Found, context: Context) -> Match | None:
    """Return what a warning said before, where that is the reason for what was found."""
    texts = [loose.text for loose in found.loose] + [one.text for chain in found.chains for one in chain.failures]
    for text in texts:
        match = _search(text, context, [one for one in SIGNATURES if best.signature.id in one.explains])
        if match is not None:
            return match
    return None


def _in_chain(chain: Chain, context: Context) -> Match | None:
    """Return the best known failure in a chain; of equal ones the innermost."""
    functions = frozenset(function for failure in chain.failures for _file, function in failure.frames)
    here = context._replace(functions=functions)
    found = []
    for failure in _telling(chain):
        match = _search(failure.text, here)
        if match is not None:
            if match.signature.id == "cuda_out_of_memory" and "load_model" in functions:
                match = match._replace(signature=_WEIGHTS_DO_NOT_FIT)
            # What a compiler says stands in many lines, of which the first says least.
            whole = match.signature.id == "compilation"
            evidence = _saying(failure.text) if whole else _with_source(match.evidence, failure)
            found.append(match._replace(evidence=_joined([evidence, _outermost(chain, failure)])))
    return min(found, key=lambda match: match.signature.rank) if found else None


def _search(text: str, context: Context, signatures: t.Sequence[Signature] = SIGNATURES) -> Match | None:
    """Return the first known failure of the lowest rank in a text, with the line that says it."""
    best: Match | None = None
    for signature in signatures:
        if best is not None and signature.rank >= best.signature.rank:
            continue
        match = signature.pattern.search(text)
        if match and signature.applies(match.groupdict(), context):
            best = Match(signature, match.groupdict(), _line_of(text, match))
    return best


def _line_of(text: str, match: re.Match[str]) -> str:
    """Return the line in which a match ends, or all its lines when it has several."""
    # The first line of a message may be part of the pattern only to say whose message it is.
    begin = text.rfind("\n", 0, match.end() - (1 if match.group(0).endswith("\n") else 0)) + 1
    if "\n" not in match.group(0).strip():
        begin = text.rfind("\n", 0, match.start()) + 1
    end = text.find("\n", max(match.end() - 1, begin))
    return text[begin : end if end >= 0 else len(text)].strip()


_WEIGHTS_DO_NOT_FIT = next(signature for signature in SIGNATURES if signature.id == "weights_do_not_fit")


def _death(
    lines: t.Sequence[str], exit_code: int | None, flags: t.Collection[str], on_gpu: bool | None, name: str
) -> Match | None:
    """Return how a process died that said nothing."""
    texts = (_log.parse_line(line).text for line in lines)
    said = _deaths.describe(texts, exit_code, flags, on_gpu, name)
    return _search(said, Context()) if said else None


def _said_at_the_end(found: Found) -> str:
    """Return the last line that tells of an error, which native code writes before it ends its process."""
    said = [
        loose.text.strip()
        for loose in found.loose
        if loose.level in ("", "ERROR", "CRITICAL") and _TOOL_SAYS.search(loose.text)
    ]
    telling = [text for text in said if not any(one.search(text) for one in (_NEVER, _WRAPPER, _GOES_ON))]
    return _shortened(telling[-1], EVIDENCE // 2) if telling else ""


def _stalled(lines: t.Sequence[str], context: Context) -> Match | None:
    """Return what a server says at any level while it hangs."""
    signatures = [one for one in SIGNATURES if one.id == "worker_hangs"]
    for line in lines:
        match = _search(_log.parse_line(line).text, context, signatures)
        if match is not None:
            return match
    return None


# --- what the log tells beside ----------------------------------------------------------------------------------------

_RELEASE = re.compile(
    r"LLM engine \(v(\d+)\.(\d+)|vLLM (?:API server )?version v?(\d+)\.(\d+)|\bversion (\d+)\.(\d+)\.\d+"
)
_PARALLEL = re.compile(r"tensor[_-]parallel[_-]size['\"]?[=: ]\s?(\d+)")


def _context_of(lines: t.Sequence[str], found: Found) -> Context:
    release: tuple[int, ...] = ()
    size = 0
    for line in lines:
        match = _RELEASE.search(line)
        if match and not release:
            release = tuple(int(part) for part in match.groups() if part)
        match = _PARALLEL.search(line)
        if match and not size:
            size = int(match.group(1))
    functions = frozenset(
        function for chain in found.chains for failure in chain.failures for _file, function in failure.frames
    )
    return Context(release, size, functions)


# --- how it is told ---------------------------------------------------------------------------------------------------

# How to speak of a part that the message may leave out.
_UNSAID = {"fits": "a smaller value", "gpu": "GPU", "method": "its method", "port": "", "functions": ""}


def _filled(found: Match, context: Context) -> Diagnosis:
    signature = found.signature
    groups = {key: value or _UNSAID.get(key, "") for key, value in found.groups.items()}
    groups.update(signature.derive(groups, context))
    if signature.id == "unknown_option":
        flags = [word.partition("=")[0] for word in groups["arguments"].split() if word.startswith("--")]
        groups["option"] = " and ".join(f"engine.{normal_name(flag)}" for flag in flags) or "that argument"
    if "flag" in groups:
        groups["flag_name"] = normal_name(groups["flag"])
    return Diagnosis(
        _tidy(signature.cause.format(**groups)),
        _shortened(found.evidence.strip().rstrip(".")),
        _tidy(signature.fix.format(**groups)),
        signature.id,
        signature.variable.format(**groups),
        signature.value(found.groups, context),
    )


def _tidy(text: str) -> str:
    """Take out what a part that was not said leaves behind."""
    return re.sub(r"\s+", " ", re.sub(r" \(\)", "", text)).strip().rstrip(":").strip()


def _outermost(chain: Chain, failure: Failure) -> str:
    """Return the last exception of a chain that says something, when it is another one."""
    telling = _telling(chain)
    return _saying(telling[-1].text, EVIDENCE // 2) if telling and telling[-1] is not failure else ""


def _with_source(evidence: str, failure: Failure) -> str:
    """Return the evidence with the line of code that raised it, where the exception itself says nothing."""
    if failure.source and re.fullmatch(r"[\w.]+:?", evidence.strip()):
        return f"{evidence.strip().rstrip(':')} at: {failure.source}"
    return evidence


def _joined(parts: t.Sequence[str]) -> str:
    kept = [part for part in parts if part]
    return " … then: ".join(dict.fromkeys(kept))


def _saying(text: str, limit: int = EVIDENCE) -> str:
    """Return a message in one line: whole where it is short, else its first line and those that say what failed."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not _NEVER.search(line)]
    whole = " / ".join(lines)
    if len(whole) <= limit:
        return whole
    telling = [line for line in lines[1:] if _TOOL_SAYS.search(line) and not _TOOL_WRAPS.search(line)]
    return _shortened(" / ".join([_shortened(lines[0], limit // 2), *telling[:4]]), limit)


def _unknown(
    lines: t.Sequence[str], found: Found, ending: t.Sequence[Chain], exit_code: int | None, name: str
) -> Diagnosis:
    """Return what there is to say of a failure that this collection does not know."""
    ended = f"vLLM ended with exit code {exit_code}" if exit_code is not None else "vLLM did not start"
    chain = ending[0] if ending else _any_chain(found)
    if chain is None:
        return Diagnosis(
            f"{ended} for a reason that is not known to this collection",
            _shortened(_last_words(found, lines)),
            f"read its log: docker logs {name}".rstrip(),
            "unknown",
        )
    root = (_telling(chain) or list(chain.failures))[0]
    evidence = _joined([_with_source(_saying(root.text), root), _outermost(chain, root)])
    if _COMMAND_FAILED.search(root.text):
        evidence = _joined([*_tool_output(found), evidence])
    kind = kind_of(root, chain)
    where = f"{chain.process or 'vLLM'} failed while it was {_log.latest_phase(lines[: chain.at])}"
    variable = ""
    if kind is OPTIONS:
        named = [f"engine.{option}" for option in options_in(root.text, loosely=True)]
        variable = named[0] if named else ""
    return Diagnosis(
        f"{ended} for a reason that is not known to this collection: {where}, and it is about {kind.words}",
        _shortened(evidence.rstrip(".")),
        f"{kind.fix}; read its log: docker logs {name}".rstrip().replace("{variable}", variable or "the options"),
        "unknown",
        variable,
    )


def _any_chain(found: Found) -> Chain | None:
    """Return the newest exception that is no wrapper, whatever it did."""
    telling = [chain for chain in found.chains if _telling(chain)]
    return telling[-1] if telling else None


def _tool_output(found: Found) -> list[str]:
    """Return what a tool printed before its command failed."""
    said = [loose.text.strip() for loose in found.loose if loose.level == "" and _TOOL_SAYS.search(loose.text)]
    return [line for line in said if not _TOOL_WRAPS.search(line) and not _NEVER.search(line)][-3:]


def _last_words(found: Found, lines: t.Sequence[str]) -> str:
    """Return the last line that may tell something: of an error first, then of anything."""
    for level in (("ERROR", "CRITICAL"), ("",)):
        said = [loose.text.strip() for loose in found.loose if loose.level in level and not _NEVER.search(loose.text)]
        said = [text for text in said if not _WRAPPER.search(text)]
        if said:
            return said[-1]
    wrappers = [chain.failures[-1].head for chain in found.chains]
    if wrappers:
        return wrappers[-1]
    texts = [_log.parse_line(line).text.strip() for line in lines]
    return next((text for text in reversed(texts) if text and not _NEVER.search(text)), "the log is empty")


class Kind(t.NamedTuple):
    """What sort of thing failed, and what is tried first."""

    words: str
    fix: str


OPTIONS = Kind("the options", "correct {variable} as the message says")
MODEL = Kind("the model's files", "fetch the model again, and use a newer image for a new model")
MEMORY = Kind(
    "GPU memory",
    "lower engine.gpu_memory_utilization, engine.max_model_len or engine.max_num_seqs, or add GPUs in gpus",
)
DRIVER = Kind(
    "the GPU or its driver", "see nvidia-smi and journalctl -k on the host, and that image and driver fit each other"
)
NETWORK = Kind("the network", "look whether the processes and nodes reach each other, and what vLLM wanted to fetch")
HOST = Kind("files and limits of the host", "look at owner, mode and free space of what is mounted, and at limits")
IMAGE = Kind("code in the image", "use another image, a newer one first; engine.enforce_eager: true may avoid it")

_MEMORY_SAYS = re.compile(r"OutOfMemory|out of memory|(?:GPU|KV cache|cache) memory|memory (?:utilization|is needed)")
# By what the message says, in this order; then by the code that it came from.
_KINDS_BY_TEXT = (
    (re.compile(r"^OSError: [^\n]*\(os error \d+\)"), HOST),
    (
        re.compile(
            r"CUDA(?! [Gg]raph)|cuda(?:Error|rt)|NVML|nvml|libcuda|cudnn|CUBLAS|device ordinal|\bdriver\b|compute "
            r"capability|"
            r"(?:[Nn]o|visible|physical) (?:\w+ )?(?:GPU|device)s?\b"
        ),
        DRIVER,
    ),
    (
        re.compile(
            r"NCCL|Gloo|gloo|[Cc]onnection|socket (?:has|timed|closed)|timed out|"
            r"resolve host|https?://|rendezvous"
        ),
        NETWORK,
    ),
    (
        re.compile(r"^(?:\w+\.)*(?:PermissionError|OSError: \[Errno|BlockingIOError|IsADirectoryError|NotADirectory)"),
        HOST,
    ),
    (
        re.compile(
            r"argument|--[a-z]+[a-z-]+|validation errors? for (?!ModelConfig)|mutually exclusive|"
            r"not (?:yet )?(?:supported|compatible|allowed|available) (?:with|when|together|in combination)|"
            r"(?:cannot|can't|can not) be (?:used|combined|enabled|set) (?:with|when|together)|incompatible with"
        ),
        OPTIONS,
    ),
)
_MODEL_SAYS = re.compile(
    r"safetensors|[Cc]heckpoint|config\.json|[Tt]okenizer|Transformers|[Mm]odel type|[Aa]rchitecture|JSON|[Qq]uantiz|"
    r"\b(?:bos|eos|pad|unk|mask)_token|[Vv]ocab"
)
_OPTION_FILES = re.compile(
    r"vllm/(?:config\b|engine/arg_utils|entrypoints/(?:openai/)?cli|envs|platforms|reasoning|tool_parsers|"
    r"\w+/kv_transfer/kv_connector/factory)"
)
_MODEL_FILES = re.compile(
    r"model_loader|weight_utils|transformers_utils|/transformers/|/safetensors/|/tokenizers/|model_executor/models|"
    r"vllm/lora|vllm/models/|tokenizer|/gguf/|huggingface_hub|layers/quantization"
)


def kind_of(failure: Failure, chain: Chain) -> Kind:
    """Return what sort of thing failed: by what the message says, and by the code that it came from."""
    files = [path for path, _function in reversed(failure.frames or chain.failures[-1].frames)]
    if _MEMORY_SAYS.search(failure.text):
        return MEMORY
    if files and _OPTION_FILES.search(files[0]):
        return OPTIONS
    for pattern, kind in _KINDS_BY_TEXT:
        if pattern.search(failure.text):
            return kind
    if options_in(failure.text):
        return OPTIONS
    if _MODEL_SAYS.search(failure.text):
        return MODEL
    if options_in(failure.text, loosely=True):
        return OPTIONS
    for path in files:
        if _OPTION_FILES.search(path):
            return OPTIONS
        if _MODEL_FILES.search(path):
            return MODEL
    return IMAGE


def _shortened(text: str, limit: int = EVIDENCE) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
