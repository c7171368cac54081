# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Find the password of a registry where ``docker login`` left it, for the user who runs this."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import json
import os
import re
import shutil
import subprocess
import typing as t

from .._regular import regular
from ._index import BundleError

FILE_LIMIT = 1024 * 1024
HELPER_SECONDS = 30

# Docker Hub has one name in references and another in the file.
DOCKER_HUB = "registry-1.docker.io"
_HUB_KEY = "https://index.docker.io/v1/"
_HUB_NAMES = ("index.docker.io", "docker.io", DOCKER_HUB)
# A helper answers with this user when the secret is an identity token.
_TOKEN_USER = "<token>"  # noqa: S105 -- the name of a user in the helpers' protocol


@dataclasses.dataclass(frozen=True)
class Login:
    """A user of a registry and the secret, which no message holds."""

    user: str
    secret: str = dataclasses.field(repr=False)
    # An identity token is traded for an access token; a password is sent as it is.
    is_identity_token: bool = False

    @property
    def basic(self) -> str:
        """Return the header's value for user and password."""
        return f"Basic {base64.b64encode(f'{self.user}:{self.secret}'.encode()).decode('ascii')}"


def config_path() -> str:
    """Return the file that ``docker login`` writes."""
    return os.path.join(os.environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker"), "config.json")


def login_for(registry: str, path: str) -> Login | None:
    """Return the login of a registry; None when there is none, BundleError when it cannot be read."""
    config = _read(path)
    helpers = config.get("credHelpers")
    named = _of_registry(helpers, registry) if isinstance(helpers, dict) else None
    helper = named or config.get("credsStore")
    if helper:
        return _ask_helper(str(helper), _HUB_KEY if registry == DOCKER_HUB else registry)
    auths = config.get("auths")
    entry = _of_registry(auths, registry) if isinstance(auths, dict) else None
    return _login(entry, f"{path}, {registry}") if isinstance(entry, dict) else None


def _read(path: str) -> dict[str, t.Any]:
    try:
        with open(path, "rb", opener=regular) as stream:
            # Root would run the helper that another user names.
            status = os.fstat(stream.fileno())
            if status.st_uid != os.geteuid() or status.st_mode & 0o002:
                raise BundleError(f"{path} belongs to another user, or others can write it")
            text = stream.read(FILE_LIMIT + 1)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}") from error
    try:
        config = json.loads(text.decode("utf-8")) if len(text) <= FILE_LIMIT else None
    except (ValueError, RecursionError):
        config = None
    if not isinstance(config, dict):
        raise BundleError(f"{path} is not a configuration of Docker")
    return config


def _of_registry(rows: t.Mapping[str, t.Any], registry: str) -> t.Any:
    """Return the row of a registry; keys may be addresses, as Docker Hub's is."""
    names = _HUB_NAMES if registry == DOCKER_HUB else (registry,)
    return next((row for key, row in rows.items() if _host_of(key) in names), None)


def _host_of(key: str) -> str:
    return re.sub(r"^https?://|/(v[12]/?)?$", "", key)


def _login(entry: t.Mapping[str, t.Any], where: str) -> Login | None:
    user, secret = entry.get("username") or "", entry.get("password") or ""
    if entry.get("auth"):
        try:
            user, _colon, secret = base64.b64decode(str(entry["auth"]), validate=True).decode("utf-8").partition(":")
        except (binascii.Error, UnicodeDecodeError):
            raise BundleError(f"{where}: auth is not a user and a password in Base64") from None
    if entry.get("identitytoken"):
        return Login(str(user), str(entry["identitytoken"]), True)
    # Docker pads old entries with zero bytes.
    secret = str(secret).strip("\0")
    return Login(str(user), secret) if user and secret else None


def _ask_helper(helper: str, server: str) -> Login | None:
    """Ask the program that keeps the passwords; the address goes over its input, as its protocol has it."""
    program = shutil.which(f"docker-credential-{helper}") if re.fullmatch(r"[\w.-]+", helper) else None
    if program is None:
        raise BundleError(f"docker-credential-{helper}, which keeps the passwords of registries, is not on the PATH")
    try:
        done = subprocess.run(
            [program, "get"], input=server.encode(), capture_output=True, timeout=HELPER_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise BundleError(f"docker-credential-{helper} did not answer within {HELPER_SECONDS} seconds") from None
    if done.returncode:
        if b"credentials not found" in done.stdout:
            return None
        raise BundleError(f"docker-credential-{helper} failed with {done.returncode}")
    try:
        found = json.loads(done.stdout.decode("utf-8"))
        user, secret = str(found["Username"]), str(found["Secret"])
    except (ValueError, KeyError, TypeError):
        raise BundleError(f"docker-credential-{helper} answered with something that is not a password") from None
    return Login(user, secret, user == _TOKEN_USER) if secret else None
