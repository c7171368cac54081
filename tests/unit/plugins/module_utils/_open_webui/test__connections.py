# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._open_webui import _connections as c
from ansible_collections.private_llm.fleet.plugins.module_utils._open_webui import _shape

A = "http://gpu-01:18005/v1"
B = "http://gpu-02:18005/v1"
OPENAI = "https://api.openai.com/v1"

# What Open WebUI 0.12.4 itself answers to GET /openai/config on a fresh data folder.
FRESH = {
    "ENABLE_OPENAI_API": True,
    "OPENAI_API_BASE_URLS": [OPENAI],
    "OPENAI_API_KEYS": [""],
    "OPENAI_API_CONFIGS": {},
}
# The same after its own dialog added a connection.
FROM_DIALOG = {
    "enable": True,
    "tags": [],
    "prefix_id": "",
    "model_ids": [],
    "connection_type": "external",
    "auth_type": "bearer",
}


def settings(*connections: tuple, enable: bool | None = True) -> c.Settings:
    return c.Settings(enable, tuple(c.Connection(url, key, config) for url, key, config in connections))


def rows(result: c.Settings) -> list[tuple]:
    return [(one.url, one.key, dict(one.settings)) for one in result.connections]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("http://gpu-01:18005/v1", A),
        ("http://gpu-01:18005/v1/", A),
        ("http://gpu-01:18005/v1//", A),
        ("http://gpu-01:18005//v1", A),
        ("http://gpu-01:18005", A),
        ("http://gpu-01:18005/", A),
        (" HTTP://GPU-01:18005/v1 ", A),
        ("http://gpu-01:80/v1", "http://gpu-01/v1"),
        ("https://gpu-01:443", "https://gpu-01/v1"),
        ("https://gpu-01:80", "https://gpu-01:80/v1"),
        ("http://[fd00::1]:8000", "http://[fd00::1]:8000/v1"),
        ("https://proxy.example.com/team/openai/", "https://proxy.example.com/team/openai"),
        ("https://proxy.example.com/Team/V1", "https://proxy.example.com/Team/V1"),
    ],
)
def test_normalize_url(given: str, expected: str) -> None:
    assert c.normalize_url(given) == expected
    assert c.normalize_url(expected) == expected


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("gpu-01:18005", "write http://host:port/v1"),
        ("", "write http://host:port/v1"),
        ("ftp://gpu-01/v1", "write http://host:port/v1"),
        ("http://gpu-01:eighty/v1", "is not an address"),
        ("http://me:secret@gpu-01/v1", "carries credentials"),
        ("http://gpu-01/v1?key=1", "without '?' or '#'"),
        ("http://gpu-01/v1/chat/completions", "give its base: 'http://gpu-01/v1'"),
        ("http://gpu-01/v1/models", "give its base: 'http://gpu-01/v1'"),
    ],
)
def test_normalize_url_refuses(given: str, words: str) -> None:
    with pytest.raises(c.ConnectionPlanError, match=re.escape(words)) as caught:
        c.normalize_url(given)
    assert "secret" not in str(caught.value)


def test_loose_url_takes_anything() -> None:
    assert c.loose_url(" nonsense/ ") == "nonsense"


def test_from_api_pads_keys_and_reads_settings_under_an_address() -> None:
    read = c.from_api(
        {
            "ENABLE_OPENAI_API": None,
            "OPENAI_API_BASE_URLS": [A, B],
            "OPENAI_API_KEYS": ["one"],
            "OPENAI_API_CONFIGS": {B: {"enable": False}, "0": {"prefix_id": "a"}, "7": {"prefix_id": "lost"}},
        }
    )
    assert read.enable is None
    assert rows(read) == [(A, "one", {"prefix_id": "a"}), (B, "", {"enable": False})]


