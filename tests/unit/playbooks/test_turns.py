# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A play with `serial` goes through its hosts in turns, also one of a user's own with single roles."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_who_works_together_is_who_is_in_this_turn() -> None:
    """All hosts of a play are in ansible_play_hosts, those of other turns as well, and only ansible_play_batch has the
    ones that get to a task together."""
    files = [one for folder in ("roles", "playbooks") for one in (ROOT / folder).rglob("*.yml")]
    assert len(files) > 100
    wrong = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in files
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(r"\bansible_play_hosts\b|\bplay_hosts\b", line)
    ]
    assert wrong == [], "say ansible_play_batch for those of this turn, ansible_play_hosts_all for all that are named"
