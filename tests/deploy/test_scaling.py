"""How many workers KEDA starts, reckoned with the real manifest and the real number of launched jobs.

KEDA itself is not here: `Cluster` does what its executor of ScaledJobs does with strategy `default` and
`multipleScalersCalculation: sum` (kedacore/keda, pkg/scaling/executor/scale_jobs.go).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import pytest

from controller.loop.fleet import Fleet
from tests.deploy.manifests import named

START_S = 30
"""From a Job to a worker that takes tasks: a pod is placed, its image is there."""


def triggers() -> list[tuple[str, int]]:
    """Of the manifest: name, target."""
    return [
        (t["name"], int(t["metadata"]["listLength"]))
        for t in named("ScaledJob", "worker")["spec"]["triggers"]
    ]


@dataclass
class Cluster:
    """A study of long trials, and workers of one slot that KEDA starts. One step is one look of KEDA's."""

    max_workers: int
    max_concurrent: int | None
    ahead: bool
    triggers: list[tuple[str, int]]
    trials: int = 10_000
    period_s: int = 10
    now_s: int = 0
    starting: list[int] = field(default_factory=list)
    """When each worker on its way will be there."""
    workers: int = 0

    @property
    def open(self) -> int:
        """Jobs that the controller has launched: as `Launching._may_create` allows."""
        fleet = Fleet(store=None, queue="default")  # type: ignore[arg-type]
        fleet.slots = self.workers
        limits = [self.trials]
        if self.max_concurrent is not None:
            limits.append(self.max_concurrent)
        if self.max_concurrent is None or not self.ahead:
            limits.append(fleet.target(ahead=self.ahead))
        return min(limits)

    @property
    def running(self) -> int:
        return min(self.open, self.workers)

    def step(self) -> None:
        self.now_s += self.period_s
        self.workers += sum(at <= self.now_s for at in self.starting)
        self.starting = [at for at in self.starting if at > self.now_s]
        lengths = {
            "waiting": self.open - self.running,
            "more": self.open - self.running,
            "running": self.running,
        }
        queue = sum(lengths[name] for name, _ in self.triggers)
        wanted = min(
            self.max_workers, sum(math.ceil(lengths[name] / target) for name, target in self.triggers)
        )
        for _ in range(min(queue, max(0, wanted - self.workers - len(self.starting)))):
            self.starting.append(self.now_s + START_S)

    def until(self, workers: int, limit_s: int = 3600) -> int:
        """Seconds until there are so many; fails when it takes too long."""
        began = self.now_s
        while self.workers < workers:
            self.step()
            assert self.now_s - began < limit_s, f"{self.workers} of {workers} workers after {limit_s} s"
        return self.now_s - began


def cluster(**settings: Any) -> Cluster:
    spec = named("ScaledJob", "worker")["spec"]
    settings = {"max_concurrent": None, "ahead": False, "triggers": triggers(), **settings}
    return Cluster(period_s=spec["pollingInterval"], **settings)


@pytest.mark.parametrize(
    ("workers", "within_s"),
    [(1, 60), (2, 60), (8, 150), (16, 270), (64, 660)],
)
@pytest.mark.parametrize("ahead", [False, True], ids=["learns", "asks ahead"])
def test_all_workers_that_a_study_may_have_come(workers: int, within_s: int, ahead: bool) -> None:
    for max_concurrent in (workers, None):
        found = cluster(max_workers=workers, max_concurrent=max_concurrent, ahead=ahead)
        assert found.until(workers) <= within_s
        for _ in range(100):
            found.step()
        assert found.workers == workers


@pytest.mark.parametrize("ahead", [False, True])
def test_hardly_more_come_than_it_may_have(ahead: bool) -> None:
    """Whatever maxReplicaCount is: `more` starts one that is not needed, which ends when it is idle."""
    found = cluster(max_workers=1000, max_concurrent=16, ahead=ahead)
    found.until(16)
    for _ in range(100):
        found.step()
    assert found.workers <= 16 + 2


def test_none_come_when_nothing_is_open_and_some_when_there_is() -> None:
    found = cluster(max_workers=16, max_concurrent=16, trials=0)
    for _ in range(100):
        found.step()
    assert found.workers == 0
    found.trials = 5
    assert found.until(5) < 300
    for _ in range(100):
        found.step()
    assert found.workers <= 7


def test_the_queue_alone_would_not_do() -> None:
    """What it is about: the queue of a sampler that learns is never longer than a few."""
    alone = cluster(max_workers=16, max_concurrent=16, triggers=[("waiting", 1)])
    with pytest.raises(AssertionError, match="1 of 16 workers"):
        alone.until(16)
    both = cluster(max_workers=16, max_concurrent=16, triggers=[("waiting", 1), ("running", 1)])
    with pytest.raises(AssertionError, match="1 of 16 workers"):
        both.until(16)


def test_a_deployment_would_stop_growing() -> None:
    """README's other way: a Deployment with the sum of queued and running tasks as its metric.

    Kubernetes' autoscaler changes nothing while the metric is within a tenth of what the pods are for.
    """
    found = cluster(max_workers=64, max_concurrent=64)
    found.workers = 2
    for _ in range(100):
        ratio = found.open / found.workers
        if abs(ratio - 1) > 0.1:
            found.workers = math.ceil(found.open)
    assert found.workers == 11
