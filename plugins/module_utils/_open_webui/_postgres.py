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
import typing as t

from . import _postgres_address, _tree

DataError = _tree.DataError

_QUIET = ("--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1")

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
    """Where a database is. Nothing of it is told in an argument, for everybody on a host can read those."""

    parameters: t.Mapping[str, str] = dataclasses.field(repr=False)
    schema: str = "public"

    @classmethod
    def parse(cls, url: str, schema: str = "public") -> Database:
        """Read a URL as Open WebUI takes it (SQLAlchemy's form)."""
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", schema):
            raise DataError(f"{schema} is not the name of a schema")
        return cls(_postgres_address.parse(url), schema)

    @property
    def address(self) -> str:
        """Return where the database is, without anything secret."""
        return _postgres_address.shown(self.parameters)

    def _call(self, tool: str, *arguments: str) -> str:
        program = shutil.which(tool)
        if program is None:
            raise ToolMissingError(
                f"{tool} is not installed; install PostgreSQL's client, of the server's version or newer"
            )
        told = {"PGCONNECT_TIMEOUT": "10", **_postgres_address.environment(self.parameters), "LC_ALL": "C"}
        # Variables of whoever runs this must not lead elsewhere.
        own = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
        with tempfile.TemporaryFile() as service:
            keep: tuple[int, ...] = ()
            more = _postgres_address.service_file(self.parameters)
            if more:
                service.write(more.encode())
                service.flush()
                keep = (service.fileno(),)
                told.update(PGSERVICE="open_webui", PGSERVICEFILE=f"/proc/self/fd/{service.fileno()}")
            # There is no AnsibleModule here, and its run_command has no way to hold a password back from the log.
            done = subprocess.run(  # pylint: disable=ansible-bad-function
                [program, *arguments],
                env={**own, **told},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                pass_fds=keep,
            )
        if done.returncode:
            said = self._clean(" ".join(done.stderr.split()[-60:])) or f"it ended with {done.returncode}"
            raise DataError(f"{tool} failed for {self.address}: {said}")
        return done.stdout

    def _clean(self, said: str) -> str:
        for key in _postgres_address.SECRET:
            # A shorter one would hide the message.
            if len(self.parameters.get(key, "")) > 3:
                said = said.replace(self.parameters[key], "(hidden)")
        return said

    def revision(self) -> str:
        """Return the revision of the schema, as Alembic keeps it; empty for a database that has none yet."""
        table = f"{self.schema}.alembic_version"
        if not self._ask(f"SELECT to_regclass('{table}')"):
            return ""
        return self._ask(f"TABLE {table}")

    def _ask(self, question: str) -> str:
        return self._call("psql", *_QUIET, "--tuples-only", "--no-align", f"--command={question}").strip()

    def dump(self, target: str) -> None:
        """Write all that is in the schema to a file, as of one moment."""
        self._call(
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
            self._call(
                "psql", *_QUIET, "--single-transaction", "--output=/dev/null", f"--file={clear}", f"--file={fill}"
            )
