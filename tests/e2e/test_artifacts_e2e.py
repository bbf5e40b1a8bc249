"""Artifacts on one machine: saved by functions, scripts and commands, listed and downloaded, or refused."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy
import pytest

from tests.e2e.cli import Cli, folder_of
from tests.e2e.harness import Bench, assert_nothing_left, environment, started
from tests.s3server import S3Server
from worker.artifacts import ArtifactMeta, fetch
from worker.protocol import Reason, Status

OBJECTIVES = """
import pathlib
import numpy
from worker import Task

def saves(task, x):
    pathlib.Path("out/deep").mkdir(parents=True, exist_ok=True)
    pathlib.Path("out/deep/notes.txt").write_text(f"x is {x}")
    task.upload_artifact("notes", "out/deep/notes.txt")
    task.upload_artifact("folder", pathlib.Path("out"))
    task.upload_artifact("weights", numpy.full(3, x))
    task.upload_artifact("raw", b"\\x00\\xff")
    save_settings(x)
    task.upload_artifact("settings", {"x": x, "again": True})
    assert task.artifacts["settings"].get() == {"x": x, "again": True}
    assert numpy.array_equal(task.artifacts["weights"].get(), numpy.full(3, x))
    return x

def save_settings(x):
    Task.current_task().upload_artifact("settings", {"x": x})

def unsupported(task, x):
    task.upload_artifact("settings", {"x": x})
    if x < 0.5:
        task.upload_artifact("the model", object())
    return x

def odd_names(task, x):
    task.upload_artifact("../../../escape", {"x": x})
    task.upload_artifact("n" * 300, {"x": x})
    task.upload_artifact("größe 模型 \\udcff", {"x": x})
    task.report_scalar("half \\udcff", "", x, 0)
    return x
"""

SCRIPT = """
from worker import Logger, Task
task = Task.init("project", "name")
settings = task.connect({"x": 9.0})
with open(f"model-{task.id}.txt", "w") as file:
    file.write(f"model of {settings['x']}")
