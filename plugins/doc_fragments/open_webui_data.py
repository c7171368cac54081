# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """Where an Open WebUI keeps what it knows; in common to the modules that work on its files and database."""

    DOCUMENTATION = r"""
options:
  data_dir:
    description: The folder on the host that is Open WebUI's C(/app/backend/data).
    type: path
    required: true
  database_url:
    description:
      - The PostgreSQL database, as C(postgresql://USER:PASSWORD@HOST:PORT/NAME), as this host reaches it. Empty when
        the database is SQLite's C(webui.db) in O(data_dir).
      - It is reached with PostgreSQL's own tools C(psql), C(pg_dump) and C(pg_restore) on the host, which must be of
        the server's version or newer. The password travels in their environment.
    type: str
    default: ""
  database_schema:
    description: The schema of the PostgreSQL database that is Open WebUI's own.
    type: str
    default: public
requirements:
  - for PostgreSQL, its client programs of the server's version or newer
notes:
  - Runs on the host that has the data, as root, with nothing but Python's standard library.
"""
