# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What tasks of one host share for a while: one sign-in, and one writer at a time.

Both live in a folder that only the user who runs the module can enter, in memory where the system offers that. Whoever
cannot have such a folder goes without: each task signs in, and nothing is locked. What a killed task left there is
removed by a later one.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import os
import stat
import tempfile
import time
import typing as t

from .._engine import _lock
from .._regular import regular

# A sign-in is used by the tasks that follow within this time, and by nobody after an hour, in seconds.
IDLE_SECONDS = 600.0
LONGEST_SECONDS = 3600.0

# OWASP's number for PBKDF2-HMAC-SHA256 is for hashes that are stolen from a database; this file is gone in minutes and
# the password itself is asked for at each use, so that a tenth of a second is enough.
PBKDF2_ROUNDS = 60_000

_SESSION, _DRAFT = ".session", ".draft"


class BusyError(ValueError):
    """Somebody else on this host keeps writing; the text is meant for the user."""


def private_folder() -> str | None:
    """Return a folder for this user alone, or None when there cannot be one."""
    own = os.geteuid()
    base = "/run" if own == 0 else os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    if not os.path.isdir(base):
        base = tempfile.gettempdir()
    path = os.path.join(base, f"private_llm-{own}")
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o700)
        found = os.lstat(path)
    except OSError:
        return None
    ours = stat.S_ISDIR(found.st_mode) and found.st_uid == own and not stat.S_IMODE(found.st_mode) & 0o077
    return path if ours else None


class SessionStore:
    """Tokens of earlier tasks, each readable with the password that got it and of no use without."""

    def __init__(self, folder: str | None, now: t.Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._now = now

    def load(self, url: str, email: str, password: str) -> str | None:
        """Return the token that this e-mail and this password got lately, or None."""
        if self._folder is None:
            return None
        self._forget_old()
        path = self._path(url, email)
        try:
            with open(path, encoding="utf-8", opener=regular) as file:
                kept = json.load(file)
            token = _open(kept, password)
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if token is not None:
            with contextlib.suppress(OSError):
                os.utime(path, (self._now(), self._now()))
        return token

    def save(self, url: str, email: str, password: str, token: str) -> None:
        """Keep a token for the tasks that follow; a token of another password is replaced."""
        if self._folder is None:
            return
        kept = {**_seal(token, password), "since": self._now()}
        with contextlib.suppress(OSError):
            handle, draft = tempfile.mkstemp(suffix=_DRAFT, dir=self._folder)  # readable by its owner alone
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(kept, file)
            os.utime(draft, (self._now(), self._now()))
            os.replace(draft, self._path(url, email))

    def forget(self, url: str, email: str) -> None:
        """Take a token away that is of no use any more."""
        if self._folder is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._path(url, email))

    def _path(self, url: str, email: str) -> str:
        name = hashlib.sha256(json.dumps([url, email.strip().lower()]).encode()).hexdigest()[:32]
        return os.path.join(self._folder or "", f"{name}{_SESSION}")

    def _forget_old(self) -> None:
        """Remove sessions that nobody may use any more, those that nobody can read, and what a killed task began."""
        for entry in os.scandir(self._folder or "."):
            if entry.name.endswith((_SESSION, _DRAFT)):
                with contextlib.suppress(OSError):
                    if not self._may_be_used(entry):
                        os.unlink(entry.path)

    def _may_be_used(self, entry: os.DirEntry[str]) -> bool:
        idle = self._now() - entry.stat(follow_symlinks=False).st_mtime
        if entry.name.endswith(_DRAFT) or not 0 <= idle <= IDLE_SECONDS:
            return 0 <= idle <= IDLE_SECONDS
        try:
            with open(entry.path, encoding="utf-8", opener=regular) as file:
                return 0 <= self._now() - float(json.load(file)["since"]) <= LONGEST_SECONDS
        except (ValueError, KeyError, TypeError):
            return False


def end_sessions() -> None:
    """Remove all sessions of this user, and their folder where nothing else is in it."""
    folder = private_folder()
    if folder is None:
        return
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            if name.endswith((_SESSION, _DRAFT)):
                os.unlink(os.path.join(folder, name))
        os.rmdir(folder)


def _keys(password: str, salt: bytes) -> tuple[bytes, bytes]:
    made = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, PBKDF2_ROUNDS, dklen=64)
    return made[:32], made[32:]


def _seal(token: str, password: str) -> dict[str, str]:
    """Encrypt, then authenticate. The salt is new each time, so that no key is used twice."""
    salt = os.urandom(16)
    cipher_key, mac_key = _keys(password, salt)
    plain = token.encode()
    stream = hashlib.shake_256(cipher_key).digest(len(plain))
    sealed = bytes(one ^ other for one, other in zip(plain, stream))
    return {
        "salt": base64.b64encode(salt).decode(),
        "sealed": base64.b64encode(sealed).decode(),
        "mac": hmac.new(mac_key, sealed, hashlib.sha256).hexdigest(),
    }


def _open(kept: t.Mapping[str, str], password: str) -> str | None:
    """Return the token, or None for another password than the one it was sealed with."""
    cipher_key, mac_key = _keys(password, base64.b64decode(kept["salt"]))
    sealed = base64.b64decode(kept["sealed"])
    if not hmac.compare_digest(hmac.new(mac_key, sealed, hashlib.sha256).hexdigest(), kept["mac"]):
        return None
    stream = hashlib.shake_256(cipher_key).digest(len(sealed))
    return bytes(one ^ other for one, other in zip(sealed, stream)).decode()


@contextlib.contextmanager
def only_writer(
    folder: str | None,
    url: str,
    patience: float = 120.0,
    sleep: t.Callable[[float], None] = time.sleep,
    now: t.Callable[[], float] = time.monotonic,
) -> t.Iterator[None]:
    """Let one task of this host at a time write to one Open WebUI. The system frees the lock of a task that dies."""
    if folder is None:
        yield
        return
    started = now()

    def wait(holder: _lock.Holder) -> None:
        if now() - started >= patience:
            raise BusyError(
                f"another task on this host has been writing to Open WebUI at {url} for {patience:.0f} seconds, "
                f"{holder}: let one play at a time change it"
            )

    name = hashlib.sha256(url.encode()).hexdigest()[:32]
    with _lock.hold("open_webui_api", name, f"writes to {url}", wait, folder, sleep):
        yield
