"""Samplers and pruners by name, the same in sweep files, programs and on compute nodes."""

from __future__ import annotations

SAMPLERS = {
    "random": "RandomSampler",
    "tpe": "TPESampler",
    "grid": "GridSampler",
    "qmc": "QMCSampler",
    "cmaes": "CmaEsSampler",
    "gp": "GPSampler",
    "nsgaii": "NSGAIISampler",
    "nsgaiii": "NSGAIIISampler",
    "brute_force": "BruteForceSampler",
    "partial_fixed": "PartialFixedSampler",
}
"""Name → class in `optuna.samplers`."""
PRUNERS = {
    "median": "MedianPruner",
    "percentile": "PercentilePruner",
    "asha": "SuccessiveHalvingPruner",
    "hyperband": "HyperbandPruner",
    "threshold": "ThresholdPruner",
    "wilcoxon": "WilcoxonPruner",
    "patient": "PatientPruner",
    "none": "NopPruner",
}
"""Name → class in `optuna.pruners`."""
SAMPLER_ALIASES = {
    "bruteforce": "brute_force",
    "cma_es": "cmaes",
    "nsga2": "nsgaii",
    "nsga3": "nsgaiii",
    "nsga_ii": "nsgaii",
    "nsga_iii": "nsgaiii",
    "partialfixed": "partial_fixed",
}
"""Other name → the name in `SAMPLERS`."""
PRUNER_ALIASES = {"successive_halving": "asha", "nop": "none"}
"""Other name → the name in `PRUNERS`."""


def sampler_name(name: str) -> str:
    """A sampler's name without aliases, hyphens and capitals; an unknown one is returned like this, too."""
    return _plain(name, SAMPLER_ALIASES)


def pruner_name(name: str) -> str:
    """As `sampler_name`, of a pruner."""
    return _plain(name, PRUNER_ALIASES)


def _plain(name: str, aliases: dict[str, str]) -> str:
    plain = name.lower().replace("-", "_")
    return aliases.get(plain, plain)
