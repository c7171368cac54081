# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What every source of models can do: resolve a revision, list its files, fetch some of them."""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.private_llm.fleet.plugins.module_utils._hub._files import Entry, HubError

# Seconds that fetching may take as a whole. Stalled connections end much earlier; this only ends what nobody waits for.
FETCH_LIMIT = 7 * 24 * 3600


@dataclasses.dataclass(frozen=True)
class Access:
    """How to reach a hub."""

    endpoint: str
    repo: str
    token: str | None
    timeout: int
    retries: int
    workers: int
    ca_path: str | None


@dataclasses.dataclass(frozen=True)
class Resolution:
    """What a revision is right now. ``commit`` is None where the hub does not tell."""

    revision: str
    commit: str | None


class MissingProgram(HubError):
    """This host lacks a program that the source needs."""


class Source(t.Protocol):
    """A place that models come from."""

    name: str

    def pin(self, revision: str | None) -> Resolution | None:
        """The resolution of a revision that needs no request: a full commit id."""

    def resolve(self, revision: str | None) -> Resolution:
        """Ask what a revision is."""

    def entries(self, resolution: Resolution) -> list[Entry]:
        """All files of a revision."""

    def prepare(self) -> None:
        """Make sure that ``fetch`` has what it needs; may start the module again in place of returning."""

    def fetch(
        self, resolution: Resolution, entries: t.Sequence[Entry], folder: str, seen: t.Callable[[int], None]
    ) -> int:
        """Fetch files into a folder; ``seen`` is told of bytes as they come. Returns how many came from the hub."""
