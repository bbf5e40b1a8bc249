"""Optuna's artifact stores where one of ours is wanted."""

from __future__ import annotations

import io
import uuid
from pathlib import Path
from typing import Any, BinaryIO

import optuna
import pytest
from optuna.artifacts import (
    Backoff,
    Boto3ArtifactStore,
    FileSystemArtifactStore,
    GCSArtifactStore,
    download_artifact,
    upload_artifact,
)
from optuna.artifacts.exceptions import ArtifactNotFound

from controller.loop.backend import Backend
from tests.gcsserver import GCSServer
from tests.s3server import S3Server
from worker import artifact_store
from worker.artifacts import ArtifactStore, fetch, load, open_store, save
from worker.protocol.errors import ArtifactError, BadInput


class InMemory:
    """A store of a user's own, by Optuna's protocol."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def open_reader(self, artifact_id: str) -> BinaryIO:
        if artifact_id not in self.kept:
            raise ArtifactNotFound(artifact_id)
        return io.BytesIO(self.kept[artifact_id])

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        self.kept[artifact_id] = content_body.read()

    def remove(self, artifact_id: str) -> None:
        del self.kept[artifact_id]


@pytest.fixture(params=["folder", "boto3", "gcs", "own"])
def optunas(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    bucket = f"b-{uuid.uuid4().hex[:8]}"
    if request.param == "folder":
        (tmp_path / "artifacts").mkdir()
        return FileSystemArtifactStore(tmp_path / "artifacts")
    if request.param == "boto3":
        # Its client alone knows the server and the keys.
        server: S3Server = request.getfixturevalue("s3_server")
        server.make_bucket(bucket)
        return Boto3ArtifactStore(bucket, server.client())
    if request.param == "gcs":
        google: GCSServer = request.getfixturevalue("gcs_server")
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", google.endpoint)
        google.make_bucket(bucket)
        return GCSArtifactStore(bucket)
    return InMemory()


@pytest.fixture(params=[False, True], ids=["plain", "backoff"])
def given(request: pytest.FixtureRequest, optunas: Any) -> Any:
    return Backoff(optunas) if request.param else optunas


def test_both_ways(given: Any, optunas: Any, tmp_path: Path) -> None:
    store = open_store(given)
    store.check()
    if isinstance(optunas, InMemory):
        with pytest.raises(BadInput, match="a worker can't open it by a URL"):
            _ = store.url
    else:
        meta = save(store, "study", "settings", {"a": [1, 2]})
        # What we save, Optuna's object finds by its key.
        with optunas.open_reader(meta.key) as reader:
            assert b'"a"' in reader.read()
        assert load(meta, store) == {"a": [1, 2]}
        # By its URL as well: in this process, it is the object's client that opens it.
        assert load(meta) == {"a": [1, 2]}
        assert fetch(meta, tmp_path / "copy.json", store=store).exists()
    # What Optuna uploads through ours is found by both.
    ours = artifact_store(given, "study")
    (tmp_path / "notes.txt").write_text("notes")
    study = optuna.create_study()
    identifier = upload_artifact(
        artifact_store=ours, file_path=str(tmp_path / "notes.txt"), study_or_trial=study
    )
    with optunas.open_reader(f"study/{identifier}") as reader:
        assert reader.read() == b"notes"
    download_artifact(artifact_store=ours, artifact_id=identifier, file_path=str(tmp_path / "back.txt"))
    assert (tmp_path / "back.txt").read_text() == "notes"
    ours.remove(identifier)
    with pytest.raises(ArtifactNotFound):
        ours.open_reader(identifier)


def test_the_url_is_what_workers_open(tmp_path: Path, s3_server: S3Server) -> None:
    assert open_store(FileSystemArtifactStore(tmp_path)).url == f"file://{tmp_path}"
    assert open_store(Backoff(Boto3ArtifactStore("bucket", s3_server.client()))).url == "s3://bucket"
    backend = Backend("redis://127.0.0.1:1/0", "sqlite:///x.db", FileSystemArtifactStore(tmp_path))
    assert backend.artifacts_url == f"file://{tmp_path}"
    assert open_store(tmp_path / "store").url == f"file://{tmp_path}/store"


@pytest.mark.parametrize("odd", [None, 3, object(), ["s3://x"], {"a": 1}])
def test_what_is_no_store(odd: object) -> None:
    with pytest.raises(BadInput, match="give a URL, or one of Optuna's artifact stores"):
        open_store(odd)


def test_what_a_users_store_raises_is_told(tmp_path: Path) -> None:
    class Broken(InMemory):
        def write(self, artifact_id: str, content_body: BinaryIO) -> None:
            raise RuntimeError("out of order")

    store: ArtifactStore = open_store(Broken())
    (tmp_path / "x").write_text("x")
    with pytest.raises(ArtifactError, match="artifact store Broken: 'a/b': out of order"):
        store.put_file("a/b", tmp_path / "x", None)
    with pytest.raises(ArtifactError, match="can't list"):
        list(store.list(""))
    assert not store.exists("a/b")
    store.delete("a/b")
