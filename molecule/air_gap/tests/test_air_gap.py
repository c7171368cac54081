# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A bare host that reached nothing answers, and a bundle that cannot be used is refused before anything is changed.

That both servers answer is what the converge step proves at its end: it chats through Open WebUI.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.support import playbooks

FOLDER = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"])
BUNDLE = FOLDER / "bundle"


@pytest.fixture
def index() -> Any:
    return json.loads((BUNDLE / "index.json").read_text(encoding="utf-8"))


def test_the_host_reaches_nothing(host: Any) -> None:
    known = host.ansible.get_variables()
    for address in (
        known["lab_registry"],
        *(urlsplit(known[name]).netloc for name in ("lab_index_url", "lab_hub_url")),
    ):
        name, _colon, port = address.partition(":")
        tried = host.run(f"python3 -c 'import socket; socket.create_connection((\"{name}\", {port}), 5)'")
        assert "unreachable" in tried.stderr or "No route to host" in tried.stderr, tried
    assert "unreachable default" in host.check_output("ip route")


def test_the_servers_run_from_images_of_the_bundle(host: Any, index: Any) -> None:
    for item in (one for one in index["items"] if one["kind"] == "image"):
        found = json.loads(host.check_output("docker image inspect %s", item["name"]))[0]
        assert found["Id"] == f"sha256:{item['about']['config']}"
    assert set(host.check_output("docker ps --format '{{.Names}}'").split()) == {"alpha", "open-webui"}
    # The archives by which the images came are gone.
    assert host.file("/var/cache/private_llm/bundle/images").listdir() == []


def test_the_host_keeps_its_own_settings(host: Any) -> None:
    assert "private_llm" not in host.check_output("apt-config dump")
    assert host.package("docker.io").is_installed


def test_a_bundle_that_cannot_be_used_is_refused_at_once(tmp_path: Path, index: Any) -> None:
    broken = tmp_path / "bundle"
    subprocess.run(["cp", "--archive", "--link", BUNDLE, broken], check=True)
    packages = next(one for one in index["items"] if one["kind"] == "packages")
    missing, wrong = (broken / "blobs" / "sha256" / file["sha256"] for file in packages["files"][:2])
    missing.unlink()
    content = wrong.read_bytes()
    wrong.unlink()
    wrong.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    strangers = tmp_path / "signers"
    strangers.write_text("nobody ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n")
    done = playbooks.run(
        "playbooks/plan.yml",
        [str(Path(os.environ["MOLECULE_INVENTORY_FILE"]).parent)],
        f"-efleet_bundle={broken}",
        f"-efleet_bundle_signers={strangers}",
        "-eopen_webui_image=ghcr.io/open-webui/open-webui:v9.9.9",
    )
    said = done.failures()["localhost", "Stop on the problems of the fleet"]
    for problem in (
        "nobody in",
        "lacks 1 blobs",
        "holds 1 damaged blobs",
        "lacks image ghcr.io/open-webui/open-webui:v9.9.9",
    ):
        assert problem in said
    assert done.changes() == 0
