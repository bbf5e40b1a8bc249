"""What becomes of a file, folder or object that is saved, and what is refused."""

from __future__ import annotations

import os
import threading
import zipfile
from pathlib import Path
from typing import Any

import matplotlib.figure
import numpy
import pandas
import plotly.graph_objects
import pytest
from PIL import Image

from worker.artifacts import ArtifactMeta, ArtifactStore, fetch, load, open_store, save
from worker.artifacts.atomic import replacing
from worker.protocol.errors import ArtifactError


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return open_store(str(tmp_path / "store"))


def saved(store: ArtifactStore, source: object, name: str = "x") -> ArtifactMeta:
    return save(store, "s/t", name, source)


def test_arrays_by_name(store: ArtifactStore) -> None:
    arrays = {"file": numpy.arange(3), "allow_pickle": numpy.ones((2, 0)), "a/ü": numpy.array(2.5)}
    meta = saved(store, arrays)
    assert (meta.kind, meta.filename) == ("arrays", "x.npz")
    again = load(meta)
    assert list(again) == list(arrays)
    for name, array in arrays.items():
        assert again[name].dtype == array.dtype
        assert numpy.array_equal(again[name], array)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"a": numpy.ones(1), "b": 2}, "ndarray inside it can't be written as JSON"),
        ({"a": numpy.array([object()])}, "array of objects"),
        ({1: numpy.ones(1)}, "must be a str, not 1"),
        ({1, 2}, "a set can't be stored; store a path"),
        (lambda: None, "a function can't be stored"),
        ("", "path is empty"),
        ("no/such/file", "no such file: /"),
        ("words of a text " * 40, "to store text, give bytes or a dict"),
        ("line\nline", "to store text, give bytes or a dict"),
        ("/dev/null", "device or pipe"),
        (Path("/proc/self/mem"), "can't be read"),
    ],
)
def test_what_is_refused(store: ArtifactStore, source: object, message: str) -> None:
    with pytest.raises(ArtifactError, match=message) as caught:
        saved(store, source)
    assert str(caught.value).startswith("artifact 'x': ")
    assert len(str(caught.value).splitlines()) == 1
    assert list(store.list("")) == []


def test_loops_are_refused(store: ArtifactStore) -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(ArtifactError, match="Circular"):
        saved(store, loop)


def test_scalars_of_numpy(store: ArtifactStore) -> None:
    assert load(saved(store, numpy.float32(0.5))) == 0.5
    assert load(saved(store, {"a": numpy.int64(3), "b": [numpy.bool_(True)]})) == {"a": 3, "b": [True]}


def test_an_artifact_needs_a_name(store: ArtifactStore) -> None:
    with pytest.raises(ArtifactError, match="needs a name"):
        saved(store, b"", name="")


def test_types_are_guessed_and_overridden(store: ArtifactStore, tmp_path: Path) -> None:
    table = tmp_path / "table.csv.gz"
    table.write_bytes(b"x")
    meta = saved(store, table)
    assert (meta.mimetype, meta.encoding) == ("text/csv", "gzip")
    meta = save(store, "s/t", "x", table, mimetype="application/x-mine", encoding="br")
    assert (meta.mimetype, meta.encoding) == ("application/x-mine", "br")
    odd = tmp_path / "data:text"
    odd.write_bytes(b"x")
    assert saved(store, odd).mimetype == "application/octet-stream"


def test_a_folder_whole(store: ArtifactStore, tmp_path: Path) -> None:
    folder = tmp_path / "out" / "run.1"
    (folder / "deep" / "empty").mkdir(parents=True)
    (folder / "deep" / "a.txt").write_text("a")
    (folder / "ü").write_text("old")
    os.utime(folder / "ü", (0, 0))  # before what a .zip can say
    os.mkfifo(folder / "pipe")
    (folder / "deep" / "loop").symlink_to(folder)
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "b").write_text("b")
    (folder / "link").symlink_to(tmp_path / "linked")
    meta = saved(store, folder)
    assert (meta.kind, meta.filename, meta.mimetype) == ("folder", "run.1.zip", "application/zip")
    path = load(meta)
    with zipfile.ZipFile(path) as archive:
        assert sorted(archive.namelist()) == ["deep/a.txt", "deep/empty/", "link/b", "ü"]
        assert archive.read("link/b") == b"b"


def test_the_current_folder_has_a_name(
    store: ArtifactStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here" / "deep").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here" / "deep")
    assert saved(store, ".").filename == "deep.zip"
    assert saved(store, "..").filename == "here.zip"


