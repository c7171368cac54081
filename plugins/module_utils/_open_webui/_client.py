# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A small client for Open WebUI's HTTP API, with nothing but the standard library.

What it takes care of, so that a module does not have to: Open WebUI answers an unknown path with its own web page and
status 200; it limits sign-ins; a sign-in can stop at a second factor; and a proxy in front of it has errors of its own.
"""

from __future__ import annotations

import errno
import http.client
import json
import re
import socket
import ssl
import time
import typing as t
import urllib.error
import urllib.parse
import urllib.request

from .._http import (
    AnswerTooLarge,
    HttpHandler,
    HttpsHandler,
    PackedError,
    read_limited,
    retry_after_seconds,
    unpacked,
)
from .._printable import printable
from .._secret import header_secret, header_secret_problem
from .._version import numbers_of
from . import _private_folder, _shape

# The oldest and the newest release whose API these modules were held against.
MINIMUM_VERSION = (0, 11, 4)
TRIED_VERSION = (0, 12, 4)

# Answers of a proxy that has nothing behind it for now: HAProxy, Traefik, nginx and ingress controllers say 502 to 504,
# Cloudflare 520 to 527 and 530. Open WebUI itself says 503 while it starts.
NOT_YET = frozenset({502, 503, 504, *range(520, 528), 530})

# A day; what is longer is a mistake, and what is much longer no operating system can wait for.
LONGEST_TIMEOUT = 86400

# Pauses before the attempts that follow a refused or broken connection.
RETRY_PAUSES = (1.0, 2.0, 4.0)

# Open WebUI counts sign-ins in buckets of a minute, looks back three of them, and sends no Retry-After. An attempt that
# was turned away counts as well, so asking often would keep the door shut.
RATE_LIMIT_PAUSE = 60.0
RATE_LIMIT_BUDGET = 300.0

# How much of an error's words, and of a page that is no JSON, is worth reading.
DETAIL_LENGTH = 500
PAGE_BYTES = 64 * 1024

COMMON_ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "webui_url": {"type": "str", "required": True},
    "webui_email": {"type": "str"},
    "webui_password": {"type": "str", "no_log": True},
    "webui_password_file": {"type": "path", "no_log": False},
    "webui_token": {"type": "str", "no_log": True},
    "validate_certs": {"type": "bool", "default": True},
    "timeout": {"type": "int", "default": 30},
}
COMMON_RULES: dict[str, t.Any] = {
    "mutually_exclusive": [("webui_token", "webui_password"), ("webui_token", "webui_password_file")],
    "required_one_of": [("webui_token", "webui_password", "webui_password_file")],
    "required_by": {"webui_password": ("webui_email",), "webui_password_file": ("webui_email",)},
}


class OpenWebUiError(ValueError):
    """Something went wrong between this module and Open WebUI; the text is meant for the user."""


class UnreachableError(OpenWebUiError):
    """No answer came back."""


class SignInError(OpenWebUiError):
    """Open WebUI does not let these credentials do what is asked."""


class WrongPasswordError(SignInError):
    """Open WebUI does not accept the password."""


class NoPasswordsError(SignInError):
    """Open WebUI signs people in by other means than a password."""


class SecondFactorError(SignInError):
    """Open WebUI accepts the password and wants more than that."""


class ApiError(OpenWebUiError):
    """Open WebUI answered with an error."""

    def __init__(self, message: str, status: int, detail: str) -> None:
        super().__init__(message)
        self.status = status
        self.detail = detail


class NotYetError(ApiError):
    """A proxy answered, and has no Open WebUI behind it yet."""


class UnknownAnswerError(OpenWebUiError):
    """Open WebUI answered in a shape that this collection does not know."""


T = t.TypeVar("T")


class Reply(t.NamedTuple):
    """One HTTP answer, whatever its status."""

    status: int
    content_type: str
    body: bytes
    retry_after: str | None
    location: str | None

    @property
    def is_json(self) -> bool:
        media_type = self.content_type.split(";", 1)[0].strip().lower()
        return media_type == "application/json" or media_type.endswith("+json")

    def json(self) -> t.Any:
        """Return the decoded body; ValueError when it is not JSON, or not of the kind that can be passed on as JSON."""
        try:
            data = json.loads(self.body.decode("utf-8-sig"), parse_constant=_refuse_constant)
        except RecursionError:
            raise ValueError("it is nested too deeply") from None
        return _whole_characters(data) if b"\\u" in self.body else data


def _refuse_constant(name: str) -> t.NoReturn:
    raise ValueError(f"{name} is not JSON")


def _whole_characters(data: t.Any) -> t.Any:
    """Return decoded JSON with a sign in the place of halves of surrogate pairs, which cannot be written anywhere."""
    if isinstance(data, str):
        return data.encode("utf-8", "replace").decode()
    if isinstance(data, list):
        return [_whole_characters(one) for one in data]
    if isinstance(data, dict):
        return {_whole_characters(name): _whole_characters(value) for name, value in data.items()}
    return data


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Hands a redirect to the caller: following one would turn a POST into a GET and carry the token elsewhere."""

    def redirect_request(self, *args: t.Any, **kwargs: t.Any) -> None:
        return None


