"""Optuna's private names that we use: this fails first, and by name, when a new Optuna moves one."""

from __future__ import annotations

import re
from pathlib import Path

import optuna
import pytest
from optuna.artifacts import Backoff, FileSystemArtifactStore
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.search_space import IntersectionSearchSpace
from optuna.storages import JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

import worker
from worker import optuna_internals as internals

ROOT = Path(worker.__file__).parents[1]


@pytest.fixture
def database(tmp_path: Path) -> RDBStorage:
    return RDBStorage(f"sqlite:///{tmp_path}/optuna.db")


@pytest.fixture
def study(database: RDBStorage) -> optuna.Study:
    return optuna.create_study(storage=database, study_name="s")


def test_studies_and_trials(study: optuna.Study, database: RDBStorage) -> None:
    storage = internals.storage_of(study)
    assert internals.backend_of(storage) is database
    assert storage.get_study_name_from_id(internals.study_id(study)) == "s"
    study.enqueue_trial({"x": 0.5})
    study.ask({"x": FloatDistribution(0, 1)})
    free = study.ask({"x": FloatDistribution(0, 1)})
    found = internals.number_to_id(study, free.number)
    assert found == internals.trial_id(free) == internals.trial_id(study.trials[1])
    assert internals.open_trial(study, free.number).params == free.params
    with pytest.raises(KeyError):
        internals.open_trial(study, 7)
    assert internals.last_step(free) is None
    free.report(1.0, 3)
    assert internals.last_step(free) == 3
    internals.validate(study.trials[0])


def test_stop_works_outside_of_optimize(study: optuna.Study) -> None:
    assert not internals.stop_was_called(study)
    with pytest.raises(RuntimeError):
        study.stop()
    internals.begin_objective(study)
    study.stop()
    assert internals.stop_was_called(study)


def test_what_the_trial_of_a_task_overrides(study: optuna.Study) -> None:
    trial = study.ask()
    assert trial._cached_frozen_trial.intermediate_values == {}
    assert callable(trial._suggest)


def test_samplers_and_distributions(study: optuna.Study) -> None:
    inner = optuna.samplers.RandomSampler()
    assert internals.base_sampler(optuna.samplers.PartialFixedSampler({"x": 1.0}, inner)) is inner
    assert internals.contains(FloatDistribution(0, 1), 0.5)
    assert not internals.contains(FloatDistribution(0, 1), 2.0)
    with pytest.raises(ValueError):
        internals.contains(CategoricalDistribution(["a"]), "b")
    grid = optuna.samplers.GridSampler({"b": [1, 2], "a": ["x", "y"], "c": [0]})
    internals.order_grid(grid, ["b", "a", "c"])
    asked = optuna.create_study(sampler=grid)
    rows = [asked.ask() for _ in range(4)]
    found = [[t.suggest_categorical(n, c) for n, c in (("b", [1, 2]), ("a", ["x", "y"]))] for t in rows]
    assert found == [[1, "x"], [1, "y"], [2, "x"], [2, "y"]]
    space = IntersectionSearchSpace(include_pruned=True)
    study.tell(study.ask({"x": FloatDistribution(0, 1)}), 1.0)
    assert space.calculate(study)
    assert internals.forget_search_space(space)
    other = optuna.create_study()
    assert space.calculate(other) == {}  # refused for another study before
    assert not internals.forget_search_space(object())


def test_databases(database: RDBStorage, study: optuna.Study) -> None:
    study.tell(study.ask(), state=TrialState.FAIL)
    models = internals.database_models()
    with internals.database_session(database) as session:
        assert session.query(models.TrialModel).count() == 1
    for name in internals.STORAGE_CALLS:
        assert callable(getattr(database, name)), name


def test_journals(tmp_path: Path) -> None:
    backend = JournalFileBackend(str(tmp_path / "journal"))
    assert internals.backend_of(JournalStorage(backend)) is backend


def test_artifact_stores(tmp_path: Path) -> None:
    store = FileSystemArtifactStore(tmp_path)
    assert Path(internals.store_folder(store)) == tmp_path
    assert internals.wrapped_store(Backoff(store)) is store


def test_private_names_of_optuna_stand_in_this_module_only() -> None:
    private = re.compile(r"optuna(\.\w+)*\._(?!_)|\._(storage|study_id|trial_id|base_sampler|stop_flag)\b")
    own = re.compile(r"\b(self|cls)\._(storage|study_id)")  # of our own objects
    found = []
    for package in ("controller", "worker"):
        for path in (ROOT / package).rglob("*.py"):
            for number, line in enumerate(path.read_text().splitlines(), 1):
                if path.name != "optuna_internals.py" and private.search(own.sub("", line)):
                    found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()}")
    assert found == []


