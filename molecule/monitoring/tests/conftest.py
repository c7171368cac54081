# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
# The tests read the collection's own files, and have the host's programs judge them.
sys.path[:0] = [str(ROOT), str(ROOT / ".collections"), str(ROOT / "tests" / "browser")]
