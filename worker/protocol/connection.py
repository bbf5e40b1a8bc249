"""Connections to Redis: patient ones for long work, impatient ones for questions."""

from __future__ import annotations

import os
from collections.abc import Sequence
from inspect import signature
from typing import Any
from urllib.parse import parse_qs, urlsplit

import redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import NoPermissionError
from redis.retry import Retry

from worker.protocol.errors import BadInput, RedisAway, RedisUnavailable
from worker.protocol.urls import redact

MINIMUM = (6, 2)
"""Oldest Redis that is supported: RQ's lossless hand-over of jobs (BLMOVE) came with it."""

AWAY = (redis.ConnectionError, redis.TimeoutError, redis.OutOfMemoryError, redis.ReadOnlyError)
"""What a Redis raises that can't be used now, and may be later: one that is away, full, or a replica."""


def _no_extras() -> dict[str, Any]:
    taken = signature(redis.connection.AbstractConnection.__init__).parameters
    if "driver_info" not in taken:
        return {"lib_name": None, "lib_version": None}
    extras: dict[str, Any] = {"driver_info": None}
    if "maint_notifications_config" in signature(redis.Redis.__init__).parameters:
        from redis.maint_notifications import MaintNotificationsConfig  # noqa: PLC0415 - hardly ever needed

        extras["maint_notifications_config"] = MaintNotificationsConfig(enabled=False)
    return extras


_NO_EXTRAS = _no_extras()
"""No CLIENT SETINFO and no CLIENT MAINT_NOTIFICATIONS: older servers don't know them, and their access rules
can't name them."""


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
    _check_url(url)
    # Older clients compare a certificate's name only when they are told to.
    verified = url.startswith("rediss:") and "ssl_cert_reqs" not in url
    try:
        return redis.Redis.from_url(
            url,
            decode_responses=text,
            encoding_errors="replace",  # rather than lose the place in an answer
            retry=retry,
            retry_on_error=list(AWAY) if tries else [],
            socket_timeout=timeout_s,
            socket_connect_timeout=min(timeout_s, 5.0),
            health_check_interval=0,
            **({"ssl_check_hostname": True} if verified else {}),
            **_NO_EXTRAS,
        )
    except ValueError as error:
        raise BadInput(f"Redis URL {redact(url)}: {error}; {_FORMS}") from error


_FORMS = "use redis://HOST:6379/0, rediss://… or unix:///PATH"


