# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This is private to the collection: it may change or vanish without notice.

"""Who gets a release from whom: those that have it first, then one that fetches it, then the others in their order.

The order of those that lack it is that of the inventory, racks together, for every release. So no two hosts wait for
each other.
"""

from __future__ import annotations

import typing as t

from ..module_utils import _units
from ._host_vars import ANY, FLAG, LINE, WHOLE, conform, of_hosts, silent

# What a host says of itself, in the fact that the role model_download leaves; container_image has one of its own.
FACT = "model_download_offer"
# The fact that container_image leaves for the plan, of images that a host lacks.
IMAGES = "container_image_offer"
OFFER = {
    "url": LINE,
    "rack": LINE,
    "models": [{"repo!": LINE, "digest!": LINE, "bytes_missing!": WHOLE, "bytes_total!": WHOLE, "carried": FLAG}],
    "bytes_per_second": WHOLE,
}
RESULT = {
    "digest!": LINE,
    "files": [ANY],
    "bytes_missing!": WHOLE,
    "bytes_total": WHOLE,
    "bytes_per_second": WHOLE,
    "source": LINE,
    "item": {"repo!": LINE, "archive_on": LINE},
}


class Release(t.NamedTuple):
    """A release that hosts want: those that have it, and those that lack it, in the order in which they get it."""

    repo: str
    digest: str
    size: int
    have: tuple[str, ...]
    lack: tuple[str, ...]

    def before(self, host: str) -> list[str]:
        """Return the hosts that a host may get it from, the nearest first."""
        order = [*self.have, *self.lack]
        return order[: order.index(host)][::-1] if host in self.lack else []

    def serves(self, host: str) -> bool:
        """Return whether somebody may want it from a host."""
        return bool(self.lack) and host in (*self.have, *self.lack[:-1])

    def as_result(self) -> dict[str, t.Any]:
        """Return it for programs: who has it, who gets it in this order, and what comes from the hub."""
        return {
            "repo": self.repo,
            "digest": self.digest,
            "have": list(self.have),
            "lack": list(self.lack),
            "bytes_from_hub": self.size if self.lack and not self.have else 0,
        }


def _told(looked: t.Any) -> list[dict[str, t.Any]]:
    """Return the results that say which release of which model it is, and of which one copy crosses a line.

    A host that has an archive beside it reads that.
    """
    return [
        result
        for result in conform(looked, [RESULT], "looked", silent)
        if result["item"].get("repo")
        and (result["source"] != "archive" or result["item"]["archive_on"] == "controller")
    ]


def offer_of(looked: t.Any, url: str, rack: str) -> dict[str, t.Any]:
    """Return what a host tells the others: its address, and what it wants and lacks of which release."""
    told = _told(looked)
    models = [
        {
            "repo": result["item"]["repo"],
            "digest": result["digest"],
            "bytes_missing": result["bytes_missing"],
            "bytes_total": result["bytes_total"] or 0,
            "carried": result["source"] == "archive",
        }
        for result in told
    ]
    rates = [result["bytes_per_second"] for result in told if result["bytes_per_second"]]
    return {"url": url, "rack": rack, "models": models, "bytes_per_second": rates[0] if rates else None}


def releases_of(offers: t.Mapping[str, t.Mapping[str, t.Any]]) -> list[Release]:
    """Return the releases that several hosts want, from the offers of the hosts in the order of the inventory."""
    racks = list(dict.fromkeys(offer["rack"] or "" for offer in offers.values()))
    in_order = sorted(offers, key=lambda host: racks.index(offers[host]["rack"] or ""))
    wanted: dict[tuple[str, str], dict[str, tuple[int, int]]] = {}
    for host in in_order:
        for model in offers[host]["models"]:
            sizes = (model["bytes_missing"], model["bytes_total"])
            wanted.setdefault((model["repo"], model["digest"]), {})[host] = sizes
    return [
        Release(
            repo,
            digest,
            max(total for _missing, total in hosts.values()),
            tuple(host for host, (missing, _total) in hosts.items() if not missing),
            tuple(host for host, (missing, _total) in hosts.items() if missing),
        )
        for (repo, digest), hosts in wanted.items()
        if len(hosts) > 1
    ]


