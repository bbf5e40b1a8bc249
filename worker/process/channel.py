"""The channel between a slot and the program it runs: lines of JSON over a stream socket.

A program never talks to Redis. It sends to its slot, which fences and batches the reports, keeps them while
Redis is away, and passes on stop requests. Messages to the program: ``task``, ``run``, ``check``,
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
    """A message as one line of JSON."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


class Lines:
    """Cuts a byte stream into messages."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Message]:
        """The messages completed by `data`. Lines that are not JSON objects are dropped."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        messages = []
        for line in lines:
            try:
                message = json.loads(line)
                if b"\\ud" in line or b"\\uD" in line:
                    # Lone surrogates, from file names that are not UTF-8: Redis can't store them.
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
        # A fork in the middle of a message must not leave the child's copy of the lock taken for ever.
        os.register_at_fork(after_in_child=self._renew_lock)
        self._lines = Lines()
        self.closed = False

    def fileno(self) -> int:
        """Can be read when `receive` would return without waiting."""
        return self._socket.fileno()

    def _renew_lock(self) -> None:
        self._lock = threading.Lock()

    def send(self, message: Message) -> bool:
        """Send a message. False once the slot is gone; the program then runs unheard until it is killed."""
        data = encode(message)
        try:
            with self._lock:
                self._socket.sendall(data)
        except OSError:
            self.closed = True
        return not self.closed

    def end_line(self) -> None:
        """End a line that another process has left unfinished, so that the next message starts its own."""
        with contextlib.suppress(OSError):
            self._socket.sendall(b"\n")

    def waits(self, timeout_s: float = 0.0) -> bool:
        """Whether `receive` would return without waiting, within so many seconds."""
        return bool(select.select([self._socket], [], [], timeout_s)[0])

    def hung_up(self) -> bool:
        """Whether the slot has closed the channel, and said nothing more before. Reads nothing."""
        try:
            return not self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def receive(self) -> list[Message] | None:
        """Wait for the next messages. Returns None once the slot has closed the channel."""
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
