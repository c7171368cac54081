# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Open WebUI's connections to OpenAI-compatible servers: what it has, what is wanted, and what has to change.

Open WebUI keeps them as three parallel things (a list of addresses, a list of keys, a mapping from the index as text to
settings) and replaces all of them at once, without checking anything. Here a connection is one object; the parallel
form exists only at the edge, in from_api and to_api.
"""

from __future__ import annotations

import dataclasses
import typing as t
import urllib.parse

from .._secret import header_secret
from . import _shape

# What Open WebUI takes for granted where a setting is missing; its own dialog writes these out, others leave them out.
DEFAULT_SETTINGS: dict[str, t.Any] = {
    "enable": True,
    "prefix_id": "",
    "model_ids": [],
    "tags": [],
    "connection_type": "external",
    "auth_type": "bearer",
    "headers": {},
    "provider": "",
    "azure": False,
    "api_version": "",
    "api_type": "",
    "forward_cookies": False,
    "passthrough_params": [],
}
# Open WebUI keeps settings that it does not know; this one says who declared a connection.
OWNER = "managed_by"

_DEFAULT_PORTS = {"http": 80, "https": 443}
_NOT_A_BASE = ("/chat/completions", "/completions", "/models", "/embeddings", "/responses")


class ConnectionPlanError(ValueError):
    """What is asked for cannot be done; the text is meant for the user."""


@dataclasses.dataclass(frozen=True)
class Connection:
    """One connection, as Open WebUI has it. The address is kept as stored; identity() is what is compared."""

    url: str
    key: str
    settings: t.Mapping[str, t.Any]

    def identity(self) -> str:
        return loose_url(self.url)

    def who(self) -> tuple[str, str]:
        return (self.identity(), str(self.setting("prefix_id")))

    def setting(self, name: str) -> t.Any:
        """Return a setting, or Open WebUI's default when it is missing or null."""
        value = self.settings.get(name)
        return DEFAULT_SETTINGS.get(name) if value is None else value

    def with_settings(self, changes: t.Mapping[str, t.Any]) -> Connection:
        """Return the connection with some settings changed; a setting that already means the same stays as it is."""
        differing = {name: value for name, value in changes.items() if self.setting(name) != value}
        return dataclasses.replace(self, settings={**self.settings, **differing})

    def same_as(self, other: Connection) -> bool:
        names = set(self.settings) | set(other.settings)
        return (
            self.url == other.url
            and self.key == other.key
            and all(self.setting(name) == other.setting(name) for name in names)
        )


@dataclasses.dataclass(frozen=True)
class Settings:
    """All of Open WebUI's OpenAI settings: the main switch, and the connections in their order."""

    enable: bool | None
    connections: tuple[Connection, ...]

    def same_as(self, other: Settings) -> bool:
        return (
            self.enable == other.enable
            and len(self.connections) == len(other.connections)
            and all(mine.same_as(theirs) for mine, theirs in zip(self.connections, other.connections))
        )


@dataclasses.dataclass(frozen=True)
class Wanted:
    """One declared connection. None means: leave as it is, or Open WebUI's default when it is new."""

    url: str
    key: str | None = None
    prefix_id: str | None = None
    model_ids: tuple[str, ...] | None = None
    enabled: bool | None = None
    tags: tuple[str, ...] | None = None
    state: str = "present"
    # How the user calls it, for messages.
    label: str = "the connection"

    def settings(self) -> dict[str, t.Any]:
        """Return the declared settings under Open WebUI's names."""
        declared: dict[str, t.Any] = {}
        if self.enabled is not None:
            declared["enable"] = self.enabled
        if self.prefix_id is not None:
            declared["prefix_id"] = self.prefix_id
        if self.model_ids is not None:
            declared["model_ids"] = list(self.model_ids)
        if self.tags is not None:
            declared["tags"] = [{"name": tag} for tag in self.tags]
        return declared


