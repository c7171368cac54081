# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Small GET requests with the standard library: bounded in time, size and attempts, careful with the token."""

from __future__ import annotations

import dataclasses
import http.client
import re
import ssl
import time
import typing as t
from urllib.error import HTTPError, URLError
from urllib.parse import urljoin, urlsplit
from urllib.request import HTTPRedirectHandler, HTTPSHandler, OpenerDirector, Request, build_opener

from ansible_collections.private_llm.fleet.plugins.module_utils._hub._files import HubError

ATTEMPTS = 4
LONGEST_PAUSE = 60.0
REDIRECTS = 5
BODY_LIMIT = 64 * 1024 * 1024
SECRETS = ("authorization", "cookie")
AGENT = "private_llm.fleet"


class TransportError(HubError):
    """A request failed for good. ``status`` is the HTTP status, None when there was no answer.

    ``code`` is the name that a Hugging Face hub gives to the reason.
    """

    def __init__(self, text: str, status: int | None = None, code: str | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.code = code


def worth_retrying(status: int | None) -> bool:
    """Whether a failure may pass by itself: no answer, too many requests, an error of the server."""
    return status is None or status == 429 or status >= 500


def pause_before(attempt: int, retry_after: str | None) -> float:
    """Seconds to wait before the given attempt (1 is the first repetition): what the server asked for, else 1, 2, 4."""
    if retry_after and retry_after.isdigit():
        return min(float(retry_after), LONGEST_PAUSE)
    return float(2 ** (attempt - 1))


def headers_after_redirect(headers: t.Mapping[str, str], old: str, new: str) -> dict[str, str]:
    """The headers that may follow a redirect: secrets only to the same host, and never from https to http."""
    before, after = urlsplit(old), urlsplit(new)
    upgraded = (before.scheme, after.scheme) == ("http", "https") and before.hostname == after.hostname
    same = (before.scheme, before.hostname, before.port) == (after.scheme, after.hostname, after.port)
    if same or upgraded:
        return dict(headers)
    return {name: value for name, value in headers.items() if name.lower() not in SECRETS}


@dataclasses.dataclass(frozen=True)
class Answer:
    """The body of an answer, and the URL of the next page where it names one."""

    body: bytes
    next_page: str | None


def next_page_of(url: str, link: str | None) -> str | None:
    """The page that a Link header (RFC 8288) calls the next one."""
    match = re.search(r'<([^>]*)>\s*;[^,]*\brel="?next\b', link or "")
    return urljoin(url, match.group(1)) if match else None


def get(
    url: str,
    headers: t.Mapping[str, str],
    timeout: float,
    ca_path: str | None = None,
    sleep: t.Callable[[float], None] = time.sleep,
) -> bytes:
    """The body behind a URL. Retries what may pass by itself; raises TransportError."""
    return ask(url, headers, timeout, ca_path, sleep).body


def ask(
    url: str,
    headers: t.Mapping[str, str],
    timeout: float,
    ca_path: str | None = None,
    sleep: t.Callable[[float], None] = time.sleep,
) -> Answer:
    """As ``get``, with the URL of the next page."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return _get_once(url, headers, timeout, ca_path)
        except HTTPError as error:
            retry_after, code = (error.headers.get(name) for name in ("Retry-After", "X-Error-Code"))
            failure = TransportError(f"{_shown(url)} answered HTTP {error.code} {error.reason}", error.code, code)
            error.close()
        except (URLError, http.client.HTTPException, OSError) as error:
            reason = getattr(error, "reason", error) or error
            if isinstance(reason, ssl.SSLCertVerificationError):
                raise TransportError(f"{_shown(url)}: {reason}; name its certificate authority with ca_path") from error
            failure = TransportError(f"{_shown(url)} could not be reached: {str(reason) or repr(reason)}")
            retry_after = None
        if attempt == ATTEMPTS or not worth_retrying(failure.status):
            raise failure
        sleep(pause_before(attempt, retry_after))
    raise TransportError(f"{_shown(url)} was not asked")


class _Unled(HTTPRedirectHandler):
    """Leaves redirects to the caller, who looks at where they lead."""

    def redirect_request(self, *unused: t.Any) -> None:
        """Follow none."""


def _opener(url: str, ca_path: str | None) -> OpenerDirector:
    """What makes requests: by the proxies of the environment, and with no credentials but those it is given."""
    if not url.startswith("https:"):
        return build_opener(_Unled)
    try:
        context = ssl.create_default_context(cafile=ca_path)
    except OSError as error:
        raise TransportError(f"the certificate authorities in {ca_path} cannot be read: {error}") from error
    return build_opener(_Unled, HTTPSHandler(context=context))


def _get_once(url: str, headers: t.Mapping[str, str], timeout: float, ca_path: str | None) -> Answer:
    sent = dict(headers)
    for _hop in range(REDIRECTS):
        try:
            request = Request(url, headers={**sent, "User-Agent": AGENT})
            response = _opener(url, ca_path).open(request, timeout=timeout)
        except HTTPError as error:
            location = error.headers.get("Location") if error.headers else None
            if error.code not in (301, 302, 303, 307, 308) or not location:
                raise
            error.close()
            target = urljoin(url, location)
            if urlsplit(target).scheme not in ("http", "https"):
                raise TransportError(
                    f"{_shown(url)} leads to {target!r}, which is no web address", error.code
                ) from error
            sent = headers_after_redirect(sent, url, target)
            url = target
            continue
        with response:
            body: bytes = response.read(BODY_LIMIT + 1)
            announced = response.headers.get("Content-Length")
            link = response.headers.get("Link")
        if len(body) > BODY_LIMIT:
            raise TransportError(f"{_shown(url)} answered with more than {BODY_LIMIT} bytes", 200)
        if announced is not None and len(body) < int(announced):
            raise http.client.IncompleteRead(body, int(announced) - len(body))
        return Answer(body, next_page_of(url, link))
    raise TransportError(f"{_shown(url)} was reached by {REDIRECTS} redirects and leads on; check the endpoint", 302)


def explain(error: TransportError, has_token: bool) -> str:
    """What a failed request to a hub means for its user."""
    if error.status in (401, 403):
        return f"the hub refused {'the token' if has_token else 'to answer without a token'} ({error})"
    if error.status == 404:
        hint = "check that the token may read it" if has_token else "a private one needs a token"
        return f"there is no such repository ({error}); check the name, and {hint}"
    return str(error)


def _shown(url: str) -> str:
    """The URL without its query, which is long and says nothing a person needs."""
    return url.partition("?")[0]
