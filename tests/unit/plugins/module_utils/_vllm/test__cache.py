# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib

from ansible_collections.private_llm.fleet.plugins.module_utils._vllm._cache import directory_of, prune

OLD, NEW = "sha256:" + "a" * 64, "sha256:" + "b" * 64


def test_one_folder_for_an_image_and_a_kind_of_gpu() -> None:
    h100 = "NVIDIA H100 80GB HBM3"
    assert directory_of("v0.32.0", OLD, [h100, h100], "/c") == "/c/v0.32.0-aaaaaaaaaaaa/nvidia-h100-80gb-hbm3"
    assert directory_of("", NEW, [], "/c") == "/c/image-bbbbbbbbbbbb/cpu"
    assert directory_of("Nightly_1", "", ["B", "A"], "/c") == "/c/nightly-1-unknown/a+b"


def test_what_belongs_to_images_that_have_gone_goes(tmp_path: pathlib.Path) -> None:
    for name in ("v0.31.0-aaaaaaaaaaaa", "v0.32.0-bbbbbbbbbbbb", "somebody-else"):
        (tmp_path / name / "cpu").mkdir(parents=True)
    assert prune([NEW], str(tmp_path)) == ["v0.31.0-aaaaaaaaaaaa"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["somebody-else", "v0.32.0-bbbbbbbbbbbb"]
    assert prune([NEW], str(tmp_path / "nowhere")) == []
