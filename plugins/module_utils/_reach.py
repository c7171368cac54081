# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tell whether a service that is up in its container is reached at the port that the host publishes for it.

The engine's rules on the host can be gone while containers run: firewalld or ufw flushed them, somebody deleted the
bridge, another process took the port. The service is then up, and nobody reaches it. Waiting longer does not help.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import time
import typing as t

from . import _ports
from ._endpoint import Endpoint

# How long a service that should be up may take to be reached, before this looks for the reason; and between two looks.
PATIENCE = 15.0
BETWEEN = 5.0
LOOKS = 2  # that must find a reason, before it is told
INSIDE_SECONDS = 15.0  # for a question that is asked in the container

# Asks from inside of a container, in which Python is the one thing that all these images hold.
INSIDE = """
import ssl, sys, urllib.error, urllib.request as r
context = ssl.create_default_context(); context.check_hostname = False; context.verify_mode = ssl.CERT_NONE
opener = r.build_opener(r.ProxyHandler({}), r.HTTPSHandler(context=context))
try:
    answer = opener.open(sys.argv[1], timeout=5)
    print(answer.status, answer.headers.get("Server", ""))
except urllib.error.HTTPError as error:
    print(error.code, error.headers.get("Server", ""))
except OSError as error:
    print("-", error)
"""


class Look(t.NamedTuple):
    """What one address answers: ``status`` is that of HTTP, 0 when there is no answer; ``says`` is what was seen."""

    status: int
    says: str
    server: str = ""

    @property
    def answers(self) -> bool:
        return self.status != 0


class Place(t.NamedTuple):
    """Where a service is asked: at the host's address and port, and by the same path in its container."""

    address: str
    port: int
    inner_port: int
    path: str = "/health"
    tls: bool = False

    def url(self, address: str, port: int) -> str:
        return Endpoint("https" if self.tls else "http", address, port, self.path).url


class Verdict(t.NamedTuple):
    """Why a service is not reached at the host's port."""

    cause: str
    evidence: str
    fix: str


class Finding(t.NamedTuple):
    """What a look found: whether the service answers in its container, and why it is not reached, where it is not."""

    up: bool
    verdict: Verdict | None = None

    @property
    def reached(self) -> bool:
        return self.up and self.verdict is None


class Watch:
    """Looks from time to time for the reason why a service is not reached.

    It is looked twice before a reason is told, for what is broken for a moment mends itself, such as a firewall that is
    just being reloaded.
    """

    def __init__(self, examine: t.Callable[[], Finding], clock: t.Callable[[], float] = time.monotonic) -> None:
        self._examine = examine
        self._clock = clock
        self._next: float | None = None
        self._found = 0

    def check(self) -> Finding | None:
        """Return what a look found; None where none is due yet, or one more has to find the same."""
        now = self._clock()
        if self._next is None:
            self._next = now + PATIENCE
        if now < self._next:
            return None
        finding = self._examine()
        self._found = self._found + 1 if finding.verdict else 0
        self._next = now + (BETWEEN if finding.verdict else PATIENCE)
        return None if 0 < self._found < LOOKS else finding


def ask(address: str, port: int, path: str, tls: bool = False, timeout: float = 5.0) -> Look:
    """Ask one address over HTTP, without a proxy, a redirect or a key."""
    connection: http.client.HTTPConnection
    if tls:
        # The certificate names the service, not the address by which the host reaches itself.
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection = http.client.HTTPSConnection(address, port, timeout=timeout, context=context)
    else:
        connection = http.client.HTTPConnection(address, port, timeout=timeout)
    with contextlib.closing(connection):
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
        except socket.timeout:
            return Look(0, f"no answer within {timeout:g} seconds")
        except ssl.SSLError:
            return Look(0, "something that does not speak TLS")
        except http.client.HTTPException:
            return Look(0, "something that does not speak HTTP")
        except OSError as error:
            return Look(0, error.strerror.lower() if error.strerror else type(error).__name__)
        return _answered(answer.status, answer.getheader("Server") or "")


