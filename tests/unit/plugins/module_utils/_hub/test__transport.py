# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import ssl
import subprocess
import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._hub import _transport
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._transport import TransportError

SECRETS = {"Authorization": "Bearer T", "Cookie": "m_session_id=T", "Accept": "application/json"}


@pytest.fixture
def hub() -> t.Iterator[t.Any]:
    import hub as lab

    server = lab.Hub()
    server.add_model("acme/tiny").commit({"config.json": b"{}"})
    with server:
        yield server


@pytest.fixture
def secure(hub: t.Any, tmp_path: t.Any) -> tuple[str, str]:
    """The hub with a certificate of its own, and the file of the authority that signed it: itself."""
    key, certificate = str(tmp_path / "key.pem"), str(tmp_path / "certificate.pem")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=127.0.0.1"),
            *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    hub._server.socket = context.wrap_socket(hub._server.socket, server_side=True)
    return hub.url.replace("http:", "https:"), certificate


def url_of(hub: t.Any) -> str:
    return f"{hub.url}/api/v1/models/acme/tiny"


def fault(**values: t.Any) -> t.Any:
    import hub as lab

    return lab.Fault(match="", **values)


@pytest.mark.parametrize(
    ("status", "expected"),
    [(None, True), (429, True), (500, True), (503, True), (404, False), (401, False), (302, False)],
)
def test_worth_retrying(status: int | None, expected: bool) -> None:
    assert _transport.worth_retrying(status) is expected


@pytest.mark.parametrize(
    ("attempt", "retry_after", "expected"),
    [(1, None, 1), (2, None, 2), (3, None, 4), (1, "7", 7), (1, "900", 60), (2, "Wed, 21 Oct 2026 07:28:00 GMT", 2)],
)
def test_pause(attempt: int, retry_after: str | None, expected: float) -> None:
    assert _transport.pause_before(attempt, retry_after) == expected


@pytest.mark.parametrize(
    ("old", "new", "secrets"),
    [
        ("https://hub/a", "https://hub/b", True),
        ("http://hub/a", "https://hub/a", True),
        ("https://hub/a", "http://hub/a", False),
        ("https://hub/a", "https://cdn/a", False),
        ("https://hub/a", "https://hub:8443/a", False),
        ("http://hub/a", "https://cdn/a", False),
    ],
)
def test_secrets_follow_only_to_the_same_host(old: str, new: str, secrets: bool) -> None:
    kept = _transport.headers_after_redirect(SECRETS, old, new)
    assert kept == (SECRETS if secrets else {"Accept": "application/json"})


def test_get(hub: t.Any) -> None:
    assert b'"Name": "tiny"' in _transport.get(url_of(hub), SECRETS, 5)
    assert hub.log[0]["authorization"] == "Bearer T"


def test_passing_errors_are_tried_again(hub: t.Any) -> None:
    pauses: list[float] = []
    hub.faults = [fault(kind="status", status=503, times=1), fault(kind="status", status=429, retry_after=9, times=1)]
    assert b"tiny" in _transport.get(url_of(hub), {}, 5, sleep=pauses.append)
    assert pauses == [1, 9]


@pytest.mark.parametrize(("status", "requests"), [(500, 4), (404, 1), (401, 1)])
def test_other_errors_end_it(hub: t.Any, status: int, requests: int) -> None:
    hub.faults = [fault(kind="status", status=status, times=-1)]
    with pytest.raises(TransportError, match=f"/api/v1/models/acme/tiny answered HTTP {status}") as caught:
        _transport.get(url_of(hub) + "?Revision=x", {}, 5, sleep=lambda seconds: None)
    assert caught.value.status == status
    assert "Revision" not in str(caught.value)
    assert len(hub.log) == requests


def test_nobody_there() -> None:
    with pytest.raises(TransportError, match=r"http://127\.0\.0\.1:9/ could not be reached") as caught:
        _transport.get("http://127.0.0.1:9/", {}, 1, sleep=lambda seconds: None)
    assert caught.value.status is None


def test_no_answer_in_time(hub: t.Any) -> None:
    hub.faults = [fault(kind="slow", delay=1.0, times=-1)]
    with pytest.raises(TransportError, match="could not be reached"):
        _transport.get(url_of(hub), {}, 0.1, sleep=lambda seconds: None)


def test_cut_answer_is_tried_again(hub: t.Any) -> None:
    hub.faults = [fault(kind="cut", at=10, times=1)]
    assert b"tiny" in _transport.get(url_of(hub), {}, 5, sleep=lambda seconds: None)
    assert len(hub.log) == 2


def test_redirects(hub: t.Any) -> None:
    hub.faults = [fault(kind="redirect", to="/api/v1/models/acme/tiny", times=1)]
    assert b"tiny" in _transport.get(f"{hub.url}/old", SECRETS, 5)
    assert [entry["authorization"] for entry in hub.log] == ["Bearer T", "Bearer T"]
    hub.reset_log()
    elsewhere = url_of(hub).replace("127.0.0.1", "localhost")
    hub.faults = [fault(kind="redirect", to=elsewhere, times=1)]
    assert b"tiny" in _transport.get(f"{hub.url}/old", SECRETS, 5)
    assert [(entry["authorization"], entry["cookie"]) for entry in hub.log] == [
        ("Bearer T", "m_session_id=T"),
        (None, None),
    ]


def test_endless_redirects(hub: t.Any) -> None:
    hub.faults = [fault(kind="redirect", to=url_of(hub), times=-1)]
    with pytest.raises(TransportError, match="was reached by 5 redirects and leads on"):
        _transport.get(url_of(hub), {}, 5)


def test_redirect_to_something_else(hub: t.Any) -> None:
    hub.faults = [fault(kind="redirect", to="file:///etc/passwd", times=-1)]
    with pytest.raises(TransportError, match="which is no web address"):
        _transport.get(url_of(hub), {}, 5)


def test_too_long_an_answer(hub: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_transport, "BODY_LIMIT", 10)
    with pytest.raises(TransportError, match="answered with more than 10 bytes"):
        _transport.get(url_of(hub), {}, 5)


@pytest.mark.usefixtures("stored_credentials")
def test_stored_credentials_are_not_used(hub: t.Any) -> None:
    _transport.get(url_of(hub), {}, 5)
    assert [entry["authorization"] for entry in hub.log] == [None]


def test_authorities_that_cannot_be_read(tmp_path: t.Any) -> None:
    with pytest.raises(
        TransportError, match=r"the certificate authorities in .*none\.pem cannot be read: .*No such file"
    ):
        _transport.get("https://127.0.0.1:9/", {}, 1, str(tmp_path / "none.pem"))


def test_certificate_of_an_unknown_authority(secure: tuple[str, str], hub: t.Any) -> None:
    url, authority = secure
    with pytest.raises(
        TransportError, match=r"certificate verify failed.*; name its certificate authority with ca_path"
    ):
        _transport.get(f"{url}/api/v1/models/acme/tiny", {}, 5)
    assert hub.log == []
    assert b"tiny" in _transport.get(f"{url}/api/v1/models/acme/tiny", {}, 5, authority)
