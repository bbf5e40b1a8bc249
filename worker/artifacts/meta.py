"""The description of an artifact, as it stands in its task's record."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields

from worker.protocol.errors import NewerRecord, RecordError

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class ArtifactMeta:
    """Where an artifact is and what it is. Holds no credentials."""

    artifact_id: str
    """UUID, also its name in Optuna's terms."""
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

    def to_json(self) -> str:
        return json.dumps({"v": VERSION, **asdict(self)}, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> ArtifactMeta:
        """Raises `NewerRecord` or `RecordError`, which names the field."""
        try:
            data = json.loads(text)
            version = data.pop("v")
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise RecordError(f"artifact description is malformed: {text!r:.80}") from error
        if version != VERSION:
            raise NewerRecord(f"artifact description: version {version} is not known; upgrade optuna-rq here")
        for field in fields(cls):
            wanted = {"int": int, "str": str}.get(str(field.type), (str, type(None)))
            if field.name not in data or not isinstance(data[field.name], wanted):
                raise RecordError(f"artifact description: field {field.name!r} is missing or malformed")
        return cls(**{field.name: data[field.name] for field in fields(cls)})
