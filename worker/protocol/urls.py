"""URLs for printing: what is secret in them hidden."""

from __future__ import annotations

import re
from urllib.parse import unquote_plus

HIDDEN = "***"

_SECRET_PARAMETER = re.compile(
    r"pass(word|wd|phrase)?$|pwd$|secret|token|credential|signature$|^sig$|api_?key|access_?key|account_?key",
    re.IGNORECASE,
)

_PATHS_MAY_HAVE_AT = ("s3", "gs", "http", "https", "file")


def redact(url: str) -> str:
    """The same URL with its password and other secrets replaced by ``***``, for messages and logs.

    Covers ``user:password@`` (of Redis, SQLAlchemy, S3 and any other URL), what stands before the ``@`` of
    a Redis URL even without a colon (a password put in the user's place is a common slip), passwords with
    characters that should have been percent-encoded, and query parameters with telling names. All the
    rest stays as it is, character by character; a text without ``://`` is returned unchanged.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url
    rest = _redact_user_info(scheme, rest)
    before, question_mark, query = rest.partition("?")
    if question_mark:
        rest = before + "?" + _redact_query(query)
    return scheme + separator + rest


def _redact_user_info(scheme: str, rest: str) -> str:
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    # No database is called "word@host": there, a password with a "/" in it extends to the last "@".
    searched = authority if scheme in _PATHS_MAY_HAVE_AT or not authority else rest.partition("?")[0]
    host = re.fullmatch(r"(\[[^\]]*\]|[^:@\[\]]+)?(:\d*)?", authority)
    if "@" in searched:
        end = searched.rindex("@")
    elif host and (host[1] or not host[2]):
        return rest  # a plain host, or none as in file:///path
    elif "@" in rest:
        end = rest.rindex("@")  # the password has a "/", "?" or "#" in it
    elif host:
        return rest  # ":6379", an empty host with a port
    else:
        end = len(authority)  # "host:secret": not a port
    user, colon, _ = rest[:end].partition(":")
    if colon and end > len(user) + 1:
        return f"{user}:{HIDDEN}{rest[end:]}"
    if not colon and user and scheme.startswith(("redis", "valkey")):
        return HIDDEN + rest[end:]
    return rest


def _redact_query(query: str) -> str:
    parts = re.split(r"([&;#])", query)
    for index, part in enumerate(parts):
        name, equals, value = part.partition("=")
        if equals and value and _SECRET_PARAMETER.search(unquote_plus(name)):
            parts[index] = f"{name}={HIDDEN}"
    return "".join(parts)
