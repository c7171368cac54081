# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from jinja2.exceptions import UndefinedError
from jinja2.runtime import StrictUndefined

from ansible_collections.private_llm.fleet.plugins.filter.vllm_instance_problems import vllm_instance_problems


class Unevaluated(dict[str, t.Any]):
    """A mapping of which one value needs facts that are not there, as Ansible hands it over."""

    def __getitem__(self, key: str) -> t.Any:
        if super().__getitem__(key) == "{{ facts }}":
            raise UndefinedError("object of type 'dict' has no attribute 'default_ipv4'")
        return super().__getitem__(key)


def test_what_cannot_be_evaluated_is_told_by_its_variable() -> None:
    instance = Unevaluated(name="alpha", model="/m", port=1, gpus=[StrictUndefined(name="first")], bind="{{ facts }}")
    why = "object of type 'dict' has no attribute 'default_ipv4'"
    assert vllm_instance_problems([instance], "gpu-01", (), Unevaluated(bind="{{ facts }}")) == [
        "gpu-01: vllm_server_instances[0].gpus[0]: cannot be evaluated; "
        "it needs a variable or a fact that is not there",
        f"gpu-01: vllm_server_instances[0].bind: cannot be evaluated: {why}",
        f"gpu-01: vllm_server_bind: cannot be evaluated: {why}",
    ]
