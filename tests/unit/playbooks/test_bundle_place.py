# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A place where no bundle can be made is refused by the playbook before it starts anything."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ansible_collections.private_llm.fleet.tests.support import playbooks


@pytest.mark.parametrize("given", ["{home}/file", "~/file", "{relative}/file", "~/with blanks/../file"])
def test_a_file_in_the_place_of_the_folder_is_told_at_once(tmp_path: Path, given: str) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "with blanks").mkdir()
    inventory = tmp_path / "hosts.ini"
    inventory.write_text("[gpu_hosts]\nalone fleet_bundle_platform=debian:13\n")
    place = given.format(home=tmp_path, relative=os.path.relpath(tmp_path, playbooks.ROOT))
    (tmp_path / "vars.json").write_text(json.dumps({"fleet_bundle": place}))
    outcome = playbooks.run(
        "playbooks/bundle.yml", [str(inventory)], "-e", f"@{tmp_path}/vars.json", HOME=str(tmp_path)
    )
    said = outcome.failures()["localhost", "Look whether a bundle can be made there"]
    assert f"no bundle can be made at {tmp_path}/file: {tmp_path}/file is not a folder" in said
    assert outcome.changes() == 0
    assert os.listdir(tmp_path / "with blanks") == []
