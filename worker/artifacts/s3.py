"""An S3 bucket, or one of the many servers that speak its protocol, through boto3.

Endpoint, region, credentials and certificates come by boto3's usual means (``AWS_ENDPOINT_URL_S3``,
``AWS_REGION``, ``AWS_ACCESS_KEY_ID``, ``AWS_CA_BUNDLE``, profiles, instance roles).
"""

from __future__ import annotations

import contextlib
import logging
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import botocore.session
from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from botocore.compat import MD5_AVAILABLE
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.utils import conditionally_calculate_md5

from worker.artifacts.bucket import ProcessClient, ResumableDownloads
from worker.artifacts.checksum import NewHasher, new_sha256
from worker.artifacts.entry import Entry
from worker.artifacts.names import checked_key
from worker.artifacts.protocol import ArtifactStoreUnavailable, NoSuchObject
from worker.artifacts.ranges import Download
from worker.artifacts.s3_errors import code_of, explain, is_missing, may_pass
from worker.artifacts.stored import StoredObject
from worker.protocol.errors import ArtifactError, BadInput, ServerAway

log = logging.getLogger(__name__)

# Two threads and parts of 8 MiB keep memory flat and the line busy.
_TRANSFER = TransferConfig(
    multipart_threshold=16 << 20, multipart_chunksize=8 << 20, max_concurrency=2, max_io_queue=8
)

_PATIENT = {
    "connect_timeout": 10,
    "read_timeout": 60,
    "retries": {"mode": "standard", "total_max_attempts": 4},
}
_QUICK = {"connect_timeout": 3, "read_timeout": 5, "retries": {"mode": "standard", "total_max_attempts": 2}}
"""For `check`, whose answer a user waits for. Seconds."""


class S3Store:
    """A prefix of a bucket. Safe to use from several threads, and after a fork.

    Args:
        client: boto3's, to use in this process; by default one of its own, see the module.
    """

    def __init__(self, bucket: str, prefix: str, client: Any = None) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._given = client
        self._clients = ProcessClient(client, lambda: self._new_client(_PATIENT))
        self._unfinished: set[str] = set()
        """Keys whose uploads may have left parts."""
        self._downloads = ResumableDownloads(may_pass)

    @property
    def url(self) -> str:
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    def url_of(self, key: str) -> str:
        return f"s3://{self._bucket}/{self._key(key)}"

    def check(self) -> None:
        probe = self._key(f".probe-{uuid.uuid4().hex}")
        client = None
        try:
            client = self._given or self._new_client(_QUICK)
            # A put tells a missing bucket and refused keys apart, and needs no right to look at the bucket.
            client.put_object(Bucket=self._bucket, Key=probe, Body=b"optuna-rq")
        except (BotoCoreError, ClientError) as error:
            kind = ServerAway if may_pass(error) else BadInput
            raise kind(f"artifact store {self.url}: {self._explain(error, client)}") from error
        except ArtifactError as error:
            raise BadInput(str(error)) from error
        try:
            client.delete_object(Bucket=self._bucket, Key=probe)
        except (BotoCoreError, ClientError) as error:
            reason = self._explain(error, client)
            raise BadInput(
                f"artifact store {self.url}: objects can be written but not deleted: {reason} (left: {probe})"
            ) from error

    def put_file(self, key: str, path: Path, mimetype: str | None) -> None:
        kind = {"ContentType": mimetype} if mimetype else {}
        try:
            with self._refusals(key):
                self._client().upload_file(
                    os.fspath(path), self._bucket, self._key(key), ExtraArgs=kind, Config=_TRANSFER
                )
        except ArtifactError:
            # Parts that were uploaded cost until they are aborted; boto3 can't while the server is away.
            self._unfinished.add(key)
            self._abort_parts(key)
            raise
        if key in self._unfinished:
            self._abort_parts(key)

    def _abort_parts(self, key: str) -> None:
        """Have the server forget what unfinished uploads of `key` have left, if it can be told now."""
        full = self._key(key)
        try:
            client = self._given or self._new_client(_QUICK)
            for upload in self._uploads(client, full):
                if upload["Key"] == full:
                    client.abort_multipart_upload(Bucket=self._bucket, Key=full, UploadId=upload["UploadId"])
        except (BotoCoreError, ClientError, ArtifactError) as error:
            log.debug("parts of %s were not looked for: %s", full, error)
            return
        self._unfinished.discard(key)

    def _uploads(self, client: Any, prefix: str) -> list[Any]:
        """The multipart uploads that have not come to an end."""
        pages = client.get_paginator("list_multipart_uploads")
        try:
            found = pages.paginate(Bucket=self._bucket, Prefix=prefix)
            return [upload for page in found for upload in page.get("Uploads", ())]
        except ClientError as error:
            if code_of(error) == "NoSuchUpload":  # some servers' way to say that there are none
                return []
            raise

    def get_file(self, key: str, path: Path, new_hasher: NewHasher = new_sha256) -> str:
        with self._refusals(key):
            return self._downloads.get(key, path, lambda: self._download(self._key(key), path), new_hasher)

    def _download(self, full: str, path: Path) -> Download:
        size, read = self._opened(full)
        return Download(size, read, path)

    def open_object(self, key: str) -> StoredObject:
        with self._refusals(key):
            size, read = self._opened(self._key(key))
        return StoredObject(
            name=f"artifact store {self.url}: {key!r}",
            size=size,
            reader=read,
            refusals=lambda: self._refusals(key),
        )

    def _opened(self, full: str) -> tuple[int, Callable[[int, int], Any]]:
        """The size of an object, and what reads a range of it as it is now."""
        try:
            head = self._client().head_object(Bucket=self._bucket, Key=full)
        except ClientError as error:
            if code_of(error) == "404":
                # An answer without a body doesn't say whether the object or the bucket is missing.
                self._client().get_object(Bucket=self._bucket, Key=full)
            raise
        same = {"IfMatch": head["ETag"]} if head.get("ETag") else {}

        def read(first: int, last: int) -> Any:
            client = self._client()
            answer = client.get_object(Bucket=self._bucket, Key=full, Range=f"bytes={first}-{last}", **same)
            return answer["Body"]

        return int(head["ContentLength"]), read

    def exists(self, key: str) -> bool:
        with self._refusals(key):
            try:
                self._client().head_object(Bucket=self._bucket, Key=self._key(key))
            except ClientError as error:
                if code_of(error) in ("404", "NoSuchKey"):
                    return False
                raise
        return True

    def delete(self, key: str) -> None:
        with self._refusals(key):
            self._client().delete_object(Bucket=self._bucket, Key=self._key(key))

    def list(self, prefix: str) -> Iterator[str]:
        return (entry.key for entry in self.entries(prefix))

    def remove_leftovers(self, prefix: str, before: float) -> int:
        count = 0
        with self._refusals(prefix):
            client = self._client()
            for upload in self._uploads(client, self._prefix + prefix):
                if upload["Initiated"].timestamp() < before:
                    client.abort_multipart_upload(
                        Bucket=self._bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                    )
                    count += 1
        return count

    def entries(self, prefix: str) -> Iterator[Entry]:
        if "/" in prefix:
            checked_key(prefix.rpartition("/")[0])
        with self._refusals(prefix):
            pages = self._client().get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self._bucket, Prefix=self._prefix + prefix):
                for item in page.get("Contents", ()):
                    key = str(item["Key"]).removeprefix(self._prefix)
                    modified = item["LastModified"].timestamp()
                    yield Entry(key=key, size=int(item["Size"]), modified=modified)

    def _key(self, key: str) -> str:
        return self._prefix + checked_key(key)

    def _client(self) -> Any:
        return self._clients.get()

    def _new_client(self, patience: dict[str, Any]) -> Any:
        # Sessions of its own: boto3's default one is not safe to use from several threads.
        try:
            settings = botocore.session.Session()
            session = boto3.session.Session(botocore_session=settings)
            said = settings.get_scoped_config().get("s3") or {}
            wanted = said.get("addressing_style")
            signing: dict[str, Any] = {}
            if MD5_AVAILABLE and "payload_signing_enabled" not in said:
                # A SHA-256 of each body in the signature costs twice the processor time of its MD5 (below).
                signing["payload_signing_enabled"] = False

            def client(style: str | None) -> Any:
                config = Config(
                    # boto3's default checksums break uploads to several S3 servers over HTTPS.
                    request_checksum_calculation="when_required",
                    response_checksum_validation="when_required",
                    signature_version="s3v4",
                    s3={**signing, "addressing_style": style} if style else signing,
                    **patience,
                )
                return session.client("s3", config=config, region_name=session.region_name or "us-east-1")

            made = client(wanted)
            # Other servers seldom have a host name for every bucket.
            if not wanted and ".amazonaws.com" not in str(made.meta.endpoint_url):
                made = client("path")
            # By it the server refuses what was damaged on its way; buckets with Object Lock ask for it.
            for operation in ("PutObject", "UploadPart"):
                made.meta.events.register(f"before-call.s3.{operation}", conditionally_calculate_md5)
        except (BotoCoreError, ValueError) as error:
            reason = (
                self._explain(error, None)
                if isinstance(error, BotoCoreError)
                else ("the endpoint is no URL; write AWS_ENDPOINT_URL_S3=https://HOST or http://HOST:PORT")
            )
            raise ArtifactError(f"artifact store {self.url}: {reason}") from None
        if "@" in urlsplit(made.meta.endpoint_url).netloc:
            raise ArtifactError(
                f"artifact store {self.url}: leave credentials out of AWS_ENDPOINT_URL_S3; set "
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY instead"
            )
        return made

    def _explain(self, error: Exception, client: Any) -> str:
        return explain(error, self._bucket, client.meta.endpoint_url if client else "AWS")

    @contextlib.contextmanager
    def _refusals(self, key: str) -> Iterator[None]:
        try:
            yield
        except (BotoCoreError, ClientError, Boto3Error, ConnectionError) as error:
            reason = self._explain(error, self._clients.current)
            missing = NoSuchObject if is_missing(error) else ArtifactError
            kind = ArtifactStoreUnavailable if may_pass(error) else missing
            raise kind(f"artifact store {self.url}: {key!r}: {reason}") from error
        except OSError as error:
            place = f" ({error.filename})" if error.filename else ""
            raise ArtifactError(
                f"artifact store {self.url}: {key!r}: {error.strerror or error}{place}"
            ) from error
