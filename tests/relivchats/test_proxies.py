"""Only our own proxies say who the client is and whether it used HTTPS."""

from __future__ import annotations

from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse

from relivchats.environment import networks
from relivchats.proxies import TrustedProxyMiddleware, find_client


@pytest.mark.parametrize(
    ("trusted", "remote", "forwarded", "expected"),
    [
        ("", "198.51.100.1", "203.0.113.9", "198.51.100.1"),
        ("10.0.0.0/8", "198.51.100.1", "203.0.113.9", "198.51.100.1"),
        ("10.0.0.0/8", "10.0.0.1", "192.0.2.66, 203.0.113.9", "203.0.113.9"),
        ("10.0.0.0/8", "10.0.0.1", "192.0.2.66, 203.0.113.9, 10.0.0.7", "203.0.113.9"),
        ("10.0.0.0/8", "10.0.0.1", "10.0.0.5", "10.0.0.5"),
        ("10.0.0.0/8", "10.0.0.1", "203.0.113.9, unknown", "10.0.0.1"),
        ("10.0.0.0/8", "10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1,fd00::/8", "fd00::1", "2001:db8::7", "2001:db8::7"),
        ("10.0.0.0/8", "::ffff:10.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("10.0.0.0/8", "", "203.0.113.9", ""),
    ],
)
def test_the_client_address_cannot_be_forged(
    rf: Any, settings: Any, trusted: str, remote: str, forwarded: str, expected: str
) -> None:
    settings.TRUSTED_PROXIES = networks(trusted) if trusted else ()
    request = rf.get("/", REMOTE_ADDR=remote, headers={"X-Forwarded-For": forwarded})
    # Before the middleware, the fair queue of large requests asks too.
    assert find_client(request.META) == expected
    TrustedProxyMiddleware(lambda request: HttpResponse(request.META["REMOTE_ADDR"]))(request)
    assert request.META["REMOTE_ADDR"] == expected


@pytest.mark.parametrize(("remote", "secure"), [("10.0.0.1", True), ("198.51.100.1", False)])
def test_only_a_proxy_says_that_the_client_used_https(rf: Any, settings: Any, remote: str, secure: bool) -> None:
    settings.TRUSTED_PROXIES = networks("10.0.0.0/8")
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    seen: list[HttpRequest] = []

    def view(request: HttpRequest) -> HttpResponse:
        seen.append(request)
        return HttpResponse()

    headers = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.example", "Forwarded": "proto=https"}
    TrustedProxyMiddleware(view)(rf.get("/", REMOTE_ADDR=remote, headers=headers))
    assert seen[0].is_secure() is secure
    assert ("X-Forwarded-Host" in seen[0].headers) is secure
