"""``controller importance`` and ``controller refine``: what matters in a study, and the next one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from controller.commands.options import format_option, redis_option, study_argument
from worker.protocol.printable import one_line

if TYPE_CHECKING:
    from controller.insight.importance_advice import Advised

_objective = click.option(
    "--objective", metavar="KEY", help="Which of several objectives: its key, or its place from 0."
)
_bootstraps = click.option(
    "--bootstraps", type=click.IntRange(0, 1000), default=40, show_default=True,
    help="Draws that the intervals are made of.",
)  # fmt: skip


@click.command()
@study_argument
@_objective
@_bootstraps
@redis_option
@format_option(("table", "json"), "table")
def importance(
    study: str | None, objective: str | None, bootstraps: int, redis_url: str | None, output_format: str
) -> None:
    """What matters: how much each parameter does for the result, and what to change.

    STUDY is a study's name, or a file of `controller export`. It takes 20 trials with a result.
    """
    from controller.commands.study_source import read_named
    from controller.insight.importance_advice import advise
    from controller.insight.importance_sample import objective_of

    data, _ = read_named(study, redis_url)
    advised = advise(data, objective_of(data, objective), bootstraps=bootstraps)
    if output_format == "json":
        print(json.dumps(advised.as_dict(), indent=2))
    else:
        _print(advised)


def _print(advised: Advised) -> None:
    from controller.commands.tables import console, table_of

    found, out = advised.importance, console()

    def say(text: str) -> None:
        out.print(one_line(text, 2_000), markup=False, soft_wrap=not out.is_terminal)

    say(f"study {found.study}: what matters for {found.objective}, of {found.trials} trials")
    for note in found.notes:
        say(f"  {note}")
    rows = [
        {
            "parameter": one.name,
            "importance": one.share.text,
            "explains": one.explains.text if one.explains else None,
            "matters": one.matters,
            "trials": one.trials,
            "where": one.where or None,
        }
        for one in found.parameters
    ]
    out.print(table_of(rows))
    say("importance: how differently the best choose it (PED-ANOVA); explains: of the differences (fANOVA)")
    say("What follows:" if advised.advice else "Nothing follows: no range has to change.")
    for one in advised.advice:
        say(f"- {one.text}")


@click.command()
@study_argument
@click.option(
    "-o",
    "--to",
    "path",
    metavar="FILE",
    help="Where to: .toml or .yaml. [default: standard output, as TOML]",
)
@click.option("--name", help="Name of the new study. [default: the old one's, with a number]")
@click.option("--no-fix", is_flag=True, help="Leave parameters that don't matter as they are.")
@click.option("--force", is_flag=True, help="Replace an existing file.")
@_objective
@redis_option
def refine(
    study: str | None,
    path: str | None,
    name: str | None,
    no_fix: bool,
    force: bool,
    objective: str | None,
    redis_url: str | None,
) -> None:
    """Write the sweep file of the next study: ranges widened, narrowed and fixed as `importance` advises.

    The new study's sampler starts with those trials of the old one that lie in the new space; where the best
    don't, they are tried first. STUDY is a study's name, or a file of `controller export`.
    """
    from controller.commands.study_source import read_named
    from controller.insight.importance_advice import advise_in
    from controller.insight.importance_sample import objective_of, sample_of
    from controller.insight.refine import refine as refined_by
    from controller.sweep.writing import write_sweep

    data, taken = read_named(study, redis_url)
    sample = sample_of(data, objective_of(data, objective))
    found = refined_by(sample, advise_in(sample), fix=not no_fix, taken=taken, name=name or "")
    old = data.study.name
    lines = [f"{old!r} refined by `controller refine`", *(_change(change) for change in found.changes)]
    text = write_sweep(found.sweep, path or "", lines)
    if path is None or path == "-":
        click.echo(text, nl=False)
        return
    _write(Path(path), text, replace=force)
    for line in lines[1:] or ["nothing has to change: the same search space"]:
        click.echo(one_line(line, 2_000))
    new = one_line(str(found.sweep["study"]["name"]))
    click.echo(f"{path}: study {new}, whose sampler starts with {found.known} of {found.of} trials")


def _change(change: Any) -> str:
    return f"{change.parameter}: {change.before} → {change.after or 'left out'}. {change.why}"


def _write(path: Path, text: str, *, replace: bool) -> None:
    """Write a file that is there whole or not at all. Raises `BadInput`."""
    from worker.artifacts.atomic import replacing
    from worker.protocol.errors import BadInput

    try:
        with replacing(path, overwrite=replace) as partial:
            partial.write_text(text, encoding="utf-8", newline="\n")
            # As in the sweep file that it comes from, values of environment variables may be among it.
            partial.chmod(0o600)
    except FileExistsError as error:
        raise BadInput(f"{path} exists: name another file, or replace it with --force") from error
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror or error}") from error
