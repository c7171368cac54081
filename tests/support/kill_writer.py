#!/usr/bin/python3
# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Kill, with SIGKILL, whoever is writing a file below a folder once that file has grown to a size.

What a power cut, the kernel's memory killer or an impatient person does to a download.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path


def writers_of(path: Path) -> list[int]:
    """Return the processes that have a file open."""
    found = []
    for folder in Path("/proc").glob("[0-9]*/fd"):
        with contextlib.suppress(OSError):  # the process has ended meanwhile
            if str(path) in handles(folder):
                found.append(int(folder.parent.name))
    return found


def handles(folder: Path) -> Iterator[str]:
    """Yield what the handles of a process lead to; it may close some while they are read."""
    for link in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            yield os.readlink(link)


def main() -> int:
    """Wait, kill, and say which process and at what size."""
    parser = argparse.ArgumentParser(description="Kill whoever writes a file, once it has grown to a size.")
    parser.add_argument("folder", type=Path, help="folder below which the file appears")
    parser.add_argument("pattern", help="shell pattern of the file's name")
    parser.add_argument("--size", type=int, required=True, help="size in bytes at which to kill")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds to wait for the file to grow")
    arguments = parser.parse_args()
    deadline = time.monotonic() + arguments.timeout
    while time.monotonic() < deadline:
        for path in arguments.folder.resolve().rglob(arguments.pattern):
            if path.is_file() and path.stat().st_size >= arguments.size:
                processes = writers_of(path)
                for process in processes:
                    os.kill(process, signal.SIGKILL)
                if processes:
                    print(f"killed {processes} at {path.stat().st_size} bytes of {path.name}")
                    return 0
        time.sleep(0.02)
    print(f"no {arguments.pattern} below {arguments.folder} grew to {arguments.size} bytes", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
