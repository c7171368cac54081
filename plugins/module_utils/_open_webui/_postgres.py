# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A PostgreSQL database of Open WebUI, through PostgreSQL's own tools."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import subprocess
import tempfile
import urllib.parse

from ansible_collections.private_llm.fleet.plugins.module_utils._open_webui._data import DataError

_QUIET = ("--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1")

_SCHEME = re.compile(r"postgres(ql)?(\+[a-z0-9]+)?://")

# Takes away what Open WebUI made, and leaves the schema itself and what extensions own to whoever made them.
_CLEAR = """
SET client_min_messages = warning;
DO $clear$
DECLARE
    one record;
BEGIN
    FOR one IN
        SELECT relname AS name,
            CASE relkind
                WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE'
            END AS kind
        FROM pg_class c
        WHERE relnamespace = 'SCHEMA'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'S')
            AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype IN ('e', 'a', 'i'))
    LOOP
        EXECUTE format('DROP %s IF EXISTS %I.%I CASCADE', one.kind, 'SCHEMA', one.name);
    END LOOP;
    FOR one IN
        SELECT typname AS name
        FROM pg_type y
        WHERE typnamespace = 'SCHEMA'::regnamespace AND typtype IN ('e', 'd')
            AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = y.oid AND d.deptype = 'e')
    LOOP
        EXECUTE format('DROP TYPE IF EXISTS %I.%I CASCADE', 'SCHEMA', one.name);
    END LOOP;
END
$clear$;
"""


class ToolMissingError(DataError):
    """PostgreSQL's client is not on this host."""


@dataclasses.dataclass(frozen=True)
class Database:
    """Where a database is; the password travels in the environment, never in an argument."""

    address: str
    password: str = dataclasses.field(repr=False)
    schema: str = "public"

    @classmethod
    def parse(cls, url: str, schema: str = "public") -> Database:
        """Read a URL as Open WebUI takes it (SQLAlchemy's form), and give it as libpq takes it."""
        if not _SCHEME.match(url):
            raise DataError("the URL of the database must begin with postgresql://")
        parts = urllib.parse.urlsplit(_SCHEME.sub("postgresql://", url, count=1))
        if not parts.hostname or not parts.path.strip("/"):
            raise DataError(
                "the URL of the database must name a host and a database: postgresql://USER:PASSWORD@HOST:PORT/NAME"
            )
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", schema):
            raise DataError(f"{schema} is not the name of a schema")
        account, _at, place = parts.netloc.rpartition("@")
        user, _colon, password = account.partition(":")
        netloc = f"{user}@{place}" if user else place
        return cls(urllib.parse.urlunsplit(parts._replace(netloc=netloc)), urllib.parse.unquote(password), schema)

    def _run(self, tool: str, *arguments: str) -> str:
        return self._call(tool, *arguments, f"--dbname={self.address}")

    def _call(self, tool: str, *arguments: str) -> str:
        program = shutil.which(tool)
        if program is None:
            raise ToolMissingError(
                f"{tool} is not installed; install PostgreSQL's client, of the server's version or newer"
            )
        # There is no AnsibleModule here, and its run_command has no way to hold a password back from the log.
        done = subprocess.run(  # pylint: disable=ansible-bad-function
            [program, *arguments],
            env={**os.environ, "PGPASSWORD": self.password, "PGCONNECT_TIMEOUT": "10", "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            said = " ".join(done.stderr.split()[-60:]) or f"it ended with {done.returncode}"
            raise DataError(f"{tool} failed for {self.address}: {said}")
        return done.stdout

    def revision(self) -> str:
        """The revision of the schema, as Alembic keeps it; empty for a database that has none yet."""
        table = f"{self.schema}.alembic_version"
        if not self._ask(f"SELECT to_regclass('{table}')"):
            return ""
        return self._ask(f"TABLE {table}")

    def _ask(self, question: str) -> str:
        return self._run("psql", *_QUIET, "--tuples-only", "--no-align", f"--command={question}").strip()

    def dump(self, target: str) -> None:
        """Write all that is in the schema to a file, as of one moment."""
        self._run(
            "pg_dump", "--format=custom", "--no-owner", "--no-privileges", f"--schema={self.schema}", f"--file={target}"
        )

    def load(self, dump: str) -> None:
        """Put a dump in the place of what is there: wholly, or not at all."""
        with tempfile.TemporaryDirectory(dir=os.path.dirname(dump)) as folder:
            clear, fill = os.path.join(folder, "clear.sql"), os.path.join(folder, "fill.sql")
            with open(clear, "w", encoding="ascii") as handle:
                handle.write(_CLEAR.replace("SCHEMA", self.schema))
            # Without the schema itself, which stays.
            self._call("pg_restore", "--no-owner", "--no-privileges", f"--schema={self.schema}", f"--file={fill}", dump)
            self._run(
                "psql", *_QUIET, "--single-transaction", "--output=/dev/null", f"--file={clear}", f"--file={fill}"
            )
