"""helios' functions: sampler checkpoints, going on with a study, going on from one of its trials."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.samplers import BaseSampler, NSGAIISampler, QMCSampler, RandomSampler, TPESampler

from controller import (
    checkpoint_sampler,
    create_or_load_study,
    create_study_starting_from_trial,
    restore_sampler,
)
from controller.studies.study_copies import _COPY, _copy
from tests.storages import KINDS, storage_url
from worker.protocol.errors import BadInput
from worker.trials.storage import open_storage

SAMPLERS: dict[str, Callable[[], BaseSampler]] = {
    "random": lambda: RandomSampler(seed=3),
    "tpe": lambda: TPESampler(seed=3, n_startup_trials=4),
    "qmc": lambda: QMCSampler(seed=3, warn_independent_sampling=False),
    "nsgaii": lambda: NSGAIISampler(seed=3, population_size=4),
}


@pytest.fixture(params=KINDS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return storage_url(request.param, request, tmp_path)


def objective(trial: optuna.Trial) -> float:
    x, y = trial.suggest_float("x", -5, 5), trial.suggest_int("y", 0, 9)
    trial.report(x, 0)
    trial.set_user_attr("y", y)
    return x * x + y


def with_checkpoints(root: Path) -> Callable[[optuna.Trial], float]:
    def run(trial: optuna.Trial) -> float:
        checkpoint_sampler(trial, root)
        value = objective(trial)
        checkpoint_sampler(trial, root)
        return value

    return run


def shown(study: optuna.Study) -> list[Any]:
    return [
        (t.number, t.state.name, t.params, t.values, t.user_attrs, t.intermediate_values)
        for t in study.trials
    ]


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        pytest.param(storage, kind, marks=pytest.mark.slow if on_a_server and kind != "tpe" else ())
        for storage in KINDS
        for on_a_server in [storage in ("mysql", "postgresql")]
        for kind in SAMPLERS
    ],
    indirect=["url"],
)
def test_a_restored_sequence_equals_the_uninterrupted_one(url: str, tmp_path: Path, kind: str) -> None:
    whole = optuna.create_study(sampler=SAMPLERS[kind]())
    whole.optimize(objective, n_trials=14)
    arguments: dict[str, Any] = {"storage": url, "study_name": "s", "load_if_exists": True}
    samplers = tmp_path / "samplers"
    for trials in (5, 3, 6):
        study = create_or_load_study(samplers, sampler=SAMPLERS[kind](), **arguments)
        study.optimize(with_checkpoints(samplers), n_trials=trials)
    assert shown(study) == shown(whole)
    # Back to the sixth, and on: the same again.
    study = create_study_starting_from_trial(5, sampler_path=samplers, sampler=SAMPLERS[kind](), **arguments)
    assert shown(study) == shown(whole)[:6]
    assert sorted(path.name for path in samplers.iterdir()) == [f"trial_{n:06d}.sampler" for n in range(6)]
    study.optimize(with_checkpoints(samplers), n_trials=8)
    assert shown(study) == shown(whole)
    # And back to the first.
    study = create_study_starting_from_trial(0, sampler_path=samplers, **arguments)
    study.optimize(with_checkpoints(samplers), n_trials=13)
    assert shown(study) == shown(whole)


def test_a_trial_that_failed_before_it_returned_has_the_same_values_again(tmp_path: Path) -> None:
    url, samplers = f"sqlite:///{tmp_path}/s.db", tmp_path / "samplers"

    def fails(trial: optuna.Trial) -> float:
        checkpoint_sampler(trial, samplers)
        objective(trial)
        raise RuntimeError("power is off")

    arguments: dict[str, Any] = {"storage": url, "study_name": "s", "load_if_exists": True}
    study = create_or_load_study(samplers, sampler=RandomSampler(seed=1), **arguments)
    with pytest.raises(RuntimeError):
        study.optimize(fails, n_trials=1)
    study = create_or_load_study(samplers, **arguments)
    study.optimize(with_checkpoints(samplers), n_trials=1)
    assert study.trials[0].params == study.trials[1].params


def test_what_is_not_the_studys_stays_untouched(url: str, tmp_path: Path) -> None:
    storage = open_storage(url)
    other = optuna.create_study(storage=storage, study_name="other", directions=["minimize", "maximize"])
    other.optimize(lambda trial: (trial.suggest_float("z", 0, 1), 1.0), n_trials=3)
    other.set_user_attr("a", {"b": 1})
    study = optuna.create_study(storage=storage, study_name="s", sampler=RandomSampler(seed=1))
    study.set_user_attr("note", "kept")
    study.optimize(objective, n_trials=6)
    study.enqueue_trial({"x": 1.0})
    storage.set_trial_system_attr(study.trials[6]._trial_id, "artifacts:1", "{}")
    before, others = shown(study), shown(other)
    again = create_study_starting_from_trial(
        3, backup_study=False, storage=url, study_name="s", load_if_exists=True
    )
    assert shown(again) == before[:4]
    assert again.user_attrs == {"note": "kept"}
    assert again.directions == study.directions
    other = optuna.load_study(study_name="other", storage=open_storage(url))
    assert shown(other) == others
    assert other.user_attrs == {"a": {"b": 1}}
    assert optuna.get_all_study_names(open_storage(url)) == ["other", "s"] or sorted(
        optuna.get_all_study_names(open_storage(url))
    ) == ["other", "s"]
    again.optimize(objective, n_trials=2)
    assert [trial.number for trial in again.trials] == list(range(6))


def test_backups(url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    arguments: dict[str, Any] = {"storage": url, "study_name": "s", "load_if_exists": True}
    samplers = tmp_path / "samplers"
    # Of what is not there yet there is nothing to back up.
    study = create_or_load_study(samplers, backup_study=True, backup_samplers=True, **arguments)
    study.optimize(with_checkpoints(samplers), n_trials=4)
    before = shown(study)
    with caplog.at_level(logging.WARNING):
        create_study_starting_from_trial(2, sampler_path=samplers, **arguments)
        create_study_starting_from_trial(1, sampler_path=samplers, **arguments)
    assert (tmp_path / "samplers_backup-0" / "trial_000003.sampler").exists()
    assert not (tmp_path / "samplers_backup-1" / "trial_000003.sampler").exists()
    assert "was copied to" in caplog.text
    if url.startswith(("mysql", "postgresql")):
        first = optuna.load_study(study_name="s_backup-0", storage=open_storage(url))
        assert set(optuna.get_all_study_names(open_storage(url))) == {"s", "s_backup-0", "s_backup-1"}
    else:
        suffix = "db" if url.startswith("sqlite") else "log"
        scheme = url.partition("://")[0]
        assert (tmp_path / f"study_backup-1.{suffix}").exists()
        first = optuna.load_study(
            study_name="s", storage=open_storage(f"{scheme}:///{tmp_path}/study_backup-0.{suffix}")
        )
    assert shown(first) == before


def test_gaps_and_damage(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    samplers = tmp_path / "samplers"
    assert restore_sampler(samplers) is None
    study = optuna.create_study(sampler=RandomSampler(seed=1))
    study.optimize(with_checkpoints(samplers), n_trials=5)
    last = samplers / "trial_000004.sampler"
    last.write_bytes(last.read_bytes()[:-7])
    with caplog.at_level(logging.WARNING):
        sampler = restore_sampler(samplers)
    assert "cut short or altered" in caplog.text
    assert sampler is not None
    replay = optuna.create_study(sampler=sampler)
    replay.optimize(objective, n_trials=1)
    assert replay.trials[0].params == study.trials[4].params
    (samplers / "trial_000002.sampler").unlink()
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        sampler = restore_sampler(samplers, 2)
    assert "has no sampler of trial 2; taking that of 1" in caplog.text
    replay = optuna.create_study(sampler=sampler)
    replay.optimize(objective, n_trials=1)
    assert replay.trials[0].params == study.trials[2].params
    for path in samplers.iterdir():
        path.write_bytes(b"")
    assert restore_sampler(samplers) is None
    # Half of a file that was being written is none of them.
    assert not list(samplers.glob(".part-*"))


def test_old_checkpoints_are_pruned(tmp_path: Path) -> None:
    study = optuna.create_study(sampler=RandomSampler(seed=1))
    for _ in range(6):
        trial = study.ask()
        checkpoint_sampler(trial, tmp_path / "s", keep=3)
        study.tell(trial, 1.0)
    assert sorted(path.name for path in (tmp_path / "s").iterdir()) == [
        f"trial_{number:06d}.sampler" for number in (3, 4, 5)
    ]


def edited(path: Path, **changes: Any) -> None:
    line, _, body = path.read_bytes().partition(b"\n")
    path.write_bytes(json.dumps({**json.loads(line), **changes}).encode() + b"\n" + body)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"optuna": "4.1.0"}, "it is of Optuna 4.1.0, here is"), ({"v": 99}, "version 99 is not known")],
)
def test_a_checkpoint_of_another_version_changes_nothing(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    url, samplers = f"sqlite:///{tmp_path}/s.db", tmp_path / "samplers"
    arguments: dict[str, Any] = {"storage": url, "study_name": "s", "load_if_exists": True}
    study = create_or_load_study(samplers, **arguments)
    study.optimize(with_checkpoints(samplers), n_trials=3)
    edited(samplers / "trial_000002.sampler", **changes)
    files = sorted(path.name for path in tmp_path.iterdir())
    for call in (
        lambda: create_or_load_study(samplers, backup_study=True, **arguments),
        lambda: create_study_starting_from_trial(2, sampler_path=samplers, **arguments),
    ):
        with pytest.raises(BadInput, match=message):
            call()
    assert len(optuna.load_study(study_name="s", storage=url).trials) == 3
    assert [name for name in sorted(path.name for path in tmp_path.iterdir()) if "backup" in name] == []
    assert len(files) >= 2


def test_a_checkpoint_of_another_sampler(tmp_path: Path) -> None:
    samplers = tmp_path / "samplers"
    arguments: dict[str, Any] = {
        "storage": f"sqlite:///{tmp_path}/s.db",
        "study_name": "s",
        "load_if_exists": True,
    }
    study = create_or_load_study(samplers, sampler=TPESampler(seed=1), **arguments)
    study.optimize(with_checkpoints(samplers), n_trials=2)
    with pytest.raises(BadInput, match="are of a TPESampler, not of the QMCSampler"):
        create_or_load_study(samplers, sampler=QMCSampler(seed=1), **arguments)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"storage": None}, "storage must be a URL"),
        ({"storage": optuna.storages.InMemoryStorage()}, "storage must be a URL"),
        ({"storage": "sqlite://"}, "keeps nothing"),
        ({"study_name": None}, "study_name is missing"),
        ({"load_if_exists": False}, "load_if_exists must be True"),
        ({"smapler": None}, "takes no argument 'smapler'"),
    ],
)
def test_arguments_that_can_not_be(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {
        "storage": f"sqlite:///{tmp_path}/s.db",
        "study_name": "s",
        "load_if_exists": True,
    }
    arguments.update(changes)
    with pytest.raises(BadInput, match=message):
        create_or_load_study(**arguments)
    with pytest.raises(BadInput, match=message):
        create_study_starting_from_trial(0, **arguments)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("trial", [-1, 7, 3, True, "1"])
def test_trials_that_are_not_there(tmp_path: Path, trial: Any) -> None:
    arguments: dict[str, Any] = {
        "storage": f"sqlite:///{tmp_path}/s.db",
        "study_name": "s",
        "load_if_exists": True,
    }
    with pytest.raises(BadInput, match="there is no study 's'|the number of a trial"):
        create_study_starting_from_trial(trial, **arguments)
    create_or_load_study(**arguments).optimize(objective, n_trials=3)
    with pytest.raises(BadInput, match=r"has no trial \d; its trials are 0 to 2|the number of a trial"):
        create_study_starting_from_trial(trial, **arguments)
    with pytest.raises(BadInput):
        restore_sampler(tmp_path, -1)


@pytest.mark.parametrize("complete", [True, False])
def test_a_journal_that_was_being_rewritten(tmp_path: Path, complete: bool) -> None:
    """A crash in the middle: what is complete takes the study's place, what is not is dropped."""
    url = f"journal:///{tmp_path}/study.log"
    storage = open_storage(url)
    study = optuna.create_study(storage=storage, study_name="s", sampler=RandomSampler(seed=1))
    study.optimize(objective, n_trials=6)
    before = shown(study)
    _copy("s", "s.rewind-0", storage, 3)
    if complete:
        optuna.load_study(study_name="s.rewind-0", storage=storage).set_user_attr(_COPY, "s")
        optuna.delete_study(study_name="s", storage=storage)
        _copy("s.rewind-0", "s", storage, 1)  # and then the power went
    again = create_study_starting_from_trial(
        1, backup_study=False, storage=url, study_name="s", load_if_exists=True
    )
    assert shown(again) == before[:2]
    assert optuna.get_all_study_names(open_storage(url)) == ["s"]
    assert _COPY not in again.user_attrs


