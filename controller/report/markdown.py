"""The report for a pull request: Markdown with short tables, and no HTML.

What programs and users wrote (names, values, reasons) stands in code spans, where it is neither markup nor a
link, and mentions nobody.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

from controller.report.facts import Facts, Trial
from controller.report.sections import Section, spans
from controller.report.words import NONE, duration, moment, number, trials, value
from worker.protocol.printable import one_line
from worker.protocol.study_log import LogKind

LONGEST = 80
"""Characters of one cell."""
BEGINS = "## Study "
"""How each report begins."""
MOST_PAIRS = 6
"""Parameters of a trial that are named beside its values."""
MOST_EVENTS = 10
"""Entries of the study's log that are shown, the newest."""
MOST_ROWS = 20
"""Rows of one table."""
_MARKUP = re.compile(r"[\\`*_{}\[\]<>|~@&$!]|^[#+=-]|(?<=\w)\.(?=[^\W\d])|:(?=/)|^\d+(?=[.)])")
"""What may be markup, a list, a link or a mention in a sentence."""
_TICKS = re.compile(r"`+")
_BARS = "▁▂▃▄▅▆▇█"
_BARS_SHOWN = 40


def to_markdown(facts: Facts, sections: Sequence[Section] = ()) -> str:
    """The report."""
    parts = [
        f"{BEGINS}{code(facts.study)}",
        _summary(facts),
        *_best(facts),
        *_parameters(facts),
        *_budget(facts),
        *_failures(facts),
        *_insight(sections),
        *_workers(facts),
        *_events(facts),
        *_about(facts),
    ]
    return "\n\n".join(parts) + "\n"


def code(text: str, most: int = LONGEST) -> str:
    """Text as a code span that may stand in a table; ``-`` for none."""
    shown = one_line(text, most).strip()
    if not shown:
        return NONE
    fence = "`" * (1 + max((len(found) for found in _TICKS.findall(shown)), default=0))
    pad = " " if shown.startswith("`") or shown.endswith("`") else ""
    # In a table a bar ends the cell, in a code span as well, unless a backslash stands before it.
    safe = shown.replace("\\|", "\\ |").replace("|", "\\|")
    return f"{fence}{pad}{safe}{pad}{fence}"


def table(names: Sequence[str], rows: Iterable[Sequence[str]], right: frozenset[int] = frozenset()) -> str:
    """A table whose cells are Markdown already.

    Args:
        right: places of the columns that are set to the right, as numbers are.
    """
    listed = list(rows)
    shown = listed[:MOST_ROWS]
    rule = ["--:" if place in right else "---" for place in range(len(names))]
    lines = [_row(names), _row(rule), *map(_row, shown)]
    if len(listed) > len(shown):
        lines += ["", f"and {len(listed) - len(shown)} more"]
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _summary(facts: Facts) -> str:
    why = f" ({code(facts.reason, 200)})" if facts.reason else ""
    counts = ", ".join(f"{count} {status.replace('_', ' ')}" for status, count in facts.counts.items())
    lines = [
        f"**{facts.state}**{why}: {trials(len(facts.trials))}" + (f" ({counts})" if counts else ""),
        f"objective: {', '.join(map(_goal, facts.goals))}",
        f"ran for {duration(facts.elapsed_s)} from {moment(facts.created_at)}, computed "
        f"{duration(facts.compute_s)}, at most {trials(facts.most_at_once)} at once",
    ]
    if line := _spark(facts):
        lines.append(f"best so far, by trial: {line}")
    return "\n".join(f"- {line}" for line in lines)


def _goal(goal: str) -> str:
    verb, _, key = goal.partition(" ")
    return f"{verb} {code(key)}"


