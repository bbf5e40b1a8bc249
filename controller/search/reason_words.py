"""Reasons in words, for people. Values that somebody else may have written: what is missing is left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

SHOWN = {
    "tpe": "TPE", "random": "random search", "grid": "the grid", "qmc": "QMC", "cmaes": "CMA-ES", "gp": "GP",
    "nsgaii": "NSGA-II", "nsgaiii": "NSGA-III", "brute_force": "brute force", "median": "median pruner",
    "percentile": "percentile pruner", "asha": "ASHA", "hyperband": "Hyperband", "threshold": "threshold",
    "wilcoxon": "Wilcoxon pruner", "patient": "patient pruner",
}  # fmt: skip
"""Samplers and pruners as people write them."""

_GIVEN = {
    "try": "given by [[try]]",
    "program": "given by the program",
    "person": "given by a person",
    "retry": "to run the parameters of failed trial {trial} again",
    "again": "to run the parameters of interrupted trial {trial} again",
    "unseen": "a point that no trial had had: the sampler had repeated itself",
    "outside": "enqueued in Optuna's study by somebody else",
}


def ask_words(why: Mapping[str, Any]) -> str:
    """Such as ``by TPE, from 42 trials; it took trials 17, 3 for good``. Empty for no reason."""
    return _readable(_ask_words, why)


def prune_words(why: Mapping[str, Any]) -> str:
    """Such as ``0.61; the median of 9 trials there is 0.83``; empty for no reason."""
    return _readable(_prune_words, why)


def _readable(words: Callable[[Mapping[str, Any]], str], why: Mapping[str, Any]) -> str:
    """The words of a reason; a file that somebody else wrote may hold one that has none."""
    try:
        return words(why) if why else ""
    except (TypeError, ValueError, LookupError):
        return "for a reason that can't be read"


def _ask_words(why: Mapping[str, Any]) -> str:
    text = _given(why) if why.get("by") == "given" else _suggested(why)
    closed = why.get("instead")
    if isinstance(closed, Sequence) and closed:
        count = why.get("closed", len(closed))
        text += f"; in place of {_trials(closed, count)}, whose parameters had been tried"
    return text


def _given(why: Mapping[str, Any]) -> str:
    text = _GIVEN.get(str(why.get("from")), _GIVEN["outside"]).format(trial=why.get("trial", "?"))
    return f"{text} ({why['person']})" if why.get("person") else text


def _suggested(why: Mapping[str, Any]) -> str:
    text = f"by {_name(why)}"
    if "startup" in why:
        return (
            f"{text}: drawn at random, as {why['startup']} of the first {why.get('of', '?')} trials had ended"
        )
    if "point" in why:
        return f"{text}: point {why['point'] + 1} of {why.get('of', '?')}"
    if "generation" in why:
        text += f", generation {why['generation']}"
    if "n" in why:
        text += f", from {_count(why['n'], 'trial')}"
    if "together" in why:
        text += f", {_count(why['together'], 'parameter')} together"
    if why.get("alone"):
        text += f", by themselves {', '.join(map(str, why['alone']))}"
    if why.get("good"):
        text += f"; it took {_trials(why['good'], len(why['good']))} for good"
    return text


def _prune_words(why: Mapping[str, Any]) -> str:
    by, value = why.get("by"), number(why.get("value"))
    if "bound" in why:
        share = "median" if "percentile" not in why else f"{why['percentile']:g}th percentile"
        best = number(why.get("best"))
        shown = value if best == value else f"{value}, at best {best}"
        return f"{shown}; the {share} of {_count(why.get('n', 0), 'trial')} there is {number(why['bound'])}"
    if "rung" in why:
        bracket = f"bracket {why['bracket']}, " if "bracket" in why else ""
        go_on = why.get("go_on", 1)
        return (
            f"{value}; {_name(why)}: {bracket}rung {why['rung']}, "
            f"place {why.get('place')} of {why.get('n')}, {go_on} {'goes' if go_on == 1 else 'go'} on"
        )
    if by == "threshold":
        return f"{value}; allowed is {number(why.get('lower'), '-∞')} to {number(why.get('upper'), '∞')}"
    if by == "patient":
        return _impatient(why, value)
    if "p" in why:
        return (
            f"{value}; worse than trial {why.get('against')} over {_count(why.get('n', 0), 'step')}: "
            f"p = {number(why['p'])}, limit {number(why.get('limit'))}"
        )
    return f"{value}; {_name(why)}"


def _impatient(why: Mapping[str, Any], value: str) -> str:
    text = (
        f"{value}; no better for {_count(why.get('patience', 0), 'step')}: best {number(why.get('since'))} "
        f"since, {number(why.get('before'))} before"
    )
    inner = why.get("wrapped")
    if not isinstance(inner, Mapping):
        return text
    return f"{text}; {_prune_words({**inner, 'value': why.get('value')})}"


def number(value: Any, missing: str = "not a number") -> str:
    """A number with six digits at most."""
    return f"{value:.6g}" if isinstance(value, (int, float)) else missing


def _name(why: Mapping[str, Any]) -> str:
    return SHOWN.get(str(why.get("by")), str(why.get("by", "the sampler")))


def _count(count: Any, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _trials(numbers: Sequence[Any], count: Any) -> str:
    named = ", ".join(map(str, numbers[:5]))
    more = f", … ({count})" if isinstance(count, int) and count > min(len(numbers), 5) else ""
    return f"trial{'' if count == 1 else 's'} {named}{more}"
