# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the scenarios with an Open WebUI have in common: how to ask it, and how to run the role or a playbook."""

from __future__ import annotations

import json
import os
import subprocess
import typing as t
from pathlib import Path

from tests.support import playbooks

CONVERGE = str(Path(os.environ["MOLECULE_SCENARIO_DIRECTORY"]) / "converge.yml")
INVENTORY = str(Path(os.environ["MOLECULE_INVENTORY_FILE"]).parent)
CONFIG = "/etc/private_llm/open_webui"
URL = "http://127.0.0.1:3000"


def identity(host: t.Any) -> tuple[str, str]:
    """Return which container runs, and since when."""
    shown = host.check_output("docker inspect --format '{{.Id}} {{.State.StartedAt}}' open-webui").split()
    return shown[0], shown[1]


def call(host: t.Any, path: str, token: str = "", body: t.Any = None, url: str = URL) -> tuple[int, t.Any]:
    """Return status and answer of one call to Open WebUI's API, made on the host."""
    program = (
        "import json, sys, urllib.error, urllib.request as u\n"
        "url, token, body = json.load(sys.stdin)\n"
        "headers = {'Content-Type': 'application/json', 'Authorization': 'Bearer ' + token}\n"
        "data = None if body is None else json.dumps(body).encode()\n"
        "try:\n"
        "    with u.urlopen(u.Request(url, data, headers), timeout=30) as answer:\n"
        "        print(json.dumps([answer.status, json.load(answer)]))\n"
        "except u.HTTPError as error:\n"
        "    print(json.dumps([error.code, error.read().decode()]))\n"
    )
    container = host.ansible.get_variables()["lab_container"]
    done = subprocess.run(
        ["docker", "exec", "-i", container, "python3", "-c", program],
        input=json.dumps([url + path, token, body]),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    status, answer = json.loads(done.stdout)
    return status, answer


def password(host: t.Any) -> str:
    return host.file(f"{CONFIG}/admin_password").content_string.strip()


def sign_ins(host: t.Any) -> int:
    """Return how often somebody tried to sign in since the container was made."""
    return host.check_output("docker logs open-webui 2>&1").count("POST /api/v1/auths/signin")


def run(*arguments: str, playbook: str = CONVERGE, **variables: t.Any) -> playbooks.Outcome:
    """Run the role, or a playbook of the collection."""
    return playbooks.run(
        playbook, [INVENTORY], *arguments, "--extra-vars", json.dumps(variables), ANSIBLE_PIPELINING="true"
    )


def run_on(host: str, *arguments: str, **variables: t.Any) -> playbooks.Outcome:
    """Run the play on one host."""
    return run("--limit", host, *arguments, **variables)


def changed(outcome: playbooks.Outcome) -> set[str]:
    """Return the names of the tasks that changed something."""
    return {name.split(" : ")[-1] for _host, name in outcome.changed()}
