"""A search in a notebook: one picture that is drawn again in its place, and few lines."""

from __future__ import annotations

import builtins
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from controller.loop.budget import Budget
from controller.session import notebook
from controller.session.printing import LinesView
from tests.unit.test_views import ONE, job, search
from worker.protocol import Reason, Status

FAILED = {"status": Status.FAILED, "reason_class": Reason.OBJECTIVE_ERROR, "reason": "ValueError: <b>"}


class Cells:
    """IPython's display, as a kernel has it: what each output holds now, and how often it was written."""

    def __init__(self) -> None:
        self.outputs: list[dict[str, str]] = []
        self.written = 0

    def display(self, bundle: dict[str, str], *, raw: bool, display_id: bool) -> Any:
        assert raw
        assert display_id
        self.outputs.append({})
        place = len(self.outputs) - 1

        def update(bundle: dict[str, str], *, raw: bool) -> None:
            assert raw
            self.outputs[place] = bundle
            self.written += 1

        update(bundle, raw=True)
        return SimpleNamespace(update=update)


@pytest.fixture
def cells(monkeypatch: pytest.MonkeyPatch) -> Cells:
    made = Cells()
    module = ModuleType("IPython.display")
    module.display = made.display  # type: ignore[attr-defined] # made here
    monkeypatch.setitem(sys.modules, "IPython", ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    return made


def fleet() -> Any:
    return SimpleNamespace(slots=2, workers=["w"], empty_since=None, queue="default", new_refusals=list)


def test_one_picture_is_drawn_again(cells: Cells, capsys: pytest.CaptureFixture[str]) -> None:
    view = notebook.NotebookView()
    view.begin(search(ONE, "<script>alert(1)</script>"))
    for number in range(300):
        one = job(number, {"x<i>": 0.5}, {"loss": 300.0 - number})
        view.started(one)
        view.ended(one)
        if not number % 100:
            view.tick(Budget(300), fleet(), [])
    view.ended(job(300, {}, {}, **FAILED))
    view.end()
    (output,) = cells.outputs
    assert cells.written == 5  # at the beginning, at three ticks, at the end
    assert "301 ended (1 failed) · 0 running on 2 slots of 1 worker" in output["text/plain"]
    assert "best 1 (trial 299)\n  x<i>=0.5" in output["text/plain"]
    assert "<script>" not in output["text/html"]
    assert "&lt;script&gt;" in output["text/html"]
    assert "x&lt;i&gt;=0.5" in output["text/html"]
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert "1 failed (objective_error: ValueError: <b>)" in lines[1]


def test_a_failed_trial_says_why(cells: Cells, capsys: pytest.CaptureFixture[str]) -> None:
    view = notebook.NotebookView()
    view.begin(search(ONE))
    view.ended(job(0, {}, {"loss": 0.5}))
    view.ended(job(1, {}, {}, **FAILED))
    assert capsys.readouterr().out.splitlines()[1:] == ["· trial 1 failed: objective_error: ValueError: <b>"]


class ZMQInteractiveShell: ...


class TerminalInteractiveShell: ...


@pytest.mark.parametrize(
    ("shell", "view"),
    [(ZMQInteractiveShell, notebook.NotebookView), (TerminalInteractiveShell, LinesView), (None, LinesView)],
)
def test_what_a_program_gets_by_default(shell: Any, view: type, monkeypatch: pytest.MonkeyPatch) -> None:
    if shell:
        monkeypatch.setattr(builtins, "get_ipython", shell, raising=False)
    assert type(notebook.default_view()) is view
