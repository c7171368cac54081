# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.private_llm.fleet.plugins.filter.service_url import service_url


@pytest.mark.parametrize(
    ("address", "bind", "url"),
    [
        ("gpu-01.lan", "0.0.0.0", "http://gpu-01.lan:9090"),
        ("192.0.2.7", "::", "http://192.0.2.7:9090"),
        ("2001:db8::7", "::", "http://[2001:db8::7]:9090"),
        ("[2001:db8::7]", "0.0.0.0", "http://[2001:db8::7]:9090"),
        ("gpu-01", "192.0.2.8", "http://192.0.2.8:9090"),
        ("gpu-01", "2001:db8::8", "http://[2001:db8::8]:9090"),
    ],
)
def test_others_reach_a_service(address: str, bind: str, url: str) -> None:
    assert service_url(address, "9090", bind=bind) == url
    assert service_url(address, 9090, "https", bind) == url.replace("http:", "https:")


@pytest.mark.parametrize("address", ["", "a b", 'a"b', "a/b", "user@host", "fd00::g"])
def test_what_names_no_host_is_refused(address: str) -> None:
    with pytest.raises(AnsibleFilterError):
        service_url(address, 9090)


@pytest.mark.parametrize("port", [0, 65536, "x", True])
def test_what_is_no_port_is_refused(port: object) -> None:
    with pytest.raises(AnsibleFilterError, match="port: "):
        service_url("gpu-01", port)


def test_what_is_no_scheme_is_refused() -> None:
    with pytest.raises(AnsibleFilterError, match="URL"):
        service_url("gpu-01", 9090, "ftp")
