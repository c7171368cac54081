# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._open_webui import _access as a
from ansible_collections.private_llm.fleet.plugins.module_utils._open_webui import _shape

DIRECTORY = a.directory_from_api(
    [{"id": "g1", "name": "research"}, {"id": "g2", "name": "staff"}, {"id": "g3", "name": "staff"}],
    {"users": [{"id": "u1", "email": "ann@example.com"}, {"id": "u2", "email": "bob@example.com"}], "total": 2},
)
ANN = ("user", "u1", "read")
BOB = ("user", "u2", "read")
BOB_WRITES = ("user", "u2", "write")
RESEARCH = ("group", "g1", "read")


def grant(kind: str, principal: str, permission: str) -> dict:
    # As Open WebUI 0.12.4 returns one; ids and times are new at each write.
    return {
        "id": "6a",
        "resource_type": "model",
        "resource_id": "m",
        "principal_type": kind,
        "principal_id": principal,
        "permission": permission,
        "created_at": 1,
    }


ROW = {
    "id": "m",
    "user_id": "u1",
    "base_model_id": None,
    "name": "My model",
    "params": {"temperature": 0.1},
    "meta": {"profile_image_url": "/x.png", "description": "Fine.", "capabilities": {"vision": False}, "hidden": True},
    "access_grants": [grant(*a.EVERYBODY), grant(*BOB_WRITES)],
    "is_active": True,
    "write_access": True,
}


def with_grants(*grants: a.Grant) -> a.Access:
    return a.access_from_api("m", {**ROW, "access_grants": [grant(*one) for one in grants]})


def test_a_row_as_an_object() -> None:
    access = a.access_from_api("m", ROW)
    assert access.grants == {a.EVERYBODY, BOB_WRITES}
    assert (access.name, access.description, access.hidden) == ("My model", "Fine.", True)


@pytest.mark.parametrize("left_out", ["access_grants", "meta"])
def test_a_row_without_its_grants_is_not_one_that_nobody_may_use(left_out: str) -> None:
    with pytest.raises(_shape.ShapeError, match=left_out):
        a.access_from_api("m", {name: value for name, value in ROW.items() if name != left_out})


@pytest.mark.parametrize(
    "changes",
    [
        {"access_grants": {}},
        {"access_grants": ["public"]},
        {"access_grants": [{"group": "g1"}]},
        {"meta": []},
        {"name": 1},
    ],
)
def test_a_row_of_an_unknown_shape(changes: dict) -> None:
    with pytest.raises(_shape.ShapeError):
        a.access_from_api("m", {**ROW, **changes})


def test_no_row_means_private_under_its_own_id() -> None:
    access = a.access_from_api("m", None)
    assert access.facts() == (frozenset(), "m", "", False)


@pytest.mark.parametrize(
    ("before", "wanted", "after"),
    [
        ([], a.Wanted(public=True), {a.EVERYBODY}),
        ([a.EVERYBODY, RESEARCH], a.Wanted(public=False), {RESEARCH}),
        ([a.EVERYBODY], a.Wanted(), {a.EVERYBODY}),
        ([RESEARCH, ANN], a.Wanted(groups=()), {ANN}),
        ([ANN], a.Wanted(groups=("research",)), {ANN, RESEARCH}),
        ([ANN, a.EVERYBODY, BOB_WRITES], a.Wanted(users=("BOB@example.com",)), {BOB, a.EVERYBODY, BOB_WRITES}),
        ([ANN, RESEARCH], a.Wanted(users=(), public=True), {a.EVERYBODY, RESEARCH}),
    ],
)
def test_grants(before: list, wanted: a.Wanted, after: set) -> None:
    planned = a.make_plan(with_grants(*before), wanted, DIRECTORY)
    assert planned.grants == after
    assert a.make_plan(planned, wanted, DIRECTORY).same_as(planned)


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (a.Wanted(groups=("reserch",)), "Open WebUI has no group 'reserch'; it has: research, staff, staff"),
        (a.Wanted(groups=("staff",)), "Open WebUI has 2 groups called 'staff'; rename one of them"),
        (a.Wanted(users=("eve@example.com",)), "no user with the e-mail address 'eve@example.com'"),
    ],
)
def test_names_that_lead_nowhere(wanted: a.Wanted, words: str) -> None:
    with pytest.raises(a.AccessError) as caught:
        a.make_plan(a.access_from_api("m", None), wanted, DIRECTORY)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("row", "wanted", "calls"),
    [
        (None, a.Wanted(public=False), []),
        (None, a.Wanted(public=True), ["grant"]),
        (None, a.Wanted(public=True, name="M"), ["create"]),
        (None, a.Wanted(hidden=False, description=""), []),
        (ROW, a.Wanted(public=True, name="My model", hidden=True, description="Fine."), []),
        (ROW, a.Wanted(public=False), ["grant"]),
        (ROW, a.Wanted(name="Other"), ["update"]),
        (ROW, a.Wanted(public=False, hidden=False), ["update", "grant"]),
    ],
)
def test_calls(row: dict | None, wanted: a.Wanted, calls: list[str]) -> None:
    before = a.access_from_api("m", row)
    assert a.needs(before, a.make_plan(before, wanted, DIRECTORY)) == calls


def test_an_update_keeps_what_it_does_not_know_about() -> None:
    after = a.make_plan(a.access_from_api("m", ROW), a.Wanted(name="New", hidden=False), DIRECTORY)
    assert a.row_to_api(after) == {
        "id": "m",
        "base_model_id": None,
        "name": "New",
        "meta": {**ROW["meta"], "hidden": False},
        "params": {"temperature": 0.1},
        "is_active": True,
    }


def test_a_new_row_says_only_what_is_declared() -> None:
    after = a.make_plan(a.access_from_api("m", None), a.Wanted(name="New"), DIRECTORY)
    assert a.row_to_api(after)["meta"] == {}


def test_grants_to_api_is_stable() -> None:
    assert a.grants_to_api(with_grants(a.EVERYBODY, RESEARCH)) == [
        {"principal_type": "group", "principal_id": "g1", "permission": "read"},
        {"principal_type": "user", "principal_id": "*", "permission": "read"},
    ]


def test_describe_uses_names() -> None:
    described = a.describe(with_grants(a.EVERYBODY, RESEARCH, ANN, BOB_WRITES, ("group", "gone", "read")), DIRECTORY)
    assert described == {
        "model": "m",
        "public": True,
        "groups": ["gone", "research"],
        "users": ["ann@example.com"],
        "name": "My model",
        "description": "Fine.",
        "hidden": True,
    }


def test_ignored() -> None:
    asked = a.make_plan(with_grants(ANN), a.Wanted(public=True, users=(), name="New"), DIRECTORY)
    assert a.ignored(asked, asked) == []
    assert a.ignored(asked, with_grants(ANN)) == [
        "name is 'My model' instead of 'New'",
        "the grant user * read is missing",
        "the grant user u1 read is still there",
    ]
