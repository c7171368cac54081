# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An index of Python libraries that wants a password, which nobody but pip may see."""

from __future__ import annotations

import base64
import hashlib
import http.server
import io
import os
import subprocess
import sys
import threading
import time
import typing as t
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PASSWORD = "canary-of-the-index%20"
WHEEL = "fleet_canary-1.0-py3-none-any.whl"

PLAY = """
- hosts: localhost
  gather_facts: true
  vars_files: [secrets.yml]
  tasks:
    - ansible.builtin.include_role:
        name: private_llm.fleet.host_python
      vars:
        host_python_venv: {venv}
        host_python_packages: [fleet-canary==1.0]
        host_python_index_url: "{{{{ index }}}}"
"""


def wheel() -> bytes:
    """A library that does nothing."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("fleet_canary.py", "")
        info = "fleet_canary-1.0.dist-info"
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: fleet-canary\nVersion: 1.0\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        names = ("fleet_canary.py", f"{info}/METADATA", f"{info}/WHEEL")
        archive.writestr(f"{info}/RECORD", "".join(f"{name},,\n" for name in (*names, f"{info}/RECORD")))
    return stream.getvalue()


class Index(http.server.BaseHTTPRequestHandler):
    """An index with one library, for those who know the password."""

    known = 0
    expected = "Basic " + base64.b64encode(b"fleet:canary-of-the-index ").decode()

    def log_message(self, *unused: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Answer with the list of files, or with the file."""
        if self.headers.get("Authorization") != self.expected:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="index"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        type(self).known += 1
        content, kind = wheel(), "application/octet-stream"
        if not self.path.endswith(".whl"):
            sum_ = hashlib.sha256(content).hexdigest()
            content, kind = f'<a href="/files/{WHEEL}#sha256={sum_}">{WHEEL}</a>'.encode(), "text/html"
        time.sleep(0.2)  # slow enough to be watched
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def processes(until: threading.Event) -> t.Iterator[bytes]:
    """The command lines of all processes that run meanwhile."""
    while not until.is_set():
        for process in Path("/proc").glob("[0-9]*"):
            try:
                yield (process / "cmdline").read_bytes()
            except OSError:  # it has ended
                continue
        time.sleep(0.02)


def run(tmp_path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
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


@pytest.mark.skipif(os.geteuid() != 0, reason="the role gives its files to root")
def test_password_of_the_index_is_nowhere(tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", venv], check=True, capture_output=True)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Index)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://fleet:{PASSWORD}@127.0.0.1:{server.server_address[1]}/simple"
    (tmp_path / "secrets.yml").write_text(f"index: {url}\n")
    (tmp_path / "play.yml").write_text(PLAY.format(venv=venv))
    ended, lines = threading.Event(), set[bytes]()
    watch = threading.Thread(target=lambda: lines.update(processes(ended)))
    watch.start()
    first, second = run(tmp_path), run(tmp_path)
    ended.set()
    watch.join()
    server.shutdown()
    server.server_close()
    said = first.stdout + first.stderr + second.stdout + second.stderr
    assert (first.returncode, second.returncode) == (0, 0), said
    assert list(venv.glob("lib/python3*/site-packages/fleet_canary.py"))
    assert Index.known >= 2
    # What is there needs no index.
    assert "changed=0" in second.stdout
    assert any(b"fleet-canary==1.0" in line for line in lines)
    left = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "secrets.yml"]
    assert list(Path("/tmp").glob("*private_llm_pip_*")) == []
    for secret in (PASSWORD, "canary-of-the-index", Index.expected.split()[1]):
        assert secret not in said
        assert not any(secret.encode() in line for line in lines)
        assert [path for path in left if secret.encode() in path.read_bytes()] == []


@pytest.mark.parametrize("index", ["mirror.example.com", "https://u:canary x@m", "https://u:canary@m/\\nextra = 1"])
def test_url_that_is_none_is_refused_unquoted(tmp_path: Path, index: str) -> None:
    (tmp_path / "secrets.yml").write_text(f'index: "{index}"\n')
    (tmp_path / "play.yml").write_text(PLAY.format(venv=tmp_path / "venv").replace("gather_facts: true", ""))
    ended = run(tmp_path)
    assert ended.returncode
    assert "host_python_index_url is not a URL such as" in ended.stdout
    assert "canary" not in (ended.stdout + ended.stderr).replace("fleet-canary", "")
    assert not (tmp_path / "venv").exists()
