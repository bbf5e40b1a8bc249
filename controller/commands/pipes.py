"""Standard output into a pipe whose reader has gone, as in ``controller top | head -1``."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

import click

PIPE_CLOSED = 128 + 13
"""Exit code of a command whose reader has gone: that of a program that SIGPIPE ends."""


class PipeClosed(Exception):
    """Nobody reads our output any more."""


class Output:
    """Standard output and error of this process."""

    def __init__(self) -> None:
        self.closed = False
        """Whether the reader of one has gone; what is written from then on is dropped."""

    def drop(self) -> None:
        """The reader has gone: drop what is written from now on, also by Python as it ends."""
        self.closed = True
        with contextlib.suppress(OSError, ValueError), open(os.devnull, "wb") as nothing:
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(OSError, ValueError, AttributeError):
                    if stream is sys.stdout or _is_same_pipe(stream):
                        os.dup2(nothing.fileno(), stream.fileno())


def _is_same_pipe(stream: Any) -> bool:
    """Whether a stream's reader has gone as well."""
    try:
        stream.flush()
        os.write(stream.fileno(), b"")
    except BrokenPipeError:
        return True
    return False


OUTPUT = Output()


def end_in_order() -> None:
    """Nobody reads what a study prints: end it as Ctrl-C does. Raises `KeyboardInterrupt`."""
    OUTPUT.drop()
    raise KeyboardInterrupt


@contextlib.contextmanager
def telling_pipes() -> Iterator[None]:
    """Within, a reader that has gone raises `PipeClosed`: click would make it an exit code of its own."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError as error:
        OUTPUT.drop()
        raise PipeClosed from error
    except KeyboardInterrupt as error:
        if OUTPUT.closed:  # a study's output has ended it in order
            raise PipeClosed from error
        raise


class Commands(click.Group):
    """A group of commands that end quietly when nobody reads their output any more."""

    def make_context(self, *args: Any, **options: Any) -> click.Context:
        with telling_pipes():  # `--help` prints here
            return super().make_context(*args, **options)

    def invoke(self, ctx: click.Context) -> Any:
        with telling_pipes():
            return super().invoke(ctx)
