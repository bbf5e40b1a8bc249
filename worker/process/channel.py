"""The channel between a slot and the program it runs: lines of JSON over a stream socket.

A program never talks to Redis. It tells its slot, which fences, batches and keeps what it is told while
Redis is away, and which hands it stop requests. Messages to the program: ``task``, ``run``, ``check``,
``stop``, ``answer``. Messages from it: ``hello`` (a runner's child, with its pid), ``exited`` (and its
exit code), ``points``, ``parameters``, ``mark``, ``result``, and those that are answered: ``artifact``,
``unlink``, ``ask``.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import threading
from typing import Any

SOCKET_VARIABLE = "OPTUNA_RQ_SOCKET"
"""Environment variable with the path of the slot's socket, for scripts, commands and their children."""

Message = dict[str, Any]


def encode(message: Message) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


class Lines:
    """Cuts a byte stream into messages."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Message]:
        """The messages completed by `data`. Lines that are no JSON objects are dropped."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        messages = []
        for line in lines:
            try:
                message = json.loads(line)
                if b"\\ud" in line or b"\\uD" in line:
                    # Halves of characters, from file names that are no UTF-8: Redis can't be told them.
                    message = json.loads(json.dumps(message, ensure_ascii=False).encode("utf-8", "replace"))
            except ValueError:
                continue
            if isinstance(message, dict):
                messages.append(message)
        return messages


class Endpoint:
    """The program's end: sends from any thread, whole messages only."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._lock = threading.Lock()
        # A fork in the middle of a message must not leave its copy waiting for ever.
        os.register_at_fork(after_in_child=self._renew_lock)
        self._lines = Lines()
        self.closed = False

    def _renew_lock(self) -> None:
        self._lock = threading.Lock()

    def send(self, message: Message) -> bool:
        """False when the slot is gone; the program then runs on unheard until it is killed."""
        data = encode(message)
        try:
            with self._lock:
                self._socket.sendall(data)
        except OSError:
            self.closed = True
        return not self.closed

    def end_line(self) -> None:
        """Have what another process has left of a message here count as a line of its own."""
        with contextlib.suppress(OSError):
            self._socket.sendall(b"\n")

    def waits(self) -> bool:
        """Whether `receive` would find something at once."""
        return bool(select.select([self._socket], [], [], 0)[0])

    def receive(self) -> list[Message] | None:
        """The next messages, blocking; None at the end."""
        while True:
            try:
                data = self._socket.recv(65536)
            except OSError:
                data = b""
            if not data:
                self.closed = True
                return None
            messages = self._lines.feed(data)
            if messages:
                return messages
