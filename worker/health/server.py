"""The HTTP server of a worker or a controller: /livez, /readyz and /metrics, and nothing else."""

from __future__ import annotations

import errno
import logging
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, disable_created_metrics, make_wsgi_app

from worker.health.address import Address
from worker.protocol.errors import BadInput

log = logging.getLogger(__name__)

CONNECTION_TIMEOUT_S = 10.0
"""A connection that stays silent for so long is closed, in seconds."""
CLOSING_S = 0.1
"""Longest that closing takes to be noticed, in seconds."""
LAST_WORDS_S = 0.5
"""Longest that closing waits for answers that are under way, in seconds."""
MOST_THREADS = 32
"""Connections beyond what takes this process to so many threads are closed at once."""


class Answer(NamedTuple):
    """What a probe says: 200 or 503, and one line that says why."""

    ok: bool
    text: str


class HealthServer:
    """Listens from when it is made, answers from `start` until `close`, in threads of its own.

    Args:
        address: where to listen.
        registry: what /metrics shows.
        probes: path → what to say. Called by the server's threads, several at a time; to be quick.

    Raises:
        BadInput: it can't listen there; one line that says why.
    """

    def __init__(
        self, address: Address, registry: CollectorRegistry, probes: Mapping[str, Callable[[], Answer]]
    ) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call] # as http.server does it
        self._metrics = make_wsgi_app(registry)
        self._probes = dict(probes)
        try:
            self._server = _Server(address)
        except OSError as error:
            raise BadInput(_explain(address, error)) from error
        self._server.set_app(self._answer)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(CLOSING_S,), name="health-server", daemon=True
        )

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Stop listening; returns when the port is free and answers that were under way are given."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()
        self._server.let_answer(LAST_WORDS_S)

    def _answer(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """The WSGI application."""
        path, method = environ.get("PATH_INFO", ""), environ.get("REQUEST_METHOD", "")
        headers = [("Content-Type", "text/plain; charset=utf-8"), ("Cache-Control", "no-store")]
        if path != "/metrics" and path not in self._probes:
            status, body = "404 Not Found", "there are /livez, /readyz and /metrics\n"
        elif method not in ("GET", "HEAD"):
            status, body = "405 Method Not Allowed", "GET and HEAD only\n"
            headers.append(("Allow", "GET, HEAD"))
        elif path in self._probes:
            ok, text = self._probes[path]()
            status, body = "200 OK" if ok else "503 Service Unavailable", f"{' '.join(text.split())}\n"
        else:
            return _without_body(method, self._metrics, environ, start_response)
        data = body.encode()
        start_response(status, [*headers, ("Content-Length", str(len(data)))])
        return [] if method == "HEAD" else [data]


def _without_body(
    method: str, app: Callable[..., Any], environ: dict[str, Any], start_response: Callable[..., Any]
) -> Iterable[bytes]:
    """The answer of `app`; to HEAD its headers only, which wsgiref leaves to the application."""
    if method != "HEAD":
        found: Iterable[bytes] = app(environ, start_response)
        return found
    said: list[Any] = []
    asked = {**environ, "REQUEST_METHOD": "GET"}
    data = b"".join(app(asked, lambda status, headers: said.extend((status, headers))))
    start_response(said[0], [*said[1], ("Content-Length", str(len(data)))])
    return []


class _Handler(WSGIRequestHandler):
    timeout = CONNECTION_TIMEOUT_S

    def log_message(self, format: str, *args: Any) -> None:
        log.debug("%s: %s", self.client_address[0], format % args)

    def get_stderr(self) -> Any:
        return _ToLog()


class _ToLog:
    """Takes what wsgiref writes of an exception in the application."""

    def write(self, text: str) -> None:
        if text.strip():
            log.warning("metrics: %s", text.rstrip())

    def writelines(self, lines: Iterable[str]) -> None:
        self.write("".join(lines))

    def flush(self) -> None:
        pass


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    request_queue_size = 32

    def __init__(self, address: Address) -> None:
        # An interface that only has IPv6 is named so; everything else resolves to IPv4 where it can.
        found = socket.getaddrinfo(*address, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        self._answers: list[threading.Thread] = []
        self.address_family = min(found, key=lambda entry: entry[0] != socket.AF_INET)[0]
        super().__init__((address.host, address.port), _Handler)

    def server_bind(self) -> None:
        # Not HTTPServer's, which looks up this machine's name: that may take many seconds.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment] # as http.server does it
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        if threading.active_count() >= MOST_THREADS:
            self.shutdown_request(request)
            return
        answer = threading.Thread(
            target=self.process_request_thread,
            args=(request, client_address),
            name="health-answer",
            daemon=True,
        )
        self._answers = [thread for thread in self._answers if thread.is_alive()]
        answer.start()
        self._answers.append(answer)

    def let_answer(self, deadline_s: float) -> None:
        """Wait until all connections have had their answer, or for so many seconds altogether."""
        end = time.monotonic() + deadline_s
        for thread in self._answers:
            thread.join(max(0.0, end - time.monotonic()))

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("metrics: a connection from %s has broken", client_address[0], exc_info=True)


def _explain(address: Address, error: OSError) -> str:
    """One line on why nobody can listen there, and what to do."""
    name = f"--metrics-port {address}"
    if isinstance(error, socket.gaierror):
        return f"{name}: no such host; leave it out for this machine only, or give 0.0.0.0"
    if error.errno == errno.EADDRINUSE:
        return f"{name}: another program listens there already; give another port"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"{name}: this user may not listen there; give a port above 1023"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{name}: not an address of this machine; give 0.0.0.0:{address.port} for all of its addresses"
    return f"{name}: {error.strerror or error}"
