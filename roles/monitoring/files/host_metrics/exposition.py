# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Metrics as Prometheus reads them."""

from __future__ import annotations

import os
import tempfile
import typing as t

Labels = t.Mapping[str, str]


class Metrics:
    """Metrics that are collected one by one, and written at once."""

    def __init__(self) -> None:
        self._families: dict[str, tuple[str, str, dict[str, str]]] = {}

    def add(self, name: str, kind: str, text: str, value: float, labels: Labels | None = None) -> None:
        """Add a sample to its family, which it begins where it is the first.

        The last of two with the same labels stays, because the collector refuses a whole file that has both.
        """
        _kind, _text, samples = self._families.setdefault(name, (kind, text, {}))
        shown = ",".join(f'{key}="{escaped(one)}"' for key, one in (labels or {}).items())
        number = repr(int(value)) if float(value).is_integer() and abs(value) < 1e15 else repr(float(value))
        samples[f"{name}{{{shown}}}" if shown else name] = number

    def text(self) -> str:
        """Return all families."""
        lines: list[str] = []
        for name, (kind, text, samples) in self._families.items():
            lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
            lines += [f"{sample} {number}" for sample, number in samples.items()]
        return "".join(f"{line}\n" for line in lines)


def escaped(text: str) -> str:
    """Return a text as it stands between the quotes of a label."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def write(path: str, text: str, mode: int = 0o644) -> None:
    """Write a file in one step, so that nobody reads half of it."""
    folder = os.path.dirname(path)
    handle, draft = tempfile.mkstemp(prefix=f".{os.path.basename(path)}-", dir=folder)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="replace") as stream:
            stream.write(text)
            os.fchmod(stream.fileno(), mode)
        os.replace(draft, path)
    except BaseException:
        os.unlink(draft)
        raise
