# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The files of an Open WebUI on its host: its secrets, and the environment that its container reads when it starts.

Secrets travel in files that root alone can read, never in the definition of the container. The container sees the
folder of its environment only, so that a file in it may be replaced while the container runs.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shlex
import string
import time
import typing as t

from .._regular import regular
from . import _tree

MOUNT = "/run/private_llm"
ALL_SECRETS = "/etc/private_llm"
PASSWORD_FILE = "admin_password"  # noqa: S105  # the name of a file
KEY_FILE = "secret_key"

_LETTERS = string.ascii_letters + string.digits
_HEADER = "# Written by private_llm.fleet, and read by the shell that starts Open WebUI.\n"
_ENV, _ADMIN = "env", "admin"


def _line(name: str, value: t.Any) -> str:
    if isinstance(value, bool):
        return f"{name}={'true' if value else 'false'}\n"
    text = json.dumps(value) if isinstance(value, (dict, list)) else str(value)
    return f"{name}={shlex.quote(text)}\n"


def _draft(name: str) -> str:
    """Return the name of a file that is being written."""
    return f".{name}.new"


class Files:
    """The files in a folder for secrets, and the data folder."""

    def __init__(self, params: t.Mapping[str, t.Any], env: t.Mapping[str, t.Any]) -> None:
        self._params, self._env = params, env
        self.config_dir = str(params["config_dir"])
        self.folder = os.path.join(self.config_dir, "container")
        self._previous = self.folder + ".previous"

    # --- secrets ---

    def kept(self, name: str) -> str:
        """Return a secret that is kept; empty when there is none."""
        try:
            with open(os.path.join(self.config_dir, name), encoding="utf-8", opener=regular) as handle:
                return handle.read().strip()
        except FileNotFoundError:
            return ""

    @property
    def has_key(self) -> bool:
        """Return whether the secret key is known."""
        return bool(self._params["secret_key"] or self.kept(KEY_FILE))

    def _secret(self, name: str, given: str, length: int) -> tuple[str, bool]:
        """Return a secret, given, kept or new, and whether its file must be written."""
        kept = self.kept(name)
        if given:
            return given, kept != given.strip()
        return (kept, False) if kept else ("".join(secrets.choice(_LETTERS) for _letter in range(length)), True)

    # --- what is to be written ---

    def _wanted(self) -> dict[str, tuple[str, str]]:
        """Return the text of each file that is not as it must be, by its path, with what it is called."""
        password, new_password = self._secret(PASSWORD_FILE, self._params["admin_password"], 32)
        key, new_key = self._secret(KEY_FILE, self._params["secret_key"], 43)
        wanted: dict[str, tuple[str, str]] = {}
        if new_password:
            wanted[os.path.join(self.config_dir, PASSWORD_FILE)] = (PASSWORD_FILE, password + "\n")
        if new_key:
            wanted[os.path.join(self.config_dir, KEY_FILE)] = (KEY_FILE, key + "\n")
        admin = {
            "WEBUI_ADMIN_EMAIL": self._params["admin_email"],
            "WEBUI_ADMIN_NAME": self._params["admin_name"],
            "WEBUI_ADMIN_PASSWORD": password.strip(),
        }
        lines = [_line(name, self._env[name]) for name in sorted(self._env, key=lambda name: (name.lower(), name))]
        lines.append(_line("WEBUI_SECRET_KEY", key.strip()))
        if self._params["database_url"]:
            lines.append(_line("DATABASE_URL", self._params["database_url"]))
        texts = {
            _ADMIN: _HEADER + "".join(_line(name, value) for name, value in admin.items()),
            _ENV: _HEADER + "".join(lines),
        }
        for name, text in texts.items():
            path = os.path.join(self.folder, name)
            if self._text(path) != text:
                wanted[path] = (name, text)
        return wanted

    @staticmethod
    def _text(path: str) -> str:
        try:
            with open(path, encoding="utf-8", opener=regular) as handle:
                return handle.read()
        except (FileNotFoundError, UnicodeDecodeError):
            return ""

    def pending(self) -> list[str]:
        """Return what `write` would write: admin_password, secret_key, admin, env."""
        return [name for name, _text in self._wanted().values()]

    def write(self) -> list[str]:
        """Bring the folders and the files to their state, and return what was written."""
        folders = [self.config_dir, self.folder, str(self._params["data_dir"])]
        if self.config_dir.startswith(ALL_SECRETS + "/"):
            folders.insert(0, ALL_SECRETS)
        for folder in folders:
            os.makedirs(folder, mode=0o700, exist_ok=True)
            with _tree.opened_root(folder) as opened:
                os.fchown(opened, os.geteuid(), os.getegid())
                os.fchmod(opened, 0o700)
        wanted = self._wanted()
        for path, (_name, text) in wanted.items():
            folder, name = os.path.split(path)
            with _tree.opened_root(folder) as opened:
                draft = _draft(name)
                _tree.remove(opened, draft)
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                with os.fdopen(os.open(draft, flags, 0o600, dir_fd=opened), "w", encoding="utf-8") as handle:
                    handle.write(text)
                    handle.flush()
                    os.fsync(handle.fileno())
                os.rename(draft, name, src_dir_fd=opened, dst_dir_fd=opened)
                _tree.sync(opened)
        return [name for name, _text in wanted.values()]

    # --- the environment of a container that was set aside ---

    def is_newer_than(self, started: float) -> bool:
        """Return whether the environment was written after a container has read it."""
        with contextlib.suppress(FileNotFoundError):
            return int(os.stat(os.path.join(self.folder, _ENV)).st_mtime) > int(started)
        return False

    def settle(self) -> None:
        """Take a time in the future from the environment, with which it would be newer than every start."""
        path = os.path.join(self.folder, _ENV)
        with contextlib.suppress(FileNotFoundError):
            if os.stat(path).st_mtime > time.time():
                os.utime(path)

    def keep(self) -> None:
        """Keep the environment as it is, to go back."""
        with _tree.opened_root(self.config_dir) as config:
            name, previous = os.path.basename(self.folder), os.path.basename(self._previous)
            if _tree.look(config, previous) is None and _tree.look(config, name) is not None:
                _tree.remove(config, previous + ".new")
                _tree.copy(config, name, config, previous + ".new")
                os.rename(previous + ".new", previous, src_dir_fd=config, dst_dir_fd=config)
                _tree.sync(config)

    def undo(self) -> None:
        """Put the environment back that was kept; nothing is done where none was."""
        if not os.path.isdir(self.config_dir):
            return
        with _tree.opened_root(self.config_dir) as config:
            name, previous = os.path.basename(self.folder), os.path.basename(self._previous)
            if _tree.look(config, previous) is not None:
                _tree.remove(config, name)
                os.rename(previous, name, src_dir_fd=config, dst_dir_fd=config)
                _tree.sync(config)

    def forget(self) -> None:
        """Remove the environment that was kept, and what a killed run was writing."""
        kept = os.path.basename(self._previous)
        there = {
            self.config_dir: (kept, kept + ".new", _draft(PASSWORD_FILE), _draft(KEY_FILE)),
            self.folder: (_draft(_ADMIN), _draft(_ENV)),
        }
        for folder, names in there.items():
            if os.path.isdir(folder):
                with _tree.opened_root(folder) as opened:
                    for name in names:
                        _tree.remove(opened, name)
