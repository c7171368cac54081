# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The kinds of model sources, each with its default endpoint and revision.

A new kind is a row here and a maker in ``_sources``.
"""

from __future__ import annotations

import typing as t

# What a revision is called that was not named to a git server, which notes under that name what its HEAD is.
HEAD = "HEAD"


class Kind(t.NamedTuple):
    """A kind of source."""

    endpoint: str  # address of the hub that is asked when no other is given; empty for a source that is no hub
    default_revision: str  # what a revision is called that was not named; empty where only the source can tell
    limits_bandwidth: bool = True


KINDS = {
    "modelscope": Kind("https://modelscope.cn", "master"),
    "huggingface": Kind("https://huggingface.co", "main"),
    "git_lfs": Kind("https://www.modelscope.cn", HEAD, limits_bandwidth=False),
    "archive": Kind("", ""),
}
