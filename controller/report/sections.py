"""Sections of insight in the report: what one is, and where they are found."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType

from controller.report import insight
from controller.results.study_data import StudyData
from worker.protocol.errors import BadInput


@dataclass(frozen=True, kw_only=True)
class Section:
    """One question and its answer, as the report shows it: a heading, sentences, a table.

    What programs and users wrote may stand in each part: the report escapes it.
    """

    title: str
    text: Sequence[str] = ()
    """Sentences, each a paragraph. What stands in backquotes, as names of parameters do, is shown as code."""
    rows: Sequence[Mapping[str, object]] = ()
    """A table: name of the column → what stands there. Numbers are set to the right."""
    place: int = 50
    """Sections stand by this number, then by title."""

    @property
    def columns(self) -> list[str]:
        """Names of all columns, as the rows have them."""
        return list(dict.fromkeys(name for row in self.rows for name in row))

    def is_numeric(self, column: str) -> bool:
        found = [row.get(column) for row in self.rows]
        return all(
            one is None or (isinstance(one, (int, float)) and not isinstance(one, bool)) for one in found
        )


_CODE = re.compile("`([^`]+)`")


def spans(text: str) -> list[tuple[str, bool]]:
    """The parts of a sentence, and whether each is code, in backquotes; none is empty."""
    parts = _CODE.split(text)
    return [(part, place % 2 == 1) for place, part in enumerate(parts) if part]


Ask = Callable[[StudyData], "Section | None"]
"""What a module of `controller.report.insight` has as ``section``; None where there is nothing to say.

A `BadInput` that it raises is left out as well: the report tells what is known.
"""


def section_modules() -> list[ModuleType]:
    """The modules that have a section."""
    names = [found.name for found in pkgutil.iter_modules(insight.__path__)]
    return [importlib.import_module(f"{insight.__name__}.{name}") for name in names]


def insight_of(data: StudyData) -> list[Section]:
    """The sections of a study, in order.

    Args:
        data: with its learning curves, if the report has them.
    """
    found = []
    for module in section_modules():
        ask: Ask = module.section
        try:
            section = ask(data)
        except BadInput:
            continue
        if section is not None and (section.text or section.rows):
            found.append(section)
    return sorted(found, key=lambda section: (section.place, section.title))
