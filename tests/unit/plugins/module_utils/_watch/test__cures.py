# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.diagnosis._signatures import SIGNATURES
from ansible_collections.private_llm.fleet.plugins.module_utils._watch import _cures

# What the diagnosis and the wait for a server tell beside the table of known failures.
OTHERS = {"host_out_of_memory", "timeout", "not_working", "unknown"}
OWN = {_cures.HUNG, _cures.SILENT, _cures.STUCK, _cures.PARTED, _cures.NOT_STARTED}


def test_the_table_names_causes_that_there_are() -> None:
    known = {signature.id for signature in SIGNATURES} | OTHERS | OWN
    assert known >= _cures.CURABLE
    assert known >= _cures.PASSING


def test_options_and_files_are_not_cured_by_a_restart() -> None:
    for cause in ("unknown_option", "context_exceeds_kv", "no_weights", "weights_do_not_fit", "disk_full", "gated"):
        assert not _cures.is_curable(cause)
    for cause in (_cures.HUNG, "worker_hangs", "died_silently", "unknown"):
        assert _cures.is_curable(cause)