def normalize_webui_url(url: str) -> str:
    """Return the address of an Open WebUI without trailing slashes; raise ValueError when it cannot be one.

    >>> normalize_webui_url(" http://gpu-01:3000/ ")
    'http://gpu-01:3000'
    """
    cleaned = url.strip().rstrip("/")
    form = "write http://host:port or https://host"
    if not cleaned.isprintable() or not cleaned.isascii() or " " in cleaned:
        raise OpenWebUiError(f"webui_url holds a blank or a character that an address cannot have: {form}")
    try:
        parts = urllib.parse.urlsplit(cleaned)
        host, _port = parts.hostname, parts.port
    except ValueError:
        raise OpenWebUiError(f"webui_url is not an address: {form}") from None
    # First what may hold a secret, which no message quotes.
    if "@" in cleaned or parts.query or parts.fragment:
        raise OpenWebUiError(
            "webui_url must be scheme, host and port only: credentials belong in webui_email and webui_password"
        )
    if parts.scheme not in ("http", "https") or not host:
        raise OpenWebUiError(f"webui_url {url!r} is not an address: {form}")
    return cleaned


def error_detail(reply: Reply) -> str:
    """Return the words of an error answer: Open WebUI's own, an upstream server's, or a proxy's page shortened."""
    try:
        data = reply.json()
    except ValueError:
        text = re.sub(r"<[^>]*>", " ", reply.body[:PAGE_BYTES].decode("utf-8", "replace"))
        return printable(" ".join(text.split())[:200]) or "no reason given"
    return printable(_detail_in(data).rstrip("."), DETAIL_LENGTH)


def _detail_in(data: t.Any) -> str:
    if isinstance(data, dict):
        for key in ("detail", "error", "message"):
            value = data.get(key)
            if isinstance(value, dict):
                value = value.get("message") or json.dumps(value)
            if isinstance(value, list):
                value = "; ".join(_validation_text(entry) for entry in value)
            if value:
                return str(value)
    return json.dumps(data)[:200]


def _validation_text(entry: t.Any) -> str:
    if isinstance(entry, dict) and "msg" in entry:
        place = entry.get("loc")
        where = ".".join(str(part) for part in (place if isinstance(place, list) else []) if part != "body")
        return f"{where}: {entry['msg']}" if where else str(entry["msg"])
    return str(entry)


def judge_readiness(url: str, reply: Reply) -> tuple[str, str]:
    """Return what an answer to GET /ready says: ready, starting or other, and a sentence.

    An older Open WebUI, without that call, answers with its page. Its version and its API are judged elsewhere.
    """
    if reply.status == 200 and reply.is_json:
        return "ready", f"Open WebUI at {url} is ready"
    if reply.status == 503 and reply.is_json:
        return "starting", f"Open WebUI at {url} is starting: {error_detail(reply)}"
    if reply.status in NOT_YET:
        return "starting", f"a proxy at {url} has no Open WebUI behind it yet: {reply.status} {error_detail(reply)}"
    if 300 <= reply.status < 400 and reply.location:
        where = f"it redirects ({reply.status}) to {printable(reply.location, DETAIL_LENGTH)}"
        return "other", f"what answers at {url} is not an Open WebUI of today: {where}"
    kind = content_kind(reply)
    return "other", f"what answers at {url} is not an Open WebUI of today: GET /ready gives {reply.status}, {kind}"


def in_path(name: str) -> str:
    """Return an id as one part of a path, whatever the server that gave it put into it."""
    return urllib.parse.quote(name, safe="")


