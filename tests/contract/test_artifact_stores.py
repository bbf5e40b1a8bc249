"""The stores' contract, and saving and fetching: the same tests on a folder and on a real S3 server and one of GCS."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import pytest

from tests.gcsserver import GCSServer
from tests.s3server import S3Server
from worker.artifacts import (
    ArtifactMeta,
    ArtifactStore,
    ArtifactStoreUnavailable,
    NoSuchObject,
    fetch,
    load,
    open_store,
    save,
)
from worker.artifacts.names import safe_name
from worker.protocol.errors import ArtifactError, Retryable


@pytest.fixture(params=["file", "s3", "gs"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ArtifactStore:
    if request.param == "file":
        return open_store(f"file://{tmp_path}/store ä")
    bucket = f"b-{uuid.uuid4().hex[:8]}"
    if request.param == "gs":
        google: GCSServer = request.getfixturevalue("gcs_server")
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", google.endpoint)
        google.make_bucket(bucket)
        return open_store(f"gs://{bucket}/some/prefix")
    server: S3Server = request.getfixturevalue("s3_server")
    for name, value in server.env().items():
        monkeypatch.setenv(name, value)
    server.make_bucket(bucket)
    return open_store(f"s3://{bucket}/some/prefix")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "model.npz"
    path.write_bytes(b"weights")
    return path


def test_put_get_list_delete(store: ArtifactStore, source: Path, tmp_path: Path) -> None:
    store.check()
    assert list(store.list("")) == []
    keys = ["s/t/1/model.npz", "s/t/2/ünïcode name.bin", "other/x/1/a"]
    for key in keys:
        store.put_file(key, source, "application/x-test")
    assert sorted(store.list("")) == sorted(keys)
    assert sorted(store.list("s/t/")) == sorted(keys[:2])
    store.get_file(keys[1], tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"weights"
    assert store.exists(keys[0])
    store.delete(keys[0])
    store.delete(keys[0])
    assert not store.exists(keys[0])
    with pytest.raises(ArtifactError, match="no (such )?object"):
        store.get_file(keys[0], tmp_path / "copy")


def test_a_store_opens_again_by_its_url(store: ArtifactStore, source: Path) -> None:
    store.put_file("a/b", source, "text/plain")
    assert open_store(store.url).exists("a/b")
    assert store.url_of("a/b").startswith(store.url)


OBJECTS: dict[str, tuple[Any, str]] = {
    "dict": ({"a": [1, 2.5, None, True], "ü": "x"}, "application/json"),
    "list": ([1, 2], "application/json"),
    "number": (1.5, "application/json"),
    "numpy scalars": ({"a": numpy.float32(0.5), "b": numpy.int64(3)}, "application/json"),
    "array": (numpy.arange(6.0).reshape(2, 3), "application/octet-stream"),
    "bytes": (b"\x00\xff", "application/octet-stream"),
}


@pytest.mark.parametrize("name", OBJECTS)
def test_objects_come_back(store: ArtifactStore, name: str) -> None:
    value, mimetype = OBJECTS[name]
    meta = save(store, "study/task", name, value)
    assert (meta.name, meta.mimetype) == (name, mimetype)
    again = load(ArtifactMeta.from_json(meta.to_json()))
    assert type(again) is type(value)
    assert numpy.array_equal(again, value) if isinstance(value, numpy.ndarray) else again == value


def test_files_and_folders(store: ArtifactStore, source: Path, tmp_path: Path) -> None:
    meta = save(store, "study/task", "model", source)
    assert (meta.filename, meta.size, meta.kind) == ("model.npz", 7, "file")
    assert fetch(meta, tmp_path / "out.npz").read_bytes() == b"weights"
    folder = tmp_path / "folder"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "a.txt").write_text("a")
    meta = save(store, "study/task", "folder", str(folder))
    assert (meta.filename, meta.mimetype) == ("folder.zip", "application/zip")
    empty = tmp_path / "empty"
    empty.touch()
    assert fetch(save(store, "s", "empty", empty), tmp_path / "out-empty").read_bytes() == b""


def test_a_target_is_never_harmed(store: ArtifactStore, source: Path, tmp_path: Path) -> None:
    meta = save(store, "study/task", "model", source)
    target = tmp_path / "target"
    target.mkdir()
    assert fetch(meta, target) == target / "model.npz"
    with pytest.raises(ArtifactError, match="--force"):
        fetch(meta, target)
    source.write_bytes(b"other")
    newer = save(store, "study/task", "model", source)
    assert fetch(newer, target, overwrite=True).read_bytes() == b"other"
    for wrong in (
        replace(meta, blake3="0" * 64),
        replace(meta, sha256="0" * 64, blake3=None),
        replace(meta, size=3),
    ):
        with pytest.raises(ArtifactError, match="damaged"):
            fetch(wrong, target, overwrite=True)
    assert [path.name for path in target.iterdir()] == ["model.npz"]
    assert (target / "model.npz").read_bytes() == b"other"


@pytest.mark.parametrize(
    "name", ["../../evil", "a/b\\c", "ünïcode ☃", "x" * 300, "..", "", "\x00\n", "a" * 290 + ".tar"]
)
def test_names_never_leave_the_target(store: ArtifactStore, tmp_path: Path, name: str) -> None:
    meta = save(store, f"study {name}/task", name or "empty", b"bytes")
    target = tmp_path / "deep" / "target"
    target.mkdir(parents=True)
    path = fetch(replace(meta, filename=name or "x"), target)
    assert path.parent == target
    assert sorted(p.name for p in (tmp_path / "deep").iterdir()) == ["target"]
    assert len(safe_name(name).encode()) <= 255


def test_what_can_not_be_saved(store: ArtifactStore, tmp_path: Path) -> None:
    for source, message in (
        (str(tmp_path / "nowhere.bin"), "no such file"),
        (object(), "a object can't be stored; store a path"),
        ({"a": object()}, "can't be written as JSON"),
        (numpy.array([object()]), "array of objects"),
    ):
        with pytest.raises(ArtifactError, match=message):
            save(store, "s/t", "thing", source)
    assert list(store.list("")) == []


def test_a_file_that_changes_meanwhile(
    store: ArtifactStore, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = store.put_file

    def slow_put(key: str, path: Path, mimetype: str) -> None:
        put(key, path, mimetype)
        path.write_bytes(b"changed while it was read")

    monkeypatch.setattr(store, "put_file", slow_put)
    with pytest.raises(ArtifactError, match="changed meanwhile"):
        save(store, "s/t", "model", source)
    assert list(store.list("")) == []


def test_a_file_that_gets_shorter_meanwhile(
    store: ArtifactStore, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection stalls then, but it is not the store's fault, and trying again is no use."""

    def stalled_put(key: str, path: Path, mimetype: str) -> None:
        path.write_bytes(b"")
        raise ArtifactStoreUnavailable("stalled")

    monkeypatch.setattr(store, "put_file", stalled_put)
    with pytest.raises(ArtifactError, match="changed meanwhile") as caught:
        save(store, "s/t", "model", source)
    assert not isinstance(caught.value, Retryable)


