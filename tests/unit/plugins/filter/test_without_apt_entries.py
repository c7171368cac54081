# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.private_llm.fleet.plugins.filter.without_apt_entries import without_apt_entries

PATTERN = "^[^#]*/(libnvidia-container|nvidia-docker)/"
OLD = "deb https://nvidia.github.io/libnvidia-container/stable/deb/$(ARCH) /"
OTHER = "deb http://packages.example.com/debian trixie main"
OLD_PARAGRAPH = "Types: deb\nURIs: https://nvidia.github.io/nvidia-docker/debian12/amd64\nSuites: /"
OTHER_PARAGRAPH = "Types: deb\nURIs: http://packages.example.com/debian\nSuites: trixie"


@pytest.mark.parametrize(
    ("file", "text", "left"),
    [
        ("/a.list", f"{OLD}\n", ""),
        ("/a.list", f"# from a guide\n\n{OLD}\n", ""),
        ("/a.list", f"# mine\n{OTHER}\n{OLD}\n#{OLD}\n", f"# mine\n{OTHER}\n#{OLD}\n"),
        ("/a.list", f"{OTHER}\n", f"{OTHER}\n"),
        ("/a.sources", f"{OLD_PARAGRAPH}\n", ""),
        ("/a.sources", f"# of NVIDIA\n{OLD_PARAGRAPH}\n\n# a word\n", ""),
        ("/a.sources", f"{OLD_PARAGRAPH}\n\n{OTHER_PARAGRAPH}\n", f"{OTHER_PARAGRAPH}\n"),
        ("/a.sources", f"{OTHER_PARAGRAPH}\n\n{OLD_PARAGRAPH}\n", f"{OTHER_PARAGRAPH}\n"),
        ("/a.list", "", ""),
    ],
)
def test_the_entries_of_others_stay(file: str, text: str, left: str) -> None:
    assert without_apt_entries(text, file, PATTERN) == left


def test_a_long_file_and_odd_characters_stay() -> None:
    text = f"# \t\x1b\u202e\n{OTHER}\n" * 2000
    assert without_apt_entries(text, "/a.list", PATTERN) == text


def test_a_pattern_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(AnsibleFilterError, match="pattern: cannot be read"):
        without_apt_entries(OTHER, "/a.list", "[")
