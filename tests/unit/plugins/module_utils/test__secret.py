# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import http.client

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils import _secret


@pytest.mark.parametrize(
    "given", ["hf_S3cret", "hf_S3cret\n", "hf_S3cret\r\n", " hf_S3cret ", "\thf_S3cret", "\ufeffhf_S3cret"[1:]]
)
def test_blanks_and_newlines_around_a_secret_are_trimmed(given: str) -> None:
    assert _secret.header_secret(given, "token") == "hf_S3cret"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("", "is empty"),
        (" \n", "is empty"),
        ("S3cret\nsecond", "more than one line"),
        ("S3cret\rsecond", "more than one line"),
        ("S3cret second", "a blank inside"),
        ("S3cret\xa0second", "a blank inside"),
        ("S3cret\x00", "no HTTP header can carry"),
        ("S3cret\x7f", "no HTTP header can carry"),
        ("\u201cS3cret\u201d", "no HTTP header can carry"),
        ("S3cret\u5bc6", "no HTTP header can carry"),
        ("S3crét", "no HTTP header can carry"),
        ("\ufeffS3cret", "no HTTP header can carry"),
        ("S3cret\u200b", "no HTTP header can carry"),
    ],
)
def test_a_secret_that_no_header_can_carry_is_refused_and_not_quoted(given: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        _secret.header_secret(given, "token")
    assert str(caught.value).startswith("token ")
    assert "S3cret" not in str(caught.value)
    assert "second" not in str(caught.value)


@pytest.mark.parametrize("code", range(0x20, 0x7F))
def test_what_is_let_through_is_what_python_sends(code: int) -> None:
    value = f"a{chr(code)}b"
    if _secret.header_secret_problem(value) is None:
        connection = http.client.HTTPConnection("127.0.0.1")
        connection.putrequest("GET", "/")
        connection.putheader("Authorization", f"Bearer {value}")
    else:
        assert chr(code) == " "
