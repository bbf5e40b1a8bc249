"""When a study has done enough: the rules of `[budget] stop_when`, read from text."""

from __future__ import annotations

import importlib.util
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from controller.sweep.problems import Path, Problem, show
from worker.protocol.nearest import nearest

EXAMPLES = '"no improvement in 50 trials", "value >= 0.99" or "regret below 0.001"'
VALUE = "value"
"""Stands for the objective where there is a single one."""
REGRET_NEEDS = ("scipy", "torch")
"""Packages that Optuna's bound on the regret is computed with."""

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?"
_STAGNATION = re.compile(
    rf"no improvement(?: (?:of|above|over) (?P<least>{_NUMBER}))?"
    rf" (?:in|for|within|over) (?P<trials>{_NUMBER}) trials?",
    re.IGNORECASE,
)
_REGRET = re.compile(rf"regret (?:below|under|<|<=) ?(?P<below>{_NUMBER})", re.IGNORECASE)
_VALUE = re.compile(rf"(?P<name>.+?) ?(?P<sign>>=|<=|>|<) ?(?P<bound>{_NUMBER})", re.IGNORECASE)
_EQUALS = re.compile(r"[^<>]+?={1,2} ?[^=]+")


@dataclass(frozen=True, kw_only=True)
class NoImprovement:
    """So many trials have ended since the best one."""

    trials: int
    least: float = 0.0
    """What is better by this or less is no improvement."""

    def __str__(self) -> str:
        least = f" of {self.least:g}" if self.least else ""
        return f"no improvement{least} in {self.trials} trials"


@dataclass(frozen=True, kw_only=True)
class Reached:
    """A trial's value is as good as that."""

    metric: str
    """Its key, or `VALUE`."""
    sign: str
    """One of >=, <=, > and <."""
    bound: float

    def __str__(self) -> str:
        return f"{self.metric} {self.sign} {self.bound:.15g}"

    @property
    def maximizes(self) -> bool:
        return self.sign.startswith(">")

    def holds(self, value: float) -> bool:
        """Whether a value is good enough."""
        if value == self.bound:
            return self.sign.endswith("=")
        return value > self.bound if self.maximizes else value < self.bound


@dataclass(frozen=True, kw_only=True)
class RegretBelow:
    """What the best may be worse than the optimum, by Optuna's terminator, is below that."""

    below: float

    def __str__(self) -> str:
        return f"regret below {self.below:.15g}"


StopRule = NoImprovement | Reached | RegretBelow


def read_rule(text: object) -> StopRule:
    """The rule that a text means. Raises `ValueError`, which says what can stand there."""
    if not isinstance(text, str):
        raise ValueError(f"must be text such as {EXAMPLES}, got {show(text)}")
    plain = " ".join(text.replace("≥", ">=").replace("≤", "<=").split())
    if found := _STAGNATION.fullmatch(plain):
        return _stagnation(found)
    if found := _REGRET.fullmatch(plain):
        below = _finite(found["below"])
        if below <= 0:
            raise ValueError(f"the regret is never below 0; give a number above 0, got {show(text)}")
        return RegretBelow(below=below)
    if found := _VALUE.fullmatch(plain):
        name = VALUE if found["name"].casefold() == VALUE else found["name"]
        return Reached(metric=name, sign=found["sign"], bound=_finite(found["bound"]))
    if _EQUALS.fullmatch(plain):
        raise ValueError(f"a value is hardly ever just that; write >= or <=, got {show(text)}")
    raise ValueError(f"must be such as {EXAMPLES}, got {show(text)}")


def _stagnation(found: re.Match[str]) -> NoImprovement:
    trials, least = _finite(found["trials"]), _finite(found["least"] or "0")
    if not trials.is_integer() or trials < 1:
        raise ValueError(f"the number of trials must be a whole one, at least 1, got {found['trials']}")
    if least < 0:
        raise ValueError(f"an improvement is above 0, got {found['least']}")
    return NoImprovement(trials=int(trials), least=least)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is too large a number")
    return number


def misfit(
    rule: StopRule,
    objectives: Sequence[tuple[str, bool]],
    *,
    constrained: bool = False,
    conditional: Sequence[str] = (),
) -> str:
    """Why a rule can't be kept in a study; empty if it can.

    Args:
        objectives: key of each metric that is optimized, and whether it is maximized.
        constrained: results have bounds to keep.
        conditional: names of parameters that some trials lack.
    """
    if isinstance(rule, Reached):
        return _unreachable(rule, objectives)
    if isinstance(rule, NoImprovement):
        if rule.least and len(objectives) > 1:
            return f'of several objectives, none has "{rule}"; write "{NoImprovement(trials=rule.trials)}"'
        return ""
    instead = 'write "no improvement in 50 trials" instead'
    if len(objectives) > 1:
        return f"Optuna's terminator knows a single objective, and there are {len(objectives)}; {instead}"
    if constrained:
        return f"Optuna's terminator knows no constraints; {instead}"
    if conditional:
        names = ", ".join(conditional[:3])
        return f"Optuna's terminator knows no parameters that some trials lack ({names}); {instead}"
    missing = [name for name in REGRET_NEEDS if importlib.util.find_spec(name) is None]
    if missing:
        need = " and ".join(missing)
        return f"needs {need}, which isn't installed: pip install {' '.join(missing)}; or {instead}"
    return ""


def _unreachable(rule: Reached, objectives: Sequence[tuple[str, bool]]) -> str:
    goals = dict(objectives)
    names = [name for name, _ in objectives]
    if rule.metric == VALUE and VALUE not in goals:
        if len(names) > 1:
            return f'which of the objectives? write "{names[0]} {rule.sign} {rule.bound:g}"'
        maximizes = objectives[0][1]
    elif rule.metric in goals:
        maximizes = goals[rule.metric]
    else:
        near = nearest(rule.metric, [VALUE, *names])
        hint = f'did you mean "{near}"?' if near else f"there are {', '.join([VALUE, *names])}"
        return f"no objective is called {show(rule.metric)}; {hint}"
    if maximizes is not rule.maximizes:
        way, sign = ("maximized", ">=") if maximizes else ("minimized", "<=")
        first = names[0] if rule.metric == VALUE else rule.metric
        return f"{show(first)} is {way}: write {rule.metric} {sign} {rule.bound:g}"
    return ""


def check_rules(
    texts: Sequence[str],
    objectives: Sequence[tuple[str, bool]],
    *,
    constrained: bool = False,
    conditional: Sequence[str] = (),
) -> tuple[list[StopRule], list[Problem]]:
    """The rules that can be read, and what is wrong with these and the others; see `misfit`."""
    rules: list[StopRule] = []
    problems: list[Problem] = []
    for index, text in enumerate(texts):
        path: Path = ("budget", "stop_when", index) if len(texts) > 1 else ("budget", "stop_when")
        why = ""
        try:
            rules.append(read_rule(text))
        except ValueError as error:
            why = str(error)
        else:
            if objectives:
                why = misfit(rules[-1], objectives, constrained=constrained, conditional=conditional)
        if why:
            problems.append(Problem(path=path, text=why))
    return rules, problems
