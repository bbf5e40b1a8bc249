"""A study's file as an argument of commands that take a study's name as well."""

from __future__ import annotations

from pathlib import Path

_GZIP = b"\x1f\x8b"


def study_file(text: str | None) -> Path | None:
    """The study's file that an argument names; None where it is a study's name, which may have slashes."""
    if text is None:
        return None
    path = Path(text)
    is_path = text.endswith(".gz") or text.startswith(("/", "./", "../"))
    try:
        with open(path, "rb") as file:
            return path if is_path or file.read(2) == _GZIP else None
    except OSError:
        return path if is_path else None  # reading it says what is wrong
