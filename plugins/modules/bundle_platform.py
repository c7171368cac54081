#!/usr/bin/python
# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: bundle_platform
short_description: Have a container of a distribution stand for its hosts while a bundle is made
version_added: "0.1.0"
author:
  - private_llm.fleet contributors (@private-llm)
description:
  - Starts a container of a distribution on the machine where a bundle is made, and waits until it has Python. Packages
    and libraries for hosts of that distribution are fetched in it.
  - The image is pulled with C(docker pull) where it is missing.
  - A container ends by itself after four hours, such as when the controller was killed. One of a run that was killed is
    left, and removed with the others at the end of the next run.
  - The playbook C(playbooks/bundle.yml) does all this.
options:
  work:
    description: The folder that keeps what is fetched. A folder in it, named after the image, is C(/bundle) in the
      container.
    type: path
    required: true
  image:
    description: The image of the distribution, such as V(debian:13). Needed with O(state=started).
    type: str
  state:
    description: V(started) has a container of O(image). V(absent) removes all containers for O(work).
    type: str
    choices: [started, absent]
    default: started
  timeout:
    description: Seconds until the container must be ready.
    type: int
    default: 600
  run:
    description:
      - What tells this run from others, as the filter P(private_llm.fleet.group_run#filter) gives it.
      - While a run goes on that has started a container for O(work), others are refused there.
    type: str
    default: ""
extends_documentation_fragment:
  - private_llm.fleet.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
"""

EXAMPLES = r"""
- name: Have a container of Debian
  private_llm.fleet.bundle_platform:
    work: /srv/bundle.work
    image: debian:13
  register: debian

- name: Remove all containers of the bundle
  private_llm.fleet.bundle_platform:
    work: /srv/bundle.work
    state: absent
"""

RETURN = r"""
container:
  description: The id of the container; empty when there is none.
  type: str
  returned: with O(state=started)
removed:
  description: The ids of the containers that were removed, or would be.
  type: list
  elements: str
  returned: with O(state=absent)
"""

import os
import typing as t

from ..module_utils._bundle import _platform
from ..module_utils._bundle._index import BundleError
from ..module_utils._engine._client import Engine, EngineError
from ..module_utils._fleet_module import FleetModule


def started(module: FleetModule, engine: Engine, work: str) -> dict[str, t.Any]:
    """Have the container."""
    image = module.params["image"]
    _platform.refuse_others(engine, work, module.params["run"])
    found = _platform.find(engine, image, work, module.params["run"])
    if found or module.check_mode:
        if found and not module.check_mode:
            _platform.wait(engine, found, image, module.params["timeout"])
        return {"changed": not found, "container": found}
    if engine.inspect_image(image) is None:
        # With the passwords that docker login has left, which the engine itself does not know.
        module.run_command([module.get_bin_path("docker", required=True), "pull", "--quiet", image], check_rc=True)
    name = _platform.start(engine, image, work, module.params["run"])
    try:
        _platform.wait(engine, name, image, module.params["timeout"])
    except BaseException:
        engine.remove(name)
        raise
    return {"changed": True, "container": name}


def absent(module: FleetModule, engine: Engine, work: str) -> dict[str, t.Any]:
    """Have none, unless they are another run's."""
    _platform.refuse_others(engine, work, module.params["run"])
    if module.check_mode:
        rows = engine.containers(stopped=True, labels=[f"{_platform.LABEL}={work}"])
        found = [str(row["Id"]) for row in rows]
    else:
        found = _platform.remove(engine, work)
    return {"changed": bool(found), "removed": found}


def main() -> None:
    """Run the module."""
    module = FleetModule(
        argument_spec={
            "work": {"type": "path", "required": True},
            "image": {"type": "str"},
            "state": {"type": "str", "choices": ["started", "absent"], "default": "started"},
            "timeout": {"type": "int", "default": 600},
            "run": {"type": "str", "default": ""},
        },
        required_if=[("state", "started", ("image",))],
        supports_check_mode=True,
    )
    run = {"started": started, "absent": absent}[module.params["state"]]
    try:
        result = run(module, Engine.connect(), os.path.realpath(module.params["work"]))
    except (BundleError, EngineError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
