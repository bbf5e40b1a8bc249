"""Downloading an object in pieces, each of which goes on where its connection broke."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from worker.artifacts.checksum import Hasher, NewHasher

PIECE = 64 << 20
"""Bytes of one request, unless it has to be repeated."""
CHUNK = 1 << 20
"""Bytes read at a time."""
THREADS = 2


class Download:
    """One object's way into a file. `run` may be called again after it failed, and does what is left.

    Args:
        size: of the object, in bytes.
        read: ``read(first, last)`` opens bytes `first` to `last` (inclusive) of the object as a stream
            with ``read`` and ``close``; called from several threads.
        path: the file to write.
    """

    def __init__(self, size: int, read: Callable[[int, int], Any], path: Path) -> None:
        self._read = read
        self._path = path
        self._size = size
        # [next byte, end): moved on as bytes are written.
        self._left = [[start, min(start + PIECE, size)] for start in range(0, size, PIECE)]
        self._stop = threading.Event()

    def run(self, new_hasher: NewHasher) -> str:
        """Write what is missing. Raises what `read` raises, once all threads have come to rest.

        Returns:
            The checksum of the file, worked out while it comes.
        """
        self._stop.clear()
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            os.ftruncate(descriptor, self._size)
            with ThreadPoolExecutor(THREADS + 1, thread_name_prefix="optuna-rq-download") as pool:
                pieces = [pool.submit(self._fetch, piece, descriptor) for piece in self._left]
                digest = pool.submit(self._follow, descriptor, new_hasher())
                every: list[Future[Any]] = [*pieces, digest]
                done, _ = wait(every, return_when=FIRST_EXCEPTION)
                self._stop.set()
                for piece in pieces:
                    piece.cancel()
            for piece in done:
                piece.result()
            self._left = [piece for piece in self._left if piece[0] < piece[1]]
            return digest.result()
        finally:
            os.close(descriptor)

    def _whole_until(self) -> int:
        """Up to where the file is whole, in bytes."""
        return min((at for at, end in self._left if at < end), default=self._size)

    def _follow(self, descriptor: int, hasher: Hasher) -> str:
        """Read what has come, in order."""
        at = 0
        while at < self._size:
            whole = self._whole_until()
            if at == whole:
                if self._stop.wait(0.005):
                    break
                continue
            data = os.pread(descriptor, min(CHUNK, whole - at), at)
            if not data:
                raise OSError(f"{self._path} was cut short by somebody else")
            hasher.update(data)
            at += len(data)
        return hasher.hexdigest()

    def _fetch(self, piece: list[int], descriptor: int) -> None:
        while piece[0] < piece[1] and not self._stop.is_set():
            stream = self._read(piece[0], piece[1] - 1)
            try:
                while piece[0] < piece[1] and not self._stop.is_set():
                    data = stream.read(min(CHUNK, piece[1] - piece[0]))
                    if not data:
                        raise ConnectionError("the answer ended early")
                    while data:
                        written = os.pwrite(descriptor, data, piece[0])
                        piece[0] += written
                        data = data[written:]
            finally:
                stream.close()
