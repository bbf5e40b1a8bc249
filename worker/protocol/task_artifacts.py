"""Artifacts as tasks and studies list them: name → description as JSON text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from worker.protocol import keys
from worker.protocol.attempt_guard import change_in_attempt
from worker.protocol.connection import hashes

MAX_ARTIFACTS = 10_000
"""Artifacts of one task that are read."""


def listed(found: Mapping[str, str]) -> dict[str, str]:
    """A task's artifacts in the order of their names, at most `MAX_ARTIFACTS`."""
    return dict(sorted(found.items())[:MAX_ARTIFACTS])


class TaskArtifacts:
    """Lists artifacts; their bytes are elsewhere. Thread-safe as far as the client is."""

    def __init__(self, client: Any) -> None:
        self._redis = client

    def of_task(self, task_id: str) -> dict[str, str]:
        """Artifact name → its description as JSON text."""
        return listed(self._redis.hgetall(keys.artifacts(task_id)))

    def of_tasks(self, task_ids: Sequence[str]) -> list[dict[str, str]]:
        """For each task what `of_task` gives, in one round trip."""
        with self._redis.pipeline(transaction=False) as pipe:
            for task_id in task_ids:
                pipe.hgetall(keys.artifacts(task_id))
            return [listed(found) for found in hashes(pipe)]

    def add(self, task_id: str, attempt: int | None, name: str, meta: str) -> None:
        """List an artifact whose bytes are stored. A later one of the same name replaces it.

        Args:
            attempt: the writer's attempt; None for a caller outside a worker.
            meta: its description as JSON text.

        Raises:
            StaleAttempt: another attempt is current.
        """
        change_in_attempt(
            self._redis,
            task_id,
            attempt,
            "its artifact is",
            lambda pipe: pipe.hset(keys.artifacts(task_id), name, meta),
        )

    def remove(self, task_id: str, attempt: int | None, names: Sequence[str]) -> None:
        """Take artifacts off the task's list; the caller removes their bytes.

        Args:
            attempt: the writer's attempt; None for a caller outside a worker.

        Raises:
            StaleAttempt: another attempt is current.
        """
        change_in_attempt(
            self._redis,
            task_id,
            attempt,
            "its artifacts stay; the removal is",
            lambda pipe: pipe.hdel(keys.artifacts(task_id), *names),
        )

    def of_study(self, name: str) -> dict[str, str]:
        """Artifact name → its description as JSON text, of a study's own."""
        found: dict[str, str] = self._redis.hgetall(keys.study_artifacts(name))
        return dict(sorted(found.items()))

    def add_to_study(self, name: str, artifact: str, meta: str) -> None:
        """List an artifact of a study's own. A later one of the same name replaces it."""
        self._redis.hset(keys.study_artifacts(name), artifact, meta)

    def remove_from_study(self, name: str, artifact: str) -> None:
        """Take an artifact off a study's own list."""
        self._redis.hdel(keys.study_artifacts(name), artifact)

    def removed(self, name: str) -> set[str]:
        """Ids of a study's artifacts that were removed; Optuna may still link them."""
        return set(self._redis.smembers(keys.removed_artifacts(name)))

    def note_removed(self, name: str, artifact_id: str) -> None:
        """Remember that an artifact was removed, see `removed`."""
        self._redis.sadd(keys.removed_artifacts(name), artifact_id)
