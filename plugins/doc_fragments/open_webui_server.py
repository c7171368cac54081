# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """What is declared about an Open WebUI; in common to the modules that start it."""

    DOCUMENTATION = r"""
options:
  name:
    description: Name of the container.
    type: str
    default: open-webui
  image:
    description: The image, which must be on the host.
    type: str
    required: true
  bind:
    description: Address of the host on which Open WebUI can be reached. It speaks plain HTTP.
    type: str
    default: 0.0.0.0
  port:
    description: Port of the host on which Open WebUI can be reached.
    type: int
    default: 3000
  data_dir:
    description: The folder on the host that is Open WebUI's C(/app/backend/data).
    type: path
    required: true
  config_dir:
    description: The folder on the host for the administrator's password, the secret key and the environment.
    type: path
    required: true
  database_url:
    description:
      - A PostgreSQL database in the place of SQLite in O(data_dir), as the container reaches it, in the form
        C(postgresql://USER:PASSWORD@HOST:PORT/NAME). C(host.docker.internal) is the host itself.
    type: str
    default: ""
  host_gateway:
    description: Whether the container knows its host as C(host.docker.internal).
    type: bool
    default: true
  restart_policy:
    description: Docker's restart policy.
    type: str
    choices: ["no", on-failure, always, unless-stopped]
    default: unless-stopped
  memory:
    description: Memory limit of the container, such as V(4g); empty for none.
    type: str
    default: ""
  env:
    description:
      - Environment variables. Booleans become C(true) and C(false), lists and dictionaries become JSON. They are
        written to a file that only root can read. A change is followed by a restart.
      - Give it as a text in JSON (C(to_json)) where short values would otherwise be hidden in Ansible's output.
    type: jsonarg
    default: "{}"
  admin_email:
    description: Sign-in name of the administrator, who is made when Open WebUI starts for the first time.
    type: str
    default: admin@localhost
  admin_name:
    description: Name shown for the administrator. Used at the first start only.
    type: str
    default: Admin
  admin_password:
    description:
      - Password of the administrator. Empty means that one is generated, once, and kept in C(admin_password) in
        O(config_dir).
    type: str
    default: ""
  secret_key:
    description:
      - Key that signs sessions. Empty means that one is generated, once, and kept in C(secret_key) in O(config_dir).
    type: str
    default: ""
  backup_dir:
    description: The folder for the backup that is made before the data are changed; readable by root only.
    type: path
    required: true
  backup_keep:
    description: How many backups are kept; V(0) keeps all.
    type: int
    default: 5
  timeout:
    description: Seconds that a start may take.
    type: int
    default: 300
  called:
    description: What the host is called in messages; empty for its own name.
    type: str
    default: ""
notes:
  - Runs on the host of the Docker Engine, as root, with nothing but Python's standard library. E(DOCKER_HOST) is
    honored.
"""