def _spark(facts: Facts) -> str:
    """The best value so far over the trials, as bars: higher is better; empty with several objectives."""
    if len(facts.metrics) != 1:
        return ""
    # Ranks order the trials as the objective's direction does.
    ranked = [trial for trial in facts.trials if trial.rank is not None and trial.values[0] is not None]
    if len(ranked) < 2:
        return ""
    best, course = ranked[0], list[float]()
    for trial in ranked:
        best = min(best, trial, key=lambda one: one.rank or 0)
        course.append(best.values[0] or 0.0)
    picked = [course[place * (len(course) - 1) // (_BARS_SHOWN - 1)] for place in range(_BARS_SHOWN)]
    picked = picked if len(course) > _BARS_SHOWN else course
    said = number(picked[0]), number(picked[-1])
    # What spans orders of magnitude improves by factors.
    sizes = [abs(one) for one in picked]
    if min(picked) * max(picked) > 0 and max(sizes) >= 10 * min(sizes):
        picked = [math.log(size) for size in sizes]
    first, last = picked[0], picked[-1]
    if first == last or not math.isfinite(last - first):
        return ""
    bars = [_BARS[round((one - first) / (last - first) * (len(_BARS) - 1))] for one in picked]
    return f"{said[0]} {''.join(bars)} {said[1]}"


def _best(facts: Facts) -> list[str]:
    if not facts.best:
        return ["No trial has a result."]
    names = ["", "trial", *map(code, facts.metrics), "parameters"]
    right = frozenset(range(2 + len(facts.metrics)))
    rows = [[str(t.rank), _trial(t), *map(number, t.values), _pairs(facts, t)] for t in facts.best]
    title = "### Best trials" if len(facts.metrics) == 1 else "### Best trials, the Pareto front first"
    return [title, table(names, rows, right)]


def _trial(trial: Trial) -> str:
    status = "" if trial.status == "completed" else f" ({trial.reason_class or trial.status})"
    return f"{trial.number}{status.replace('_', ' ')}"


def _pairs(facts: Facts, trial: Trial) -> str:
    chosen = {name: trial.parameters[name] for name in facts.by_importance if name in trial.parameters}
    said = [code(f"{name}={value(one)}", 40) for name, one in chosen.items()]
    return ", ".join([*said[:MOST_PAIRS], *(["…"] if len(said) > MOST_PAIRS else [])]) or NONE


def _parameters(facts: Facts) -> list[str]:
    if not facts.parameters:
        return []
    best = facts.best[0].parameters if facts.best else {}
    several = len(facts.importances) > 1
    titles = [f"importance for {code(key)}" if several else "importance" for key in facts.importances]
    rows = []
    for name in facts.by_importance:
        weights = [_percent(found.get(name)) for found in facts.importances.values()]
        chosen = code(value(best[name])) if name in best else NONE
        rows.append([code(name), code(facts.ranges.get(name, "")), *weights, chosen])
    right = frozenset(range(2, 2 + len(titles)))
    return ["### Parameters", table(["parameter", "searched over", *titles, "in the best"], rows, right)]


def _percent(share: float | None) -> str:
    return NONE if share is None else f"{100 * share:.0f} %"


def _budget(facts: Facts) -> list[str]:
    if not facts.budget:
        return []
    names = list(facts.budget[0])
    rows = [[str(row[name]) or NONE for name in names] for row in facts.budget]
    return ["### Budget", table(names, rows, frozenset(range(1, len(names))))]


def _failures(facts: Facts) -> list[str]:
    if not facts.failures:
        return []
    rows = [
        [
            f"{one.status} {one.reason_class}".strip().replace("_", " "),
            str(one.count),
            str(one.example),
            code(one.words, 120),
        ]
        for one in facts.failures
    ]
    return ["### Failures", table(["how", "trials", "such as trial", "most often"], rows, frozenset((1, 2)))]


def _insight(sections: Sequence[Section]) -> list[str]:
    found = []
    for section in sections:
        found.append(f"### {sentence(section.title)}")
        found += [sentence(text) for text in section.text]
        if section.rows:
            right = frozenset(place for place, name in enumerate(section.columns) if section.is_numeric(name))
            rows = [[_cell(row.get(name)) for name in section.columns] for row in section.rows]
            found.append(table([sentence(name) for name in section.columns], rows, right))
    return found


def _cell(found: object) -> str:
    return NONE if found is None else code(value(found)) if isinstance(found, str) else value(found)


def sentence(text: str, most: int = 2_000) -> str:
    """A sentence that is neither markup nor a link and mentions nobody; what stands in backquotes is code."""
    return "".join(code(part) if is_code else _plain(part) for part, is_code in spans(one_line(text, most)))


def _plain(text: str) -> str:
    def safe(found: re.Match[str]) -> str:
        if found[0] == "@":
            return "`@`"  # with a backslash it mentions somebody all the same
        return f"{found[0]}\\" if found[0].isdecimal() else f"\\{found[0]}"

    return _MARKUP.sub(safe, text)


def _workers(facts: Facts) -> list[str]:
    if not facts.workers:
        return []
    about = any(worker.about for worker in facts.workers)
    names = ["worker", "trials", "completed", "failed", "lost", "busy", *(["machine"] if about else [])]
    rows = [
        [
            code(worker.name),
            str(worker.trials),
            str(worker.completed),
            str(worker.failed),
            str(worker.lost),
            duration(worker.busy_s),
            *([code(worker.about)] if about else []),
        ]
        for worker in facts.workers
    ]
    return ["### Workers", table(names, rows, frozenset((1, 2, 3, 4, 5)))]


def _events(facts: Facts) -> list[str]:
    """What was noted of the study that is no ordinary beginning or end, the newest last."""
    odd = [entry for entry in facts.events if entry.kind not in (LogKind.START, LogKind.END)]
    rows = [
        [moment(entry.at), code(entry.kind), code(entry.text, 160), code(entry.by)]
        for entry in odd[-MOST_EVENTS:]
    ]
    return ["### Events", table(["when", "kind", "what", "by"], rows)] if rows else []


def _about(facts: Facts) -> list[str]:
    rows = [[name, code(text, 200)] for name, text in facts.about.items()]
    if facts.versions:
        said = ", ".join(f"{name} {text}" for name, text in facts.versions.items())
        rows.append(["versions", code(said, 200)])
    return ["### Run", table(["", ""], rows)] if rows else []
