"""Logging of the worker's processes: one line each on standard error."""

from __future__ import annotations

import logging


def configure(level: str) -> None:
    """Set up logging once per process; `level` as the logging module names it."""
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S")
    for noisy in ("rq.worker", "rq.job", "botocore", "boto3", "urllib3", "s3transfer"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
