# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a gateway stands in front of: served names, the servers behind each, and who may ask them. Pure."""

from __future__ import annotations

import hashlib
import math
import re
import typing as t

from ...module_utils._endpoint import Endpoint, EndpointError, parse
from ...module_utils._vllm.declaration._checks import share_of
from ...module_utils._vllm.options._suggestions import did_you_mean
from .._host_vars import FLAG, LINE, NUMBER, WHOLE, conform, silent
from .._problem import Problem

EVERY_MODEL = "*"
HEAVIEST = 256  # what HAProxy takes as the largest weight of a server
SHARE_SLACK = 0.01  # three thirds may be written as 0.33
USER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
HOP = ":to:"  # stands in the names of hops alone
NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9_.:-]")

# Concurrent requests that a server is sent at most when nobody measured it: vLLM's own max_num_seqs on most GPUs.
UNMEASURED = 256
# vLLM measures how many requests of the whole context length its KV cache holds. A request fills a quarter of that or
# less on average; what does not fit after all waits in vLLM.
SHARE_OF_CONTEXT = 4
FEWEST = 16

# How long requests are held for a server that is being changed: several times what its last start took, because a start
# on a busy host or with other options takes longer, and some seconds for all else.
HOLD_STARTS = 3
HOLD_MARGIN = 60
HOLD_UNMEASURED = 300

SERVERS = "gateway_servers"
USERS = "gateway_users"

SERVER = {
    "name!": LINE,
    "url!": LINE,
    "models": [LINE],
    "model": LINE,
    "max_concurrency": NUMBER,
    "start_seconds": NUMBER,
    "share": NUMBER,
    "key": LINE,
    "keyed": FLAG,
    "unreachable": LINE,
}
USER = {"name!": LINE, "models": [LINE], "requests_per_minute": WHOLE, "concurrent_requests": WHOLE}


class Replica(t.NamedTuple):
    """One server behind the gateway."""

    name: str
    endpoint: Endpoint
    keyed: bool
    max_concurrency: float | None
    start_seconds: float | None
    share: float | None = None

    @property
    def label(self) -> str:
        """Return the server's name as the proxy writes it."""
        return label(self.name)

    @property
    def most_requests(self) -> int:
        """Return how many requests the server is sent at once."""
        return most_requests(self.max_concurrency)


class Pool(t.NamedTuple):
    """Served names that the same servers serve."""

    names: tuple[str, ...]
    replicas: tuple[Replica, ...]

    @property
    def label(self) -> str:
        """Return the pool's name as the proxy writes it."""
        return f"model:{label(self.names[0])}"

    @property
    def hold_seconds(self) -> int:
        """Return the seconds for which requests are held while every server is being changed."""
        return max(hold_seconds(replica.start_seconds) for replica in self.replicas)

    @property
    def starts_measured(self) -> bool:
        """Return whether every server measured how long its start takes."""
        return all(replica.start_seconds for replica in self.replicas)

    @property
    def weights(self) -> tuple[int, ...]:
        """Return each server's part of the requests as the proxy weighs it; empty where no server names a share."""
        named = [replica.share for replica in self.replicas if replica.share]
        if not named or len(self.replicas) == 1:
            return ()
        rest = (1 - sum(named)) / max(1, len(self.replicas) - len(named))
        parts = [replica.share or max(rest, 0.0) for replica in self.replicas]
        return tuple(max(1, round(HEAVIEST * part / max(parts))) for part in parts)


class User(t.NamedTuple):
    """Somebody who may ask; a limit of 0 is none."""

    name: str
    models: tuple[str, ...]
    requests_per_minute: int
    concurrent_requests: int

    def may_ask(self, pool: Pool) -> bool:
        """Return whether the user may ask the pool, by any of its names."""
        return EVERY_MODEL in self.models or not set(self.models).isdisjoint(pool.names)


class Fleet(t.NamedTuple):
    """All that a gateway knows, without a secret."""

    pools: tuple[Pool, ...]
    users: tuple[User, ...]


def label(name: str) -> str:
    """Return a name that the proxy accepts: the name itself where it does, else with a sum that keeps it apart."""
    plain = NOT_IN_A_NAME.sub("_", name).replace(HOP, "_to_")
    return plain if plain == name else f"{plain}.{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def fleet_of(servers: t.Any, users: t.Any) -> Fleet:
    """Return what the declarations say; what is wrong with them is told by ``problems``."""
    serving: dict[str, dict[str, Replica]] = {}
    for server in conform(servers, [SERVER], SERVERS, silent):
        try:
            endpoint = parse(server["url"])
        except EndpointError:
            continue
        replica = Replica(
            server["name"],
            endpoint,
            bool(server["keyed"] or server["key"]),
            server["max_concurrency"],
            server["start_seconds"],
            share_of(server["share"]),
        )
        for name in server["models"]:
            serving.setdefault(name, {}).setdefault(replica.name, replica)
    pools: dict[tuple[str, ...], list[str]] = {}
    for name in sorted(serving):
        pools.setdefault(tuple(sorted(serving[name])), []).append(name)
    return Fleet(
        tuple(
            Pool(tuple(names), tuple(serving[names[0]][replica] for replica in replicas))
            for replicas, names in sorted(pools.items(), key=lambda pool: pool[1])
        ),
        tuple(
            User(
                user["name"],
                tuple(user["models"]),
                user["requests_per_minute"] or 0,
                user["concurrent_requests"] or 0,
            )
            for user in sorted(conform(users, [USER], USERS, silent), key=lambda user: str(user["name"]))
        ),
    )


