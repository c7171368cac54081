# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._gpu._select import GpuSelectionError, select_gpus


def gpu(
    index: int, uuid: str, mig: list[dict[str, t.Any]] | None = None, name: str = "NVIDIA L40S"
) -> dict[str, t.Any]:
    mode = "unsupported" if mig is None else "enabled"
    return {"index": index, "uuid": uuid, "name": name, "mig": {"mode": mode, "devices": mig or []}}


A, B, C = "GPU-aaaaaaaa-0000", "GPU-bbbbbbbb-0000", "GPU-cccccccc-0000"
MIG_1, MIG_2, MIG_OLD = "MIG-11111111-0000", "MIG-22222222-0000", "MIG-GPU-dddddddd-0000/3/0"
THREE = [gpu(0, A), gpu(1, B), gpu(2, C)]
SHUFFLED = [gpu(2, C), gpu(0, A), gpu(1, B)]
SPLIT = [
    gpu(
        0,
        "GPU-dddddddd-0000",
        [{"uuid": MIG_1, "profile": "3g.40gb"}, {"uuid": MIG_2, "profile": "1g.10gb"}],
        "NVIDIA H100",
    ),
    gpu(1, B),
    gpu(2, C),
]
OLD_SPLIT = [gpu(0, "GPU-dddddddd-0000", [{"uuid": MIG_OLD, "profile": "3g.20gb"}])]
EMPTY_SPLIT = [gpu(0, "GPU-dddddddd-0000", [])]


@pytest.mark.parametrize(
    ("wanted", "gpus", "expected"),
    [
        pytest.param(None, THREE, [], id="nothing-said"),
        pytest.param([], THREE, [], id="empty-list-is-cpu"),
        pytest.param(0, THREE, [], id="count-zero"),
        pytest.param([], [], [], id="cpu-on-a-host-without-gpus"),
        pytest.param(2, THREE, [A, B], id="count"),
        pytest.param(2, SHUFFLED, [A, B], id="count-goes-by-index-not-by-listing"),
        pytest.param(2, SPLIT, [B, C], id="count-passes-over-mig"),
        pytest.param([0], THREE, [A], id="index"),
        pytest.param([2, 0], THREE, [C, A], id="order-is-the-wanted-order"),
        pytest.param(["1"], THREE, [B], id="index-as-text"),
        pytest.param([" 1 "], THREE, [B], id="index-with-blanks"),
        pytest.param([C], THREE, [C], id="uuid"),
        pytest.param([C.upper()], THREE, [C], id="uuid-in-other-case-returned-as-listed"),
        pytest.param((B, 0), THREE, [B, A], id="tuple-of-both"),
        pytest.param([MIG_2], SPLIT, [MIG_2], id="mig"),
        pytest.param([MIG_1, 1], SPLIT, [MIG_1, B], id="mig-and-whole"),
        pytest.param([MIG_OLD], OLD_SPLIT, [MIG_OLD], id="mig-uuid-before-r470"),
    ],
)
def test_select_gpus(wanted: t.Any, gpus: list[dict[str, t.Any]], expected: list[str]) -> None:
    assert select_gpus(wanted, gpus) == expected


def test_count_passes_over_what_others_have() -> None:
    assert select_gpus(1, THREE, taken=[A]) == [B]
    assert select_gpus(2, THREE, taken=iter([B])) == [A, C]


def test_a_list_is_taken_at_its_word_even_when_taken() -> None:
    assert select_gpus([0], THREE, taken=[A]) == [A]


