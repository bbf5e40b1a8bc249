"""What a study ran in, as rows to show: its first controller's surroundings, and who differed from them."""

from __future__ import annotations

from typing import Any

from controller.insight.hiding import KeptDiff
from worker.protocol.clock import iso
from worker.protocol.recorded_surroundings import RecordedSurroundings
from worker.protocol.surroundings import Difference, Surroundings, differences


def facts(found: RecordedSurroundings) -> list[tuple[str, str]]:
    """What is known of the first controller's machine, in words: name, value. Empty where nothing is."""
    first = found.first
    if first is None:
        return []
    rows = [
        ("recorded at", iso(first.at) or ""),
        ("host", first.host),
        ("system", f"{first.system} {first.machine}".strip()),
        ("python", first.python),
        ("cuda", first.cuda),
        ("nvidia driver", first.driver),
        ("packages", str(len(first.packages))),
        *_git(first, found),
        ("workers", str(len(found.workers)) if found.workers else "none recorded"),
    ]
    return [(name, text) for name, text in rows if text]


def _git(first: Surroundings, found: RecordedSurroundings) -> list[tuple[str, str]]:
    if first.git is None:
        return [("git", "no repository")]
    rows = [("git commit", first.git.commit), ("git branch", first.git.branch or "none (a commit)")]
    if first.git.dirty:
        kept = KeptDiff.of(found.diff)
        text = f"{len(kept.text.splitlines())} lines of diff"
        text += f", {kept.hidden} with something hidden" if kept.hidden else ""
        text += f", {kept.left_out} characters left out" if kept.left_out else ""
        rows.append(("git changes", text))
    if first.git.untracked:
        rows.append(("not in git", ", ".join(first.git.untracked)))
    return rows


def deviations(found: RecordedSurroundings) -> list[tuple[str, list[Difference]]]:
    """Each later controller and worker, and in what it differed from the first; an empty list for nothing.

    Workers run on other hosts: their names are no difference.
    """
    first = found.first
    if first is None:
        return []
    rows = [(f"controller of {iso(one.at)}", differences(first, one)) for one in found.later]
    for name, seen in found.workers.items():
        for one in seen:
            since = f" since {iso(one.at)}" if len(seen) > 1 else ""
            rows.append((f"worker {name} on {one.host}{since}", differences(first, one, host=False)))
    return rows


def described(found: RecordedSurroundings) -> dict[str, Any]:
    """All of it as JSON types; ``first`` is None where nothing is recorded."""
    rows = [
        {"who": who, "differs": [one.as_dict() for one in differing]} for who, differing in deviations(found)
    ]
    return {**found.as_dict(), "deviations": rows}
