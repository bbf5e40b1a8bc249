"""What makes two studies the same, whether a sweep file or a program describes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fakeredis
import pytest

from controller import (
    DiscreteParameterRange,
    LogUniformParameterRange,
    Objective,
    ParameterSet,
    UniformIntegerParameterRange,
    UniformParameterRange,
)
from controller.loop.observer import Observer
from controller.search.parameters import Parameter
from controller.session.fingerprint import fingerprint, is_same, recorded_parameters
from controller.session.study_session import StudyDefinition, StudySession
from controller.session.sweep_objects import objective_of, parameters_of
from controller.sweep import Sweep, parse_sweep
from tests.fakes import ManualClock
from worker.protocol import Store, StudyRecord
from worker.protocol.errors import BadInput
from worker.sdk.home import Home

LOSS = Objective("loss", "", "min")
PROGRAM: list[Parameter] = [
    LogUniformParameterRange("lr", -5, -1),
    UniformIntegerParameterRange("layers", 1, 4),
    DiscreteParameterRange("opt", ["sgd", "adam"]),
]


def sweep_of(**parameters: Any) -> Sweep:
    return parse_sweep(
        {
            "study": {"name": "s", "metric": {"name": "loss", "goal": "minimize"}},
            "objective": {"function": "m:f"},
            "parameters": parameters
            or {
                "opt": {"choices": ["sgd", "adam"]},
                "lr": {"type": "float", "low": 1e-5, "high": 0.1, "log": True},
                "layers": {"type": "int", "low": 1, "high": 4},
            },
            "budget": {"max_trials": 1},
        },
        "sweep",
    )


def mark(sweep: Sweep) -> str:
    return fingerprint(objective_of(sweep).metrics, parameters_of(sweep))


def test_a_sweep_file_and_a_program_with_the_same_space() -> None:
    assert mark(sweep_of()) == fingerprint(LOSS.metrics, PROGRAM)
    assert fingerprint(LOSS.metrics, PROGRAM) == fingerprint(LOSS.metrics, PROGRAM[::-1])


@pytest.mark.parametrize(
    "changed",
    [
        PROGRAM[:2],
        [UniformParameterRange("lr", 1e-5, 0.1), *PROGRAM[1:]],
        [PROGRAM[0], UniformIntegerParameterRange("layers", 1, 5), PROGRAM[2]],
        [*PROGRAM[:2], DiscreteParameterRange("opt", ["sgd", "adamw"])],
        [*PROGRAM[:2], ParameterSet([{"opt": "sgd"}, {"opt": "adam"}], name="opt")],
    ],
)
def test_another_space_is_another_study(changed: list[Parameter]) -> None:
    assert fingerprint(LOSS.metrics, changed) != fingerprint(LOSS.metrics, PROGRAM)


def test_a_condition_counts_and_the_order_of_its_values_does_not() -> None:
    def one(*values: str) -> str:
        return mark(
            sweep_of(
                opt={"choices": ["sgd", "adam", "lion"]},
                m={"type": "float", "low": 0, "high": 1, "when": {"opt": list(values)}},
            )
        )

    assert one("sgd", "adam") == one("adam", "sgd") != one("sgd", "lion")


def test_it_is_the_same_in_the_next_release() -> None:
    assert (
        fingerprint(LOSS.metrics, PROGRAM)
        == "5404eb0aee27eaa1c42518c5599e318a7b142db3f3391b99b722bafc0cc174ef"
    )


@pytest.mark.parametrize("kind", ["sweep", "program"])
def test_a_study_that_version_0_1_has_begun_is_known(kind: str) -> None:
    sweep = sweep_of()
    described: dict[str, Any] = (
        sweep.to_dict()
        if kind == "sweep"
        else {"study": {"name": "s"}, "parameters": {p.name: p.to_dict() for p in PROGRAM}}
    )
    old = StudyRecord(
        name="s", created_at=1.0, metrics=LOSS.metrics, sweep=described, fingerprint="as 0.1 has it"
    )
    assert is_same(old, objective_of(sweep).metrics, parameters_of(sweep))
    assert is_same(old, LOSS.metrics, PROGRAM)
    assert not is_same(old, LOSS.metrics, PROGRAM[:1])
    assert not is_same(old, Objective("loss", "", "max").metrics, PROGRAM)


def test_a_description_that_cannot_be_read_is_none() -> None:
    odd = StudyRecord(
        name="s", created_at=1.0, metrics=LOSS.metrics, sweep={"parameters": {"x": {"type": "?"}}}
    )
    assert recorded_parameters(odd) is None


# Sessions


class Backend:
    """What a session needs of one, over fakeredis."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = Store(fakeredis.FakeRedis(decode_responses=True), self.clock)
        self.artifacts_url = "file:///a"
        self.home = Home("redis://localhost", self.artifacts_url, Path("/"), None)


