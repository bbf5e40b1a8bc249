"""The store: the one way to what stands in Redis, in parts by what each of them guards.

A part owns nothing but its client, which threads may share. Every write that concerns a running task carries
the attempt it speaks for, and is applied in one transaction that fails when the task has moved on in between
(`worker.protocol.transaction`). Every write may be repeated without harm, because a connection that breaks
during EXEC leaves the caller not knowing.

No Lua: a worker's Redis user needs neither EVAL nor SCRIPT.
"""

from __future__ import annotations

from typing import Any

from worker.protocol.clock import Clock
from worker.protocol.confirmations import Confirmations
from worker.protocol.event_stream import EventStream
from worker.protocol.labels import Labels
from worker.protocol.logs import Logs
from worker.protocol.overruling import Overruling
from worker.protocol.ranking_index import RankingIndex
from worker.protocol.recorded_surroundings import SurroundingsRecords
from worker.protocol.redis_time import RedisTime
from worker.protocol.reports import Reports
from worker.protocol.studies import Studies
from worker.protocol.study_changes import StudyChanges
from worker.protocol.study_log import StudyLog
from worker.protocol.task_artifacts import TaskArtifacts
from worker.protocol.task_records import TaskRecords
from worker.protocol.transitions import Transitions
from worker.protocol.worker_registry import WorkerRegistry


class Store:
    """The parts of the store, over one client.

    Args:
        client: a redis-py client with ``decode_responses=True`` (see `connection.connect`).
        clock: for tests; by default Redis' own, so that all machines' stamps can be compared.
    """

    def __init__(self, client: Any, clock: Clock | None = None) -> None:
        self.redis = client
        self.clock: Clock = clock or RedisTime(client)
        self.artifacts = TaskArtifacts(client)
        self.logs = Logs(client)
        self.reports = Reports(client, self.artifacts)
        self.tasks = TaskRecords(client)
        self.transitions = Transitions(client, self.clock, self.tasks, self.reports)
        self.labels = Labels(client, self.clock)
        self.overruling = Overruling(client)
        self.studies = Studies(client)
        self.study_log = StudyLog(client)
        self.confirmations = Confirmations(client)
        self.changes = StudyChanges(client)
        self.ranking = RankingIndex(client)
        self.events = EventStream(client)
        self.surroundings = SurroundingsRecords(client)
        self.workers = WorkerRegistry(client)
