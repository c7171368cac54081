# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sitecustomize of lab hosts: what Python compiled of a zip archive's sources is kept, by their contents.

Ansible brings a module's sources as a new archive for each task, and Python compiles them anew, which is a third of
what a small task costs: 0.07 of 0.22 s of processor time. Python looks for cycles of objects less often, too: it does
so every 700 new ones, which is a tenth of what a playbook costs. Nothing else is different on a host that has this.
"""

import gc
import hashlib
import marshal
import os
import sys
import zipimport
from types import CodeType

FOLDER = f"/var/cache/private-llm-lab/{sys.implementation.cache_tag}"

# Not for others to call; it is there, with these arguments, from Python 3.8 to 3.13 at least.
compile_source = zipimport._compile_source  # type: ignore[attr-defined]  # private, so not in the stubs


def compile_once(pathname: str, source: bytes) -> CodeType:
    """Compile a source file of an archive, unless the same bytes were compiled before."""
    kept = os.path.join(FOLDER, hashlib.sha256(source).hexdigest())
    try:
        with open(kept, "rb") as file:
            return marshal.load(file)  # noqa: S302  # written below, in a folder of root's
    except (OSError, EOFError, ValueError, TypeError):
        code: CodeType = compile_source(pathname, source)
    try:
        os.makedirs(FOLDER, exist_ok=True)
        partial = f"{kept}.{os.getpid()}"
        with open(partial, "wb") as file:
            marshal.dump(code, file)
        os.replace(partial, kept)
    except OSError:
        pass
    return code


gc.set_threshold(100_000, 50, 100)
zipimport._compile_source = compile_once  # type: ignore[attr-defined]  # as above
