"""The tutorial of Optuna's artifacts, end to end: the examples as a user runs them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import optuna
import pytest
from PIL import Image

import worker
from tests.e2e.harness import assert_nothing_left, environment, run, run_json, started, wait_for
from tests.mariadb import MariaDB
from tests.s3server import S3Server

EXAMPLES = Path(worker.__file__).parents[1] / "examples"


def with_examples(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    shutil.copytree(EXAMPLES, folder / "examples", dirs_exist_ok=True)
    return folder


def python(module: str, *arguments: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=cwd,
        env=environment(**env),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_scenario_1_sqlite_and_a_folder(tmp_path: Path) -> None:
    folder = with_examples(tmp_path)
    sweep = "examples/artifacts/quadratic.toml"
    done = run("controller", "start", sweep, "--set", "budget.max_trials=12", cwd=folder, timeout=120)
    assert done.returncode == 0, done.stderr
    study = optuna.load_study(study_name="quadratic", storage=f"sqlite:///{folder}/.optuna-rq/optuna.db")
    assert len(study.trials) == 12
    store = optuna.artifacts.FileSystemArtifactStore(folder / "artifacts")
    for trial in study.trials:
        (meta,) = optuna.artifacts.get_all_artifact_meta(trial, storage=study._storage)
        assert meta.artifact_id == trial.user_attrs["artifact_id"]
        with store.open_reader(meta.artifact_id) as reader:
            assert reader.read().decode() == f"({trial.params['x']} - 2)² = {trial.value}\n"
    shown = python("examples.artifacts.quadratic", cwd=folder)
    best = study.best_trial
    assert shown.stdout == f"trial {best.number}: ({best.params['x']} - 2)² = {best.value}\n", shown.stderr
    listed = run_json("controller", "artifacts", "list", cwd=folder)
    assert {row["artifact_id"] for row in listed} == {t.user_attrs["artifact_id"] for t in study.trials}
    assert_nothing_left(folder)


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[tuple[Path, list[Path]]]:
    """The head's folder and those of two compute nodes, each with the examples."""
    head, *others = [with_examples(tmp_path / name) for name in ("head", "node-a", "node-b")]
    yield head, others
    assert_nothing_left(tmp_path)


@pytest.mark.slow
def test_scenario_2_mysql_and_s3(
    nodes: tuple[Path, list[Path]], redis_url: str, mariadb: MariaDB, s3_server: S3Server
) -> None:
    """Two workers on two nodes write to the database and to the bucket at once."""
    head, others = nodes
    s3_server.make_bucket("tutorial")
    storage = mariadb.database()
    env = {
        "REDIS_URL": redis_url,
        "OPTUNA_STORAGE": storage,
        "ARTIFACT_STORE": "s3://tutorial/ours",
        "S3_ENDPOINT": s3_server.endpoint,
        "S3_BUCKET": "tutorial",
        **s3_server.env(),
    }
    with ExitStack() as running:
        logs = [node / "worker.log" for node in others]
        for node, log in zip(others, logs, strict=True):
            running.enter_context(started("worker", "--slots", "2", cwd=node, log=log, **env))
        sweep = "examples/artifacts/quadratic.toml"
        done = run("controller", "start", sweep, cwd=head, timeout=150, **env)
    assert done.returncode == 0, done.stderr + done.stdout
    study = optuna.load_study(study_name="quadratic", storage=storage)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 30
    client = s3_server.client()
    store = optuna.artifacts.Boto3ArtifactStore("tutorial", client)
    for trial in study.trials:
        (meta,) = optuna.artifacts.get_all_artifact_meta(trial, storage=study._storage)
        with store.open_reader(meta.artifact_id) as reader:
            assert reader.read().decode() == f"({trial.params['x']} - 2)² = {trial.value}\n"
    # All four slots had a part in it, at the same time.
    rows = run_json("controller", "tasks", cwd=head, **env)
    workers = {row["worker"] for row in rows}
    assert len({name.rsplit("/", 1)[0] for name in workers}) == 2
    begun = sorted((row["started_at"], row["ended_at"]) for row in rows)
    assert any(later[0] < earlier[1] for earlier, later in pairwise(begun))
    shown = python("examples.artifacts.quadratic", cwd=head, **env)
    assert f"trial {study.best_trial.number}: (" in shown.stdout, shown.stderr
    # The password is nowhere that others can read.
    records = run("controller", "status", "--format", "json", cwd=head, **env).stdout
    for text in (records, done.stdout, done.stderr, json.dumps(rows), *(log.read_text() for log in logs)):
        assert mariadb.password not in text
    for row in rows[:3]:
        assert (
            mariadb.password
            not in run("controller", "show", row["task_id"], "--format", "json", cwd=head, **env).stdout
        )


def test_a_password_that_is_wrong_is_told_at_once(redis_url: str, mariadb: MariaDB, tmp_path: Path) -> None:
    storage = mariadb.database().replace(mariadb.password, "wr0ng-word")
    done = run("worker", cwd=tmp_path, REDIS_URL=redis_url, OPTUNA_STORAGE=storage)
    assert done.returncode == 2
    assert "Access denied" in done.stderr
    assert "wr0ng-word" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.slow
def test_the_adsorption_example_on_distributed_workers(
    nodes: tuple[Path, list[Path]], redis_url: str, mariadb: MariaDB, s3_server: S3Server
) -> None:
    head, others = nodes
    s3_server.make_bucket("adsorption")
    env = {
        "REDIS_URL": redis_url,
        "OPTUNA_STORAGE": mariadb.database(),
        "ARTIFACT_STORE": "s3://adsorption/structures",
        **s3_server.env(),
    }
    prepared = python("examples.artifacts.adsorption", "prepare", cwd=head, **env)
    assert prepared.returncode == 0, prepared.stderr
    with ExitStack() as running:
        for node in others:
            running.enter_context(started("worker", cwd=node, **env))
        wait_for(lambda: run("controller", "status", cwd=head, **env).returncode in (0, 2), "Redis")
        sweep = "examples/artifacts/adsorption.toml"
        few = ("--set", "budget.max_trials=4")
        done = run("controller", "start", sweep, *few, cwd=head, timeout=150, **env)
    assert done.returncode == 0, done.stderr + done.stdout
    drawn = python("examples.artifacts.adsorption", "draw", cwd=head, **env)
    assert drawn.returncode == 0, drawn.stderr
    with Image.open(head / "best_atoms.png") as picture:
        assert min(picture.size) > 50
        assert len(set(picture.convert("RGB").getdata())) > 10  # atoms, not an empty sheet
    study = optuna.load_study(study_name="adsorption", storage=env["OPTUNA_STORAGE"])
    assert f"trial {study.best_trial.number}: {study.best_value:.3f} eV" in drawn.stdout
    assert study.best_value < 0
    # The same structure by our own command, under the name that the objective gave it.
    best = run_json("controller", "top", "-k", "1", cwd=head, **env)[0]
    got = run("controller", "artifacts", "get", best["task_id"], "--to", "got", cwd=head, **env)
    assert got.returncode == 0, got.stderr
    (file,) = (head / "got").rglob("structure-*.json")
    assert file.name == f"structure-{study.best_trial.number}.json"
