# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who is told of an alert: Alertmanager's configuration, and that of the bridge to chats. Pure.

Alertmanager speaks to webhooks and mail servers itself. The robots of DingTalk, WeCom and Feishu take messages of their
own form, which the bridge on the monitoring host writes for them.
"""

from __future__ import annotations

import json
import re
import typing as t

import yaml

from ...module_utils._endpoint import Endpoint
from .._host_vars import LINE, conform, silent
from .._problem import Problem
from ._rules import SWITCH, seconds

RECEIVERS = "monitoring_receivers"
WEBHOOK, MAIL = "webhook", "mail"
CHATS = ("dingtalk", "wecom", "feishu")
TYPES = (WEBHOOK, MAIL, *CHATS)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
NOBODY = "nobody"
OWN = (NOBODY, "dead-mans-switch")

RECEIVER = {
    "name!": LINE,
    "type!": LINE,
    "url": LINE,
    "secret": LINE,
    "to": LINE,
    "from": LINE,
    "smarthost": LINE,
    "username": LINE,
    "password": LINE,
}
NEEDS = {
    WEBHOOK: ("url",),
    MAIL: ("to", "from", "smarthost"),
    **dict.fromkeys(CHATS, ("url",)),
}
# Keys without a meaning for a type are mistakes of somebody who means another one.
TAKES = {
    WEBHOOK: (),
    MAIL: ("username", "password"),
    "dingtalk": ("secret",),
    "wecom": (),
    "feishu": ("secret",),
}


class Timing(t.NamedTuple):
    """When people are told, in seconds."""

    wait: float = 30
    again: float = 14400


def problems(given: t.Any, host: str = "") -> list[Problem]:
    """Return what is wrong with receivers, each with its variable; no value of theirs is in it."""
    found: list[Problem] = []

    def note(where: str, text: str) -> None:
        found.append(Problem(host, where, "monitoring", text))

    seen: dict[str, int] = {}
    for index, receiver in enumerate(conform(given, [RECEIVER], RECEIVERS, note)):
        where, name, kind = f"{RECEIVERS}[{index}]", receiver["name"], receiver["type"]
        if not NAME.fullmatch(name) or name in OWN:
            note(f"{where}.name", "is not a receiver's name; use up to 64 letters, digits, dashes and underscores")
        if seen.setdefault(name, index) != index:
            note(f"{where}.name", f"{name} is also {RECEIVERS}[{seen[name]}]; give each a name of its own")
        if kind not in TYPES:
            note(f"{where}.type", f"{name}: must be one of {', '.join(TYPES)}")
            continue
        for key in NEEDS[kind]:
            if not receiver[key]:
                note(f"{where}.{key}", f"{name}: a receiver of type {kind} needs it")
        for key in RECEIVER:
            if key not in ("name!", "type!", *NEEDS[kind], *TAKES[kind]) and receiver[key]:
                note(f"{where}.{key}", f"{name}: a receiver of type {kind} does not take it")
        if receiver["url"] and not is_url(receiver["url"]):
            note(f"{where}.url", f"{name}: must begin with https:// or http://, and hold neither blank nor line break")
    return found


def is_url(text: str) -> bool:
    """Return whether a text is a URL that can be posted to."""
    return bool(re.fullmatch(r"https?://[!-~]{1,2000}", text))


def alertmanager_file(given: t.Any, switch_url: str, timing: Timing, bridge: Endpoint) -> str:
    """Return Alertmanager's configuration, which holds secrets: addresses of robots, the password of a mail account."""
    receivers = usable(given)
    routes: list[dict[str, t.Any]] = [
        {
            "receiver": OWN[1] if switch_url else NOBODY,
            "matchers": [f'alertname="{SWITCH}"'],
            "group_wait": "0s",
            "group_interval": "1m",
            "repeat_interval": "1m",
        }
    ]
    routes += [{"receiver": receiver["name"], "continue": True} for receiver in receivers]
    told: list[dict[str, t.Any]] = [{"name": NOBODY}]
    if switch_url:
        told.append({"name": OWN[1], "webhook_configs": [{"url": switch_url, "send_resolved": False}]})
    told += [{"name": receiver["name"], **_way(receiver, bridge)} for receiver in receivers]
    configuration = {
        "route": {
            "receiver": NOBODY,
            "group_by": ["alertname", "host", "model"],
            "group_wait": seconds(timing.wait),
            "group_interval": seconds(max(timing.wait, 1)),
            "repeat_interval": seconds(timing.again),
            "routes": routes,
        },
        # A server that is down needs no word on its queue.
        "inhibit_rules": [
            {"source_matchers": ['alertname="Down"'], "target_matchers": ['alertname!="Down"'], "equal": ["instance"]}
        ],
        "receivers": told,
    }
    text: str = yaml.safe_dump(configuration, sort_keys=False, width=200, allow_unicode=True)
    return "# Written by private_llm.fleet; changes made here are lost.\n" + text


def usable(given: t.Any) -> list[dict[str, t.Any]]:
    """Return the receivers that are whole; what is wrong is told by ``problems``."""
    return [
        receiver
        for receiver in conform(given, [RECEIVER], RECEIVERS, silent)
        if receiver["type"] in TYPES
        and NAME.fullmatch(receiver["name"])
        and all(receiver[key] for key in NEEDS[receiver["type"]])
    ]


def _way(receiver: t.Mapping[str, t.Any], bridge: Endpoint) -> dict[str, t.Any]:
    if receiver["type"] == MAIL:
        mail = {
            "to": receiver["to"],
            "from": receiver["from"],
            "smarthost": receiver["smarthost"],
            "send_resolved": True,
        }
        if receiver["username"]:
            mail |= {"auth_username": receiver["username"], "auth_password": receiver["password"] or ""}
        return {"email_configs": [mail]}
    url = receiver["url"] if receiver["type"] == WEBHOOK else f"{bridge.url}/{receiver['name']}"
    return {"webhook_configs": [{"url": url, "send_resolved": True}]}


def bridge_file(given: t.Any, bridge: Endpoint) -> str:
    """Return the bridge's configuration, which holds secrets; empty where nobody needs the bridge."""
    chats = {
        receiver["name"]: {"type": receiver["type"], "url": receiver["url"], "secret": receiver["secret"] or ""}
        for receiver in usable(given)
        if receiver["type"] in CHATS
    }
    return json.dumps({"listen": [bridge.host, bridge.port], "chats": chats}, indent=1) + "\n" if chats else ""
