# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where a server is reached: made once from its declaration, carried to everything that writes a URL."""

from __future__ import annotations

import ipaddress
import re
import typing as t
from urllib.parse import urlsplit

API_PATH = "/v1"
_HOST = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?")
# RFC 3986, section 3.3; other characters are written as %20.
_PATH = re.compile(r"([A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*")


class EndpointError(ValueError):
    """What is no endpoint; the text says why, and quotes nothing that could be a secret."""


class Endpoint(t.NamedTuple):
    """An HTTP server's address."""

    scheme: str
    host: str
    port: t.Optional[int] = None  # noqa: UP045 - evaluated by Python 3.8
    path: str = ""

    @property
    def url(self) -> str:
        """Return the base URL, without a slash at its end."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port is None else f":{self.port}"
        return f"{self.scheme}://{host}{port}{self.path}"

    @property
    def api(self) -> str:
        """Return the base URL of OpenAI's API."""
        return self.url + API_PATH


def parse(url: str) -> Endpoint:
    """Read an endpoint from a URL; ``/v1`` at its end says no more than it would without."""
    if not url.isascii() or not url.isprintable() or " " in url:
        raise EndpointError("holds a blank, or a character that no URL can carry")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise EndpointError("is not a URL; its host or port cannot be read") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise EndpointError("is not a URL such as https://llm.example.com")
    if "@" in parts.netloc:
        raise EndpointError("holds a user or a password; leave them out, a server's key is given by api_keys")
    if parts.query or parts.fragment or url.endswith(("?", "#")):
        raise EndpointError("ends in a query or a fragment; give the base URL alone")
    if not _is_host(parts.hostname):
        raise EndpointError("names a host by other characters than letters, digits, dots, dashes and underscores")
    if not _PATH.fullmatch(parts.path):
        raise EndpointError("has a path with a character that no URL can carry; write it as % and two digits")
    path = parts.path.rstrip("/")
    if path.endswith(API_PATH):
        path = path[: -len(API_PATH)].rstrip("/")
    return Endpoint(parts.scheme, parts.hostname, port, path)


def _is_host(host: str) -> bool:
    if ":" not in host:
        return _HOST.fullmatch(host) is not None
    try:
        ipaddress.IPv6Address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def bare(host: str) -> str:
    """Return a name or address as a socket takes it: an IPv6 address without the brackets that a URL needs."""
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def listening(scheme: str, bind: str, port: int, fallback: str) -> Endpoint:
    """Return the endpoint of what listens on ``bind``: there, or at ``fallback`` when it listens on all addresses."""
    address = _address(bind)
    return Endpoint(scheme, bare(fallback) if address.is_unspecified or address.is_loopback else str(address), port)


def here(scheme: str, bind: str, port: int) -> Endpoint:
    """Return the endpoint by which a host itself reaches what listens on ``bind``."""
    address = _address(bind)
    own = "127.0.0.1" if address.version == 4 else "::1"
    return Endpoint(scheme, own if address.is_unspecified else str(address), port)


def _address(bind: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        return ipaddress.ip_address(bind)
    except ValueError as error:
        raise EndpointError(f"bind {bind!r} is not an IP address") from error


def scheme_of(engine: t.Mapping[str, t.Any]) -> str:
    """Return https for a server that is given a certificate of its own."""
    return "https" if engine.get("ssl_certfile") or engine.get("ssl-certfile") else "http"
