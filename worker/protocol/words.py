"""Words in messages."""

from __future__ import annotations


def with_article(noun: str) -> str:
    """``an int``, ``a list``: by the noun's first letter, which is right for the names of types."""
    vowel = noun[:1].lower() in tuple("aeio") or noun == "ndarray"
    return f"{'an' if vowel else 'a'} {noun}"
