# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.private_llm.fleet.plugins.module_utils._hub._files import Entry
from ansible_collections.private_llm.fleet.plugins.plugin_utils._bundle import batches


def test_a_large_file_goes_alone_and_small_ones_together() -> None:
    files = [Entry(str(size), size, "") for size in (1, 2, 30, 4, 5, 6)]
    assert [[file.size for file in group] for group in batches(files, 10)] == [[1, 2], [30], [4, 5], [6]]
    assert list(batches([])) == []
