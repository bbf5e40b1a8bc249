"""What a person or an objective asks of a running study: stop, pause, resume, finish."""

from __future__ import annotations

from controller.loop.context import LoopContext
from controller.loop.progress import StudyProgress
from worker.protocol import StudyState


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

    def take(self) -> None:
        """Carry out the request that waits in Redis, if there is one."""
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
        self._observer.note("paused: what runs goes on" if paused else "resumed")
        self._progress.save()
