# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._gateway._runtime import Runtime, RuntimeSocketError


@pytest.mark.parametrize(
    "answer",
    [
        "pxname,svname,status,scur\na,b",
        f"pxname,svname,status,scur\na,b,UP,{'1' * 200_000}",
        "pxname,svname,status,scur\na,b,UP,many",
        "<html>\n<body>\n",
    ],
)
def test_a_socket_that_answers_rubbish_is_told(answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Runtime, "ask", lambda self, command: answer)
    with pytest.raises(RuntimeSocketError, match="/run/x answered with no statistics"):
        Runtime("/run/x").servers()
