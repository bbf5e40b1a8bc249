"""The server: listens where it was told to, and runs the page until it is interrupted."""

from __future__ import annotations

import errno
import logging
import os
import socket
from collections.abc import Callable

import uvicorn

from controller.dashboard.app import create_app
from controller.dashboard.guard import Rules
from controller.dashboard.optuna_pages import OptunaPages
from controller.dashboard.site import Site
from worker.protocol.errors import BadInput

GRACE_S = 1
"""What runs at the end has so many seconds: streams to open pages never end by themselves."""


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 is any that is free. Raises `BadInput` where that can't be."""
    try:
        kind = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        listening = socket.create_server((host, port), family=kind, backlog=256)
    except (OSError, UnicodeError, OverflowError) as error:
        number: int = getattr(error, "errno", None) or 0
        # The error's own text repeats the address.
        known = os.strerror(number) if number in errno.errorcode else ""
        why = known or getattr(error, "strerror", None) or error
        hint = "; --port 0 takes one that is free" if number == errno.EADDRINUSE else ""
        raise BadInput(f"dashboard: can't listen on {host}:{port}: {why}{hint}") from error
    # An answer's second packet waits for nothing: asyncio sees to that only where it makes the socket.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def serve(
    site: Site,
    rules: Rules,
    listening: socket.socket,
    *,
    prefix: str = "",
    optuna: OptunaPages | None = None,
    ready: Callable[[], None],
) -> None:
    """Serve the page until SIGINT, which it passes on as `KeyboardInterrupt`, or SIGTERM.

    Args:
        prefix: the path under which a proxy serves it.
        optuna: what stands at ``/optuna``; None for nothing.
        ready: called when the page answers.
    """
    app = create_app(site, rules, prefix, optuna.routes() if optuna is not None else ())

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            ready()

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            # What is cut off now is no error: somebody has ended the page.
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
            await super().shutdown(sockets)

    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
        lifespan="on",
        proxy_headers=False,  # `controller.dashboard.proxies` reads them
    )
    Server(config).run(sockets=[listening])
