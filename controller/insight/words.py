"""How insight says numbers."""

from __future__ import annotations

LEAST_P = 0.001
"""The smallest p-value that is told as it is."""


def p_text(p: float) -> str:
    """A p-value, as in "p = 0.03"."""
    return f"p = {p:.2g}" if p >= LEAST_P else f"p < {LEAST_P}"
