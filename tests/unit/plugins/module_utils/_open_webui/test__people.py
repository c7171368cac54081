# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._open_webui import _access, _people, _shape

# Open WebUI 0.12.4, shortened to what is read.
USERS = {
    "users": [
        {"id": "u1", "name": "Admin", "email": "admin@example.com", "role": "admin"},
        {"id": "u2", "name": "Ann", "email": "ann@example.com", "role": "user"},
    ],
    "total": 2,
}
ANN = _people.User("ann@example.com", "Ann", "user", "u2")
DIRECTORY = _access.directory_from_api([], USERS)


def wanted(**changes: t.Any) -> _people.WantedUser:
    return _people.WantedUser(**{"email": "ann@example.com", **changes})


def test_find_user() -> None:
    assert _people.find_user(USERS, "ANN@example.com") == ANN
    assert _people.find_user(USERS, "an@example.com") is None


@pytest.mark.parametrize(
    "answer",
    [
        {"items": USERS["users"]},
        {"users": {"u1": {}}},
        {"users": None},
        {"users": ["ann@example.com"]},
        {"users": [{"mail": "ann@example.com", "name": "Ann", "role": "user", "id": "u2"}]},
        {"users": USERS["users"], "total": 95},
        {},
        None,
        "ann@example.com",
    ],
)
def test_accounts_of_an_unknown_shape_are_not_taken_for_none(answer: object) -> None:
    with pytest.raises(_shape.ShapeError):
        _people.find_user(answer, "eve@example.com")
    with pytest.raises(_shape.ShapeError):
        _access.addressed_users(answer)


@pytest.mark.parametrize(
    "answer", [{"items": []}, {}, None, ["research"], [{"title": "research", "id": "g1"}], "research"]
)
def test_groups_of_an_unknown_shape_are_not_taken_for_none(answer: object) -> None:
    with pytest.raises(_shape.ShapeError):
        _people.find_group(answer, "new")
    with pytest.raises(_shape.ShapeError):
        _access.named_groups(answer)


@pytest.mark.parametrize(
    "changes", [{"user_ids": None}, {"user_ids": [1]}, {"members": []}, {"id": 1}, {"description": 1}, {"name": None}]
)
def test_a_group_of_an_unknown_shape_is_not_one_without_members(changes: dict[str, t.Any]) -> None:
    exported = {"id": "g1", "name": "research", "description": "They try.", "user_ids": ["u1"], **changes}
    if "members" in changes:
        del exported["user_ids"]
    with pytest.raises(_shape.ShapeError):
        _people.group_from_api(exported)


@pytest.mark.parametrize("email", ["ann@example.com", "admin@localhost", "a.b+c@x.example"])
def test_check_user(email: str) -> None:
    _people.check_user(wanted(email=email, password="é" * 36, name="A"))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"email": "ann"}, "is not an e-mail address"),
        ({"email": "@example.com"}, "is not an e-mail address"),
        ({"email": "a b@example.com"}, "is not an e-mail address"),
        ({"email": "a@b@example.com"}, "is not an e-mail address"),
        ({"email": "ann@intranet"}, "has no domain with a dot"),
        ({"password": ""}, "is empty"),
        ({"password": "é" * 37}, "longer than 72 bytes"),
        ({"name": " "}, "is empty"),
    ],
)
def test_check_user_refuses(changes: dict[str, t.Any], says: str) -> None:
    with pytest.raises(_people.PeopleError, match=says):
        _people.check_user(wanted(**changes))


def test_a_new_account() -> None:
    made = _people.plan_user(None, wanted(email="Eve@Example.com", password="x"))
    assert made == _people.User("eve@example.com", "Eve@Example.com", "user")
    with pytest.raises(_people.PeopleError, match="one without a password cannot be made"):
        _people.plan_user(None, wanted())


def test_an_account_that_is_there() -> None:
    assert _people.plan_user(ANN, wanted(password="x")) == ANN
    after = _people.plan_user(ANN, wanted(role="admin"))
    assert after is not None
    assert _people.changed_fields(ANN, after) == {"role": "admin"}
    assert _people.plan_user(ANN, wanted(state="absent")) is None
    assert _people.plan_user(None, wanted(state="absent")) is None


def test_the_first_account_stays_an_administrators() -> None:
    first = _people.User("admin@example.com", "Admin", "admin", "u1")
    with pytest.raises(_people.PeopleError, match="cannot be removed"):
        _people.refuse_primary(first, None)
    with pytest.raises(_people.PeopleError, match="cannot be anything but admin; it would become 'user'"):
        _people.refuse_primary(first, _people.User("admin@example.com", "Admin", "user", "u1"))


def test_a_difference_says_of_a_password_only_whether_it_is_another_one() -> None:
    same = _people.user_difference(ANN, ANN, True)
    assert (same["before"].pop("password"), same["after"].pop("password")) == ("set", "set (another one)")
    assert same["before"] == same["after"] == _people.describe_user(ANN)
    assert _people.user_difference(None, ANN, True)["after"]["password"] == "set"
    assert "password" not in _people.user_difference(ANN, ANN, False)["after"]


GROUPS = [
    {"id": "g1", "name": "research", "member_count": 1},
    {"id": "g2", "name": "staff", "member_count": 0},
    {"id": "g3", "name": "staff", "member_count": 7},
]
RESEARCH = _people.group_from_api(
    {"id": "g1", "name": "research", "description": "They try.", "user_ids": ["u1"], "permissions": {}}
)


def test_find_group() -> None:
    assert _people.find_group(GROUPS, "research") == GROUPS[0]
    assert _people.find_group(GROUPS, "Research") is None
    with pytest.raises(_people.PeopleError, match="has 2 groups called 'staff', with 0 and 7 members"):
        _people.find_group(GROUPS, "staff")


@pytest.mark.parametrize(
    ("changes", "members"),
    [
        ({}, {"u1"}),
        ({"members": ("Ann@example.com",)}, {"u2"}),
        ({"members": ("ann@example.com",), "append": True}, {"u1", "u2"}),
        ({"members": ()}, set()),
        ({"members": (), "append": True}, {"u1"}),
    ],
)
def test_members(changes: dict[str, t.Any], members: set[str]) -> None:
    after = _people.plan_group(RESEARCH, _people.WantedGroup("research", **changes), DIRECTORY)
    assert after is not None
    assert (after.members, after.description, after.id) == (members, "They try.", "g1")


def test_a_new_group() -> None:
    after = _people.plan_group(None, _people.WantedGroup("new", members=("ann@example.com",)), DIRECTORY)
    assert after == _people.Group("new", "", frozenset({"u2"}))
    assert _people.describe_group(after, DIRECTORY) == {
        "name": "new",
        "description": "",
        "members": ["ann@example.com"],
    }


def test_a_member_without_an_account_is_an_error() -> None:
    with pytest.raises(_access.AccessError, match="no user with the e-mail address"):
        _people.plan_group(None, _people.WantedGroup("new", members=("eve@example.com",)), DIRECTORY)


def test_a_group_that_goes() -> None:
    assert _people.plan_group(RESEARCH, _people.WantedGroup("research", state="absent"), DIRECTORY) is None
    assert _people.describe_group(None, DIRECTORY) == {}
