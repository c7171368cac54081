# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._hub import _proxy
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._files import HubError
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._proxy import Direct


@pytest.mark.parametrize(
    ("pattern", "url", "expected"),
    [
        ("10.0.0.0/8", "http://10.1.2.3:8080/x", True),
        ("10.0.0.0/8", "http://11.1.2.3/", False),
        ("10.1.2.3/8", "http://10.9.9.9/", True),
        ("10.*", "http://10.9.9.9/", True),
        ("192.168.1.*", "http://192.168.1.77/", True),
        ("192.168.1.*", "http://192.168.2.77/", False),
        ("fd00::/8", "http://[fd12::1]:80/", True),
        ("[::1]", "http://[::1]/", True),
        ("10.0.0.5", "http://10.0.0.5/", True),
        ("10.0.0.5", "http://10.0.0.50/", False),
        ("hub.example.com", "https://hub.example.com/", True),
        ("hub.example.com", "https://cdn.hub.example.com/", True),
        ("hub.example.com", "https://myhub.example.com/", False),
        ("*.example.com", "https://hub.example.com/", True),
        (".example.com", "https://HUB.example.com/", True),
        ("hub.example.com:8443", "https://hub.example.com:8443/", True),
        ("hub.example.com:8443", "https://hub.example.com/", False),
        ("*", "https://anything/", True),
        ("10.0.0.0/8", "https://hub.example.com/", False),
    ],
)
def test_hosts_that_are_reached_directly(pattern: str, url: str, expected: bool) -> None:
    assert Direct([pattern]).covers(url) is expected


def test_variables_are_written_so_that_every_library_understands_them() -> None:
    found = _proxy.environment(
        "http://proxy:3128", ["10.0.0.0/8", "192.168.*", "*.corp"], ["http://10.1.2.3:80", "https://hub"], {}
    )
    assert found["https_proxy"] == found["HTTP_PROXY"] == "http://proxy:3128"
    assert found["no_proxy"] == found["NO_PROXY"] == ".corp,10.0.0.0/8,192.168.0.0/16,10.1.2.3"
    # What the environment of the host says is read in the same way, and left as it is.
    host = _proxy.environment(None, [], ["http://127.0.0.1:81"], {"NO_PROXY": "127.0.0.*, odd*one"})
    assert host == {"no_proxy": "127.0.0.*,odd*one,127.0.0.1", "NO_PROXY": "127.0.0.*,odd*one,127.0.0.1"}
    assert _proxy.environment(None, [], ["http://hub"], {}) == {}


@pytest.mark.parametrize("pattern", ["hub*.example.com", "10.0.0.0/33", "a b", "http://hub", "1.2.3.4.*", "é", "[::"])
def test_pattern_that_means_nothing_is_refused(pattern: str) -> None:
    with pytest.raises(HubError, match=r"no_proxy holds .* which is not a host, domain, address or network"):
        _proxy.check_no_proxy(["good.example.com", pattern])


@pytest.mark.parametrize(
    ("proxy", "expected"),
    [
        ("http://proxy:3128", "http://proxy:3128"),
        (" proxy.example.com:3128\n", "http://proxy.example.com:3128"),
        ("https://me:p%40ss@proxy", "https://me:p%40ss@proxy"),
        ("", None),
        (None, None),
        (" ", None),
    ],
)
def test_proxy(proxy: str | None, expected: str | None) -> None:
    assert _proxy.check_proxy(proxy) == expected


@pytest.mark.parametrize(
    "proxy", ["http://me:hunter2/x@proxy", "http://me:hunter2#@proxy", "ftp://me:hunter2@proxy", "http://me:hunter2 @p"]
)
def test_proxy_that_is_none_is_not_quoted(proxy: str) -> None:
    with pytest.raises(HubError, match="proxy is not a URL") as caught:
        _proxy.check_proxy(proxy)
    assert "hunter2" not in str(caught.value)


def test_secrets_of_a_url() -> None:
    assert _proxy.secrets_of("http://me:p%40ss@proxy:1") == {"me:p%40ss", "me:p@ss", "p%40ss", "p@ss"}
    assert _proxy.secrets_of("me:secret@proxy") == {"me:secret", "secret"}
    assert _proxy.secrets_of("http://proxy") == _proxy.secrets_of(None) == set()
