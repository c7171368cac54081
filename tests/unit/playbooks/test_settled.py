# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A role takes a plan's word in the same run that nothing is to be done, unless something has been done since."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

from ansible_collections.private_llm.fleet.tests.support import playbooks

SEEN: dict[str, t.Any] = {
    "vllm_server_instances": [{"name": "alpha", "model": "lab/a", "gpus": []}],
    "vllm_server_allow_unauthenticated": True,
    "vllm_server_image": "lab/vllm:1",
    "vllm_server_plan": {"problems": []},
    "__vllm_server_looked_at": "{{ __vllm_server_asked }}",
    "__vllm_server_host": {"images": {"lab/vllm:1": "sha256:1"}},
    "__vllm_server_results": {"servers": [{"name": "alpha", "settled": True}]},
    "__open_webui_passed": {"msg": "{{ __open_webui_asked }}"},
    "__open_webui_server": {"image": "sha256:2", "settled": True},
    "__open_webui_look": {"status": "ready", "signed_in": True},
}
# Variables that make a plan's result old or absent, each with the roles that then look for themselves.
CASES: list[tuple[dict[str, t.Any], set[str]]] = [
    ({}, set()),
    ({"docker_engine_worked": True}, {"vllm_server", "open_webui"}),
    ({"nvidia_toolkit_worked": True}, {"vllm_server"}),
    ({"model_download_worked": True}, {"vllm_server"}),
    ({"__vllm_server_looked_at": "something else"}, {"vllm_server"}),
    ({"vllm_server_plan": {"problems": ["one"]}}, {"vllm_server"}),
    ({"vllm_server_image_pull": "always"}, {"vllm_server"}),
    ({"__vllm_server_results": {"servers": [{"name": "alpha", "settled": False}]}}, {"vllm_server"}),
    ({"__vllm_server_results": {"servers": [{"name": "alpha"}]}}, {"vllm_server"}),
    ({"__open_webui_passed": {"msg": ""}}, {"open_webui"}),
    ({"__open_webui_server": {"image": "sha256:2", "settled": False}}, {"open_webui"}),
    ({"__open_webui_server": {"image": "", "settled": True}}, {"open_webui"}),
    ({"__open_webui_look": {"status": "starting", "signed_in": False}}, {"open_webui"}),
    ({"open_webui_image_pull": "always"}, {"open_webui"}),
]


def test_a_plan_is_believed_as_long_as_nothing_was_done_since(tmp_path: Path) -> None:
    roles = ("vllm_server", "open_webui", "docker_engine", "model_download")
    told = "{{ {'vllm_server': __vllm_server_settled, 'open_webui': __open_webui_settled} }}"
    files = [f"{playbooks.ROOT}/roles/{role}/{kind}/main.yml" for kind in ("defaults", "vars") for role in roles]
    play = {
        "hosts": "all",
        "gather_facts": False,
        "vars_files": files,
        "tasks": [{"ansible.builtin.debug": {"msg": told}, "vars": {**SEEN, **case}} for case, _looks in CASES],
    }
    (tmp_path / "play.yml").write_text(json.dumps([play]), encoding="utf-8")
    outcome = playbooks.run(str(tmp_path / "play.yml"), ["localhost,"], "--connection", "local")
    assert outcome.returncode == 0, outcome.text[-4000:]
    answers = [task["hosts"]["localhost"]["msg"] for play in outcome.plays for task in play["tasks"]]
    looks = [{role for role, settled in answer.items() if not settled} for answer in answers]
    assert looks == [expected for _case, expected in CASES]
