"""Names of artifacts, made safe as files and as keys."""

from __future__ import annotations

import os
import re
import unicodedata

from worker.protocol.errors import InvalidKey

MAX_BYTES = 255
"""Longest safe name, in bytes of UTF-8: what file systems allow."""

_UNSAFE = re.compile(r'[/\\:*?"<>|]')

_REORDERS_TEXT = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Marks of writing direction: with them, "exe.png" can be made to show where "gnp.exe" stands."""

_EXTENSIONS = re.compile(r"(\.\w{1,12}){1,2}$", re.ASCII)


def safe_name(name: str, suffix: str = "") -> str:
    """`name` as a plain file name: no folders, no control characters, at most 255 bytes, never empty.

    Letters of any language stay as they are. Extensions (up to two, as in ``.csv.gz``) survive shortening.

    Args:
        name: any text.
        suffix: such as ``.json``; appended unless the name ends with it already.
    """
    text = unicodedata.normalize("NFC", name.encode("utf-8", "replace").decode())
    text = re.sub("\x00+", "_", "".join("\x00" if _unsafe(letter) else letter for letter in text)).strip(" ")
    if not text.strip("."):  # empty, "." and ".." are folders
        text = "artifact"
    if not text.endswith(suffix):
        text += suffix
    if len(text.encode()) <= MAX_BYTES:
        return text
    found = _EXTENSIONS.search(text)
    extensions = suffix or (found[0] if found else "")
    stem = text.removesuffix(extensions).encode()[: MAX_BYTES - len(extensions.encode())]
    return stem.decode("utf-8", "ignore") + extensions


def checked_key(key: str) -> str:
    """`key`, if it is one that every store can keep: names divided by single slashes, no ``.`` or ``..``.

    Raises:
        InvalidKey: it isn't.
    """
    try:
        os.fsencode(key)  # halves of characters, but not the bytes that a file system may have
        is_valid = not any(part in ("", ".", "..") or "\x00" in part for part in key.split("/"))
    except UnicodeEncodeError:
        is_valid = False
    if not is_valid:
        raise InvalidKey(f"{key!r:.300} is no valid key of an artifact")
    return key


def _unsafe(letter: str) -> bool:
    return (
        _UNSAFE.match(letter) is not None
        or letter in _REORDERS_TEXT
        or unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp")
    )
