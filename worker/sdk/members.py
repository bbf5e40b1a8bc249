"""A program's children in its task: those that it forks, spawns or starts report through the program.

The program listens on a socket that its children find in the environment (`worker.sdk.runtime`), and passes
on what they say, as a slot does for its program: one process alone writes, so that reports stay in order.
"""

from __future__ import annotations

import contextlib
import os
import select
import selectors
import socket
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from worker.process.channel import Lines, Message, encode
from worker.protocol.status import Status
from worker.sdk.exceptions import TaskStopped
from worker.sdk.session import Session

LOOK_S = 0.5
"""How often it is looked, while children are connected, whether the task is to stop, in seconds."""
DRAIN_S = 2.0
"""How long `Members.drain` reads, at most, in seconds."""
_ANSWER_S = 5.0
"""How long a child may leave an answer unread before it is dropped, in seconds."""


class Wires:
    """What the thread of `Members` waits for.

    Attributes:
        woken: can be read after `wake`.
    """

    def __init__(self, server: socket.socket) -> None:
        self.selector = selectors.DefaultSelector()
        self._waker, self.woken = socket.socketpair()
        self.selector.register(server, selectors.EVENT_READ)
        self.selector.register(self.woken, selectors.EVENT_READ)

    def wake(self) -> None:
        with contextlib.suppress(OSError):
            self._waker.send(b"x")

    def close(self) -> None:
        self.selector.close()
        self._waker.close()
        self.woken.close()


class Members:
    """Hears the children of this process. Thread-safe; a thread of its own listens.

    Args:
        listens: from the beginning; otherwise `listen` is called when `fileno` can be read: most programs
            have no children that report.

    Attributes:
        address: that children connect to, see `connect_to`.
    """

    def __init__(self, *, listens: bool = True) -> None:
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._pid = os.getpid()
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        if sys.platform == "linux":
            # Nothing is left in a folder when this process is killed.
            self.address = f"@optuna-rq-{os.urandom(16).hex()}"
        else:
            self._folder = tempfile.TemporaryDirectory(prefix="orq-", dir="/tmp")
            self.address = f"{self._folder.name}/members.sock"
        self._server.bind(_name(self.address))
        self._server.listen(128)
        self._server.setblocking(False)
        self._lines: dict[socket.socket, Lines] = {}
        self._session: Session | None = None
        self._describe: Callable[[], Message] = dict
        self._told_stop = False
        self._lock = threading.RLock()
        self._reading = False
        self._closed = False
        self._wires: Wires | None = None
        """Made when there is something to hear: most programs have no children that report."""
        self.listens = False
        """The thread runs."""
        if listens:
            self.listen()

    def serve(self, session: Session, describe: Callable[[], Message]) -> None:
        """Children that come from now on are members of this session's task.

        Args:
            describe: gives the task's description, as a child gets it.
        """
        with self._lock:
            self._session, self._describe, self._told_stop = session, describe, False

    def rest(self) -> None:
        """Take what children have said, and hear no more of them until `serve` is called again."""
        self.drain()
        with self._lock:
            self._session = None
            for connection in list(self._lines):
                self._drop(connection)

    def drain(self) -> None:
        """Take all that children have said until now; those that have ended are among them."""
        if os.getpid() != self._pid:
            return
        deadline = time.monotonic() + DRAIN_S
        with self._lock:
            if self._reading or self._closed:
                return
            if self._wires is None and not select.select([self._server], [], [], 0)[0]:
                return
            while self._read() and time.monotonic() < deadline:
                pass

    def close(self) -> None:
        """Hang up."""
        if os.getpid() != self._pid:
            return
        self.rest()
        with self._lock:
            self._closed = True
            if self._wires:
                self._wires.wake()

    def forget(self) -> None:
        """In a process that was forked from this one: leave the parent its connections."""
        # The selector is shared with the parent: nothing is unregistered.
        for one in (self._server, *self._lines):
            with contextlib.suppress(OSError):
                one.close()
        if self._wires:
            self._wires.close()

    def fileno(self) -> int:
        """Can be read when a child is there."""
        return self._wires.selector.fileno() if self._wires else self._server.fileno()

    def listen(self) -> None:
        """Start the thread."""
        self.listens = True
        with self._lock:
            self._opened()
        threading.Thread(target=self._listen, name="optuna-rq-members", daemon=True).start()

    # The thread

    def _listen(self) -> None:
        wires = self._opened()
        while not self._closed:
            wires.selector.select(LOOK_S if self._lines else None)
            with self._lock:
                if self._closed:
                    break
                self._read()
                self._pass_stop_on()
        wires.close()
        self._server.close()
        if self._folder:
            self._folder.cleanup()

    def _opened(self) -> Wires:
        if self._wires is None:
            self._wires = Wires(self._server)
        return self._wires

    def _read(self) -> bool:
        """Take what there is. Returns whether there was anything."""
        self._reading = True
        wires = self._opened()
        try:
            ready = [key.fileobj for key, _ in wires.selector.select(0)]
            for source in ready:
                if source is self._server:
                    self._accept()
                elif source is wires.woken:
                    wires.woken.recv(64)
                elif isinstance(source, socket.socket) and source in self._lines:
                    self._hear(source)
        finally:
            self._reading = False
        return bool(ready)

    def _accept(self) -> None:
        try:
            connection, _ = self._server.accept()
        except OSError:
            return
        if self._session is None or not _is_ours(connection):
            connection.close()
            return
        connection.settimeout(_ANSWER_S)
        self._lines[connection] = Lines()
        self._opened().selector.register(connection, selectors.EVENT_READ)
        self._say(connection, {"op": "task", "task": self._describe()})
        if self._session.stop is not None:
            self._say(connection, _stop_message(self._session.stop))

    def _hear(self, connection: socket.socket) -> None:
        try:
            data = connection.recv(1 << 18)
        except OSError:
            data = b""
        if not data:
            self._drop(connection)
            return
        for message in self._lines[connection].feed(data):
            with contextlib.suppress(TypeError, ValueError, KeyError):
                self._take(message, connection)

    def _take(self, message: Message, connection: socket.socket) -> None:
        session = self._session
        if session is None:
            return
        answer: Message | None = None
        with contextlib.suppress(TaskStopped):  # a child hears of that by itself
            answer = _do(session, message, self._describe)
        if "id" in message:
            answer = {"error": "the task is to stop"} if answer is None else answer
            self._say(connection, {"op": "answer", "id": message["id"], **answer})

    def _pass_stop_on(self) -> None:
        if self._session is not None and self._session.stop is not None and not self._told_stop:
            self._told_stop = True
            for connection in list(self._lines):
                self._say(connection, _stop_message(self._session.stop))

    def _say(self, connection: socket.socket, message: Message) -> None:
        try:
            connection.sendall(encode(message))
        except OSError:
            self._drop(connection)

    def _drop(self, connection: socket.socket) -> None:
        if self._lines.pop(connection, None) is not None:
            with contextlib.suppress(KeyError, ValueError, OSError):
                self._opened().selector.unregister(connection)
            connection.close()