@pytest.mark.parametrize(
    "answer",
    [
        {"ENABLE_OPENAI_API": True, "connections": [{"url": A, "key": "k"}]},
        {**FRESH, "OPENAI_API_BASE_URLS": f"{A};{B}"},
        {**FRESH, "OPENAI_API_BASE_URLS": {"0": A}},
        {**FRESH, "OPENAI_API_BASE_URLS": [{"url": A}]},
        {**FRESH, "OPENAI_API_KEYS": "one;two"},
        {**FRESH, "OPENAI_API_KEYS": [{"key": "k"}]},
        {**FRESH, "OPENAI_API_CONFIGS": []},
        {**FRESH, "OPENAI_API_CONFIGS": {"0": "on"}},
        {**FRESH, "OPENAI_API_CONFIGS": {"0": {"model_ids": "a;b"}}},
        {**FRESH, "OPENAI_API_CONFIGS": {"0": {"tags": [1]}}},
        {**FRESH, "ENABLE_OPENAI_API": "false"},
        *({name: value for name, value in FRESH.items() if name != left_out} for left_out in FRESH),
        [],
        None,
        "text",
    ],
)
def test_connections_of_an_unknown_shape_are_not_taken_for_none(answer: object) -> None:
    with pytest.raises(_shape.ShapeError):
        c.from_api(answer)


@pytest.mark.parametrize("key", ["sk-x\n", " sk-x", "sk-x\r\n"])
def test_a_key_with_a_newline_is_the_key_without(key: str) -> None:
    before = settings((A, "sk-x", {}))
    assert not c.make_plan(before, [c.Wanted(A, key=c.checked_key(key, "the connection"))]).changed


@pytest.mark.parametrize("key", ["sk-S3cret\nb", "sk-S3 cret", "\u201csk-S3cret\u201d", "sk-S3cret\x00", "\n"])
def test_a_key_that_no_header_can_carry_is_refused_and_not_quoted(key: str) -> None:
    with pytest.raises(ValueError, match="the key of connections\\[1\\]") as caught:
        c.checked_key(key, "connections[1]")
    assert "S3" not in str(caught.value)


def test_no_key_stays_no_key() -> None:
    assert (c.checked_key(None, "x"), c.checked_key("", "x")) == (None, "")


def test_to_api_always_says_whether_the_api_is_on() -> None:
    assert c.to_api(settings(enable=None))["ENABLE_OPENAI_API"] is False
    assert c.to_api(c.from_api(FRESH)) == {**FRESH, "OPENAI_API_CONFIGS": {"0": {}}}


def test_a_new_connection_goes_to_the_end() -> None:
    plan = c.make_plan(c.from_api(FRESH), [c.Wanted(A, key="k", prefix_id="a", tags=("x",), model_ids=("m",))])
    assert plan.changed
    assert [(one.index, one.action) for one in plan.planned] == [(1, "created")]
    assert rows(plan.after) == [
        (OPENAI, "", {}),
        (A, "k", {"prefix_id": "a", "model_ids": ["m"], "tags": [{"name": "x"}]}),
    ]


@pytest.mark.parametrize(
    "wanted",
    [
        c.Wanted(A),
        c.Wanted(A, key="k"),
        c.Wanted(A, enabled=True, prefix_id="", model_ids=(), tags=()),
    ],
    ids=["address only", "with the key", "all defaults spelled out"],
)
@pytest.mark.parametrize("stored", [{}, FROM_DIALOG, {"tags": None}], ids=["bare", "dialog", "null"])
def test_missing_means_default(wanted: c.Wanted, stored: dict) -> None:
    plan = c.make_plan(settings((A, "k", stored)), [wanted])
    assert not plan.changed
    assert plan.planned[0].action == "unchanged"


@pytest.mark.parametrize("stored", ["http://gpu-01:18005/v1/", "http://gpu-01:18005", "HTTP://gpu-01:18005/v1"])
def test_a_connection_in_a_form_that_does_not_work_is_put_right(stored: str) -> None:
    plan = c.make_plan(settings((stored, "k", {})), [c.Wanted(A)])
    assert plan.changed
    assert rows(plan.after) == [(A, "k", {})]
    assert plan.planned[0].action == "updated"


def test_settings_without_an_option_survive() -> None:
    stored = {"headers": {"X-Team": "a"}, "prefix_id": "a", "something_new": 1}
    plan = c.make_plan(settings((A, "k", stored)), [c.Wanted(A, prefix_id="a", enabled=False)])
    assert rows(plan.after) == [(A, "k", {**stored, "enable": False})]


