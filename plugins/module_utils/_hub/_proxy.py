# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which hosts are reached by a proxy, and which without it.

Every library reads the environment's no_proxy in its own way: one knows networks, another wildcards, a third neither.
Here it is read in one way, and what the libraries get is written so that all of them understand it.
"""

from __future__ import annotations

import ipaddress
import re
import typing as t
from urllib.parse import unquote, urlsplit

from ._files import HubError, has_host

Network = t.Union[ipaddress.IPv4Network, ipaddress.IPv6Network]

_NAME = re.compile(r"\.?[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?(:[0-9]{1,5})?")
_FIRST_NUMBERS = re.compile(r"(?:[0-9]{1,3}\.){1,3}\*")


class Direct:
    """Hosts that are reached without a proxy: names with all below them, addresses and networks."""

    def __init__(self, patterns: t.Iterable[str]) -> None:
        self._all = False
        self._names: list[str] = []
        self._networks: list[Network] = []
        self.unknown: list[str] = []
        for pattern in patterns:
            self._take(pattern.strip())

    @classmethod
    def of_text(cls, text: str) -> Direct:
        """Read what a variable of the environment says."""
        return cls(part for part in text.split(",") if part.strip())

    def _take(self, pattern: str) -> None:
        network = _network_of(pattern)
        if pattern == "*":
            self._all = True
        elif network is not None:
            self._networks.append(network)
        elif _NAME.fullmatch(pattern[1:] if pattern.startswith("*.") else pattern):
            self._names.append(pattern[1:].lower() if pattern.startswith("*.") else pattern.lower())
        else:
            self.unknown.append(pattern)

    def covers(self, url: str) -> bool:
        """Return whether the host of a URL is reached without a proxy."""
        parts = urlsplit(url)
        host = (parts.hostname or "").rstrip(".").lower()
        if self._all or not host:
            return self._all
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            address = None
        if address is not None and any(address in network for network in self._networks):
            return True
        port = parts.port or (443 if parts.scheme == "https" else 80)
        for name in self._names:
            wanted = name.lstrip(".")
            if any(one == wanted or one.endswith("." + wanted) for one in (host, f"{host}:{port}")):
                return True
        return False

    def texts(self) -> list[str]:
        """Return the patterns as most programs understand them."""
        if self._all:
            return ["*"]
        return [*self._names, *(str(network) for network in self._networks)]


def _network_of(pattern: str) -> Network | None:
    """Return the addresses that a pattern means; None when it is a name."""
    if _FIRST_NUMBERS.fullmatch(pattern):  # such as 10.* or 192.168.1.*
        numbers = pattern.rstrip(".*").split(".")
        pattern = ".".join([*numbers, *["0"] * (4 - len(numbers))]) + f"/{8 * len(numbers)}"
    try:
        bare = pattern[1:-1] if pattern.startswith("[") and pattern.endswith("]") else pattern
        return ipaddress.ip_network(bare, strict=False)
    except ValueError:
        return None


def check_no_proxy(patterns: t.Sequence[str]) -> list[str]:
    """Return the hosts that the option no_proxy names, one by one; raise when one cannot be understood."""
    found = [part.strip() for pattern in patterns for part in pattern.split(",") if part.strip()]
    unknown = Direct(found).unknown
    if unknown:
        raise HubError(
            f"no_proxy holds {unknown[0]!r}, which is not a host, domain, address or network; write it as "
            "hub.example.com, .example.com, 10.0.0.5, 10.0.0.0/8 or 10.*"
        )
    return found


def check_proxy(proxy: str | None) -> str | None:
    """Return the URL of a proxy with its scheme, None for none; raise without quoting it, as it may hold a password."""
    proxy = (proxy or "").strip()
    if not proxy:
        return None
    url = proxy if "://" in proxy else f"http://{proxy}"
    plain = url.isascii() and url.isprintable() and " " not in url
    if not plain or not re.match("https?://", url) or not has_host(url) or "@" in "".join(urlsplit(url)[2:]):
        raise HubError(
            "proxy is not a URL such as http://proxy.example.com:3128; write what is unusual in a user or password, "
            "such as a blank, a slash or an @, in percent encoding"
        )
    return url


def secrets_of(url: str | None) -> set[str]:
    """Return the parts of a URL that must be told to nobody: its password, as it is written and as it is meant.

    The URL may be none, as when its user forgot what else has to be in one.
    """
    user, at, _host = (url or "").partition("://")[2 if "://" in (url or "") else 0].rpartition("@")
    found = {user, user.partition(":")[2]} if at else set()
    return {text for one in found if one for text in (one, unquote(one))}


def environment(
    proxy: str | None, direct: t.Sequence[str], urls: t.Iterable[str], before: t.Mapping[str, str]
) -> dict[str, str]:
    """Return the variables by which everything that a run starts or imports uses the proxy.

    ``urls`` are where requests go first. Those among them that are reached without it are named one by one, for
    programs that know no networks.
    """
    changes = {}
    if proxy:
        changes = {name: proxy for one in ("http_proxy", "https_proxy") for name in (one, one.upper())}
    old = before.get("no_proxy") or before.get("NO_PROXY") or ""
    if not direct and not old:
        return changes
    hosts = Direct([*old.split(","), *direct])
    named = sorted({urlsplit(url).hostname or "" for url in urls if hosts.covers(url)} - {""})
    texts = [one for one in (part.strip() for part in old.split(",")) if one]
    texts += [one for one in [*Direct(direct).texts(), *named] if one not in texts]
    changes["no_proxy"] = changes["NO_PROXY"] = ",".join(texts)
    return changes
