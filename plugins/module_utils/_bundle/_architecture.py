# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Names of architectures, and names of parts of a bundle that are for one architecture alone."""

from __future__ import annotations

# What most fleets have; names of a bundle leave it out.
USUAL = "amd64"


def architecture_of(machine: str) -> str:
    """Return the name that registries have for the architecture of a machine, which the kernel calls otherwise.

    >>> architecture_of("x86_64"), architecture_of("aarch64"), architecture_of("arm64"), architecture_of("s390x")
    ('amd64', 'arm64', 'arm64', 's390x')
    """
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)


def named(name: str, architecture: str) -> str:
    """Return the name in a bundle of something that is made for one architecture.

    >>> named("debian:13", "amd64"), named("debian:13", "arm64")
    ('debian:13', 'debian:13 linux/arm64')
    """
    return name if architecture == USUAL else f"{name} linux/{architecture}"
