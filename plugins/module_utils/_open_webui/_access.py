# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who may use a model in Open WebUI, and how the model is shown.

Open WebUI keeps this in a row for a model id, and a model without a row is seen by administrators only. The rights are
grants: (kind of principal, its id, permission), where the user '*' means everybody who is signed in.
"""

from __future__ import annotations

import dataclasses
import typing as t
import urllib.parse

from . import _client, _shape

EVERYBODY = ("user", "*", "read")

Grant = t.Tuple[str, str, str]


class AccessError(ValueError):
    """What is asked for cannot be done; the text is meant for the user."""


@dataclasses.dataclass(frozen=True)
class Directory:
    """The names of groups and users, both ways.

    A check run does not know what earlier tasks would have made; with foresight, a name that is not there stands for
    what it would be the name of.
    """

    groups: tuple[tuple[str, str], ...] = ()
    users: tuple[tuple[str, str], ...] = ()
    foresight: bool = False

    def group_id(self, name: str) -> str:
        ids = [one for one, called in self.groups if called == name]
        if not ids and self.foresight:
            return name
        if not ids:
            known = ", ".join(sorted(called for _one, called in self.groups)) or "none"
            raise AccessError(f"Open WebUI has no group {name!r}; it has: {known}")
        if len(ids) > 1:
            raise AccessError(f"Open WebUI has {len(ids)} groups called {name!r}; rename one of them")
        return ids[0]

    def user_id(self, email: str) -> str:
        for one, address in self.users:
            if address.lower() == email.strip().lower():
                return one
        if self.foresight:
            return email.strip().lower()
        raise AccessError(f"Open WebUI has no user with the e-mail address {email!r}")

    def group_name(self, group_id: str) -> str:
        return dict(self.groups).get(group_id, group_id)

    def user_email(self, user_id: str) -> str:
        return dict(self.users).get(user_id, user_id)

    def unknown(self, groups: t.Iterable[str], users: t.Iterable[str]) -> list[str]:
        """Name the groups and accounts that do not exist yet, which a check run has to take on trust."""
        named = {name for _id, name in self.groups}
        emails = {email.lower() for _id, email in self.users}
        return [f"group {name!r}" for name in groups if name not in named] + [
            f"account {email!r}" for email in users if email.strip().lower() not in emails
        ]


@dataclasses.dataclass(frozen=True)
class Access:
    """A model as Open WebUI has it; row is what its API gave, None where it has none yet."""

    model: str
    grants: frozenset[Grant]
    name: str
    description: str
    hidden: bool
    row: t.Mapping[str, t.Any] | None = None

    @property
    def public(self) -> bool:
        """Return whether everybody who is signed in may use the model."""
        return EVERYBODY in self.grants

    def same_as(self, other: Access) -> bool:
        return self.facts() == other.facts()

    def facts(self) -> tuple[t.Any, ...]:
        return (self.grants, self.name, self.description, self.hidden)


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What is declared for a model. None means: leave as it is."""

    public: bool | None = None
    groups: tuple[str, ...] | None = None
    users: tuple[str, ...] | None = None
    name: str | None = None
    description: str | None = None
    hidden: bool | None = None


def directory_from_api(groups: t.Any, users: t.Any, foresight: bool = False) -> Directory:
    """Return the names in Open WebUI's list of groups and its list of all users."""
    return Directory(named_groups(groups), addressed_users(users), foresight)


def named_groups(groups: t.Any) -> tuple[tuple[str, str], ...]:
    """Return the ids and names in Open WebUI's list of groups."""
    return tuple(
        (_shape.text_field(one, "id", "a group"), _shape.text_field(one, "name", "a group"))
        for one in _shape.rows(_shape.listing(groups), "groups")
    )


def addressed_users(users: t.Any) -> tuple[tuple[str, str], ...]:
    """Return the ids and e-mail addresses in Open WebUI's list of all users."""
    return tuple(
        (_shape.text_field(one, "id", "an account"), _shape.text_field(one, "email", "an account"))
        for one in _shape.rows(users, "users")
    )


def access_from_api(model: str, row: t.Any) -> Access:
    """Convert a row of Open WebUI to an object; None, where it has none, means: for administrators, under its own id.

    The grants have to be there, because they are replaced as a whole.
    """
    if row is None:
        return Access(model, frozenset(), model, "", False)
    meta = _shape.field(row, "meta", "a model")
    meta = {} if meta is None else _shape.mapping(meta, "meta of a model")
    grants = _shape.field(row, "access_grants", "a model")
    name, description = row.get("name"), meta.get("description")
    hidden = meta.get("hidden")
    if hidden is not None and not isinstance(hidden, bool):
        raise _shape.ShapeError(f"hidden of a model is {_shape.kind(hidden)} instead of a boolean")
    return Access(
        model,
        frozenset(_grant(one) for one in _shape.listing([] if grants is None else grants, "access_grants of a model")),
        model if name is None else _shape.text(name, "name of a model") or model,
        "" if description is None else _shape.text(description, "description of a model"),
        bool(hidden),
        row,
    )


