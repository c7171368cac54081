# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pathlib

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._packages import _installed
from ansible_collections.private_llm.fleet.plugins.module_utils._packages._installed import Package

NAMES = ["nvidia-container-toolkit-base", "nvidia-container-toolkit"]
ENTRY = ["Types: deb", "URIs: https://mirror.example.com/", "Suites: /"]


def test_packages_of_dpkg() -> None:
    output = (
        "hold installed nvidia-container-toolkit-base 1.20.1-1\n"
        "install installed nvidia-container-toolkit 1.20.0-1\n"
        "deinstall config-files libnvidia-container1 1.19.0-1\n"
        "unknown not-installed nvidia-docker2 \n"
        "dpkg-query: no packages found matching libnvidia-container-tools\n"
    )
    assert _installed.parse_query(output) == [
        Package("nvidia-container-toolkit-base", "1.20.1-1", True, True),
        Package("nvidia-container-toolkit", "1.20.0-1", True, False),
        Package("libnvidia-container1", "1.19.0-1", False, False),
        Package("nvidia-docker2", "", False, False),
    ]


def test_packages_of_rpm() -> None:
    output = "- installed nvidia-container-toolkit 1.20.1\npackage libnvidia-container1 is not installed\n"
    assert _installed.parse_query(output) == [Package("nvidia-container-toolkit", "1.20.1", True, False)]


def test_locks_of_dnf() -> None:
    lock = "nvidia-container-toolkit-base-0:1.20.1-1.*"
    text = f"# nvidia-container-toolkit\n{lock}\n!nvidia-container-toolkit\nkernel-0:6.*\n"
    assert _installed.version_locks([text], NAMES) == [lock]


def test_locks_of_zypper() -> None:
    text = "type: package\nmatch_type: glob\ncase_sensitive: on\nsolvable_name: {}\n\n"
    texts = ["".join(text.format(name) for name in (NAMES[1], "kernel", NAMES[0]))]
    assert _installed.zypper_locks(texts, NAMES) == [NAMES[1], NAMES[0]]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"Types: deb\nURIs: https://mirror.example.com/\nSuites: /\n", True),
        (b"# Ansible managed\n\nSuites: /\nURIs:   https://mirror.example.com/\nTypes: deb", True),
        (b"Types: deb\nURIs: https://other.example.com/\nSuites: /\n", False),
        (b"Types: deb\nURIs: https://mirror.example.com/\nSuites: /\nEnabled: no\n", False),
        (b"Types: deb\nSuites: /\n", False),
        (b"\xff", False),
        (b"", False),
        (None, False),
    ],
)
def test_an_entry_says_the_same_or_not(content: bytes | None, expected: bool) -> None:
    assert _installed.lists(content, ["# Ansible managed", *ENTRY]) is expected


def test_no_key_and_a_damaged_one_are_not_trusted() -> None:
    assert not _installed.trusts(None, ["C95B321B61E88C1809C4F759DDCAE044F796ECB0"], None)
    assert not _installed.trusts(b"no key", ["C95B321B61E88C1809C4F759DDCAE044F796ECB0"], None)


def test_a_key_is_trusted_by_its_fingerprint_and_by_what_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_installed, "unexpected", lambda content, allowed: [] if "A" in allowed else ["B"])
    assert _installed.trusts(b"key\n", ["A"], None)
    assert not _installed.trusts(b"key\n", ["C"], None)
    assert _installed.trusts(b"key\n", ["A"], "key")
    assert not _installed.trusts(b"key\n", ["A"], "another key")


def test_entries_of_others_are_found_by_what_is_in_them(tmp_path: pathlib.Path) -> None:
    for name in ("a.list", "b.list", "ours.list", "c.sources"):
        (tmp_path / name).write_text(f"deb https://example.com/{name[0]}/libnvidia/ /\n", encoding="utf-8")
    (tmp_path / "b.list").write_text("# https://example.com/libnvidia/\n", encoding="utf-8")

    def read(path: str) -> bytes | None:
        return None if path.endswith("c.sources") else pathlib.Path(path).read_bytes()

    patterns = [f"{tmp_path}/*.list", f"{tmp_path}/*"]
    assert _installed.others(patterns, r"^[^#]*/libnvidia/", f"{tmp_path}/ours.list", read) == [f"{tmp_path}/a.list"]