@pytest.mark.parametrize(
    ("values", "state"), [([1.5], TrialState.COMPLETE), (None, TrialState.FAIL), (None, TrialState.PRUNED)]
)
def test_a_trial_is_told_as_by_optuna(
    study: optuna.Study, values: list[float] | None, state: TrialState
) -> None:
    ours, theirs = study.ask(), study.ask()
    for trial in (ours, theirs):
        trial.report(4.0, 2)
    internals.tell(study, ours, values, state)
    study.tell(theirs, values=values, state=state)
    found, expected = study.trials
    assert (found.state, found.values) == (expected.state, expected.values)
    assert found.datetime_complete is not None
    with pytest.raises(ValueError, match="Cannot tell a"):
        internals.tell(study, ours, values, state)


def test_what_samplers_say_of_a_choice(study: optuna.Study) -> None:
    tpe = optuna.samplers.TPESampler(n_startup_trials=7)
    assert internals.startup_trials(tpe) == 7
    assert internals.startup_trials(optuna.samplers.RandomSampler()) is None
    assert internals.is_multivariate(tpe, study)
    assert not internals.is_multivariate(optuna.samplers.TPESampler(multivariate=False), study)
    assert [internals.good_trials(tpe, study, count) for count in (0, 11, 1000)] == [0, 2, 25]
    grid = optuna.samplers.GridSampler({"x": [1, 2], "y": [1, 2, 3]})
    assert internals.grid_size(grid) == 6
    fixed = optuna.samplers.PartialFixedSampler({"x": 1.0}, tpe)
    assert internals.fixed_names(fixed) == {"x"}
    evolving = optuna.create_study(sampler=optuna.samplers.NSGAIISampler(population_size=2, seed=1))
    for _ in range(5):
        trial = evolving.ask({"x": FloatDistribution(0, 1)})
        evolving.tell(trial, trial.params["x"])
    assert [internals.generation(trial.system_attrs) for trial in evolving.trials] == [0, 0, 1, 1, 2]
    assert internals.generation({}) is None


def test_what_pruners_compare() -> None:
    halving = optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3)
    study = optuna.create_study(pruner=halving)
    trial = study.ask()
    trial.report(0.5, 1)
    trial.should_prune()
    assert internals.rung_values(study.trials[0]) == {0: 0.5}
    assert internals.rung_key(0) in study.trials[0].system_attrs
    assert internals.halving_factor(halving) == 3
    hyperband = optuna.pruners.HyperbandPruner(max_resource=9)
    other = optuna.create_study(pruner=hyperband)
    trial = other.ask()
    trial.report(0.5, 1)
    trial.should_prune()
    assert internals.bracket_of(hyperband, other, other.trials[0]) in (0, 1, 2)
    assert internals.percentile_of(optuna.pruners.PercentilePruner(30.0)) == 30
    assert internals.threshold_of(optuna.pruners.ThresholdPruner(lower=1.0, upper=2.0)) == (1, 2)
    patient = optuna.pruners.PatientPruner(halving, 4)
    assert internals.patience_of(patient) == (4, halving)
    assert internals.wilcoxon_of(optuna.pruners.WilcoxonPruner(p_threshold=0.2)) == 0.2


def test_fanova_says_what_parameters_explain_together() -> None:
    study = optuna.create_study()
    space = {"x": FloatDistribution(-1, 1), "y": FloatDistribution(-1, 1)}
    for place in range(80):
        x, y = -1 + (place % 9) / 4, -1 + (place // 9) / 4
        study.add_trial(optuna.trial.create_trial(params={"x": x, "y": y}, distributions=space, value=x * y))
    evaluator = optuna.importance.FanovaImportanceEvaluator(n_trees=8, max_depth=6, seed=0)
    alone = evaluator.evaluate(study, ["x", "y"])
    assert internals.fanova_share(evaluator, [0]) == pytest.approx(alone["x"])
    together = internals.fanova_share(evaluator, [0, 1])
    assert together > 0.9
    assert together > alone["x"] + alone["y"] + 0.3


def test_a_trial_in_memory_is_copied_and_changed_as_by_optuna() -> None:
    study = optuna.create_study(storage=optuna.storages.InMemoryStorage())
    trial = study.ask({"x": FloatDistribution(0, 1)})
    storage, number = internals.storage_of(study), internals.trial_id(trial)
    before = storage.get_trial(number)
    copied = internals.own_copy(before)
    assert copied == before
    for name in ("params", "distributions", "user_attrs", "system_attrs", "intermediate_values"):
        getattr(copied, f"_{name}" if hasattr(copied, f"_{name}") else name)["added"] = 1
        assert "added" not in getattr(before, name)
    assert internals.chosen_params(trial) == trial.params
    internals.set_system_attr(storage, number, "log", [1])
    assert storage.get_trial_system_attrs(number) == {"log": [1]}
    assert "log" not in before.system_attrs
    study.tell(trial, 1.0)
    with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
        internals.set_system_attr(storage, number, "log", [2])