def _check_url(url: str) -> None:
    """Refuse what redis-py would pass over. Raises `BadInput`."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in ("redis", "rediss", "unix"):
        raise BadInput(
            f"Redis URL {redact(url)}: it begins with none of redis://, rediss://, unix://; {_FORMS}"
        )
    if scheme == "unix":
        if not rest.partition("?")[0].rpartition("@")[2].strip("/"):
            raise BadInput(f"Redis URL {redact(url)}: it names no socket; {_FORMS}")
        return
    database = rest.partition("?")[0].rpartition("@")[2].partition("/")[2]
    if database and not database.isdigit():
        raise BadInput(f"Redis URL {redact(url)}: {database!r} is no database number; {_FORMS}")


def watch(pipe: Any, key: str, *command: Any) -> Any:
    """Begin a guarded transaction: WATCH a key, and read something, in one round trip.

    Args:
        pipe: a pipeline that watches nothing yet.
        command: what is read, such as ``"HGETALL", key``.

    Returns:
        What was read.
    """
    return watch_all(pipe, (key,), (command,))[0]


def watch_all(pipe: Any, keys: Sequence[str], commands: Sequence[Sequence[Any]]) -> list[Any]:
    """As `watch`, for several keys and answers."""
    if pipe.connection is None:
        pipe.connection = pipe.connection_pool.get_connection()
    connection = pipe.connection

    def ask() -> list[Any]:
        connection.send_packed_command(connection.pack_commands((("WATCH", *keys), *commands)))
        answers: list[Any] = []
        refusal: redis.ResponseError | None = None
        for name in ("WATCH", *(command[0] for command in commands)):
            try:
                answers.append(pipe.parse_response(connection, name))
            except redis.ResponseError as error:  # the others are read: the next command would get them
                refusal = refusal or error
        if refusal:
            raise refusal
        return answers[1:]

    def fail(error: Exception) -> None:
        connection.disconnect()

    try:
        found: list[Any] = connection.retry.call_with_retry(ask, fail)
        return found
    except BaseException:
        pipe.reset()
        raise


def hashes(pipe: Any) -> list[Any]:
    """The answers of a pipeline of HGETALLs. A key that is no hash counts as empty: somebody has spoiled it.

    Raises:
        redis.RedisError: of any other kind.
    """
    answers = pipe.execute(raise_on_error=False)
    for place, answer in enumerate(answers):
        if is_spoiled(answer):
            answers[place] = {}
        elif isinstance(answer, Exception):
            raise answer
    return list(answers)


def is_spoiled(answer: Any) -> bool:
    """Whether an answer of Redis says that a key holds another type of value than it should."""
    return isinstance(answer, redis.ResponseError) and "WRONGTYPE" in str(answer)


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
    except NoPermissionError as error:
        raise RedisUnavailable(f"Redis at {shown}: {trouble(error)}") from error
    except redis.ResponseError as error:
        raise RedisUnavailable(f"Redis at {shown}: {_explain(error)}") from error
    except AWAY as error:
        why = _explain_away(error, url)
        wrong = not _may_come(why)
        raise RedisAway(
            f"Redis at {shown}: {why}; "
            + ("correct REDIS_URL" if why == NO_SUCH_HOST else "is it running, and is REDIS_URL right?"),
            input_is_wrong=wrong,
        ) from error
    except (OSError, redis.RedisError) as error:
        raise RedisUnavailable(f"Redis at {shown}: {_explain(error)}") from error
    except (
        TypeError,
        UnicodeError,
    ) as error:  # an option that redis-py doesn't know, a name that none can be
        why = _first_words(str(error))
        raise BadInput(f"Redis URL {shown}: {why}; {_FORMS}") from error
    if version < MINIMUM:
        raise RedisUnavailable(
            f"Redis at {shown}: version {'.'.join(map(str, version))} is too old; "
            f"{'.'.join(map(str, MINIMUM))} or newer is needed"
        )
    return version


def can_pass(error: redis.RedisError) -> bool:
    """Whether `error` says that Redis can't be used now, and may be later."""
    # Its disk is full or broken, or too few replicas are there: no class of redis-py's own.
    return isinstance(error, AWAY) or _said(error).startswith(("MISCONF", "NOREPLICAS"))


def _said(error: redis.RedisError) -> str:
    """The server's own words, on one line: within a transaction, redis-py puts the command before them."""
    return " ".join(str(error).rpartition(" of pipeline caused error: ")[2].split())


def trouble(error: redis.RedisError) -> str:
    """What is the matter with Redis, and what to do, in one line."""
    text = _said(error)
    if isinstance(error, redis.OutOfMemoryError):
        return (
            "Redis is full: raise its maxmemory, or remove old studies with `controller delete STUDY` "
            "(and keep maxmemory-policy at noeviction)"
        )
    if isinstance(error, redis.ReadOnlyError):
        return "Redis takes no writes: it is a replica; its address has to lead to the primary"
    if isinstance(error, NoPermissionError):
        return f"Redis refuses this user ({text}); `controller acl` prints the rules that are needed"
    if text.startswith("MISCONF"):
        return f"Redis takes no writes: it can't save to its disk ({text.removeprefix('MISCONF ')[:100]})"
    if text.startswith("NOREPLICAS"):
        return "Redis takes no writes: too few of its replicas are there (min-replicas-to-write)"
    return f"Redis is away ({text})"


def evicts(client: Any) -> str:
    """The server's maxmemory-policy when it may drop records once its memory is full, else empty."""
    try:
        memory = client.info("memory")
    except redis.ResponseError:  # not allowed to ask
        return ""
    policy = str(memory.get("maxmemory_policy", "noeviction"))
    return policy if int(memory.get("maxmemory", 0)) > 0 and policy != "noeviction" else ""


