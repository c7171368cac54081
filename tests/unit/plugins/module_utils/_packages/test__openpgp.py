# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._packages._openpgp import (
    KeyFileError,
    normalize_fingerprint,
    primary_fingerprints,
    unexpected,
)

FIXTURES = pathlib.Path(__file__).parents[3] / "fixtures/openpgp"
# What gpg --list-keys says of the two: an Ed25519 key, and an RSA key with a subkey for encryption.
ONE = "91EBF4788D2B33BB364D8ECFE3A573467246B4A3"
TWO = "D9BA81814BB5D6A6DEF6BA6C2FD111FCA28FEF58"


def sample(name: str) -> bytes:
    return (FIXTURES / name).read_bytes()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(sample("one.asc"), [ONE], id="armored"),
        pytest.param(sample("two.asc"), [TWO], id="armored-with-a-comment-and-a-subkey"),
        pytest.param(sample("both.gpg"), [ONE, TWO], id="binary"),
        pytest.param(sample("both.asc"), [ONE, TWO], id="two-in-one-armor"),
        pytest.param(sample("two.asc") + sample("one.asc"), [TWO, ONE], id="two-armors"),
        pytest.param(sample("one.asc").replace(b"\n", b"\r\n"), [ONE], id="windows-lines"),
        pytest.param(b"A word before.\n" + sample("one.asc") + b"\nAnd after.\n", [ONE], id="text-around"),
        pytest.param(sample("one.asc").rstrip(b"\n"), [ONE], id="no-newline-at-the-end"),
    ],
)
def test_primary_fingerprints(content: bytes, expected: list[str]) -> None:
    assert primary_fingerprints(content) == expected


LITERAL = b"\xcb\x05hello"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it does not begin like an OpenPGP key: b''"),
        (b"<html>404</html>", "it does not begin like an OpenPGP key: b'<html>404</html>'"),
        (sample("one.asc")[:200], "it does not begin like an OpenPGP key"),
        (sample("one.asc").replace(b"\nm", b"\n!"), "its base64 text is damaged: "),
        (sample("both.gpg")[:40], "it ends in the middle of a key"),
        (sample("both.gpg") + LITERAL, "it holds something else than public keys (packet type 11)"),
        (sample("both.gpg") + b"\x01", "it is damaged at byte"),
        (b"\xc6\x03\x03aa", "it holds a key of version 3; only versions 4 and 6 can be checked"),
        (b"\xc6\xe0aa", "it holds a key in pieces, which no key file does"),
        (b"\x9baa", "it holds a key of unknown length, which no key file does"),
        (b"\xc6\xff\x00", "it ends in the middle of a key"),
        (b"\xcd\x01x", "there is no public key in it"),
    ],
)
def test_no_key_file(content: bytes, message: str) -> None:
    with pytest.raises(KeyFileError) as error:
        primary_fingerprints(content)
    assert str(error.value).startswith(message)


def test_unexpected() -> None:
    assert unexpected(sample("both.asc"), [ONE, TWO]) == []
    assert unexpected(sample("both.asc"), [f"0x{ONE.lower()}"]) == [TWO]
    assert unexpected(sample("one.asc"), [" ".join(ONE[at : at + 4] for at in range(0, 40, 4))]) == []
    assert unexpected(sample("one.asc"), []) == [ONE]


@pytest.mark.parametrize("written", ["", "E3A573467246B4A3", "X" * 40, ONE + "0"])
def test_what_is_no_fingerprint(written: str) -> None:
    with pytest.raises(KeyFileError, match=r"is not a fingerprint: it takes 40 hexadecimal digits"):
        normalize_fingerprint(written)
