# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""When certificates end."""

from __future__ import annotations

import binascii
import calendar
import re
import time
import typing as t

from exposition import Metrics
from programs import read_text

LARGEST = 1024 * 1024
PEM = re.compile(r"-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----")
UTC_TIME, GENERALIZED_TIME, VERSION = 0x17, 0x18, 0xA0


def add(metrics: Metrics, paths: t.Iterable[str]) -> None:
    """Add the end of the certificates in files; of several in one file, the first end."""
    for path in paths:
        try:
            ends = [not_after(binascii.a2b_base64(body)) for body in PEM.findall(read_text(path, LARGEST))]
        except (OSError, ValueError, IndexError):
            continue
        if ends:
            metrics.add(
                "private_llm_certificate_expires_timestamp_seconds",
                "gauge",
                "When the first certificate of a file ends.",
                min(ends),
                {"file": path},
            )


def not_after(certificate: bytes) -> int:
    """Return the end of a certificate in DER, in seconds since 1970 (RFC 5280, 4.1)."""
    parts = list(_values(_values(_values(certificate)[0][1])[0][1]))
    # A version in front of the serial number is optional: then come signature, issuer and validity.
    validity = parts[4 if parts[0][0] == VERSION else 3][1]
    kind, text = _values(validity)[1]
    moment = text.decode("ascii")
    if kind == UTC_TIME:
        moment = ("20" if moment < "50" else "19") + moment
    elif kind != GENERALIZED_TIME:
        raise ValueError("no time")
    return calendar.timegm(time.strptime(moment, "%Y%m%d%H%M%SZ"))


def _values(content: bytes) -> list[tuple[int, bytes]]:
    """Return tag and content of each value of a sequence in DER."""
    found = []
    at = 0
    while at < len(content):
        tag, length = content[at], content[at + 1]
        at += 2
        if length & 0x80:
            size = length & 0x7F
            length = int.from_bytes(content[at : at + size], "big")
            at += size
        if at + length > len(content):
            raise ValueError("cut off")
        found.append((tag, content[at : at + length]))
        at += length
    return found
