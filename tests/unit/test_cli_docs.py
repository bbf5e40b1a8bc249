"""Every command explains itself."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from controller.commands.main import command as controller
from tests.odd_words import ODD
from worker.cli import command as worker


def commands(
    command: click.Command, path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            yield from commands(child, (*path, name))


ALL = [*commands(controller, ("controller",)), *commands(worker, ("worker",))]


def name_of(value: object) -> str | None:
    return " ".join(value) if isinstance(value, tuple) else None


@pytest.mark.parametrize(("path", "command"), ALL, ids=name_of)
def test_help(path: tuple[str, ...], command: click.Command) -> None:
    assert command.help, "no help text"
    assert command.help.splitlines()[0].rstrip().endswith((".", ":"))
    root = controller if path[0] == "controller" else worker
    shown = CliRunner().invoke(root, [*path[1:], "--help"], prog_name=path[0])
    assert shown.exit_code == 0
    assert shown.output.startswith(f"Usage: {' '.join(path)}")
    assert not ODD.search(" ".join(shown.output.split()))
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{parameter.opts} has no help text"
            assert parameter.help[0].isupper(), parameter.opts
            assert parameter.hidden or all(option in shown.output for option in parameter.opts), (
                parameter.opts
            )
        else:
            assert parameter.human_readable_name.upper() in shown.output.upper()
    if isinstance(command, click.Group):
        assert all(name in shown.output for name in command.commands)


def test_start_names_its_settings_and_defaults() -> None:
    shown = " ".join(CliRunner().invoke(controller, ["start", "--help"]).output.split())
    for text in (
        "[env: REDIS_URL; default: embedded]",
        "[env: OPTUNA_STORAGE; default: SQLite in .optuna-rq/]",
        "[env: ARTIFACT_STORE; default: .optuna-rq/artifacts]",
        "[default: one per CPU with the embedded Redis, else 0]",
        "budget.max_trials=5",
        "[rich|json]",
    ):
        assert text in shown


def test_the_exit_codes_are_told() -> None:
    shown = " ".join(CliRunner().invoke(controller, ["--help"]).output.split())
    assert "0 fine, 1 the study failed, 2 bad input, 130 interrupted" in shown


@pytest.mark.parametrize("name", ["controller", "worker"])
def test_version(name: str) -> None:
    from worker import __version__

    shown = CliRunner().invoke(controller if name == "controller" else worker, ["--version"])
    assert shown.output == f"{name} (optuna-rq), version {__version__}\n"


def test_questions_have_the_formats_of_the_design() -> None:
    formats = {
        " ".join(path[1:]): tuple(option.type.choices)
        for path, command in ALL
        for option in command.params
        if option.name == "output_format" and isinstance(option.type, click.Choice)
    }
    table = ("table", "json", "csv")
    assert {name: formats[name] for name in ("status", "top", "tasks", "artifacts list")} == dict.fromkeys(
        ("status", "top", "tasks", "artifacts list"), table
    )
    assert formats["start"] == ("rich", "json")
    assert formats["show"] == ("table", "json")
