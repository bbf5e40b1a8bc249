"""Names, URLs and descriptions of artifacts: what is accepted, what is refused and how."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from worker.artifacts import ArtifactMeta, open_store, save
from worker.artifacts.names import MAX_BYTES, checked_key, safe_name
from worker.protocol.errors import ArtifactError, BadInput, NewerRecord, RecordError


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("model.npz", "model.npz"),
        ("ünïcode ☃ 模型.pt", "ünïcode ☃ 模型.pt"),
        ("u\u0308.txt", "ü.txt"),
        ("../../etc/passwd", ".._.._etc_passwd"),
        ("a/b\\c:d", "a_b_c_d"),
        ("a\x00\n\x1b\x85b", "a_b"),
        ("a\u2028\u202ebcd", "a_bcd"),
        ("..", "artifact"),
        (".", "artifact"),
        ("", "artifact"),
        ("   ", "artifact"),
        ("...", "artifact"),
        (".hidden", ".hidden"),
        ("\udcff", "_"),
    ],
)
def test_safe_names(name: str, safe: str) -> None:
    assert safe_name(name) == safe


@pytest.mark.parametrize("letter", ["x", "ü", "模", "🙂"])
@pytest.mark.parametrize("extension", ["", ".json", ".csv.gz"])
@pytest.mark.parametrize("length", [200, 254, 255, 256, 400])
def test_long_names_keep_their_extensions(letter: str, extension: str, length: int) -> None:
    name = letter * length + extension
    safe = safe_name(name)
    assert len(safe.encode()) <= MAX_BYTES
    assert safe.endswith(extension)
    assert safe == name if len(name.encode()) <= MAX_BYTES else len(safe.encode()) > MAX_BYTES - 4
    assert safe_name(letter * length, ".npy").endswith(".npy")
    assert len(safe_name(letter * length, ".npy").encode()) <= MAX_BYTES


def test_keys() -> None:
    assert checked_key("a/b c/ü.bin") == "a/b c/ü.bin"
    for key in ("", "/a", "a/", "a//b", "../a", "a/..", "a/./b", "a\x00"):
        with pytest.raises(ArtifactError, match="no valid key"):
            checked_key(key)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "names nothing"),
        ("  ", "names nothing"),
        ("/a\nb", "names nothing"),
        ("s3://", "no bucket"),
        ("s3:///prefix", "no bucket"),
        ("s3:/bucket/x", "two slashes more"),
        ("S3:bucket", "two slashes more"),
        ("file:/tmp/x", "two slashes more"),
        ("s3://key:hidden-word@bucket", "leave credentials out"),
        ("s3://key:hidden/hidden-word@bucket/x", "leave credentials out"),
        ("s3://key:hidden-word", "leave credentials out"),
        ("file://me:hidden-word@/tmp", "leave credentials out"),
        ("gs://me:hidden-word@bucket/x", "leave credentials out"),
        ("s3://ab", "can't be a bucket's name"),
        ("s3://bad_bücket/x", "can't be a bucket's name"),
        ("s3://bucket/x?token=hidden-word", "no options in the URL"),
        ("s3://bucket/a/../b", "can't be a prefix"),
        ("s3://bucket/a//b", "can't be a prefix"),
        ("gs://", "no bucket; write gs://BUCKET/PREFIX"),
        ("ftp://host/x", "use file:///PATH, s3://BUCKET/PREFIX or gs://BUCKET/PREFIX"),
        ("https://bucket.example/x", "use file:///PATH, s3://BUCKET/PREFIX or gs://BUCKET/PREFIX"),
        ("file://host/x", "three slashes"),
        ("file://relative", "three slashes"),
        ("~surely-nobody/x", "no such user"),
    ],
)
def test_urls_that_name_no_store(url: str, message: str) -> None:
    with pytest.raises(BadInput, match=re.escape(message)) as caught:
        open_store(url)
    assert "hidden-word" not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_urls_of_stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for given, url in (
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/", "s3://bucket"),
        ("S3://bucket/a/b#1 ü/", "s3://bucket/a/b#1 ü"),
        ("file:///a%20b/c", "file:///a%20b/c"),
        ("file://localhost/a", "file:///a"),
        ("file:///a#b?c", "file:///a%23b%3Fc"),
        ("/a b/#", "file:///a%20b/%23"),
        ("rel/x", f"file://{tmp_path}/rel/x"),
        (os.fsdecode(b"/\xff"), "file:///%FF"),
    ):
        assert open_store(given).url == url
        assert open_store(url).url == url


def test_a_folder_that_can_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match="can't be written: Not a directory"):
        open_store(str(tmp_path / "file" / "x")).check()
    open_store(str(tmp_path / "new" / "deep")).check()
    assert list((tmp_path / "new" / "deep").iterdir()) == []


def test_files_are_shared_as_the_umask_says(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        store = open_store(str(tmp_path / "store"))
        meta = save(store, "s", "x", b"bytes")
    finally:
        os.umask(before)
    assert (tmp_path / "store" / meta.key).stat().st_mode & 0o777 == 0o640


def test_boto3_is_imported_for_buckets_only(tmp_path: Path) -> None:
    program = (
        "import sys; from worker.artifacts import open_store, save\n"
        f"save(open_store({str(tmp_path)!r}), 's', 'x', {{'a': 1}})\n"
        "heavy = {'boto3', 'botocore', 'numpy', 'pandas', 'PIL', 'matplotlib', 'optuna'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "open_store('s3://bucket/x'); assert 'boto3' in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def meta(tmp_path: Path) -> ArtifactMeta:
    return save(open_store(str(tmp_path / "store")), "s/t", "x ü", b"bytes")


def test_descriptions_come_back(meta: ArtifactMeta) -> None:
    assert ArtifactMeta.from_json(meta.to_json()) == meta
    later = {**json.loads(meta.to_json()), "a field of tomorrow": 1}
    assert ArtifactMeta.from_json(json.dumps(later)) == meta


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("v", [0, "1", True, None]),
        ("artifact_id", ["1", 1, "", "0" * 32]),
        ("name", ["", 1, None]),
        ("filename", ["", None]),
        ("mimetype", ["", None]),
        ("encoding", ["", 1]),
        ("size", ["7", -1, 1.5, True, None]),
        ("sha256", ["zz", "A" * 64, None]),
        ("blake3", ["zz", "A" * 64, 1]),
        ("url", ["", None]),
        ("store", ["", None]),
        ("key", ["", 3]),
        ("kind", ["", []]),
        ("created_at", ["yesterday", "2026-01-01T00:00:00", "2026-01-01T00:00:00+02:00", None]),
    ],
)
def test_a_bad_field_is_named(meta: ArtifactMeta, field: str, values: list[Any]) -> None:
    data = json.loads(meta.to_json())
    for value in values:
        with pytest.raises(RecordError, match=f"'{field}'") as caught:
            ArtifactMeta.from_json(json.dumps({**data, field: value}))
        assert not isinstance(caught.value, NewerRecord)
    del data[field]
    if field == "blake3":  # which earlier versions didn't write
        assert ArtifactMeta.from_json(json.dumps(data)) == replace(meta, blake3=None)
        return
    with pytest.raises(RecordError, match=f"'{field}'"):
        ArtifactMeta.from_json(json.dumps(data))


def test_what_is_no_description(meta: ArtifactMeta) -> None:
    for text in ("", "null", "[]", "{", '"x"'):
        with pytest.raises(RecordError, match="malformed"):
            ArtifactMeta.from_json(text)
    with pytest.raises(NewerRecord, match="version 2"):
        ArtifactMeta.from_json(json.dumps({**json.loads(meta.to_json()), "v": 2}))
