"""A filter expression as Python's parser takes it, and where in it something is wrong."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from worker.protocol.errors import BadInput

LONGEST = 2000
"""Characters of an expression."""

HELP = "write comparisons, joined by and, or, not; in; arithmetic; names with other signs in `backticks`"


class WhereError(BadInput):
    """An expression that can't be read.

    Args:
        column: where, from 1.
        problem: what is wrong, and what to do.
    """

    def __init__(self, text: str, column: int, problem: str) -> None:
        super().__init__(f"filter, column {column}: {problem} (in: {_around(text, column)})")
        self.column = column
        self.problem = problem


@dataclass(frozen=True)
class Source:
    """An expression as Python's parser takes it."""

    text: str
    python: str
    origins: tuple[int, ...]
    """For each character of `python` its place in `text`, and one for the end."""
    quoted: Mapping[int, str]
    """Place in `python` of what stands for a name in backticks → that name."""

    @classmethod
    def of(cls, text: str) -> Source:
        if len(text) > LONGEST:
            raise WhereError(text, LONGEST, f"it has {len(text)} characters; {LONGEST} are allowed")
        if not text.strip():
            raise WhereError(text, 1, f"it is empty; {HELP}")
        python: list[str] = []
        origins: list[int] = []
        quoted: dict[int, str] = {}
        for place, part, name in _parts(text):
            if name is not None:
                quoted[len(python)] = name
            if python or not part.isspace():  # leading space means something in Python
                python += part
                origins += [place] * len(part) if name is not None else range(place, place + len(part))
        return cls(text, "".join(python), (*origins, len(text)), quoted)

    def place(self, node: ast.expr, *, end: bool = False) -> int:
        """Where a node begins, or ends, in `python`."""
        offset = (node.end_col_offset if end else node.col_offset) or 0
        return len(self.python.encode()[:offset].decode())  # the parser counts bytes

    def name(self, node: ast.expr) -> str:
        """What was written for a name, or anything else that stands in one piece."""
        start = self.place(node)
        return self.quoted.get(start) or self.python[start : self.place(node, end=True)]

    def wrong(self, node: ast.expr, problem: str) -> WhereError:
        return WhereError(self.text, self.origins[self.place(node)] + 1, problem)

    def unreadable(self, error: SyntaxError) -> WhereError:
        """What Python's parser has found, with what others' languages write differently."""
        place = min(error.offset - 1 if error.offset else len(self.python), len(self.python))  # 0: its end
        for pattern, instead in _FOREIGN:
            found = re.search(pattern, _without_texts(self.python))
            if found:
                return WhereError(self.text, self.origins[found.start()] + 1, instead)
        said = error.msg.partition(".")[0].removeprefix("invalid syntax").strip(" .") or "this can't be read"
        return WhereError(self.text, self.origins[place] + 1, f"{said}; {HELP}")


_FOREIGN = (
    (r"(?<![<>=!])=(?!=)", 'a single "=" compares nothing: write "=="'),
    (r"&&", 'write "and" for "&&"'),
    (r"\|\|", 'write "or" for "||"'),
    (r"!(?!=)", 'write "not" for "!"'),
    (r"<>", 'write "!=" for "<>"'),
    (r"\bAND\b|\bOR\b|\bNOT\b|\bIN\b", "write and, or, not, in with small letters"),
    (r"\blike\b|\bLIKE\b|=~", 'write "part" in name for what it contains'),
)


def _without_texts(python: str) -> str:
    return re.sub(r"\"(\\.|[^\"\\])*\"|'(\\.|[^'\\])*'", lambda found: " " * len(found[0]), python)


def _parts(text: str) -> Iterator[tuple[int, str, str | None]]:
    """In pieces: the place, what Python's parser is given, and the name if that is one in backticks."""
    place = 0
    while place < len(text):
        sign = text[place]
        if sign in "\"'":
            end = _end_of_text(text, place)
            yield from _text_parts(text, place, end)
        elif sign == "`":
            end = text.find("`", place + 1) + 1
            if end < place + 3:
                raise WhereError(text, place + 1, "a name in backticks has no end, or nothing in it")
            yield place, "_name_", text[place + 1 : end - 1]
        elif sign in "#\0\\":
            raise WhereError(text, place + 1, f"{sign!r} means nothing here; {HELP}")
        else:
            end = place + 1
            yield place, " " if sign.isspace() else sign, None
        place = end


def _end_of_text(text: str, start: int) -> int:
    """The place after a text in quotes that begins at `start`."""
    place = start + 1
    while place < len(text):
        if text[place] == text[start]:
            return place + 1
        place += 2 if text[place] == "\\" else 1
    raise WhereError(text, start + 1, f"a text in {text[start]} has no end")


def _text_parts(text: str, start: int, end: int) -> Iterator[tuple[int, str, None]]:
    """A text in quotes; a backslash means something before a quote or another one only."""
    place = start
    while place < end:
        if text[place] == "\\" and text[place + 1] not in "\\\"'":
            yield place, "\\", None
            yield place, "\\", None
            place += 1
        elif text[place] == "\\":
            yield place, text[place : place + 2], None
            place += 2
        else:
            yield place, " " if text[place] in "\r\n" else text[place], None
            place += 1


def _around(text: str, column: int) -> str:
    """A long expression near what is wrong."""
    if len(text) <= 100:
        return text
    start = max(0, min(column - 50, len(text) - 100))
    return f"{'…' if start else ''}{text[start : start + 100]}{'…' if start + 100 < len(text) else ''}"
