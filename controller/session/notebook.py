"""A search in a notebook: one picture that is drawn again, instead of a line for each trial."""

from __future__ import annotations

import builtins
import os
from typing import TYPE_CHECKING

from controller.loop.budget import Budget
from controller.loop.fleet import Fleet
from controller.loop.job import Job
from controller.loop.observer import RunningSearch
from controller.results.live import EndedTrial
from controller.screen.grouping import Group
from controller.session.printing import LinesView, View, goals
from worker.protocol import Status
from worker.protocol.printable import one_line

if TYPE_CHECKING:
    from controller.screen.notebook import Cell


class NotebookView(View):
    """The study as it stands, drawn about once a second; below it, why trials have failed."""

    def __init__(self) -> None:
        super().__init__()
        self._cell: Cell | None = None

    def begin(self, search: RunningSearch) -> None:
        from controller.screen.notebook import Cell  # noqa: PLC0415 - rich takes long to import

        super().begin(search)
        print(f"study {search.study}: {goals(search.objective.metrics)} · queue {search.queue}", flush=True)
        self._cell = Cell()
        self._draw()

    def end(self) -> None:
        super().end()
        self._draw()

    def tick(self, budget: Budget, fleet: Fleet, running: list[Job]) -> None:
        super().tick(budget, fleet, running)
        self._draw()

    def line(self, one: EndedTrial | Group) -> None:
        if isinstance(one, Group):
            if any(each.status is Status.FAILED for each in one.trials):
                self.note(str(one))
        elif one.status is Status.FAILED:
            self.note(f"trial {one.trial} failed: {one.reason_class}: {one.reason}")

    def note(self, text: str) -> None:
        print(f"· {one_line(text)}", flush=True)

    def _draw(self) -> None:
        from controller.screen.frame import FramePicture  # noqa: PLC0415 - rich takes long to import

        if self._cell is not None:
            self._cell.draw(FramePicture(self.following.frame()))


def in_notebook() -> bool:
    """Whether this is the kernel of a notebook, by what rich goes by."""
    asked = getattr(builtins, "get_ipython", None)
    shell = type(asked()) if asked else object
    if "google.colab" in str(shell) or (asked and os.environ.get("DATABRICKS_RUNTIME_VERSION")):
        return True
    return shell.__name__ == "ZMQInteractiveShell"


def default_view() -> View:
    """What shows a program's own search."""
    return NotebookView() if in_notebook() else LinesView()