@dataclasses.dataclass(frozen=True)
class Planned:
    """What becomes of one declared connection: its places in the list before and afterwards (None where it is not
    there), and the verb."""

    wanted: Wanted
    origin: int | None
    index: int | None
    action: str


@dataclasses.dataclass(frozen=True)
class Plan:
    """Where to go from here."""

    before: Settings
    after: Settings
    planned: tuple[Planned, ...]
    purged: tuple[str, ...]

    @property
    def changed(self) -> bool:
        return not self.before.same_as(self.after)


# -- addresses ---------------------------------------------------------------------------------------------------------


def normalize_url(url: str) -> str:
    """Return the address as Open WebUI needs it: no trailing slash, and /v1 where there is no path at all.

    >>> normalize_url("HTTP://GPU-01:18005/")
    'http://gpu-01:18005/v1'
    """
    cleaned = url.strip()
    try:
        parts = urllib.parse.urlsplit(cleaned)
        port = parts.port
    except ValueError as error:
        raise ConnectionPlanError(f"the url of a connection is not an address: {error}") from None
    if not cleaned.isprintable() or any(one.isspace() for one in cleaned):
        raise ConnectionPlanError(
            "the url of a connection holds a blank or a control character: write http://host:port/v1"
        )
    if parts.scheme.lower() not in _DEFAULT_PORTS or not parts.hostname:
        raise ConnectionPlanError(f"url {url!r} is not an address: write http://host:port/v1")
    if parts.username is not None:
        raise ConnectionPlanError(f"the url of {parts.hostname} carries credentials, which Open WebUI shows: use key")
    if parts.query or parts.fragment:
        raise ConnectionPlanError(f"url {url!r} must end with the path, without '?' or '#'")
    path = parts.path.rstrip("/")
    while "//" in path:
        path = path.replace("//", "/")
    for ending in _NOT_A_BASE:
        if path.endswith(ending):
            raise ConnectionPlanError(f"url {url!r} is one call of the API; give its base: {cleaned[: -len(ending)]!r}")
    host = parts.hostname
    if ":" in host:
        host = f"[{host}]"
    scheme = parts.scheme.lower()
    if port is not None and port != _DEFAULT_PORTS[scheme]:
        host = f"{host}:{port}"
    return f"{scheme}://{host}{path or '/v1'}"


def loose_url(url: str) -> str:
    """Normalize an address that somebody else typed into Open WebUI, where anything may stand; never fail."""
    try:
        return normalize_url(url)
    except ConnectionPlanError:
        return url.strip().rstrip("/")


# -- the edge ----------------------------------------------------------------------------------------------------------


def from_api(payload: t.Any) -> Settings:
    """Open WebUI's parallel form as objects. Settings under an address instead of an index are an older form.

    Each part has to be there, though it may be null: a list that another release keeps elsewhere would look empty, and
    all connections are written at once.
    """
    urls = _shape.texts(_or_empty(payload, "OPENAI_API_BASE_URLS", []), "OPENAI_API_BASE_URLS")
    keys = _shape.listing(_or_empty(payload, "OPENAI_API_KEYS", []), "OPENAI_API_KEYS")
    configs = _shape.mapping(_or_empty(payload, "OPENAI_API_CONFIGS", {}), "OPENAI_API_CONFIGS")
    connections = []
    for index, url in enumerate(urls):
        key = keys[index] if index < len(keys) else None
        settings = configs.get(str(index))
        if settings is None:
            settings = configs.get(url)
        connections.append(
            Connection(
                url,
                "" if key is None else _shape.text(key, f"OPENAI_API_KEYS[{index}]"),
                {} if settings is None else _known_settings(settings, f"OPENAI_API_CONFIGS of {url}"),
            )
        )
    enable = _shape.field(payload, "ENABLE_OPENAI_API")
    if enable is not None and not isinstance(enable, bool):
        raise _shape.ShapeError(f"ENABLE_OPENAI_API is {_shape.kind(enable)} instead of a boolean")
    return Settings(enable, tuple(connections))