def addresses_of(container: t.Mapping[str, t.Any]) -> list[str]:
    """Return the container's own addresses, as the engine tells them."""
    networks = (container.get("NetworkSettings") or {}).get("Networks") or {}
    found = [str(network.get("IPAddress") or "") for network in networks.values() if isinstance(network, dict)]
    found += [str(network.get("GlobalIPv6Address") or "") for network in networks.values() if isinstance(network, dict)]
    return [address for address in found if address]


def inside_command(place: Place) -> list[str]:
    """Return the command that asks the service from inside of its container."""
    return ["python3", "-c", INSIDE, place.url("127.0.0.1", place.inner_port)]


def parse_inside(output: str) -> Look:
    """Return what that command saw."""
    status, _blank, rest = (output.strip().splitlines() or ["-"])[-1].partition(" ")
    if not status.isdigit():
        return Look(0, rest[:200] or "no answer")
    return _answered(int(status), rest)


def _answered(status: int, server: str) -> Look:
    server = server.strip()
    return Look(status, f"HTTP {status}" + (f" from {server[:60]}" if server else ""), server)


def look(
    place: Place,
    container: t.Mapping[str, t.Any],
    execute: t.Callable[[t.Sequence[str]], str] | None = None,
    asker: t.Callable[..., Look] = ask,
) -> tuple[Look, Look, str]:
    """Look at the host's port and into the container; returns both answers and where the container gave its own.

    ``execute`` runs a command in the container. The container's address is asked only where that does not answer:
    without its bridge the way to that address may lead to a stranger.
    """
    outside = asker(place.address, place.port, place.path, place.tls)
    inside, where = Look(0, "nobody could ask"), "in its container"
    if execute is not None:
        try:
            inside, where = parse_inside(execute(inside_command(place))), f"port {place.inner_port} in its container"
        except ValueError as error:
            inside = Look(0, str(error))
    for address in addresses_of(container):
        if not inside.answers:
            inside, where = asker(address, place.inner_port, place.path, place.tls), f"{address}:{place.inner_port}"
    return outside, inside, where


def judge(
    place: Place, outside: Look, inside: Look, where: str, service: str, name: str, holder: str | None = None
) -> Verdict | None:
    """Return why the service is up and not reached; None where it is reached, or is not up in its container either.

    ``holder`` says who else holds the host's port, where that is known.
    """
    # One program that answers differently now and a moment later, for it is just getting ready, is no stranger.
    reached = outside.answers and outside.server == inside.server and not holder
    if not inside.answers or reached:
        return None
    evidence = f"{where}: {inside.says}; {place.address}:{place.port}: {outside.says}"
    if holder:
        return Verdict(
            f"{service} answers in its container, and at the host's port {place.port} somebody else does: {holder}",
            evidence,
            f"change port, or stop what answers at port {place.port} and restart the container (docker restart {name})",
        )
    stranger = f"; what answers there is something else ({outside.says})" if outside.answers else ""
    return Verdict(
        f"{service} answers in its container and not at the host's port {place.port}{stranger}: the Docker Engine's "
        "network on this host is broken",
        evidence,
        "restart the engine, which writes its rules and bridges again (systemctl restart docker), and run again. A "
        "reload of firewalld or ufw, nft flush ruleset or a deleted bridge takes them away: iptables -t nat -L DOCKER "
        "-n shows the rule for the port, ip address the bridge",
    )


def examine(
    place: Place,
    service: str,
    name: str,
    container: t.Mapping[str, t.Any],
    execute: t.Callable[[t.Sequence[str]], str],
    containers: t.Callable[[], t.Iterable[t.Mapping[str, t.Any]]],
    asker: t.Callable[..., Look] = ask,
) -> Finding:
    """Look for the reason why a service is not reached; ``containers`` lists all that run on this host."""
    outside, inside, where = look(place, container, execute, asker)
    holder = None
    with contextlib.suppress(ValueError):
        holder = _ports.holder(place.address, place.port, containers(), [name])
    return Finding(inside.answers, judge(place, outside, inside, where, service, name, holder))
