"""A frame of a study as a person sees it: what `controller start` shows below its lines, and `watch`.

Every line fits the screen, whatever names and values hold: each is measured in cells, and what finds no room
goes below, or is counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from controller.results.durations import spoken
from controller.results.live import BestTrial, Frame
from controller.results.parameters import pairs
from controller.screen.layout import flowed
from worker.protocol import Status, StudyState
from worker.protocol.printable import one_line

_STATES = {
    StudyState.RUNNING: "green", StudyState.COMPLETED: "green", StudyState.FAILED: "red",
    StudyState.PAUSED: "yellow", StudyState.STOPPED: "yellow", StudyState.INTERRUPTED: "yellow",
}  # fmt: skip
_WIDEST_BAR, _NARROWEST_BAR = 24, 8
_MOST_ROWS = 8
"""Running trials that are shown on a tall screen."""
_HEIGHT = 24
"""Lines of a screen that doesn't say how many it has."""
_SEPARATOR = " · "
_SOON_S = 5.0
"""Seconds after which a worker of one's own has shown itself."""


class FramePicture:
    """A `Frame`, drawn for the screen's width and height.

    Args:
        height: lines that it may take; by default one fewer than the screen has.
    """

    def __init__(self, frame: Frame, height: int | None = None) -> None:
        self._frame = frame
        self._height = height

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width
        height = self._height or max(3, (console.height if console.is_terminal else _HEIGHT) - 1)
        lines = [self._head(width, options.ascii_only)]
        for parts in (self._count_parts(), self._budget_parts()):
            lines += _joined(console, parts, width)
        room = max(0, height - len(lines))
        # The running ones keep a third of what is left; the rest is for the parameters of the best one.
        rows = self._rows()
        reserved = min(len(rows), max(3, room // 3), max(0, room - 2))
        lines += self._best(console, width, room - reserved)
        lines += self._running(rows, width, height - len(lines))
        for line in lines[:height]:
            line.no_wrap, line.overflow = True, "crop"
            yield line

    # The lines

    def _head(self, width: int, is_plain: bool) -> Text:
        """Name, bar, state and times in one line; the estimate gives way first, the bar last."""
        frame = self._frame
        state = "waits for " + frame.waits_for if frame.waits_for else frame.state
        clock = spoken(int(frame.elapsed_s))
        ends = ""
        if frame.remaining_s and frame.state == StudyState.RUNNING and not frame.waits_for:
            ends = f", about {frame.left or spoken(max(1, round(frame.remaining_s)))} left"
        name = one_line(frame.study)
        tail = f"{state}{_SEPARATOR}{clock}{ends}"
        if cell_len(tail) > width - 6:
            tail = f"{state}{_SEPARATOR}{clock}"
        tail = shortened(tail, width)
        room = width - cell_len(tail) - 2
        used = share_used(frame.budget)
        bar_width = 0
        if used is not None:
            bar_width = min(_WIDEST_BAR, room - 2 - min(cell_len(name), 12))
            bar_width = bar_width if bar_width >= _NARROWEST_BAR else 0
        room -= bar_width + 2 if bar_width else 0
        parts = []
        if room >= min(4, cell_len(name)):
            parts.append(Text(shortened(name, room), style="bold"))
        if bar_width and used is not None:
            parts.append(bar(used, bar_width, is_plain))
        style = "yellow" if frame.waits_for else _STATES.get(frame.state, "")
        said, _, times = tail.partition(_SEPARATOR)
        parts.append(Text.assemble((said, style), _SEPARATOR if times else "", times))
        return Text("  ").join(parts)

    def _count_parts(self) -> list[Text]:
        frame = self._frame
        ended = Text(f"{frame.ended} ended")
        apart = [
            (f"{frame.counts.get(status, 0)} {status.value}", style)
            for status, style in ((Status.FAILED, "red"), (Status.STOPPED, "yellow"))
            if frame.counts.get(status, 0)
        ]
        if apart:
            ended.append(" (").append_text(Text(", ").join(Text(*one) for one in apart)).append(")")
        running = f"{frame.counts.get(Status.IN_PROGRESS, 0)} running"
        if frame.slots:
            running += f" on {_count(frame.slots, 'slot')} of {_count(frame.workers, 'worker')}"
        parts = [ended, Text(running)]
        waiting = frame.counts.get(Status.QUEUED, 0) + frame.counts.get(Status.CREATED, 0)
        if waiting:
            parts.append(Text(f"{waiting} queued"))
        if waiting and not frame.slots and frame.state == StudyState.RUNNING and frame.elapsed_s > _SOON_S:
            parts.append(Text("no worker serves the queue", style="yellow"))
        if frame.paused:
            parts.append(Text(f"{_count(frame.paused, 'worker')} paused", style="yellow"))
        if frame.reason and frame.state in (StudyState.PAUSED, StudyState.INTERRUPTED):
            parts.append(Text(one_line(frame.reason, 200), style="yellow"))
        return parts

    def _budget_parts(self) -> list[Text]:
        parts = [Text(text) for text in budget_parts(self._frame.budget)]
        return [Text("budget:"), *parts] if parts else []

    def _best(self, console: Console, width: int, room: int) -> list[Text]:
        """The best values, and the parameters of that trial as far as there is room."""
        best = self._frame.best
        if not best or room < 1:
            return []
        first = best[0]
        title = "best " if len(best) == 1 else f"{len(best)} on the Pareto front, the newest "
        words = [Text(title.rstrip()), *_values(first), Text(f"(trial {first.trial})")]
        lines = list(flowed(console, words, width, indent=2, first=0, gap=1))[:room]
        parts = [Text(one_line(pair, 300)) for pair in pairs(first.parameters)]
        return lines + _fitted(console, parts, width, room - len(lines), first.task_id)

    def _rows(self) -> list[tuple[str, ...]]:
        """The running trials with a header above them; empty for none."""
        rows = [
            (
                str(one.trial),
                "" if one.iteration is None else str(one.iteration),
                "" if one.value is None else f"{one.value:.6g}",
                spoken(int(one.seconds)),
                one_line(one.worker, 200) + (f" (attempt {one.attempt})" if one.attempt > 1 else ""),
            )
            for one in self._frame.running[:_MOST_ROWS]
        ]
        return [_HEADER, *rows] if rows else []

    def _running(self, rows: Sequence[tuple[str, ...]], width: int, room: int) -> list[Text]:
        """A line for each running trial as far as there is room, and how many more there are."""
        if not rows or room < 2:
            return []
        total = self._frame.counts.get(Status.IN_PROGRESS, 0)
        if total > min(len(rows), room) - 1:
            rows = rows[: room - 1]
        if len(rows) < 2:
            return []
        widths = [max(cell_len(row[place]) for row in rows) for place in range(len(_HEADER))]
        kept = len(_HEADER)
        while kept > 1 and sum(widths[:kept]) + 2 * kept > width:
            if kept == len(_HEADER) and width - sum(widths[:4]) - 10 >= _LEAST_NAME:
                widths[4] = width - sum(widths[:4]) - 10  # a name may be shortened
            else:
                kept -= 1
        lines = []
        for number, row in enumerate(rows):
            cells = [_aligned(row[place], widths[place], place) for place in range(kept)]
            lines.append(Text("  " + "  ".join(cells).rstrip(), style="" if number else "dim"))
        if total > len(rows) - 1:
            lines.append(Text(f"  … and {total - len(rows) + 1} more", style="dim"))
        return lines


_HEADER = ("trial", "iteration", "value", "time", "worker")
_LEAST_NAME = 8
"""Columns of the screen below which a worker's name is left out."""


def _aligned(text: str, width: int, place: int) -> str:
    """A cell: numbers end below each other, names begin so."""
    text = shortened(text, width)
    blank = " " * (width - cell_len(text))
    return text + blank if place == len(_HEADER) - 1 else blank + text


def _values(best: BestTrial) -> list[Text]:
    """The values of the best trial, with their metrics where there are several."""
    if len(best.values) == 1:
        return [Text(f"{value:.6g}", style="bold green") for value in best.values.values()]
    return [
        Text(one_line(f"{key}={value:.6g}", 200), style="bold green") for key, value in best.values.items()
    ]


def _fitted(console: Console, parts: Sequence[Text], width: int, room: int, task_id: str) -> list[Text]:
    """Parameters in as many lines as there is room for; the last one names where the others are."""
    if not parts or room < 1:
        return []
    lines = list(flowed(console, parts, width, indent=2, first=2))
    if len(lines) <= room:
        return lines
    for kept in range(len(parts) - 1, -1, -1):
        more = Text(f"… {len(parts) - kept} more: controller show {task_id[:8]}", style="dim")
        lines = list(flowed(console, [*parts[:kept], more], width, indent=2, first=2))
        if len(lines) <= room:
            return lines
    return [Text(shortened(f"  controller show {task_id[:8]}", width), style="dim")]


def _joined(console: Console, parts: Sequence[Text], width: int) -> list[Text]:
    """Parts with a dot between two, broken between parts."""
    dotted = [Text.assemble(part, " ·") for part in parts[:-1]]
    if parts and parts[0].plain.endswith(":"):
        dotted[0] = parts[0]
    return list(flowed(console, [*dotted, *parts[-1:]], width, indent=2, first=0, gap=1))


def budget_parts(budget: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What is used of each budget that has a limit, in words."""
    found = []
    for kind, words in (
        ("jobs", "trials"),
        ("iterations", "iterations"),
        ("compute_time", "compute time"),
        ("wall_clock", "wall clock"),
        ("failures", "failures"),
    ):
        used, limit = _use(budget, kind)
        if limit is None or (kind == "jobs" and _use(budget, "iterations")[1] is not None):
            continue
        if kind in ("compute_time", "wall_clock"):
            found.append(f"{spoken(used * 60)} of {spoken(limit * 60)} {words}")
        else:
            found.append(f"{used:g} of {limit:g} {words}")
    return found


def share_used(budget: Mapping[str, Mapping[str, Any]]) -> float | None:
    """The largest share of a budget that is used, from 0 to 1; None where nothing limits the study."""
    shares = []
    for kind in ("jobs", "iterations", "compute_time", "wall_clock"):
        used, limit = _use(budget, kind)
        if limit and not (kind == "jobs" and _use(budget, "iterations")[1] is not None):
            if kind == "jobs":
                used -= _use(budget, "concurrent")[0]  # those that run have not ended
            shares.append(min(1.0, max(0.0, used / limit)))
    return max(shares, default=None)


def _use(budget: Mapping[str, Mapping[str, Any]], kind: str) -> tuple[float, float | None]:
    """Used and limit of one kind; what isn't a number is neither."""
    found = budget.get(kind) or {}
    used, limit = (
        float(value) if isinstance(value, (int, float)) else None
        for value in (found.get("used"), found.get("limit"))
    )
    return used or 0.0, limit


def bar(share: float, width: int, is_plain: bool) -> Text:
    """A bar of `width` cells, of which a share from 0 to 1 is full."""
    full = round(share * width)
    on, off = ("#", "-") if is_plain else ("━", "─")
    return Text.assemble((on * full, "green"), (off * (width - full), "bright_black"))


def shortened(text: str, width: int) -> str:
    """`text`, cut to `width` cells with a mark that it goes on."""
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, max(0, width - 1)).rstrip() + "…" if width > 0 else ""


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
