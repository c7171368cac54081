# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._bundle._index import BundleError
from ansible_collections.private_llm.fleet.plugins.plugin_utils._collections import closure, described, folder_of


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """Write a checkout that needs an installed collection, which needs another one."""
    (tmp_path / "acme.one").mkdir()
    (tmp_path / "acme.one" / "galaxy.yml").write_text(
        "namespace: acme\nname: one\nversion: 1.0.0\ndependencies: {acme.two: '*'}\nbuild_ignore: [tests]\n"
    )
    for name, needs in (("two", {"acme.three": ">=1.0.0"}), ("three", {})):
        (tmp_path / f"acme.{name}").mkdir()
        info = {"namespace": "acme", "name": name, "version": "2.0.0", "dependencies": needs}
        (tmp_path / f"acme.{name}" / "MANIFEST.json").write_text(json.dumps({"collection_info": info}))
    return tmp_path


def test_a_collection_comes_with_all_that_it_needs(shelf: Path) -> None:
    found = closure(["acme.one"], lambda name: str(shelf / name))
    assert [one["info"]["name"] for one in found] == ["one", "three", "two"]
    assert found[0]["ignore"] == ["tests"]
    assert found[1]["ignore"] == []


def test_what_is_no_collection_is_told(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"is not a collection with MANIFEST\.json or galaxy\.yml"):
        described(str(tmp_path))
    (tmp_path / "galaxy.yml").write_text("a: [")
    with pytest.raises(BundleError, match=r"is not a collection with MANIFEST\.json or galaxy\.yml"):
        described(str(tmp_path))


def test_a_collection_that_is_not_here_is_told() -> None:
    with pytest.raises(BundleError, match="install it with ansible-galaxy"):
        folder_of("acme.nowhere")