def session(backend: Any, *, sweep: Sweep | None = None, **changes: Any) -> StudySession:
    fields: dict[str, Any] = {"name": "s", "queue": "q", "storage": "sqlite:///A.db", **changes}
    definition = StudyDefinition(
        metrics=LOSS.metrics,
        parameters=PROGRAM if sweep is None else parameters_of(sweep),
        sweep=None if sweep is None else sweep.to_dict(),
        **fields,
    )
    return StudySession(backend, definition, Observer(), lambda: False)


def test_a_program_continues_the_study_of_a_sweep_and_leaves_its_description() -> None:
    backend, sweep = Backend(), sweep_of()
    session(backend, sweep=sweep).register()
    program = session(backend)
    program.refuse_other_study()
    program.register()
    assert backend.store.studies.get("s").sweep == sweep.to_dict()
    session(backend, sweep=sweep).refuse_other_study()


@pytest.mark.parametrize("storage", ["sqlite:///B.db", ""])
def test_a_program_with_another_storage_does_not(storage: str) -> None:
    backend = Backend()
    session(backend, sweep=sweep_of()).register()
    with pytest.raises(BadInput, match=r"has its trials in sqlite:///A\.db, not in .*study_name"):
        session(backend, storage=storage).refuse_other_study()


def test_the_description_of_0_1_need_not_be_readable() -> None:
    backend, sweep = Backend(), sweep_of()
    old = sweep.search_space_fingerprint()
    record = StudyRecord(
        name="s",
        created_at=1.0,
        metrics=LOSS.metrics,
        sweep={"?": 1},
        fingerprint=old,
        storage="sqlite:///A.db",
    )
    backend.store.studies.save(record)
    session(backend, sweep=sweep, old_fingerprint=old).refuse_other_study()
    with pytest.raises(BadInput, match="another search space"):
        session(backend, sweep=sweep, old_fingerprint="another").refuse_other_study()


def test_a_free_name_is_found_and_its_lease_taken() -> None:
    backend = Backend()
    session(backend, name="optimization").register()
    with session(backend, name="", is_taken=lambda name: name == "optimization 2") as found:
        assert found.acquire()
        assert found.name == "optimization 3"
        assert found.lock is not None
        assert found.lock.held
        with session(backend, name="") as other:
            assert other.acquire()
            assert other.name == "optimization 2"


def test_one_controller_acts_and_another_stands_by_until_it_is_told_to_stop() -> None:
    backend, notes = Backend(), []

    class Noting(Observer):
        def note(self, text: str) -> None:
            notes.append(text)

    with session(backend) as first:
        assert first.acquire()
        second = session(backend)
        second.observer = Noting()
        second.stopped = lambda: bool(notes)
        with second:
            assert not second.acquire()
            assert second.stood_by
    assert len(notes) == 1
    assert "standing by to take over" in notes[0]
    with session(backend) as third:
        assert third.acquire()


def test_a_study_knows_the_stores_that_it_has_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    backend = Backend()
    for url in ("file:///a", "relative", "s3://bucket/p", "file:///a"):
        backend.artifacts_url = url
        session(backend).register()
    record = backend.store.studies.get("s")
    assert record.artifacts == "file:///a"
    assert set(record.artifact_stores) == {f"file://{tmp_path}/relative", "s3://bucket/p"}
