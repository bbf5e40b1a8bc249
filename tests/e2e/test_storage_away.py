"""Optuna's storage locked or away for a while: waited for, by the controller and by objectives, nothing told twice."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest

from tests.e2e.cli import Cli, folder_of
from tests.e2e.harness import started, wait_for
from tests.mariadb import MariaDB
from tests.proxy import BreakingProxy
from worker.trials.storage import open_storage
from worker.trials.storage_retry import beneath

pytestmark = pytest.mark.slow

OBJECTIVES = """
import time

def steps(task, x):
    for i in range(5):
        task.report_scalar("loss", "", x + 4 - i, i)
        time.sleep(0.1)

def written_for_optuna(trial):
    y = trial.suggest_float("y", 0, 1)
    for i in range(5):
        trial.report(y + 4 - i, i)
        time.sleep(0.1)
    trial.set_user_attr("twice", 2 * y)
    return y
"""
TRIALS = 8


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    with folder_of(tmp_path, OBJECTIVES) as found:
        yield found


def told(log: Path) -> int:
    return log.read_text().count(" completed ")


def check(cli: Cli, trials: list[optuna.trial.FrozenTrial], log: Path) -> None:
    assert "Traceback" not in log.read_text()
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * TRIALS
    rows = cli.json("tasks")
    assert [row["status"] for row in rows] == ["completed"] * TRIALS
    assert {row["trial"]: row["loss"] for row in rows} == {trial.number: trial.value for trial in trials}
    assert {row["attempt"] for row in rows} == {1}
    assert all(len(trial.intermediate_values) == 5 for trial in trials)
    said = [line.split()[1] for line in log.read_text().splitlines() if line.startswith("trial ")]
    assert sorted(said) == [str(number) for number in range(TRIALS)]


def test_sqlite_that_somebody_locks(cli: Cli) -> None:
    log = cli.folder / "log"
    file = cli.sweep(
        objective={"function": "obj:steps"},
        budget={"max_trials": TRIALS, "max_iterations": 5},
        pruner={"type": "median", "n_startup_trials": 100},  # so that reports are told
    )
    with started("controller", "start", file, "--workers", "2", cwd=cli.folder, log=log) as process:
        wait_for(lambda: log.exists() and told(log) >= 2, "two told trials")
        other = sqlite3.connect(cli.folder / ".optuna-rq" / "optuna.db", timeout=60, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        wait_for(lambda: "storage can't be used (database is locked); waiting" in log.read_text(), "the note")
        time.sleep(1.0)
        other.execute("COMMIT")
        other.close()
        assert process.wait(60) == 0, log.read_text()
    assert "Optuna's storage is back" in log.read_text()
    check(cli, cli.trials(), log)


def test_interrupted_meanwhile(cli: Cli) -> None:
    log = cli.folder / "log"
    file = cli.sweep(objective={"function": "obj:steps"}, budget={"max_trials": TRIALS, "max_iterations": 5})
    with started("controller", "start", file, "--workers", "2", cwd=cli.folder, log=log) as process:
        wait_for(lambda: log.exists() and told(log) >= 2, "two told trials")
        other = sqlite3.connect(cli.folder / ".optuna-rq" / "optuna.db", timeout=60, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        wait_for(lambda: "storage can't be used (database is locked); waiting" in log.read_text(), "the note")
        process.terminate()
        assert process.wait(60) == 130, log.read_text()
        other.execute("COMMIT")
        other.close()
    assert "Traceback" not in log.read_text()
    done = cli.start(file)
    assert done.returncode == 0, done.stderr
    trials = [trial for trial in cli.trials() if trial.state.name == "COMPLETE"]
    assert len(trials) == TRIALS
    rows = cli.json("tasks", "--status", "completed")
    assert {row["trial"]: row["loss"] for row in rows} == {trial.number: trial.value for trial in trials}


def test_a_database_that_goes_away(cli: Cli, mariadb: MariaDB) -> None:
    """With objectives that use it themselves."""
    straight = mariadb.database()
    with BreakingProxy(mariadb.port) as proxy:
        url = straight.replace(f":{mariadb.port}/", f":{proxy.port}/")
        log = cli.folder / "log"
        file = cli.sweep(
            objective={"optuna": "obj:written_for_optuna"},
            parameters={},
            budget={"max_trials": TRIALS, "max_iterations": 5},
        )
        with started(
            "controller", "start", file, "--workers", "2", cwd=cli.folder, log=log, OPTUNA_STORAGE=url
        ) as process:
            wait_for(lambda: log.exists() and told(log) >= 2, "two told trials", 90.0)
            proxy.refuse()
            time.sleep(6.0)  # the running trials can't report, and the next ones can't be asked
            assert told(log) < TRIALS
            proxy.heal()
            assert process.wait(90) == 0, log.read_text()
        study = optuna.load_study(study_name="s", storage=straight)
        failed = [row for row in cli.json("tasks") if row["status"] != "completed"]
        assert not failed, [cli("logs", str(row["task_id"])).stdout for row in failed]
        check(cli, study.trials, log)
        assert all(trial.user_attrs["twice"] == 2 * trial.params["y"] for trial in study.trials)
        check(cli, study.trials, log)


def test_a_connection_that_breaks_in_use_logs_no_traceback(
    mariadb: MariaDB, caplog: pytest.LogCaptureFixture
) -> None:
    straight = mariadb.database()
    with BreakingProxy(mariadb.port) as proxy:
        storage = beneath(open_storage(straight.replace(f":{mariadb.port}/", f":{proxy.port}/")))
        assert isinstance(storage, optuna.storages.RDBStorage)
        connection = storage.engine.raw_connection()
        connection.cursor().execute("SELECT 1")
        proxy.refuse()
        connection.close()  # the pool rolls it back, which fails
    assert caplog.records == []
