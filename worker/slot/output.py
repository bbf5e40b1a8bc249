"""What a program prints: kept for the log, and read for scalars where it is a command."""

from __future__ import annotations

import re

_NUMBER = r"[+-]?(?:\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?|nan|NaN|NAN|inf|Inf|INF|infinity)"
_TOKEN = re.compile(rf"(?:^|(?<=[\s,;(\[]))([A-Za-z_:][\w./:%-]*)=({_NUMBER})(?=$|[\s,;)\]])")


class ScalarLines:
    """Finds ``name=value`` in a command's standard output.

    A line may hold several; ``iteration=n`` among them says which iteration they belong to. Without it
    each metric counts its own reports, from 0.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._counts: dict[str, int] = {}

    def feed(self, data: bytes) -> list[tuple[str, float, int]]:
        """The (name, value, iteration) found in the lines completed by `data`."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > 1 << 20:
            self._rest = b""
        return [found for line in lines for found in self.parse(line.decode("utf-8", "replace"))]

    def end(self) -> list[tuple[str, float, int]]:
        """What stands in a last line without a newline."""
        rest, self._rest = self._rest, b""
        return self.parse(rest.decode("utf-8", "replace"))

    def parse(self, line: str) -> list[tuple[str, float, int]]:
        if "=" not in line:
            return []
        tokens = [(name, float(number)) for name, number in _TOKEN.findall(line)]
        given = next((int(n) for name, n in tokens if name == "iteration" and n == n and abs(n) < 1e15), None)
        found = []
        for name, value in tokens:
            if name == "iteration":
                continue
            iteration = self._counts.get(name, 0) if given is None else given
            self._counts[name] = iteration + 1
            found.append((name, value, iteration))
        return found


def failure_text(tail: bytes) -> tuple[str, str]:
    """Why a program has failed, from the end of its output.

    Returns:
        The last line that says something, and the last traceback, or else the last lines.
    """
    text = tail.decode("utf-8", "replace").rstrip()
    start = text.rfind("Traceback (most recent call last)")
    shown = text[start:] if start >= 0 else "\n".join(text.splitlines()[-20:])
    lines = [line for line in shown.splitlines() if line.strip()]
    return (lines[-1].strip() if lines else ""), shown[-20_000:]


_CHAINED = (
    "The above exception was the direct cause of the following exception:",
    "During handling of the above exception, another exception occurred:",
)


def failure_lines(tail: bytes) -> list[str]:
    """The line that says why a program has failed, then those of what that came from, in Python's chains."""
    text, found = tail, []
    while True:
        last, shown = failure_text(text)
        found.append(last)
        before = text.decode("utf-8", "replace").rstrip()
        before = before[: before.rfind(shown)].rstrip() if shown else ""
        chained = next((words for words in _CHAINED if before.endswith(words)), None)
        if chained is None:
            return found
        text = before.removesuffix(chained).encode()
