"""What is shown of artifacts: by kind, content type and name, and only their beginnings."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
from typing import Any

import pytest

from controller.results.artifact_shown import (
    CELL_CHARS,
    COLUMNS,
    FIGURE_BYTES,
    ROWS,
    TEXT_BYTES,
    NotShown,
    Shown,
    TableShown,
    TextShown,
    image_type,
    read_figure,
    read_shown,
    read_text,
    shown_as,
)
from controller.results.artifacts import Listed
from worker.artifacts import ArtifactMeta, StoredObject


def listed(filename: str, mimetype: str = "", encoding: str | None = None, kind: str = "file") -> Listed:
    identifier = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
    meta = ArtifactMeta(
        artifact_id=identifier, name="n", filename=filename, mimetype=mimetype, encoding=encoding, size=1,
        sha256="0" * 64, url="u", store="s", key="k", kind=kind, created_at="2026-01-01T00:00:00+00:00",
    )  # fmt: skip
    return Listed(
        owner="t", name="n", artifact_id=identifier, filename=filename, mimetype=mimetype, encoding=encoding, meta=meta
    )  # fmt: skip


def stored(data: bytes) -> StoredObject:
    return StoredObject(
        name="here",
        size=len(data),
        reader=lambda first, last: io.BytesIO(data[first : last + 1]),
        refusals=contextlib.nullcontext,
    )


KINDS: list[tuple[Listed, Shown]] = [
    (listed("a.png", "image/png"), Shown.IMAGE),
    (listed("a", "image/svg+xml"), Shown.IMAGE),
    (listed("a.JPG", "application/octet-stream"), Shown.IMAGE),
    (listed("a.png", "text/html"), Shown.HTML),  # what it is said to be counts, not its name
    (listed("a.svgz", "image/svg+xml", "gzip"), Shown.NOTHING),
    (listed("a.bmp", "image/bmp"), Shown.NOTHING),
    (listed("a.csv", "text/csv"), Shown.TABLE),
    (listed("a.csv.gz", "text/csv", "gzip", "dataframe"), Shown.TABLE),
    (listed("a.tsv", "text/tab-separated-values"), Shown.TABLE),
    (listed("a.jsonl", "application/octet-stream"), Shown.TABLE),
    (listed("a.csv.xz", "text/csv", "xz"), Shown.NOTHING),
    (listed("a.parquet", "application/octet-stream"), Shown.NOTHING),
    (listed("a.json", "application/json"), Shown.TEXT),
    (listed("a.plotly.json", "application/json"), Shown.PLOT),
    (listed("a.json", "application/vnd.plotly.v1+json"), Shown.PLOT),
    (listed("a.html", "text/html; charset=utf-8"), Shown.HTML),
    (listed("train.py", "text/x-python"), Shown.TEXT),
    (listed("a.log", "application/octet-stream"), Shown.TEXT),
    (listed("model.pt", "application/octet-stream"), Shown.NOTHING),
    (listed("a.js", "text/javascript"), Shown.TEXT),
    (listed("a.pdf", "application/pdf"), Shown.NOTHING),
]


@pytest.mark.parametrize(("one", "how"), KINDS, ids=lambda value: getattr(value, "filename", ""))
def test_how_it_is_shown(one: Listed, how: Shown) -> None:
    assert shown_as(one) is how
    assert (image_type(one) is not None) == (how is Shown.IMAGE)


def test_text_has_an_end_and_is_text() -> None:
    assert read_text(stored("zwölf".encode()), listed("a.txt")) == TextShown(text="zwölf", is_whole=True)
    long = read_text(stored(b"x" * (TEXT_BYTES + 1)), listed("a.txt"))
    assert (len(long.text), long.is_whole) == (TEXT_BYTES, False)
    assert read_text(stored("ä".encode("utf-16")), listed("a.txt")).text == "ä"
    assert read_text(stored(b"\xff\xfe\xfd"[1:]), listed("a.txt")).text == "\ufffd\ufffd"
    with pytest.raises(NotShown, match="isn't text"):
        read_text(stored(b"PK\x03\x04\x00"), listed("a.txt"))


def test_a_bomb_is_not_unpacked() -> None:
    bomb = gzip.compress(bytes(200 << 20))
    packed = stored(bomb)
    assert len(bomb) < 1 << 20
    with pytest.raises(NotShown, match="isn't text"):
        read_text(packed, listed("a.txt.gz", encoding="gzip"))
    long = read_text(stored(gzip.compress(b"x" * 10_000_000)), listed("a.txt.gz", encoding="gzip"))
    assert (len(long.text), long.is_whole) == (TEXT_BYTES, False)
    with pytest.raises(NotShown, match="unpacked"):
        read_text(stored(b"no gzip"), listed("a.txt.gz", encoding="gzip"))


def table(name: str, data: bytes, **about: Any) -> TableShown:
    found = read_shown(stored(data), listed(name, **about))
    assert isinstance(found, TableShown)
    return found


def test_tables() -> None:
    expected = TableShown(columns=["a", "b"], rows=[["1", "x, y"], ["2", ""]], is_whole=True)
    assert table("t.csv", b'a,b\n1,"x, y"\n2\n') == expected
    assert table("t.tsv", b"a\tb\n1\tx, y\n2\t\n") == expected
    assert table("t.csv.gz", gzip.compress(b'a,b\n1,"x, y"\n2\n'), encoding="gzip") == expected
    objects: list[dict[str, Any]] = [{"a": 1, "b": "x, y"}, {"a": 2}]
    assert table("t.jsonl", "\n".join(map(json.dumps, objects)).encode()) == expected
    assert table("t.json", json.dumps(objects).encode()) == expected
    assert table("t.csv", b"").rows == []


def test_large_tables_have_an_end() -> None:
    long = table("t.csv", b"a,b\n" + b"1,2\n" * 500_000)
    assert (len(long.rows), long.is_whole) == (ROWS, False)
    wide = table("t.csv", b",".join([b"x" * 5000] * 100) + b"\n")
    assert (len(wide.columns), len(wide.columns[0]), wide.is_whole) == (COLUMNS, CELL_CHARS + 1, False)
    # The last line that was read may be half a line.
    half = table("t.csv", b"a\n" + (b"x" * 9_999 + b"\n") * 110)
    assert (len(half.rows), half.is_whole) == (104, False)
    assert {len(row[0]) for row in half.rows} == {CELL_CHARS + 1}


def test_what_is_no_table_is_text() -> None:
    found = read_shown(stored(b'{"a": [1, NaN]}'), listed("a.json"))
    assert found == TextShown(text='{\n  "a": [\n    1,\n    null\n  ]\n}', is_whole=True)
    for data in (b"[1, 2]", b"[" * 100_000, b"{", b'"x"'):
        assert isinstance(read_shown(stored(data), listed("a.json")), TextShown)
    assert isinstance(read_shown(stored(b"no json\n"), listed("a.jsonl")), TextShown)
    assert isinstance(read_shown(stored(b'"' + b"x" * 200_000), listed("a.csv")), TextShown)


def test_plots() -> None:
    figure = {"data": [{"y": [1, 2]}], "layout": {"title": "t"}, "config": {"x": 1}}
    assert read_figure(stored(json.dumps(figure).encode()), listed("a.plotly.json")) == {
        "data": [{"y": [1, 2]}],
        "layout": {"title": "t"},
    }
    assert read_figure(stored(b'{"data": [{"y": [NaN]}]}'), listed("a")) == {
        "data": [{"y": [None]}],
        "layout": {},
    }
    for data, why in (
        (b"[]", "no plot"),
        (b'{"data": 3}', "no plot"),
        (b"{", "JSON"),
        (b" " * (FIGURE_BYTES + 1), "larger than 8 MiB"),
    ):
        with pytest.raises(NotShown, match=why):
            read_figure(stored(data), listed("a"))
