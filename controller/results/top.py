"""The best experiments of a study: what `controller top` prints, in each of its formats."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from controller.results.parameters import pairs
from controller.results.ranking import Ranking
from worker.protocol import Store, StudyRecord

MONITOR = ":monitor:"
"""Metrics of the machine begin so."""


@dataclass(frozen=True, kw_only=True)
class Top:
    """The best tasks at one moment, the best first."""

    title: str
    details: list[dict[str, Any]]
    """As `get_top_experiments_details` returns them, but with the parameters' own names and types; each with
    its ``rank`` (None for one that still runs or was cut short) and ``trial``."""

    def plain(self) -> list[dict[str, Any]]:
        """As `get_top_experiments_details` returns them, but with the parameters' own names and types."""
        return [{k: v for k, v in row.items() if k not in ("rank", "trial")} for row in self.details]

    def flat(self) -> list[dict[str, Any]]:
        """One flat row each, with a column for every metric and parameter."""
        return [self._flat(row) for row in self.details]

    def _flat(self, row: Mapping[str, Any]) -> dict[str, Any]:
        flat = {name: row[name] for name in ("rank", "front", "trial", "task_id", "status") if name in row}
        for key, metric in row["metrics"].items():
            flat[column(key, flat)] = metric["value"]
        for name, value in row["hyper_parameters"].items():
            flat[name if name not in flat else f"parameter/{name}"] = value
        return flat

    def shown(self) -> list[dict[str, Any]]:
        """One row each for people: ids shortened, all parameters in one column, no metrics of the machine."""
        rows = []
        for row in self.details:
            flat: dict[str, Any] = {
                "rank": row["rank"],
                **({"front": row["front"]} if "front" in row else {}),
                "task": row["task_id"][:8],
                "trial": row["trial"],
                "status": row["status"],
            }
            taken = (*flat, "parameters")
            for key, metric in row["metrics"].items():
                if not key.startswith(MONITOR):
                    flat[column(key, taken)] = metric["value"]
            flat["parameters"] = " ".join(pairs(row["hyper_parameters"]))
            rows.append(flat)
        return rows


def find_top(
    store: Store,
    study: StudyRecord,
    top_k: int | None,
    *,
    all_metrics: bool = False,
    all_hyper_parameters: bool = False,
    only_completed: bool = False,
) -> Top:
    """The best experiments: those that have ended, then those that run, see `Ranking.finished_first`.

    Args:
        top_k: how many; None for the whole Pareto front.

    Raises:
        BadInput: the Pareto front of a study with a single objective was asked for.
    """
    ranking = Ranking(store, study.name, study.metrics)
    best = ranking.best(top_k, only_completed=True) if only_completed else ranking.finished_first(top_k)
    details = ranking.describe(
        best, all_metrics=all_metrics, all_hyper_parameters=all_hyper_parameters, names_as_written=True
    )
    standing = len(details) if best.standing is None else best.standing
    rows = [
        {"rank": number if number <= standing else None, "trial": record.trial, **row}
        for number, (row, record) in enumerate(zip(details, best.records, strict=True), start=1)
    ]
    title = f"Top {len(rows)} of study {study.name}"
    if best.front_size:
        title += f" (Pareto front: {best.front_size} task{'s' if best.front_size > 1 else ''})"
    return Top(title=title, details=rows)


def column(key: str, taken: Collection[str]) -> str:
    """The name of metric `key`'s column, given the columns of our own that are `taken`."""
    return f"metric/{key}" if key in taken else key
