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
    assert f"The models still need 3.0 MB on {small_disk}, which has" in both.stdout + both.stderr
    assert "acme/one 1.5 MB, acme/two 1.5 MB" in both.stdout + both.stderr
    assert {entry["path"].rpartition("/")[2] for entry in hub.log} == {"files"}
    assert list(small_disk.iterdir()) == []
    one = played("acme/one")
    assert one.returncode == 0, one.stdout
    assert (small_disk / "acme/one/current/w.bin").stat().st_size == 1_500_000


@pytest.mark.parametrize("part", ["main", "plan"])
def test_models_on_the_host_need_no_hub_that_answers(hub: t.Any, tmp_path: Path, part: str) -> None:
    """The run and the plan go on with what is there, and say so where they hide what the module says."""

    def played(*options: str, part: str = part, **given: t.Any) -> subprocess.CompletedProcess[str]:
        role = {"name": "private_llm.fleet.model_download", "tasks_from": part}
        tasks = [{"name": "Have the models", "ansible.builtin.include_role": role}]
        (tmp_path / "play.yml").write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
        given = {
            "ansible_python_interpreter": sys.executable,
            "model_download_root": str(tmp_path / "models"),
            "model_download_endpoint": hub.url,
            "model_download_token": "canary-of-the-hub\n",
            "model_download_sdk_packages": [],
            "model_download_models": [{"repo": "acme/one"}],
            **given,
        }
        (tmp_path / "given.json").write_text(json.dumps(given))
        return subprocess.run(
            [
                *(Path(sys.executable).with_name("ansible-playbook"), tmp_path / "play.yml", *options),
                *("-i", "localhost,", "-c", "local", "-e", f"@{tmp_path}/given.json"),
            ],
            cwd=ROOT,
            env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    first = played(part="main")
    assert first.returncode == 0, first.stdout
    assert "its hub could not be asked" not in first.stdout
    hub.stop()
    for options in ((), ("--check",)):
        ended = played(*options)
        assert ended.returncode == 0, ended.stdout
        assert "acme/one: its hub could not be asked whether master has moved; the verified release" in ended.stdout
        assert "changed=0" in ended.stdout
        assert "canary-of-the-hub" not in ended.stdout + ended.stderr
    needed = played(model_download_require_hub=True)
    assert needed.returncode == 2
    assert "could not be reached" in needed.stdout + needed.stderr
    missing = played(model_download_models=[{"repo": "acme/one"}, {"repo": "acme/two"}])
    assert missing.returncode == 2
    assert "acme/two at http://127.0.0.1:" in missing.stdout + missing.stderr


def test_hosts_in_turns_wait_for_nobody_of_another_turn(hub: t.Any, tmp_path: Path) -> None:
    """In a play with serial, hosts of earlier turns serve no more, and those of later turns are not known yet."""
    play = {"hosts": "all", "serial": 1, "gather_facts": False, "roles": ["private_llm.fleet.model_download"]}
    given = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "ansible_host": "127.0.0.1",
        "model_download_endpoint": hub.url,
        "model_download_sdk_packages": [],
        "model_download_models": [{"repo": "acme/one"}],
    }
    hosts = {name: {"model_download_root": str(tmp_path / name)} for name in ("one", "two")}
    (tmp_path / "play.yml").write_text(json.dumps([play]))
    (tmp_path / "hosts.json").write_text(json.dumps({"all": {"hosts": hosts, "vars": given}}))
    ended = subprocess.run(
        [
            Path(sys.executable).with_name("ansible-playbook"),
            tmp_path / "play.yml",
            "-v",
            "-i",
            tmp_path / "hosts.json",
        ],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_STDOUT_CALLBACK": "default"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout
    assert "serve.yml" not in ended.stdout
    assert len([one for one in hub.log if one["path"].startswith("/lfs-data/")]) == 2
    assert all((tmp_path / name / "acme/one/current/w.bin").stat().st_size == 1_500_000 for name in hosts)
