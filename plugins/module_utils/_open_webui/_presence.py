# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A look at the address of an Open WebUI: the answer there, and the sign-in of its administrator."""

from __future__ import annotations

import typing as t

from .._printable import printable
from . import _client, _shape


def look(client: _client.Client) -> tuple[str, str]:
    """Return the status of what answers at the address now, and a sentence about it."""
    try:
        reply = client.exchange("GET", "/ready")
    except _client.UnreachableError as error:
        return "unreachable", str(error)
    return _client.judge_readiness(client.url, reply)


def has_accounts(public: t.Any) -> bool:
    """Return whether any account exists, by Open WebUI's public settings, which have a word more while none does."""
    _shape.text_field(public, "version")
    return not public.get("onboarding")


def find(url: str, email: str, password: str, warn: t.Callable[[str], None]) -> dict[str, t.Any]:
    """Return what answers at the URL; with a password, sign in where there are accounts. `trouble` is why not."""
    found = {"status": "unreachable", "message": "", "has_accounts": None, "signed_in": False, "trouble": ""}
    try:
        found["status"], message = look(_client.Client(url, retry_pauses=()))
        found["message"] = printable(message)
        if found["status"] != "ready":
            return found
        client = _client.Client(url)
        client.check_version()
        found["has_accounts"] = client.read("/api/config", has_accounts)
        if found["has_accounts"] and password:
            _client.connect(
                {
                    "webui_url": url,
                    "webui_email": email,
                    "webui_password": password,
                    "webui_token": None,
                    "timeout": client.timeout,
                    "validate_certs": True,
                },
                warn=lambda text: warn(printable(text)),
            )
            found["signed_in"] = True
    except ValueError as error:
        found["trouble"] = printable(str(error))
    return found
