# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tell how a process died that said nothing: which one, by which signal, and on which processor."""

from __future__ import annotations

import re
import signal
import typing as t

# What of a processor decides whether vLLM's code for CPUs runs on it; the newest first.
TELLING = ("amx_tile", "avx512_bf16", "avx512f", "avx2", "asimd", "sve")

_NUMBERS = tuple(
    re.compile(pattern)
    for pattern in (
        r"(?:Worker|Engine core) proc(?:ess)? (?P<process>\S+) died unexpectedly \(exit code: (?P<code>-?\d+)\)",
        r"Process (?P<process>\S+) (?:\(PID: \d+\) )?died with exit code (?P<code>-?\d+)",
        r"Failed core proc\(s\): \{'(?P<process>[^']+)': (?P<code>-\d+)",
    )
)
_SPOKEN = (
    (re.compile(r"\bSegmentation fault|Segfault encountered"), "SIGSEGV"),
    (re.compile(r"\bIllegal instruction"), "SIGILL"),
    (re.compile(r"\bBus error"), "SIGBUS"),
    (re.compile(r"Fatal Python error: Aborted|^Aborted \(core dumped\)|terminate called after throwing"), "SIGABRT"),
    (re.compile(r"\bFloating point exception"), "SIGFPE"),
    (re.compile(r"^Killed$"), "SIGKILL"),
)
_SILENT = re.compile(
    r"(?:Worker|Engine core) proc(?:ess)? (?P<process>\S+) died unexpectedly|"
    r"(?P<engine>[Ee]ngine core) exited unexpectedly|WorkerProc initialization failed"
)


def signal_of(code: int | None) -> str:
    """Return the signal behind an exit code, in Python's form (-9) or in a shell's (137); empty when there is none."""
    number = -code if code is not None and code < 0 else (code or 0) - 128
    try:
        return signal.Signals(number).name if 0 < number < 65 else ""
    except ValueError:
        return ""


def describe(
    lines: t.Iterable[str], exit_code: int | None, flags: t.Collection[str], on_gpu: bool | None, name: str = ""
) -> str:
    """Return in one line how a process died without a word, or an empty text when none did.

    ``flags`` are those of the host's processor. ``on_gpu`` is None where it is not known whether the server has GPUs.
    """
    process, number, spoken, silent = "", 0, "", ""
    for text in lines:
        for pattern in _NUMBERS:
            match = pattern.search(text)
            if match and not number and signal_of(int(match.group("code"))):
                process, number = match.group("process"), int(match.group("code"))
        spoken = spoken or next((said for pattern, said in _SPOKEN if pattern.search(text)), "")
        match = _SILENT.search(text)
        if match and not silent:
            silent = match.group("process") or ("the engine process" if match.group("engine") else "a worker")
    if not number and exit_code is not None and signal_of(exit_code):
        process, number = name or "vLLM", exit_code
    how = signal_of(number) or spoken
    if not how and not silent:
        return ""
    code = f" (exit code {number})" if number else ""
    return (
        f"{process or silent or 'a process of vLLM'} was ended by {how or 'an unknown signal'}{code};"
        f" processor: {processor(flags, on_gpu)}"
    )


def processor(flags: t.Collection[str], on_gpu: bool | None) -> str:
    """Return what there is to say of a processor."""
    has = [flag for flag in TELLING if flag in flags] or (["none of " + ", ".join(TELLING)] if flags else ["unknown"])
    gpu = {True: ["with GPUs"], False: ["no GPU"], None: []}[on_gpu]
    return ", ".join(["amx_tile"] * ("amx_tile" in has) + gpu + [flag for flag in has if flag != "amx_tile"])


def flags_of(cpuinfo: str) -> frozenset[str]:
    """Return the flags of a processor out of the text of /proc/cpuinfo (x86 calls them flags, Arm features)."""
    match = re.search(r"^(?:flags|Features)\s*:(.*)$", cpuinfo, re.MULTILINE)
    return frozenset(match.group(1).split()) if match else frozenset()


def host_flags(path: str = "/proc/cpuinfo") -> frozenset[str]:
    """Return the flags of this host's processor; empty where they cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return flags_of(stream.read())
    except OSError:
        return frozenset()
