# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.private_llm.fleet.plugins.plugin_utils._progress import ProgressAction


class ActionModule(ProgressAction):
    """Download a model and show how far it is."""

    KIND = "model_snapshot"
    IDENTITY: t.ClassVar[t.Mapping[str, str]] = {"root": "/srv/models", "repo": ""}