def _grant(one: t.Any) -> Grant:
    kind, principal, permission = (
        _shape.text_field(one, name, "a grant") for name in ("principal_type", "principal_id", "permission")
    )
    return (kind, principal, permission)


def read(client: _client.Client, model: str) -> Access:
    """Return the access of a model as Open WebUI has it now."""
    path = f"/api/v1/models/model?{urllib.parse.urlencode({'id': model})}"
    try:
        return client.read(path, lambda row: access_from_api(model, _shape.mapping(row)))
    except _client.ApiError as error:
        if error.status != 404:
            raise
    return access_from_api(model, None)


def make_plan(before: Access, wanted: Wanted, directory: Directory) -> Access:
    """Return the model's access as it shall be. Rights to write, and kinds of rights that are not declared, stay."""
    grants = set(before.grants)
    if wanted.public is not None:
        grants.discard(EVERYBODY)
        if wanted.public:
            grants.add(EVERYBODY)
    if wanted.groups is not None:
        grants = {one for one in grants if one[0] != "group" or one[2] != "read"}
        grants.update(("group", directory.group_id(name), "read") for name in wanted.groups)
    if wanted.users is not None:
        grants = {one for one in grants if one[0] != "user" or one[2] != "read" or one == EVERYBODY}
        grants.update(("user", directory.user_id(email), "read") for email in wanted.users)
    return dataclasses.replace(
        before,
        grants=frozenset(grants),
        name=before.name if wanted.name is None else wanted.name,
        description=before.description if wanted.description is None else wanted.description,
        hidden=before.hidden if wanted.hidden is None else wanted.hidden,
    )


def grants_to_api(access: Access) -> list[dict[str, str]]:
    """Return the grants as Open WebUI takes them, in a stable order."""
    return [
        {"principal_type": kind, "principal_id": principal, "permission": permission}
        for kind, principal, permission in sorted(access.grants)
    ]


def row_to_api(access: Access) -> dict[str, t.Any]:
    """Return the whole row, unknown fields included, because Open WebUI replaces the row with what it is sent."""
    row = access.row or {}
    meta = dict(row.get("meta") or {})
    if meta.get("description") or access.description:
        meta["description"] = access.description
    if meta.get("hidden") or access.hidden:
        meta["hidden"] = access.hidden
    return {
        "id": access.model,
        "base_model_id": row.get("base_model_id"),
        "name": access.name,
        "meta": meta,
        "params": dict(_shape.mapping(row.get("params") or {}, "params of a model")),
        "is_active": row.get("is_active", True),
    }


def needs(before: Access, after: Access) -> list[str]:
    """Return the calls that lead from one to the other: create, update, grant; in this order."""
    if before.same_as(after):
        return []
    look = (before.name, before.description, before.hidden) != (after.name, after.description, after.hidden)
    if before.row is None:
        # The call that grants makes a plain row itself; it takes a name and nothing else.
        return ["create"] if look else ["grant"]
    calls = ["update"] if look else []
    if before.grants != after.grants:
        calls.append("grant")
    return calls


def describe(access: Access, directory: Directory) -> dict[str, t.Any]:
    """Describe a model as the module returns it."""
    readers = [one for one in access.grants if one[2] == "read" and one != EVERYBODY]
    return {
        "model": access.model,
        "public": access.public,
        "groups": sorted(directory.group_name(one[1]) for one in readers if one[0] == "group"),
        "users": sorted(directory.user_email(one[1]) for one in readers if one[0] == "user"),
        "name": access.name,
        "description": access.description,
        "hidden": access.hidden,
    }


def ignored(asked: Access, got: Access) -> list[str]:
    """Describe what Open WebUI did not take over."""
    problems = [
        f"{name} is {theirs!r} instead of {mine!r}"
        for name, mine, theirs in (
            ("name", asked.name, got.name),
            ("description", asked.description, got.description),
            ("hidden", asked.hidden, got.hidden),
        )
        if mine != theirs
    ]
    problems += [f"the grant {' '.join(one)} is missing" for one in sorted(asked.grants - got.grants)]
    problems += [f"the grant {' '.join(one)} is still there" for one in sorted(got.grants - asked.grants)]
    return problems
