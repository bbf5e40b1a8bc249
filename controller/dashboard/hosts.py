"""By which names and addresses the dashboard may be asked for.

A web page elsewhere can point a name of its own at this machine, and have a browser in this network read what
answers there. It can't send another ``Host`` than that name.
"""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Iterable
from ipaddress import ip_address

import psutil

LOOPBACK = frozenset(("127.0.0.1", "localhost", "::1"))


def accepted_hosts(listening: str, named: Iterable[str] = ()) -> frozenset[str]:
    """The values of ``Host``, without a port, by which a server that listens on an address is asked for.

    Args:
        listening: an address or a name. ``0.0.0.0`` and ``::`` stand for all addresses of this machine.
        named: further names and addresses, such as those of a proxy.
    """
    own = {listening, *named, *LOOPBACK}
    if listening not in LOOPBACK:
        own.update(_names())
        own.update(_addresses())
    return frozenset(map(bare_host, own)) - {""}


def bare_host(host: str) -> str:
    """A ``Host`` as it is compared: without port, brackets and final dot, in small letters; IPv6 in short."""
    found = re.fullmatch(r"\[([0-9A-Fa-f:.]+)\](?::\d*)?", host)
    bare = found[1] if found else host if host.count(":") > 1 else re.sub(r":\d*$", "", host)
    bare = bare.lower().removesuffix(".")
    with contextlib.suppress(ValueError):
        return str(ip_address(bare))
    return bare


def _names() -> set[str]:
    name = socket.gethostname()
    return {name, name.partition(".")[0], f"{name.partition('.')[0]}.local", socket.getfqdn()}


def _addresses() -> set[str]:
    families = (socket.AF_INET, socket.AF_INET6)
    found = (address for addresses in psutil.net_if_addrs().values() for address in addresses)
    return {address.address.partition("%")[0] for address in found if address.family in families}
