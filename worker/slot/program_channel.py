"""The slot's end of the channel to a program: hears what it reports, passes that on, and answers it."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from worker.process.channel import Lines, Message, encode
from worker.protocol.checkpoint import with_resume_point
from worker.protocol.faults import Fault, fault_from
from worker.protocol.record import TaskRecord
from worker.protocol.stop_request import StopRequest
from worker.protocol.store import Store
from worker.sdk.reporter import Reporter, point_from

MOST_WAIT_S = 60.0
"""Longest time until a program's next try that is believed, in seconds."""
MAX_SOCKET_PATH = 100
"""Of a Unix socket, in bytes: the system's limit is 103 to 107."""


class ProgramChannel:
    """What a program, and the programs that it starts, say to the slot during one attempt, and hear from it.

    A function's runner has a connection already (`listen`); scripts and commands find a socket (`open`).

    Args:
        description: of the task, for the program.
        waits: called with a fault of the machine's that the program waits out, and until its next try, in
            seconds.
        selector: of the loop that reads: the ``data`` of each key is to be called with its file.
    """

    def __init__(
        self,
        store: Store,
        record: TaskRecord,
        reporter: Reporter,
        description: Message,
        selector: selectors.BaseSelector,
        waits: Callable[[Fault, float], None] = lambda fault, seconds: None,
    ) -> None:
        self._waits = waits
        self._store = store
        self._record = record
        self._reporter = reporter
        self._description = description
        self._selector = selector
        self._lines: dict[int, Lines] = {}
        self._connections: dict[int, socket.socket] = {}
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._stop: Message | None = None
        self._hear: Callable[[Message], None] = lambda message: None
        self.result: Message | None = None
        """How a function has ended, once it has said so."""
        self.mark: Message | None = None
        """The end that a program has declared for its task by itself."""

    def open(self) -> str:
        """Make a socket in a private folder, where scripts, commands and their children find this slot.

        Returns:
            Its path.
        """
        self._folder = tempfile.TemporaryDirectory(prefix="orq-")
        if len(os.fsencode(self._folder.name)) + len("/slot.sock") > MAX_SOCKET_PATH:
            self._folder.cleanup()
            self._folder = tempfile.TemporaryDirectory(prefix="orq-", dir="/tmp")
        path = str(Path(self._folder.name) / "slot.sock")
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        server.bind(path)
        server.listen(16)
        server.setblocking(False)
        self._connections[server.fileno()] = server
        self._selector.register(server, selectors.EVENT_READ, self._accept)
        return path

    def listen(self, connection: socket.socket, hear: Callable[[Message], None] | None = None) -> None:
        """Read from a connection, too.

        Args:
            hear: takes what a runner says of its children.
        """
        self._hear = hear or self._hear
        self._lines[connection.fileno()] = Lines()
        self._selector.register(connection, selectors.EVENT_READ, self._read)

    def stop(self, request: StopRequest) -> Message:
        """Pass a stop request on to all that are connected, and to those that come; returns the message."""
        self._stop = {"op": "stop", "class": request.reason_class.value, "reason": request.reason}
        for connection in self._connections.values():
            with contextlib.suppress(OSError):
                connection.sendall(encode(self._stop))
        return self._stop

    def close(self) -> None:
        """Hang up on all that came to the socket, and remove it."""
        for connection in self._connections.values():
            connection.close()
        if self._folder:
            self._folder.cleanup()

    def _accept(self, server: socket.socket) -> None:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        self.listen(connection)
        self._connections[connection.fileno()] = connection
        with contextlib.suppress(OSError):
            connection.sendall(encode({"op": "task", "task": self._description}))
            if self._stop:
                connection.sendall(encode(self._stop))

    def _read(self, connection: socket.socket) -> None:
        try:
            data = connection.recv(1 << 18)
        except OSError:
            data = b""
        if not data:
            self._selector.unregister(connection)
            if self._connections.pop(connection.fileno(), None):
                connection.close()
            return
        for message in self._lines[connection.fileno()].feed(data):
            self._take(message, connection)

    def _take(self, message: Message, connection: socket.socket) -> None:
        op = message.get("op")
        if op == "points":
            self._add_points(message)
        elif op == "artifact":
            self._link_artifact(message, connection)
        elif op == "unlink":
            names = [str(name) for name in message.get("names", ())]
            self._reporter.unlink(names, lambda error: self._answer(connection, message, {"error": error}))
        elif op == "parameters":
            self._reporter.know(message.get("values") or {})
        elif op == "ask":
            self._answer(connection, message, {"data": self._asked(str(message.get("what")))})
        elif op in ("hello", "exited"):
            self._hear(message)
        else:
            self._note(str(op), message)

    def _note(self, op: str, message: Message) -> None:
        """Take what a program says of itself."""
        if op == "mark":
            self.mark = message
        elif op == "result":
            self.result = message
        elif op == "waits":
            fault, seconds = (
                fault_from(message.get("fault"), str(message.get("reason"))),
                message.get("seconds"),
            )
            if fault and isinstance(seconds, (int, float)):
                self._waits(fault, min(MOST_WAIT_S, seconds))

    def _add_points(self, message: Message) -> None:
        for raw in message.get("points", ()):
            point = point_from(raw)
            if point:
                self._reporter.add(point)

    def _asked(self, what: str) -> dict[str, Any]:
        """What a program wants to know of its own task."""
        if what == "scalars":
            return {key: summary.to_list() for key, summary in self._reporter.summaries().items()}
        self._reporter.flush()
        found = self._reporter.attempt(lambda: self._store.reports.series(self._record.id))
        # JSON has no NaN and no infinities; float() reads these words back.
        return {key: [[i, str(v), at] for i, v, at in rows] for key, rows in (found or {}).items()}

    def _answer(self, connection: socket.socket, question: Message, answer: Message) -> None:
        with contextlib.suppress(OSError):
            connection.sendall(encode({"op": "answer", "id": question.get("id"), **answer}))

    def _link_artifact(self, message: Message, connection: socket.socket) -> None:
        """List an artifact in the record, then tell the program so; its upload waits for that."""

        def acknowledge(error: str | None) -> None:
            self._answer(connection, message, {"error": error})

        meta, iteration = str(message.get("meta")), message.get("checkpoint")
        if iteration is not None:
            # The program waits: all that it has reported has been taken by now.
            meta = with_resume_point(meta, int(iteration), float(message["at"]), self._reporter.summaries())
        self._reporter.link(str(message.get("name")), meta, acknowledge)
