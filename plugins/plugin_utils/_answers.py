# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This is private to the collection: it may change or vanish without notice.

"""What all hosts of one run share on the controller: a token, and the answers of hubs.

Ansible works on each host in a process of its own. Their common place is its folder for temporary files, which is made
for one run, can be reached by its user alone, and is removed at the end.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import hmac
import json
import os
import secrets
import typing as t

from ansible import constants

# What two hosts must ask in the same way to be given the same answer.
QUESTION = ("repo", "source", "sources", "endpoint", "token", "revision", "include", "exclude", "ca_path", "proxy")
# What an answer says, as the module takes it again.
ANSWER = ("source", "endpoint", "revision", "commit", "digest", "files")


def _shared(name: str) -> str:
    return os.path.join(constants.DEFAULT_LOCAL_TMP, f"private_llm-{name}")


def run_token() -> str:
    """Return the token of this run, the same in all its processes. It is in no variable that could be shown."""
    path = _shared("token")
    own = f"{path}.{os.getpid()}"
    with contextlib.suppress(FileNotFoundError), open(path, encoding="ascii") as stream:
        return stream.read()
    with open(os.open(own, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as stream:
        stream.write(secrets.token_hex(32))
    try:
        with contextlib.suppress(FileExistsError):  # another process was first
            os.link(own, path)
    finally:
        os.unlink(own)
    with open(path, encoding="ascii") as stream:
        return stream.read()


def question_of(arguments: t.Mapping[str, t.Any]) -> str | None:
    """Return the name of what a task of model_snapshot asks; None where each host has to ask by itself.

    What lies in an archive is known to its own host only, and a branch of it means nothing elsewhere.
    """
    several = arguments.get("sources") or [arguments]
    if any(one.get("source") == "archive" or one.get("archive") for one in several):
        return None
    if arguments.get("state") == "absent":
        return None
    asked = json.dumps({name: arguments.get(name) or None for name in QUESTION}, sort_keys=True, default=str)
    return hmac.new(run_token().encode("ascii"), asked.encode("utf-8"), hashlib.sha256).hexdigest()


class Answers:
    """The answer to one question: the first to ask asks the hub, the others wait for him and read it.

    When the first two hosts were told nothing that can be relied on, the others need not wait for each other.
    """

    TRIES = 2

    def __init__(self, question: str) -> None:
        self._path = _shared(f"answer-{question}")

    def read(self) -> dict[str, t.Any] | None:
        """Return what is known, which may be that nothing will be; None when somebody should ask."""
        known = self._read()
        return known if known.get("listed") or known.get("tries", 0) >= self.TRIES else None

    def _read(self) -> dict[str, t.Any]:
        with contextlib.suppress(FileNotFoundError), open(self._path, encoding="utf-8") as stream:
            found: dict[str, t.Any] = json.load(stream)
            return found
        return {}

    def keep(self, result: t.Mapping[str, t.Any]) -> None:
        """Keep the answer that a result holds, or that there is none which can be relied on."""
        told = not result.get("failed") and result.get("digest") and result.get("revision_checked")
        answer = {
            "listed": {name: result.get(name) for name in ANSWER} if told else None,
            "config": result.get("config") if told else None,
            "tries": self._read().get("tries", 0) + 1,
        }
        own = f"{self._path}.{os.getpid()}"
        with open(own, "w", encoding="utf-8") as stream:
            json.dump(answer, stream)
        os.replace(own, self._path)

    @contextlib.contextmanager
    def turn(self) -> t.Iterator[None]:
        """Wait until nobody else is asking."""
        with open(self._path + ".lock", "w", encoding="ascii") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield
