"""What only an S3 server can do wrong: each fault said in one line, nothing hanging, nothing secret."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.server
import os
import re
import socket
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.utils
import pytest

from tests.s3server import S3Server
from worker.artifacts import ArtifactStoreUnavailable, open_store, s3, save
from worker.protocol.errors import ArtifactError, BadInput, Retryable
from worker.protocol.faults import fault_of
from worker.protocol.status import Reason

SECRET = "surely-a-hidden-word"


@pytest.fixture
def bucket(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    # Neither the developer's own files nor a cloud machine's role may answer.
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name, value in s3_server.env().items():
        monkeypatch.setenv(name, value)
    name = f"b-{uuid.uuid4().hex[:8]}"
    s3_server.make_bucket(name)
    return name


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(b"bytes")
    return path


@pytest.fixture
def silent_server() -> Iterator[str]:
    """Takes connections, never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@contextlib.contextmanager
def answering(status: int, code: str = "", times: int = 1 << 30) -> Iterator[str]:
    """A server that answers a status and S3's word to everything, so often; then 200."""
    body = f"<Error><Code>{code}</Code><Message>x</Message></Error>".encode() if code else b""
    left = [times]

    class Busy(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # which answers "Expect: 100-continue", so that nobody waits a second

        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            left[0] -= 1
            refuses = left[0] >= 0
            self.send_response(status if refuses else 200)
            self.send_header("Content-Length", str(len(body) if refuses else 0))
            self.end_headers()
            if refuses:
                self.wfile.write(body)

        do_HEAD = do_GET = do_DELETE = do_PUT

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Busy) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture
def busy_server() -> Iterator[str]:
    """Answers 503 to everything."""
    with answering(503) as endpoint:
        yield endpoint


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (503, "SlowDown", "SlowDown"),
        (503, "", "503"),
        (507, "XMinioStorageFull", "the server is full (XMinioStorageFull); free space there"),
        (403, "QuotaExceeded", "the server is full (QuotaExceeded)"),
    ],
)
def test_a_server_that_is_busy_or_full_is_waited_for(
    bucket: str, source: Path, monkeypatch: pytest.MonkeyPatch, status: int, code: str, said: str
) -> None:
    monkeypatch.setattr(
        s3, "_PATIENT", {**s3._PATIENT, "retries": {"mode": "standard", "total_max_attempts": 1}}
    )
    with answering(status, code) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
        with pytest.raises(ArtifactStoreUnavailable) as raised:
            save(open_store(f"s3://{bucket}"), "g", "n", source)
    assert said in str(raised.value)
    fault = fault_of(raised.value)
    assert fault is not None
    assert fault.reason_class is Reason.STORE_AWAY
    with answering(status, code, times=1) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
        assert save(open_store(f"s3://{bucket}"), "g", "n", source, patience_s=30.0).size == 5


def refused(url: str) -> str:
    """What `check` says."""
    with pytest.raises(BadInput) as caught:
        open_store(url).check()
    said = str(caught.value)
    assert said.startswith(f"artifact store {url}: ")
    assert len(said.splitlines()) == 1
    return said


def test_check_leaves_nothing(bucket: str) -> None:
    store = open_store(f"s3://{bucket}/p")
    store.check()
    assert list(store.list("")) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"AWS_SECRET_ACCESS_KEY": SECRET}, r"credentials are refused \(SignatureDoesNotMatch\); check AWS_ACCESS_KEY_ID"),
        ({"AWS_ACCESS_KEY_ID": SECRET}, "credentials are refused"),
        ({"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}, "no credentials found; set AWS_ACCESS_KEY_ID"),
        ({"AWS_SECRET_ACCESS_KEY": None}, "half of the credentials"),
        ({"AWS_PROFILE": "nobody"}, "nobody.*check AWS_PROFILE"),
        ({"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9"}, "no S3 server answers at http://127.0.0.1:9; is AWS_ENDPOINT_URL_S3"),
        ({"AWS_ENDPOINT_URL_S3": SECRET}, "endpoint is no URL"),
        ({"AWS_ENDPOINT_URL_S3": f"http://me:{SECRET}@127.0.0.1:9"}, "leave credentials out of AWS_ENDPOINT_URL_S3"),
    ],
)  # fmt: skip
def test_faults_are_told_apart(
    bucket: str, source: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, str | None], message: str
) -> None:
    for name, value in changes.items():
        if value is None:
            monkeypatch.delenv(name)
        else:
            monkeypatch.setenv(name, value)
    monkeypatch.setitem(s3._PATIENT, "retries", {"total_max_attempts": 1})
    said = refused(f"s3://{bucket}/p")
    assert re.search(message, said)
    with pytest.raises(ArtifactError, match=message) as caught:
        open_store(f"s3://{bucket}/p").put_file("a", source, None)
    assert SECRET not in said + str(caught.value)


