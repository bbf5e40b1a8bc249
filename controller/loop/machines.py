"""Faults of the workers' machines: where all have one, nothing is launched until one is well again."""

from __future__ import annotations

from controller.loop.fleet import Fleet
from controller.loop.observer import Observer
from controller.loop.state import LoopState, Requests
from worker.protocol import StudyState
from worker.protocol.study_log import LogKind


class Machines:
    """Follows the workers that take no jobs for a fault of their machines. Used by the loop's thread only."""

    def __init__(self, state: LoopState, requests: Requests, fleet: Fleet, observer: Observer) -> None:
        self._state = state
        self._requests = requests
        self._fleet = fleet
        self._observer = observer
        self._told: dict[str, str] = {}
        """Worker → its fault, as it was told."""

    def look(self) -> None:
        """Say what is new, and pause or resume the study."""
        self._tell()
        state, was_held = self._state, bool(self._state.held)
        state.held = self._why() if self._fleet.all_ill else ""
        if state.held:
            # Each time: a person may have asked for something else meanwhile.
            state.status, state.reason = StudyState.PAUSED, state.held
            if not was_held:
                self._observer.remark(LogKind.PAUSE, f"paused: {state.held}")
        elif was_held:
            state.status = StudyState.PAUSED if self._requests.paused else StudyState.RUNNING
            state.reason = ""
            self._observer.remark(LogKind.RESUME, "resumed: a worker takes jobs again")

    def _tell(self) -> None:
        faults = self._fleet.faults
        for worker, fault in faults.items():
            if worker not in self._told:
                self._observer.remark(
                    LogKind.QUARANTINE, f"worker {worker} takes no jobs until this is mended: {fault}"
                )
        for worker in self._told.keys() - faults.keys():
            if worker in self._fleet.workers:
                self._observer.remark(LogKind.QUARANTINE, f"worker {worker} takes jobs again")
        self._told = dict(faults)

    def _why(self) -> str:
        """One line: what the workers say, and what becomes of the study."""
        said = list(dict.fromkeys(self._fleet.faults.values()))
        which = "no worker can run anything"
        more = f" (and {len(said) - 1} more)" if len(said) > 1 else ""
        return f"{which}: {said[0]}{more}. Mend it; the study goes on by itself"
