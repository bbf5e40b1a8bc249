"""The answer of `controller confirm` in sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from controller.insight.confirm_answer import Confirmation, Confirmed, Measure
from worker.protocol import ObjectiveMetric

SURE = 0.95
"""From this probability on the winner is called confirmed."""


def words_of(answer: Confirmation, metrics: Sequence[ObjectiveMetric]) -> Confirmation:
    """The answer with its sentences."""
    return replace(answer, words=tuple(_sentences(answer, several=len(metrics) > 1)))


def _sentences(answer: Confirmation, *, several: bool) -> list[str]:
    if not answer.configurations:
        return ["No task of the study has a result that could be confirmed."]
    if not answer.is_known:
        failures = sum(one.failed for one in answer.configurations)
        return (
            [f"No repeat has a result yet; {failures} failed."] if failures else ["No repeat has ended yet."]
        )
    found = [_who_is_best(answer, several=several)]
    first = next(one for one in answer.configurations if one.place == 1)
    for measure in first.measures:
        sentence = _luck(first, measure, answer)
        if sentence:
            found.append(sentence)
    if _never_differs(answer):
        found.append(
            "Repeats with other seeds gave the same values: the objective doesn't use its seed "
            "(task.seed, OPTUNA_RQ_SEED), or it has no noise."
        )
    failed = [one for one in answer.configurations if one.failed]
    if failed:
        shown = ", ".join(f"{one.failed} of trial {one.trial}" for one in failed)
        found.append(f"Repeats failed: {shown}.")
    if len(answer.configurations) < answer.k:
        found.append(f"The study has only {len(answer.configurations)} different results to confirm.")
    if not answer.ended:
        found.append(f"{answer.least} to {answer.most} repeats are to come.")
    return found


def _who_is_best(answer: Confirmation, *, several: bool) -> str:
    best = answer.configurations[0]
    if len(answer.configurations) == 1:
        return f"Trial {best.trial} was repeated alone: there is nothing to compare it with."
    chance = f"{100 * (best.probability or 0):.0f} %"
    if several:
        likely = [one for one in answer.configurations if (one.probability or 0) >= 0.5]
        shown = ", ".join(f"{one.trial} ({100 * (one.probability or 0):.0f} %)" for one in likely)
        return f"More likely than not no other is better in all objectives: trial {shown}."
    if (best.probability or 0) >= SURE:
        place = "also the search's winner" if best.place == 1 else f"place {best.place} in the search"
        return f"Trial {best.trial}, {place}, is the best of these with probability {chance}."
    rivals = [one for one in answer.configurations[1:] if (one.probability or 0) >= 0.05]
    shown = ", ".join(f"{one.trial} ({100 * (one.probability or 0):.0f} %)" for one in rivals)
    if not rivals:
        return f"Trial {best.trial} is the best of these with probability {chance}."
    return f"Which one is the best is not certain: trial {best.trial} ({chance}), or trial {shown}."


def _luck(first: Confirmed, measure: Measure, answer: Confirmation) -> str:
    """What of the first place's advantage was luck."""
    if measure.advantage is None or measure.mean is None or measure.shown is None or first.repeats < 2:
        return ""
    gap, shown = abs(measure.shown - measure.mean), measure.shown
    share = f"{100 * gap / abs(shown):.2g} %" if gap < abs(shown) else _short(gap)
    side = "below" if measure.mean < shown else "above"
    name = f"{measure.metric}: " if len(first.measures) > 1 else ""
    what = f"{name}the first place of the search, trial {first.trial}, showed {_short(shown)}"
    if measure.was_lucky:
        return (
            f"{what[0].upper()}{what[1:]}, and its advantage was luck: its mean is {_short(measure.mean)}, "
            f"{share} {side} what it showed (it was chosen from {answer.trials})."
        )
    return f"{what[0].upper()}{what[1:]}; its mean is {_short(measure.mean)}: no more than noise explains."


def _never_differs(answer: Confirmation) -> bool:
    several = [one for one in answer.configurations if one.repeats > 1]
    return bool(several) and all(measure.deviation == 0 for one in several for measure in one.measures)


def _short(value: float) -> str:
    return f"{value:.4g}"
