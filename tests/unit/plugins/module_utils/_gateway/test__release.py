# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._gateway import _release

FILES = {"haproxy.cfg": "description @RELEASE@\nlua-load @FOLDER@/hold.lua\n", "models/a.json": "{}"}


def test_keys_are_those_given_or_kept_or_new() -> None:
    given = {"ann": [], "bob": ["given-key-of-bob"], "new": []}
    keys = _release.user_keys(given, {"ann": ["kept"], "gone": ["x"]}, generate=lambda: "made")
    assert keys == {"ann": ["kept"], "bob": ["given-key-of-bob"], "new": ["made"]}


def test_a_rotation_keeps_the_replaced_key_once_and_leaves_given_keys_alone() -> None:
    given: dict[str, list[str]] = {"ann": [], "bob": ["given-key-of-bob"]}
    first = _release.user_keys(given, {"ann": ["one"]}, ["ann", "bob"], generate=lambda: "two")
    assert first == {"ann": ["two", "one"], "bob": ["given-key-of-bob"]}
    assert _release.user_keys(given, first, ["ann"], generate=lambda: "three")["ann"] == ["three", "two"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"ann": ["tiny-one"]}, "key 1 of ann in gateway_users is shorter than 12 characters"),
        ({"ann": ["a key with blanks"]}, "holds a blank inside"),
        ({"ann": [""]}, "is empty"),
        (
            {"ann": ["one-and-the-same"], "bob": ["one-and-the-same"]},
            "key 1 of bob in gateway_users is also a key of ann",
        ),
    ],
)
def test_a_key_that_cannot_be_one_is_told_without_quoting_it(given: dict[str, list[str]], said: str) -> None:
    (problem,) = _release.key_problems(given)
    assert said in problem
    assert not any(key in problem for keys in given.values() for key in keys if key)


def test_the_proxy_gets_sums_of_keys_and_an_unknown_key_of_a_server_is_the_one_before() -> None:
    files = _release.secret_files({"ann": ["k"]}, {"g:a": "new", "g:b": None, "g:c": None}, {"g:b": "old", "gone": "x"})
    assert files == {
        "users.map": f"{hashlib.sha256(b'k').hexdigest()} ann\n",
        "server_keys.map": "g:a new\ng:b old\n",
    }


@pytest.mark.parametrize(
    ("told", "problem"),
    [
        (
            "HAProxy version 2.4.22-f8e3218 2023/02/14 - https://haproxy.org/\nStatus: long-term",
            "HAProxy 2.4.22-f8e3218",
        ),
        ("HA-Proxy version 1.8.27-493ce0b 2020/11/06", "HAProxy 1.8.27-493ce0b"),
        ("HAProxy version 2.6.12-1+deb12u4 2026/01/01 - https://haproxy.org/", ""),
        ("HAProxy version 3.0.5-8e879a5 2024/09/19 - https://haproxy.org/", ""),
        ("", ""),
    ],
)
def test_a_proxy_that_is_too_old_is_named(told: str, problem: str) -> None:
    said = _release.age_problem(told)
    assert said.startswith(problem)
    assert bool(said) == bool(problem)


def test_files_are_put_in_use_in_one_step_and_read_back_as_they_were(tmp_path: Path) -> None:
    directory = str(tmp_path)
    for files in (FILES, {**FILES, "models/b.json": "[]"}):
        folder = _release.free_folder(directory, _release.release_name(files))
        _release.write_files(folder, _release.placed(files, folder))
        _release.use(directory, folder)
        assert _release.current(directory) == folder
        assert _release.unplaced(_release.read_files(folder), folder) == files
    assert sorted(os.listdir(directory)) == sorted([os.path.basename(folder), "current"])
    assert all(path.stat().st_mode & 0o077 == 0 for path in tmp_path.rglob("*") if not path.is_symlink())
    config = (tmp_path / "current" / "haproxy.cfg").read_text()
    assert f"lua-load {folder}/hold.lua" in config
    assert f"description {os.path.basename(folder)}\n" in config


def test_what_killed_runs_left_goes_and_what_is_in_use_stays(tmp_path: Path) -> None:
    directory = str(tmp_path)
    _release.write_files(f"{directory}/one", FILES)
    _release.use(directory, f"{directory}/one")
    _release.write_files(f"{directory}/half", FILES)
    (tmp_path / "current.new").symlink_to("half")
    _release.write_keys(directory, {"ann": ["k"]})
    _release.sweep(directory)
    assert sorted(os.listdir(directory)) == ["current", "keys", "one"]


def test_keys_of_users_who_are_gone_are_removed(tmp_path: Path) -> None:
    _release.write_keys(str(tmp_path), {"ann": ["a", "b"], "bob": ["c"]})
    assert _release.read_keys(str(tmp_path)) == {"ann": ["a", "b"], "bob": ["c"]}
    _release.write_keys(str(tmp_path), {"ann": ["a"]})
    assert _release.read_keys(str(tmp_path)) == {"ann": ["a"]}


OLD = """\
backend model:a
  http-request set-var(txn.hold) int(95)
  server g:a 192.0.2.1:1 maxconn 40 weight 3
  server g:b 192.0.2.1:2 maxconn 256  # not measured
backend model:b
  server g:a 192.0.2.1:1 maxconn 17
"""


def test_what_nobody_measured_now_is_as_it_was_before() -> None:
    new = """\
backend model:a
  http-request set-var(txn.hold) int(360)  # not measured
  server g:a 192.0.2.9:1 maxconn 256 weight 5  # not measured
  server g:b 192.0.2.1:2 maxconn 256  # not measured
  server g:new 192.0.2.1:3 maxconn 256  # not measured
backend model:b
  server g:a 192.0.2.1:1 maxconn 20
"""
    kept = """\
backend model:a
  http-request set-var(txn.hold) int(95)
  server g:a 192.0.2.9:1 maxconn 40 weight 5
  server g:b 192.0.2.1:2 maxconn 256  # not measured
  server g:new 192.0.2.1:3 maxconn 256  # not measured
backend model:b
  server g:a 192.0.2.1:1 maxconn 20
"""
    assert _release.measured(new, OLD) == kept
    assert _release.measured(new, kept) == kept
    assert _release.measured(new, "") == new
    assert _release.measured(OLD, new) == OLD


def test_a_link_that_leads_elsewhere_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to("/etc")
    assert _release.current(str(tmp_path)) == ""
