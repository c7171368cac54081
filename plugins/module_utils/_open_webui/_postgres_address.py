# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The URL of a PostgreSQL database, taken apart for PostgreSQL's own tools.

Nothing of it becomes an argument of a program: everybody on a host can read those. The parts travel in the environment,
and those for which PostgreSQL's library has no variable in a file that has no name.
"""

from __future__ import annotations

import re
import typing as t
import urllib.parse

from ._tree import DataError

_SCHEME = re.compile(r"postgres(ql)?(\+[a-z0-9]+)?://")

# https://www.postgresql.org/docs/current/libpq-envars.html
_VARIABLES = {
    "application_name": "PGAPPNAME",
    "channel_binding": "PGCHANNELBINDING",
    "client_encoding": "PGCLIENTENCODING",
    "connect_timeout": "PGCONNECT_TIMEOUT",
    "dbname": "PGDATABASE",
    "gssencmode": "PGGSSENCMODE",
    "gsslib": "PGGSSLIB",
    "host": "PGHOST",
    "hostaddr": "PGHOSTADDR",
    "krbsrvname": "PGKRBSRVNAME",
    "load_balance_hosts": "PGLOADBALANCEHOSTS",
    "options": "PGOPTIONS",
    "passfile": "PGPASSFILE",
    "password": "PGPASSWORD",
    "port": "PGPORT",
    "require_auth": "PGREQUIREAUTH",
    "requirepeer": "PGREQUIREPEER",
    "ssl_max_protocol_version": "PGSSLMAXPROTOCOLVERSION",
    "ssl_min_protocol_version": "PGSSLMINPROTOCOLVERSION",
    "sslcert": "PGSSLCERT",
    "sslcertmode": "PGSSLCERTMODE",
    "sslcrl": "PGSSLCRL",
    "sslcrldir": "PGSSLCRLDIR",
    "sslkey": "PGSSLKEY",
    "sslmode": "PGSSLMODE",
    "sslnegotiation": "PGSSLNEGOTIATION",
    "sslrootcert": "PGSSLROOTCERT",
    "sslsni": "PGSSLSNI",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
    "user": "PGUSER",
}
# Without a variable of its own: https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS
_IN_FILE = frozenset(
    (
        "keepalives",
        "keepalives_count",
        "keepalives_idle",
        "keepalives_interval",
        "sslcompression",
        "sslpassword",
        "tcp_user_timeout",
    )
)
SECRET = frozenset(("password", "sslpassword"))

# libpq reads the lines of a service file into so much room in its older versions.
_LONGEST_LINE = 250


def parse(url: str) -> dict[str, str]:
    """Return the parameters of a URL in SQLAlchemy's form by libpq's names; DataError never quotes the URL."""
    if not _SCHEME.match(url):
        raise DataError("the URL of the database must begin with postgresql://")
    try:
        parts = urllib.parse.urlsplit(_SCHEME.sub("postgresql://", url, count=1))
        query = urllib.parse.parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError as error:
        # What Python says may quote the password.
        raise DataError(
            "the URL of the database cannot be read; letters such as / ? # [ ] @ % in a user's name or password must be"
            " written as %2F and so on"
        ) from error
    if parts.fragment or ("@" not in parts.netloc and "@" in parts.path + parts.query):
        raise DataError(
            "the URL of the database has a / ? or # in its user's name or password; write it as %2F, %3F or %23"
        )
    account, _at, place = parts.netloc.rpartition("@")
    user, _colon, password = account.partition(":")
    hosts, ports = _hosts(place)
    found = {"user": user, "password": password, "host": hosts, "port": ports, "dbname": parts.path.strip("/")}
    given = {key: urllib.parse.unquote(value) for key, value in found.items() if value.strip(",")}
    for key, value in query:
        if key not in _VARIABLES and key not in _IN_FILE:
            raise DataError(
                f"the URL of the database has a parameter that PostgreSQL's tools do not have: {key[:40]!r}"
            )
        given[key] = value
    for key, value in given.items():
        if any(letter in value for letter in "\0\r\n"):
            raise DataError(f"the URL of the database has a line end in its {key}; remove it")
    if not given.get("host") or not given.get("dbname"):
        raise DataError(
            "the URL of the database must name a host and a database: postgresql://USER:PASSWORD@HOST:PORT/NAME"
        )
    return given


def _hosts(place: str) -> tuple[str, str]:
    """Return the hosts and the ports of a URL, each with commas between, as libpq wants them."""
    hosts, ports = [], []
    for one in place.split(","):
        match = re.fullmatch(r"(\[[0-9A-Fa-f:.%a-z]+\]|[^\[\]:]*)(?::([0-9]{0,5}))?", one)
        if match is None:
            raise DataError(
                "the URL of the database has no host and port that can be read, such as db.example.com:5432"
            )
        hosts.append(match.group(1).strip("[]"))
        ports.append(match.group(2) or "")
    return ",".join(hosts), ",".join(ports) if any(ports) else ""


def shown(given: t.Mapping[str, str]) -> str:
    """Return where a database is, for a message."""
    port = f":{given['port']}" if given.get("port") else ""
    user = f"{given['user']}@" if given.get("user") else ""
    host = f"[{given['host']}]" if ":" in given["host"] else given["host"]
    return f"postgresql://{user}{host}{port}/{given['dbname']}"


def environment(given: t.Mapping[str, str]) -> dict[str, str]:
    """Return the variables that tell PostgreSQL's tools where the database is."""
    return {_VARIABLES[key]: value for key, value in given.items() if key in _VARIABLES}


def service_file(given: t.Mapping[str, str]) -> str:
    """Return what goes into a service file, for parameters that have no variable; empty when there are none."""
    lines = [f"{key}={value}" for key, value in given.items() if key in _IN_FILE]
    for line in lines:
        if len(line.encode()) > _LONGEST_LINE or line != line.strip():
            raise DataError(
                f"the {line.split('=')[0]} in the URL of the database is too long, or has blanks at an end, for"
                " PostgreSQL's tools"
            )
    return "".join(f"{line}\n" for line in ("[open_webui]", *lines)) if lines else ""