def most_requests(max_concurrency: float | None) -> int:
    """Return how many requests a server is sent at once; the others wait in the gateway.

    >>> most_requests(12.5)
    50
    """
    if not max_concurrency or max_concurrency <= 0:
        return UNMEASURED
    return max(FEWEST, min(UNMEASURED, math.ceil(max_concurrency * SHARE_OF_CONTEXT)))


def hold_seconds(start_seconds: float | None) -> int:
    """Return how long a request waits for a server that is being changed."""
    if not start_seconds or start_seconds <= 0:
        return HOLD_UNMEASURED
    return math.ceil(HOLD_STARTS * start_seconds) + HOLD_MARGIN


def problems(servers: t.Any, users: t.Any, host: str = "") -> list[Problem]:
    """Return what is wrong with the declarations of a gateway, each with its variable."""
    found = _server_problems(servers, host)
    names = sorted({name for server in conform(servers, [SERVER], SERVERS, silent) for name in server["models"]})
    return found + _user_problems(users, names, host)


def _server_problems(servers: t.Any, host: str) -> list[Problem]:
    found: list[Problem] = []

    def note(where: str, text: str) -> None:
        found.append(Problem(host, where, "gateway", text))

    seen: dict[str, int] = {}
    behind: dict[str, tuple[str, str]] = {}
    for index, server in enumerate(conform(servers, [SERVER], SERVERS, note)):
        where = f"{SERVERS}[{index}]"
        name = server["name"]
        if name in seen:
            note(f"{where}.name", f"{name} is also {SERVERS}[{seen[name]}]; give each server a name of its own")
        seen.setdefault(name, index)
        try:
            parse(server["url"])
        except EndpointError as error:
            note(f"{where}.url", f"{name}: {error}")
        if server["unreachable"]:
            note(f"{where}.url", f"{name} cannot be reached from the gateway: {server['unreachable']}")
        if not server["models"]:
            note(f"{where}.models", f"{name} serves no name; list the names that its requests give as model")
        for model in server["models"]:
            if not model or model.startswith("#") or any(one.isspace() for one in model):
                note(f"{where}.models", f"{model!r} cannot be routed: it is empty, begins with # or holds a blank")
            # A canary may be another model under the same name.
            if not server["model"] or server["share"] is not None:
                continue
            other, other_model = behind.setdefault(model, (name, server["model"]))
            if other_model != server["model"]:
                note(
                    f"{where}.models",
                    f"{model} is served by {name} from {server['model']}, and by {other} from {other_model}; a request "
                    "for it would be answered by the one or the other. Change served_model_names of one of them, or "
                    "give a share to the one that is tried",
                )
    return found + _share_problems(servers, host)


def _share_problems(servers: t.Any, host: str) -> list[Problem]:
    """Find shares that are none, and served names of which the shares do not make a whole."""
    found: list[Problem] = []
    serving: dict[str, dict[str, float | None]] = {}
    for index, server in enumerate(conform(servers, [SERVER], SERVERS, silent)):
        share = share_of(server["share"])
        if server["share"] is not None and share is None:
            text = f"{server['name']} has the share {server['share']}; give a number above 0 and up to 1"
            found.append(Problem(host, f"{SERVERS}[{index}].share", "gateway", text))
        for model in server["models"]:
            serving.setdefault(model, {})[server["name"]] = share
    told = set()
    for model, shares in sorted(serving.items()):
        named = {name: share for name, share in shares.items() if share is not None}
        total = sum(named.values())
        others = [name for name in shares if name not in named]
        if not named or (total < 1 if others else round(abs(total - 1), 6) <= SHARE_SLACK):
            continue
        said = ", ".join(f"{name} {share:g}" for name, share in named.items())
        if said in told:
            continue  # of an alias
        told.add(said)
        if others:
            text = (
                f"the shares of {model} leave nothing for {', '.join(others)}: {said}; lower them to less than 1 in all"
            )
        else:
            text = (
                f"the shares of {model} are {total:g} in all, and no server is there for the rest: {said}; leave out "
                "the share (vllm_server_instances) of the server that is to have it"
            )
        found.append(Problem(host, f"{SERVERS}.share", "gateway", text))
    return found


def _user_problems(users: t.Any, served: t.Sequence[str], host: str) -> list[Problem]:
    found: list[Problem] = []

    def note(where: str, text: str) -> None:
        found.append(Problem(host, where, "gateway", text))

    seen: dict[str, int] = {}
    declared = conform(users, [USER], USERS, note)
    if not declared:
        note(
            USERS,
            "is empty, so that nobody could ask; declare a name and its models, such as {name: ann, models: ['*']}",
        )
    for index, user in enumerate(declared):
        where = f"{USERS}[{index}]"
        name = user["name"]
        if not USER_NAME.fullmatch(name):
            note(
                f"{where}.name",
                f"{name!r} is not a user's name; use up to 64 letters, digits, dots, dashes and underscores",
            )
        if name in seen:
            note(f"{where}.name", f"{name} is also {USERS}[{seen[name]}]; a user with several keys is one entry")
        seen.setdefault(name, index)
        if not user["models"]:
            note(f"{where}.models", f"{name} may use no model; list served model names, or '{EVERY_MODEL}' for all")
        for model in user["models"]:
            if model != EVERY_MODEL and model not in served:
                hint = did_you_mean(model, served) or f"; there are {', '.join(served) or 'none'}"
                note(f"{where}.models", f"{name} may use {model}, which no server serves{hint}")
        for key in ("requests_per_minute", "concurrent_requests"):
            if (user[key] or 0) < 0:
                note(f"{where}.{key}", f"is {user[key]}; give a whole number, or 0 for no limit")
    return found