task.upload_artifact("model", f"model-{task.id}.txt")
task.upload_artifact("settings", settings)
Logger.current_logger().report_scalar("loss", "", settings["x"], 0)
"""


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    """In a folder whose name means something in URLs."""
    folder = tmp_path / "my sweeps #1 50%20"
    folder.mkdir()
    with folder_of(folder, OBJECTIVES) as found:
        yield found
        assert_nothing_left(folder)


def test_saved_by_a_function(cli: Cli) -> None:
    done = cli.start(cli.sweep(objective={"function": "obj:saves"}, budget={"max_trials": 2}), workers=1)
    assert done.returncode == 0, done.stdout
    best = cli.json("top", "-k", "1")[0]
    task, x = best["task_id"], best["hyper_parameters"]["x"]

    listed = cli.json("artifacts", "list")
    assert len(listed) == 10
    mine = {one["name"]: one for one in cli.json("artifacts", "list", "--task", task[:10])}
    assert {name: (one["kind"], one["filename"]) for name, one in mine.items()} == {
        "notes": ("file", "notes.txt"),
        "folder": ("folder", "out.zip"),
        "weights": ("numpy", "weights.npy"),
        "raw": ("bytes", "raw.bin"),
        "settings": ("json", "settings.json"),
    }
    assert all(one["task_id"] == task for one in mine.values())
    rows = list(csv.DictReader(io.StringIO(cli("artifacts", "list", "--format", "csv").stdout)))
    assert [row["url"] for row in rows] == [one["url"] for one in listed]
    table = cli("artifacts", "list", "--task", task).stdout
    assert all(name in table for name in mine)
    assert "settings.json" in cli("show", task).stdout

    # Into the current folder under its own name, into another folder, or as a file.
    got = cli("artifacts", "get", task, "settings")
    assert (got.returncode, got.stderr) == (0, "")
    assert Path(got.stdout.strip()) == cli.folder / "settings.json"
    assert json.loads((cli.folder / "settings.json").read_text()) == {"x": x, "again": True}
    (cli.folder / "downloads").mkdir()
    assert cli("artifacts", "get", task, "weights", "downloads").returncode == 0
    assert numpy.array_equal(numpy.load(cli.folder / "downloads" / "weights.npy"), numpy.full(3, x))
    assert cli("artifacts", "get", task, "folder", "new/place/all.zip").returncode == 0
    with zipfile.ZipFile(cli.folder / "new" / "place" / "all.zip") as archive:
        assert archive.namelist() == ["deep/notes.txt"]

    # What is there is kept, unless asked.
    kept = cli.folder / "downloads" / "weights.npy"
    kept.write_text("mine")
    refused = cli("artifacts", "get", task, "weights", "downloads")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.count("\n") == 1
    assert "exists; give --force" in refused.stderr
    assert kept.read_text() == "mine"
    assert cli("artifacts", "get", task, "weights", "downloads", "--force").returncode == 0
    assert numpy.array_equal(numpy.load(kept), numpy.full(3, x))
    assert os.listdir(cli.folder / "downloads") == ["weights.npy"]

    for arguments, message in (
        ((task, "wieghts"), f"task {task[:8]} has no artifact 'wieghts'; there are: folder, notes, raw, settings, weights"),
        (("f" * 32, "weights"), "f" * 32),
        (("zz", "weights"), "no task 'zz'"),
    ):  # fmt: skip
        wrong = cli("artifacts", "get", *arguments)
        assert (wrong.returncode, wrong.stdout, wrong.stderr.count("\n")) == (2, "", 1)
        assert message in wrong.stderr

    # Stored bytes that are gone or no longer the same.
    stored = {name: cli.folder / ".optuna-rq" / "artifacts" / one["key"] for name, one in mine.items()}
    stored["raw"].write_bytes(b"\x00\xfe")
    stored["notes"].unlink()
    for name, message in (("raw", "is damaged"), ("notes", "no object")):
        lost = cli("artifacts", "get", task, name, "downloads")
        assert (lost.returncode, lost.stderr.count("\n")) == (1, 1)
        assert message in lost.stderr
    assert os.listdir(cli.folder / "downloads") == ["weights.npy"]


def test_saved_by_a_script_and_by_a_child_of_a_command(cli: Cli) -> None:
    (cli.folder / "train.py").write_text(SCRIPT)
    (cli.folder / "train.sh").write_text(f'#!/bin/sh\n"{sys.executable}" train.py\necho "loss=$1"\n')
    (cli.folder / "train.sh").chmod(0o755)
    for name, objective in (
        ("script", {"script": "train.py"}),
        ("command", {"command": ["./train.sh", "{x}"]}),
    ):
        sweep = cli.sweep(
            study={"name": name, "metric": {"name": "loss", "goal": "minimize"}}, objective=objective
        )
        done = cli.start(sweep)
        assert done.returncode == 0, done.stdout
        for entry in cli.json("top", name):
            task, x = entry["task_id"], entry["hyper_parameters"]["x"]
            assert cli("artifacts", "get", task, "model", f"{name}-{task}").returncode == 0
            assert (cli.folder / f"{name}-{task}").read_text() == f"model of {x}"
        assert len(cli.json("artifacts", "list", name)) == 6


def test_what_can_not_be_saved_fails_its_task(cli: Cli) -> None:
    sweep = cli.sweep(
        objective={"function": "obj:unsupported"},
        parameters={"x": {"choices": [0.25, 0.75]}},
        sampler={"type": "grid"},
    )
    done = cli.start(sweep)
    assert done.returncode == 0, done.stdout
    (failed,) = cli.json("tasks", "--status", "failed")
    about = cli.json("show", failed["task_id"])
    assert about["reason_class"] == "objective_error"
    assert about["reason"].startswith(
        "ArtifactError: artifact 'the model': a object can't be stored; store a path, bytes, a dict"
    )
    assert 'task.upload_artifact("the model", object())' in about["error"]
    assert set(about["artifacts"]) == {"settings"}  # what was stored before is kept
    (completed,) = cli.json("tasks", "--status", "completed")
    assert completed["loss"] == 0.75


def test_odd_names(cli: Cli) -> None:
    done = cli.start(cli.sweep(objective={"function": "obj:odd_names"}, budget={"max_trials": 1}))
    assert done.returncode == 0, done.stdout
    (task,) = cli.json("tasks")
    assert (task["status"], task["attempt"]) == ("completed", 1)  # no slot was lost over it
    names = [one["name"] for one in cli.json("artifacts", "list")]
    assert names == ["../../../escape", "größe 模型 ?", "n" * 300]
    (cli.folder / "downloads").mkdir()
    for name in names:
        got = cli("artifacts", "get", task["task_id"], name, "downloads")
        assert got.returncode == 0, got.stderr
        path = cli.folder / got.stdout.strip()
        assert path.parent == cli.folder / "downloads"
        assert json.loads(path.read_text()) == {"x": task["loss"]}
    assert len(os.listdir(cli.folder / "downloads")) == 3
    assert not list(cli.folder.parent.glob("*escape*"))
    assert "half ?" in cli.json("show", task["task_id"])["metrics"]


def test_a_program_run_by_hand_keeps_its_artifacts_here(cli: Cli) -> None:
    (cli.folder / "train.py").write_text(
        SCRIPT + "import json; print(json.dumps([a.url for a in task.artifacts.values()]))\n"
        "assert task.artifacts['settings'].get() == {'x': 9.0}\n"
    )
    done = subprocess.run(
        [sys.executable, "train.py"],
        cwd=cli.folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert sorted(os.listdir(cli.folder)) == sorted(
        [".optuna-rq", "obj.py", "train.py", *[p.name for p in cli.folder.glob("model-*")]]
    )
    stored = [p for p in (cli.folder / ".optuna-rq" / "artifacts" / "project").rglob("*") if p.is_file()]
    assert len(stored) == 2
    assert all("my%20sweeps%20%231%2050%2520" in url for url in json.loads(done.stdout))


def test_a_program_run_by_hand_with_a_store_of_optunas(cli: Cli, s3_server: S3Server) -> None:
    """Its client alone knows the server and the keys; the task's record has the place."""
    s3_server.make_bucket("byhand")
    (cli.folder / "train.py").write_text(
        "import json, sys, boto3\n"
        "from optuna.artifacts import Boto3ArtifactStore\n"
        "from worker import Task\n"
        "client = boto3.client('s3', **json.load(sys.stdin))\n"
        "task = Task.init('project', 'name', output_uri=Boto3ArtifactStore('byhand', client))\n"
        "task.upload_artifact('settings', {'x': 9.0})\n"
        "assert task.artifacts['settings'].get() == {'x': 9.0}\n"
        "print(task.artifacts['settings'].url)\n"
    )
    access = {name.lower(): value for name, value in s3_server.env().items()}
    keys = {
        "endpoint_url": s3_server.endpoint,
        "region_name": "us-east-1",
        "aws_access_key_id": access["aws_access_key_id"],
        "aws_secret_access_key": access["aws_secret_access_key"],
    }
    done = subprocess.run(
        [sys.executable, "train.py"],
        cwd=cli.folder,
        env=environment(),
        input=json.dumps(keys),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("s3://byhand/project/")


def test_a_worker_in_another_folder(redis_url: str, tmp_path: Path) -> None:
    """It stores where the task says, or where it is told itself; downloads need no worker."""
    node = tmp_path / "node"
    node.mkdir()
    bench = Bench(redis_url, node)
    bench.module(
        "obj.py",
        OBJECTIVES.replace('"settings", {"x": x})', '"settings", {"x": x}); import os; os.chdir("/")'),
    )
    with started("worker", cwd=node, REDIS_URL=redis_url):
        first = bench.submit(
            "obj:unsupported", parameters={"x": 0.75}, artifacts=f"file://{tmp_path}/the%20store"
        )
        assert bench.ended(first).status is Status.COMPLETED
    # A killed slot may still take a job until Redis has noticed; there is no controller here to put it back.
    time.sleep(1.0)
    with started("worker", "--artifacts", "own store", cwd=node, REDIS_URL=redis_url):
        second = bench.submit("obj:saves", parameters={"x": 0.5}, artifacts=f"file://{tmp_path}/the%20store")
        ended = bench.ended(second)
        assert ended.status is Status.COMPLETED, ended
    for task, folder in ((first, tmp_path / "the store"), (second, node / "own store")):
        meta = ArtifactMeta.from_json(bench.store.artifacts.of_task(task)["settings"])
        assert (folder / meta.key).is_file()
        assert json.loads(fetch(meta, tmp_path / task).read_text())["x"] in (0.5, 0.75)
    assert sorted(os.listdir(node)) == ["obj.py", "out", "own store"]


def test_a_store_that_is_not_there_fails_the_task(redis_url: str, tmp_path: Path) -> None:
    bench = Bench(redis_url, tmp_path)
    bench.module("obj.py", OBJECTIVES)
    (tmp_path / "file").touch()
    with started("worker", cwd=tmp_path, REDIS_URL=redis_url):
        task = bench.submit(
            "obj:unsupported", parameters={"x": 0.75}, artifacts=f"file://{tmp_path}/file/store"
        )
        ended = bench.ended(task)
    assert (ended.status, ended.reason_class) == (Status.FAILED, Reason.OBJECTIVE_ERROR)
    assert "Not a directory" in ended.reason
