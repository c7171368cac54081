# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read which packages a host has, what keeps them from a change, and where it gets them from."""

from __future__ import annotations

import glob
import re
import typing as t

from ._openpgp import KeyFileError, unexpected

DPKG_QUERY = ["dpkg-query", "--show", "--showformat=${db:Status-Want} ${db:Status-Status} ${Package} ${Version}\\n"]
RPM_QUERY = ["rpm", "--query", "--queryformat", "- installed %{NAME} %{VERSION}\\n"]
VERSION_LOCKS = (
    "/etc/dnf/plugins/versionlock.list",
    "/etc/dnf/versionlock.toml",
    "/etc/yum/pluginconf.d/versionlock.list",
)
ZYPPER_LOCKS = ("/etc/zypp/locks",)
LARGEST = 1024 * 1024  # bytes; a list of repositories or locks has some hundred

Read = t.Callable[[str], t.Optional[bytes]]


class Package(t.NamedTuple):
    """A package that is installed, or that the package manager was told to hold."""

    name: str
    version: str
    installed: bool
    held: bool


def parse_query(output: str) -> list[Package]:
    """Read a line for each package: what is wanted of it, what it is, its name and its version."""
    found = []
    for line in output.splitlines():
        parts = line.split()
        # A package that is held and was never installed has no version.
        if len(parts) in (3, 4) and parts[0] in ("-", "unknown", "install", "hold", "deinstall", "purge"):
            version = parts[3] if len(parts) == 4 else ""
            found.append(Package(parts[2], version, parts[1] == "installed", parts[0] == "hold"))
    return found


def version_locks(texts: t.Iterable[str], names: t.Sequence[str]) -> list[str]:
    """Return the lines of dnf's version locks that name one of the packages."""
    pattern = re.compile(rf"^[^#!]*\b({_any_of(names)})\b")
    return [line for text in texts for line in text.splitlines() if pattern.search(line)]


def zypper_locks(texts: t.Iterable[str], names: t.Sequence[str]) -> list[str]:
    """Return the packages that zypper locks."""
    pattern = re.compile(rf"\b({_any_of(names)})$")
    return [match.group(1) for text in texts for line in text.splitlines() for match in [pattern.search(line)] if match]


def _any_of(names: t.Sequence[str]) -> str:
    return "|".join(map(re.escape, names))


def lists(content: bytes | None, lines: t.Iterable[str]) -> bool:
    """Return whether a repository's entry says the same as the lines, in any order; comments say nothing."""
    return content is not None and _said(content.decode("utf-8", "replace").splitlines()) == _said(lines)


def _said(lines: t.Iterable[str]) -> list[str]:
    stripped = (re.sub(r"\s+", " ", line.strip()) for line in lines)
    return sorted(line for line in stripped if line and not line.startswith("#"))


def trusts(content: bytes | None, fingerprints: t.Iterable[str], wanted: str | None) -> bool:
    """Return whether a key file holds the pinned keys and no other, and is the file that is wanted, if one is."""
    if content is None:
        return False
    try:
        strangers = unexpected(content, fingerprints)
    except KeyFileError:
        return False
    return not strangers and (wanted is None or content.decode("utf-8", "replace").strip() == wanted.strip())


def others(patterns: t.Iterable[str], content: str, but: str, read: Read) -> list[str]:
    """Return the files of the patterns in which the regular expression is found, without one of them.

    Raise ValueError for what is not a regular expression.
    """
    try:
        wanted = re.compile(content, re.MULTILINE)
    except re.error as error:
        raise ValueError(f"pattern: cannot be read: {error}; give a regular expression as Python has them") from error
    found = []
    for path in sorted({path for pattern in patterns for path in glob.glob(pattern)} - {but}):
        text = read(path)
        if text is not None and wanted.search(text.decode("utf-8", "replace")):
            found.append(path)
    return found
