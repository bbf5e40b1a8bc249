"""The workers of a queue, as far as launching depends on them."""

from __future__ import annotations

from worker.protocol.host import held, is_gone, machine_fault, takes_jobs
from worker.protocol.store import Store

LOOK_S = 2.0
"""Between two looks at the workers, in seconds."""
MOST_SLOTS = 20_000
"""Slots that are counted: workers say themselves how many they have."""
MOST_TOLD = 1000
"""Refusals that are told."""


class Fleet:
    """How many slots serve a queue. Looked at now and then, not for every job."""

    def __init__(self, store: Store, queue: str) -> None:
        self._store = store
        self.queue = queue
        self.slots = 0
        """Slots of the queue's live workers at the last look."""
        self.workers: list[str] = []
        self.refusals: dict[str, str] = {}
        """Worker → why it has refused a job last."""
        self.faults: dict[str, str] = {}
        """Worker → which fault of its machine's keeps it from taking jobs now."""
        self.empty_since: float | None = None
        """Monotonic time since when the queue has had no worker; None while it has one."""
        self._next = 0.0
        self._told: set[tuple[str, str]] = set()
        self._expected = 0

    def expect(self, slots: int) -> None:
        """So many slots of our own are on their way; they count until the first look finds some."""
        self._expected = slots

    def look(self, now: float) -> None:
        """Count again, if it is time."""
        if now < self._next:
            return
        self._next = now + LOOK_S
        alive = []
        for registration in self._store.workers.list(self.queue):
            # A registration outlives its worker for seconds: a controller that starts must not count it.
            if is_gone(registration.get("place", ""), registration.get("pid", "")):
                self._store.workers.forget(registration["name"])
            else:
                alive.append(registration)
        self.workers = [registration["name"] for registration in alive]
        self.refusals = {
            registration["name"]: registration["refused"]
            for registration in alive
            if registration.get("refused")
        }
        moment = self._store.clock.now()
        found = {each["name"]: machine_fault(each, moment) for each in alive}
        self.faults = {name: fault for name, fault in found.items() if fault}
        slots = sum(
            int(registration.get("slots", 0)) for registration in alive if takes_jobs(registration, moment)
        )
        self.slots = min(slots, MOST_SLOTS)
        if self.slots or self.faults or any(held(each) for each in alive):
            self.empty_since = None
        elif self.empty_since is None:
            self.empty_since = now
        # A fleet that comes up is noticed soon.
        if not self.slots:
            self._next = now + 0.5

    def new_refusals(self) -> list[str]:
        """What workers have refused that was not told before, a line each."""
        found = []
        for worker, why in self.refusals.items():
            # The job's id differs each time.
            said = (worker, why.partition(": ")[2])
            if said not in self._told and len(self._told) < MOST_TOLD:
                self._told.add(said)
                found.append(f"worker {worker} refuses jobs: {why}")
        return found

    @property
    def all_ill(self) -> bool:
        """Whether the machine of each worker has a fault."""
        return bool(self.workers) and len(self.faults) == len(self.workers)

    def target(self, *, ahead: bool) -> int:
        """How many jobs to have launched when nothing limits them: every slot busy, and a few in wait.

        Args:
            ahead: whether asking early costs the sampler nothing. If it does, a single slot gets its
                next parameters only when its last result is known.
        """
        slots = self.slots or self._expected
        if ahead:
            return slots + 2 + slots // 16
        return slots + (1 + slots // 16 if slots > 1 else 0) if slots else 1
