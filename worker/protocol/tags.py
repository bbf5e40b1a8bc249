"""Tags and notes of people: what is taken, and how tags stand in a task's record."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from worker.protocol.errors import BadInput

MAX_TAGS = 100
"""Tags of one task."""
LONGEST_TAG = 100
"""Characters of a tag."""
LONGEST_NOTE = 10_000
"""Characters of a note."""


def encode_tags(tags: Sequence[str]) -> str:
    """As a field of a task's record."""
    return json.dumps(list(tags), ensure_ascii=False)


def decode_tags(text: str | None) -> tuple[str, ...] | None:
    """Inverse of `encode_tags`; None where the field is missing. Raises `ValueError`."""
    if not text:
        return None
    try:
        tags = json.loads(text)
    except RecursionError as error:
        raise ValueError("field 'tags' is malformed") from error
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise ValueError(f"field 'tags' is malformed: {text:.100}")
    return tuple(tags)


def changed_tags(old: Sequence[str], add: Iterable[str], remove: Iterable[str]) -> tuple[str, ...]:
    """The tags after a change, in the order in which they came. Raises `BadInput` for too many."""
    gone = set(remove)
    tags = tuple(dict.fromkeys(tag for tag in (*old, *add) if tag not in gone))
    if len(tags) > MAX_TAGS:
        raise BadInput(f"a task has at most {MAX_TAGS} tags; this one would have {len(tags)}")
    return tags


def checked_tag(tag: str) -> str:
    """A tag as it is kept, without space around it. Raises `BadInput`."""
    tag = tag.strip()
    if not tag or not tag.isprintable() or len(tag) > LONGEST_TAG:
        raise BadInput(f"tag {tag!r:.60}: a tag has 1 to {LONGEST_TAG} printable characters, and one line")
    return tag


def checked_note(text: str) -> str:
    """A note as it is kept; an empty one is none. Raises `BadInput`."""
    text = "\n".join(text.strip().splitlines())
    wrong = next((sign for sign in text if not sign.isprintable() and sign not in "\n\t"), None)
    if wrong:
        raise BadInput(f"a note has text only: character {wrong!r} is a control character")
    if len(text) > LONGEST_NOTE:
        raise BadInput(f"a note has at most {LONGEST_NOTE} characters; this one has {len(text)}")
    return text
