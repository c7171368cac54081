# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.private_llm.fleet.plugins.filter.local_url import local_url
from ansible_collections.private_llm.fleet.plugins.module_utils import _endpoint
from ansible_collections.private_llm.fleet.tests.support import playbooks


@pytest.mark.parametrize(
    ("bind", "url"),
    [
        ("0.0.0.0", "http://127.0.0.1:3000"),
        ("127.0.0.2", "http://127.0.0.2:3000"),
        ("192.0.2.7", "http://192.0.2.7:3000"),
        ("::", "http://[::1]:3000"),
        ("2001:db8::7", "http://[2001:db8::7]:3000"),
    ],
)
def test_a_host_reaches_its_own_service(bind: str, url: str) -> None:
    assert _endpoint.here("http", bind, 3000).url == url
    assert local_url(bind, 3000) == url
    assert local_url(bind, "3000") == url


@pytest.mark.parametrize("bind", ["", "gpu-01", "0.0.0.0/0", "[::]"])
def test_what_is_no_address_is_refused(bind: str) -> None:
    with pytest.raises(_endpoint.EndpointError, match="is not an IP address"):
        _endpoint.here("http", bind, 3000)
    with pytest.raises(AnsibleFilterError):
        local_url(bind, 3000)


@pytest.mark.parametrize("port", [0, 65536, -1, "x", 1.5, True])
def test_what_is_no_port_is_refused(port: object) -> None:
    with pytest.raises(AnsibleFilterError, match="port: "):
        local_url("0.0.0.0", port)


def test_nobody_else_writes_a_url_by_hand() -> None:
    """An address of IPv6 needs brackets in a URL, and one that means all addresses is another one there."""
    by_hand = re.compile(r"https?://\{|http\{|'(https?)?://' *~|\"(https?)?://\" *~|f\"https?://\"")
    files = [*playbooks.ROOT.glob("playbooks/*.yml"), *playbooks.ROOT.glob("roles/*/[dtv]*/*.yml")]
    files += playbooks.ROOT.glob("plugins/**/*.py")
    found = [str(path) for path in files if by_hand.search(path.read_text("utf-8"))]
    assert [path for path in found if not path.endswith("_hub/_proxy.py")] == []
