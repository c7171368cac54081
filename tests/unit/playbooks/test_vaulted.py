# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Secrets that ansible-vault encrypted, one by one (`!vault`), wherever an inventory may hold one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible.constants import DEFAULT_VAULT_ID_MATCH
from ansible.parsing.vault import VaultLib, VaultSecret

from ansible_collections.private_llm.fleet.plugins.plugin_utils._vaulted import LOCKED

ROOT = Path(__file__).resolve().parents[3]
PLAY = """
- hosts: host
  gather_facts: false
  tasks:
    - name: Have the plugins read all of them
      block:
        - ansible.builtin.copy:
            dest: "{{ told }}"
            mode: "0600"
            content: "{{ [
              ([] | private_llm.fleet.gateway_options(gateway_users, {'port': 8000})).user_keys,
              [] | private_llm.fleet.monitoring_files({'receivers': monitoring_receivers,
                'switch_url': monitoring_switch_url}),
              vllm_server_instances | private_llm.fleet.vllm_instances({}),
              vllm_server_instances | private_llm.fleet.instance_models] | to_json }}"
      rescue:
        - ansible.builtin.copy:
            dest: "{{ told }}"
            mode: "0600"
            content: "{{ ansible_failed_result | private_llm.fleet.failure_messages | to_json }}"
"""


class Locked(str):
    """A text of the inventory that is encrypted."""


yaml.SafeDumper.add_representer(Locked, lambda dump, text: dump.represent_scalar("!vault", str(text), style="|"))


def inventory(secret: t.Callable[[str], str]) -> dict[str, t.Any]:
    variables = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "gateway_users": [{"name": "ann", "models": ["*"], "keys": [secret("ann-key-1234567890")]}],
        "vllm_server_instances": [
            {
                "name": "one",
                "model": "acme/one",
                "port": 8001,
                "token": secret("hub-token"),
                "api_keys": [secret("server-key-1234567890")],
                "env": {"HTTPS_PROXY": secret("http://user:word@proxy.example.com")},
            }
        ],
        "monitoring_switch_url": secret("https://switch.example.com/hidden"),
        "monitoring_receivers": [
            {
                "name": "ops",
                "type": "mail",
                "to": "ops@example.com",
                "from": "fleet@example.com",
                "smarthost": "mail.example.com:587",
                "username": "fleet",
                "password": secret("mail-word"),
            },
            {
                "name": "chat",
                "type": "dingtalk",
                "url": secret("https://oapi.dingtalk.com/robot/send?access_token=abc"),
                "secret": secret("SECabc"),
            },
        ],
    }
    return {"all": {"hosts": {"host": variables}}}


def said(folder: Path, secret: t.Callable[[str], str], *options: str) -> t.Any:
    (folder / "inventory.yml").write_text(yaml.safe_dump(inventory(secret)))
    (folder / "play.yml").write_text(PLAY)
    command = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(folder / "inventory.yml"), *options]
    run = subprocess.run(
        [*command, "-e", f"told={folder}/told", str(folder / "play.yml")],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return json.loads((folder / "told").read_text())


@pytest.fixture(scope="module")
def encrypted() -> t.Callable[[str], str]:
    vault = VaultLib([(DEFAULT_VAULT_ID_MATCH, VaultSecret(b"word"))])
    return lambda text: Locked(vault.encrypt(text).decode())


def test_an_encrypted_secret_is_read_as_a_plain_one(tmp_path: Path, encrypted: t.Callable[[str], str]) -> None:
    (tmp_path / "word").write_text("word")
    plain = said(tmp_path, str)
    assert said(tmp_path, encrypted, "--vault-password-file", str(tmp_path / "word")) == plain
    assert "SECabc" in json.dumps(plain)


@pytest.mark.parametrize("word", ["", "another"])
def test_without_the_password_it_is_told_what_to_do(
    tmp_path: Path, encrypted: t.Callable[[str], str], word: str
) -> None:
    (tmp_path / "word").write_text(word)
    options = ["--vault-password-file", str(tmp_path / "word")] if word else []
    assert said(tmp_path, encrypted, *options) == [LOCKED]
