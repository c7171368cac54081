# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read the fingerprints out of an OpenPGP key file, so that a pinned key can be checked on a host without GnuPG."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import typing as t

_ARMOR = re.compile(
    rb"^-----BEGIN PGP PUBLIC KEY BLOCK-----[ \t]*\r?\n(.*?)^-----END PGP PUBLIC KEY BLOCK-----[ \t]*\r?$",
    re.DOTALL | re.MULTILINE,
)
_HEX = re.compile(r"[0-9A-F]+\Z")
_PUBLIC_KEY = 6
# What belongs to a public key besides: signatures, trust, user ids, subkeys, user attributes, padding.
_COMPANIONS = frozenset((2, 12, 13, 14, 17, 21))
# What is hashed before the key's body, by the version of the key, and how: RFC 9580, 5.5.4.
_HASHES: dict[int, tuple[bytes, int, t.Callable[..., t.Any]]] = {
    4: (b"\x99", 2, hashlib.sha1),
    6: (b"\x9b", 4, hashlib.sha256),
}


class KeyFileError(ValueError):
    """The file is not a file of OpenPGP public keys."""


def normalize_fingerprint(written: str) -> str:
    """Return a fingerprint without blanks, in capitals. Refuse a short key id, because many keys can have it."""
    fingerprint = re.sub(r"[\s:]", "", written).upper()
    if fingerprint.startswith("0X"):
        fingerprint = fingerprint[2:]
    if not _HEX.match(fingerprint) or len(fingerprint) not in (40, 64):
        raise KeyFileError(f"{written!r} is not a fingerprint: it takes 40 hexadecimal digits (64 for a version 6 key)")
    return fingerprint


def primary_fingerprints(content: bytes) -> list[str]:
    """Return the fingerprints of all primary keys in a key file, armored or not, in its order."""
    found = [fingerprint for block in _blocks(content) for fingerprint in _fingerprints_of(block)]
    if not found:
        raise KeyFileError("there is no public key in it")
    return found


def unexpected(content: bytes, allowed: t.Iterable[str]) -> list[str]:
    """Return the primary keys in the file that are not allowed. A package manager would trust every key in the file."""
    pinned = {normalize_fingerprint(fingerprint) for fingerprint in allowed}
    return [fingerprint for fingerprint in primary_fingerprints(content) if fingerprint not in pinned]


def _blocks(content: bytes) -> list[bytes]:
    if content[:1] and content[0] & 0x80:
        return [content]
    armored = _ARMOR.findall(content)
    if not armored:
        raise KeyFileError(f"it does not begin like an OpenPGP key: {content[:60]!r}")
    return [_unarmor(body) for body in armored]


def _unarmor(body: bytes) -> bytes:
    lines = [line.strip() for line in body.splitlines()]
    # Headers such as "Version: ..." end with a blank line; the base64 text ends with a checksum that begins with "=".
    if b"" in lines and any(b":" in line for line in lines[: lines.index(b"")]):
        lines = lines[lines.index(b"") + 1 :]
    data = b"".join(line for line in lines if line and not line.startswith(b"="))
    try:
        return base64.b64decode(data, validate=True)
    except binascii.Error as error:
        raise KeyFileError(f"its base64 text is damaged: {error}") from error


def _fingerprints_of(packets: bytes) -> list[str]:
    found = []
    at = 0
    while at < len(packets):
        tag, start, end = _packet(packets, at)
        if tag == _PUBLIC_KEY:
            found.append(_fingerprint(packets[start:end]))
        elif tag not in _COMPANIONS:
            raise KeyFileError(f"it holds something else than public keys (packet type {tag})")
        at = end
    return found


def _fingerprint(body: bytes) -> str:
    version = body[0] if body else 0
    if version not in _HASHES:
        raise KeyFileError(f"it holds a key of version {version}; only versions 4 and 6 can be checked")
    prefix, size, algorithm = _HASHES[version]
    return str(algorithm(prefix + len(body).to_bytes(size, "big") + body).hexdigest()).upper()


def _packet(packets: bytes, at: int) -> tuple[int, int, int]:
    """Return type, start and end of the body of the packet at a position."""
    head = packets[at]
    if not head & 0x80:
        raise KeyFileError(f"it is damaged at byte {at}")
    try:
        tag, start, length = _new_header(packets, at) if head & 0x40 else _old_header(packets, at)
    except IndexError as error:
        raise KeyFileError("it ends in the middle of a key") from error
    if start + length > len(packets):
        raise KeyFileError("it ends in the middle of a key")
    return tag, start, start + length


def _new_header(packets: bytes, at: int) -> tuple[int, int, int]:
    tag = packets[at] & 0x3F
    first = packets[at + 1]
    if first < 192:
        return tag, at + 2, first
    if first < 224:
        return tag, at + 3, ((first - 192) << 8) + packets[at + 2] + 192
    if first == 255:
        return tag, at + 6, _number(packets, at + 2, 4)
    raise KeyFileError("it holds a key in pieces, which no key file does")


def _old_header(packets: bytes, at: int) -> tuple[int, int, int]:
    tag = (packets[at] & 0x3C) >> 2
    kind = packets[at] & 0x03
    if kind == 3:
        raise KeyFileError("it holds a key of unknown length, which no key file does")
    size = 1 << kind
    return tag, at + 1 + size, _number(packets, at + 1, size)


def _number(packets: bytes, at: int, size: int) -> int:
    if at + size > len(packets):
        raise IndexError
    return int.from_bytes(packets[at : at + size], "big")