def offers_of(hosts: t.Any, hostvars: t.Any, fact: str = FACT) -> dict[str, dict[str, t.Any]]:
    """Return the offers of the hosts that others may get something from, in the order of the hosts."""
    return {name: offer for name, offer in _said(hosts, hostvars, fact).items() if offer["url"]}


def _said(hosts: t.Any, hostvars: t.Any, fact: str) -> dict[str, dict[str, t.Any]]:
    """Return what hosts say of themselves, those as well that share nothing."""
    found = {}
    for name, host in of_hosts(hosts, hostvars).items():
        offer = host.read(fact, OFFER) if host.has(fact) else None
        if offer:
            found[name] = offer
    return found


class Line(t.NamedTuple):
    """What a host will fetch from hubs, and how long that takes at the rate of its last download."""

    host: str
    size: int
    rate: int

    @property
    def seconds(self) -> int:
        """Return the time, in whole seconds."""
        return max(1, round(self.size / self.rate))

    def as_result(self) -> dict[str, t.Any]:
        """Return it for programs."""
        return {"host": self.host, "bytes": self.size, "bytes_per_second": self.rate, "seconds": self.seconds}

    def sentence(self) -> str:
        """Return it for people."""
        return (
            f"{self.host}: {_units.size(self.size)} come over the line, about {_units.duration(self.seconds)} "
            f"at the {_units.size(self.rate)}/s of its last download"
        )


def over_the_line(hosts: t.Any, hostvars: t.Any) -> list[Line]:
    """Return what each host fetches from hubs, where the rate of its last download is known."""
    said = _said(hosts, hostvars, FACT)
    brought = {
        (host, release.repo, release.digest)
        for release in releases_of({name: offer for name, offer in said.items() if offer["url"]})
        for host in release.lack
        if release.before(host)
    }
    lines = []
    for host, offer in said.items():
        size = sum(
            model["bytes_missing"]
            for model in offer["models"]
            if not model["carried"] and (host, model["repo"], model["digest"]) not in brought
        )
        if size and offer["bytes_per_second"]:
            lines.append(Line(host, size, offer["bytes_per_second"]))
    return lines


def chain_of(hosts: t.Any, hostvars: t.Any, host: str, looked: t.Any, fact: str = FACT) -> dict[str, t.Any]:
    """Return the place of a host: from whom it gets each model, what it serves, and who the others are."""
    offers = offers_of(hosts, hostvars, fact)
    if host not in offers:
        return {"peers": {}, "serve": [], "members": []}
    files = {(result["item"]["repo"], result["digest"]): result["files"] for result in _told(looked)}
    releases = [release for release in releases_of(offers) if release.lack]
    mine = [release for release in releases if host in (*release.have, *release.lack)]
    members = {name for release in mine for name in (*release.have, *release.lack)} - {host}
    return {
        "peers": {
            release.repo: [offers[name]["url"] for name in release.before(host)]
            for release in mine
            if release.before(host)
        },
        "serve": [
            {"repo": release.repo, "digest": release.digest, "files": files[release.repo, release.digest]}
            for release in mine
            if release.serves(host) and (release.repo, release.digest) in files
        ],
        "members": [offers[name]["url"] for name in offers if name in members],
    }


def lines_of(releases: t.Iterable[Release]) -> list[str]:
    """Return for people who gets each release from whom, and what crosses the line."""
    lines = []
    for release in releases:
        if not release.lack:
            continue
        first, *others = release.lack
        if release.have:
            text = f"{', '.join(release.lack)} from {release.have[-1]} in a chain; nothing crosses the line"
        else:
            size = _units.size(release.size)
            text = f"{first} fetches it, {', '.join(others)} from there in a chain; {size} cross the line"
        lines.append(f"{release.repo}: {text}")
    return lines
