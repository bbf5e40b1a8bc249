"""What `controller confirm` says, checked against studies whose truth is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from controller.insight.confirm_rounds import Repeat, scores_of, standing
from controller.insight.confirm_statistics import intervals, probabilities

pytestmark = pytest.mark.slow

STUDIES = 120
"""Of each kind."""


def _run(truth: Sequence[float], seeds: int, draw: np.random.Generator, noise: float = 1.0):
    """Repeats as elimination asks for them."""
    repeats: list[dict[int, Repeat]] = [{} for _ in truth]
    while (now := standing(repeats, seeds)).wanted:
        for number, repeat in now.wanted:
            score = truth[number] + noise * draw.standard_normal()
            repeats[number][repeat] = Repeat(scores=(float(score),))
    return repeats, now


@pytest.fixture(scope="module", params=[0.0, 0.3, 2.0])
def studies(request):
    """How far configurations lie apart, in deviations of one repeat; truth, repeats and standing of each."""
    draw = np.random.default_rng(7)
    found = []
    for _ in range(STUDIES):
        truth = [float(value) for value in request.param * draw.standard_normal(5)]
        repeats, now = _run(truth, 5, draw)
        found.append((truth, [[s[0] for s in scores_of(one)] for one in repeats], now))
    return request.param, found


def test_intervals_hold_the_true_mean_of_the_winner_and_of_all(studies):
    _, found = studies
    together, winner = 0, 0
    for truth, scores, _ in found:
        holds = [low <= true <= high for (low, high), true in zip(intervals(scores), truth, strict=True)]
        together += all(holds)
        winner += holds[int(np.argmax([np.mean(one) for one in scores]))]
    assert 0.89 <= together / len(found) <= 0.99
    assert winner / len(found) >= 0.93


def test_the_best_one_is_rarely_dropped(studies):
    _, found = studies
    dropped = sum(int(np.argmax(truth)) in now.dropped for truth, _, now in found)
    assert dropped / len(found) <= 0.05


def test_the_probability_of_being_best_is_as_often_right(studies):
    apart, found = studies
    chances = [probabilities([scores], draws=2000) for _, scores, _ in found]
    claimed = np.mean([max(one) for one in chances])
    right = np.mean(
        [int(np.argmax(c)) == int(np.argmax(t)) for c, (t, _, _) in zip(chances, found, strict=True)]
    )
    if apart == 0.0:  # nobody is the best: it must not be sure of one
        assert claimed < 0.5
    else:
        assert abs(claimed - right) < 0.08
    if apart == 2.0:
        assert right > 0.8


def test_what_is_clearly_worse_costs_fewer_repeats(studies):
    apart, found = studies
    used = np.mean([sum(map(len, scores)) for _, scores, _ in found])
    assert used > 22 if apart < 1 else used < 21
