"""What repeats with other seeds say of configurations: means, intervals, and which is the best.

Values are scores here, greater is better. The values by which configurations were chosen are left out: the
best of n results owe their place to luck as well, so only repeats count.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

LEVEL = 0.95
"""Of intervals, and of keeping the best one."""
UNEQUAL = 0.01
"""Spreads that would be so different by chance less often than this are not pooled."""
DRAWS = 20_000
"""From the means' distribution, for the probability of being the best: good to half a percent."""

Scores = Sequence[Sequence[float]]
"""For each configuration its repeats' scores."""


@dataclass(frozen=True, kw_only=True)
class Spreads:
    """How much repeats of one configuration differ."""

    deviations: NDArray[np.float64]
    """Standard deviation by configuration; NaN where it isn't known."""
    freedoms: NDArray[np.float64]
    """Degrees of freedom of each."""
    pooled: bool
    """All have the same, of all repeats together."""


def spreads(scores: Scores) -> Spreads:
    """The spread of each configuration: of all together, unless Bartlett's test says that they differ."""
    counts = np.array([len(one) for one in scores])
    own = np.array([np.var(one, ddof=1) if len(one) > 1 else math.nan for one in scores])
    known = counts > 1
    freedom = float(np.sum(counts[known] - 1))
    if not freedom:
        nothing = np.full(len(scores), math.nan)
        return Spreads(deviations=nothing, freedoms=np.zeros(len(scores)), pooled=True)
    together = float(np.sum(own[known] * (counts[known] - 1)) / freedom)
    if _differ([one for one in scores if len(one) > 1], own[known]):
        variances = np.where(known, own, together)
        freedoms = np.where(known, counts - 1.0, freedom)
        return Spreads(deviations=np.sqrt(variances), freedoms=freedoms, pooled=False)
    return Spreads(
        deviations=np.full(len(scores), math.sqrt(together)),
        freedoms=np.full(len(scores), freedom),
        pooled=True,
    )


def _differ(groups: Scores, variances: NDArray[np.float64]) -> bool:
    """Whether the spreads of groups of two and more clearly differ."""
    if len(groups) < 2 or not np.all(variances > 0):
        return False
    return bool(stats.bartlett(*groups).pvalue < UNEQUAL)


def means(scores: Scores) -> NDArray[np.float64]:
    """By configuration; NaN for one without a repeat."""
    return np.array([float(np.mean(one)) if len(one) else math.nan for one in scores])


def intervals(scores: Scores, level: float = LEVEL) -> list[tuple[float, float] | None]:
    """An interval for each mean; all of them hold together with probability `level` (Šidák).

    So that of the configuration which comes out best holds, too, although it was chosen among them.

    Returns:
        None where repeats are too few.
    """
    spread = spreads(scores)
    each = level ** (1 / max(1, len(scores)))
    found: list[tuple[float, float] | None] = []
    for one, deviation, freedom in zip(scores, spread.deviations, spread.freedoms, strict=True):
        if not one or not freedom:
            found.append(None)
            continue
        half = float(stats.t.ppf((1 + each) / 2, freedom) * deviation / math.sqrt(len(one)))
        middle = float(np.mean(one))
        found.append((middle - half, middle + half))
    return found


