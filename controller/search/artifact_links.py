"""Links from trials and studies to artifacts, as Optuna keeps them in system attributes."""

from __future__ import annotations

import json

from worker.artifacts import ArtifactMeta

LINK = "artifacts:"
"""Begins the names of the attributes."""


def link_text(meta: ArtifactMeta) -> str:
    """An artifact's description as Optuna keeps it."""
    return json.dumps(
        {
            "artifact_id": meta.artifact_id,
            "filename": meta.filename,
            "mimetype": meta.mimetype,
            "encoding": meta.encoding,
        }
    )
