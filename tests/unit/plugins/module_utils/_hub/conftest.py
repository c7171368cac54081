# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
import sys
import typing as t
from pathlib import Path

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._hub._files import (
    EVERYTHING,
    Entry,
    Selection,
    digest_of,
)
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._manifest import Origin
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._plan import Target
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._source import Access, Resolution
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._store import ModelStore

# The lab's servers stand for the hubs.
sys.path.insert(0, str(Path(__file__).resolve().parents[5] / "scripts" / "lab"))

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def entry(path: str, content: bytes) -> Entry:
    """The entry of a file with this content."""
    return Entry(path, len(content), hashlib.sha256(content).hexdigest())


class Memory:
    """A source that holds its files in memory, and says what it was asked for."""

    name = "memory"
    verifies = False

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.fetched: list[str] = []

    def pin(self, revision: str | None) -> Resolution | None:
        return None

    def resolve(self, revision: str | None) -> Resolution:
        return Resolution(revision or "master", COMMIT)

    def entries(self, resolution: Resolution, selection: Selection = EVERYTHING) -> list[Entry]:
        return [entry(path, content) for path, content in sorted(self.files.items())]

    def prepare(self) -> None:
        """Needs nothing."""

    def fetch(
        self, resolution: Resolution, entries: t.Sequence[Entry], folder: str, seen: t.Callable[[int], None]
    ) -> int:
        for wanted in entries:
            path = Path(folder, wanted.path)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.files[wanted.path])
            self.fetched.append(wanted.path)
            seen(wanted.size)
        return sum(wanted.size for wanted in entries)

    def target(self, commit: str | None = COMMIT) -> Target:
        """What a run would ask for: everything."""
        entries = tuple(self.entries(Resolution("master", commit)))
        origin = Origin("memory", "https://hub.example.com", "acme/tiny", "master", commit, (), ())
        return Target(Resolution("master", commit), origin, digest_of(entries), entries)


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(str(tmp_path / "models"), "acme/tiny")


@pytest.fixture
def memory() -> Memory:
    return Memory({"config.json": b"{}", "weights/a.bin": b"a" * 5000, "weights/b.bin": b"b" * 7000})


@pytest.fixture
def stored_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials that other tools have left in the home of whoever runs this."""
    home = tmp_path / "home"
    home.mkdir()
    (home / ".netrc").write_text("default login oauth2 password hunter2\n")
    (home / ".netrc").chmod(0o600)
    (home / ".git-credentials").write_text("http://oauth2:hunter2@127.0.0.1\n")
    (home / ".gitconfig").write_text("[credential]\nhelper = store\nuseHttpPath = false\n")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("NETRC", raising=False)


@pytest.fixture
def access() -> t.Callable[..., Access]:
    def make(endpoint: str, token: str | None = None, repo: str = "acme/tiny") -> Access:
        return Access(endpoint=endpoint, repo=repo, token=token, timeout=10, retries=2, workers=2, ca_path=None)

    return make