def _do(session: Session, message: Message, describe: Callable[[], Message]) -> Message:
    """Do what a child asks for; returns the answer, where one is wanted."""
    op = message.get("op")
    if op == "points":
        for title, series, value, iteration, at in message["points"]:
            session.report((str(title), str(series), float(value), int(iteration), float(at)))
    elif op == "parameters":
        known = describe().get("parameters", {})
        fresh = {name: value for name, value in message["values"].items() if name not in known}
        if fresh:
            session.parameters(fresh)
    elif op in ("artifact", "unlink"):
        return _list(session, message)
    elif op == "ask":
        return {"data": _asked(session, str(message.get("what")))}
    elif op == "waits":
        session.pass_on(message)  # the slot has to know
    elif op == "log":
        session.log(str(message["text"]))
    elif op == "mark":
        session.mark(Status(message["status"]), str(message.get("reason", "")))
    return {}


def _list(session: Session, message: Message) -> Message:
    """List an artifact of a child's, or take some off the list."""
    try:
        if message["op"] == "artifact":
            session.artifact(str(message["name"]), str(message["meta"]), message.get("checkpoint"))
        else:
            session.unlink([str(name) for name in message["names"]])
    except TaskStopped:
        raise
    except Exception as error:
        return {"error": str(error) or type(error).__name__}
    return {}


def _asked(session: Session, what: str) -> Mapping[str, Any]:
    if what == "scalars":
        return {key: summary.to_list() for key, summary in session.scalars().items()}
    # JSON has no NaN and no infinities; float() reads these words back.
    return {key: [[i, str(v), at] for i, v, at in rows] for key, rows in session.series().items()}


def _stop_message(stop: TaskStopped) -> Message:
    return {"op": "stop", "class": stop.reason_class, "reason": stop.reason}


def _name(address: str) -> str:
    """The socket's name: with an ``@``, one of Linux' that is no file."""
    return "\0" + address[1:] if address.startswith("@") else address


def _is_ours(connection: socket.socket) -> bool:
    """Whether a process of the same user is at the other end, where the system can tell."""
    if sys.platform != "linux":
        return True
    size = struct.calcsize("3i")
    _, user, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return bool(user == os.geteuid())


def connect_to(address: str, timeout_s: float) -> socket.socket | None:
    """A connection to a slot or a program that listens at `address`; None where nobody does."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(timeout_s)
    try:
        connection.connect(_name(address))
    except OSError:
        connection.close()
        return None
    return connection