@pytest.mark.parametrize("key", ["", "/etc/passwd", "a/../b", "a//b", "./a"])
def test_keys_stay_inside_the_store(store: ArtifactStore, source: Path, tmp_path: Path, key: str) -> None:
    calls: list[Callable[[], object]] = [
        lambda: store.put_file(key, source, "text/plain"),
        lambda: store.get_file(key, tmp_path / "copy"),
        lambda: store.open_object(key),
        lambda: store.exists(key),
        lambda: store.delete(key),
        lambda: store.url_of(key),
    ]
    for call in calls:
        with pytest.raises(ArtifactError, match="no valid key"):
            call()
    assert not (tmp_path / "copy").exists()


def test_large_files_come_back(store: ArtifactStore, tmp_path: Path) -> None:
    """In several parts, where the store has parts."""
    large = tmp_path / "large.bin"
    large.write_bytes(os.urandom(20 << 20))
    meta = save(store, "study/task", "large", large)
    assert fetch(meta, tmp_path / "out").read_bytes() == large.read_bytes()


def test_an_object_is_read_in_parts(store: ArtifactStore, tmp_path: Path) -> None:
    data = os.urandom((9 << 20) + 7)
    (tmp_path / "large").write_bytes(data)
    store.put_file("s/large", tmp_path / "large", None)
    found = store.open_object("s/large")
    assert found.size == len(data)
    assert found.beginning(10) == data[:10]
    for first, last in ((0, 0), (5, 5_000_000), (len(data) - 3, len(data) - 1), (8 << 20, len(data) + 99)):
        assert b"".join(found.chunks(first, last)) == data[first : last + 1]
    assert b"".join(found.chunks()) == data
    assert list(found.chunks(len(data))) == []
    assert max(len(chunk) for chunk in found.chunks()) <= 8 << 20  # never the whole
    left_early = found.chunks()
    next(left_early)
    left_early.close()