@pytest.mark.parametrize(
    ("wanted", "gpus", "message"),
    [
        pytest.param(
            [3],
            THREE[:2],
            "there is no GPU with index 3: this host has 0 NVIDIA L40S (GPU-aaaaaaaa-0000);"
            " 1 NVIDIA L40S (GPU-bbbbbbbb-0000)",
            id="index-not-there",
        ),
        pytest.param([0], [], "there is no GPU with index 0: this host has no usable GPU", id="no-gpu-at-all"),
        pytest.param(
            ["GPU-aaaa"],
            THREE[:1],
            "there is no GPU with UUID GPU-aaaa (only whole UUIDs count):"
            " this host has 0 NVIDIA L40S (GPU-aaaaaaaa-0000)",
            id="prefix",
        ),
        pytest.param(
            ["all"],
            THREE[:1],
            "'all' names no GPU: give an index, a GPU UUID (GPU-...) or a MIG UUID (MIG-...);"
            " this host has 0 NVIDIA L40S (GPU-aaaaaaaa-0000)",
            id="all",
        ),
        pytest.param("all", THREE, "gpus must be a list of indices and UUIDs, or a count, not 'all'", id="bare-text"),
        pytest.param(True, THREE, "gpus must be a list of indices and UUIDs, or a count, not True", id="boolean"),
        pytest.param([True], THREE, "True names no GPU: give an index, a GPU UUID or a MIG UUID", id="boolean-in-list"),
        pytest.param([[0]], THREE, "[0] names no GPU: give an index, a GPU UUID or a MIG UUID", id="nested-list"),
        pytest.param(-1, THREE, "a count of GPUs cannot be negative, as -1 is", id="negative-count"),
        pytest.param(
            2,
            THREE[:1],
            "2 GPUs are wanted and 1 can be given: this host has 0 NVIDIA L40S (GPU-aaaaaaaa-0000)",
            id="too-many",
        ),
        pytest.param([0, 0], THREE, "GPU GPU-aaaaaaaa-0000 is named twice; name it once", id="twice"),
        pytest.param(
            [0, A],
            THREE,
            "GPU GPU-aaaaaaaa-0000 is named twice, as 0 and as GPU-aaaaaaaa-0000; name it once",
            id="index-and-uuid-of-the-same",
        ),
        pytest.param(
            [0],
            SPLIT,
            "GPU 0 is in MIG mode and cannot be used whole; name one of its MIG devices:"
            " MIG-11111111-0000 (3g.40gb), MIG-22222222-0000 (1g.10gb)",
            id="mig-parent",
        ),
        pytest.param(
            [0],
            EMPTY_SPLIT,
            "GPU 0 is in MIG mode and has no MIG devices yet; make one with nvidia-smi mig -cgi",
            id="mig-mode-without-devices",
        ),
        pytest.param(
            1,
            EMPTY_SPLIT,
            "1 GPUs are wanted and 0 can be given:"
            " this host has 0 NVIDIA L40S (GPU-dddddddd-0000) in MIG mode with no MIG devices",
            id="count-with-only-mig",
        ),
    ],
)
def test_select_gpus_errors(wanted: t.Any, gpus: list[dict[str, t.Any]], message: str) -> None:
    with pytest.raises(GpuSelectionError) as error:
        select_gpus(wanted, gpus)
    assert str(error.value) == message


def test_error_counts_the_taken() -> None:
    with pytest.raises(
        GpuSelectionError, match=r"^2 GPUs are wanted and 1 can be given \(2 taken by others\): this host has "
    ):
        select_gpus(2, THREE, taken=[A, C])


BROKEN = [gpu(0, A), {**gpu(1, B), "problem": "GPU requires reset"}, gpu(2, C)]


def test_a_gpu_out_of_order_is_passed_over_and_refused() -> None:
    assert select_gpus(2, BROKEN) == [A, C]
    with pytest.raises(GpuSelectionError) as error:
        select_gpus([1], BROKEN)
    assert str(error.value) == "GPU 1 is out of order (GPU requires reset); take another, or reset it or the host"
    with pytest.raises(
        GpuSelectionError, match=r"1 NVIDIA L40S \(GPU-bbbbbbbb-0000\), out of order \(GPU requires reset\)"
    ):
        select_gpus(3, BROKEN)
