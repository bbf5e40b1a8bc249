"""Names that are safe as files and as keys, whatever a program called its artifact."""

from __future__ import annotations

import re
import unicodedata

MAX_BYTES = 200
"""Longest safe name, in bytes of UTF-8; file systems allow 255, and a temporary suffix is added."""

_UNSAFE = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|]+')


def safe_name(name: str) -> str:
    """`name` as a plain file name: no folders, no control characters, not too long, never empty.

    Letters of any language stay as they are. The extension survives shortening.
    """
    text = unicodedata.normalize("NFC", name.encode("utf-8", "replace").decode())
    text = _UNSAFE.sub("_", text).strip(" ")
    if not text.strip("._"):
        return "artifact" if not text.strip(".") else text.strip(".")
    text = text.lstrip(".") if set(text) <= {"."} else text
    if len(text.encode()) <= MAX_BYTES:
        return text
    stem, dot, extension = text.rpartition(".")
    if not dot or len(extension.encode()) > 20:
        stem, extension = text, ""
    room = MAX_BYTES - len(extension.encode()) - (1 if extension else 0)
    cut = stem.encode()[:room].decode("utf-8", "ignore")
    return f"{cut}.{extension}" if extension else cut
