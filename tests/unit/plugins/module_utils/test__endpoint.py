# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._endpoint import EndpointError, bare, listening, parse


@pytest.mark.parametrize(
    "url",
    [
        "https://llm.example.com",
        "http://gpu_01.lan:8000/a%20b/it's",
        "http://192.0.2.1:8000",
        "http://[2001:db8::1]:8000/x",
        "http://[fe80::1%25eth0]:8000",
    ],
)
def test_an_endpoint_is_its_url(url: str) -> None:
    assert parse(url + "/v1/").url == url


@pytest.mark.parametrize("host", ['a"b', "a'b", "$(x)", "a,b", "a..b", "a%41b", "a\\b", "a{b", "*", ".a"])
def test_a_host_of_other_characters_is_refused(host: str) -> None:
    with pytest.raises(EndpointError, match="host"):
        parse(f"https://{host}:8000")


@pytest.mark.parametrize("path", ['/a"b', "/a\\b", "/a%b", "/a%[env(HOME)]", "/a{b}", "/a|b", "/a<b>"])
def test_a_path_of_other_characters_is_refused(path: str) -> None:
    with pytest.raises(EndpointError, match="path"):
        parse(f"https://llm.example.com{path}")


@pytest.mark.parametrize("host", ["[fd00::1]", "fd00::1"])
def test_an_ipv6_address_is_one_with_and_without_brackets(host: str) -> None:
    assert bare(host) == "fd00::1"
    assert listening("http", "0.0.0.0", 8000, host).url == "http://[fd00::1]:8000"
