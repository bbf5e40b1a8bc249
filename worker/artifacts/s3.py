"""An S3 bucket, or one of the many that speak its protocol, through boto3.

Endpoint, region and credentials come by boto3's usual means (``AWS_ENDPOINT_URL_S3``, ``AWS_REGION``,
``AWS_ACCESS_KEY_ID``, profiles, instance roles).
"""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    PartialCredentialsError,
)

from worker.protocol.errors import ArtifactError, BadInput

# Two threads and parts of 8 MiB keep memory flat and the line busy.
_TRANSFER = TransferConfig(
    multipart_threshold=16 << 20, multipart_chunksize=8 << 20, max_concurrency=2, max_io_queue=8
)


class S3Store:
    """A prefix of a bucket. Safe to use from several threads."""

    def __init__(self, bucket: str, prefix: str) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._clients: dict[tuple[float, int], Any] = {}

    def _client(self, connect_timeout_s: float = 10.0, tries: int = 8) -> Any:
        # Per process: a connection must not be shared across a fork.
        wanted = (connect_timeout_s, tries)
        if wanted not in self._clients:
            custom = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
            config = Config(
                # boto3's default checksums break uploads to several S3 servers over HTTPS.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                signature_version="s3v4",
                retries={"mode": "standard", "max_attempts": tries},
                connect_timeout=connect_timeout_s,
                read_timeout=60,
                s3={"addressing_style": "path"} if custom else None,
            )
            with self._refusals(self.url):
                session = boto3.session.Session()
                region = session.region_name or "us-east-1"
                self._clients[wanted] = session.client("s3", config=config, region_name=region)
        return self._clients[wanted]

    @property
    def url(self) -> str:
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    def url_of(self, key: str) -> str:
        return f"s3://{self._bucket}/{self._prefix}{key}"

    def check(self) -> None:
        probe = f"{self._prefix}.probe-{uuid.uuid4().hex}"
        try:
            client = self._client(3.0, 2)
            client.put_object(Bucket=self._bucket, Key=probe, Body=b"")
            client.delete_object(Bucket=self._bucket, Key=probe)
        except (BotoCoreError, ClientError, ValueError) as error:
            raise BadInput(f"artifact store {self.url}: {_explain(error, self._bucket)}") from error
        except ArtifactError as error:
            raise BadInput(str(error)) from error

    def put_file(self, key: str, path: Path, mimetype: str) -> None:
        with self._refusals(key):
            self._client().upload_file(
                str(path),
                self._bucket,
                self._prefix + key,
                ExtraArgs={"ContentType": mimetype},
                Config=_TRANSFER,
            )

    def get_file(self, key: str, path: Path) -> None:
        with self._refusals(key):
            self._client().download_file(self._bucket, self._prefix + key, str(path), Config=_TRANSFER)

    def exists(self, key: str) -> bool:
        try:
            self._client().head_object(Bucket=self._bucket, Key=self._prefix + key)
        except ClientError as error:
            if _code(error) in ("404", "NoSuchKey"):
                return False
            raise ArtifactError(f"artifact store {self.url}: {_explain(error, self._bucket)}") from error
        return True

    def delete(self, key: str) -> None:
        with self._refusals(key):
            self._client().delete_object(Bucket=self._bucket, Key=self._prefix + key)

    def list(self, prefix: str) -> Iterator[str]:
        with self._refusals(prefix):
            pages = self._client().get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self._bucket, Prefix=self._prefix + prefix):
                for item in page.get("Contents", ()):
                    yield str(item["Key"]).removeprefix(self._prefix)

    @contextlib.contextmanager
    def _refusals(self, what: str) -> Iterator[None]:
        try:
            yield
        except (BotoCoreError, ClientError, Boto3Error) as error:
            reason = _explain(error, self._bucket)
            raise ArtifactError(f"artifact store {self.url}: {what!r}: {reason}") from error


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _explain(error: Exception, bucket: str) -> str:
    """What went wrong and what to set, without anything secret."""
    cause = error.__cause__ or error.__context__
    if isinstance(error, Boto3Error) and isinstance(cause, (ClientError, BotoCoreError)):
        error = cause
    if isinstance(error, (NoCredentialsError, PartialCredentialsError)):
        return "no credentials found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile"
    if isinstance(error, (EndpointConnectionError, ConnectTimeoutError)):
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or "AWS"
        return f"no S3 server answers at {endpoint}; is AWS_ENDPOINT_URL_S3 right?"
    if isinstance(error, ClientError):
        code = _code(error)
        if code == "NoSuchBucket":
            return f"bucket {bucket!r} does not exist"
        if code in ("NoSuchKey", "404"):
            return "no such object"
        if code in ("InvalidAccessKeyId", "SignatureDoesNotMatch", "403", "AccessDenied", "Forbidden"):
            return f"the credentials are refused ({code}); check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        return f"{code}: {error.response.get('Error', {}).get('Message', '')}".strip(": ")
    return " ".join(str(error).split()) or type(error).__name__
