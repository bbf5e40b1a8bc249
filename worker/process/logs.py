"""Logging of the worker's processes: one line each on standard error."""

from __future__ import annotations

import logging
import sys
from typing import TextIO

from worker.protocol.printable import one_line


class OneLine(logging.Formatter):
    """Prints each message as one line, except for tracebacks."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = one_line(record.message, 10_000)
        return super().formatMessage(record)


class CurrentStderr(logging.StreamHandler[TextIO]):
    """Writes to what `sys.stderr` is by then: a live view has lines appear above it."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


def configure(level: str) -> None:
    """Set up logging once per process; `level` as the logging module names it."""
    handler = logging.StreamHandler()
    handler.setFormatter(OneLine("%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S"))
    logging.basicConfig(level=level, handlers=[handler])
    for noisy in ("rq.worker", "rq.job", "botocore", "boto3", "urllib3", "s3transfer"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
