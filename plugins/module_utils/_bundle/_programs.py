# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run the programs of a distribution that fetch packages."""

from __future__ import annotations

import os
import subprocess
import typing as t

from ._index import BundleError

SECONDS = 3600
SHOWN = 600  # characters of what a program said


def run(command: t.Sequence[str]) -> str:
    """Return what a program prints; BundleError with its last words when it fails or takes more than an hour."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=SECONDS,
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"},
            check=False,
        )
    except FileNotFoundError as error:
        raise BundleError(
            f"{command[0]} is not on this machine; packages are fetched on Debian, Ubuntu or the family of RHEL,"
            " in a container that bundle_platform started"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise BundleError(f"{command[0]} did not end within {SECONDS} seconds") from error
    if done.returncode:
        said = " ".join(done.stderr.decode("utf-8", "replace").split())
        said = said if len(said) <= SHOWN else f"{said[: SHOWN // 2]} … {said[-SHOWN // 2 :]}"
        raise BundleError(f"{command[0]} failed: {said or done.returncode}")
    return done.stdout.decode("utf-8", "replace")
