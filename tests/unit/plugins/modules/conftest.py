# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import sys
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.private_llm.fleet.plugins.modules import model_snapshot

sys.path.insert(0, str(Path(__file__).resolve().parents[4] / "scripts" / "lab"))


class SnapshotRun(t.NamedTuple):
    """How the module model_snapshot ended."""

    failed: bool
    result: dict[str, t.Any]


@pytest.fixture
def snapshot(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> t.Iterator[t.Callable[..., SnapshotRun]]:
    """Run the module model_snapshot in this process."""
    environment = dict(os.environ)  # the module sets the SDK's settings in its own

    def call(check: bool = False, **options: t.Any) -> SnapshotRun:
        arguments = {
            "repo": "acme/tiny",
            "root": str(tmp_path / "models"),
            "_ansible_check_mode": check,
            "_ansible_remote_tmp": str(tmp_path / "tmp"),
            **options,
        }
        with patch_module_args(arguments), pytest.raises(SystemExit) as ended:
            model_snapshot.main()
        return SnapshotRun(bool(ended.value.code), json.loads(capsys.readouterr().out))

    yield call
    os.environ.clear()
    os.environ.update(environment)
