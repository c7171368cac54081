# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a user sees of the module who runs it by Ansible with all that it can tell."""

from __future__ import annotations

import base64
import os
import re
import subprocess
import sys
import threading
import time
import typing as t
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[4]
sys.path[:0] = [str(ROOT / "scripts" / "lab"), str(ROOT / "tests" / "support")]

TOKEN = "canary-of-the-hub"
PASSWORD = "canary-of-the-proxy"

PLAY = """
- hosts: localhost
  gather_facts: false
  vars_files: [secrets.yml]
  module_defaults:
    private_llm.fleet.model_snapshot: {{repo: acme/tiny, root: {root}}}
  tasks:
    - private_llm.fleet.model_snapshot: {{endpoint: "{url}", token: "{{{{ token }}}}", proxy: "{{{{ proxy }}}}"}}
      register: brought
    - private_llm.fleet.model_snapshot: {{endpoint: "{url}", token: "{{{{ token }}}}-old", proxy: "{{{{ proxy }}}}"}}
      ignore_errors: true
    - private_llm.fleet.model_snapshot:
        proxy: "{{{{ proxy }}}}"
        sources:
          - {{source: huggingface, endpoint: "{url}", token: "{{{{ token }}}}"}}
          - {{source: modelscope, endpoint: "{url}", token: "{{{{ token }}}}"}}
      register: again
    - ansible.builtin.assert:
        that: [brought.bytes_downloaded == 3000002, again is not changed]
"""


@pytest.fixture
def hub() -> t.Iterator[t.Any]:
    import hub as lab

    pytest.importorskip("modelscope_hub")
    with lab.Hub(token=TOKEN) as server:
        server.add_model("acme/tiny", private=True).commit({"config.json": b"{}", "w.bin": bytes(3_000_000)})
        yield server


def command_lines(until: threading.Event) -> set[bytes]:
    """Those of all processes that run meanwhile."""
    seen: set[bytes] = set()
    while not until.is_set():
        for process in Path("/proc").glob("[0-9]*"):
            try:
                seen.add((process / "cmdline").read_bytes())
            except OSError:  # it has ended
                continue
        time.sleep(0.02)
    return seen


def test_progress_is_told_and_secrets_are_not(hub: t.Any, tmp_path: Path) -> None:
    import forward_proxy
    import hub as lab

    lines: set[bytes] = set()
    ended = threading.Event()
    watch = threading.Thread(target=lambda: lines.update(command_lines(ended)))
    with forward_proxy.ForwardProxy("fleet", PASSWORD) as proxy:
        (tmp_path / "secrets.yml").write_text(f"token: {TOKEN}\nproxy: {proxy.url}\n")
        url = f"http://hub.invalid:{hub.port}"
        # Slow enough to be watched.
        hub.faults = [lab.Fault("lfs-data", "slow", rate=1_500_000, times=1)]
        (tmp_path / "play.yml").write_text(PLAY.format(root=tmp_path / "models", url=url))
        watch.start()
        done = subprocess.run(
            [
                *(Path(sys.executable).with_name("ansible-playbook"), "-vvv", "--diff", tmp_path / "play.yml"),
                *("-i", "localhost,", "-c", "local", "-e", f"ansible_python_interpreter={sys.executable}"),
            ],
            cwd=ROOT,
            env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_LOG_PATH": str(tmp_path / "log")},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        ended.set()
        watch.join()
        assert proxy.asked
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert re.search(r"^  localhost: downloading acme/tiny, \d+ %, .* of 3\.0 MB", said, re.MULTILINE)
    assert "check that the token may read it" in said
    encoded = base64.b64encode(f"fleet:{PASSWORD}".encode()).decode()
    left = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "secrets.yml"]
    assert (tmp_path / "log") in left
    assert any(b"async_wrapper" in line for line in lines)
    for secret in (TOKEN, PASSWORD, encoded):
        assert secret not in said
        assert not any(secret.encode() in line for line in lines)
        assert [path for path in left if secret.encode() in path.read_bytes()] == []
