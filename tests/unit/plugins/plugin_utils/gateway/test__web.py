# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.plugin_utils.gateway import _options, _web

SERVER = {"name": "g:m", "url": "http://192.0.2.1:18005", "models": ["m"]}
ANN = {"name": "ann", "models": ["*"]}


def web(**more: t.Any) -> dict[str, t.Any]:
    return {"ansible_host": "192.0.2.30", "open_webui_public_url": "https://Chat.example.com/", **more}


def test_an_open_webui_is_found_by_the_name_in_its_public_url() -> None:
    hostvars = {"web": web(), "same": web(open_webui_port=3001, open_webui_bind="127.0.0.1"), "none": {}}
    assert _web.webs(["web", "same", "none"], hostvars, "same") == [
        {"name": "chat.example.com", "url": "http://192.0.2.30:3000", "unreachable": ""},
        {"name": "chat.example.com", "url": "http://127.0.0.1:3001", "unreachable": ""},
    ]


def test_one_that_listens_for_its_own_host_alone_is_told() -> None:
    found = _web.webs(["web"], {"web": web(open_webui_bind="127.0.0.1")}, "gw")
    (said,) = _options.problem_lines([SERVER], [ANN], found, True)
    assert "chat.example.com cannot be reached from the gateway: open_webui_bind 127.0.0.1" in said


@pytest.mark.parametrize(
    ("webs", "said"),
    [
        ([], "gateway_open_webui: is true, and no host of webui_hosts has an open_webui_public_url"),
        ([{"name": "chat x", "url": "http://h:1"}], "gateway_webs[0].name: 'chat x' is not the name of a host"),
        ([{"name": "chat", "url": "ftp://h"}], "gateway_webs[0].url: chat: is not a URL"),
        ([{"name": "chat", "url": "http://h:1"}] * 2, "gateway_webs[1].name: chat is also gateway_webs[0]"),
    ],
)
def test_problems_name_the_variable(webs: t.Any, said: str) -> None:
    assert any(said in line for line in _options.problem_lines([SERVER], [ANN], webs, True))


def test_without_open_webui_nothing_is_asked_for() -> None:
    assert _options.problem_lines([SERVER], [ANN], [], False) == []


def test_a_certificate_has_each_name_once() -> None:
    values = [
        "gw-01",
        "GW-01",
        "192.0.2.1",
        "::1",
        "https://[2001:db8::1]:8443",
        "http://llm.example.com",
        "",
        "a b",
        "*.x.org",
    ]
    assert _web.alternative_names(values) == [
        "DNS:*.x.org",
        "DNS:gw-01",
        "DNS:llm.example.com",
        "IP:192.0.2.1",
        "IP:2001:db8::1",
        "IP:::1",
    ]


@pytest.mark.parametrize("odd", [None, 7, "x", {"a": 1}, [None], [7], [{}], [{"name": 1}]])
def test_what_has_another_form_never_raises(odd: t.Any) -> None:
    assert _web.webs(odd, odd, odd) == []
    assert _web.webs_of(odd) == ()
    assert isinstance(_web.web_problems(odd, odd), list)
    assert isinstance(_web.alternative_names(odd), list)
