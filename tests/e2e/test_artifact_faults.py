"""Artifacts while connections break, the store is away, or a disk is full: a real S3 server behind a proxy."""

from __future__ import annotations

import os
import shutil
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests import disks
from tests.e2e.harness import Bench, started, wait_for
from tests.proxy import BreakingProxy
from tests.s3server import S3Server
from worker.artifacts import ArtifactStore, ArtifactStoreUnavailable, fetch, open_store, save
from worker.protocol import Reason, Status
from worker.protocol.errors import ArtifactError

MB = 1 << 20

pytestmark = pytest.mark.slow

OBJECTIVES = """
import time
from pathlib import Path
def saves(task):
    Path("go").touch()
    while not Path("broken").exists():
        time.sleep(0.02)
    Path("model.bin").write_bytes(b"weights")
    task.upload_artifact("file", "model.bin")
    task.upload_artifact("object", {"a": 1})
    return 1.0
def object_only(task):
    task.upload_artifact("object", {"a": 1})
    return 1.0
"""


class Place:
    """A bucket behind a proxy."""

    def __init__(self, server: S3Server, proxy: BreakingProxy) -> None:
        self.server = server
        self.proxy = proxy
        self.bucket = f"b-{uuid.uuid4().hex[:8]}"
        self.folder = server.make_bucket(self.bucket)
        self.url = f"s3://{self.bucket}/p"

    @property
    def env(self) -> dict[str, str]:
        return {**self.server.env(), "AWS_ENDPOINT_URL_S3": self.proxy.endpoint}

    def store(self) -> ArtifactStore:
        return open_store(self.url)

    def parts(self) -> list[Any]:
        try:
            found = self.server.client().list_multipart_uploads(Bucket=self.bucket)
        except ClientError as error:
            if error.response["Error"]["Code"] == "NoSuchUpload":  # rclone's way to say that there are none
                return []
            raise
        return list(found.get("Uploads", ()))


