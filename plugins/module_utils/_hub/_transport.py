# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Small GET requests with the standard library: bounded in time, size and attempts, careful with the token."""

from __future__ import annotations

import dataclasses
import functools
import http.client
import os
import re
import ssl
import threading
import time
import typing as t
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urljoin, urlsplit
from urllib.request import HTTPRedirectHandler, HTTPSHandler, OpenerDirector, ProxyHandler, Request, build_opener

from .._http import AnswerTooLarge, PackedError, retry_after_seconds, unpacked
from .._printable import printable
from ._files import HubError, HubUnavailable
from ._proxy import Direct

ATTEMPTS = 4
# Seconds to wait because a hub asks for it: before one attempt, before one after too many requests, which Hugging Face
# counts in windows of five minutes, and before all attempts together.
LONGEST_PAUSE = 60.0
LONGEST_WINDOW = 300.0
PATIENCE = 300.0
# Seconds that one answer may take from the first byte of the request to the last one of the body. The timeout of a
# connection is for each read, and a server that sends a byte now and then would never exceed it.
ANSWER_LIMIT = 600.0
REDIRECTS = 5
BODY_LIMIT = 64 * 1024 * 1024
REASON_LENGTH = 200  # characters of a server's own words
SECRETS = ("authorization", "cookie")
AGENT = "private_llm.fleet"


class TransportError(HubError):
    """A request failed for good. ``status`` is the HTTP status, None when there was no answer.

    ``code`` is the name that a Hugging Face hub gives to the reason. ``unavailable`` says that the hub could not be
    asked, in contrast to one that says no. ``elsewhere`` says that another host answered, to which the hub had led.
    """

    def __init__(
        self,
        text: str,
        status: int | None = None,
        code: str | None = None,
        unavailable: bool | None = None,
        elsewhere: bool = False,
    ) -> None:
        super().__init__(text)
        self.status = status
        self.code = code
        self.elsewhere = elsewhere
        self.unavailable = worth_retrying(status) if unavailable is None else unavailable


def worth_retrying(status: int | None) -> bool:
    """Return whether a failure may pass by itself: no answer, too many requests, an error of the server."""
    return status is None or status in (408, 429) or status >= 500


def seconds_asked(retry_after: str | None, rate_limit: str | None = None) -> float | None:
    """Return the seconds that a hub asks to wait.

    They are in Retry-After, or behind ``t=`` in RateLimit, as Hugging Face has it: ``"resolvers";r=0;t=154``.
    """
    asked = retry_after_seconds(retry_after, time.time())
    found = re.search(r";\s*t=([0-9]{1,9})(?![0-9])", rate_limit or "") if asked is None else None
    return float(found.group(1)) if found else asked


def pause_before(
    attempt: int, retry_after: str | None, rate_limit: str | None = None, longest: float = LONGEST_PAUSE
) -> float:
    """Return the seconds to wait before an attempt (1 is the first repetition): those asked for, else 1, 2, 4.

    A moment that has passed, by a clock that may be wrong, asks for nothing.
    """
    asked = seconds_asked(retry_after, rate_limit)
    return min(asked, longest) if asked else float(2 ** (attempt - 1))


def headers_after_redirect(headers: t.Mapping[str, str], old: str, new: str) -> dict[str, str]:
    """Return the headers that may follow a redirect: secrets only to the same host and port.

    From https to http they never go, the other way only between the usual ports.
    """
    before, after = urlsplit(old), urlsplit(new)
    ports = {"http": 80, "https": 443}
    here, there = (parts.port or ports.get(parts.scheme) for parts in (before, after))
    upgraded = (before.scheme, here, after.scheme, there) == ("http", 80, "https", 443)
    same = (before.scheme, here) == (after.scheme, there)
    if before.hostname == after.hostname and (same or upgraded):
        return dict(headers)
    return {name: value for name, value in headers.items() if name.lower() not in SECRETS}


@dataclasses.dataclass(frozen=True)
class Answer:
    """The body of an answer, and the URL of the next page where it names one."""

    body: bytes
    next_page: str | None


def next_page_of(url: str, link: str | None) -> str | None:
    """Return the URL of the page that a Link header (RFC 8288) calls the next one, at the endpoint of ``url``.

    A mirror passes on the header of the hub behind it, and a hub behind a proxy writes http:. So nothing but the query
    is taken from it: where to ask, and with which token, is what the user said.
    """
    match = re.search(r'<([^>]*)>\s*;[^,]*\brel="?next\b', link or "")
    if not match:
        return None
    query = urlsplit(match.group(1)).query
    if not query or not query.isascii() or not query.isprintable() or " " in query:
        raise TransportError(f"{_shown(url)} names its next page in a way that is not understood", 200)
    return urlsplit(url)._replace(query=query, fragment="").geturl()