def _version(client: Any) -> tuple[int, ...]:
    client.ping()
    text = str(client.info("server").get("redis_version", "0"))
    return tuple(int(part) for part in text.split(".") if part.isdigit())


def _explain(error: Exception) -> str:
    text = str(error).strip().rstrip(".")
    lowered = text.lower()
    if "certificate" in lowered or "ssl" in lowered or "tls" in lowered:
        return _explain_tls(text)
    if "noauth" in lowered or "authentication required" in lowered:
        return "it wants a password; set it in REDIS_URL: redis://:PASSWORD@HOST:PORT/0"
    if "db index" in lowered or "invalid db" in lowered:
        return "no such database number; the last part of REDIS_URL names it, usually 0"
    if "protocol error" in lowered:
        return "what answers there is not Redis"
    if "refused" in lowered:
        return "connection refused"
    if "no such file" in lowered:
        return "there is no such socket"
    if "timed out" in lowered or "timeout" in lowered:
        return "no answer in time"
    if "temporary failure" in lowered:
        return "the name service doesn't answer"
    if "name or service not known" in lowered or "name resolution" in lowered or "nodename" in lowered:
        return NO_SUCH_HOST
    return text or type(error).__name__


def _first_words(text: str) -> str:
    """What Python says of an argument or a name, for somebody who knows no Python."""
    if "unexpected keyword argument" in text:
        return f"there is no option {text.rsplit(' ', 1)[-1]}"
    return "there can be no such host" if "idna" in text else text


def _explain_away(error: Exception, url: str) -> str:
    """As `_explain`, with what the URL tells."""
    text, tls = _explain(error), url.startswith("rediss:")
    lowered = text.lower()
    if tls:
        for name, values in parse_qs(urlsplit(url).query).items():
            if name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile") and not os.path.isfile(values[-1]):
                return f"there is no file {values[-1]} ({name})"
        if text == "no answer in time":
            return f"{text}; if it does not speak TLS at this port, write redis:// instead of rediss://"
        if "eof occurred" in lowered or "reset by peer" in lowered or "closed by server" in lowered:
            return f"it ends the connection; {_WANTS_CERTIFICATE}"
    elif url.startswith("redis:") and ("reset by peer" in lowered or "closed by server" in lowered):
        return "it ends the connection; if it speaks TLS at this port, write rediss:// instead of redis://"
    return text


NO_SUCH_HOST = "no such host"


def _may_come(why: str) -> bool:
    """Whether what `_explain_away` says may pass with nothing changed here: down, busy or cut off."""
    passing = ("refused", "no answer in time", "name service", "no route to host",
               "unreachable", "reset by peer", "closed by", "loading", "eof occurred", "broken pipe",
               "no such socket", "maxmemory", "replica", "max number of clients")  # fmt: skip
    return any(part in why.lower() for part in passing) and "; if it " not in why


_WANTS_CERTIFICATE = (
    "if it wants a certificate, add ?ssl_certfile=/PATH/cert.pem&ssl_keyfile=/PATH/key.pem to REDIS_URL"
)


def _explain_tls(text: str) -> str:
    lowered = text.lower()
    if "has expired" in lowered:
        return "its certificate has expired; renew it (or set this machine's clock)"
    if "not yet valid" in lowered:
        return "its certificate is not valid yet; set this machine's clock, or the server's"
    if "hostname mismatch" in lowered or "ip address mismatch" in lowered or "doesn't match" in lowered:
        return "its certificate is for another host; name the host as the certificate does"
    if "self-signed" in lowered or "self signed" in lowered or "unable to get local issuer" in lowered:
        return "its certificate is signed by nobody known here; add ?ssl_ca_certs=/PATH/ca.pem to REDIS_URL"
    if "certificate required" in lowered or "certificate_required" in lowered:
        return f"it ends the connection; {_WANTS_CERTIFICATE}"
    if "pem lib" in lowered or "no certificate or crl" in lowered or "no_certificate_or_crl" in lowered:
        return "the file that ?ssl_ca_certs in REDIS_URL names holds no certificate"
    if "wrong version number" in lowered or "record layer" in lowered:
        return "it does not speak TLS at this port; use redis:// instead of rediss://, or its TLS port"
    return " ".join(text.split())
