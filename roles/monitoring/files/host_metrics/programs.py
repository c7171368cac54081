# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ask programs and read files, with a limit of time and of what they may say."""

from __future__ import annotations

import os
import stat
import subprocess
import typing as t

LARGEST = 32 * 1024 * 1024


class Failed(Exception):
    """A program did not answer."""


def output_of(argv: t.Sequence[str], seconds: float, accepted: t.Collection[int] = (0,)) -> str:
    """Return what a program prints; Failed where it hangs, is not there, or ends otherwise than accepted."""
    process = None
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "LC_ALL": "C"},
            start_new_session=True,
        )
        said = process.communicate(timeout=seconds)[0]
    except OSError as error:
        raise Failed(f"{argv[0]}: {error.strerror or error}") from error
    except subprocess.TimeoutExpired as error:
        # What waits for a device that hangs cannot be killed; systemd ends it with this unit or never.
        if process:
            process.kill()
        raise Failed(f"{argv[0]} did not answer within {seconds:g} s") from error
    text = said[:LARGEST].decode("utf-8", "replace")
    if process.returncode not in accepted:
        raise Failed(text.strip()[-500:] or f"{argv[0]} ended with status {process.returncode}")
    return text


def read_text(path: str, largest: int) -> str:
    """Return the beginning of a file; OSError for what is none, such as a pipe, which would keep the reader waiting."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{path} is not a file")
        return stream.read(largest).decode("utf-8", "replace")
