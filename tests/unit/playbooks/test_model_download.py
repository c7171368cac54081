# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role on this machine, where a small file system is at hand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "scripts" / "lab"))

PLAY = [{"hosts": "localhost", "gather_facts": False, "roles": ["private_llm.fleet.model_download"]}]


@pytest.fixture
def small_disk(tmp_path: Path) -> t.Iterator[Path]:
    """It has room for one of the models, and for what the role leaves free for others."""
    path = tmp_path / "small"
    path.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=63m", "tmpfs", str(path)], check=False).returncode:
        pytest.skip("may not mount a file system")
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)


@pytest.fixture
def hub() -> t.Iterator[t.Any]:
    import hub as lab

    pytest.importorskip("modelscope_hub")
    with lab.Hub() as server:
        for name in ("acme/one", "acme/two"):
            server.add_model(name).commit({"w.bin": bytes(1_500_000)})
        yield server


def test_models_that_fit_one_by_one_but_not_together(hub: t.Any, small_disk: Path, tmp_path: Path) -> None:
    def played(*models: str) -> subprocess.CompletedProcess[str]:
        given = {
            "ansible_python_interpreter": sys.executable,
            "model_download_root": str(small_disk),
            "model_download_endpoint": hub.url,
            # Those of this interpreter do.
            "model_download_sdk_packages": [],
            "model_download_models": [{"repo": repo} for repo in models],
        }
        (tmp_path / "play.yml").write_text(json.dumps(PLAY))
        (tmp_path / "given.json").write_text(json.dumps(given))
        return subprocess.run(
            [
                *(Path(sys.executable).with_name("ansible-playbook"), tmp_path / "play.yml"),
                *("-i", "localhost,", "-c", "local", "-e", f"@{tmp_path}/given.json"),
            ],
            cwd=ROOT,
            env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    both = played("acme/one", "acme/two")
    assert both.returncode == 2, both.stdout
    assert f"The models still need 2.86 MB on {small_disk}, which has" in both.stdout + both.stderr
    assert "acme/one 1.43 MB, acme/two 1.43 MB" in both.stdout + both.stderr
    assert {entry["path"].rpartition("/")[2] for entry in hub.log} == {"files"}
    assert list(small_disk.iterdir()) == []
    one = played("acme/one")
    assert one.returncode == 0, one.stdout
    assert (small_disk / "acme/one/current/w.bin").stat().st_size == 1_500_000
