"""What the documents say, run and compared with the code."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

import worker
from controller.commands.main import command as controller_command
from controller.sweep import load_sweep
from tests.e2e.harness import assert_nothing_left, run, run_json
from worker.cli import command as worker_command
from worker.protocol import Reason, Status

ROOT = Path(worker.__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(text: str, language: str) -> list[str]:
    """The code blocks of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def test_the_readmes_first_study(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(blocks(README, "python")[0])
    (tmp_path / "sweep.toml").write_text(blocks(README, "toml")[0])
    done = run("controller", "start", "sweep.toml", "--workers", "2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(run_json("controller", "top", "-k", "3", cwd=tmp_path)) == 3
    assert run_json("controller", "status", cwd=tmp_path)["tasks"]["completed"] == 20
    assert_nothing_left(tmp_path)


def test_the_readmes_imports(tmp_path: Path) -> None:
    code = blocks(README, "python")[1]
    assert "OptimizerOptuna" in code
    exec(compile(code, "README.md", "exec"), {})


def test_the_example_of_the_sweep_file_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "sweep.toml"
    path.write_text(blocks((ROOT / "docs/sweep-file.md").read_text(), "toml")[0])
    sweep = load_sweep(path)
    assert (sweep.study.name, sweep.budget.time_per_trial_s, len(sweep.parameters)) == ("digits", 7200.0, 7)


def test_the_choices_of_the_sweep_file_s_page(tmp_path: Path) -> None:
    page = (ROOT / "docs/sweep-file.md").read_text()
    path = tmp_path / "sweep.toml"
    lines = [block for block in blocks(page, "toml") if "[{ none = true }" in block]
    path.write_text(
        '[study]\nname = "s"\nmetric = { name = "loss", goal = "minimize" }\n'
        '[objective]\nfunction = "m:f"\n[budget]\nmax_trials = 1\n[parameters]\n' + lines[0]
    )
    assert {name: given.to_dict()["choices"] for name, given in load_sweep(path).parameters.items()} == {
        "widths": [[64, 64], [128]],
        "depth": [None, 3, 5],
        "schedule": [{"name": "step", "size": 30}, {"name": "cosine"}],
        "stop": [False, 0, 1],
    }


def test_the_script_of_the_objectives_page(tmp_path: Path) -> None:
    text = (ROOT / "docs/objectives.md").read_text()
    script = blocks(text, "python")[1].replace("accuracy = ...", "accuracy = settings['lr'] * epoch")
    (tmp_path / "train.py").write_text(script)
    (tmp_path / "sweep.toml").write_text(
        '[study]\nname = "s"\nmetric = { name = "accuracy/validation", goal = "maximize" }\n'
        + blocks(text, "toml")[1]
        + "[parameters]\nlr = { choices = [0.5, 2.0] }\n[sampler]\ntype = 'grid'\n"
    )
    done = run("controller", "start", "--workers", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr + done.stdout
    top = run_json("controller", "top", cwd=tmp_path)
    assert [entry["metrics"]["accuracy/validation"]["value"] for entry in top] == [38.0, 9.5]


SWEEP = """
[study]
name = "digits"
metric = {{ name = "{metric}", goal = "minimize" }}
[objective]
{kind} = "train:{name}"
[budget]
max_trials = 4
{more}
"""


def test_the_optuna_objective_of_the_objectives_page(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(blocks((ROOT / "docs/objectives.md").read_text(), "python")[2])
    sweep = SWEEP.format(metric="value", kind="optuna", name="objective", more="")
    (tmp_path / "sweep.toml").write_text(sweep)
    done = run("controller", "start", cwd=tmp_path)
    assert done.returncode == 0, done.stderr + done.stdout
    assert run_json("controller", "status", cwd=tmp_path)["tasks"]["completed"] == 4


def test_the_code_of_the_artifacts_page(tmp_path: Path) -> None:
    saving, reading, checkpoints = blocks((ROOT / "docs/artifacts.md").read_text(), "python")
    files = "import os\nos.makedirs('runs/7', exist_ok=True)\n"
    for name in ("model.npz", "runs/7/log.txt", "t.tsv", "state.pt"):
        files += f"if not os.path.exists({name!r}): open({name!r}, 'w').write('x')\n"
    saving = saving.replace("def train(", "def saves(") + "    return lr\n"
    (tmp_path / "train.py").write_text(files + saving + checkpoints)
    more = "[parameters]\nlr = { type = 'float', low = 0, high = 1 }\n[artifacts]\nkeep_top = 2\n"
    for name, metric in (("saves", "value"), ("train", "loss/validation")):
        sweep = SWEEP.format(metric=metric, kind="function", name=name, more=more)
        study = f'name = "{"digits" if name == "saves" else name}"'
        (tmp_path / "sweep.toml").write_text(sweep.replace('name = "digits"', study))
        done = run("controller", "start", "--workers", "1", cwd=tmp_path, timeout=120)
        assert done.returncode == 0, done.stderr + done.stdout
        rows = run_json("controller", "artifacts", "list", cwd=tmp_path)
        assert len({row["task_id"] for row in rows}) == 2
        names = {row["name"] for row in rows}
        assert names == (
            {"model", "run", "run/log.txt", "settings", "table"}
            if name == "saves"
            else {"checkpoint/98", "checkpoint/99"}
        )
    for name in ("t.tsv", "model.npz"):
        (tmp_path / name).unlink()  # Optuna's download_artifact overwrites nothing
    done = run("python", "-c", reading, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "settings.json").exists()


def test_the_program_of_the_resuming_page(tmp_path: Path) -> None:
    (code,) = blocks((ROOT / "docs/resuming.md").read_text(), "python")
    for count in (10, 20):
        done = run("python", "-c", code + "print(len(study.trials))", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == str(count)
    assert (tmp_path / "study_backup-0.db").exists()


def commands(group: click.Group, prefix: str = "") -> list[str]:
    found = []
    for name, command in group.commands.items():
        found += (
            commands(command, f"{prefix}{name} ") if isinstance(command, click.Group) else [prefix + name]
        )
    return found


def test_every_command_is_in_the_readme() -> None:
    assert isinstance(controller_command, click.Group)
    for name in commands(controller_command):
        assert re.search(rf"`(controller )?{name}\b", README), name


def test_every_option_has_help() -> None:
    assert isinstance(controller_command, click.Group)
    todo: list[click.Command] = [worker_command, controller_command]
    while todo:
        command = todo.pop()
        assert command.help, command.name
        if isinstance(command, click.Group):
            todo += command.commands.values()
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, f"{command.name} {parameter.name}"


def test_every_reason_and_status_is_explained() -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    for reason in Reason:
        assert f"| {reason.status} | `{reason}` |" in text, reason
    for status in Status:
        assert status.value in text


def test_every_setting_is_in_the_readme() -> None:
    for name in ("REDIS_URL", "OPTUNA_STORAGE", "ARTIFACT_STORE", "ARTIFACT_PATIENCE", "AWS_ENDPOINT_URL_S3"):
        assert f"`{name}`" in README or f"{name}=" in README