def test_killed_and_started_again(tmp_path: Path) -> None:
    """A program that is killed at any moment goes on with the sequence of one that was not."""
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent(
            """
            import sys, time
            from pathlib import Path
            import optuna
            from controller import checkpoint_sampler, create_or_load_study
            optuna.logging.set_verbosity(optuna.logging.ERROR)
            def objective(trial):
                checkpoint_sampler(trial, Path("samplers"))
                x = trial.suggest_float("x", -5, 5)
                time.sleep(0.02)
                checkpoint_sampler(trial, Path("samplers"))
                return x * x
            study = create_or_load_study(Path("samplers"), storage="sqlite:///s.db", study_name="s",
                                         load_if_exists=True, sampler=optuna.samplers.RandomSampler(seed=4))
            while sum(t.state.name == "COMPLETE" for t in study.trials) < 25:
                study.optimize(objective, n_trials=1)
            """
        )
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    for patience in (2.2, 2.6, 60):
        process = subprocess.Popen([sys.executable, str(program)], cwd=tmp_path, env=environment)
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
    assert process.returncode == 0
    study = optuna.load_study(study_name="s", storage=f"sqlite:///{tmp_path}/s.db")
    chosen = [trial.params["x"] for trial in study.trials if trial.params]
    # One that was killed between its checkpoints is had again by the trial after it.
    found = [x for x, after in zip(chosen, [*chosen[1:], None], strict=True) if x != after]
    whole = optuna.create_study(sampler=RandomSampler(seed=4))
    whole.optimize(lambda trial: trial.suggest_float("x", -5, 5), n_trials=30)
    expected = [trial.params["x"] for trial in whole.trials]
    assert len(found) >= 25
    assert found == expected[: len(found)]
