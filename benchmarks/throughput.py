"""No-op trials per second: beside bare RQ, and beside others."""

from __future__ import annotations

import statistics
from collections.abc import Callable

from benchmarks import noop, peers
from benchmarks.rows import Row, Sample


def rows(runs: int, quick: bool, say: Callable[[str], None]) -> list[Row]:
    jobs = 60 if quick else 500
    sides = {
        "rq": lambda: noop.bare_rq(jobs),
        "SQLite": lambda: noop.sqlite(jobs),
        "journal": lambda: noop.journal(jobs),
        "SQLite, reuse": lambda: noop.sqlite(jobs, reuse=True),
    }
    found: dict[str, list[Sample]] = {}
    for number in range(runs):
        # In turn, so that a machine that is slower for a while is so for all.
        for name, measure in sides.items():
            say(f"run {number + 1} of {runs}: no-op trials, {name}")
            found.setdefault(name, []).append(measure())
        for name in () if quick else NAMES:
            say(f"run {number + 1} of {runs}: no-op trials, {peers.PEERS[name].title}")
            found.setdefault(name, []).append(peers.measure(name, peers.PEERS[name].trials))

    def median(name: str, field: str) -> float:
        return statistics.median(getattr(sample, field) for sample in found[name])

    made = []
    for storage, least in (("SQLite", 1.5), ("journal", 1.5), ("SQLite, reuse", 2.5)):
        for field, words, sense, aim in (
            ("per_s", "no-op trials/s, 2 slots", ">=", least),
            ("gap_p50_ms", "end → next start, p50, ms", "<=", 0.7),
            ("gap_p95_ms", "end → next start, p95, ms", "<=", 0.7),
        ):
            made.append(
                Row(
                    name=f"{words}, {storage} (reference: bare RQ)",
                    ours=median(storage, field),
                    reference=median("rq", field),
                    sense=sense,
                    aim=aim,
                )
            )
    for name in () if quick else NAMES:
        peer = peers.PEERS[name]
        about = (
            f"{'isolates' if peer.isolates else 'no isolation'}, {'keeps' if peer.persists else 'forgets'}"
        )
        made.append(
            Row(
                name=f"no-op trials/s, 2 slots, SQLite (reference: {peer.title}; {about})",
                ours=median("SQLite", "per_s"),
                reference=median(name, "per_s"),
                sense=">=",
                aim=1.0,
            )
        )
    return made


NAMES = ("ray", "ray-reuse", "syne-tune", "dask", "optuna")
