"""``controller replay``."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from controller.commands.options import format_option, redis_option, storage_option
from controller.commands.report_command import study_file
from controller.commands.settings import open_store, pick_study, resolve, study_storage
from worker.protocol.errors import BadInput
from worker.protocol.printable import one_line

if TYPE_CHECKING:
    from controller.insight.replay_record import Recorded
    from controller.insight.replay_result import Replayed


@click.command()
@click.argument("study", required=False)
@click.option(
    "--with", "changed", multiple=True, metavar="KEY=VALUE",
    help="Have a value of [pruner] or [budget] otherwise, such as pruner.type=asha or budget.max_trials=50.",
)  # fmt: skip
@format_option(("table", "json"), "table")
@redis_option
@storage_option
def replay(
    study: str | None,
    changed: tuple[str, ...],
    output_format: str,
    redis_url: str | None,
    storage_url: str | None,
) -> None:
    """Feed a study's recorded decisions to the same sampler, pruner and budget again.

    Says whether the same comes out, or the first decision that comes out otherwise: exit code 1 then. STUDY
    is a study's name, or a file of `controller export`: then neither Redis nor a storage is needed.

    With --with it says what another pruner or budget would have made of the study: which trials would have
    been stopped when, what that would have saved, and whether the winner would have survived.
    """
    from controller.insight.replay import replay as replayed
    from controller.insight.replay_result import DIVERGED

    recorded = _recorded(study, redis_url, storage_url)
    if changed:
        _show_other(recorded, changed, output_format)
        return
    found = replayed(recorded)
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


def _show_other(recorded: Recorded, changed: tuple[str, ...], output_format: str) -> None:
    from controller.commands.tables import console, table_of
    from controller.insight.replay import without_log
    from controller.insight.replay_changes import changes_of
    from controller.insight.replay_whatif import what_if

    changes = changes_of(recorded, changed)
    if not recorded.has_log:
        raise BadInput(f"study {recorded.record.name}: {without_log(recorded)}")
    found = what_if(recorded, changes)
    if output_format == "json":
        print(json.dumps(found.as_dict(), indent=2))
        return
    line(f"study {found.study} with {', '.join(changed)}:")
    for text in found.lines():
        line(f"  {text}")
    if found.stopped:
        console().print(table_of(found.rows(), "Would have been stopped"))


def _show(found: Replayed) -> None:
    line(f"study {found.study}: {found.summary()}")
    for note in found.notes:
        line(f"not compared: {note}" if found.of else note)
    if found.divergence is not None:
        for side in ("recorded", "replayed"):
            line(f"  {side}: {found.divergence.side(side)}")


def line(text: str) -> None:
    """Print one line, which is data: never markup."""
    from controller.commands.tables import console
    from controller.screen.layout import Paragraph

    out = console()
    if out.is_terminal:
        out.print(Paragraph(one_line(text)))
    else:
        out.print(one_line(text), markup=False, soft_wrap=True)
