# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Packages of the family of RHEL with all that they need, as a folder that dnf takes as a repository."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import platform
import shutil
import tempfile
import typing as t

from ._index import BundleError
from ._programs import run

LIST = "repodata"
# A repository with signed lists asks whether to trust the key that it was set up with.
# The plugin `local` offers packages that this machine once had beside those of the repositories.
_DNF = ("dnf", "--quiet", "--assumeyes", "--disableplugin=local", "--setopt=install_weak_deps=False")
# In an empty root, dnf would look for its settings there.
_OF_THIS_MACHINE = ("--releasever=/", "--setopt=reposdir=/etc/yum.repos.d", "--setopt=varsdir=/etc/dnf/vars")


@dataclasses.dataclass(frozen=True)
class Rpm:
    """A package as dnf would fetch it."""

    name: str
    size: int


def parse_urls(text: str) -> list[str]:
    """Return the names of files in what ``dnf download --url`` prints, each once.

    >>> parse_urls("note\\nhttp://mirror.example.com/Packages/a-1-2.noarch.rpm\\n")
    ['a-1-2.noarch.rpm']
    """
    lines = (line.strip() for line in text.splitlines())
    return sorted({line.rpartition("/")[2] for line in lines if "://" in line and line.endswith(".rpm")})


def parse_sizes(text: str, names: t.Iterable[str]) -> list[Rpm]:
    """Return packages with the sizes that ``dnf repoquery`` tells; BundleError for one that it does not know.

    >>> parse_sizes("12 Packages/a-1-2.noarch.rpm", ["a-1-2.noarch.rpm"])
    [Rpm(name='a-1-2.noarch.rpm', size=12)]
    """
    rows = (line.split() for line in text.splitlines())
    sizes = {row[1].rpartition("/")[2]: int(row[0]) for row in rows if len(row) == 2 and row[0].isdigit()}
    names = sorted(names)
    unknown = [name for name in names if name not in sizes]
    if unknown:
        raise BundleError(f"dnf repoquery tells no size of {', '.join(unknown[:5])}; run the play again")
    return [Rpm(name, sizes[name]) for name in names]


class Dnf:
    """The dnf of this machine, which knows the packages of its own distribution.

    What a package needs is taken in full, whether this machine has it or not: a host may have less than it.
    """

    def __init__(self, packages: t.Sequence[str]) -> None:
        self._packages = list(packages)

    def update(self) -> None:
        """Fetch the lists of the repositories."""
        run([*_DNF, "makecache", "--refresh"])

    def closure(self) -> list[Rpm]:
        """Return the packages and all that they need."""
        architectures = f"--archlist={platform.machine()},noarch"
        command = [*_DNF, "download", "--resolve", "--alldeps"]
        names = parse_urls(run([*command, "--url", architectures, "--", *self._packages]))
        if not names:
            raise BundleError(f"dnf knows none of the packages {', '.join(self._packages)}")
        query = [*_DNF, "repoquery", "--queryformat", "%{downloadsize} %{relativepath}\n", "--"]
        return parse_sizes(run([*query, *(name[: -len(".rpm")] for name in names)]), names)

    def fetch(self, folder: str) -> None:
        """Fetch them into a folder, checked by dnf, and write their list; what else is in the folder goes."""
        os.makedirs(folder, exist_ok=True)
        wanted = self.closure()
        # `dnf download` compares no signature; an installation into an empty root does, and stops before it installs.
        with tempfile.TemporaryDirectory() as root:
            command = [*_DNF, f"--installroot={root}", *_OF_THIS_MACHINE]
            command += ["install", "--downloadonly", f"--downloaddir={folder}", "--"]
            run([*command, *(rpm.name[: -len(".rpm")] for rpm in wanted)])
        names = {rpm.name for rpm in wanted}
        missing = sorted(names - set(os.listdir(folder)))
        if missing:
            raise BundleError(
                f"dnf did not fetch {', '.join(missing[:5])} into {folder}; it copies none from a repository of files,"
                " so name one by http or https"
            )
        for name in set(os.listdir(folder)) - names:
            path = os.path.join(folder, name)
            (shutil.rmtree if os.path.isdir(path) else os.unlink)(path)
        run(["createrepo_c", "--quiet", "--simple-md-filenames", folder])


def is_there(folder: str, rpms: t.Iterable[Rpm]) -> bool:
    """Say whether a folder holds just these packages, with their list."""
    with contextlib.suppress(OSError):
        there = {name: os.path.getsize(os.path.join(folder, name)) for name in os.listdir(folder) if name != LIST}
        listed = os.path.isfile(os.path.join(folder, LIST, "repomd.xml"))
        return listed and there == {rpm.name: rpm.size for rpm in rpms}
    return False
