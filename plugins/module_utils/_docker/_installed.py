# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Find the Docker engines that are installed on a host, running or not."""

from __future__ import annotations

import glob
import os
import typing as t

# Where an engine's program may be. Docker's static archive is unpacked to /usr/local/bin by habit.
PROGRAMS = ("/usr/bin/dockerd", "/usr/sbin/dockerd", "/usr/local/bin/dockerd")
SNAPS = "/var/snap/"
SNAP = SNAPS + "docker/current"
USER_SOCKETS = "/run/user/*/docker.sock"
UNIT = "docker.service"
UNIT_PROPERTIES = ("LoadState", "ActiveState", "UnitFileState")


def programs(candidates: t.Sequence[str] = PROGRAMS) -> list[str]:
    """Return the programs of engines that are there."""
    return [path for path in candidates if os.path.exists(path)]


def from_snap(folder: str = SNAP) -> bool:
    """Return whether a snap of Docker is installed."""
    return os.path.exists(folder)


def is_of_snap(data_root: str) -> bool:
    """Return whether an engine with this data folder is a snap."""
    return data_root.startswith(SNAPS)


def user_sockets(pattern: str = USER_SOCKETS) -> list[str]:
    """Return the sockets of engines that users run as services of their own."""
    return sorted(glob.glob(pattern))


def parse_unit(shown: str) -> dict[str, bool]:
    """Read what ``systemctl show`` prints about the properties of the unit."""
    said = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
    return {
        "loaded": said.get("LoadState") == "loaded",
        "active": said.get("ActiveState") == "active",
        "enabled": said.get("UnitFileState") == "enabled",
    }
