"""A study's trials in memory: what its storage has after each flush is what Optuna would have written."""

from __future__ import annotations

import math
import threading
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.samplers import RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from controller.search import trial_rows
from controller.search.parameters import SweepParameter
from controller.search.search import Search
from controller.search.trial_cache import TrialCache, cached
from controller.search.trial_rows import CallWriter, TableWriter
from tests.storages import KINDS, storage_url
from worker.protocol.errors import StorageUnavailable
from worker.trials.journal import JournalFile
from worker.trials.storage import open_storage
from worker.trials.storage_retry import retry_while_away

SPACE = {
    "x": FloatDistribution(-5, 5),
    "n": IntDistribution(1, 64, log=True),
    "kind": CategoricalDistribution(["a", "b", None, 3]),
}
PARAMETERS = [SweepParameter("x", FloatDistribution(-5, 5))]


@pytest.fixture(params=[*KINDS, "other tables"])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "other tables":
        monkeypatch.setattr(trial_rows, "SCHEMA", "v0.9")
        return storage_url("sqlite", request, tmp_path)
    return storage_url(request.param, request, tmp_path)


def make(url: str, **more: Any) -> tuple[optuna.Study, TrialCache]:
    """A study of `url` in memory, and its storage."""
    arguments: dict[str, Any] = {"study_name": "s", "sampler": RandomSampler(seed=1), **more}
    study = cached(optuna.create_study(storage=open_storage(url), load_if_exists=True, **arguments))
    storage = study._storage
    assert isinstance(storage, TrialCache)
    return study, storage


def stored(url: str) -> list[FrozenTrial]:
    """The trials as anybody else reads them."""
    return optuna.load_study(study_name="s", storage=open_storage(url)).trials


def shown(trials: list[FrozenTrial], *, times: bool = True) -> list[Any]:
    return [
        (
            trial.number,
            trial.state,
            trial.params,
            trial.distributions,
            trial.values,
            repr(trial.intermediate_values),
            trial.user_attrs,
            trial.system_attrs,
            *((trial.datetime_start, trial.datetime_complete) if times else ()),
        )
        for trial in trials
    ]


def walk(study: optuna.Study) -> None:
    """One trial of each kind."""
    study.enqueue_trial({"x": 1.5, "n": 2})
    for number in range(6):
        trial = study.ask(SPACE)
        trial.set_user_attr("who", {"number": number, "none": None})
        trial.storage.set_trial_system_attr(trial._trial_id, "how", [number])
        if number == 0:
            study.tell(trial, 0.25)
        elif number == 1:
            for step, value in ((0, 1.0), (3, math.nan), (5, math.inf), (7, -math.inf), (8, 0.5)):
                trial.report(value, step)
            study.tell(trial, state=TrialState.PRUNED)
        elif number == 2:
            study.tell(trial, math.inf)
        elif number == 3:
            study.tell(trial, state=TrialState.FAIL)
        elif number == 4:
            study.tell(trial, -math.inf)
    study.add_trial(optuna.trial.create_trial(value=2.0, params={"x": 1.0}, distributions={"x": SPACE["x"]}))


