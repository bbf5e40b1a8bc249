"""``controller replay``."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from controller.commands.options import format_option, redis_option, storage_option
from controller.commands.report_command import study_file
from controller.commands.settings import open_store, pick_study, resolve, study_storage
from worker.protocol.printable import one_line

if TYPE_CHECKING:
    from controller.insight.replay_record import Recorded
    from controller.insight.replay_result import Replayed


@click.command()
@click.argument("study", required=False)
@format_option(("table", "json"), "table")
@redis_option
@storage_option
def replay(
    study: str | None,
    output_format: str,
    redis_url: str | None,
    storage_url: str | None,
) -> None:
    """Feed a study's recorded decisions to the same sampler, pruner and budget again.

    Says whether the same comes out, or the first decision that comes out otherwise: exit code 1 then. STUDY
    is a study's name, or a file of `controller export`: then neither Redis nor a storage is needed.
    """
    from controller.insight.replay import replay as replayed
    from controller.insight.replay_result import DIVERGED

    found = replayed(_recorded(study, redis_url, storage_url))
    if output_format == "json":
        print(json.dumps(found.as_dict(), indent=2))
    else:
        _show(found)
    if found.verdict == DIVERGED:
        sys.exit(1)


def _recorded(study: str | None, redis_url: str | None, storage_url: str | None) -> Recorded:
    """The study that an argument names, from its file or from its storage."""
    from controller.studies.recorded import recorded_in, recorded_in_file

    file = study_file(study)
    if file is not None:
        return recorded_in_file(file)
    settings = resolve(redis_url, storage_url)
    with open_store(settings) as store:
        name = pick_study(store, study)
        return recorded_in(store, name, study_storage(store.studies.get(name), settings))


def _show(found: Replayed) -> None:
    line(f"study {found.study}: {found.summary()}")
    for note in found.notes:
        line(f"not compared: {note}" if found.of else note)
    if found.divergence is not None:
        for side, value in (("recorded", found.divergence.recorded), ("replayed", found.divergence.replayed)):
            line(f"  {side}: {_said(value)}")


def _said(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def line(text: str) -> None:
    """Print one line, which is data: never markup."""
    from controller.commands.tables import console
    from controller.screen.layout import Paragraph

    out = console()
    if out.is_terminal:
        out.print(Paragraph(one_line(text)))
    else:
        out.print(one_line(text), markup=False, soft_wrap=True)
