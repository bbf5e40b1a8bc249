"""``python -m benchmarks``: measure, print one table, write ``results.json``."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.rows import Row
from worker.embedded.finder import find_redis_server, server_version

RESULTS = Path(__file__).with_name("results.json")
SECTIONS = (
    "throughput",
    "slots",
    "seconds",
    "stopping",
    "imports",
    "reports",
    "growth",
    "leaks",
    "storage",
    "top",
    "pages",
    "table",
    "artifacts",
    "regret",
    "forecast",
)
"""Modules here, each with ``rows(runs, quick, say)``."""
PACKAGES = ("optuna", "rq", "redis", "boto3", "ray", "syne-tune", "distributed")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "sections", nargs="*", metavar="SECTION", help=f"all by default: {', '.join(SECTIONS)}"
    )
    parser.add_argument("--runs", type=int, default=5, help="runs of each side; medians are reported")
    parser.add_argument("--quick", action="store_true", help="one short run, to see that it works")
    parser.add_argument("--output", type=Path, default=RESULTS, help="other sections in it are kept")
    parser.add_argument("--markdown", action="store_true", help="measure nothing: print what is in --output")
    options = parser.parse_args()
    if options.markdown:
        print("\n".join(markdown(options.output)))
        return 0
    unknown = [name for name in options.sections if name not in SECTIONS]
    if unknown:
        parser.error(f"there is no section {unknown[0]!r}; there are {', '.join(SECTIONS)}")
    runs = 1 if options.quick else options.runs
    result = json.loads(options.output.read_text()) if options.output.exists() else {}
    known = {name: found for name, found in result.get("sections", {}).items() if name in SECTIONS}
    measured: list[Row] = []
    for name in options.sections or SECTIONS:
        begun = time.monotonic()
        rows = importlib.import_module(f"benchmarks.{name}").rows(runs, options.quick, _say)
        measured += rows
        known[name] = {
            "environment": {
                **_environment(),
                "runs": runs,
                "minutes": round((time.monotonic() - begun) / 60, 1),
            },
            "rows": [row.to_dict() for row in rows],
        }
        # Written after each, as all of them take long.
        ordered = {section: known[section] for section in SECTIONS if section in known}
        every = [row for section in ordered.values() for row in section["rows"]]
        options.output.write_text(json.dumps({"rows": every, "sections": ordered}, indent=1) + "\n")
    _print(measured, {**_environment(), "runs": runs})
    return 0


def markdown(results: Path = RESULTS) -> list[str]:
    """The table of docs/performance.md, line by line."""
    lines = ["| what | ours | reference | ratio | aim | |", "|---|---|---|---|---|---|"]
    for row in json.loads(results.read_text())["rows"]:
        numbers = " | ".join(f"{row[name]:.3g}" for name in ("ours", "reference"))
        holds = "" if row["holds"] else "**no**"
        lines.append(f"| {row['name']} | {numbers} | {row['ratio']:.2f} | {row['aim']} | {holds} |")
    return lines


def _say(text: str) -> None:
    print(f"{text} …", file=sys.stderr, flush=True)


def _environment() -> dict[str, Any]:
    found: dict[str, Any] = {
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "redis-server": ".".join(map(str, server_version(find_redis_server()) or ())),
    }
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _print(rows: list[Row], environment: dict[str, Any]) -> None:
    about = ", ".join(f"{name} {value}" for name, value in environment.items())
    table = Table(title="optuna-rq beside its references", caption=about, box=box.SIMPLE_HEAD)
    for column in ("what", "ours", "reference", "ratio", "aim", "holds"):
        table.add_column(column, justify="left" if column == "what" else "right")
    for row in rows:
        table.add_row(
            row.name,
            f"{row.ours:.3g}",
            f"{row.reference:.3g}",
            f"{row.ratio:.2f}",
            f"{row.sense} {row.aim:g}",
            "yes" if row.holds else "NO",
        )
    Console(width=None if sys.stdout.isatty() else 140).print(table)


if __name__ == "__main__":
    sys.exit(main())