def get(
    url: str,
    headers: t.Mapping[str, str],
    timeout: float,
    ca_path: str | None = None,
    sleep: t.Callable[[float], None] = time.sleep,
    attempts: int = ATTEMPTS,
) -> bytes:
    """Return the body behind a URL. Retry what may pass by itself; raise TransportError for the rest."""
    return ask(url, headers, timeout, ca_path, sleep, attempts).body


def ask(
    url: str,
    headers: t.Mapping[str, str],
    timeout: float,
    ca_path: str | None = None,
    sleep: t.Callable[[float], None] = time.sleep,
    attempts: int = ATTEMPTS,
) -> Answer:
    """Return the answer behind a URL, as ``get`` does, with the URL of the next page."""
    waited = 0.0
    for attempt in range(1, attempts + 1):
        asked: tuple[str | None, str | None] = (None, None)
        trail = [url]
        try:
            return _within(ANSWER_LIMIT, url, functools.partial(_get_once, trail, headers, timeout, ca_path))
        except HTTPError as error:
            retry_after, rate_limit, code = (
                error.headers.get(name) for name in ("Retry-After", "RateLimit", "X-Error-Code")
            )
            asked = (retry_after, rate_limit if error.code == 429 else None)
            text = f"{_led(trail)} answered HTTP {error.code} {_words(error)}".rstrip()
            seconds = seconds_asked(*asked)
            if seconds and worth_retrying(error.code):
                text += f" and asks to wait {seconds:.0f} s"
            elsewhere = urlsplit(trail[-1]).netloc != urlsplit(url).netloc
            failure = TransportError(_without_secrets(text, headers), error.code, code, elsewhere=elsewhere)
            error.close()
        except http.client.BadStatusLine as error:
            if isinstance(error, http.client.RemoteDisconnected):
                failure = TransportError(f"{_led(trail)} closed the connection without an answer")
            else:
                hint = "; is it to be asked by https?" if trail[-1].startswith("http:") else ""
                failure = TransportError(f"{_led(trail)} answers, and not as an HTTP server{hint}")
        except (URLError, http.client.HTTPException, OSError) as error:
            reason = getattr(error, "reason", error) or error
            if isinstance(reason, ssl.SSLCertVerificationError):
                raise TransportError(f"{_led(trail)}: {reason}; name its certificate authority with ca_path") from error
            said = printable(str(reason) or repr(reason), REASON_LENGTH)
            failure = TransportError(_without_secrets(f"{_led(trail)} could not be reached: {said}", headers))
        except HubError:
            raise
        except ValueError:
            # The text of Python's client may quote a header, and with it a token.
            raise TransportError(
                f"{_led(trail)} could not be asked, because the request or the answer is not as HTTP has it", 200
            ) from None
        pause = pause_before(attempt, *asked, longest=LONGEST_WINDOW if failure.status == 429 else LONGEST_PAUSE)
        waited += pause
        if attempt == attempts or not worth_retrying(failure.status) or waited > PATIENCE:
            raise failure
        sleep(pause)
    raise TransportError(f"{_shown(url)} was not asked")


def _within(limit: float, url: str, work: t.Callable[[], Answer]) -> Answer:
    """Do the work in a thread that is left to itself when it takes too long: nothing else ends a name that is looked up
    for ever, or an answer that comes byte by byte."""
    found: list[Answer] = []
    failed: list[Exception] = []

    def run() -> None:
        try:
            found.append(work())
        except Exception as error:  # told to the caller
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(limit)
    if found:
        return found[0]
    if failed:
        raise failed[0]
    raise TransportError(f"{_shown(url)} did not send its answer within {limit:.0f} s")


class _Unled(HTTPRedirectHandler):
    """Leaves redirects to the caller, who looks at where they lead."""

    def redirect_request(self, *unused: t.Any) -> None:
        """Follow none."""


def _opener(url: str, ca_path: str | None) -> OpenerDirector:
    """Return an opener for requests: it uses the proxies of the environment, and only the credentials it is given."""
    direct = Direct.of_text(os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or "").covers(url)
    proxies = ProxyHandler({} if direct else None)
    if not url.startswith("https:"):
        return build_opener(_Unled, proxies)
    try:
        context = ssl.create_default_context(cafile=ca_path)
    except OSError as error:
        raise TransportError(
            f"the certificate authorities in {ca_path} cannot be read: {error}", unavailable=False
        ) from error
    return build_opener(_Unled, proxies, HTTPSHandler(context=context))