def _or_empty(payload: t.Any, name: str, empty: t.Any) -> t.Any:
    value = _shape.field(payload, name)
    return empty if value is None else value


def _known_settings(settings: t.Any, what: str) -> dict[str, t.Any]:
    """Return the settings of a connection, once those that are read here are of their kinds."""
    known = _shape.mapping(settings, what)
    if known.get("prefix_id") is not None:
        _shape.text(known["prefix_id"], f"prefix_id in {what}")
    if known.get("model_ids") is not None:
        _shape.texts(known["model_ids"], f"model_ids in {what}")
    for tag in _shape.listing(known["tags"], f"tags in {what}") if known.get("tags") is not None else []:
        if not isinstance(tag, str):
            _shape.mapping(tag, f"a tag in {what}")
    return dict(known)


def to_api(settings: Settings) -> dict[str, t.Any]:
    """Return the connections in Open WebUI's parallel form, indices counted anew.

    The main switch is always sent: left out, Open WebUI stores null and takes it for off.
    """
    return {
        "ENABLE_OPENAI_API": bool(settings.enable),
        "OPENAI_API_BASE_URLS": [connection.url for connection in settings.connections],
        "OPENAI_API_KEYS": [connection.key for connection in settings.connections],
        "OPENAI_API_CONFIGS": {
            str(index): dict(connection.settings) for index, connection in enumerate(settings.connections)
        },
    }


# -- planning ----------------------------------------------------------------------------------------------------------


def checked_key(key: str | None, label: str) -> str | None:
    """Return a declared key as a header can carry it; empty for a connection without one.

    Open WebUI stores any text, and then cannot ask the server.
    """
    return header_secret(key, f"the key of {label}") if key else key


def check_declared(wanted: t.Sequence[Wanted]) -> None:
    """Refuse two declarations that mean, or may mean, the same connection."""
    for index, one in enumerate(wanted):
        for other in wanted[index + 1 :]:
            if one.url != other.url:
                continue
            if one.prefix_id == other.prefix_id:
                prefix = f" with prefix_id {one.prefix_id!r}" if one.prefix_id else ""
                raise ConnectionPlanError(f"{one.label} and {other.label} are both {one.url}{prefix}: keep one of them")
            if one.prefix_id is None or other.prefix_id is None:
                raise ConnectionPlanError(
                    f"{one.label} and {other.label} are both {one.url}: give each its prefix_id, '' for none"
                )


def find(connections: t.Sequence[Connection], wanted: Wanted) -> int | None:
    """Return the index of the declared connection.

    With a prefix, address and prefix together decide; without, the address alone, which then must be unique.
    """
    matches = [index for index, one in enumerate(connections) if one.identity() == wanted.url]
    if wanted.prefix_id is not None:
        matches = [index for index in matches if connections[index].setting("prefix_id") == wanted.prefix_id]
    if len(matches) > 1:
        if wanted.prefix_id is None:
            prefixes = ", ".join(repr(connections[index].setting("prefix_id")) for index in matches)
            raise ConnectionPlanError(
                f"Open WebUI has {len(matches)} connections to {wanted.url}, with the prefixes {prefixes}: "
                f"say with prefix_id which one {wanted.label} means"
            )
        raise ConnectionPlanError(
            f"Open WebUI has {len(matches)} connections to {wanted.url} with prefix_id {wanted.prefix_id!r}: "
            "remove the ones too many in its settings, or declare all connections and set purge"
        )
    return matches[0] if matches else None