def p_worse(scores: Scores) -> NDArray[np.float64]:
    """How likely configuration i would seem so much worse than j by chance alone, if it weren't.

    Returns:
        p by [i, j], of a one-sided t-test (Welch's where spreads aren't pooled); 1 where that says nothing.
    """
    spread, middle = spreads(scores), means(scores)
    counts = np.array([len(one) for one in scores], dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        part = spread.deviations**2 / counts
        squared = part[:, None] + part[None, :]
        gap = middle[None, :] - middle[:, None]
        freedom = np.broadcast_to(spread.freedoms[:, None], squared.shape)
        if not spread.pooled:
            each = part**2 / spread.freedoms
            freedom = squared**2 / (each[:, None] + each[None, :])
        p = special.stdtr(freedom, -gap / np.sqrt(squared))
        # Where repeats don't differ at all, any gap is one.
        p = np.where((squared == 0) & (gap > 0), 0.0, p)
    found: NDArray[np.float64] = np.where((gap > 0) & np.isfinite(p), p, 1.0)
    return found


def clearly_worse(objectives: Sequence[Scores], looks: int) -> list[tuple[int, float] | None]:
    """Which configurations another one clearly beats: in every objective.

    The best one is among them with probability 1 - `LEVEL` at most, over all looks and all others together
    (Bonferroni): that doesn't depend on which one leads.

    Args:
        objectives: the scores by each objective, of those that are still compared.
        looks: how often it is asked in all.

    Returns:
        For each configuration the one that beats it most clearly, and p; None for one that stays.
    """
    worst = np.max([p_worse(scores) for scores in objectives], axis=0)
    bound = (1 - LEVEL) / max(1, (len(worst) - 1) * looks)
    found: list[tuple[int, float] | None] = []
    for row in worst:
        by = int(np.argmin(row))
        found.append((by, float(row[by])) if row[by] < bound else None)
    return found


def probabilities(objectives: Sequence[Scores], *, draws: int = DRAWS) -> list[float]:
    """For each configuration the probability that its mean is the best, as far as repeats tell.

    The best of several means is too good, as it was chosen for that. So the true means count as drawn from
    one normal distribution of unknown width: the less repeats tell them apart, the more alike they are taken
    to be. Of several objectives, the probability that no other configuration is better in all.

    Returns:
        0 for a configuration without repeats.
    """
    generator = np.random.default_rng(0)
    drawn = np.stack([_drawn(scores, generator, draws) for scores in objectives])  # objective, draw, which
    if len(objectives) == 1:
        first = drawn[0]
        best = first == np.max(first, axis=1, keepdims=True)
        return [float(share) for share in np.mean(best / best.sum(axis=1, keepdims=True), axis=0)]
    beaten = np.zeros(drawn.shape[1:], dtype=bool)
    for other in range(drawn.shape[2]):
        rival = drawn[:, :, other : other + 1]
        beaten |= np.all(rival >= drawn, axis=0) & np.any(rival > drawn, axis=0)
    usable = np.all(np.isfinite(drawn[:, 0, :]), axis=0)
    return [float(share) for share in np.mean(~beaten & usable, axis=0)]


def _drawn(scores: Scores, generator: np.random.Generator, draws: int) -> NDArray[np.float64]:
    """True means as they may be, by [draw, configuration]; -inf for a configuration without repeats."""
    spread, middle, size = spreads(scores), means(scores), len(scores)
    drawn = np.full((draws, size), -math.inf)
    known = np.isfinite(middle)
    counts = np.maximum([len(one) for one in scores], 1)[known]
    deviations = np.nan_to_num(spread.deviations[known], nan=0.0)
    if not np.all(deviations > 0):
        drawn[:, known] = middle[known]  # repeats don't differ, or are one each
        return drawn
    freedoms = spread.freedoms[known]
    # Where the spread is pooled, it is the same unknown one for all.
    width = 1 if spread.pooled else len(freedoms)
    chi = generator.chisquare(freedoms[:width], (draws, width)) / freedoms[:width]
    errors = deviations / np.sqrt(counts) / np.sqrt(chi)
    among = _among(middle[known], deviations / np.sqrt(counts), generator, draws)
    weight = 1 / (errors**2 + among[:, None] ** 2)
    centre = np.sum(weight * middle[known], axis=1) / np.sum(weight, axis=1)
    centre += generator.standard_normal(draws) / np.sqrt(np.sum(weight, axis=1))
    share = (among[:, None] ** 2) * weight  # how far a mean is believed, 0 to 1
    normal = generator.standard_normal((draws, len(freedoms)))
    drawn[:, known] = (
        centre[:, None] + share * (middle[known] - centre[:, None]) + errors * np.sqrt(share) * normal
    )
    return drawn


def _among(
    middle: NDArray[np.float64], errors: NDArray[np.float64], generator: np.random.Generator, draws: int
) -> NDArray[np.float64]:
    """How much true means may differ from each other: standard deviations, drawn by how likely they are.

    Beforehand a half-Cauchy distribution of the means' own error, as wide as anything that could be told.
    """
    scale = float(np.median(errors))
    grid = scale * np.geomspace(0.01, 1000, 200)
    variance = errors**2 + grid[:, None] ** 2
    weight = 1 / variance
    centre = np.sum(weight * middle, axis=1) / np.sum(weight, axis=1)
    likely = np.sum(stats.norm.logpdf(middle, centre[:, None], np.sqrt(variance)), axis=1)
    likely += -0.5 * np.log(np.sum(weight, axis=1))  # the centre is unknown as well
    likely += stats.halfcauchy.logpdf(grid, scale=scale) + np.log(grid)  # the grid is logarithmic
    share = np.exp(likely - np.max(likely))
    drawn: NDArray[np.float64] = generator.choice(grid, draws, p=share / np.sum(share))
    return drawn


def expected_luck(deviation: float, trials: int) -> float:
    """How much the best of so many equally good results shows above its mean by luck (Blom's estimate)."""
    if trials < 2 or not math.isfinite(deviation):
        return 0.0
    return float(deviation * stats.norm.ppf((trials - 0.375) / (trials + 0.25)))
