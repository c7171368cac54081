# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every kind of source is made from its options, and asked in its own way."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._hub import _transport
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._candidates import Candidate
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._files import HubError, Selection
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._kinds import KINDS
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._source import Resolution, Throttle
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._sources import MAKERS, Host, make_candidates
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._store import ModelStore
from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.declaration import _rows

from .conftest import COMMIT

OPTIONS: dict[str, t.Any] = {
    "repo": "acme/tiny",
    "revision": None,
    "endpoint": None,
    "token": None,
    "archive": None,
    "sources": [],
    "bandwidth": 0,
    "timeout": 10,
    "retries": 1,
    "workers": 1,
    "ca_path": None,
    "require_hub": False,
}


@pytest.fixture
def make(tmp_path: Path) -> t.Callable[..., tuple[list[Candidate], list[str]]]:
    def call(**options: t.Any) -> tuple[list[Candidate], list[str]]:
        host = Host(ModelStore(str(tmp_path), "acme/tiny"), str(tmp_path), True, lambda name: None, lambda name: None)
        hidden: list[str] = []
        return make_candidates({**OPTIONS, **options}, host, Selection(), Throttle(0), hidden.append), hidden

    return call


def test_a_kind_is_known_wherever_it_can_be_chosen() -> None:
    assert list(KINDS) == list(MAKERS) == list(_rows.SOURCES)


@pytest.mark.parametrize("name", list(KINDS))
def test_each_kind_is_made_and_has_the_name_that_it_is_chosen_by(name: str, make: t.Any) -> None:
    (candidate,), hidden = make(source=name, archive="/srv/release.tar", token=" T ")
    assert candidate.source.name == name
    assert candidate.endpoint == (KINDS[name].endpoint or "/srv/release.tar")
    # What is no hub is sent no token.
    assert hidden == (["T"] if KINDS[name].endpoint else [])
    assert candidate.source.verifies in (True, False)
    assert candidate.pin() is None


def test_several_sources_are_made_in_their_order(make: t.Any) -> None:
    rows = [
        {"source": "huggingface", "repo": None, "revision": None, "endpoint": "https://mirror.example.com/",
         "token": None, "archive": None},
        {"source": "modelscope", "repo": "Acme/Tiny", "revision": "v1", "endpoint": None, "token": None,
         "archive": None},
    ]  # fmt: skip
    candidates, _hidden = make(source="modelscope", sources=rows)
    assert [(one.source.name, one.endpoint, one.repo, one.revision) for one in candidates] == [
        ("huggingface", "https://mirror.example.com", "acme/tiny", None),
        ("modelscope", "https://modelscope.cn", "Acme/Tiny", "v1"),
    ]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"source": "archive"}, "source archive needs archive"),
        ({"source": "git_lfs", "bandwidth": 1}, "bandwidth cannot be limited with source git_lfs"),
        ({"source": "modelscope", "token": "a\nb"}, "token"),
        ({"source": "modelscope", "endpoint": "ftp://hub.example.com"}, "endpoint"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, t.Any], said: str, make: t.Any) -> None:
    with pytest.raises(HubError, match=said):
        make(**options)


@pytest.mark.parametrize(
    ("name", "url", "sent"),
    [
        (
            "huggingface",
            f"https://hub.example.com/acme/tiny/resolve/{COMMIT}/config.json",
            {"Authorization": "Bearer T"},
        ),
        (
            "modelscope",
            f"https://hub.example.com/api/v1/models/acme/tiny/repo?Revision={COMMIT}&FilePath=config.json",
            {"Authorization": "Bearer T", "Cookie": "m_session_id=T"},
        ),
    ],
)
def test_each_hub_is_asked_for_a_small_file_in_its_own_way(
    name: str, url: str, sent: dict[str, str], make: t.Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def get(url: str, headers: t.Mapping[str, str], *_rest: t.Any, **_options: t.Any) -> bytes:
        asked.append((url, {key: value for key, value in headers.items() if "T" in value}))
        return b"{}"

    monkeypatch.setattr(_transport, "get", get)
    (candidate,), _hidden = make(source=name, endpoint="https://hub.example.com", token="T")
    assert candidate.source.small_file(Resolution("main", COMMIT), "config.json") == b"{}"
    assert asked == [(url, sent)]


@pytest.mark.parametrize("name", ["huggingface", "modelscope"])
def test_a_hub_that_refuses_a_small_file_is_no_failure(name: str, make: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def get(*_arguments: t.Any, **_options: t.Any) -> bytes:
        raise _transport.TransportError("no", 403)

    monkeypatch.setattr(_transport, "get", get)
    (candidate,), _hidden = make(source=name)
    assert candidate.source.small_file(Resolution("main", COMMIT), "config.json") is None
