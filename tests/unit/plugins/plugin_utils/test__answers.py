# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import multiprocessing
import typing as t
from pathlib import Path

import pytest
from ansible import constants

from ansible_collections.private_llm.fleet.plugins.plugin_utils._answers import Answers, question_of, run_token

TOLD = {
    "source": "modelscope",
    "endpoint": "https://hub.example.com",
    "revision": "master",
    "commit": "c" * 40,
    "digest": "d" * 64,
    "files": [{"path": "w.bin", "size": 1, "sha256": "0" * 64}],
    "revision_checked": True,
    "config": {"model_type": "qwen3"},
    "changed": True,
}


@pytest.fixture(autouse=True)
def _run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "DEFAULT_LOCAL_TMP", str(tmp_path))


def test_all_processes_have_one_token_that_nobody_else_can_read(tmp_path: Path) -> None:
    with multiprocessing.get_context("fork").Pool(4) as pool:
        tokens = {result.get() for result in [pool.apply_async(run_token) for _number in range(20)]}
    assert tokens == {run_token()}
    assert len(run_token()) == 64
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


def test_the_same_question_has_one_name() -> None:
    one = {"repo": "acme/tiny", "source": "modelscope", "root": "/srv/models", "workers": 4}
    assert question_of(one) == question_of({**one, "root": "/data", "include": [], "peers": ["http://a:1"]})
    for name, value in (("revision", "v1"), ("endpoint", "https://x.example.com"), ("include", ["*"]), ("token", "t")):
        assert question_of(one) != question_of({**one, name: value})


@pytest.mark.parametrize(
    "arguments",
    [
        {"source": "archive", "archive": "/x.tar"},
        {"sources": [{"source": "modelscope"}, {"source": "archive", "archive": "/x.tar"}]},
        {"state": "absent"},
    ],
)
def test_what_each_host_has_to_ask_by_itself(arguments: dict[str, t.Any]) -> None:
    assert question_of({"repo": "acme/tiny", **arguments}) is None


def test_an_answer_is_read_by_the_others() -> None:
    assert Answers("q").read() is None
    Answers("q").keep(TOLD)
    known = Answers("q").read()
    assert known is not None
    assert known["listed"] == {
        name: TOLD[name] for name in ("source", "endpoint", "revision", "commit", "digest", "files")
    }
    assert known["config"] == TOLD["config"]


def test_after_two_that_were_told_nothing_each_asks_by_itself() -> None:
    Answers("q").keep({"failed": True, "msg": "no hub"})
    assert Answers("q").read() is None
    Answers("q").keep({**TOLD, "revision_checked": False})
    known = Answers("q").read()
    assert known is not None
    assert known["listed"] is None


def test_a_second_host_may_be_told_what_the_first_was_not() -> None:
    Answers("q").keep({"failed": True})
    Answers("q").keep(TOLD)
    known = Answers("q").read()
    assert known is not None
    assert known["listed"]["digest"] == TOLD["digest"]
