# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a server that answers also works: a hung engine goes on to answer /health with 200."""

from __future__ import annotations

import typing as t

from ._probe import (
    Server,
    ServerError,
    ServerSilent,
    load,
    parse_metrics,
)


def prove(server: Server, models: t.Sequence[t.Mapping[str, t.Any]], timeout: float) -> str:
    """Have a token generated and return a sentence on how the server works; raise ServerError when it does not.

    A server with many requests may not get to this one in time. As long as it gets on with the others it works.
    """
    if not models:
        raise ServerError("it serves no model")
    before = _generated(server, timeout)
    try:
        server.generate_one_token(str(models[0]["id"]), timeout)
    except ServerSilent as error:
        after = _generated(server, timeout)
        if before is not None and after is not None and after > before:
            return f"busy: it did not get to one more request within {timeout:g} seconds"
        raise ServerError(f"it generated nothing within {timeout:g} seconds, though it answers; it hangs") from error
    return ""


def _generated(server: Server, timeout: float) -> int | None:
    """Return how many tokens the server has generated since its start."""
    found: int | None = load(parse_metrics(server.metrics(timeout)))["generation_tokens"]
    return found
