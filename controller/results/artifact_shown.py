"""What a page shows of an artifact: an image, a table, a plot, text or a page; only its beginning is read.

What an artifact is said to be was written by a worker. It chooses among the few ways to show bytes, and never
becomes the type that a browser is told.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from controller.results.artifacts import Listed
from worker.artifacts import StoredObject

TEXT_BYTES = 256 << 10
"""Of a text that are shown."""
TABLE_BYTES = 1 << 20
"""Of a table that are read."""
FIGURE_BYTES = 8 << 20
"""Longest plot that is drawn."""
ROWS, COLUMNS, CELL_CHARS = 200, 60, 300


class Shown(str, Enum):
    """How an artifact is shown."""

    IMAGE = "image"
    TABLE = "table"
    PLOT = "plot"
    TEXT = "text"
    HTML = "html"
    NOTHING = "nothing"
    """It can only be downloaded."""


IMAGES = {
    "image/png": (".png",),
    "image/jpeg": (".jpg", ".jpeg"),
    "image/gif": (".gif",),
    "image/webp": (".webp",),
    "image/svg+xml": (".svg",),
}
"""Content type → extensions of the images that are shown."""

_TABLES = {"text/csv": ",", "text/tab-separated-values": "\t"}
_TABLE_ENDINGS = {".csv": ",", ".tsv": "\t"}
_LINES = (".jsonl", ".ndjson")
_TEXT_TYPES = (
    "application/json",
    "application/xml",
    "application/x-yaml",
    "application/toml",
    "application/x-sh",
)
_TEXT_ENDINGS = (".txt", ".log", ".md", ".json", ".yaml", ".yml", ".toml", ".ini", ".cfg", ".py", ".xml",
                 ".sh", ".rst", ".tex", ".diff", ".patch", *_LINES)  # fmt: skip
_PLOTLY = "application/vnd.plotly.v1+json"


def shown_as(listed: Listed) -> Shown:
    """How an artifact is shown, by its kind, content type and file name."""
    kind, mimetype, ending = listed.meta.kind if listed.meta else "file", _type(listed), ending_of(listed)
    if listed.encoding not in (None, "", "gzip"):
        return Shown.NOTHING
    if kind == "plotly" or mimetype == _PLOTLY or listed.filename.lower().endswith(".plotly.json"):
        return Shown.PLOT
    if image_type(listed):
        return Shown.IMAGE
    if mimetype in _TABLES or ending in _TABLE_ENDINGS or ending in _LINES:
        return Shown.TABLE
    if mimetype in ("text/html", "application/xhtml+xml") or ending in (".html", ".htm"):
        return Shown.HTML
    if mimetype.startswith("text/") or mimetype in _TEXT_TYPES or ending in _TEXT_ENDINGS:
        return Shown.TEXT
    return Shown.NOTHING


def image_type(listed: Listed) -> str | None:
    """The content type by which an image is sent; None for what is no image, or is packed."""
    if listed.encoding:
        return None
    mimetype, ending = _type(listed), ending_of(listed)
    for known, endings in IMAGES.items():
        if mimetype == known or (ending in endings and mimetype in ("", "application/octet-stream")):
            return known
    return None


def ending_of(listed: Listed) -> str:
    """The extension of its file name, in small letters and without that of its packing."""
    name = listed.filename.lower()
    if listed.encoding == "gzip":
        name = name.removesuffix(".gz")
    dot = name.rfind(".")
    return name[dot:] if dot > 0 else ""


def _type(listed: Listed) -> str:
    return listed.mimetype.partition(";")[0].strip().lower()


@dataclass(frozen=True, kw_only=True)
class TextShown:
    """The beginning of a text."""

    text: str
    is_whole: bool


@dataclass(frozen=True, kw_only=True)
class TableShown:
    """The beginning of a table."""

    columns: list[str]
    rows: list[list[str]]
    is_whole: bool


class NotShown(Exception):
    """It can't be shown as what it is said to be; the message says why."""


def read_text(stored: StoredObject, listed: Listed, most: int = TEXT_BYTES) -> TextShown:
    """The beginning of a text. Raises `NotShown` for what is none, `ArtifactError`."""
    data, is_whole = _beginning(stored, listed, most)
    text = _decoded(data)
    if "\0" in text:
        raise NotShown("it isn't text")
    return TextShown(text=text, is_whole=is_whole)


