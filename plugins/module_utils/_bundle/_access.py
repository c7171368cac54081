# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Answer a registry that wants to know who asks: by a password, or by a token from the server that it names."""

from __future__ import annotations

import json
import re
import threading
import typing as t
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, build_opener

from ._index import BundleError
from ._login import Login, config_path, login_for

ANSWER_LIMIT = 1024 * 1024
USER_AGENT = "private_llm.fleet"


class Access:
    """The credentials for one repository: finds the login of its registry, and trades it for a token where asked to."""

    def __init__(self, image: str, registry: str, repository: str, plain: bool, seconds: float) -> None:
        self._image = image
        self._registry = registry
        self._repository = repository
        self._plain = plain
        self._seconds = seconds
        self._lock = threading.Lock()
        self._authorization = ""
        self._login: Login | None = None
        self._looked = False
        self._why = ""

    def sign(self, request: Request) -> None:
        """Add what the registry has accepted before; a redirect elsewhere does not get it."""
        if self._authorization:
            request.add_unredirected_header("Authorization", self._authorization)

    def answer(self, challenge: str) -> None:
        """Find out what to send along; BundleError when nothing is known that could help."""
        kind, _space, rest = challenge.partition(" ")
        with self._lock:
            login = self._find()
            if kind.lower() == "bearer":
                given = dict(re.findall(r'(\w+)="([^"]*)"', rest))
                self._authorization = f"Bearer {self._token(given, login)}"
            elif kind.lower() == "basic" and login and not login.is_identity_token:
                self._authorization = login.basic
            else:
                raise self.refusal()

    def refusal(self) -> BundleError:
        """Return what to say when the registry does not let in who asks."""
        name, path = self._registry, config_path()
        if self._login:
            return BundleError(
                f"{self._image}: {name} refuses the user {self._login.user!r} that {path} has for it; "
                f"run docker login {name} again, or use a user who may pull the image"
            )
        return BundleError(
            f"{self._image}: {name} wants a password, and {self._why or f'{path} has none for it'}; "
            f"run docker login {name} as the user who runs this, check the name of the image, or use a mirror"
        )

    def _find(self) -> Login | None:
        """Return the login, looked up once. Most images need none, so that a file that cannot be read is no error."""
        if not self._looked:
            self._looked = True
            try:
                self._login = login_for(self._registry, config_path())
            except BundleError as error:
                self._why = str(error)
        return self._login

    def _token(self, given: dict[str, str], login: Login | None) -> str:
        """Return a token to pull with, from the server that the registry names."""
        realm = given.get("realm", "")
        if not re.match("https?://", realm):
            raise BundleError(f"{self._image}: {self._registry} names {realm!r} to get a token from; use a mirror")
        if login and not self._plain and not realm.startswith("https://"):
            raise BundleError(
                f"{self._image}: {self._registry} wants the password of {login.user!r} sent to {realm} in clear text; "
                "use a mirror"
            )
        request = self._token_request(realm, given, login)
        try:
            with build_opener().open(request, timeout=self._seconds) as answer:
                document = read_object(answer.read(ANSWER_LIMIT), realm)
        except HTTPError as error:
            if error.code not in (400, 401, 403):
                raise
            error.close()
            raise self.refusal() from None
        token = document.get("token") or document.get("access_token")
        # The message of http.client for another text would show it.
        if not isinstance(token, str) or not re.fullmatch(r"[\x21-\x7e]+", token):
            raise BundleError(f"{self._image}: {realm} answers without a token; run again, or use a mirror")
        return token

    def _token_request(self, realm: str, given: t.Mapping[str, str], login: Login | None) -> Request:
        query = {"scope": given.get("scope") or f"repository:{self._repository}:pull"}
        if given.get("service"):
            query["service"] = given["service"]
        headers = {"User-Agent": USER_AGENT}
        if login and login.is_identity_token:
            query.update(grant_type="refresh_token", client_id=USER_AGENT, refresh_token=login.secret)
            return Request(realm, urlencode(query).encode(), headers, method="POST")
        request = Request(f"{realm}?{urlencode(query)}", headers=headers)
        if login:
            request.add_unredirected_header("Authorization", login.basic)
        return request


def read_object(text: bytes, where: str) -> dict[str, t.Any]:
    """Return the JSON object that somebody sent."""
    try:
        document = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{where} answers with something that is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise BundleError(f"{where} answers with something that is not an object")
    return document