def test_a_name_that_no_archive_can_hold(store: ArtifactStore, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with open(os.fsencode(tmp_path / "folder") + b"/\xff", "wb"):
        pass
    with pytest.raises(ArtifactError, match="can't be archived"):
        saved(store, tmp_path / "folder")


def test_tables(store: ArtifactStore) -> None:
    table = pandas.DataFrame({"a": [1, 2], "b": [0.5, None]}, index=["x", "y"])
    meta = saved(store, table)
    assert (meta.kind, meta.filename, meta.mimetype, meta.encoding) == (
        "dataframe",
        "x.csv.gz",
        "text/csv",
        "gzip",
    )
    pandas.testing.assert_frame_equal(load(meta), table)


def test_figures(store: ArtifactStore) -> None:
    figure = matplotlib.figure.Figure()
    figure.add_subplot().plot([1, 2, 3])
    meta = saved(store, figure)
    assert (meta.kind, meta.filename, meta.mimetype) == ("figure", "x.png", "image/png")
    assert load(meta).read_bytes().startswith(b"\x89PNG")


def test_images(store: ArtifactStore) -> None:
    meta = saved(store, Image.new("RGB", (3, 2), "red"))
    assert (meta.kind, meta.filename, meta.mimetype) == ("image", "x.png", "image/png")
    image = load(meta)
    assert (image.size, image.getpixel((0, 0))) == ((3, 2), (255, 0, 0))
    with pytest.raises(ArtifactError, match="cannot write mode CMYK"):
        saved(store, Image.new("CMYK", (1, 1)))


def test_plotly_figures(store: ArtifactStore) -> None:
    meta = saved(store, plotly.graph_objects.Figure(plotly.graph_objects.Bar(y=[1, 3])))
    assert (meta.kind, meta.filename) == ("plotly", "x.plotly.json")
    assert meta.mimetype == "application/vnd.plotly.v1+json"
    assert load(meta)["data"][0]["y"]


def test_a_target_that_appears_meanwhile_is_kept(
    store: ArtifactStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meta = saved(store, b"bytes")
    get = store.get_file
    target = tmp_path / "target"

    def slow_get(key: str, path: Path, *hasher: Any) -> None:
        get(key, path, *hasher)
        target.write_text("somebody else's")

    monkeypatch.setattr(store, "get_file", slow_get)
    with pytest.raises(ArtifactError, match="--force"):
        fetch(meta, target, store=store)
    assert target.read_text() == "somebody else's"
    assert {path.name for path in tmp_path.iterdir()} == {"store", "target"}


def test_a_folder_in_the_place_of_the_target(store: ArtifactStore, tmp_path: Path) -> None:
    meta = saved(store, b"bytes")
    (tmp_path / "out" / meta.filename).mkdir(parents=True)
    with pytest.raises(ArtifactError, match="Is a directory"):
        fetch(meta, tmp_path / "out", overwrite=True)
    assert [path.name for path in (tmp_path / "out").iterdir()] == [meta.filename]


def test_a_file_in_the_place_of_the_folder(store: ArtifactStore, tmp_path: Path) -> None:
    meta = saved(store, b"bytes")
    (tmp_path / "file").touch()
    for target in (tmp_path / "file" / "x", tmp_path / "file" / "deep" / "x"):
        with pytest.raises(ArtifactError, match="Not a directory"):
            fetch(meta, target)


def test_replacing_leaves_nothing_when_it_fails(tmp_path: Path) -> None:
    def interrupted() -> None:
        with replacing(tmp_path / "a" / "b" / "c") as partial:
            partial.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_unfinished_files_are_not_listed(store: ArtifactStore, tmp_path: Path) -> None:
    meta = save(store, "s/t", "x", b"bytes")
    with replacing(tmp_path / "store" / "s" / "t" / "y") as partial:
        partial.write_text("half")
        assert list(store.list("")) == [meta.key]
    assert sorted(store.list("")) == sorted([meta.key, "s/t/y"])


def test_puts_and_deletes_in_the_same_folder(store: ArtifactStore, tmp_path: Path) -> None:
    """A delete takes empty folders along; a put that is about to write into one must not notice."""
    source = tmp_path / "source"
    source.write_bytes(b"bytes")
    errors: list[BaseException] = []

    def work(mine: str) -> None:
        try:
            for _ in range(100):
                store.put_file(f"s/t/{mine}", source, None)
                store.delete(f"s/t/{mine}")
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(str(number),)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    assert list(store.list("")) == []
