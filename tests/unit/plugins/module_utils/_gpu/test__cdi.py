# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib
import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._gpu import _cdi


def gpu(index: int, uuid: str, mode: str = "disabled", devices: t.Sequence[str] = ()) -> dict[str, t.Any]:
    parts = [{"index": number, "uuid": name} for number, name in enumerate(devices)]
    return {"index": index, "uuid": uuid, "mig": {"mode": mode, "devices": parts}}


WHOLE = [gpu(0, "GPU-a"), gpu(1, "GPU-b", "unsupported")]
DIVIDED = [gpu(0, "GPU-a"), gpu(1, "GPU-b", "enabled", ["MIG-c", "MIG-d"])]


@pytest.mark.parametrize(
    ("gpus", "names", "missing", "stale"),
    [
        pytest.param(WHOLE, {"0", "1", "all"}, [], [], id="by-index"),
        pytest.param(WHOLE, {"GPU-a", "GPU-b", "all"}, [], [], id="by-uuid"),
        pytest.param(WHOLE, {"0", "GPU-a", "all"}, ["GPU-b"], [], id="one-missing"),
        pytest.param(WHOLE, set(), ["GPU-a", "GPU-b"], [], id="nothing"),
        pytest.param(WHOLE, {"0", "1", "2", "GPU-lost"}, [], ["2", "GPU-lost"], id="one-lost"),
        pytest.param(DIVIDED, {"0", "1:0", "MIG-c", "1:1", "all"}, [], [], id="divided"),
        pytest.param(DIVIDED, {"0", "1", "GPU-b", "all"}, ["MIG-c", "MIG-d"], ["1", "GPU-b"], id="divided-since"),
        pytest.param(WHOLE, {"0", "1", "1:0", "MIG-c"}, [], ["1:0", "MIG-c"], id="whole-again"),
        # In MIG mode and not divided yet, it can be given to nobody.
        pytest.param([gpu(0, "GPU-a", "enabled")], set(), [], [], id="to-be-divided"),
    ],
)
def test_specification_against_gpus(
    gpus: list[dict[str, t.Any]], names: set[str], missing: list[str], stale: list[str]
) -> None:
    assert _cdi.not_offered(gpus, names) == missing
    assert _cdi.not_there(gpus, names) == stale


def test_parse_list() -> None:
    output = "nvidia.com/gpu=0\nnvidia.com/gpu=GPU-a\nnvidia.com/gpu=\nvendor.com/nic=7\nwarning: nothing\n"
    assert _cdi.parse_list(output) == {"0", "GPU-a"}
    assert _cdi.parse_list("") == set()


def test_names_by_file(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a.yaml").write_text("kind: nvidia.com/gpu\ndevices:\n- name: '0'\n", encoding="utf-8")
    (tmp_path / "b.json").write_text('{"kind": "vendor.com/nic", "devices": [{"name": "x"}]}', encoding="utf-8")
    (tmp_path / "c.json").write_text("damaged", encoding="utf-8")
    (tmp_path / "d.txt").write_text("kind: nvidia.com/gpu\ndevices:\n- name: '1'\n", encoding="utf-8")
    assert _cdi.names_by_file([str(tmp_path), str(tmp_path / "none")]) == {str(tmp_path / "a.yaml"): {"0"}}
