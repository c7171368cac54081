# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.private_llm.fleet.plugins.filter.model_offer import model_offer


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("192.0.2.10", "http://192.0.2.10:8790"),
        ("2001:db8::7", "http://[2001:db8::7]:8790"),
        ("[2001:db8::7]", "http://[2001:db8::7]:8790"),
        ("gpu1.example.com", "http://gpu1.example.com:8790"),
        # A host that does not take part.
        ("", ""),
    ],
)
def test_url(address: str, url: str) -> None:
    assert model_offer([], address, 8790, "r1") == {"url": url, "rack": "r1", "models": [], "bytes_per_second": None}


def test_a_port_is_a_number() -> None:
    with pytest.raises(AnsibleFilterError, match="port"):
        model_offer([], "192.0.2.10", "many")
