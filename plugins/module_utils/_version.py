# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read versions, so that one can be compared with another."""

from __future__ import annotations

import re


def numbers_of(version: str) -> tuple[int, ...]:
    """Return the numbers at the start of a version, or an empty tuple when there are none.

    >>> numbers_of("v0.12.4-dev1")
    (0, 12, 4)
    """
    found = re.match(r"v?([0-9]{1,9}(?:\.[0-9]{1,9})*)", version.strip())
    return tuple(int(part) for part in found.group(1).split(".")) if found else ()
