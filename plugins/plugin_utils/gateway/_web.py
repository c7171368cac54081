# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Open WebUI behind the gateway, and the names that the gateway's certificate has. Pure."""

from __future__ import annotations

import ipaddress
import re
import typing as t

from ...module_utils._endpoint import Endpoint, EndpointError, bare, listening, parse
from .._host_vars import LINE, WHOLE, conform, of_hosts, silent
from .._problem import Problem

WEBS = "gateway_webs"
WEB = {"name!": LINE, "url!": LINE, "unreachable": LINE}
HERE = "127.0.0.1"
PORT = 3000  # the default of open_webui_port
HOST_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,62})(\.[a-z0-9]([a-z0-9-]{0,62}))*")


class Web(t.NamedTuple):
    """An Open WebUI, and the host name by which browsers ask for it."""

    name: str
    endpoint: Endpoint

    @property
    def label(self) -> str:
        """Return the name as the proxy writes it."""
        return f"web:{self.name}"


def webs(hosts: t.Any, hostvars: t.Any, gateway_host: t.Any) -> list[dict[str, str]]:
    """Return the Open WebUIs of a fleet that have a public URL, as ``gateway_webs`` has them."""
    here = conform(gateway_host, LINE, "gateway_host", silent) or ""
    found = []
    for name, host in of_hosts(hosts, hostvars).items():
        bind = host.read("open_webui_bind", LINE) or "0.0.0.0"  # noqa: S104 - what the role itself takes
        address = HERE if name == here else host.address()
        try:
            public = parse(host.read("open_webui_public_url", LINE) or "")
            endpoint = listening("http", bind, host.read("open_webui_port", WHOLE) or PORT, address)
        except EndpointError:
            continue  # none, or one that the role open_webui tells
        far = name != here and _is_loopback(bind)
        why = f"open_webui_bind {bind} lets programs of {name} alone reach it; bind to an address of the host"
        found.append({"name": public.host.lower(), "url": endpoint.url, "unreachable": why if far else ""})
    return found


def webs_of(declared: t.Any) -> tuple[Web, ...]:
    """Return what is declared; what is wrong with it is told by ``web_problems``."""
    found: dict[str, Web] = {}
    for web in conform(declared, [WEB], WEBS, silent):
        name = web["name"].lower()
        try:
            endpoint = parse(web["url"])
        except EndpointError:
            continue
        if HOST_NAME.fullmatch(name):
            found.setdefault(name, Web(name, endpoint))
    return tuple(found[name] for name in sorted(found))


def web_problems(declared: t.Any, wanted: t.Any = False, host: str = "") -> list[Problem]:
    """Return what is wrong with the Open WebUIs behind a gateway that is to serve one."""
    found: list[Problem] = []

    def note(where: str, text: str) -> None:
        found.append(Problem(host, where, "gateway", text))

    told = conform(declared, [WEB], WEBS, note)
    if wanted is True and not told and not found:
        note(
            "gateway_open_webui",
            "is true, and no host of webui_hosts has an open_webui_public_url, whose name browsers would ask for",
        )
    seen: dict[str, int] = {}
    for index, web in enumerate(told):
        where, name = f"{WEBS}[{index}]", web["name"].lower()
        if not HOST_NAME.fullmatch(name):
            note(f"{where}.name", f"{web['name']!r} is not the name of a host, such as chat.example.com")
        if name in seen:
            note(f"{where}.name", f"{name} is also {WEBS}[{seen[name]}]; give each open_webui_public_url its own name")
        seen.setdefault(name, index)
        try:
            parse(web["url"])
        except EndpointError as error:
            note(f"{where}.url", f"{name}: {error}")
        if web["unreachable"]:
            note(f"{where}.url", f"{name} cannot be reached from the gateway: {web['unreachable']}")
    return found


def alternative_names(values: t.Any) -> list[str]:
    """Return names, addresses and URLs as a certificate's alternative names, each once.

    >>> alternative_names(["gw-01", "192.0.2.1", "https://llm.example.com:8443/", ""])
    ['DNS:gw-01', 'DNS:llm.example.com', 'IP:192.0.2.1']
    """
    found = set()
    for value in conform(values, [LINE], "gateway_names", silent):
        name = value.strip().lower()
        if "://" in name:
            try:
                name = parse(name).host
            except EndpointError:
                continue
        try:
            found.add(f"IP:{ipaddress.ip_address(bare(name))}")
        except ValueError:
            if HOST_NAME.fullmatch(name.removeprefix("*.")):
                found.add(f"DNS:{name}")
    return sorted(found)


def _is_loopback(bind: str) -> bool:
    try:
        return ipaddress.ip_address(bind).is_loopback
    except ValueError:
        return False