@pytest.mark.parametrize("every", [False, True], ids=["one flush", "a flush after each call"])
def test_the_storage_has_what_optuna_would_have_written(
    url: str, every: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, storage = make(url)
    if every:
        for name in ("create_new_trial", "set_trial_param", "set_trial_state_values", "set_trial_user_attr"):
            _flush_after(storage, name, monkeypatch)
    walk(study)
    assert storage.flush() == {}
    assert not storage.dirty
    plain = optuna.create_study(study_name="s", sampler=RandomSampler(seed=1))
    walk(plain)
    assert shown(stored(url), times=False) == shown(plain.trials, times=False)
    assert [trial.state for trial in stored(url)].count(TrialState.RUNNING) == 1
    if isinstance(storage._writer, TableWriter):  # the other leaves times to Optuna
        for mine, theirs in zip(study.trials, stored(url), strict=True):
            assert _near(mine.datetime_start, theirs.datetime_start)
            assert _near(mine.datetime_complete, theirs.datetime_complete)
    # And whoever goes on with it finds it so.
    again, _ = make(url)
    assert shown(again.trials) == shown(stored(url))


def _near(one: datetime | None, other: datetime | None) -> bool:
    """MySQL keeps whole seconds."""
    return one == other or (
        one is not None and other is not None and abs(one - other) <= timedelta(seconds=1)
    )


def _flush_after(storage: TrialCache, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    call = getattr(storage, name)

    def calling(*args: Any, **kwargs: Any) -> Any:
        result = call(*args, **kwargs)
        storage.flush()
        return result

    monkeypatch.setattr(storage, name, calling)


def test_how_it_is_written(tmp_path: Path) -> None:
    _, storage = make(f"sqlite:///{tmp_path}/a.db")
    assert isinstance(storage._writer, TableWriter)
    _, storage = make(f"journal:///{tmp_path}/a.log")
    assert isinstance(storage._writer, CallWriter)
    assert isinstance(storage._writer._journal, JournalFile)
    in_memory = optuna.create_study()
    assert cached(in_memory) is in_memory


def test_changes_on_the_way_are_kept_until_they_are_written(url: str) -> None:
    study, storage = make(url)
    trial = study.ask(SPACE)
    storage.flush()
    trial.report(0.5, 1)
    trial.set_user_attr("a", 1)
    study.tell(trial, 0.5)
    (before,) = stored(url)
    assert (before.state, before.intermediate_values, before.user_attrs) == (TrialState.RUNNING, {}, {})
    assert storage.dirty
    storage.flush()
    (after,) = stored(url)
    assert (after.state, after.values, after.intermediate_values) == (TrialState.COMPLETE, [0.5], {1: 0.5})
    with pytest.raises(UpdateFinishedTrialError):
        trial.set_user_attr("a", 2)


def test_a_value_that_changes_is_written_over(url: str) -> None:
    study, storage = make(url)
    trial = study.ask(SPACE)
    for value in (1, 2, 2, 3):
        trial.set_user_attr("a", value)
        storage.set_trial_intermediate_value(trial._trial_id, 0, float(value))
        trial.set_user_attr(f"b{value}", value)
        storage.flush()
    (found,) = stored(url)
    assert found.user_attrs == {"a": 3, "b1": 1, "b2": 2, "b3": 3}
    assert found.intermediate_values == {0: 3.0}


def test_what_others_add_is_seen_and_numbers_move(url: str) -> None:
    study, _ = make(url)
    search = Search(study, PARAMETERS)
    first = search.ask()
    assert first is not None
    theirs = optuna.load_study(study_name="s", storage=open_storage(url))
    theirs.enqueue_trial({"x": 4.0})
    second = search.ask()
    assert second is not None
    # Theirs has the number that this one was to have.
    assert second.number == 2
    assert second.task_id == search.task_id(2)
    assert [trial.state for trial in stored(url)] == [
        TrialState.RUNNING,
        TrialState.WAITING,
        TrialState.RUNNING,
    ]
    assert stored(url)[2].params == second.parameters
    # And is what comes next.
    third = search.ask()
    assert third is not None
    assert (third.number, third.parameters) == (1, {"x": 4.0})
    for asked, value in ((first, 1.0), (second, 2.0), (third, 3.0)):
        assert search.tell(asked.number, TrialState.COMPLETE, [value])
    search.flush()
    assert [trial.value for trial in stored(url)] == [1.0, 3.0, 2.0]
    assert [trial.number for trial in study.trials] == [0, 1, 2]


def test_a_trial_that_somebody_else_has_told_stays_so(url: str) -> None:
    study, _ = make(url)
    search = Search(study, PARAMETERS)
    asked = search.ask()
    assert asked is not None
    theirs = optuna.load_study(study_name="s", storage=open_storage(url))
    theirs.tell(asked.number, 7.0)
    search.tell(asked.number, TrialState.COMPLETE, [1.0])
    search.flush()
    assert [trial.values for trial in stored(url)] == [[7.0]]
    assert [trial.values for trial in study.trials] == [[7.0]]


def test_an_attribute_that_somebody_else_has_set_is_written_over(url: str) -> None:
    study, storage = make(url)
    trial, other = study.ask(SPACE), study.ask(SPACE)
    storage.flush()
    theirs = optuna.load_study(study_name="s", storage=open_storage(url))
    frozen = theirs.trials[0]
    theirs._storage.set_trial_user_attr(frozen._trial_id, "who", "they")
    theirs._storage.set_trial_user_attr(frozen._trial_id, "more", "theirs")
    trial.set_user_attr("who", "we")
    study.tell(trial, 1.0)
    study.tell(other, 2.0)
    storage.flush()
    assert [found.values for found in stored(url)] == [[1.0], [2.0]]
    assert stored(url)[0].user_attrs == {"who": "we", "more": "theirs"}
    again = study.ask(SPACE)
    assert storage.flush() == {}
    assert again.number == 2


def test_other_studies_of_the_storage_are_left_alone(url: str) -> None:
    other = optuna.create_study(study_name="other", storage=open_storage(url))
    other.optimize(lambda trial: trial.suggest_float("y", 0, 1), n_trials=3)
    study, storage = make(url)
    study.tell(study.ask(SPACE), 1.0)
    storage.flush()
    other.optimize(lambda trial: trial.suggest_float("y", 0, 1), n_trials=2)
    trial = study.ask(SPACE)
    assert storage.flush() == {}
    study.tell(trial, 1.0)
    storage.flush()
    assert [trial.number for trial in stored(url)] == [0, 1]
    assert len(other.trials) == 5


def test_several_objectives(url: str) -> None:
    study, storage = make(url, directions=["minimize", "maximize"])
    study.tell(study.ask(SPACE), [1.0, math.inf])
    storage.flush()
    (found,) = stored(url)
    assert found.values == [1.0, math.inf]


def test_attributes_of_the_study_are_written_at_once(url: str) -> None:
    study, _ = make(url)
    study.set_user_attr("a", [1])
    assert optuna.load_study(study_name="s", storage=open_storage(url)).user_attrs == {"a": [1]}
    assert study.user_attrs == {"a": [1]}


def test_what_cannot_be_written_is_kept(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    study, storage = make(url)
    first = study.ask(SPACE)
    storage.flush()
    with storage._backend.engine.begin() as connection:
        connection.execute(sqlalchemy.text("ALTER TABLE trial_params RENAME TO gone"))
    study.tell(first, 1.0)
    study.ask(SPACE)
    with pytest.raises(sqlalchemy.exc.OperationalError):
        storage.flush()
    with storage._backend.engine.begin() as connection:
        connection.execute(sqlalchemy.text("ALTER TABLE gone RENAME TO trial_params"))
    # Nothing of it was written: neither the end of the first nor the second.
    assert [trial.state for trial in stored(url)] == [TrialState.RUNNING]
    assert storage.dirty
    storage.flush()
    assert [trial.state for trial in stored(url)] == [TrialState.COMPLETE, TrialState.RUNNING]
    assert shown(stored(url)) == shown(study.trials)


def test_a_locked_database_is_waited_for(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    study, storage = make(url)
    sqlalchemy.event.listen(
        storage._backend.engine, "connect", lambda connection, _: connection.execute("PRAGMA busy_timeout=50")
    )
    storage._backend.engine.dispose()
    waited: list[str] = []
    back: list[bool] = []
    undo = retry_while_away(storage, waited.append, lambda: back.append(True), also=storage.transactions)
    other = sqlalchemy.create_engine(url).connect()
    other.exec_driver_sql("BEGIN IMMEDIATE")
    threading.Timer(1.0, _release, [other]).start()
    study.ask(SPACE)
    storage.flush()
    undo()
    assert waited
    assert "locked" in waited[0]
    assert back == [True]
    assert len(stored(url)) == 1
    assert "write" not in vars(storage._writer)


def _release(connection: Any) -> None:
    connection.rollback()
    connection.close()


def test_a_journal_that_cannot_be_written_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"journal:///{tmp_path}/study.log"
    study, storage = make(url)
    waited: list[str] = []
    undo = retry_while_away(storage, waited.append, also=storage.transactions)
    write = optuna.storages.journal.JournalFileBackend.append_logs
    fails = iter([OSError(5, "Input/output error"), OSError(5, "Input/output error")])

    def failing(self: Any, logs: Any) -> None:
        error = next(fails, None)
        if error:
            raise error
        write(self, logs)

    monkeypatch.setattr(optuna.storages.journal.JournalFileBackend, "append_logs", failing)
    study.tell(study.ask(SPACE), 1.0)
    storage.flush()
    undo()
    assert len(waited) == 2
    assert shown(stored(url), times=False) == shown(study.trials, times=False)


def test_a_journal_with_two_writers(tmp_path: Path) -> None:
    """What one has gathered and what the other writes meanwhile keep apart."""
    url = f"journal:///{tmp_path}/study.log"
    study, storage = make(url)
    failed: list[BaseException] = []

    def others() -> None:
        try:
            other = optuna.create_study(study_name="other", storage=open_storage(url))
            other.optimize(lambda trial: trial.suggest_float("y", 0, 1), n_trials=40)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=others)
    thread.start()
    for number in range(40):
        study.tell(study.ask(SPACE), float(number))
        storage.flush()
    thread.join(60)
    assert not failed
    assert [trial.value for trial in stored(url)] == [float(number) for number in range(40)]
    other = optuna.load_study(study_name="other", storage=open_storage(url))
    assert [trial.state for trial in other.trials] == [TrialState.COMPLETE] * 40


def test_a_search_from_memory_suggests_the_same(url: str) -> None:
    def run(study: optuna.Study) -> list[Any]:
        search = Search(study, PARAMETERS)
        found = []
        for _ in range(16):
            asked = search.ask()
            assert asked is not None
            found.append(asked.parameters)
            search.tell(asked.number, TrialState.COMPLETE, [asked.parameters["x"] ** 2])
        return found

    plain = optuna.create_study(sampler=TPESampler(seed=1, n_startup_trials=4))
    study, _ = make(url, sampler=TPESampler(seed=1, n_startup_trials=4))
    assert run(study) == run(plain)


def test_trials_that_are_asked_for_together_all_move(url: str) -> None:
    study, _ = make(url)
    search = Search(study, PARAMETERS)
    theirs = optuna.load_study(study_name="s", storage=open_storage(url))
    theirs.enqueue_trial({"x": 4.0})
    asked = search.ask_several(3)
    assert [one.number for one in asked] == [1, 2, 3]
    assert [one.task_id for one in asked] == [search.task_id(number) for number in (1, 2, 3)]
    for one in asked:
        assert stored(url)[one.number].params == one.parameters
        assert search.tell(one.number, TrialState.COMPLETE, [float(one.number)])
    search.flush()
    assert [trial.value for trial in stored(url)] == [None, 1.0, 2.0, 3.0]


def test_trials_that_the_storage_did_not_take_are_given_later(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, storage = make(url)
    search = Search(study, PARAMETERS)

    def away() -> dict[int, int]:
        raise StorageUnavailable("it is away")

    with monkeypatch.context() as patched:
        patched.setattr(storage, "flush", away)
        with pytest.raises(StorageUnavailable):
            search.ask_several(3)
    assert [asked.number for asked in search.ask_several(2)] == [0, 1, 2]
    assert [trial.state for trial in stored(url)] == [TrialState.RUNNING] * 3


def test_of_several_trials_those_that_somebody_else_has_told_stay_so(url: str) -> None:
    study, _ = make(url)
    search = Search(study, PARAMETERS)
    asked = search.ask_several(4)
    theirs = optuna.load_study(study_name="s", storage=open_storage(url))
    theirs.tell(asked[1].number, 7.0)
    for one in asked:
        search.tell(one.number, TrialState.COMPLETE, [float(one.number)])
    search.flush()
    assert [trial.values for trial in stored(url)] == [[0.0], [7.0], [2.0], [3.0]]
    assert [trial.values for trial in study.trials] == [[0.0], [7.0], [2.0], [3.0]]
