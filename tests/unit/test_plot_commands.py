"""``--plot`` of `top` and `show`: a study's best value so far, its Pareto front, and a task's learning curves."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import fakeredis
import pytest
from click.testing import CliRunner, Result

from controller.commands import main as cli
from controller.commands import questions
from controller.commands.settings import Settings
from tests.fakes import ACCURACY, LOSS
from tests.heads import Head
from worker.protocol import Reason, Status, Store, TaskSpec

Ask = Callable[..., Result]


@pytest.fixture
def head() -> Head:
    return Head(Store(fakeredis.FakeRedis(decode_responses=True)))


@pytest.fixture
def ask(head: Head, monkeypatch: pytest.MonkeyPatch) -> Ask:
    @contextlib.contextmanager
    def opened(settings: Settings) -> Iterator[Store]:
        yield head.store

    monkeypatch.setattr(questions, "open_store", opened)
    return lambda *words: CliRunner().invoke(
        cli.command, words, catch_exceptions=False, standalone_mode=False
    )


def plot_of(text: str, title: str) -> list[str]:
    """The rows between the edges of the plot with this title."""
    lines = text.splitlines()
    edges = [place for place in range(lines.index(title), len(lines)) if "+--" in lines[place]]
    return [line.partition("|")[2].rstrip("|") for line in lines[edges[0] + 1 : edges[1]]]


def column(rows: list[str], mark: str, place: int) -> list[int]:
    """The rows in which a mark stands in a column, from the left or the right, the top row being 0."""
    return [number for number, row in enumerate(rows) if row[place] == mark]


def test_the_best_value_so_far(head: Head, ask: Ask) -> None:
    for trial, loss in enumerate((8.0, 9.0, 4.0, 6.0, 0.0)):
        head.done(trial, loss)
    head.finish(head.run(5, -9.0), Status.FAILED, Reason.OBJECTIVE_ERROR)
    head.run(6, -9.0)
    done = ask("top", "s", "-k", "1", "--plot")
    rows = plot_of(done.output, "loss of study s, by trial")
    first, last = 1 / 9 * (len(rows) - 1), len(rows) - 1
    assert column(rows, "o", 0) == [round(first)]
    assert last in column(rows, "o", -1)
    # The best falls in steps: halfway to the third trial it is still the first one's.
    assert column(rows, "o", len(rows[0]) // 4) == [round(first)]
    assert "  * each trial\n  o best so far\n" in done.output
    # The table follows.
    assert done.output.index("best so far") < done.output.index("Top 1 of study s")


def test_the_pareto_front(head: Head, ask: Ask) -> None:
    both: Any = (LOSS, ACCURACY)
    head.save(metrics=both)
    for trial, (loss, accuracy) in enumerate(((0.0, 0.2), (1.0, 0.9), (0.9, 0.3), (0.4, 0.8))):
        task = head.run(trial, loss, metrics=both)
        head.report(task, accuracy, key="accuracy/validation", seq=2)
        head.finish(task)
    text = ask("top", "s", "--plot").output
    rows = plot_of(text, "accuracy/validation of study s, by loss")
    assert "  o Pareto front\n" in text
    assert column(rows, "o", -1) == [0]
    assert column(rows, "o", 0) == [len(rows) - 1]
    # The one that is beaten is a point of its own.
    beaten = column(rows, "*", round(0.9 * (len(rows[0]) - 1)))
    assert len(beaten) == 1
    assert beaten[0] > len(rows) // 2


def test_a_tasks_curves_the_objectives_first(head: Head, ask: Ask) -> None:
    task = head.run(0, *(1.0 / (1 + step) for step in range(20)))
    for seq, key in enumerate(
        ("a", "lr/group 1", "lr/group 2", "once", ":monitor:machine/cpu_usage"), start=2
    ):
        head.report(task, *([0.5] if key == "once" else [0.5, 0.25]), key=key, seq=seq)
    text = ask("show", task.id, "--plot").output
    titles = [line for line in text.splitlines() if line.endswith(", by iteration")]
    assert titles == ["loss, by iteration", "a, by iteration", "lr, by iteration"]
    assert "  * lr/group 1\n  o lr/group 2\n" in text
    assert column(plot_of(text, "loss, by iteration"), "*", 0) == [0]


def test_not_all_of_many_curves_are_drawn(head: Head, ask: Ask) -> None:
    task = head.run(0, 1.0, 0.5)
    for number in range(8):
        head.report(task, 0.5, 0.25, key=f"m{number}", seq=2 + number)
    assert "not drawn: m5, m6, m7\n" in ask("show", task.id, "--plot").output


def test_a_task_is_shown_with_what_is_zero(head: Head, ask: Ask) -> None:
    spec = TaskSpec(objective={"kind": "function", "target": "m:f"}, parameters={"x": 0.5}, tags=("a", "b"))
    lines = ask("show", head.queue(0, spec=spec).id).output.splitlines()
    for name, value in (("trial", "0"), ("compute", "0 s"), ("iterations", "0"), ("tags", "a, b")):
        assert f"{name:<14} {value}" in lines


def test_where_there_is_nothing_to_draw(head: Head, ask: Ask) -> None:
    task = head.run(0, 1.0)
    assert "nothing to plot: no metric has two points" in ask("show", task.id, "--plot").output
    assert "no value to draw yet" in ask("top", "s", "--plot").output


@pytest.mark.parametrize(("command", "kind"), [("top", "json"), ("top", "csv"), ("show", "json")])
def test_programs_get_no_drawing(head: Head, ask: Ask, command: str, kind: str) -> None:
    with pytest.raises(
        questions.BadInput, match=f"--plot draws for people; leave out --plot or --format {kind}"
    ):
        ask(command, "s", "--plot", "--format", kind)
