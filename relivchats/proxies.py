"""Forwarding headers: believed from our own proxies only, because every client can send them."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase

from relivchats.environment import Network

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_HEADERS = (
    "HTTP_FORWARDED",
    "HTTP_X_FORWARDED_FOR",
    "HTTP_X_FORWARDED_HOST",
    "HTTP_X_FORWARDED_PORT",
    "HTTP_X_FORWARDED_PROTO",
    "HTTP_X_REAL_IP",
)


class TrustedProxyMiddleware:
    """Sets REMOTE_ADDR to the client's address if the request comes from a proxy of `TRUSTED_PROXIES`.

    Otherwise it removes the forwarding headers, before anything reads them.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Return the response."""
        environment = request.META
        if _is_trusted(_parse(environment.get("REMOTE_ADDR", ""))):
            environment["REMOTE_ADDR"] = find_client(environment)
        else:
            for name in _HEADERS:
                environment.pop(name, None)
        return self.get_response(request)


def find_client(environment: Mapping[str, Any]) -> str:
    """Return the address of the client of a WSGI environment: REMOTE_ADDR, or what a trusted proxy says."""
    text: str = environment.get("REMOTE_ADDR", "")
    address = _parse(text)
    if not _is_trusted(address):
        return text
    # Each proxy appends the address that it sees. What is left of the first unknown address can be invented.
    for entry in reversed(environment.get("HTTP_X_FORWARDED_FOR", "").split(",")):
        before = _parse(entry)
        if before is None:
            break
        address = before
        if not _is_trusted(address):
            break
    return str(address)


def _parse(text: str) -> Address | None:
    try:
        address = ipaddress.ip_address(text.strip())
    except ValueError:
        return None
    # A server that listens on IPv6 sees ::ffff:192.0.2.1.
    return getattr(address, "ipv4_mapped", None) or address


def _is_trusted(address: Address | None) -> bool:
    proxies: tuple[Network, ...] = settings.TRUSTED_PROXIES
    return address is not None and any(address in network for network in proxies)
