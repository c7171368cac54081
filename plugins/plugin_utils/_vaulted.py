# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Explain values that ansible-vault encrypted and this run cannot decrypt."""

from __future__ import annotations

import re

# As ansible-core 2.19 words it, without a password and with a wrong one, whether a value or a template of it is read.
_LOCKED = re.compile(r"no vault secrets|vault exception marker|undecryptable variable", re.IGNORECASE)
LOCKED = (
    "a value that ansible-vault encrypted cannot be decrypted; start the playbook with --ask-vault-pass, or with"
    " --vault-password-file and the file of the right password"
)


def plainly(reason: str) -> str:
    """Return why something failed, in place of what Ansible says of a locked value."""
    return LOCKED if _LOCKED.search(reason) else reason
