"""Parameters as lines of TOML."""

from __future__ import annotations

import json
import re
from typing import Any

_BARE = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


def toml_line(name: str, value: Any) -> str | None:
    """``name = value``, the name quoted where it must be; None if TOML has no such value or name."""
    text = _value(value)
    if text is None or _is_broken(name):
        return None
    return f"{name if _BARE.fullmatch(name) else _text(name)} = {text}"


def _value(value: Any) -> str | None:
    if value is None:
        return "{ none = true }"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value) if -(2**63) <= value < 2**63 else None
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, str):
        return None if _is_broken(value) else _text(value)
    if isinstance(value, list):
        parts = [_value(item) for item in value]
        return None if None in parts else f"[{', '.join(map(str, parts))}]"
    return None


def _text(text: str) -> str:
    # JSON's escapes are TOML's; DEL and what some readers take for a line's end stand as escapes, too.
    return re.sub(
        r"[\x7f-\x9f\u2028\u2029]",
        lambda found: f"\\u{ord(found[0]):04x}",
        json.dumps(text, ensure_ascii=False),
    )


def _is_broken(text: str) -> bool:
    """Whether a text can't be written in UTF-8."""
    return any("\ud800" <= letter <= "\udfff" for letter in text)
