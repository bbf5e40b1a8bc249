"""A TCP proxy that breaks connections on demand."""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import threading
import time
from types import TracebackType

PASS, REFUSE, BLACKHOLE = "pass", "refuse", "blackhole"


class BreakingProxy:
    """Listens on a port of its own and forwards to another, as long as it is told to.

    Attributes:
        up, down: bytes forwarded so far, towards the server and back.
        resets: connections that were reset.
    """

    def __init__(self, target_port: int) -> None:
        self._target = target_port
        self._mode = PASS
        self._delay_s = 0.0
        self._lock = threading.Lock()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._budget: list[tuple[str, int]] = []
        self._spoil: list[int] = []
        self._closing = False
        self.up = self.down = self.resets = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def heal(self) -> None:
        self._mode = PASS
        self._delay_s = 0.0

    def delay(self, seconds: float) -> None:
        """Forward everything that much later, in both directions."""
        self._delay_s = seconds

    def lead_to(self, target_port: int) -> None:
        """Lead connections to another server from now on, as an address that moves; those open are reset."""
        self._target = target_port
        self.reset()

    def refuse(self) -> None:
        """Reset what is open, and every connection that comes, at once."""
        self._mode = REFUSE
        self.reset()

    def blackhole(self) -> None:
        """Take connections and bytes, and answer nothing."""
        self._mode = BLACKHOLE

    def reset(self) -> None:
        """Reset all open connections."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            self._reset(pair)

    def reset_after(self, direction: str, *counts: int) -> None:
        """Reset a connection once so many bytes went ``up`` or ``down`` it; one connection for each count."""
        with self._lock:
            self._budget += [(direction, count) for count in counts]

    def spoil(self, *counts: int) -> None:
        """Change the byte after so many that went up a connection; one connection for each count."""
        with self._lock:
            self._spoil += counts

    def _spoiled(self, before: int, data: bytes) -> bytes:
        with self._lock:
            for count in self._spoil:
                if before <= count < before + len(data):
                    self._spoil.remove(count)
                    at = count - before
                    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        return data

    def _reset(self, pair: tuple[socket.socket, socket.socket]) -> None:
        self.resets += 1
        for end in pair:
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                # Wakes whoever reads from it; the reset follows with the close.
                end.close()

    def _accept(self) -> None:
        while not self._closing:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            # What it has sent on, and a busy reader has not taken yet, is soon lost: keep that little.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 256 << 10)
            if self._mode == REFUSE:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.close()
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                client.close()
                continue
            with self._lock:
                self._pairs.append((client, server))
            threading.Thread(target=self._forward, args=(client, server), daemon=True).start()

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        passed = {"up": 0, "down": 0}
        with selectors.DefaultSelector() as selector:
            try:
                # Either may have been reset before this thread began.
                selector.register(client, selectors.EVENT_READ, ("up", server))
                selector.register(server, selectors.EVENT_READ, ("down", client))
                while True:
                    for key, _ in selector.select(0.2):
                        direction, other = key.data
                        if self._mode == BLACKHOLE:
                            key.fileobj.recv(65536)  # type: ignore[union-attr]
                            continue
                        data = key.fileobj.recv(65536)  # type: ignore[union-attr]
                        if not data:
                            return
                        if self._delay_s:
                            time.sleep(self._delay_s)
                        if direction == "up":
                            data = self._spoiled(passed[direction], data)
                        other.sendall(data)
                        passed[direction] += len(data)
                        if direction == "up":
                            self.up += len(data)
                        else:
                            self.down += len(data)
                        if self._over_budget(passed):
                            self._reset((client, server))
                            return
                    if client.fileno() < 0 or server.fileno() < 0:
                        return
            except (OSError, ValueError):
                return
            finally:
                for end in (client, server):
                    with contextlib.suppress(OSError):
                        end.close()

    def _over_budget(self, passed: dict[str, int]) -> bool:
        with self._lock:
            for item in self._budget:
                direction, count = item
                if passed[direction] >= count:
                    self._budget.remove(item)
                    return True
        return False

    def close(self) -> None:
        self._closing = True
        self._listener.close()
        self.reset()

    def __enter__(self) -> BreakingProxy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
