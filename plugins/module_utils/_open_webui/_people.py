# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Open WebUI's accounts and groups: what it has, what is wanted, and what has to change.

An account is known by its e-mail address, whatever its case; a group by its name, which Open WebUI does not keep from
being given twice.
"""

from __future__ import annotations

import dataclasses
import typing as t

from . import _access, _shape

# Open WebUI takes any word for a role without a complaint, and lets nobody with an unknown one in.
ROLES = ("pending", "user", "admin")

# What bcrypt, and so Open WebUI, can store.
PASSWORD_BYTES = 72


class PeopleError(ValueError):
    """What is asked for cannot be done; the text is meant for the user."""


# -- accounts ----------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class User:
    """An account; without an id, one that is about to be made."""

    email: str
    name: str
    role: str
    id: str = ""


@dataclasses.dataclass(frozen=True)
class WantedUser:
    """What is declared for an account. None means: leave as it is, or Open WebUI's default when it is new."""

    email: str
    name: str | None = None
    role: str | None = None
    password: str | None = None
    state: str = "present"


def check_user(wanted: WantedUser) -> None:
    """Turn away what Open WebUI would refuse half-way, or take and be broken by."""
    local, at, domain = wanted.email.partition("@")
    if not (local and at and domain) or "@" in domain or any(one.isspace() for one in wanted.email):
        raise PeopleError(f"email {wanted.email!r} is not an e-mail address, which is the sign-in name of an account")
    if "." not in domain and domain != "localhost":
        raise PeopleError(
            f"email {wanted.email!r} has no domain with a dot, which Open WebUI wants; only @localhost goes without"
        )
    if wanted.password is not None and not wanted.password:
        raise PeopleError(f"the password of {wanted.email} is empty")
    if wanted.password is not None and len(wanted.password.encode()) > PASSWORD_BYTES:
        raise PeopleError(
            f"the password of {wanted.email} is longer than {PASSWORD_BYTES} bytes, which Open WebUI cannot store"
        )
    if wanted.name is not None and not wanted.name.strip():
        raise PeopleError(f"the name of {wanted.email} is empty; leave it out to keep the one there is")


def find_user(users: t.Any, email: str) -> User | None:
    """Return the account with an e-mail address in Open WebUI's list of all users."""
    return next((one for one in users_from_api(users) if one.email.lower() == email.lower()), None)


def users_from_api(users: t.Any) -> list[User]:
    """Open WebUI's list of all users as objects."""
    return [
        User(*(_shape.text_field(one, name, "an account") for name in ("email", "name", "role", "id")))
        for one in _shape.rows(users, "users")
    ]


def first_account(page: t.Any) -> str:
    """Return the id of the first account, from a page of accounts, oldest first; empty when there is none."""
    people = _shape.listing(_shape.field(page, "users"), "users")
    return _shape.text_field(people[0], "id", "an account") if people else ""


def plan_user(before: User | None, wanted: WantedUser) -> User | None:
    """Return the account as it shall be."""
    if wanted.state == "absent":
        return None
    if before is None:
        if wanted.password is None:
            raise PeopleError(f"Open WebUI has no account {wanted.email}, and one without a password cannot be made")
        return User(wanted.email.lower(), wanted.name or wanted.email, wanted.role or "user")
    return dataclasses.replace(
        before,
        name=before.name if wanted.name is None else wanted.name,
        role=before.role if wanted.role is None else wanted.role,
    )


def changed_fields(before: User, after: User) -> dict[str, str]:
    """Return the fields that an update has to send."""
    mine, theirs = dataclasses.asdict(after), dataclasses.asdict(before)
    return {name: mine[name] for name in ("name", "role") if mine[name] != theirs[name]}


def refuse_primary(before: User, after: User | None) -> None:
    """Refuse to remove or demote the first account, which Open WebUI keeps as an administrator's in any case."""
    if after is None:
        raise PeopleError(f"{before.email} is the first account of this Open WebUI, which cannot be removed")
    if after.role != "admin":
        raise PeopleError(
            f"{before.email} is the first account of this Open WebUI, which cannot be anything but admin; "
            f"it would become {after.role!r}"
        )


def describe_user(user: User | None) -> dict[str, t.Any]:
    """Describe an account as the module returns it."""
    return {} if user is None else {"email": user.email, "name": user.name, "role": user.role}


def user_difference(before: User | None, after: User | None, new_password: bool) -> dict[str, dict[str, t.Any]]:
    """Return the change in Ansible's before and after form, with a word in the place of a password."""
    sides = {"before": describe_user(before), "after": describe_user(after)}
    if new_password and before is not None:
        sides["before"] = {**sides["before"], "password": "set"}
    if new_password:
        sides["after"] = {**sides["after"], "password": "set" if before is None else "set (another one)"}
    return sides


# -- groups ------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Group:
    """A group with the ids of its members; without an id of its own, one that is about to be made."""

    name: str
    description: str
    members: frozenset[str]
    id: str = ""


@dataclasses.dataclass(frozen=True)
class WantedGroup:
    """What is declared for a group. None means: leave as it is, or empty when it is new."""

    name: str
    description: str | None = None
    members: tuple[str, ...] | None = None
    append: bool = False
    state: str = "present"


def find_group(groups: t.Any, name: str) -> t.Mapping[str, t.Any] | None:
    """Return the one group of a name in Open WebUI's list; raise for two of them, because either could be meant."""
    found = [
        one
        for one in _shape.rows(_shape.listing(groups), "groups")
        if _shape.text_field(one, "name", "a group") == name and _shape.text_field(one, "id", "a group")
    ]
    if len(found) > 1:
        counts = " and ".join(str(one.get("member_count", "?")) for one in found)
        raise PeopleError(
            f"Open WebUI has {len(found)} groups called {name!r}, with {counts} members: "
            "rename or remove the ones too many on its page Users, Groups"
        )
    return found[0] if found else None


def group_from_api(exported: t.Any) -> Group:
    """Return a group from Open WebUI's export of it, which has the members."""
    description = _shape.field(exported, "description", "a group")
    return Group(
        _shape.text_field(exported, "name", "a group"),
        "" if description is None else _shape.text(description, "description of a group"),
        frozenset(_shape.texts(_shape.field(exported, "user_ids", "a group"), "user_ids of a group")),
        _shape.text_field(exported, "id", "a group"),
    )


def id_of_group(made: t.Any) -> str:
    """Return the id in Open WebUI's answer to the making of a group."""
    return _shape.text_field(made, "id", "a group")


def plan_group(before: Group | None, wanted: WantedGroup, directory: _access.Directory) -> Group | None:
    """Return the group as it shall be. Refuse a member without an account: Open WebUI would leave it out in silence."""
    if wanted.state == "absent":
        return None
    current = before or Group(wanted.name, "", frozenset())
    members = current.members
    if wanted.members is not None:
        declared = frozenset(directory.user_id(email) for email in wanted.members)
        members = members | declared if wanted.append else declared
    return dataclasses.replace(
        current,
        description=current.description if wanted.description is None else wanted.description,
        members=members,
    )


def describe_group(group: Group | None, directory: _access.Directory) -> dict[str, t.Any]:
    """Describe a group as the module returns it."""
    if group is None:
        return {}
    return {
        "name": group.name,
        "description": group.description,
        "members": sorted(directory.user_email(one) for one in group.members),
    }
