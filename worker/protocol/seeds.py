"""Seeds of tasks: derived, so that each attempt of a task has the same, and another task another."""

from __future__ import annotations

import hashlib

SEED_VARIABLE = "OPTUNA_RQ_SEED"
"""Environment variable in which each objective's program finds its task's seed."""
MAX_SEED = 2**31 - 1
"""The largest seed: numpy, torch and scikit-learn all take it."""


def derived_seed(*of: object) -> int:
    """A seed from 0 to `MAX_SEED`, always the same for the same arguments.

    Args:
        of: what has the seed, such as the study's seed and the number of a trial.
    """
    text = "/".join(str(one) for one in of)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "big") & MAX_SEED