def test_an_empty_key_removes_the_key_and_none_keeps_it() -> None:
    before = settings((A, "k", {}))
    assert rows(c.make_plan(before, [c.Wanted(A, key="")]).after) == [(A, "", {})]
    assert rows(c.make_plan(before, [c.Wanted(A)]).after) == [(A, "k", {})]


def test_removing_one_moves_the_settings_of_the_others_along() -> None:
    before = settings((OPENAI, "", {}), (A, "ka", {"prefix_id": "a"}), (B, "kb", {"prefix_id": "b"}))
    plan = c.make_plan(before, [c.Wanted(OPENAI, state="absent")])
    assert c.to_api(plan.after) == {
        "ENABLE_OPENAI_API": True,
        "OPENAI_API_BASE_URLS": [A, B],
        "OPENAI_API_KEYS": ["ka", "kb"],
        "OPENAI_API_CONFIGS": {"0": {"prefix_id": "a"}, "1": {"prefix_id": "b"}},
    }
    assert [(one.index, one.action) for one in plan.planned] == [(None, "removed")]


def test_indices_count_in_the_list_afterwards() -> None:
    before = settings((OPENAI, "", {}), (A, "", {}))
    plan = c.make_plan(before, [c.Wanted(B), c.Wanted(A), c.Wanted(OPENAI, state="absent")])
    assert [(one.origin, one.index, one.action) for one in plan.planned] == [
        (None, 1, "created"),
        (1, 0, "unchanged"),
        (0, None, "removed"),
    ]
    assert [one.url for one in plan.after.connections] == [A, B]


def test_absent_twice_is_unchanged() -> None:
    plan = c.make_plan(settings((B, "", {})), [c.Wanted(A, state="absent")])
    assert not plan.changed
    assert plan.planned[0].action == "unchanged"


def test_purge_removes_what_is_not_declared_and_keeps_the_order() -> None:
    before = settings((OPENAI, "", {}), (B, "", {}), ("http://old/v1", "", {}), (A, "", {}))
    plan = c.make_plan(before, [c.Wanted(A), c.Wanted(B), c.Wanted("http://old/v1", state="absent")], purge=True)
    assert [one.url for one in plan.after.connections] == [B, A]
    assert plan.purged == (OPENAI,)


def test_purge_with_nothing_declared_empties_the_list() -> None:
    plan = c.make_plan(c.from_api(FRESH), [], purge=True)
    assert plan.after.connections == ()
    assert plan.after.enable is True


def test_purge_leaves_one_of_several_that_a_declaration_could_mean() -> None:
    before = settings((A, "first", {}), (A + "/", "second", {}), (A, "third", {"prefix_id": "x"}))
    plan = c.make_plan(before, [c.Wanted(A, key="k")], purge=True)
    assert rows(plan.after) == [(A, "k", {})]
    assert plan.purged == (A + "/", A)


def test_an_owner_purges_only_what_is_its_own() -> None:
    mine = {"managed_by": "me"}
    before = settings((OPENAI, "", {}), (A, "k", mine), (B, "", {"managed_by": "you"}))
    plan = c.make_plan(before, [c.Wanted(A, prefix_id="x", key="k")], purge=True, owner="me")
    assert rows(plan.after) == [
        (OPENAI, "", {}),
        (B, "", {"managed_by": "you"}),
        (A, "k", {"prefix_id": "x", **mine}),
    ]
    assert plan.purged == (A,)
    assert not c.make_plan(plan.after, [c.Wanted(A, prefix_id="x")], purge=True, owner="me").changed


def test_an_owner_takes_over_what_it_declares() -> None:
    plan = c.make_plan(settings((A, "k", {})), [c.Wanted(A)], owner="me")
    assert rows(plan.after) == [(A, "k", {"managed_by": "me"})]
    assert not c.make_plan(plan.after, [c.Wanted(A)]).changed


def test_an_owner_does_not_purge_the_twins_of_others() -> None:
    before = settings((A, "1", {"managed_by": "me"}), (A, "2", {"prefix_id": "x"}))
    with pytest.raises(c.ConnectionPlanError, match="say with prefix_id"):
        c.make_plan(before, [c.Wanted(A)], purge=True, owner="me")
    plan = c.make_plan(before, [c.Wanted(A, prefix_id="x")], purge=True, owner="me")
    assert rows(plan.after) == [(A, "2", {"prefix_id": "x", "managed_by": "me"})]


