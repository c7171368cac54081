# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ..plugin_utils._filter_input import demand
from ..plugin_utils._host_vars import LINE

DOCUMENTATION = r"""
name: mirrored_image
short_description: Name under which a mirror holds a container image
version_added: "0.1.0"
author:
  - private_llm.fleet contributors
description:
  - Replaces the registry in an image's reference by a mirror, as C(host[:port][/prefix]).
  - An empty mirror leaves the reference as it is.
  - Docker Hub's short names are written out, as mirrors want them. V(alpine) is V(library/alpine) there.
positional: _input, mirror
options:
  _input:
    description: The image's reference, with or without registry, tag or digest.
    type: str
    required: true
  mirror:
    description: The mirror, as C(host[:port][/prefix]), or an empty string.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Show where an image comes from
  ansible.builtin.debug:
    # → mirror.example.com/ghcr/open-webui/open-webui:v0.12.4
    msg: "{{ 'ghcr.io/open-webui/open-webui:v0.12.4' | private_llm.fleet.mirrored_image('mirror.example.com/ghcr') }}"
"""

RETURN = r"""
_value:
  description: The reference to pull.
  type: str
"""


def mirrored_image(reference: t.Any, mirror: t.Any) -> str:
    """Return the reference to pull when ``mirror`` stands in for the registry of ``reference``."""
    reference, mirror = str(demand(reference, LINE, "image")), str(demand(mirror, LINE, "mirror"))
    if not mirror:
        return reference
    first, slash, rest = reference.partition("/")
    # The rule of Docker's own reference parser: a first part with a dot or a port, or localhost, is a registry.
    has_registry = bool(slash) and ("." in first or ":" in first or first == "localhost")
    repository = rest if has_registry else reference
    on_docker_hub = not has_registry or first in ("docker.io", "index.docker.io")
    if on_docker_hub and "/" not in repository:
        repository = f"library/{repository}"
    return f"{mirror.rstrip('/')}/{repository}"


class FilterModule:
    """The filter, as Ansible finds it."""

    def filters(self) -> dict[str, t.Callable[[t.Any, t.Any], str]]:
        """Return the functions by name."""
        return {"mirrored_image": mirrored_image}
