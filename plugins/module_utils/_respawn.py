# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Find a Python library on the managed host: here, or in the collection's own virtual environment."""

from __future__ import annotations

import importlib
import os
import typing as t

from ansible.module_utils.common.respawn import has_respawned, probe_interpreters_for_module, respawn_module

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

# Where the role host_python puts the environment. The variable exists for tests and for sites with another prefix.
VENV_PYTHON = os.path.join(os.environ.get("PRIVATE_LLM_VENV", "/opt/private_llm/venv"), "bin", "python")


def _importable(library: str) -> bool:
    try:
        importlib.import_module(library)
    except ImportError:
        return False
    return True


def available(library: str) -> bool:
    """Say whether ``require`` would succeed: this or the collection's own interpreter can import the library."""
    if _importable(library):
        return True
    return not has_respawned() and probe_interpreters_for_module([VENV_PYTHON], library) is not None


def require(module: AnsibleModule, library: str) -> None:
    """Return when ``library`` can be imported; else start the module again under the collection's interpreter.

    Fails the module, naming the role that installs the library, when neither interpreter has it.
    """
    if _importable(library):
        return
    if not has_respawned():
        interpreter = probe_interpreters_for_module([VENV_PYTHON], library)
        if interpreter:
            respawn_module(interpreter)  # does not return
    module.fail_json(
        msg=(
            f"the Python library {library} was found neither by this interpreter nor by {VENV_PYTHON}; "
            "apply the role private_llm.fleet.host_python to this host, or install the library yourself"
        )
    )