def _get_once(trail: list[str], headers: t.Mapping[str, str], timeout: float, ca_path: str | None) -> Answer:
    """Ask once; what redirects lead to is added to the trail, so that an error can name who it is from."""
    sent, first = dict(headers), trail[0]
    for _hop in range(REDIRECTS):
        url = trail[-1]
        try:
            request = Request(url, headers={**sent, "User-Agent": AGENT})
            response = _opener(url, ca_path).open(request, timeout=timeout)
        except HTTPError as error:
            location = error.headers.get("Location") if error.headers else None
            if error.code not in (301, 302, 303, 307, 308) or not location:
                raise
            error.close()
            # Blanks and letters beyond ASCII, which servers write as they are and no request line can hold.
            target = urljoin(url, quote(location.encode("latin-1", "replace"), safe="%/:=&?~#+!$,;'@()*[]"))
            if urlsplit(target).scheme not in ("http", "https"):
                raise TransportError(
                    f"{_shown(url)} leads to {_shown(target)!r}, which is not a web address", error.code
                ) from error
            sent = headers_after_redirect(sent, url, target)
            trail.append(target)
            continue
        with response:
            body: bytes = response.read(BODY_LIMIT + 1)
            announced = response.headers.get("Content-Length")
            link = response.headers.get("Link")
            encoding = response.headers.get("Content-Encoding")
        if len(body) > BODY_LIMIT:
            raise TransportError(f"{_shown(url)} answered with more than {BODY_LIMIT} bytes", 200)
        wanted = int(announced) if re.fullmatch("[0-9]{1,18}", announced or "") else 0
        if len(body) < wanted:
            raise http.client.IncompleteRead(body, wanted - len(body))
        try:
            return Answer(unpacked(body, encoding, BODY_LIMIT), next_page_of(first, link))
        except PackedError as error:
            raise TransportError(
                f"{_shown(url)} answered {error}; look for a proxy on the way that packs answers", 200
            ) from error
        except AnswerTooLarge as error:
            raise TransportError(f"{_shown(url)} answered with more than {BODY_LIMIT} bytes", 200) from error
    raise TransportError(
        f"{_shown(trail[-1])} was reached by {REDIRECTS} redirects and leads on; check the endpoint", 302
    )


def explain(error: TransportError, has_token: bool) -> str:
    """Explain to a user what a failed request to a hub means."""
    if error.code == "RepoNotFound":
        anonymous = "it is private and the hub refused to answer without a token"
        hint = "the token may not read it" if has_token else anonymous
        return f"there is no such repository, or {hint} ({error}); check the name"
    if error.elsewhere and error.status in (401, 403, 404):
        return f"the hub leads to a storage that does not give out the file ({error}); look for a firewall on the way"
    if error.status == 407:
        return f"{error}; the proxy wants a user and a password: give them in the option proxy"
    if error.status == 451:
        return f"{error}; the hub may not give it out here: use another source"
    if error.status in (401, 403):
        return f"the hub refused {'the token' if has_token else 'to answer without a token'} ({error})"
    if error.status == 404:
        hint = "check that the token may read it" if has_token else "a private one needs a token"
        return f"there is no such repository ({error}); check the name, and {hint}"
    if error.status == 429:
        hint = "use fewer workers" if has_token else "a token raises the limit of most hubs"
        return f"{error}; run again later, and {hint}"
    return str(error)


def failed(where: str, text: str, error: TransportError) -> HubError:
    """Return the error of a source whose request failed."""
    return (HubUnavailable if error.unavailable else HubError)(f"{where}: {text}")


def _led(trail: t.Sequence[str]) -> str:
    """Return who was asked last, and who had led there."""
    first, last = _shown(trail[0]), _shown(trail[-1])
    return first if first == last else f"{last}, to which {first} leads,"


def _words(error: HTTPError) -> str:
    """Return the reason of an HTTP error, as far as a terminal should see it."""
    said = str(error.reason or "").strip() or http.client.responses.get(error.code, "")
    return printable(said, REASON_LENGTH)


def _without_secrets(text: str, headers: t.Mapping[str, str]) -> str:
    """Return a text without the secrets that were sent, which a server may repeat in its words."""
    for name, value in headers.items():
        if name.lower() in SECRETS:
            for secret in (value, re.split("[ =]", value, maxsplit=1)[-1]):
                text = text.replace(secret, "********")
    return text


def _shown(url: str) -> str:
    """Return the URL without its query, which is long and says nothing a person needs."""
    return url.partition("?")[0]
