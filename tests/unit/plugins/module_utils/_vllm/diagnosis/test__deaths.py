# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes that die without a word: which one, by which signal, on which processor."""

from __future__ import annotations

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.diagnosis import _deaths
from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.diagnosis._diagnosis import diagnose

# What vLLM prints at the end of every server, whatever ended it.
GOODBYE = [
    "(APIServer pid=1) INFO:     Shutting down",
    "(APIServer pid=1) INFO:     Finished server process [1]",
    "/usr/lib/python3.12/multiprocessing/resource_tracker.py:279: UserWarning: resource_tracker: There appear to be 1 "
    "leaked semaphore objects to clean up at shutdown",
    "  warnings.warn('resource_tracker: There appear to be %d '",
]
EXITED = "(APIServer pid=1) WARNING 11-28 10:00:00 [x.py:818] [shutdown] MPClient: engine core exited unexpectedly"


def worker(code: int) -> str:
    return (
        "(EngineCore pid=9) ERROR 11-28 10:00:00 [x.py:316] Worker proc VllmWorker-1 died unexpectedly "
        f"(exit code: {code}), shutting down executor."
    )


AMX = ("avx2", "avx512f", "amx_tile")
NEW = ("avx2", "avx512f")


@pytest.mark.parametrize(
    ("lines", "exit_code", "flags", "on_gpu", "found", "words"),
    [
        ([EXITED], 0, AMX, False, "amx_refused", "the engine process died of an instruction that it was not allowed"),
        ([EXITED], 0, NEW, False, "died_silently", "the engine process died without a word"),
        ([EXITED], 0, AMX, True, "died_silently", "the engine process died without a word"),
        ([worker(-4)], 1, AMX, False, "amx_refused", "VllmWorker-1 died of an instruction that it was not allowed"),
        (
            [worker(-4)],
            1,
            ("sse4_2",),
            False,
            "illegal_instruction",
            "does not know (it has: no GPU, none of amx_tile,",
        ),
        ([worker(-9)], 1, NEW, True, "killed", "the kernel killed a process of vLLM"),
        ([worker(-11)], 1, NEW, True, "crashed", "VllmWorker-1 crashed in the image's machine code (SIGSEGV)"),
        ([worker(-6)], 1, NEW, True, "crashed", "(SIGABRT)"),
        ([worker(-7)], 1, NEW, True, "shared_memory_bus_error", "shared memory ran out"),
        ([worker(-15)], 1, NEW, True, "ended_from_outside", "somebody outside of vLLM asked VllmWorker-1 to stop"),
        ([], 132, AMX, False, "amx_refused", "alpha died of an instruction"),
        ([], 139, NEW, False, "crashed", "alpha crashed in the image's machine code (SIGSEGV)"),
        ([], 143, NEW, False, "ended_from_outside", "asked alpha to stop"),
        ([], 137, NEW, False, "host_out_of_memory", "something killed vLLM"),
        (
            [
                "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): "
                "{'EngineCore_0': -4}"
            ],
            1,
            AMX,
            False,
            "amx_refused",
            "EngineCore_0 died of an instruction",
        ),
        (["Fatal Python error: Segmentation fault"], 1, NEW, True, "crashed", "(SIGSEGV)"),
    ],
)
def test_a_process_that_dies_without_a_word_is_named_with_its_signal(
    lines: list[str], exit_code: int, flags: tuple[str, ...], on_gpu: bool, found: str, words: str
) -> None:
    diagnosis = diagnose([*lines, *GOODBYE], exit_code, name="alpha", flags=flags, on_gpu=on_gpu)
    assert diagnosis.id == found
    assert words in diagnosis.cause
    assert "server process" not in diagnosis.evidence
    assert "resource_tracker" not in diagnosis.evidence
    assert diagnosis.fix


def test_an_exception_says_more_than_the_death_of_its_process() -> None:
    lines = ["(Worker pid=3) Traceback (most recent call last):", "(Worker pid=3) RuntimeError: strange", worker(-9)]
    assert diagnose([*lines, *GOODBYE], 1).evidence == "RuntimeError: strange"


def test_what_is_printed_at_every_end_is_no_evidence() -> None:
    diagnosis = diagnose(["(EngineCore pid=9) the last thing that it did", *GOODBYE], 1)
    assert (diagnosis.id, diagnosis.evidence) == ("unknown", "the last thing that it did")


@pytest.mark.parametrize(
    ("code", "name"), [(-9, "SIGKILL"), (137, "SIGKILL"), (132, "SIGILL"), (1, ""), (0, ""), (None, ""), (255, "")]
)
def test_an_exit_code_names_its_signal(code: int | None, name: str) -> None:
    assert _deaths.signal_of(code) == name


def test_the_processor_is_read_on_x86_and_on_arm() -> None:
    assert _deaths.flags_of("processor\t: 0\nflags\t\t: fpu avx2 amx_tile\n\n") == {"fpu", "avx2", "amx_tile"}
    assert _deaths.flags_of("processor\t: 0\nFeatures\t: fp asimd\n") == {"fp", "asimd"}
    assert _deaths.flags_of("") == frozenset()
    assert _deaths.host_flags("/nowhere") == frozenset()