def make_plan(before: Settings, wanted: t.Sequence[Wanted], purge: bool = False, owner: str | None = None) -> Plan:
    """Plan from what Open WebUI has and what is declared to what it shall have. The order of what stays is kept.

    With an owner, declared connections are marked as the owner's, and purge takes away no other ones.
    """
    check_declared(wanted)
    mark = {} if owner is None else {OWNER: owner}
    disposable = [purge and (owner is None or one.settings.get(OWNER) == owner) for one in before.connections]
    kept = _without_twins(before.connections, wanted, disposable)
    places: list[int | None] = []
    actions: list[str] = []
    claimed: set[int] = set()
    for one in wanted:
        place = find([connection or Connection("", "", {}) for connection in kept], one)
        if one.state == "absent":
            if place is not None:
                kept[place] = None
            places.append(place)
            actions.append("unchanged" if place is None else "removed")
            continue
        if place is None:
            kept.append(Connection(one.url, one.key or "", {**one.settings(), **mark}))
            place = len(kept) - 1
            actions.append("created")
        else:
            current = t.cast(Connection, kept[place])
            changed = dataclasses.replace(
                current.with_settings({**one.settings(), **mark}),
                url=one.url,
                key=current.key if one.key is None else one.key,
            )
            kept[place] = changed
            actions.append("unchanged" if changed.same_as(current) else "updated")
        claimed.add(place)
        places.append(place)
    purged = []
    for place, connection in enumerate(before.connections):
        if place in places and place not in claimed:
            continue  # removed because it is declared absent
        if disposable[place] and place not in claimed:
            purged.append(connection.url)
            kept[place] = None
    numbers: dict[int, int] = {}
    for place, left in enumerate(kept):
        if left is not None:
            numbers[place] = len(numbers)
    serves = any(one.state == "present" and one.enabled is not False for one in wanted)
    # Off stays off unless something declared is meant to serve; null is never left behind once anything is written.
    enable: bool | None = True if serves else before.enable
    after = Settings(enable, tuple(connection for connection in kept if connection is not None))
    if after.enable is None and not after.same_as(before):
        after = dataclasses.replace(after, enable=False)
    planned = tuple(
        Planned(
            one,
            place if place is not None and place < len(before.connections) else None,
            None if place is None else numbers.get(place),
            action,
        )
        for one, place, action in zip(wanted, places, actions)
    )
    return Plan(before, after, planned, tuple(purged))


def _without_twins(
    connections: t.Sequence[Connection], wanted: t.Sequence[Wanted], disposable: t.Sequence[bool]
) -> list[Connection | None]:
    """Keep one connection for each declaration.

    Of several connections that a declaration could mean, the first stays, and those of the others go that may go.
    """
    result: list[Connection | None] = list(connections)
    for one in wanted:
        seen = False
        for index, connection in enumerate(result):
            if connection is None or connection.identity() != one.url:
                continue
            if one.prefix_id is not None and connection.setting("prefix_id") != one.prefix_id:
                continue
            if seen and disposable[index]:
                result[index] = None
            seen = True
    return result


def ignored(asked: Settings, got: Settings) -> list[str]:
    """Describe what Open WebUI did not take over; an empty list when it took over everything."""
    problems = []
    if bool(asked.enable) != bool(got.enable):
        problems.append(f"the main switch is {got.enable!r} instead of {asked.enable!r}")
    if len(asked.connections) != len(got.connections):
        problems.append(f"it has {len(got.connections)} connections instead of {len(asked.connections)}")
    for index, (mine, theirs) in enumerate(zip(asked.connections, got.connections)):
        if mine.same_as(theirs):
            continue
        if mine.url != theirs.url:
            problems.append(f"connection {index} is {theirs.url} instead of {mine.url}")
            continue
        names = sorted(
            name for name in set(mine.settings) | set(theirs.settings) if mine.setting(name) != theirs.setting(name)
        )
        if mine.key != theirs.key:
            names.append("key")
        problems.append(f"{mine.url} differs in {', '.join(names)}")
    return problems


# -- results -----------------------------------------------------------------------------------------------------------


