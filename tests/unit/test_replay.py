"""Replaying a study: what was recorded comes out again, also over restarts; what was altered is found."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from optuna.trial import TrialState

from controller.insight.replay import replay
from controller.insight.replay_changes import Changes, changes_of
from controller.insight.replay_result import DIVERGED, IDENTICAL, UNKNOWN, Replayed
from controller.insight.replay_whatif import what_if
from controller.search.decision_log import ENDED, LOG, STOPPED, DecisionLog
from controller.search.trial_cache import cached
from controller.search.trial_snapshot import SNAPSHOT, take_snapshot
from controller.studies.recorded import recorded_in_file
from controller.studies.study_copies import cut_back
from tests.replaying import CONDITIONAL, Studied, sweep_of
from worker.protocol import Status, TaskRecord, TaskSpec
from worker.protocol.errors import BadInput
from worker.trials.storage import open_storage


@pytest.fixture(params=["sqlite", "journal"])
def studied(request: pytest.FixtureRequest, tmp_path: Path) -> Studied:
    return Studied(f"{request.param}:///{tmp_path}/trials")


@pytest.fixture
def in_journal(tmp_path: Path) -> Studied:
    return Studied(f"journal:///{tmp_path}/trials")


@pytest.fixture
def in_sqlite(tmp_path: Path) -> Studied:
    return Studied(f"sqlite:///{tmp_path}/trials")


def assert_identical(found: Replayed, **compared: int) -> None:
    assert found.divergence is None, found.divergence.as_dict()
    assert found.verdict == IDENTICAL
    assert found.decisions == found.of
    assert {name: found.compared.get(name) for name in compared} == compared


STUDIES = Path(__file__).parents[2] / "benchmarks/studies"
TPE = {"type": "tpe", "seed": 1, "n_startup_trials": 5}
MEDIAN = {"type": "median", "n_startup_trials": 3}


@pytest.mark.parametrize(
    ("sampler", "pruner"),
    [
        (TPE, MEDIAN),
        (TPE, {"type": "hyperband"}),
        ({"type": "random", "seed": 1}, {"type": "asha"}),
        ({"type": "nsga2", "seed": 1, "population_size": 5}, MEDIAN),
        ({"type": "qmc", "seed": 1}, {"type": "patient", "wrapped": {"type": "asha"}, "patience": 1}),
    ],
    ids=lambda given: given["type"],
)
def test_a_killed_and_continued_study_replays_the_same(
    in_journal: Studied, sampler: dict[str, Any], pruner: dict[str, Any]
) -> None:
    sweep = sweep_of(sampler=sampler, pruner=pruner)
    for _ in range(2):
        in_journal.start(sweep)
        in_journal.run(10)
        in_journal.kill()
    in_journal.start(sweep)
    in_journal.finish()
    found = in_journal.replayed()
    assert found.trials >= 20
    assert_identical(found, parameters=found.trials, ends=found.trials)
    assert found.starts == 3
    assert found.compared["pruning"] > 20
    assert found.notes == ()


@pytest.mark.parametrize("pruner", [None, MEDIAN])
def test_on_each_storage(studied: Studied, pruner: dict[str, Any] | None) -> None:
    sweep = sweep_of(sampler=TPE, pruner=pruner)
    studied.start(sweep)
    studied.run(10)
    studied.kill()
    studied.start(sweep)
    studied.run(5)
    studied.finish()
    assert_identical(studied.replayed(), parameters=15, ends=15)


def test_a_running_study_is_compared_as_far_as_it_is(studied: Studied) -> None:
    search = studied.start(sweep_of(sampler=TPE, pruner=MEDIAN))
    studied.run(10)
    search.flush()
    found = studied.replayed()
    assert_identical(found, parameters=10)
    assert found.compared["ends"] < 10


def test_several_objectives(in_journal: Studied) -> None:
    sweep = sweep_of(sampler={"type": "nsga2", "seed": 3, "population_size": 4}, metrics=2)
    in_journal.start(sweep)
    in_journal.run(12)
    in_journal.kill()
    in_journal.start(sweep)
    in_journal.run(6)
    in_journal.finish()
    found = in_journal.replayed()
    assert_identical(found, parameters=18, ends=18)
    assert "pruning" not in found.compared


def test_a_grid_to_its_end(in_journal: Studied) -> None:
    parameters = {"a": {"choices": [1, 2, 3]}, "b": {"choices": ["u", "v"]}}
    sweep = sweep_of(sampler={"type": "grid", "seed": 5}, parameters=parameters)
    in_journal.start(sweep)
    in_journal.run(4)
    in_journal.kill()
    in_journal.start(sweep)
    in_journal.run(10)
    in_journal.finish()
    found = in_journal.replayed()
    assert found.trials >= 6
    assert_identical(found, parameters=found.trials, ends=found.trials)


def test_conditions_given_configurations_and_duplicates(in_journal: Studied) -> None:
    parameters = {
        "opt": {"choices": ["sgd", "adam"]},
        "momentum": {"choices": [0.0, 0.5, 0.9], "when": {"opt": "sgd"}},
    }
    sweep = sweep_of(sampler={"type": "random", "seed": 2}, parameters=parameters)
    search = in_journal.start(sweep)
    search.enqueue({"opt": "sgd", "momentum": 0.5})
    in_journal.run(20)
    in_journal.finish()
    found = in_journal.replayed()
    # The four points, and what the sampler has suggested twice.
    assert found.trials > 4
    assert_identical(found, parameters=found.trials)

    other = Studied(f"{in_journal.url}-2")
    other.start(sweep_of(sampler=TPE, parameters=CONDITIONAL, pruner=MEDIAN))
    other.run(15)
    other.finish()
    assert_identical(other.replayed(), parameters=15)


def test_a_study_in_which_all_failed(in_journal: Studied) -> None:
    in_journal.fails = lambda number: True
    search = in_journal.start(sweep_of(sampler=TPE, max_failures=5))
    in_journal.run(5)
    in_journal.finish()
    search.log.record(STOPPED, {"reason": "5 trials failed", "running": 0})
    assert_identical(in_journal.replayed(), ends=5)


def test_a_sweep_that_was_changed_in_the_middle(in_journal: Studied) -> None:
    in_journal.start(sweep_of(sampler=TPE, pruner=MEDIAN))
    in_journal.run(10)
    in_journal.kill()
    in_journal.start(sweep_of(sampler={"type": "random", "seed": 4}, pruner={"type": "asha"}))
    in_journal.run(8)
    in_journal.kill()
    # The same seed with other options goes on where it stood; another pruner, and more iterations before.
    in_journal.start(sweep_of(sampler={"type": "random", "seed": 4}, pruner=MEDIAN, min_iterations=3))
    in_journal.run(6)
    in_journal.finish()
    found = in_journal.replayed()
    assert_identical(found, parameters=24, ends=24)
    assert found.starts == 3


def test_without_a_seed_parameters_are_not_compared_and_it_says_so(in_journal: Studied) -> None:
    in_journal.start(sweep_of(sampler={"type": "tpe"}, pruner=MEDIAN))
    in_journal.run(12)
    in_journal.finish()
    found = in_journal.replayed()
    assert_identical(found, ends=12, points=12)
    assert found.compared["pruning"] > 12
    assert "parameters" not in found.compared
    assert any("no seed" in note for note in found.notes)


def test_interrupted_trials_run_again(in_journal: Studied) -> None:
    sweep = sweep_of(sampler=TPE, pruner=MEDIAN)
    search = in_journal.start(sweep)
    in_journal.run(8)
    for number in list(in_journal.running):
        search.try_again(number)
        search.note(number, ENDED)
        used = [in_journal.steps[number], in_journal.steps[number], 1.0]
        why = {"task": "stopped", "class": "study_stopped", "used": used}
        search.tell(number, TrialState.FAIL, why=why)
    search.flush()
    in_journal.start(sweep)
    in_journal.run(6)
    in_journal.finish()
    assert_identical(in_journal.replayed(), parameters=14)


def test_a_study_that_was_taken_back(in_journal: Studied) -> None:
    sweep = sweep_of(sampler=TPE, pruner=MEDIAN)
    in_journal.start(sweep)
    in_journal.run(14)
    in_journal.finish()
    storage = open_storage(in_journal.url)
    cut_back("s", storage, 8)
    DecisionLog(cached(in_journal.stored())).rewound(8)
    in_journal.start(sweep)
    in_journal.run(5)
    in_journal.finish()
    found = in_journal.replayed()
    assert_identical(found, parameters=14)
    assert any("taken back to trial 8" in note for note in found.notes)


def test_trials_of_an_older_version_are_taken_as_they_stand(in_sqlite: Studied) -> None:
    sweep = sweep_of(sampler=TPE, pruner=MEDIAN)
    in_sqlite.start(sweep)
    in_sqlite.run(8)
    assert in_sqlite.search is not None
    in_sqlite.search.flush()
    _forget_the_log(in_sqlite.url)
    in_sqlite.start(sweep)
    in_sqlite.run(8)
    in_sqlite.finish()
    found = in_sqlite.replayed()
    assert_identical(found, parameters=8)
    assert any("does not have all trials" in note for note in found.notes)


def test_the_budget_counts_trials_of_an_older_version(in_sqlite: Studied) -> None:
    """By the copies of their tasks: the newer version was left 4 of 12 trials."""
    in_sqlite.start(sweep_of(sampler=TPE, max_trials=8))
    in_sqlite.run(8)
    in_sqlite.finish()
    _forget_the_log(in_sqlite.url)
    in_sqlite.start(sweep_of(sampler=TPE, max_trials=12))
    in_sqlite.run(4)
    in_sqlite.finish()
    assert in_sqlite.search is not None
    in_sqlite.search.log.record(STOPPED, {"reason": "all 12 trials created"})
    in_sqlite.search.flush()
    recorded = in_sqlite.recorded()
    for trial in recorded.trials[:8]:
        record = TaskRecord(
            id=f"{trial.number:032x}", name="", study="s", trial=trial.number, spec=TaskSpec(),
            created_at=0.0, status=Status.COMPLETED, iterations=8, last_iteration=7, compute_s=9.0,
        )  # fmt: skip
        trial.system_attrs[SNAPSHOT] = take_snapshot(record, {}, {}, 0.0)
    assert_identical(replay(recorded), parameters=4, budget=5)
    answer = what_if(recorded, changes_of(recorded, ["budget.max_trials=10"]))
    assert answer.not_run == (10, 11)
    assert answer.winner is not None
    best = min(recorded.trials[:10], key=lambda trial: trial.value or 0.0)
    assert answer.winner.instead == (best.number,)
    assert "8 trials without a log of decisions" in answer.notes[0]
    spent = what_if(recorded, changes_of(recorded, ["budget.total_compute=60s"]))
    assert spent.not_run == (8, 9, 10, 11)


def test_a_study_without_a_log_is_not_known(in_sqlite: Studied) -> None:
    in_sqlite.start(sweep_of(sampler=TPE))
    in_sqlite.run(4)
    in_sqlite.finish()
    _forget_the_log(in_sqlite.url)
    found = in_sqlite.replayed()
    assert found.verdict == UNKNOWN
    assert found.summary() == "not known"
    assert "earlier version" in found.notes[0]
    assert json.dumps(found.as_dict())


def test_an_empty_study_is_not_known(in_journal: Studied) -> None:
    in_journal.start(sweep_of(sampler=TPE))
    assert in_journal.replayed().verdict == UNKNOWN
    assert "no trials yet" in in_journal.replayed().notes[0]


@pytest.fixture
def altered(in_sqlite: Studied) -> Studied:
    """A study of twelve trials, to be altered."""
    in_sqlite.start(sweep_of(sampler=TPE, pruner=MEDIAN))
    in_sqlite.run(12)
    in_sqlite.finish()
    assert_identical(in_sqlite.replayed(), parameters=12)
    return in_sqlite


@pytest.mark.parametrize(
    ("statement", "what", "kind"),
    [
        ("UPDATE trial_params SET param_value = 0.5 WHERE param_name = 'x'", "parameters", "asked"),
        ("UPDATE trial_values SET value = value + 1e-9", "record", "told"),
        ("UPDATE trial_intermediate_values SET intermediate_value = 0.1", "record", "reported"),
        ("DELETE FROM trial_intermediate_values WHERE step = 1", "record", "reported"),
        ("UPDATE trials SET state = 'FAIL' WHERE state = 'COMPLETE'", "record", "told"),
    ],
)
def test_an_altered_record_is_found(altered: Studied, statement: str, what: str, kind: str) -> None:
    _execute(altered.url, statement)
    found = altered.replayed()
    assert found.verdict == DIVERGED
    assert found.divergence is not None
    assert (found.divergence.what, found.divergence.decision.kind) == (what, kind)
    assert found.divergence.recorded != found.divergence.replayed
    assert f"({kind})" not in found.summary()
    assert f"{kind}): " in found.summary()
    assert found.decisions < found.of
    assert json.dumps(found.as_dict())


def test_an_altered_decision_of_the_pruner_is_found(altered: Studied) -> None:
    recorded = altered.recorded()
    trial = next(trial for trial in recorded.trials if trial.state is TrialState.PRUNED)
    entries = [entry for entry in trial.system_attrs[LOG] if entry[2] != "pruned"]
    trial.system_attrs[LOG] = entries
    found = replay(recorded).divergence
    assert found is not None
    assert found.what == "pruning"
    assert "goes on" in found.recorded
    assert "given up" in found.replayed


def test_a_launch_beyond_the_budget_is_found(in_journal: Studied) -> None:
    in_journal.start(sweep_of(sampler=TPE, max_trials=5))
    in_journal.run(6)
    in_journal.finish()
    found = in_journal.replayed().divergence
    assert found is not None
    assert (found.what, found.recorded, found.replayed) == ("budget", "launched", "all 5 trials created")


def test_a_program_that_was_recorded_with_another_seed_differs(altered: Studied) -> None:
    recorded = altered.recorded()
    for value in recorded.attributes.values():
        if isinstance(value, dict) and value.get("kind") == "begun":
            value["why"]["settings"]["sampler"]["seed"] = 2
    found = replay(recorded).divergence
    assert found is not None
    assert found.what == "parameters"
    assert found.decision.trial == 0


def _execute(url: str, statement: str) -> None:
    with sqlalchemy.create_engine(url).begin() as connection:
        connection.execute(sqlalchemy.text(statement))


def _forget_the_log(url: str) -> None:
    _execute(url, "DELETE FROM trial_system_attributes WHERE key LIKE 'optuna-rq:log%'")
    _execute(url, "DELETE FROM study_system_attributes WHERE key LIKE 'optuna-rq:decision:%'")


def test_entries_that_somebody_else_wrote_are_data(altered: Studied) -> None:
    recorded = altered.recorded()
    asked = recorded.trials[0].system_attrs[LOG][0]
    for entry in (
        [3, 1.0, "told", {"state": 5}],
        [3, 1.0, "told", {"state": "COMPLETE", "task": "completed", "used": ["a", {}, float("inf")]}],
        [3, 1.0, "told", {}],
        [3, 1.0, "asked", {"by": ["<script>"]}],
        [3, 1.0, "launched", {"why": None}],
        [3, 1.0, "of a newer version", {}],
    ):
        recorded = replace(recorded)  # the log is read once
        recorded.trials[0].system_attrs[LOG] = [asked, entry]
        found = replay(recorded)
        assert found.divergence is not None, entry
        assert json.dumps(found.as_dict())
        with contextlib.suppress(BadInput):
            assert json.dumps(what_if(recorded, Changes(pruner={"type": "asha"})).as_dict())


def test_a_program_s_own_sampler_and_pruner_are_not_known(altered: Studied) -> None:
    recorded = altered.recorded()
    for value in recorded.attributes.values():
        if isinstance(value, dict) and value.get("kind") == "begun":
            value["why"]["settings"] |= {"sampler": {"class": "GPSampler"}, "pruner": {"class": "MyPruner"}}
    found = replay(recorded)
    assert_identical(found, ends=12, points=12)
    assert "pruning" not in found.compared
    assert "parameters" not in found.compared
    assert len(found.notes) == 2


def test_a_recorded_study_of_scikit_learn_comes_out_again() -> None:
    found = replay(recorded_in_file(STUDIES / "models.study.gz"))
    assert_identical(found, parameters=120, ends=120)
