"""``python -m benchmarks``: measure, print one table, write ``results.json``."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks import artifacts, noop, reports
from benchmarks.rows import Row, Sample
from worker.embedded.finder import find_redis_server, server_version

RESULTS = Path(__file__).with_name("results.json")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="runs of each side; medians are reported")
    parser.add_argument("--quick", action="store_true", help="one short run, to see that it works")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    runs, jobs = (1, 60) if options.quick else (options.runs, 500)
    rows: list[Row] = []
    samples: dict[str, list[Sample]] = {}
    for number in range(runs):
        # Side by side, so that a machine that is slower for a while is so for both.
        for name, measure in (
            ("reference", noop.bare_rq),
            ("SQLite", noop.sqlite),
            ("journal", noop.journal),
        ):
            print(f"run {number + 1} of {runs}: no-op jobs, {name} …", file=sys.stderr)
            samples.setdefault(name, []).append(measure(jobs))
    reference = samples["reference"]
    for storage in ("SQLite", "journal"):
        ours = samples[storage]
        rows.append(_compare(f"no-op trials/s, 2 slots, {storage}", ours, reference, "per_s", ">=", 0.6))
        rows.append(
            _compare(f"end → next start, p50, ms, {storage}", ours, reference, "gap_p50_ms", "<=", 2.0)
        )
        rows.append(
            _compare(f"end → next start, p95, ms, {storage}", ours, reference, "gap_p95_ms", "<=", 2.0)
        )
    print("report_scalar …", file=sys.stderr)
    pairs = [reports.measure(2000 if options.quick else 20000) for _ in range(runs)]
    ours_us, reference_us = (statistics.median(values) for values in zip(*pairs, strict=True))
    rows.append(
        Row(
            name="report_scalar, µs of the caller (reference: pipelined XADD + HSET)",
            ours=ours_us,
            reference=reference_us,
            sense="<=",
            aim=0.5,
        )
    )
    rows += _artifact_rows(runs, 64 if options.quick else 1024)
    environment = {
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "redis": ".".join(map(str, server_version(find_redis_server()) or ())),
        "rq": version("rq"),
        "optuna": version("optuna"),
        "boto3": version("boto3"),
        "runs": runs,
        "jobs": jobs,
    }
    _print(rows, environment)
    result = {"environment": environment, "rows": [row.to_dict() for row in rows]}
    options.output.write_text(json.dumps(result, indent=1) + "\n")
    return 0


def _artifact_rows(runs: int, size_mb: int) -> list[Row]:
    """A file of so many MiB to S3 and back."""
    found: dict[tuple[str, str], list[artifacts.Transfer]] = {}
    with artifacts.bench(size_mb) as measure:
        for number in range(runs):
            for way in ("up", "down"):
                # In turn, as each transfer finds the disk as the one before has left it.
                turn = number % len(artifacts.SIDES)
                for side in (*artifacts.SIDES[turn:], *artifacts.SIDES[:turn]):
                    print(f"run {number + 1} of {runs}: {size_mb} MiB {way}, {side} …", file=sys.stderr)
                    found.setdefault((side, way), []).append(measure(side, way))

    def median(side: str, way: str, field: str) -> float:
        return statistics.median(getattr(one, field) for one in found[side, way])

    rows = []
    for way, words in (("up", "to S3"), ("down", "from S3")):
        speed, memory = median("ours", way, "mb_per_s"), median("ours", way, "above_idle_mb")
        for side, peer, aim in (("boto3", "bare boto3", 0.9), ("optuna", "Optuna's store", 0.9)):
            reference = median(side, way, "mb_per_s")
            name = f"{size_mb} MiB {words}, MiB/s (reference: {peer})"
            rows.append(Row(name=name, ours=speed, reference=reference, sense=">=", aim=aim))
        name = f"{size_mb} MiB {words}, MiB of memory above idle (reference: the limit)"
        rows.append(Row(name=name, ours=memory, reference=96.0, sense="<=", aim=1.0))
    # Of downloads, Optuna's streams into a file and takes next to nothing.
    name = f"{size_mb} MiB to S3, MiB of memory above idle (reference: Optuna's store)"
    memory, peer = (median(side, "up", "above_idle_mb") for side in ("ours", "optuna"))
    rows.append(Row(name=name, ours=memory, reference=peer, sense="<=", aim=1.0))
    return rows


def _compare(
    name: str, ours: list[Sample], reference: list[Sample], field: str, sense: str, aim: float
) -> Row:
    def median(found: list[Sample]) -> float:
        return statistics.median(getattr(sample, field) for sample in found)

    return Row(name=name, ours=median(ours), reference=median(reference), sense=sense, aim=aim)


def _print(rows: list[Row], environment: dict[str, Any]) -> None:
    about = ", ".join(f"{name} {value}" for name, value in environment.items())
    table = Table(title="optuna-rq beside bare RQ with forking workers", caption=about, box=box.SIMPLE_HEAD)
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
    Console(width=None if sys.stdout.isatty() else 120).print(table)


if __name__ == "__main__":
    sys.exit(main())
