"""Logging of the worker's processes: one line each on standard error."""

from __future__ import annotations

import logging


def one_line(text: str, most: int = 1000) -> str:
    """`text` as one printable line, so that what others wrote can't pass for a line of ours.

    Args:
        most: characters kept.
    """
    short = text if len(text) <= most else f"{text[:most]}…"
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in short)


class _OneLine(logging.Formatter):
    """Prints each message as one line, except for tracebacks."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = one_line(record.message, 10_000)
        return super().formatMessage(record)


def configure(level: str) -> None:
    """Set up logging once per process; `level` as the logging module names it."""
    handler = logging.StreamHandler()
    handler.setFormatter(_OneLine("%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S"))
    logging.basicConfig(level=level, handlers=[handler])
    for noisy in ("rq.worker", "rq.job", "botocore", "boto3", "urllib3", "s3transfer"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