@pytest.fixture
def place(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    with BreakingProxy(s3_server.port) as proxy:
        found = Place(s3_server, proxy)
        for name, value in found.env.items():
            monkeypatch.setenv(name, value)
        yield found


def big(folder: Path, size: int = 40 * MB) -> Path:
    path = folder / "big.bin"
    path.write_bytes(os.urandom(MB) * (size // MB))
    return path


def test_a_connection_reset_in_the_middle_of_an_upload(place: Place, tmp_path: Path) -> None:
    path = big(tmp_path)
    place.proxy.reset_after("up", 3 * MB, 5 * MB, 2 * MB)
    meta = save(place.store(), "g", "n", path)
    assert place.proxy.resets == 3
    assert place.parts() == []
    assert fetch(meta, tmp_path / "back").read_bytes() == path.read_bytes()


def test_an_upload_that_is_damaged_on_its_way(place: Place, tmp_path: Path) -> None:
    """The server refuses it; it is sent again within the patience.

    Parts are sent at once: the first answer may also be that another part's damage has ended the upload.
    """
    path = big(tmp_path)
    store = place.store()
    place.proxy.spoil(3 * MB)
    with pytest.raises(ArtifactStoreUnavailable, match="damaged on its way|dropped the upload"):
        save(store, "g", "n", path)
    assert list(store.list("")) == []
    assert place.parts() == []
    place.proxy.spoil(3 * MB)
    meta = save(store, "g", "n", path, patience_s=60)
    assert fetch(meta, tmp_path / "back").read_bytes() == path.read_bytes()
    assert [key.rpartition("/")[2] for key in store.list("g/")] == [meta.artifact_id]


def test_an_upload_that_fails_leaves_no_parts(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store vanishes in the middle of it and comes back while it is waited for."""
    path = big(tmp_path)
    store = place.store()
    begun = threading.Event()

    def vanish() -> None:
        wait_for(lambda: place.proxy.up > 12 * MB, "some of the upload")
        begun.set()
        place.proxy.refuse()
        time.sleep(3)
        place.proxy.heal()

    thread = threading.Thread(target=vanish)
    thread.start()
    meta = save(store, "g", "n", path, patience_s=60)
    thread.join()
    assert begun.is_set()
    assert place.parts() == []
    assert [key.rpartition("/")[2] for key in store.list("g/")] == [meta.artifact_id]
    assert fetch(meta, tmp_path / "back").read_bytes() == path.read_bytes()


def test_what_is_given_up_leaves_nothing_but_the_file(place: Place, tmp_path: Path) -> None:
    path = big(tmp_path)
    store = place.store()
    place.proxy.refuse()
    with pytest.raises(ArtifactStoreUnavailable, match="no S3 server answers|broke or stalled") as raised:
        save(store, "g", "n", path)
    assert f"the file is at {path}" in str(raised.value)
    kept = tmp_path / "unsent"
    with pytest.raises(ArtifactStoreUnavailable) as raised:
        save(store, "g", "n", {"a": [1, 2]}, keep_in=kept)
    (file,) = kept.iterdir()
    assert f"the file is at {file}" in str(raised.value)
    assert file.name.endswith("-n.json")
    assert '"a"' in file.read_text()
    place.proxy.heal()
    assert list(store.list("")) == []
    assert place.parts() == []


def test_a_download_goes_on_where_it_broke(place: Place, tmp_path: Path) -> None:
    path = big(tmp_path, 160 * MB)
    store = place.store()
    meta = save(store, "g", "n", path)
    place.proxy.down = 0
    place.proxy.reset_after("down", 50 * MB, 40 * MB)
    back = fetch(meta, tmp_path / "back", store=store)
    assert back.read_bytes() == path.read_bytes()
    assert place.proxy.resets >= 1
    # What is lost each time is what was on its way; anew, it would have been 90 MB more.
    assert place.proxy.down < 215 * MB


def test_a_download_waits_for_a_server_that_is_away(place: Place, tmp_path: Path) -> None:
    path = big(tmp_path, 120 * MB)
    store = place.store()
    meta = save(store, "g", "n", path)
    place.proxy.down = 0

    def vanish() -> None:
        wait_for(lambda: place.proxy.down > 40 * MB, "some of the download")
        place.proxy.refuse()
        time.sleep(4)
        place.proxy.heal()

    thread = threading.Thread(target=vanish)
    thread.start()
    back = fetch(meta, tmp_path / "back", store=store, patience_s=60)
    thread.join()
    assert back.read_bytes() == path.read_bytes()
    assert place.proxy.down < 135 * MB
    place.proxy.refuse()
    with pytest.raises(ArtifactStoreUnavailable):
        fetch(meta, tmp_path / "other" / "file", store=store, patience_s=0)
    assert not (tmp_path / "other").exists()


def test_a_bucket_that_vanishes(place: Place, tmp_path: Path) -> None:
    store = place.store()
    meta = save(store, "g", "n", b"bytes")
    client = place.server.client()
    client.delete_object(Bucket=place.bucket, Key=f"p/{meta.key}")
    client.delete_bucket(Bucket=place.bucket)
    shutil.rmtree(place.folder, ignore_errors=True)
    with pytest.raises(ArtifactError, match=f"bucket '{place.bucket}' does not exist"):
        save(store, "g", "n", b"bytes", patience_s=30)
    with pytest.raises(ArtifactError, match=f"bucket '{place.bucket}' does not exist"):
        fetch(meta, tmp_path / "back", store=store)


# Tasks


@pytest.fixture
def bench(redis_url: str, tmp_path: Path) -> Bench:
    bench = Bench(redis_url, tmp_path)
    bench.module("obj.py", OBJECTIVES)
    return bench


def test_tasks_wait_for_a_store_that_is_away(bench: Bench, place: Place) -> None:
    with started("worker", cwd=bench.folder, REDIS_URL=bench.url, **place.env):
        task = bench.submit("obj:saves", artifacts=place.url, lease_s=4.0)
        wait_for(lambda: (bench.folder / "go").exists(), "the task's beginning")
        place.proxy.refuse()
        (bench.folder / "broken").touch()
        time.sleep(8)
        assert bench.store.tasks.get(task).status is Status.IN_PROGRESS
        place.proxy.heal()
        ended = bench.ended(task)
    assert ended.status is Status.COMPLETED, ended
    assert set(bench.store.artifacts.of_task(task)) == {"file", "object"}
    assert "trying again for up to 300 s" in bench.output(task)


def test_a_task_whose_store_stays_away_is_tried_again(bench: Bench, place: Place) -> None:
    place.proxy.refuse()
    with started("worker", cwd=bench.folder, REDIS_URL=bench.url, ARTIFACT_PATIENCE="1", **place.env):
        task = bench.submit("obj:object_only", artifacts=place.url)
        wait_for(lambda: bench.store.tasks.get(task).attempt == 2, "another attempt to be due", 90.0)
        (shown,) = bench.store.workers.list("default")
        assert shown["fault"] == "store_away"
    queued = bench.store.tasks.get(task)
    # It was the machine's fault, and lasts: no attempt was lost by it.
    assert (queued.status, queued.spent_attempts) == (Status.QUEUED, 1)
    assert queued.reason.startswith("store_away: ArtifactStoreUnavailable: artifact 'object' was not stored")
    (file,) = (bench.folder / ".optuna-rq" / "unsent").iterdir()
    assert file.read_text().split() == ["{", '"a":', "1", "}"]
    assert bench.store.artifacts.of_task(task) == {}


def test_a_task_that_waits_for_its_store_can_be_stopped(bench: Bench, place: Place) -> None:
    place.proxy.refuse()
    with started("worker", cwd=bench.folder, REDIS_URL=bench.url, **place.env):
        task = bench.submit("obj:object_only", artifacts=place.url, grace_s=20.0)
        wait_for(lambda: "trying again" in bench.output(task), "the waiting")
        asked = time.monotonic()
        bench.store.transitions.request_stop(task, Reason.USER, "enough")
        ended = bench.ended(task)
    assert (ended.status, ended.reason_class, ended.reason) == (Status.STOPPED, Reason.USER, "enough")
    assert time.monotonic() - asked < 15


def test_wrong_credentials_on_a_worker(bench: Bench, place: Place) -> None:
    env = {**place.env, "AWS_SECRET_ACCESS_KEY": "wrong-secret"}
    with started("worker", cwd=bench.folder, REDIS_URL=bench.url, **env):
        task = bench.submit("obj:object_only", artifacts=place.url)
        ended = bench.ended(task)
    assert ended.status is Status.FAILED
    assert "the credentials are refused (SignatureDoesNotMatch)" in ended.reason + ended.error
    assert "wrong-secret" not in ended.reason + ended.error + bench.output(task)


# Disks


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    with disks.small_disk(tmp_path / "small") as folder:
        yield folder


def test_a_full_disk(small_disk: Path, tmp_path: Path, place: Place) -> None:
    path = big(tmp_path, 2 * MB)
    full = open_store(f"file://{small_disk}/store")
    with pytest.raises(ArtifactError, match="No space left on device") as raised:
        save(full, "g", "n", path)
    assert f"the file is at {path}" in str(raised.value)
    assert [found for found in small_disk.rglob("*") if found.is_file()] == []
    for store in (open_store(f"file://{tmp_path}/store"), place.store()):
        meta = save(store, "g", "n", path)
        with pytest.raises(ArtifactError, match="No space left on device"):
            fetch(meta, small_disk / "folder" / "copy", store=store)
        assert list(small_disk.rglob("*")) in ([], [small_disk / "store"])
