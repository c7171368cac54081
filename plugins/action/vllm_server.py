# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ..plugin_utils._progress import ProgressAction


class ActionModule(ProgressAction):
    """Bring a vLLM server to its state and show what it is doing until it is ready."""

    KIND = "vllm_server"
    LOOKS = True
    IDENTITY: t.ClassVar[t.Mapping[str, str]] = {"name": ""}
