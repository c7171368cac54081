# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A benchmark that nobody has run for a while still measures what it says."""

from __future__ import annotations

import importlib.util
from pathlib import Path

PLAN = Path(__file__).resolve().parents[3] / "benchmarks" / "plan.py"


def test_a_small_fleet_has_one_problem_for_each_server() -> None:
    spec = importlib.util.spec_from_file_location("benchmark_plan", PLAN)
    assert spec is not None
    assert spec.loader is not None
    plan = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(plan)
    # It stops where the number of problems is another one.
    assert set(plan.measure(hosts=3, servers=2)) == {"hosts_s", "fleet_s", "cpu_s"}