def content_kind(reply: Reply) -> str:
    """Return the media type of an answer, in words where it has none."""
    return printable(reply.content_type.split(";", 1)[0], 100) or "no content type"


def is_loopback(host: str) -> bool:
    """Say whether a host name means this machine, where a proxy cannot help."""
    return host in {"localhost", "::1"} or host.startswith("127.")


def connection_trouble(error: BaseException) -> str:
    """Return the reason inside urllib's wrappers, in plain words."""
    reason = getattr(error, "reason", error)
    if isinstance(reason, (socket.timeout, TimeoutError)):
        return "no answer in time"
    if isinstance(reason, ConnectionRefusedError):
        return "connection refused"
    if isinstance(reason, socket.gaierror):
        return "the host name cannot be resolved"
    if isinstance(reason, http.client.RemoteDisconnected):
        return "the connection was closed without an answer"
    if isinstance(reason, http.client.BadStatusLine):
        return "what answers there is not an HTTP server; does it want https"
    if isinstance(reason, http.client.IncompleteRead):
        return "the answer was cut off"
    return printable(str(reason), DETAIL_LENGTH) or type(reason).__name__


def never_arrived(reason: BaseException) -> bool:
    """Tell whether a request cannot have reached the server, so that to send it again cannot do a thing twice.

    A connection that is closed without an answer says nothing: the server may have ended after it did the work.
    """
    if isinstance(reason, (ConnectionRefusedError, socket.gaierror)):
        return True
    return isinstance(reason, OSError) and reason.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH)


def seconds(value: float, name: str) -> float:
    """Return a number of seconds that one can wait for; the message for another one names the option."""
    if not 0 < value <= LONGEST_TIMEOUT:
        raise OpenWebUiError(f"{name} is {value}: give the seconds that a call may take, from 1 to {LONGEST_TIMEOUT}")
    return value


