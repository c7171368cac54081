# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the gateway answers by itself: errors in OpenAI's form that say what to do, and the list of models. Pure."""

from __future__ import annotations

import json
import typing as t

JSON = "application/json"
RETRY_AFTER = 5  # seconds


class Refusal(t.NamedTuple):
    """An answer of the gateway in place of a server's."""

    status: int
    kind: str
    code: str
    message: str
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def body(self) -> str:
        """Return the answer's body, as OpenAI's clients read it."""
        error = {"message": self.message, "type": self.kind, "param": None, "code": self.code}
        return json.dumps({"error": error}, separators=(",", ":"))


_AGAIN = (("Retry-After", str(RETRY_AFTER)),)

NOT_HERE = Refusal(
    404,
    "invalid_request_error",
    "not_found",
    "There is nothing at this path. This gateway serves POST /v1/chat/completions, /v1/completions, /v1/embeddings, "
    "/v1/rerank and /v1/responses, and GET /v1/models.",
)
NO_KEY = Refusal(
    401,
    "authentication_error",
    "invalid_api_key",
    "This key is not known here. Send the header 'Authorization: Bearer KEY' with the key that the gateway's "
    "administrator gave you.",
    (("WWW-Authenticate", "Bearer"),),
)
WRONG_METHOD = Refusal(
    405,
    "invalid_request_error",
    "method_not_allowed",
    "Send POST to this path; GET is for /v1/models.",
    (("Allow", "POST"),),
)
TOO_MANY = Refusal(
    429,
    "rate_limit_error",
    "rate_limit_exceeded",
    "You sent more requests in the last minute than you may (requests_per_minute). Wait a few seconds and send this "
    "one again.",
    _AGAIN,
)
TOO_MANY_AT_ONCE = Refusal(
    429,
    "rate_limit_error",
    "concurrent_requests_exceeded",
    "You have more requests running than you may (concurrent_requests). Send this one again when another has ended.",
    _AGAIN,
)
TOO_LARGE = Refusal(
    413,
    "invalid_request_error",
    "request_too_large",
    "The request's body is larger than this gateway takes (gateway_max_body_bytes). Send less, or smaller images.",
)
NO_LENGTH = Refusal(
    411,
    "invalid_request_error",
    "length_required",
    "The request's body is large, and nothing says how large. Send the header Content-Length rather than the body in "
    "chunks.",
)
MODEL_TOO_LATE = Refusal(
    413,
    "invalid_request_error",
    "model_not_found_in_time",
    "The request's body is large, and its model does not come before the large part. Write model as the first key of "
    "the JSON object, before messages.",
)
NO_MODEL = Refusal(
    400,
    "invalid_request_error",
    "model_missing",
    "The request's body must be a JSON object with a model. GET /v1/models lists the models that you may use.",
)
UNKNOWN_MODEL = Refusal(
    404,
    "invalid_request_error",
    "model_not_found",
    "There is no such model here. GET /v1/models lists the models that you may use.",
)
NOT_YOUR_MODEL = Refusal(
    403,
    "permission_error",
    "model_not_allowed",
    "You may not use this model. GET /v1/models lists the models that you may use; the gateway's administrator can add "
    "it to your models in gateway_users.",
)

# What the proxy answers where a request or a server leaves it no choice, by its own status codes.
OWN = (
    Refusal(400, "invalid_request_error", "bad_request", "This is not a valid HTTP request."),
    Refusal(408, "invalid_request_error", "request_timeout", "The request did not arrive in time. Send it again."),
    Refusal(500, "server_error", "internal_error", "The gateway failed. Its log says why; send the request again."),
    Refusal(
        502,
        "server_error",
        "bad_gateway",
        "The server of this model broke off before it answered. Send the request again.",
        _AGAIN,
    ),
    Refusal(
        503,
        "server_error",
        "model_unavailable",
        "No server of this model is ready, or all were busy for too long. Send the request again in a minute. "
        "Administrators: ansible-playbook private_llm.fleet.report shows the servers.",
        _AGAIN,
    ),
    Refusal(
        504,
        "server_error",
        "timeout",
        "The server of this model did not answer in time. Send the request again, or ask for fewer tokens.",
        _AGAIN,
    ),
)


# What a browser shows while Open WebUI is not there.
WEB_DOWN = "Open WebUI is not running at the moment. Load this page again in a minute."


def models_body(names: t.Iterable[str]) -> str:
    """Return the answer to GET /v1/models for somebody who may use these names."""
    data = [{"id": name, "object": "model", "created": 0, "owned_by": "private_llm"} for name in sorted(names)]
    return json.dumps({"object": "list", "data": data}, separators=(",", ":"))