def test_the_prefix_is_part_of_who_is_meant() -> None:
    before = settings((A, "1", {}), (A, "2", {"prefix_id": "x"}))
    plan = c.make_plan(before, [c.Wanted(A, prefix_id="x", key="new")])
    assert rows(plan.after) == [(A, "1", {}), (A, "new", {"prefix_id": "x"})]
    plan = c.make_plan(before, [c.Wanted(A, prefix_id="", key="new")])
    assert rows(plan.after) == [(A, "new", {}), (A, "2", {"prefix_id": "x"})]


def test_another_prefix_is_another_connection() -> None:
    plan = c.make_plan(settings((A, "1", {"prefix_id": "x"})), [c.Wanted(A, prefix_id="y", key="2")])
    assert rows(plan.after) == [(A, "1", {"prefix_id": "x"}), (A, "2", {"prefix_id": "y"})]


def test_an_address_alone_must_be_unique() -> None:
    before = settings((A, "1", {}), (A, "2", {"prefix_id": "x"}))
    with pytest.raises(c.ConnectionPlanError) as caught:
        c.make_plan(before, [c.Wanted(A, label="connections[3]")])
    assert str(caught.value) == (
        f"Open WebUI has 2 connections to {A}, with the prefixes '', 'x': "
        "say with prefix_id which one connections[3] means"
    )


def test_twins_that_nothing_tells_apart() -> None:
    before = settings((A, "1", {}), (A, "2", {}))
    with pytest.raises(c.ConnectionPlanError, match="declare all connections and set purge"):
        c.make_plan(before, [c.Wanted(A, prefix_id="")])


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        (
            c.Wanted(A, label="connections[0]"),
            c.Wanted(A, label="connections[1]"),
            "connections[0] and connections[1] are both",
        ),
        (c.Wanted(A, prefix_id="x"), c.Wanted(A, prefix_id="x"), "with prefix_id 'x': keep one of them"),
        (c.Wanted(A, prefix_id="x"), c.Wanted(A), "give each its prefix_id, '' for none"),
    ],
)
def test_declarations_must_differ(first: c.Wanted, second: c.Wanted, words: str) -> None:
    with pytest.raises(c.ConnectionPlanError) as caught:
        c.make_plan(settings(), [first, second])
    assert words in str(caught.value)


def test_two_prefixes_of_one_address_are_two_connections() -> None:
    plan = c.make_plan(settings(), [c.Wanted(A, prefix_id="x"), c.Wanted(A, prefix_id="")])
    assert rows(plan.after) == [(A, "", {"prefix_id": "x"}), (A, "", {"prefix_id": ""})]
    assert not c.make_plan(plan.after, [c.Wanted(A, prefix_id="x"), c.Wanted(A, prefix_id="")]).changed


@pytest.mark.parametrize(
    ("before", "wanted", "after"),
    [
        (None, c.Wanted(A), True),
        (False, c.Wanted(A), True),
        (False, c.Wanted(A, enabled=False), False),
        (False, c.Wanted(B, state="absent"), False),
        (None, c.Wanted(A, enabled=False), False),
        (True, c.Wanted(A, enabled=False), True),
    ],
)
def test_the_main_switch(before: bool | None, wanted: c.Wanted, after: bool) -> None:
    plan = c.make_plan(settings((A, "", {}), (B, "", {}), enable=before), [wanted])
    assert plan.after.enable is after


def test_a_null_switch_alone_is_no_change_when_nothing_declared_needs_it() -> None:
    assert not c.make_plan(settings((A, "", {}), enable=None), [c.Wanted(B, state="absent")]).changed


def test_ignored_names_what_did_not_arrive() -> None:
    asked = settings((A, "k", {"prefix_id": "a"}), (B, "", {}))
    assert c.ignored(asked, settings((A, "k", {"prefix_id": "a", "tags": []}), (B, "", {}))) == []
    assert c.ignored(asked, settings((A, "other", {}), ("http://x/v1", "", {}), enable=None)) == [
        "the main switch is None instead of True",
        f"{A} differs in prefix_id, key",
        f"connection 1 is http://x/v1 instead of {B}",
    ]
    assert c.ignored(asked, settings()) == ["it has 0 connections instead of 2"]