def test_an_object_that_is_gone_is_said_to_be(store: ArtifactStore, source: Path) -> None:
    with pytest.raises(NoSuchObject, match="no (such )?object"):
        store.open_object("s/none")
    store.put_file("s/empty", source, None)
    found = store.open_object("s/empty")
    store.delete("s/empty")
    with pytest.raises(NoSuchObject):
        list(found.chunks())


def test_an_object_is_replaced_whole(store: ArtifactStore, source: Path, tmp_path: Path) -> None:
    store.put_file("a/b", source, None)
    source.write_bytes(b"newer")
    store.put_file("a/b", source, "text/plain")
    store.get_file("a/b", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"newer"
    assert list(store.list("a/")) == ["a/b"]


def test_a_put_that_fails_leaves_nothing(store: ArtifactStore, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="No such file"):
        store.put_file("a/b", tmp_path / "nowhere", "text/plain")
    assert list(store.list("")) == []
    assert not store.exists("a/b")


def test_list_tells_prefixes_from_folders(store: ArtifactStore, source: Path) -> None:
    for key in ("s/t/1", "s/t2/1", "s2/t/1"):
        store.put_file(key, source, None)
    assert list(store.list("s/t/")) == ["s/t/1"]
    assert sorted(store.list("s/t")) == ["s/t/1", "s/t2/1"]
    assert sorted(store.list("s")) == ["s/t/1", "s/t2/1", "s2/t/1"]
    assert list(store.list("nothing/here")) == []
    with pytest.raises(ArtifactError, match="no valid key"):
        list(store.list("../"))


def test_what_can_not_be_fetched_leaves_no_folder(store: ArtifactStore, tmp_path: Path) -> None:
    meta = save(store, "s/t", "x", b"bytes")
    for wrong, message in (
        (replace(meta, blake3="0" * 64), "damaged"),
        (replace(meta, sha256="0" * 64, blake3=None), "damaged"),
        (replace(meta, key="s/none"), "no (such )?object"),
    ):
        with pytest.raises(ArtifactError, match=message):
            fetch(wrong, tmp_path / "new" / "folder" / "file")
        with pytest.raises(ArtifactError, match=message):
            load(wrong)
    assert not (tmp_path / "new").exists()


def test_load_keeps_no_copies(store: ArtifactStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    meta = save(store, "s/t", "x", {"a": 1})
    assert load(meta) == {"a": 1}
    with pytest.raises(ArtifactError):
        load(replace(meta, size=0))
    with pytest.raises(ArtifactError, match="can't be read as numpy"):
        load(replace(meta, kind="numpy"))
    assert list(scratch.iterdir()) == []
