"""What the documents say, run and compared with the code."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

import worker
from controller.cli import command as controller_command
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
    assert (sweep.study.name, sweep.budget.time_per_trial_s, len(sweep.parameters)) == ("digits", 7200.0, 6)


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
    for name in ("REDIS_URL", "OPTUNA_STORAGE", "ARTIFACT_STORE", "AWS_ENDPOINT_URL_S3"):
        assert f"`{name}`" in README or f"{name}=" in README