def test_a_key_is_never_shown() -> None:
    before = settings((A, "old-secret", {}), (B, "kept-secret", {}))
    plan = c.make_plan(before, [c.Wanted(A, key="new-secret"), c.Wanted("http://c/v1", key="third-secret")])
    shown = c.difference(plan)
    assert "secret" not in repr(shown)
    assert [one["key"] for one in shown["before"]["connections"]] == ["set", "set"]
    assert [one["key"] for one in shown["after"]["connections"]] == ["set (another one)", "set", "set"]
    assert shown["before"] != shown["after"]


def test_a_changed_key_shows_for_the_right_one_of_two_prefixes() -> None:
    before = settings((A, "1", {"prefix_id": "x"}), (A, "2", {"prefix_id": "y"}))
    shown = c.difference(c.make_plan(before, [c.Wanted(A, prefix_id="x", key="2")]))
    assert [one["key"] for one in shown["after"]["connections"]] == ["set (another one)", "set"]


def test_describe() -> None:
    connection = c.Connection(
        A, "k", {"tags": [{"name": "gpu"}], "model_ids": ["m"], "prefix_id": "p", "enable": False}
    )
    assert c.describe(connection) == {
        "url": A,
        "prefix_id": "p",
        "enabled": False,
        "model_ids": ["m"],
        "tags": ["gpu"],
        "has_key": True,
    }


@pytest.mark.parametrize(
    ("stored", "served", "expected"),
    [
        ({}, None, None),
        ({}, ["m"], ["m"]),
        ({"prefix_id": "p"}, ["m"], ["p.m"]),
        ({"prefix_id": "p", "model_ids": ["n"]}, None, ["p.n"]),
        ({"model_ids": ["n"]}, ["m", "n"], ["n"]),
    ],
)
def test_visible_ids(stored: dict, served: list | None, expected: list | None) -> None:
    assert c.visible_ids(c.Connection(A, "", stored), served) == expected


def test_offered_sorts_the_models_by_connection() -> None:
    listing = {
        "data": [{"id": "a", "urlIdx": 1}, {"id": "b", "urlIdx": 0}, {"id": "c", "urlIdx": 1}, {"id": "function"}]
    }
    assert c.offered(listing) == {0: ["b"], 1: ["a", "c"]}
    assert c.offered({"data": None}) == {}


# What vLLM's list of models looks like through Open WebUI's /openai/verify, shortened.
VLLM_MODELS = {"object": "list", "data": [{"id": "tiny", "object": "model", "owned_by": "vllm", "max_model_len": 1024}]}


def test_verification_tells_the_served_models() -> None:
    assert c.judge_verification(c.Connection(A, "k", {}), "x", 200, VLLM_MODELS, "") == ["tiny"]
    assert c.judge_verification(c.Connection(A, "k", {}), "x", 200, [{"id": "a"}], "") == ["a"]


@pytest.mark.parametrize(
    ("connection", "status", "data", "detail", "words"),
    [
        (
            c.Connection(A, "k", {}),
            401,
            None,
            "Unauthorized",
            "refuses the key given (401: Unauthorized); change its key",
        ),
        (c.Connection(A, "", {}), 401, None, "Unauthorized", "refuses a request without a key"),
        (c.Connection(A, "k", {}), 404, None, "Not Found", "ends with /v1"),
        (c.Connection(A, "k", {}), 500, None, "Open WebUI: Server Connection Error", "use host.docker.internal"),
        (c.Connection(A, "k", {}), 200, None, "<html>", "answers without a list of models"),
        (c.Connection(A, "k", {"model_ids": ["big"]}), 200, VLLM_MODELS, "", "does not serve big; it serves tiny"),
    ],
)
def test_verification_says_why_not(
    connection: c.Connection, status: int, data: object, detail: str, words: str
) -> None:
    with pytest.raises(c.ConnectionPlanError) as caught:
        c.judge_verification(connection, "connections[0]", status, data, detail)
    assert str(caught.value).startswith("connections[0]: ")
    assert words in str(caught.value)