def describe(connection: Connection) -> dict[str, t.Any]:
    """Describe a connection as modules return it. The key itself never leaves."""
    return {
        "url": connection.url,
        "prefix_id": connection.setting("prefix_id"),
        "enabled": bool(connection.setting("enable")),
        "model_ids": list(connection.setting("model_ids")),
        "tags": [str(tag.get("name", "")) if isinstance(tag, dict) else str(tag) for tag in connection.setting("tags")],
        "has_key": bool(connection.key),
    }


def difference(plan: Plan) -> dict[str, t.Any]:
    """Return the plan in Ansible's before and after form, with a word in the place of every key."""
    return {"before": _diff_side(plan.before, None), "after": _diff_side(plan.after, plan.before)}


def _diff_side(settings: Settings, earlier: Settings | None) -> dict[str, t.Any]:
    rows = []
    for connection in settings.connections:
        row = describe(connection)
        row["key"] = _key_word(connection, earlier)
        del row["has_key"]
        rows.append(row)
    return {"enabled": bool(settings.enable), "connections": rows}


def _key_word(connection: Connection, earlier: Settings | None) -> str:
    if not connection.key:
        return "none"
    if earlier is not None:
        for one in earlier.connections:
            same = one.who() == connection.who()
            if same and one.key and one.key != connection.key:
                return "set (another one)"
    return "set"


def visible_ids(connection: Connection, served: t.Iterable[str] | None) -> list[str] | None:
    """Return the model ids under which users see this connection's models, with the prefix in front.

    The ids are those declared, or what the server serves; None when neither is known.
    """
    declared = list(connection.setting("model_ids"))
    ids = declared or (None if served is None else list(served))
    if ids is None:
        return None
    prefix = connection.setting("prefix_id")
    return [f"{prefix}.{one}" if prefix else one for one in ids]


def offered(listing: t.Any) -> dict[int, list[str]]:
    """Return the model ids in Open WebUI's list, by the index of the connection that each comes from."""
    result: dict[int, list[str]] = {}
    entries = _shape.field(listing, "data")
    for entry in [] if entries is None else _shape.rows(entries, "data"):
        if isinstance(entry.get("id"), str) and isinstance(entry.get("urlIdx"), int):
            result.setdefault(entry["urlIdx"], []).append(entry["id"])
    return result


# -- verification ------------------------------------------------------------------------------------------------------


def judge_verification(connection: Connection, label: str, status: int, data: t.Any, detail: str) -> list[str]:
    """Return the ids that a server served when Open WebUI itself asked it; raise with the reason when it failed."""
    if status in (401, 403):
        which = "the key given" if connection.key else "a request without a key"
        raise ConnectionPlanError(f"{label}: {connection.url} refuses {which} ({status}: {detail}); change its key")
    if status == 404:
        raise ConnectionPlanError(
            f"{label}: {connection.url}/models does not exist ({detail}); "
            "the url of an OpenAI-compatible server ends with /v1"
        )
    if status != 200:
        raise ConnectionPlanError(
            f"{label}: Open WebUI cannot reach {connection.url} ({status}: {detail}). From inside its container "
            "localhost is the container itself: use host.docker.internal or the host's address, and check the address "
            "that the server is bound to"
        )
    entries = data.get("data") if isinstance(data, dict) else data
    if not isinstance(entries, list):
        raise ConnectionPlanError(f"{label}: {connection.url}/models answers without a list of models; is it an API?")
    served = [str(entry["id"]) for entry in entries if isinstance(entry, dict) and entry.get("id")]
    if entries and not served:
        raise ConnectionPlanError(f"{label}: {connection.url}/models lists models without ids; is it an API?")
    missing = [one for one in connection.setting("model_ids") if one not in served]
    if missing:
        raise ConnectionPlanError(
            f"{label}: {connection.url} does not serve {', '.join(missing)}; it serves {', '.join(served) or 'nothing'}"
        )
    return served
