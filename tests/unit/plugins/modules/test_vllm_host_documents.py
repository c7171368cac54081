# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The look at a host is documented at two modules, because a documentation fragment holds no suboptions."""

from __future__ import annotations

import yaml

from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.lifecycle._host_facts import ARGUMENTS
from ansible_collections.private_llm.fleet.plugins.modules import vllm_host_info, vllm_servers


def test_both_modules_say_the_same_of_a_look_at_a_host() -> None:
    alone = yaml.safe_load(vllm_host_info.DOCUMENTATION)["options"]
    assert yaml.safe_load(vllm_servers.DOCUMENTATION)["options"]["host"]["suboptions"] == alone
    assert set(alone) == set(ARGUMENTS)
