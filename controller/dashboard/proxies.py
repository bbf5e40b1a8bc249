"""Reverse proxies before the page: which of them are believed, and about whom they speak.

Anybody can send the headers of a proxy. They count only where the connection comes from an address that was
named; from this machine itself, ``X-Forwarded-Proto`` alone does.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, cast

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from worker.protocol.errors import BadInput
from worker.protocol.printable import one_line

LONGEST_USER = 100
"""Characters of a user's name."""


@dataclass(frozen=True, kw_only=True)
class Proxies:
    """The proxies that are believed."""

    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    user_header: str = ""
    """The header in which they name the user; empty for none."""

    def __contains__(self, address: str) -> bool:
        try:
            found = ip_address(address)
        except ValueError:
            return False
        found = (found.ipv4_mapped if isinstance(found, IPv6Address) else None) or found
        return any(found in network for network in self.networks)

    def user_of(self, request: Request) -> str:
        """Who asks, as a proxy says; empty where none that is believed does."""
        if not self.user_header or request.scope.get("peer", "") not in self:
            return ""
        # Of two, one may be the client's own.
        given = request.headers.getlist(self.user_header)
        return one_line(given[0].strip(), LONGEST_USER) if len(given) == 1 else ""

    def address_of(self, request: Request) -> str:
        """Where a request comes from: what a proxy that is believed says, else who is connected."""
        peer = str(request.scope.get("peer", ""))
        told = request.client.host if request.client else ""
        return one_line(told if peer in self else peer, LONGEST_USER) or "nowhere"


def read_proxies(addresses: Iterable[str], user_header: str = "") -> Proxies:
    """The proxies at these addresses and networks, such as ``10.0.0.0/8``. Raises `BadInput`."""
    networks = []
    for text in addresses:
        try:
            networks.append(ip_network(text.strip(), strict=False))
        except ValueError as error:
            raise BadInput(
                f"dashboard: --trusted-proxy {text!r:.200} is neither an address nor a network such as "
                "10.0.0.0/24"
            ) from error
    if user_header and not networks:
        raise BadInput(
            f"dashboard: --user-header {user_header!r:.200}: anybody can send it; name the address of the "
            "proxy that sets it: --trusted-proxy ADDRESS"
        )
    if user_header and not (user_header.isascii() and user_header.replace("-", "").isalnum()):
        raise BadInput(
            f"dashboard: --user-header {user_header!r:.200} is no header's name such as X-Remote-User"
        )
    return Proxies(networks=tuple(networks), user_header=user_header)


class BehindProxies:
    """ASGI middleware: applies what proxies say of scheme and address, and keeps who is connected as
    ``scope["peer"]``."""

    def __init__(self, application: ASGIApp, proxies: Proxies) -> None:
        own = os.environ.get("FORWARDED_ALLOW_IPS", "127.0.0.1").split(",")
        trusted = [*(one.strip() for one in own), *map(str, proxies.networks)]
        # The same protocol, in uvicorn's own types.
        self._applied: Any = ProxyHeadersMiddleware(
            cast("Any", application), ["*"] if "*" in trusted else trusted
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            client = scope.get("client")
            scope = {**scope, "peer": client[0] if client else ""}
        await self._applied(scope, receive, send)
