# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Packages of Debian and Ubuntu with all that they need, as a folder that apt takes as a repository."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import typing as t

from .._hub._hashing import sha256_of
from .._regular import regular
from ._programs import run

LIST = "Packages"
_URI = re.compile(r"'(?P<uri>[^']+)' (?P<name>\S+) (?P<size>[0-9]+) ?(?P<sum>\S*)")


@dataclasses.dataclass(frozen=True)
class Deb:
    """A package as apt would fetch it."""

    name: str
    size: int


def parse_uris(text: str) -> list[Deb]:
    """Read what apt-get --print-uris prints.

    >>> parse_uris("'http://mirror.example.com/a_1_all.deb' a_2%3a1_all.deb 12 SHA256:ab")
    [Deb(name='a_2%3a1_all.deb', size=12)]
    """
    found = (_URI.fullmatch(line.strip()) for line in text.splitlines())
    return sorted((Deb(m["name"], int(m["size"])) for m in found if m), key=lambda deb: deb.name)


def plain_name(name: str) -> str:
    """Return the name of a package's file without the escapes that apt puts in for colons, and takes out of a path."""
    return name.replace("%3a", ".").replace("%3A", ".")


class Apt:
    """The apt of this machine, which knows the packages of its own distribution."""

    def __init__(self, packages: t.Sequence[str], status: str = "") -> None:
        self._packages = list(packages)
        self._status = status

    def update(self) -> None:
        """Fetch the lists of the repositories."""
        run(["apt-get", "--quiet", "update"])

    def closure(self) -> list[Deb]:
        """Return the packages, and all that they need and this machine lacks."""
        return parse_uris(run(["apt-get", "--quiet=2", "--print-uris", *self._install("/nonexistent")]))

    def fetch(self, folder: str) -> None:
        """Fetch them into a folder, checked by apt, and write their list; what else is in the folder goes."""
        os.makedirs(os.path.join(folder, "partial"), exist_ok=True)
        wanted = {plain_name(deb.name): deb for deb in self.closure()}
        for plain, deb in wanted.items():
            with contextlib.suppress(FileNotFoundError):
                os.replace(os.path.join(folder, plain), os.path.join(folder, deb.name))
        run(["apt-get", "--quiet", "--download-only", *self._install(folder)])
        for plain, deb in wanted.items():
            os.replace(os.path.join(folder, deb.name), os.path.join(folder, plain))
        for name in os.listdir(folder):
            path = os.path.join(folder, name)
            if name not in wanted and os.path.isfile(path):
                os.unlink(path)
        for rest in ("partial", "auxfiles"):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                os.rmdir(os.path.join(folder, rest))
        with open(os.path.join(folder, LIST), "w", encoding="utf-8", opener=regular) as stream:
            stream.write("".join(_stanza(folder, name) for name in sorted(wanted)))

    def _install(self, archives: str) -> list[str]:
        return [
            *("--yes", "--no-install-recommends", "-o", f"Dir::Cache::archives={archives}"),
            *(("-o", f"Dir::State::status={self._status}") if self._status else ()),
            *("install", "--", *self._packages),
        ]


def is_there(folder: str, debs: t.Iterable[Deb]) -> bool:
    """Say whether a folder holds just these packages, with their list."""
    names = {plain_name(deb.name): deb.size for deb in debs}
    with contextlib.suppress(OSError):
        there = {name: os.path.getsize(os.path.join(folder, name)) for name in os.listdir(folder)}
        return there.pop(LIST, 0) > 0 and there == names
    return False


def _stanza(folder: str, name: str) -> str:
    path = os.path.join(folder, name)
    fields = run(["dpkg-deb", "--field", path]).strip("\n")
    return f"{fields}\nFilename: ./{name}\nSize: {os.path.getsize(path)}\nSHA256: {sha256_of(path)}\n\n"
