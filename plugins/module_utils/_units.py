# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sizes and times as people read them, the same in every message, table and page."""

from __future__ import annotations

_DECIMAL = ("kB", "MB", "GB", "TB", "PB")


def size(count: float) -> str:
    """Return a size in bytes on a disk or a line, in powers of 1000 as both are sold, such as ``61.2 GB``."""
    if count < 1000:
        return f"{count:.0f} B"
    for unit in _DECIMAL:
        count /= 1000
        if count < 999.95 or unit == _DECIMAL[-1]:
            break
    return f"{count:.1f} {unit}"


def memory(count: float) -> str:
    """Return a size of memory in bytes, in powers of 1024 as vLLM and NVIDIA's driver say it, such as ``13.50 GiB``."""
    return f"{count / 2**30:,.2f} GiB" if count >= 2**27 else f"{count / 2**20:,.2f} MiB"


def duration(seconds: float) -> str:
    """Return a duration by its two larger units, such as ``2 h 5 min`` or ``48 s``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min" if minutes >= 10 else f"{minutes} min {rest} s" if minutes else f"{rest} s"
