# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Open a path only where a file is: a pipe in its place would keep the one who opens it waiting."""

from __future__ import annotations

import errno
import os
import stat

_TEXT = "it is not a file; remove what is in its place"


def regular(path: str, flags: int) -> int:
    """Return a descriptor of a file, as ``open(..., opener=regular)`` wants it; OSError where something else is."""
    try:
        descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    except OSError as error:
        # What the kernel says of a socket, and of a pipe that nobody reads.
        if error.errno in (errno.ENXIO, errno.EISDIR):
            raise OSError(error.errno, _TEXT, path) from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, _TEXT, path)
    return descriptor