def test_a_bucket_that_does_not_exist(bucket: str, source: Path) -> None:
    assert "bucket 'not-there' does not exist" in refused("s3://not-there/p")
    with pytest.raises(ArtifactError, match="'not-there' does not exist") as caught:
        open_store("s3://not-there/p").put_file("a", source, None)
    assert not isinstance(caught.value, Retryable)


def test_a_silent_server_is_given_up(
    bucket: str, silent_server: str, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = s3._QUICK["retries"]["total_max_attempts"]
    assert attempts * (s3._QUICK["connect_timeout"] + s3._QUICK["read_timeout"]) <= 20
    for patience in (s3._QUICK, s3._PATIENT):
        monkeypatch.setitem(patience, "read_timeout", 0.2)
        monkeypatch.setitem(patience, "retries", {"total_max_attempts": 1})
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", silent_server)
    assert "broke or stalled" in refused(f"s3://{bucket}")
    with pytest.raises(ArtifactStoreUnavailable):
        open_store(f"s3://{bucket}").put_file("a", source, None)


def test_what_may_pass_is_retryable(
    bucket: str, busy_server: str, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(s3._PATIENT, "retries", {"total_max_attempts": 1})
    for endpoint in (busy_server, "http://127.0.0.1:9"):
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
        store = open_store(f"s3://{bucket}")
        with pytest.raises(ArtifactError) as caught:
            store.put_file("a", source, None)
        assert isinstance(caught.value, Retryable)
        with pytest.raises(ArtifactStoreUnavailable):
            store.exists("a")
        with pytest.raises(ArtifactStoreUnavailable):
            list(store.list(""))


def test_the_type_goes_with_the_object(bucket: str, s3_server: S3Server, source: Path) -> None:
    open_store(f"s3://{bucket}/p").put_file("a.json", source, "application/x-of-mine")
    head = s3_server.client().head_object(Bucket=bucket, Key="p/a.json")
    assert head["ContentType"] == "application/x-of-mine"


def test_an_endpoint_in_a_profile(bucket: str, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """By boto3's usual means: path style is chosen for it, too, unless the profile says otherwise."""
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3")
    config = Path(os.environ["AWS_CONFIG_FILE"])
    config.write_text(f"[default]\nendpoint_url = {s3_server.endpoint.replace('127.0.0.1', 'localhost')}\n")
    store = s3.S3Store(bucket, "p")
    store.check()
    assert store._client().meta.config.s3["addressing_style"] == "path"
    config.write_text(config.read_text() + "s3 =\n    addressing_style = virtual\n")
    assert s3.S3Store(bucket, "p")._client().meta.config.s3["addressing_style"] == "virtual"


_MD5 = base64.b64encode(hashlib.md5(b"bytes").digest()).decode()
_SHA256 = hashlib.sha256(b"bytes").hexdigest()


@pytest.mark.parametrize(
    ("signing", "has_md5", "said"),
    [
        (None, True, (_MD5, "UNSIGNED-PAYLOAD")),
        ("true", True, (_MD5, _SHA256)),
        ("false", True, (_MD5, "UNSIGNED-PAYLOAD")),
        (None, False, ("", _SHA256)),
    ],
)
def test_what_an_upload_says_of_its_body(
    bucket: str,
    source: Path,
    monkeypatch: pytest.MonkeyPatch,
    signing: str | None,
    has_md5: bool,
    said: tuple[str, str],
) -> None:
    """Its MD5 in place of its SHA-256, unless a profile wants that signed or the machine has no MD5."""
    if signing:
        config = Path(os.environ["AWS_CONFIG_FILE"])
        config.write_text(f"[default]\ns3 =\n    payload_signing_enabled = {signing}\n")
    for module in (s3, botocore.utils):
        monkeypatch.setattr(module, "MD5_AVAILABLE", has_md5)
    store, found = s3.S3Store(bucket, "p"), []

    def note(request: Any, **_: Any) -> None:
        names = ("Content-MD5", "X-Amz-Content-SHA256")
        texts = [request.headers.get(name, "") for name in names]
        found.append(tuple(text.decode() if isinstance(text, bytes) else text for text in texts))

    store._client().meta.events.register("before-send.s3.PutObject", note)
    store.put_file("a", source, None)
    assert found == [said]


def test_a_fork_gets_connections_of_its_own(bucket: str, source: Path) -> None:
    store = s3.S3Store(bucket, "p")
    store.put_file("a", source, None)
    inherited = store._client()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if store.exists("a") and store._client() is not inherited else 1
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert store._client() is inherited
    assert store.exists("a")
