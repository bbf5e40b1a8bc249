"""`controller export` and `import`, `start --resume`, and `delete --trials`."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest

from tests.e2e.cli import Cli, folder_of
from tests.e2e.harness import started, wait_for
from worker.trials.storage import open_storage

OBJECTIVES = """
import time
def f(task, x):
    for i in range(3):
        task.report_scalar("loss", "", x + 2 - i, i)
        task.report_scalar("other", "", float("nan") if i else 1.0, i)
    print("ärgerlich", x)
    task.upload_artifact("x", {"x": x})
    if x > 0.9:
        raise ValueError("too much")

def slow(task, x):
    task.report_scalar("loss", "", x, 0)
    time.sleep(60)
"""

SECTIONS: dict[str, Any] = {
    "objective": {"function": "obj:f"},
    "budget": {"max_trials": 6, "max_iterations": 3},
    "sampler": {"type": "tpe", "seed": 3},
    "pruner": {"type": "median"},
}


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    (tmp_path / "here").mkdir()
    with folder_of(tmp_path / "here", OBJECTIVES) as found:
        yield found


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Cli]:
    (tmp_path / "there").mkdir()
    with folder_of(tmp_path / "there", OBJECTIVES) as found:
        yield found


def shown(trials: list[optuna.trial.FrozenTrial]) -> list[Any]:
    return [
        (t.number, t.state, t.values, t.params, t.distributions, t.user_attrs, t.system_attrs, t.datetime_start,
         t.datetime_complete, t.intermediate_values)
        for t in trials
    ]  # fmt: skip


def everything(cli: Cli) -> dict[str, Any]:
    tasks = cli.json("tasks")
    status = cli.json("status")
    return {
        "tasks": tasks,
        "shown": [cli.json("show", task["task_id"]) for task in tasks],
        "logs": [cli("logs", task["task_id"]).stdout for task in tasks[:2]],
        "top": cli.json("top", "-k", "10", "--all-metrics"),
        "artifacts": cli.json("artifacts", "list"),
        "events": cli.json("events"),
        "status": {k: status[k] for k in ("state", "reason", "budget", "objectives", "tasks", "created_at")},
    }


def test_a_study_moves(cli: Cli, there: Cli) -> None:
    """To another Redis and another kind of storage; everything is there, and it goes on."""
    sweep = cli.sweep(**SECTIONS)
    assert cli.start(sweep, workers=1).returncode == 0
    (cli.folder / "notes.txt").write_text("notes")
    assert cli("artifacts", "put", "notes.txt").returncode == 0
    file = cli.folder / "s.study.gz"
    done = cli("export")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "study s: 6 trial(s) and 6 task(s) written to s.study.gz\n"
    assert cli("export").returncode == 2
    assert "--force" in cli("export").stderr
    assert cli("export", "--force").returncode == 0

    journal = f"journal://{there.folder}/optuna.log"
    done = there("import", str(file), OPTUNA_STORAGE=journal)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "study s: 6 trial(s) and 6 task(s) imported\n"
    left, arrived = everything(cli), everything(there)
    imported = arrived["events"].pop()
    assert arrived == left
    assert imported["text"] == "imported from s.study.gz"
    moved = optuna.load_study(study_name="s", storage=open_storage(journal)).trials
    assert shown(moved) == shown(cli.trials())
    target = str(there.folder / "got")
    assert there("artifacts", "get", "--top", "1", "--to", target, OPTUNA_STORAGE=journal).returncode == 0

    # Both go on alike.
    more = {**SECTIONS, "budget": {"max_trials": 9, "max_iterations": 3}}
    assert cli.start(cli.sweep(**more), workers=1).returncode == 0
    done = there.start(there.sweep(**more), "--resume", workers=1, OPTUNA_STORAGE=journal)
    assert done.returncode == 0, done.stderr
    after = optuna.load_study(study_name="s", storage=open_storage(journal)).trials
    assert [trial.params for trial in after] == [trial.params for trial in cli.trials()]
    assert len(after) == 9

    # A second time, under another name, beside the first one.
    assert there("import", str(file), OPTUNA_STORAGE=journal).returncode == 2
    done = there("import", str(file), "--name", "t", OPTUNA_STORAGE=journal)
    assert done.returncode == 0, done.stderr
    ids = {name: {row["task_id"] for row in there.json("tasks", name)} for name in "st"}
    assert len(ids["t"]) == 6
    assert not ids["s"] & ids["t"]
    assert len(there.json("top", "t", "-k", "10")) == len(cli.json("top", "-k", "10")) - 3


def test_one_that_runs(cli: Cli, there: Cli) -> None:
    """What was open runs where it is imported."""
    sweep = cli.sweep(**{**SECTIONS, "objective": {"function": "obj:slow"}})
    with started("controller", "start", sweep, "--workers", "2", cwd=cli.folder):
        wait_for(lambda: (cli.folder / ".optuna-rq").exists(), "the state")
        wait_for(lambda: cli("status").stdout.count("in_progress") == 1, "running tasks")
        wait_for(
            lambda: sum(r["status"] == "in_progress" for r in cli.json("tasks")) == 2, "two running tasks"
        )
        assert cli("export", "--to", str(there.folder / "file")).returncode == 0
    done = there("import", "file")
    assert done.returncode == 0, done.stderr
    assert there.json("status")["state"] == "interrupted"
    assert {row["status"] for row in there.json("tasks")} == {"queued"}
    (there.folder / "obj.py").write_text(OBJECTIVES.replace("time.sleep(60)", "pass"))
    done = there.start(there.sweep(**{**SECTIONS, "objective": {"function": "obj:slow"}}))
    assert done.returncode == 0, done.stderr
    assert [trial.state.name for trial in there.trials()].count("COMPLETE") >= 6
    assert there.json("status")["budget"]["iterations"]["used"] <= 18


def test_files_that_can_not_be_imported(cli: Cli, there: Cli) -> None:
    assert cli.start(cli.sweep(**SECTIONS)).returncode == 0
    assert cli("export", "--to", "whole").returncode == 0
    whole = (cli.folder / "whole").read_bytes()
    lines = gzip.decompress(whole).decode().splitlines()

    def refused(content: bytes, *words: str) -> None:
        (there.folder / "file").write_bytes(content)
        done = there("import", "file")
        assert done.returncode == 2, done.stdout
        assert "Traceback" not in done.stderr
        assert len(done.stderr.splitlines()) == 1
        for word in words:
            assert word in done.stderr
        assert there.json("tasks") == [] if there("status").returncode == 0 else True

    def packed(*texts: str) -> bytes:
        return gzip.compress("\n".join(texts).encode() + b"\n")

    refused(whole[: len(whole) // 2], "cut short")
    refused(packed(*lines[:-1]), "cut short")
    refused(packed(*lines[:-2], lines[-1]), "damaged")
    refused(packed(*lines[:4], *lines[5:]), "trial 0 is missing")
    refused(packed(*lines[:5], lines[5][:-20], *lines[6:]), "damaged")
    refused(whole[:400] + bytes(200) + whole[600:], "damaged")
    head = json.loads(lines[0])
    refused(
        packed(json.dumps({**head, "format": 99, "version": "9.0"}), *lines[1:]), "optuna-rq 9.0", "newer"
    )
    task = json.loads(lines[-2])
    task["task"]["record"]["v"] = 99
    refused(packed(*lines[:-2], json.dumps(task), lines[-1]), "reads up to version")
    place = next(i for i, line in enumerate(lines) if line.startswith('{"log"'))
    refused(
        packed(*lines[:place], '{"log":[{"at":"x","kind":"note","text":""}]}', *lines[place + 1 :]), "damaged"
    )
    refused(b"", "not a file")
    refused(b"PK nothing of the kind", "not a file")
    refused(packed('{"a": 1}'), "not a file")
    assert there("import", "nowhere").returncode == 2
    (there.folder / "file").write_bytes(whole)
    assert there("import", "file").returncode == 0
    again = there("import", "file")
    assert again.returncode == 2
    assert "another --name" in again.stderr
    assert cli("export", "--to", "/dev/null/file").returncode == 2
    assert cli("export", "nothing").returncode == 2


def test_resume_and_delete(cli: Cli) -> None:
    sweep = cli.sweep(**{**SECTIONS, "budget": {"max_trials": 2}})
    refused = cli.start(sweep, "--resume")
    assert refused.returncode == 2
    assert "--resume: there is no study 's' to continue" in refused.stderr
    assert cli.start(sweep, "--no-resume").returncode == 0
    refused = cli.start(sweep, "--no-resume")
    assert refused.returncode == 2
    assert "--no-resume: study 's' exists" in refused.stderr
    assert cli.start(sweep, "--resume").returncode == 0
    assert len(cli.trials()) == 2
    # Without its records, its trials are still a study; their budget is used up.
    assert cli("delete", "s", "--yes").returncode == 0
    assert cli.start(sweep, "--no-resume").returncode == 2
    assert cli.start(sweep, "--resume").returncode == 0
    assert len(cli.trials()) == 2
    done = cli("delete", "s", "--trials", "--yes")
    assert done.stdout == "study s: 2 task(s) removed, 2 trial(s) as well\n"
    assert cli.start(sweep, "--no-resume").returncode == 0
    assert len(cli.trials()) == 2
