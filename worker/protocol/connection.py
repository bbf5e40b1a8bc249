"""Connections to Redis: patient ones for long work, impatient ones for questions."""

from __future__ import annotations

from typing import Any

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from worker.protocol.errors import BadInput, RedisUnavailable
from worker.protocol.urls import redact

MINIMUM = (6, 2)
"""Oldest Redis that is supported: RQ's lossless hand-over of jobs (BLMOVE) came with it."""

_AWAY = (redis.ConnectionError, redis.TimeoutError)


def connect(url: str, *, patience_s: float = 60.0, timeout_s: float = 20.0, text: bool = True) -> Any:
    """A client for `url`.

    Args:
        url: ``redis://``, ``rediss://`` or ``unix://``.
        patience_s: how long a command is tried again while Redis is away; 0 fails at once.
        timeout_s: longest wait for one answer, in seconds. Blocking reads must stay below it.
        text: answers as str; False for RQ, which wants bytes.

    Raises:
        BadInput: the URL can't be parsed.
    """
    tries = round(patience_s) if patience_s > 0 else 0
    retry = Retry(ExponentialBackoff(cap=1.0, base=0.1), tries)
    try:
        return redis.Redis.from_url(
            url,
            decode_responses=text,
            retry=retry,
            retry_on_error=list(_AWAY) if tries else [],
            socket_timeout=timeout_s,
            socket_connect_timeout=min(timeout_s, 5.0),
            health_check_interval=0,
        )
    except ValueError as error:
        raise BadInput(
            f"Redis URL {redact(url)}: {error}; use redis://HOST:6379/0, rediss://… or unix:///PATH"
        ) from error


def check(client: Any, url: str) -> tuple[int, ...]:
    """Prove that Redis answers, lets us in and is new enough.

    Returns:
        Its version.

    Raises:
        RedisUnavailable: with one line that says which of these failed and what to do.
    """
    shown = redact(url)
    try:
        version = _version(client)
    except redis.AuthenticationError as error:
        raise RedisUnavailable(
            f"Redis at {shown}: wrong or missing password ({error}); set it in REDIS_URL: redis://:PASSWORD@HOST:PORT/0"
        ) from error
    except redis.ResponseError as error:
        raise RedisUnavailable(f"Redis at {shown}: {_explain(error)}") from error
    except _AWAY as error:
        raise RedisUnavailable(
            f"Redis at {shown}: {_explain(error)}; is it running, and is REDIS_URL right?"
        ) from error
    except OSError as error:
        raise RedisUnavailable(f"Redis at {shown}: {error}") from error
    if version < MINIMUM:
        raise RedisUnavailable(
            f"Redis at {shown}: version {'.'.join(map(str, version))} is too old; "
            f"{'.'.join(map(str, MINIMUM))} or newer is needed"
        )
    return version


def _version(client: Any) -> tuple[int, ...]:
    client.ping()
    text = str(client.info("server").get("redis_version", "0"))
    return tuple(int(part) for part in text.split(".") if part.isdigit())


def _explain(error: Exception) -> str:
    text = str(error).strip().rstrip(".")
    lowered = text.lower()
    if "noauth" in lowered or "authentication required" in lowered:
        return "it wants a password; set it in REDIS_URL: redis://:PASSWORD@HOST:PORT/0"
    if "db index" in lowered or "invalid db" in lowered:
        return "no such database number; the last part of REDIS_URL names it, usually 0"
    if "refused" in lowered:
        return "connection refused"
    if "timed out" in lowered or "timeout" in lowered:
        return "no answer in time"
    if "name or service not known" in lowered or "name resolution" in lowered or "nodename" in lowered:
        return "no such host"
    return text or type(error).__name__
