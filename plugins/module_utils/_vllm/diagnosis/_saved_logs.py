# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The whole log of a server that did not get ready, kept on the host after its container has gone."""

from __future__ import annotations

import contextlib
import datetime
import os
import typing as t

from ... import _paths

ROOT = _paths.FAILED_LOGS
KEPT = 5  # of each server, the newest

_SUFFIX = ".log"


def keep(name: str, begun: float, lines: t.Sequence[str], root: str = ROOT) -> str:
    """Write the log of a start that began then (seconds since the epoch); returns the file, readable by root alone.

    A log has prompts in it when requests are logged, and paths of the host.
    """
    directory = os.path.join(root, name)
    os.makedirs(directory, mode=0o700, exist_ok=True)
    stamp = datetime.datetime.fromtimestamp(begun, datetime.timezone.utc).strftime("%Y-%m-%dT%H-%M-%SZ")
    path = os.path.join(directory, stamp + _SUFFIX)
    # The first failure of a start is the one that tells; running again does not write over it.
    with contextlib.suppress(FileExistsError), open(path, "x", encoding="utf-8") as stream:
        try:
            os.fchmod(stream.fileno(), 0o600)
            stream.writelines(line + "\n" for line in lines)
            stream.flush()
        except OSError:
            os.unlink(path)  # half a log would be taken for the whole one
            raise
    others = [file for file in os.listdir(directory) if file.endswith(_SUFFIX) and file != os.path.basename(path)]
    # A log with a later time than this start's was written while the clock was ahead, so it is older.
    others.sort(key=lambda file: (file < os.path.basename(path), file))
    for old in others[: 1 - KEPT]:
        os.unlink(os.path.join(directory, old))
    return path
