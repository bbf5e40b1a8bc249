"""The description of an artifact in its task's record."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timedelta

from worker.protocol.bounds import MAX_NUMBER
from worker.protocol.errors import NewerRecord, RecordError

VERSION = 1

MAX_DESCRIPTION = 16 << 20
"""Longest description that is accepted, in characters: that of a checkpoint holds all metrics."""
MAX_TEXT = 16 << 10
"""Longest text in it."""
MAX_SHORT = 1 << 10
"""Longest file name, type and encoding: a database keeps them, too."""


@dataclass(frozen=True, kw_only=True)
class ArtifactMeta:
    """Where an artifact is and what it is. Holds no credentials."""

    artifact_id: str
    """UUID (version 4), also its name in Optuna's terms."""
    name: str
    """As the program named it."""
    filename: str
    """A safe file name for a copy of it."""
    mimetype: str
    encoding: str | None
    """As in a Content-Encoding header, e.g. ``gzip``."""
    size: int
    """Bytes."""
    sha256: str
    """Of the stored bytes, hexadecimal."""
    url: str
    """Of the stored object."""
    store: str
    """URL of the store that it was put into."""
    key: str
    """Within the store."""
    kind: str
    """What it was made from, see `worker.artifacts.content`."""
    created_at: str
    """ISO 8601, UTC."""
    blake3: str | None = None
    """Of the stored bytes, hexadecimal; None where nobody worked it out."""

    def to_json(self) -> str:
        return json.dumps({"v": VERSION, **asdict(self)}, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> ArtifactMeta:
        """Read what `to_json` wrote; fields that are not known are passed over.

        Raises:
            NewerRecord: a newer optuna-rq wrote it.
            RecordError: it is malformed; the message names the field.
        """
        try:
            if len(text) > MAX_DESCRIPTION:
                raise ValueError("it is too long")
            data = json.loads(text)
        except (ValueError, TypeError, RecursionError) as error:
            raise RecordError(f"artifact description is malformed: {text!r:.80}") from error
        if not isinstance(data, dict):
            raise RecordError(f"artifact description is malformed: {text!r:.80}")
        version = data.get("v")
        if type(version) is not int or version < 1:
            raise _malformed("v")
        if version > VERSION:
            raise NewerRecord(f"artifact description: version {version} is not known; upgrade optuna-rq here")
        for name, is_valid in _VALID.items():
            if name not in data or not is_valid(data[name]):
                raise _malformed(name)
        if not (data.get("blake3") is None or _is_checksum(data["blake3"])):
            raise _malformed("blake3")
        return cls(**{field.name: data[field.name] for field in fields(cls) if field.name in data})


def _malformed(name: str) -> RecordError:
    return RecordError(f"artifact description: field {name!r} is missing or malformed")


def _is_text(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_TEXT


def _is_short(value: object) -> bool:
    return _is_text(value) and len(str(value)) <= MAX_SHORT


def _is_checksum(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None


def _is_uuid(value: object) -> bool:
    try:
        return isinstance(value, str) and str(uuid.UUID(value)) == value
    except ValueError:
        return False


def _is_utc(value: object) -> bool:
    try:
        return isinstance(value, str) and datetime.fromisoformat(value).utcoffset() == timedelta(0)
    except ValueError:
        return False


_VALID: dict[str, Callable[[object], bool]] = {
    "artifact_id": _is_uuid,
    "name": _is_text,
    "filename": _is_short,
    "mimetype": _is_short,
    "encoding": lambda value: value is None or _is_short(value),
    "size": lambda value: type(value) is int and 0 <= value <= MAX_NUMBER,
    "sha256": _is_checksum,
    "url": _is_text,
    "store": _is_text,
    "key": _is_text,
    "kind": _is_text,
    "created_at": _is_utc,
}
