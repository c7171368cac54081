# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The engine as the rooms of vLLM know it; new code imports from `_engine` itself."""

from __future__ import annotations

from ansible_collections.private_llm.fleet.plugins.module_utils._engine._api import SOCKET, EngineError
from ansible_collections.private_llm.fleet.plugins.module_utils._engine._client import Engine, ImageMissing
from ansible_collections.private_llm.fleet.plugins.module_utils._engine._driver import Ran
from ansible_collections.private_llm.fleet.plugins.module_utils._engine._logs import (
    LogLine,
    epoch,
    parse_log_line,
    split_lines,
)

__all__ = [
    "SOCKET",
    "Engine",
    "EngineError",
    "ImageMissing",
    "LogLine",
    "Ran",
    "epoch",
    "parse_log_line",
    "split_lines",
]
