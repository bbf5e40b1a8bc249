"""The report as one HTML file: facts as tables, plots that Plotly draws, a table of all trials.

All that the page needs stands in it. Its Content-Security-Policy lets it run two scripts, ours and Plotly's,
by their checksums, and load nothing: not even a hole in all this would send anything anywhere. Text that
programs wrote gets into it by Jinja2, which escapes it, or within base64.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import jinja2
from plotly.offline import get_plotlyjs

from controller.report import words
from controller.report.facts import Facts
from controller.report.packing import squeezed, squeezed_text
from controller.report.plots import plots
from controller.report.sections import Section, spans
from controller.results.study_data import StudyData
from worker.protocol.printable import lines, one_line
from worker.version import __version__

_STYLE_ID = re.compile(r'getElementById\("([0-9a-f]{64})"\)')


def to_html(facts: Facts, data: StudyData, sections: Sequence[Section] = ()) -> str:
    """The report of a study, whose learning curves are in `data`."""
    script = _own("static/filters.js") + _own("static/report.js")
    style = _own("static/report.css")
    plotly = _plotly()
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
    )
    environment.globals.update(
        number=words.number, value=words.value, duration=words.duration, moment=words.moment, spans=spans
    )
    return environment.from_string(_own("templates/report.html")).render(
        facts=facts,
        version=__version__,
        policy=_policy(script, style, plotly.checksum),
        script=script,
        style=style,
        plotly=plotly,
        cards=_cards(facts),
        figures=plots(data, facts),
        sections=sections,
        table=squeezed(_table(facts)),
        example=_example(facts),
    )


def _printable(value: Any) -> Any:
    """What a template shows, without control characters; what it was told is safe stays as it is."""
    return lines(value) if type(value) is str else value


# What the page may do


def _policy(script: str, style: str, plotly_sum: str) -> str:
    """The Content-Security-Policy: these scripts and this style, and nothing from anywhere."""
    # Plotly makes an empty <style>, and fills it in a way that needs no permission; some plots set style="".
    empty = _checksum("")
    return (
        f"default-src 'none'; script-src '{_checksum(script)}' '{plotly_sum}'; "
        f"style-src '{_checksum(style)}' '{empty}'; style-src-attr 'unsafe-hashes' '{empty}'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


def _checksum(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _own(name: str) -> str:
    return resources.files("controller.report").joinpath(name).read_text(encoding="utf-8")


@dataclass(frozen=True, kw_only=True)
class _Script:
    packed: str
    """Gzip in base64."""
    checksum: str
    styles: tuple[str, ...]
    """Ids of style elements that it makes unless they are there: those of maps, which nothing here draws."""


@cache
def _plotly() -> _Script:
    """Plotly's script."""
    # A page's text has no carriage returns by the time that its checksum is compared.
    text = get_plotlyjs().replace("\r\n", "\n").replace("\r", "\n")
    return _Script(
        packed=squeezed_text(text),
        checksum=_checksum(text),
        styles=tuple(dict.fromkeys(_STYLE_ID.findall(text))),
    )


# What it shows


def _cards(facts: Facts) -> list[tuple[str, str]]:
    """The numbers on top: what a reader asks first."""
    best = facts.best[0] if facts.best else None
    found = []
    for place, key in enumerate(facts.metrics):
        if best is not None and len(facts.metrics) == 1:
            found.append((f"best {key}", f"{words.number(best.values[place])} (trial {best.number})"))
    told = ", ".join(f"{count} {status.replace('_', ' ')}" for status, count in facts.counts.items())
    found += [
        ("trials", told or "none"),
        ("ran for", words.duration(facts.elapsed_s)),
        ("computed", words.duration(facts.compute_s)),
        ("most at once", words.trials(facts.most_at_once)),
        ("began", words.moment(facts.created_at)),
    ]
    if facts.ended_at is not None:
        found.append(("ended", words.moment(facts.ended_at)))
    return found


LESS = ("seconds", "attempt", "worker", "started_at", "reason_class", "reason", "tags", "note")
"""Columns that come last, and not on paper; called as `controller tasks --where` calls them."""


def _table(facts: Facts) -> dict[str, Any]:
    """The table of all trials, column by column."""
    trials = facts.trials
    columns: dict[str, list[Any]] = {
        "trial": [trial.number for trial in trials],
        "rank": [trial.rank for trial in trials],
        "status": [trial.status for trial in trials],
    }
    taken = (*columns, *LESS)
    for place, key in enumerate(facts.metrics):
        columns[key if key not in taken else f"metric/{key}"] = [t.values[place] for t in trials]
    always = tuple(columns)
    for name in facts.parameters:
        own = name if name not in taken and name not in columns else f"parameter/{name}"
        columns[own] = [_cell(trial.parameters.get(name)) for trial in trials]
    last: list[list[Any]] = [
        [round(trial.compute_s, 1) for trial in trials],
        [trial.attempt for trial in trials],
        [trial.worker or None for trial in trials],
        [words.exactly(trial.started_at) for trial in trials],
        [trial.reason_class or None for trial in trials],
        [trial.reason or None for trial in trials],
        [" ".join(trial.tags) or None for trial in trials],
        [trial.note or None for trial in trials],
    ]
    columns |= dict(zip(LESS, last, strict=True))
    kept = {k: v for k, v in columns.items() if k in always or any(one is not None for one in v)}
    return {
        "columns": [
            {"name": name, "number": _is_number(column), "less": name in LESS}
            for name, column in kept.items()
        ],
        "values": list(kept.values()),
    }


def _cell(value: Any) -> Any:
    return one_line(value) if isinstance(value, str) else value


def _is_number(column: Sequence[Any]) -> bool:
    return all(one is None or (isinstance(one, (int, float)) and not isinstance(one, bool)) for one in column)


def _example(facts: Facts) -> str:
    """A filter that fits this study, to be shown where one is typed."""
    best = facts.best[0] if facts.best else None
    bound = next(
        (
            f"{name if name.isidentifier() else f'`{name}`'} <= {words.value(one)} and "
            for name, one in (best.parameters.items() if best else ())
            if isinstance(one, (int, float)) and not isinstance(one, bool)
        ),
        "",
    )
    return f'{bound}status == "completed"'
