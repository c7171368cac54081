# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The base of all modules: it refuses options that no program can take, and writes messages for a terminal."""

from __future__ import annotations

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ._printable import printable


class FleetModule(AnsibleModule):
    """An AnsibleModule that refuses a NUL in an option, and writes out in its messages what a terminal would obey.

    Python raises ValueError for a NUL in a path, a command or an address, wherever it meets one.
    """

    def __init__(self, argument_spec: dict[str, t.Any], **settings: t.Any) -> None:
        """Take the options, as AnsibleModule does, and end the module where one holds a NUL."""
        super().__init__(argument_spec, **settings)
        place = next(nuls(self.params), None)
        if place is not None:
            self.fail_json(
                msg=f"{place} holds a NUL character (U+0000), which no path, command or setting can hold; write it anew"
            )

    def fail_json(self, msg: str, **result: t.Any) -> t.NoReturn:
        """End the module with a message, whatever other programs put into it."""
        super().fail_json(msg=printable(str(msg), len(str(msg))), **result)
        raise AssertionError("fail_json came back")

    def exit_json(self, **result: t.Any) -> t.NoReturn:
        """End the module with a result; what programs said stands in it under ``message``, also of a part of it."""
        super().exit_json(**shown(result))
        raise AssertionError("exit_json came back")

    def warn(self, warning: str, **details: t.Any) -> None:
        """Warn of something, whatever other programs put into the text."""
        super().warn(printable(warning), **details)


def shown(value: t.Any, name: str = "") -> t.Any:
    """Return a result whose messages a terminal can show.

    >>> shown({"servers": [{"message": "a\x1b[2Jb", "data": "\x1b"}]})
    {'servers': [{'message': 'a\\x1b[2Jb', 'data': '\x1b'}]}
    """
    if isinstance(value, dict):
        return {key: shown(inner, str(key)) for key, inner in value.items()}
    if isinstance(value, list):
        return [shown(inner, name) for inner in value]
    return printable(value, len(value)) if isinstance(value, str) and name == "message" else value


def nuls(value: t.Any, place: str = "") -> t.Iterator[str]:
    """Give the place of each NUL in an option: its name, and what leads to it from there.

    >>> list(nuls({"servers": [{"env": {"A": "a\\0b"}}]}))
    ['servers[0].env.A']
    """
    if isinstance(value, str):
        if "\0" in value:
            yield place
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from nuls(inner if "\0" not in str(key) else key, f"{place}.{key}" if place else str(key))
    elif isinstance(value, (list, tuple)):
        for index, inner in enumerate(value):
            yield from nuls(inner, f"{place}[{index}]")