def read_table(stored: StoredObject, listed: Listed) -> TableShown:
    """The beginning of a table: CSV, TSV, JSON lines, or a JSON list of objects.

    Raises `NotShown` for what is none, `ArtifactError`.
    """
    found = read_text(stored, listed, TABLE_BYTES)
    text = found.text
    ending, mimetype = ending_of(listed), _type(listed)
    if ending == ".json" or mimetype == "application/json":
        if not found.is_whole:
            raise NotShown("it is long")
        return _of_objects(_loads(text), is_whole=True)
    if not found.is_whole:
        text = text[: text.rfind("\n") + 1]
    if ending in _LINES:
        lines = [line for line in text.splitlines() if line.strip()]
        parsed = [_loads(line) for line in lines[: ROWS + 1]]
        return _of_objects(parsed, is_whole=found.is_whole)
    delimiter = _TABLE_ENDINGS.get(ending) or _TABLES.get(mimetype) or ","
    rows: list[list[str]] = []
    try:
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter):
            rows.append(row)
            if len(rows) > ROWS + 1:
                break
    except csv.Error as error:
        raise NotShown(f"it can't be read as a table: {error}") from error
    header, *body = rows or [[]]
    width = min(COLUMNS, max(map(len, rows), default=0))
    return TableShown(
        columns=_row(header, width),
        rows=[_row(row, width) for row in body[:ROWS]],
        is_whole=found.is_whole and len(body) <= ROWS and max(map(len, rows), default=0) <= COLUMNS,
    )


def read_shown(stored: StoredObject, listed: Listed) -> TextShown | TableShown:
    """A table, if it is one; JSON in lines; any other text as it is. Raises `NotShown`, `ArtifactError`."""
    is_json = ending_of(listed) == ".json" or _type(listed) == "application/json"
    if is_json or shown_as(listed) is Shown.TABLE:
        with contextlib.suppress(NotShown):
            return read_table(stored, listed)
    found = read_text(stored, listed)
    if is_json and found.is_whole:
        with contextlib.suppress(NotShown):
            return replace(found, text=json.dumps(_loads(found.text), indent=2, ensure_ascii=False))
    return found


def read_figure(stored: StoredObject, listed: Listed) -> dict[str, Any]:
    """A plot of Plotly's as strict JSON: ``data`` and ``layout``. Raises `NotShown`, `ArtifactError`."""
    data, is_whole = _beginning(stored, listed, FIGURE_BYTES)
    if not is_whole:
        raise NotShown(f"it is larger than {FIGURE_BYTES >> 20} MiB; download it")
    figure = _loads(_decoded(data))
    if not isinstance(figure, Mapping) or not isinstance(figure.get("data"), list):
        raise NotShown("it is no plot of Plotly's: it has no list of data")
    layout = figure.get("layout")
    return {"data": figure["data"], "layout": layout if isinstance(layout, Mapping) else {}}


def _beginning(stored: StoredObject, listed: Listed, most: int) -> tuple[bytes, bool]:
    """The first bytes, unpacked, and whether they are all. Raises `NotShown`, `ArtifactError`."""
    if listed.encoding != "gzip":
        return stored.beginning(most), stored.size <= most
    parts, size = [], 0
    unpacker = zlib.decompressobj(wbits=31)
    try:
        for chunk in stored.chunks():
            part = unpacker.decompress(chunk, most + 1 - size)  # never more: a small file may hold gigabytes
            parts.append(part)
            size += len(part)
            if size > most or unpacker.eof:
                break
    except zlib.error as error:
        raise NotShown(f"it can't be unpacked: {error}") from error
    return b"".join(parts)[:most], size <= most


def _decoded(data: bytes) -> str:
    for bom, encoding in ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"), (b"\xef\xbb\xbf", "utf-8-sig")):
        if data.startswith(bom):
            return data.decode(encoding, "replace")
    return data.decode("utf-8", "replace")


def _loads(text: str) -> Any:
    """JSON with null for what JSON doesn't have. Raises `NotShown`."""
    try:
        return json.loads(text, parse_constant=lambda name: None)
    except (ValueError, RecursionError) as error:
        raise NotShown(f"it can't be read as JSON: {error}") from error


def _of_objects(found: Any, *, is_whole: bool) -> TableShown:
    """A list of objects as a table. Raises `NotShown`."""
    if not isinstance(found, list) or not found or not all(isinstance(row, Mapping) for row in found):
        raise NotShown("it is no list of objects")
    columns = list(dict.fromkeys(str(name) for row in found[:ROWS] for name in row))
    kept = columns[:COLUMNS]
    return TableShown(
        columns=_row(kept, len(kept)),
        rows=[[_cell(row[name]) if name in row else "" for name in kept] for row in found[:ROWS]],
        is_whole=is_whole and len(found) <= ROWS and len(columns) <= COLUMNS,
    )


def _row(cells: Sequence[str], width: int) -> list[str]:
    short = [_cell(cell) for cell in cells[:width]]
    return short + [""] * (width - len(short))


def _cell(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= CELL_CHARS else f"{text[:CELL_CHARS]}…"
