"""What boto3's errors mean to a user: one line, what to set, nothing secret."""

from __future__ import annotations

import re

from boto3.exceptions import Boto3Error, RetriesExceededError
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    SSLError,
)
from botocore.exceptions import ConnectionError as BotoConnectionError

from worker.protocol.urls import redact

_KEYS = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"

_REFUSED = frozenset(
    ("InvalidAccessKeyId", "SignatureDoesNotMatch", "AuthFailure", "403", "Forbidden", "InvalidToken",
     "ExpiredToken", "TokenRefreshRequired")
)  # fmt: skip

_BUSY = frozenset(
    ("SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded", "TooManyRequests",
     "RequestTimeout", "InternalError", "ServiceUnavailable", "OperationAborted")
)  # fmt: skip

_FULL = frozenset(
    ("XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "QuotaExceeded",
     "InsufficientStorage", "507")
)  # fmt: skip

_MISSING = frozenset(("NoSuchKey", "404"))

_DAMAGED = frozenset(("BadDigest", "XAmzContentSHA256Mismatch"))

_DROPPED = "NoSuchUpload"
"""An upload in parts that the server has given up, perhaps since one part was damaged."""

_BROKEN = (BotoConnectionError, HTTPClientError, IncompleteReadError, ConnectionError)
"""What a connection that breaks or stalls raises; the last is Python's own."""


def unwrapped(error: Exception) -> Exception:
    """The error below boto3's own wrapping, which says less."""
    cause: object = error.__cause__ or error.__context__
    if isinstance(error, RetriesExceededError):
        cause = error.last_exception
    if isinstance(error, Boto3Error) and isinstance(cause, (ClientError, BotoCoreError)):
        below: Exception = cause
        return below
    return error


def code_of(error: ClientError) -> str:
    """S3's word for it, such as ``NoSuchKey``, or an HTTP status."""
    return str(error.response.get("Error", {}).get("Code", ""))


def may_pass(error: Exception) -> bool:
    """Whether the same request may succeed later."""
    error = unwrapped(error)
    if isinstance(error, ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return status >= 500 or status == 429 or code_of(error) in _BUSY | _FULL | _DAMAGED | {_DROPPED}
    if isinstance(error, SSLError):
        return False
    return isinstance(error, (*_BROKEN, RetriesExceededError))


def is_missing(error: Exception) -> bool:
    """Whether there is no such object."""
    error = unwrapped(error)
    return isinstance(error, ClientError) and code_of(error) in _MISSING


def explain(error: Exception, bucket: str, endpoint: str) -> str:
    """What went wrong and what to do.

    Args:
        error: from boto3.
        bucket: that was asked.
        endpoint: the server's URL, for the message.
    """
    error = unwrapped(error)
    if isinstance(error, NoCredentialsError):
        return f"no credentials found; set {_KEYS}, or AWS_PROFILE"
    if isinstance(error, PartialCredentialsError):
        return f"only half of the credentials found; set both {_KEYS}"
    if isinstance(error, ProfileNotFound):
        return f"{_flat(error)}; check AWS_PROFILE"
    if isinstance(error, SSLError):
        return f"TLS to {endpoint} fails: {_flat(error)}; for a private authority set AWS_CA_BUNDLE"
    if isinstance(error, (EndpointConnectionError, ConnectTimeoutError)):
        return f"no S3 server answers at {endpoint}; is AWS_ENDPOINT_URL_S3 right?"
    if isinstance(error, _BROKEN):
        return f"the connection to {endpoint} broke or stalled ({type(error).__name__})"
    if isinstance(error, ClientError):
        return _explain_answer(error, bucket)
    return _flat(error)


def _explain_answer(error: ClientError, bucket: str) -> str:
    code = code_of(error)
    if code == "NoSuchBucket":
        return f"bucket {bucket!r} does not exist; create it, or check the name and AWS_ENDPOINT_URL_S3"
    if code in _MISSING:
        return "no such object"
    if code in ("PreconditionFailed", "412"):
        return "the object was replaced meanwhile"
    if code == "AccessDenied":
        return f"access is denied; check {_KEYS} and what the bucket's policy allows them"
    if code in _FULL:
        return f"the server is full ({code}); free space there, or raise the quota"
    if code in _DAMAGED:
        return f"what arrived was damaged on its way ({code})"
    if code == _DROPPED:
        return f"the server has dropped the upload ({code})"
    if code in _REFUSED:
        return f"the credentials are refused ({code}); check {_KEYS}"
    message = str(error.response.get("Error", {}).get("Message") or "")
    return f"{code}: {_flat(message)}".strip(": ") or _flat(error)


def _flat(error: object) -> str:
    """On one line, without the passwords of URLs in it."""
    text = " ".join(str(error).split()) or type(error).__name__
    return re.sub(r"\w+://[^\s\"']+", lambda url: redact(url[0]), text)
