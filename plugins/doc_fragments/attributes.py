# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """What a module promises about check mode, diff mode and repeated runs; the module states how far."""

    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description:
      - Can run in check mode and predict what a real run would change, also on a host where nothing is installed yet.
  diff_mode:
    description: Shows what changed, or would change, when run with C(--diff). Secrets are never shown.
  idempotent:
    description: A second run with the same options changes nothing.
"""
