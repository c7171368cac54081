# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.container._cache import (
    CacheError,
    directory_of,
    make,
    prune,
)

OLD, NEW = "sha256:" + "a" * 64, "sha256:" + "b" * 64


def test_one_folder_for_a_server_an_image_and_a_kind_of_gpu() -> None:
    h100 = "NVIDIA H100 80GB HBM3"
    at = "/c/servers/alpha"
    assert directory_of("alpha", "v0.32.0", OLD, [h100, h100], "/c") == f"{at}/v0.32.0-{'a' * 12}/nvidia-h100-80gb-hbm3"
    assert directory_of("alpha", "", NEW, [], "/c") == f"{at}/image-bbbbbbbbbbbb/cpu"
    assert directory_of("alpha", "Nightly_1", "", ["B", "A"], "/c") == f"{at}/nightly-1-unknown/a+b"


def test_no_servers_folder_is_in_another_ones() -> None:
    alpha, beta = (directory_of(name, "v0.32.0", OLD, [], "/c") + "/" for name in ("alpha", "beta"))
    assert not alpha.startswith(beta)
    assert not beta.startswith(alpha)


def test_what_belongs_to_images_that_have_gone_goes(tmp_path: pathlib.Path) -> None:
    # At the root as older releases of the collection kept it, and below each server.
    for name in ("v0.31.0-aaaaaaaaaaaa", "v0.32.0-bbbbbbbbbbbb", "somebody-else"):
        (tmp_path / name / "cpu").mkdir(parents=True)
        (tmp_path / "servers" / "alpha" / name / "cpu").mkdir(parents=True)
    assert prune([NEW], str(tmp_path)) == ["v0.31.0-aaaaaaaaaaaa", "servers/alpha/v0.31.0-aaaaaaaaaaaa"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["servers", "somebody-else", "v0.32.0-bbbbbbbbbbbb"]
    left = sorted(path.name for path in (tmp_path / "servers" / "alpha").iterdir())
    assert left == ["somebody-else", "v0.32.0-bbbbbbbbbbbb"]
    assert prune([NEW], str(tmp_path / "nowhere")) == []


def test_the_folder_is_made_and_a_link_in_its_place_is_refused(tmp_path: pathlib.Path) -> None:
    wanted = directory_of("alpha", "v0.32.0", OLD, [], str(tmp_path / "root"))
    make(wanted, str(tmp_path / "root"))
    make(wanted, str(tmp_path / "root"))
    assert pathlib.Path(wanted).is_dir()
    (tmp_path / "root" / "servers" / "beta").symlink_to(tmp_path)
    with pytest.raises(CacheError, match="beta is not a folder for compiled kernels"):
        make(directory_of("beta", "v0.32.0", OLD, [], str(tmp_path / "root")), str(tmp_path / "root"))


def test_a_full_disk_is_told(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_unused: object, **_unused_too: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.mkdir", full)
    with pytest.raises(CacheError, match="cannot be made: No space left on device; make room"):
        make(str(tmp_path / "a" / "b"), str(tmp_path))
