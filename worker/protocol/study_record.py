"""The study record: what Redis holds of a study, frozen, versioned, parsed once where it is read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from worker.protocol.errors import RecordError
from worker.protocol.metrics import ObjectiveMetric
from worker.protocol.record import VERSION, check_version


class StudyState:
    """What a study is doing, as `controller status` shows it."""

    RUNNING = "running"
    PAUSED = "paused"
    INTERRUPTED = "interrupted"
    """Its controller was stopped; `controller start` continues it."""
    COMPLETED = "completed"
    """It ended within its budgets."""
    STOPPED = "stopped"
    """A person ended it."""
    FAILED = "failed"


_SINCE = (
    "budget_since",
    "artifact_stores",
    "copied_from",
    "signed",
    "judged_from",
    "environment",
    "course",
    "forecast",
)
"""Fields of a study's record that it may lack: earlier versions did not have them."""


@dataclass(frozen=True, kw_only=True)
class StudyRecord:
    """What everyone who asks about a study needs to know, also when its controller is gone."""

    name: str
    created_at: float
    metrics: tuple[ObjectiveMetric, ...]
    queue: str = "default"
    storage: str = ""
    """Optuna's storage, without credentials."""
    artifacts: str = ""
    """URL of the artifact store, without credentials."""
    artifact_stores: tuple[str, ...] = ()
    """URLs of the stores that it had before: its earlier artifacts are there."""
    copied_from: str = ""
    """Name of the study that it was imported from under another name: artifacts of then are that one's."""
    fingerprint: str = ""
    """Of the search space and the objectives; a different one is a different study."""
    sweep: dict[str, Any] = field(default_factory=dict)
    base_task: str = ""
    """The base task that was made for this study, and goes with it."""
    state: str = StudyState.RUNNING
    reason: str = ""
    ended_at: float | None = None
    controller: str = ""
    """``host:pid`` of the controller that acts, or acted last."""
    budget: dict[str, Any] = field(default_factory=dict)
    """Used, reserved and limit of every budget, as the controller last saw them."""
    course: dict[str, Any] = field(default_factory=dict)
    """How long ago the best result came, as the controller last saw it; empty where an older one ran it.

    ``ended`` trials in all, ``since`` the best one, of which ``failed`` so many; the ``best`` value and its
    ``trial``."""
    budget_since: float = 0.0
    """Tasks created before this moment don't count: the study was continued with its own budget."""
    signed: bool = False
    """Its controllers sign: base tasks that they take have seals."""
    judged_from: int = 0
    """Number of the trial that counts as the study's first, of which not all may fail alike."""
    environment: dict[str, Any] = field(default_factory=dict)
    """What has run it: ``versions`` (program → version) of its controller, ``workers`` (name → host, slots,
    version, GPUs) as they were last seen at its end."""
    forecast: dict[str, Any] = field(default_factory=dict)
    """When it ends and what it costs, as its controller foresaw last; empty before it can."""

    def encode(self) -> dict[str, str | int]:
        data: dict[str, str | int] = {"v": VERSION}
        for f in fields(self):
            value = getattr(self, f.name)
            if f.name == "metrics":
                value = [metric.to_dict() for metric in value]
            data[f.name] = value if isinstance(value, str) else json.dumps(value)
        return data

    @classmethod
    def decode(cls, data: Mapping[str, str]) -> StudyRecord:
        """Parse a Redis hash. Raises `NewerRecord` or `RecordError`, which names the field."""
        check_version(data, "study record")
        name = data.get("name", "?")
        try:
            known: dict[str, Any] = {}
            for f in fields(cls):
                if f.name not in data and f.name in _SINCE:
                    continue
                text = data[f.name]
                known[f.name] = text if f.type == "str" else json.loads(text)
            known["metrics"] = tuple(ObjectiveMetric.from_dict(metric) for metric in known["metrics"])
            known["artifact_stores"] = tuple(str(url) for url in known.get("artifact_stores", ()))
            return cls(**known)
        except KeyError as error:
            raise RecordError(f"study record {name}: field {error} is missing") from error
        except (ValueError, TypeError) as error:
            raise RecordError(f"study record {name}: {error}") from error