class Client:
    """One conversation with one Open WebUI. Sign in once, then call."""

    def __init__(
        self,
        url: str,
        timeout: float = 30,
        validate_certs: bool = True,
        sleep: t.Callable[[float], None] = time.sleep,
        now: t.Callable[[], float] = time.time,
        retry_pauses: tuple[float, ...] = RETRY_PAUSES,
    ) -> None:
        self.url = normalize_webui_url(url)
        self.timeout = seconds(timeout, "timeout")
        self.version = ""
        self._token: str | None = None
        self._email: str | None = None
        self._sleep = sleep
        self._now = now
        self._retry_pauses = retry_pauses
        handlers: list[urllib.request.BaseHandler] = [_NoRedirect(), HttpHandler()]
        if is_loopback(urllib.parse.urlsplit(self.url).hostname or ""):
            handlers.append(urllib.request.ProxyHandler({}))
        if self.url.startswith("https:"):
            context = ssl.create_default_context()
            if not validate_certs:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            handlers.append(HttpsHandler(context))
        self._opener = urllib.request.build_opener(*handlers)

    # -- signing in ----------------------------------------------------------------------------------------------------

    def check_version(self) -> str:
        """Ask for the version and turn away a server too old to understand what would be sent to it."""
        data = self.get("/api/version")
        version = data.get("version") if isinstance(data, dict) else None
        self.version = printable(version, 50) if isinstance(version, str) else ""
        numbers = numbers_of(self.version)
        if not numbers:
            raise OpenWebUiError(f"{self.url} answers /api/version without a version: is webui_url an Open WebUI?")
        if numbers < MINIMUM_VERSION:
            oldest = ".".join(str(part) for part in MINIMUM_VERSION)
            raise OpenWebUiError(
                f"Open WebUI at {self.url} is version {self.version}; these modules need {oldest} or newer: upgrade it"
            )
        return self.version

    def version_note(self) -> str:
        """Return what to say of a release that is newer than those that were tried; empty for the others."""
        numbers = numbers_of(self.version)
        if numbers <= TRIED_VERSION:
            return ""
        tried = ".".join(str(part) for part in TRIED_VERSION)
        return (
            f"Open WebUI at {self.url} is release {self.version}, and this collection was tried with releases up to "
            f"{tried}. What it does not understand is an error; look for a newer private_llm.fleet"
        )

    def use_token(self, token: str) -> None:
        """Go on with a token or an API key that the user already has."""
        self._token = header_secret(token, "webui_token")
        self._email = None

    def sign_in(self, email_address: str, password: str, admin: bool = True) -> None:
        """Trade e-mail and password for a token; every way in which that fails has its own sentence."""
        reply = self.exchange(
            "POST", "/api/v1/auths/signin", {"email": email_address, "password": password}, repeatable=True
        )
        # A page is not from Open WebUI but from a proxy, which knows nothing of passwords.
        if reply.status == 400 and reply.is_json:
            detail = error_detail(reply)
            if self._trusts_a_header(detail):
                raise NoPasswordsError(
                    f"Open WebUI at {self.url} signs people in by a header of the proxy in front of it "
                    f"(WEBUI_AUTH_TRUSTED_EMAIL_HEADER) and looks at no password: {detail}. "
                    "Give webui_token with an administrator's API key instead of webui_email and webui_password"
                )
            raise WrongPasswordError(
                f"Open WebUI at {self.url} does not accept webui_password for {email_address}: {detail}. "
                "Open WebUI takes a password from its environment at its first start only; give the one in use"
            )
        if reply.status == 403 and reply.is_json:
            raise NoPasswordsError(
                f"Open WebUI at {self.url} has password sign-in switched off: {error_detail(reply)}. "
                "Give webui_token with an administrator's API key instead of webui_email and webui_password"
            )
        if reply.status == 429:
            raise SignInError(
                f"Open WebUI at {self.url} still limits sign-ins for {email_address} after {int(RATE_LIMIT_BUDGET)} "
                "seconds of waiting: sign in once and use webui_token, or find out who else signs in"
            )
        data = self._decode("POST", "/api/v1/auths/signin", reply, (200,))
        if isinstance(data, dict) and data.get("next_step"):
            step = printable(str(data["next_step"]), 50)
            raise SecondFactorError(
                f"{email_address} needs a second factor at {self.url} ({step}), which an unattended run "
                "cannot give: use webui_token with an administrator's API key"
            )
        token = data.get("token") if isinstance(data, dict) else None
        if not token:
            raise SignInError(f"Open WebUI at {self.url} accepted the sign-in of {email_address} but sent no token")
        if not isinstance(token, str) or header_secret_problem(token):
            raise SignInError(
                f"Open WebUI at {self.url} accepted the sign-in of {email_address} but sent a token that cannot be "
                "used: is webui_url an Open WebUI?"
            )
        role = str(data.get("role", ""))
        if admin and role != "admin":
            raise SignInError(
                f"{email_address} is signed in at {self.url} with the role {role!r}; this needs an administrator"
            )
        self._token = token
        self._email = email_address

    def _trusts_a_header(self, detail: str) -> bool:
        """Say whether the server that refused a sign-in takes people's names from its proxy.

        Its words in the refusal say so; where they are other words, its public settings do.
        """
        if "trusted header" in detail.lower():
            return True
        if "password" in detail.lower():
            return False
        try:
            public = self.get("/api/config")
        except OpenWebUiError:
            return False
        features = public.get("features") if isinstance(public, dict) else None
        return isinstance(features, dict) and features.get("auth_trusted_header") is True

    def resume(
        self, email_address: str, password: str, store: _private_folder.SessionStore, admin: bool = True
    ) -> None:
        """Go on with the sign-in of an earlier task, or sign in and leave that for the tasks to come.

        A token that Open WebUI does not know any more, or whose account is no administrator's now, counts for nothing.
        """
        self._token = store.load(self.url, email_address, password)
        self._email = email_address
        if self._token is not None:
            reply = self.exchange("GET", "/api/v1/auths/")
            if reply.status == 200 and reply.is_json:
                me = self._decode("GET", "/api/v1/auths/", reply, (200,))
                if isinstance(me, dict) and (not admin or me.get("role") == "admin"):
                    return
            store.forget(self.url, email_address)
            self._token = None
        self.sign_in(email_address, password, admin=admin)
        store.save(self.url, email_address, password, self._token or "")

    def accepts(self, email_address: str, password: str) -> bool:
        """Say whether this is the password of an account, learned by a sign-in that is used for nothing else.

        NoPasswordsError where that cannot be learned, since a password that is set then would be set at each run.
        """
        own = self._token, self._email
        self._token = None
        try:
            self.sign_in(email_address, password, admin=False)
        except WrongPasswordError:
            return False
        except SecondFactorError:
            return True
        except NoPasswordsError as error:
            raise NoPasswordsError(
                f"whether the password of {email_address} is in use cannot be learned, so it was not set. {error}. "
                "Leave update_password at on_create there"
            ) from None
        finally:
            self._token, self._email = own
        return True

    # -- calling -------------------------------------------------------------------------------------------------------

    def read(self, path: str, parse: t.Callable[[t.Any], T]) -> T:
        """Return what a parser makes of the answer to a GET; UnknownAnswerError where the parser does not know it."""
        return self.understand(f"GET {path}", self.get(path), parse)

    def understand(self, call: str, data: t.Any, parse: t.Callable[[t.Any], T]) -> T:
        """Return what a parser makes of an answer, or say which call of which release it does not know."""
        try:
            return parse(data)
        except _shape.ShapeError as error:
            tried = ".".join(str(part) for part in TRIED_VERSION)
            raise UnknownAnswerError(
                f"Open WebUI {self.version or 'of an unknown release'} at {self.url} answers {call} in a shape that "
                f"this collection does not know: {error}. It was tried with releases up to {tried}. Nothing was "
                "written after that; look for a newer private_llm.fleet, or for what changes answers on the way"
            ) from None

    def get(self, path: str, timeout: float | None = None) -> t.Any:
        """Return the decoded answer to a GET."""
        return self._decode("GET", path, self.exchange("GET", path, timeout=timeout), (200,))

    def post(self, path: str, body: t.Any, timeout: float | None = None) -> t.Any:
        """Return the decoded answer to a POST."""
        return self._decode("POST", path, self.exchange("POST", path, body, timeout=timeout), (200,))

    def delete(self, path: str) -> t.Any:
        """Return the decoded answer to a DELETE."""
        return self._decode("DELETE", path, self.exchange("DELETE", path), (200,))

    def exchange(
        self,
        method: str,
        path: str,
        body: t.Any = None,
        timeout: float | None = None,
        repeatable: bool = False,
    ) -> Reply:
        """Return one answer of any status.

        Retry what cannot have reached the server, wait out a rate limit, and give a proxy that has nothing behind it
        the time of one call. ``repeatable`` says of a call that is not a GET that doing it twice does no harm.
        """
        again = repeatable or method == "GET"
        waited = 0.0
        limit = self.timeout if timeout is None else seconds(timeout, "answer_timeout")
        failures = 0
        knocks = 0
        while True:
            try:
                reply = self._send(method, path, body, limit)
            except (OSError, http.client.HTTPException) as error:
                failures = self._after_failure(method, path, error, failures, again)
                continue
            if reply.status == 429 and (reply.retry_after or repeatable):
                pause = retry_after_seconds(reply.retry_after, self._now())
                pause = RATE_LIMIT_PAUSE if pause is None else max(pause, 1.0)
                if waited + pause <= RATE_LIMIT_BUDGET:
                    self._sleep(pause)
                    waited += pause
                    continue
            if reply.status in NOT_YET and again and self._retry_pauses:
                pause = self._retry_pauses[min(knocks, len(self._retry_pauses) - 1)]
                if waited + pause <= limit:
                    self._sleep(pause)
                    waited += pause
                    knocks += 1
                    continue
            return reply

    def _after_failure(self, method: str, path: str, error: BaseException, failures: int, again: bool) -> int:
        """Pause before another attempt, or give up with the reason; the new number of failures."""
        trouble = connection_trouble(error)
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLError):
            raise UnreachableError(
                f"the TLS connection to {self.url} failed: {trouble}. Install the certificate authority on this host, "
                "or set validate_certs to false for a self-signed certificate"
            ) from error
        if failures >= len(self._retry_pauses) or not (again or never_arrived(reason)):
            attempts = "1 attempt" if failures == 0 else f"{failures + 1} attempts"
            raise UnreachableError(
                f"Open WebUI at {self.url} does not answer {method} {path}: {trouble} ({attempts}). "
                "Check webui_url, and that the container runs and its port is open from this host"
            ) from error
        self._sleep(self._retry_pauses[failures])
        return failures + 1

    def _send(self, method: str, path: str, body: t.Any, timeout: float) -> Reply:
        headers = {"Accept": "application/json", "User-Agent": "private_llm.fleet"}
        data = None
        if body is not None:
            data = json.dumps(body).encode("utf-8")
            headers["Content-Type"] = "application/json"
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        request = urllib.request.Request(self.url + path, data=data, headers=headers, method=method)
        try:
            with self._opener.open(request, timeout=timeout) as response:
                try:
                    answer = read_limited(response)
                except ConnectionError as error:
                    # The answer had begun.
                    raise http.client.IncompleteRead(b"") from error
                body = unpacked(answer, response.headers.get("Content-Encoding"))
                return _reply(response.status, response.headers, body)
        except urllib.error.HTTPError as error:
            with error:
                return _reply(error.code, error.headers, self._error_body(error))
        except PackedError as error:
            raise OpenWebUiError(
                f"{self.url} answers {method} {path} {error}: look for a proxy on the way that packs answers"
            ) from None
        except AnswerTooLarge as error:
            raise OpenWebUiError(
                f"{self.url} answers {method} {path} without an end, and was cut off: {error}. Is webui_url an Open "
                "WebUI?"
            ) from None
        except http.client.HTTPException:
            raise
        except ValueError:
            # Python's words may quote the token, in a form that Ansible's masking does not find.
            raise OpenWebUiError(
                f"{method} {path} cannot be sent to {self.url}: something in it cannot be written into a request"
            ) from None

    @staticmethod
    def _error_body(error: urllib.error.HTTPError) -> bytes:
        """Return the body of an error, as far as it is worth reading."""
        try:
            return unpacked(read_limited(error, PAGE_BYTES * 16), error.headers.get("Content-Encoding"))
        except AnswerTooLarge:
            return b"a page without an end"
        except PackedError:
            return b"a page that cannot be unpacked"

    def _without_token(self, text: str) -> str:
        """Return a server's words without the token, should it repeat that."""
        return text.replace(self._token, "********") if self._token else text

    def _decode(self, method: str, path: str, reply: Reply, expect: tuple[int, ...]) -> t.Any:
        call = f"{method} {path}"
        if 300 <= reply.status < 400:
            raise OpenWebUiError(
                f"{self.url} redirects to {printable(reply.location or 'nowhere', DETAIL_LENGTH)}: "
                "set webui_url to the address it redirects to, or to the one behind the proxy where that asks people "
                "to sign in"
            )
        if reply.status not in expect:
            detail = self._without_token(error_detail(reply))
            if reply.status in (401, 403, 407) and not reply.is_json:
                raise SignInError(
                    f"a proxy at {self.url} refuses {call} with {reply.status}: {detail}. Open WebUI itself answers in "
                    "JSON: set webui_url to the address behind the proxy, or let the proxy pass this on"
                )
            if reply.status in (401, 403) and self._token and self._email is None:
                raise SignInError(
                    f"Open WebUI at {self.url} refuses webui_token for {call}: {detail}. The token may be wrong, "
                    "expired, not an administrator's, or an API key while API keys are switched off (ENABLE_API_KEYS)"
                )
            if reply.status in NOT_YET:
                raise NotYetError(
                    f"a proxy at {self.url} has no Open WebUI behind it, or Open WebUI has not started: {call} gives "
                    f"{reply.status}: {detail}. Check that its container runs; a longer timeout waits longer",
                    reply.status,
                    detail,
                )
            raise ApiError(
                f"Open WebUI at {self.url} answers {call} with {reply.status}: {detail}", reply.status, detail
            )
        if not reply.is_json:
            raise OpenWebUiError(
                f"{self.url} answers {call} with a page ({content_kind(reply)}) where the API answers in JSON: "
                "webui_url does not lead to Open WebUI itself, or this release has no such call"
            )
        try:
            return reply.json()
        except ValueError as error:
            raise OpenWebUiError(f"{self.url} answers {call} with broken JSON: {error}") from error


def _reply(status: int, headers: t.Any, body: bytes) -> Reply:
    return Reply(status, headers.get("Content-Type") or "", body, headers.get("Retry-After"), headers.get("Location"))


def connect(params: t.Mapping[str, t.Any], admin: bool = True, warn: t.Callable[[str], None] | None = None) -> Client:
    """Return a client that is signed in, from a module's common options. Warn of a release that is newer than tried."""
    client = Client(params["webui_url"], timeout=params["timeout"], validate_certs=params["validate_certs"])
    if params["webui_token"] is not None:
        client.use_token(params["webui_token"])
    client.check_version()
    note = client.version_note()
    if note and warn is not None:
        warn(note)
    if params["webui_token"] is None:
        store = _private_folder.SessionStore(_private_folder.private_folder())
        client.resume(params["webui_email"], params["webui_password"], store, admin=admin)
    return client
