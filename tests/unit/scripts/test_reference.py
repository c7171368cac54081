# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import reference


def test_headings_of_ansibles_own_documentation_are_no_warnings_and_all_else_is() -> None:
    output = """\
/x/gpu_info_module.rst:386: WARNING: undefined label: 'common_return_values' [ref.ref]
/x/with_keys_filter.rst:171: WARNING: undefined label: 'ansible_collections.ansible.builtin.slurp_module' [ref.ref]
/x/gpu_info_module.rst:12: WARNING: undefined label: 'ansible_collections.private_llm.fleet.gone_module' [ref.ref]
/x/index.rst:3: WARNING: Title underline too short.
/x/index.rst:9: ERROR: Unknown interpreted text role "ansplug".
reading sources... [100%]
"""
    assert [line.split(":")[1] for line in reference.warnings_of(output)] == ["12", "3", "9"]
