"""What a person or an objective asks of a running study: stop, pause, resume, finish, or another budget."""

from __future__ import annotations

from controller.loop.changes import EditedBudget, GivenConfigurations
from controller.loop.context import LoopContext
from controller.loop.progress import StudyProgress
from worker.protocol import StudyState
from worker.protocol.study_log import LogKind


class Control:
    """Carries out the requests that arrive through Redis. Used by the loop's thread only."""

    def __init__(
        self,
        context: LoopContext,
        progress: StudyProgress,
    ) -> None:
        self._store = context.backend.store
        self._state = context.state
        self._requests = context.requests
        self._progress = progress
        self._observer = context.observer
        self._edits = EditedBudget(context)
        self._given = GivenConfigurations(context)

    def begin(self) -> None:
        """Apply what was changed before, and what was asked of this controller while it stood by."""
        self._edits.begin()
        self.take()

    def take(self) -> None:
        """Carry out what waits in Redis: a request, edits of the budget, configurations."""
        self._edits.look()
        self._given.look()
        request = self._store.studies.take_request(self._state.study)
        if request == "stop":
            self._requests.stop()
        elif request == "finish":
            self._requests.finish = True
        elif request in ("pause", "resume"):
            self._pause(request == "pause")

    def _pause(self, paused: bool) -> None:
        self._requests.paused = paused
        self._state.status = StudyState.PAUSED if paused else StudyState.RUNNING
        if paused:
            self._observer.remark(LogKind.PAUSE, "paused: what runs goes on")
        else:
            self._observer.remark(LogKind.RESUME, "resumed")
        self._progress.save()
