# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.declaration import _instances, _rows

BY_NAME = {row.name: row for row in _rows.ROWS}


def test_a_row_stands_once_and_somewhere() -> None:
    assert len(BY_NAME) == len(_rows.ROWS)
    assert [row.name for row in _rows.ROWS if not (row.instance or row.variable or row.module)] == []


@pytest.mark.parametrize("row", [row for row in _rows.ROWS if row.instance or row.variable], ids=lambda row: row.name)
def test_what_can_be_declared_is_checked_and_its_default_passes(row: _rows.Row) -> None:
    assert row.check is not None
    assert row.check(object()) != []
    if row.default not in {None, ""} if isinstance(row.default, str) else row.default is not None:
        assert row.check(row.default) == []


@pytest.mark.parametrize("row", [row for row in _rows.ROWS if row.choices], ids=lambda row: row.name)
def test_each_choice_passes_and_nothing_else(row: _rows.Row) -> None:
    assert row.check is not None
    assert [choice for choice in row.choices if row.check(choice)] == []
    assert "is none of" in row.check("sometimes")[0]
    assert row.default in {None, "", *row.choices}


def test_a_module_s_arguments_and_their_documentation_agree() -> None:
    arguments, documented = _rows.module_arguments(), _rows.module_documentation()
    assert list(arguments) == list(documented)
    for name, argument in arguments.items():
        said: dict[str, t.Any] = {key: value for key, value in documented[name].items() if key != "description"}
        assert argument.get("no_log", False) is BY_NAME[name].secret
        assert "no_log" not in said
        assert {key: argument.get(key) for key in ("type", "default", "choices", "required")} == {
            key: said.get(key) for key in ("type", "default", "choices", "required")
        }
    assert set(arguments["member"]["options"]) == set(documented["member"]["suboptions"])


def test_a_module_takes_what_an_instance_says_of_the_container_and_nothing_of_where_its_model_comes_from() -> None:
    (normal,) = _instances.normal_instances([{"name": "a", "model": "a/b", "port": 1, "token": "hf_canary"}])
    (options,) = _instances.server_options([normal])
    assert set(options) <= set(_rows.module_arguments())
    assert not set(options) & set(_rows.DOWNLOAD_KEYS)


def test_a_key_with_a_variable_has_its_default_there() -> None:
    keys, variables = _rows.instance_options(), _rows.role_options()
    assert variables["vllm_server_bind"]["default"] == "0.0.0.0"
    assert "default" not in keys["bind"]
    assert keys["state"]["default"] == "started"
    assert "default" not in keys["endpoint"], "left out, the role model_download says it"
    assert keys["token"]["no_log"] is True


def test_a_module_has_to_be_told_the_image_the_model_and_the_port_of_a_server_that_is_to_be_there() -> None:
    arguments = _rows.module_arguments()
    for _option, state, needed in _rows.required_if():
        assert state in {"started", "stopped"}
        assert needed == ("model", "image", "port")
        assert [name for name in needed if "default" in arguments[name]] == []
    defaults = {name: argument["default"] for name, argument in arguments.items() if "default" in argument}
    assert defaults == {
        "state": "started",
        "gpus": [],
        "bind": "0.0.0.0",
        "engine": {},
        "allow_unauthenticated": False,
        "env": {},
        "volumes": [],
        "shm_size": "",
        "ipc": "private",
        "restart_policy": "unless-stopped",
        "wait": True,
        "drain_timeout": 60,
        "rollback": True,
    }
