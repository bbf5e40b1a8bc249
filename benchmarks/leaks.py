"""What ten thousand trials leave behind: processes, threads, descriptors, memory and files of workers, and of
the controller."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

import psutil

from benchmarks.noop import OBJECTIVE
from benchmarks.rows import Row
from benchmarks.studies import study, sweep

READ_S = 0.05
"""Between two looks, in seconds."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """What there is of a controller's workers at one moment, programs of trials included."""

    trials: int
    """That have ended by then."""
    processes: int
    zombies: int
    threads: int
    descriptors: int
    memory_bytes: int
    files: int
    """In the folder for temporary files."""
    controller_threads: int
    controller_descriptors: int
    controller_memory_bytes: int


def look(root: psutil.Process, trials: int, temporary: Path) -> Look:
    """Look at all that is below a process."""
    found = dict.fromkeys(("processes", "zombies", "threads", "descriptors", "memory_bytes"), 0)
    for process in root.children(recursive=True):
        with contextlib.suppress(psutil.Error), process.oneshot():
            found["zombies"] += process.status() == psutil.STATUS_ZOMBIE
            found["threads"] += process.num_threads()
            found["descriptors"] += process.num_fds()
            found["memory_bytes"] += process.memory_info().rss
            found["processes"] += 1
    files = sum(1 for _ in temporary.rglob("*"))
    with root.oneshot():
        return Look(
            trials=trials,
            files=files,
            controller_threads=root.num_threads(),
            controller_descriptors=root.num_fds(),
            controller_memory_bytes=root.memory_info().rss,
            **found,
        )


def grown(looks: list[Look], early: int, late: int, width: int) -> dict[str, tuple[float, float]]:
    """Name → the least of a figure over the looks from trial `late` on, and from `early` on.

    The least is what lasts: the processes of trials come and go.
    """

    def least(name: str, first: int) -> float:
        return float(min(getattr(one, name) for one in looks if first <= one.trials <= first + width))

    names = [field.name for field in fields(Look) if field.name != "trials"]
    return {name: (least(name, late), least(name, early)) for name in names}


def measure(trials: int, early: int, width: int, *, reuse: bool = False) -> dict[str, tuple[float, float]]:
    """Run a study of no-op trials on two slots; what there was near its end, and near its beginning."""
    looks: list[Look] = []
    over = threading.Event()

    def watch() -> None:
        mine = psutil.Process()
        while not over.wait(READ_S):
            with contextlib.suppress(psutil.Error, OSError):
                for child in mine.children():
                    if "sweep.toml" in child.cmdline():
                        folder = Path(child.cwd())
                        count = (folder / "stamps").read_text().count("\n")
                        if count < trials:  # else it is about to end
                            looks.append(look(child, count, folder / "tmp"))

    text = sweep(trials, "seed = 1", objective="reuse = true" if reuse else "")
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        with study({"objective.py": OBJECTIVE, "sweep.toml": text}, own_temporary=True, timeout_s=3600):
            pass
    finally:
        over.set()
        watcher.join()
    return grown(looks, early, trials - width, width)


def rows(runs: int, quick: bool, say: Callable[[str], None]) -> list[Row]:
    trials, early, width = (300, 50, 100) if quick else (10_000, 500, 500)
    say(f"one run: what {trials} trials leave behind")
    made = []
    for name, (late, before) in measure(trials, early, width).items():
        made.append(
            Row(
                # One more, as there may be none.
                name=f"{name.replace('_', ' ')} of a worker, + 1, at trial {trials - width} "
                f"(reference: at trial {early})",
                ours=late + 1,
                reference=before + 1,
                sense="<=",
                aim=1.1,
            )
        )
    return made
