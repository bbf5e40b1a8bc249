"""Answers as tables: the same rows for people, as CSV and as JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Collection, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from controller.results.ranking import Ranking
from worker.protocol import Store, StudyRecord
from worker.protocol.printable import cell, one_line
from worker.protocol.values import bare

LONGEST_CELL = 10_000
"""Characters of a cell that are shown."""


def top_table(
    store: Store,
    study: StudyRecord,
    top_k: int | None,
    *,
    all_metrics: bool = False,
    all_hyper_parameters: bool = False,
    only_completed: bool = False,
) -> tuple[Table, list[dict[str, Any]]]:
    """The best experiments as a table, and the rows it was made from.

    Args:
        top_k: how many; None for the whole Pareto front.
    """
    ranking = Ranking(store, study.name, study.metrics)
    best = ranking.best(top_k, only_completed=only_completed)
    details = ranking.describe(best, all_metrics=all_metrics, all_hyper_parameters=all_hyper_parameters)
    rows = []
    for number, (row, record) in enumerate(zip(details, best.records, strict=True), start=1):
        flat: dict[str, Any] = {
            "rank": number,
            **({"front": row["front"]} if "front" in row else {}),
            "task": row["task_id"][:8],
            "trial": record.trial,
            "status": row["status"],
        }
        taken = (*flat, "parameters")
        flat.update({column(key, taken): metric["value"] for key, metric in row["metrics"].items()})
        flat["parameters"] = " ".join(
            f"{bare(name)}={_short(value)}" for name, value in row["hyper_parameters"].items()
        )
        rows.append(flat)
    title = f"Top {len(rows)} of study {study.name}"
    if best.front_size:
        title += f" (Pareto front: {best.front_size} task{'s' if best.front_size > 1 else ''})"
    return table_of(rows, title=title), details


def column(key: str, taken: Collection[str]) -> str:
    """The name of metric `key`'s column, given the columns of our own that are `taken`."""
    return f"metric/{key}" if key in taken else key


def _short(text: str) -> str:
    try:
        return f"{float(text):.4g}" if "." in text or "e" in text else text
    except ValueError:
        return text


def table_of(rows: Sequence[dict[str, Any]], title: str | None = None) -> Table:
    """A table with a column for every key that occurs."""
    # As `Text`, names and values are shown as they are: in a str, "[x]" is markup.
    heading = Text(one_line(title)) if title else None
    table = Table(title=heading, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    columns = list(dict.fromkeys(key for row in rows for key in row))
    for name in columns:
        numeric = all(isinstance(row.get(name, 0), (int, float)) for row in rows)
        # Of a table too wide for the screen only the long texts are broken.
        breakable = name in ("parameters", "reason", "url", "value", "worker")
        table.add_column(
            Text(one_line(name)),
            justify="right" if numeric else "left",
            overflow="fold",
            no_wrap=not breakable,
        )
    for row in rows:
        table.add_row(*(_cell(row.get(name)) for name in columns))
    return table


def _cell(value: Any) -> Text:
    if value is None:
        return Text()
    return Text(f"{value:.6g}" if isinstance(value, float) else one_line(str(value), LONGEST_CELL))


def show(
    rows: Sequence[dict[str, Any]], output_format: str, *, raw: Any = None, title: str | None = None
) -> None:
    """Print rows on standard output.

    Args:
        rows: flat dicts.
        output_format: table, json or csv.
        raw: what JSON prints instead of the rows.
    """
    if output_format == "json":
        print(json.dumps(rows if raw is None else raw, indent=2))
    elif output_format == "csv":
        print(to_csv(rows), end="")
    elif rows:
        console().print(table_of(rows, title))
    else:
        console().print("nothing to show")


def to_csv(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as CSV with a header."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(map(cell, columns))
    writer.writerows([cell(row.get(name, "")) for name in columns] for row in rows)
    return text.getvalue()


def console() -> Console:
    """The console for people; off a terminal it is so wide that no cell is cut."""
    plain = Console(highlight=False, emoji=False)
    return plain if plain.is_terminal else Console(highlight=False, emoji=False, width=240)
