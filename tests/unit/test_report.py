"""The report as values and as text: facts, Markdown, packed numbers, and what is written where."""

from __future__ import annotations

import base64
import gzip
import json
import math
import re
import sys
from array import array
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from markdown_it import MarkdownIt
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

from controller.report.facts import Facts, gather
from controller.report.markdown import MOST_ROWS, code, table, to_markdown
from controller.report.packing import CLOSE, packed, squeezed
from controller.report.space import ranges, seen
from controller.report.writing import format_of, is_report, refuse_taken, render, report_of_store, write
from controller.results.study_data import StudyData
from controller.results.top import find_top
from controller.search.decision_log import LOG
from controller.search.parameters import (
    DiscreteParameterRange,
    LogUniformParameterRange,
    UniformIntegerParameterRange,
    UniformParameterRange,
)
from controller.studies.study_file import export_study
from controller.studies.study_file_data import read_study_file
from tests.dashboard import page_store
from tests.made_studies import BEGAN, HOSTILE, make_study
from tests.study_data import LOSS, SIZE, study_data
from worker.protocol import Reason, Status, Store, StudyRecord, StudyState
from worker.protocol.earlier_attempt import EarlierAttempt
from worker.protocol.errors import BadInput
from worker.trials.storage import open_storage

__all__ = ["page_store"]
MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable("table")
"""As GitHub reads it: HTML is HTML."""


@pytest.fixture(autouse=True)
def _no_forests(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take long, and have tests of their own."""
    monkeypatch.setattr("controller.insight.importance.has_forests", lambda: False)
    monkeypatch.setattr("controller.insight.importance.SHUFFLES", 20)


def with_record(data: StudyData, **changes: Any) -> StudyData:
    return replace(data, study=replace(data.study, **changes))


def with_task(data: StudyData, number: int, **changes: Any) -> StudyData:
    tasks = list(data.tasks)
    tasks[number] = replace(tasks[number], record=replace(tasks[number].record, **changes))
    return replace(data, tasks=tuple(tasks))


# Facts


@pytest.mark.parametrize("metrics", [(LOSS,), (LOSS, SIZE)], ids=["one", "several"])
def test_the_best_are_those_that_rank_first(metrics: Any) -> None:
    facts = gather(study_data(40, metrics=metrics), acts=True)
    assert [trial.rank for trial in facts.best] == list(range(1, 11))
    assert all(trial.status != "failed" and trial.status != "in_progress" for trial in facts.best)
    ranked = [trial for trial in facts.trials if trial.rank is not None]
    assert len(ranked) == 40 - 3 - 1  # failed, running
    if len(metrics) == 1:
        assert [t.values[0] for t in facts.best] == sorted(t.values[0] or 0.0 for t in ranked)[:10]


def test_the_order_is_that_of_top(page_store: Store) -> None:
    make_study(page_store, "top", 60)
    from controller.results.study_data import read_study

    facts = gather(read_study(page_store, "top"), acts=False)
    top = find_top(page_store, page_store.studies.get("top"), 10)
    assert [trial.task for trial in facts.best] == [row["task_id"] for row in top.details]


def test_a_violated_constraint_has_no_rank() -> None:
    data = study_data(10)
    best = gather(data, acts=True).best[0].number
    spec = replace(data.tasks[best].record.spec, constraints=({"metric": "loss", "max": -1.0},))
    facts = gather(with_task(data, best, spec=spec), acts=True)
    assert facts.trials[best].rank is None
    assert best not in [trial.number for trial in facts.best]


def test_an_interrupted_trial_and_its_retry_are_one() -> None:
    data = study_data(6, points=3)
    first = data.tasks[0].record
    data = with_task(data, 0, status=Status.STOPPED, reason_class=Reason.STUDY_STOPPED, reason="Ctrl-C")
    data = with_task(data, 3, spec=first.spec)
    facts = gather(data, acts=True)
    assert [trial.number for trial in facts.trials] == [1, 2, 3, 4, 5]
    assert {trial.number: trial.retries for trial in facts.trials}[3] == (0,)


def test_failures_are_counted_by_what_happened() -> None:
    data = study_data(60)
    data = with_task(data, 1, status=Status.FAILED, reason_class=Reason.OUT_OF_MEMORY, reason="CUDA\x1b[31m")
    data = with_task(data, 21, reason="another")
    failures = gather(data, acts=True).failures
    assert [(f.status, f.reason_class, f.count) for f in failures] == [
        ("failed", "objective_error", 5), ("failed", "out_of_memory", 1),
    ]  # fmt: skip
    assert (failures[0].words, failures[0].example) == ("cut", 54)
    assert failures[1].words == "CUDA\\x1b[31m"


def test_workers_and_what_ran_at_once() -> None:
    data = study_data(8, slots=4)
    lost = EarlierAttempt(
        attempt=1, worker="gone/0", started_at=data.tasks[0].record.created_at, handed_back=False,
        ended_at=data.tasks[0].record.created_at + 10, reason="its worker was lost",
    )  # fmt: skip
    data = with_task(data, 0, earlier=(lost,), attempt=2)
    data = with_record(
        data,
        environment={
            "versions": {"python": "3.11"},
            "workers": {"node0": {"host": "h", "slots": 2, "version": "9", "gpus": ["H100", "H100", "T4"]}},
        },
    )
    facts = gather(data, acts=True)
    workers = {worker.name: worker for worker in facts.workers}
    assert list(workers) == ["gone", "node0", "node1"]
    assert (workers["gone"].trials, workers["gone"].lost, workers["gone"].busy_s) == (1, 1, 10.0)
    assert workers["gone"].completed == 0
    assert workers["node0"].about == "h, 2 slots, optuna-rq 9, 2 × H100, T4"
    # Four slots, and the attempt that was lost beside them. The last trial still runs.
    assert facts.most_at_once == 5
    assert facts.versions == {"python": "3.11"}


@pytest.mark.parametrize(
    ("state", "acts", "shown"),
    [("running", True, "running"), ("running", False, "interrupted"), ("paused", False, "interrupted"),
     ("completed", False, "completed")],
)  # fmt: skip
def test_a_study_without_its_controller_is_interrupted(state: str, acts: bool, shown: str) -> None:
    facts = gather(with_record(study_data(3), state=state, reason="why"), acts=acts)
    assert facts.state == shown
    assert facts.reason == ("why" if shown == state else "its controller is gone")


@pytest.mark.parametrize("odd", ["text", [], {"workers": [], "versions": 3}, {"workers": {"node0": 7}}])
def test_an_odd_environment(odd: Any) -> None:
    facts = gather(with_record(study_data(3), environment=odd), acts=True)
    assert facts.versions == {}
    assert {worker.about for worker in facts.workers} == {""}


def test_the_environments_values_stay_here() -> None:
    sweep = {"objective": {"function": "a:b", "env": {"TOKEN": "hunter2"}}, "study": {"name": "s"}}
    data = with_record(study_data(3), sweep=sweep)
    for form in ("html", "md"):
        assert "hunter2" not in render(data, form, acts=False)
    assert "TOKEN: (not shown)" in gather(data, acts=False).configuration


@pytest.mark.parametrize(
    ("table_", "words"),
    [
        ({"type": "float", "low": 1e-5, "high": 0.1, "log": True}, "1e-05 … 0.1, log"),
        ({"type": "int", "low": 1, "high": 9, "step": 2}, "1 … 9, step 2"),
        ({"type": "int", "low": 1, "high": 9, "step": 1}, "1 … 9"),
        ({"choices": ["a", 1, None, True]}, "a, 1, null, true"),
        ({"choices": list(range(12))}, "0, 1, 2, 3, 4, 5, 6, 7, 4 more"),
        ({"choices": ["a"], "when": {"opt": ["sgd", "adam"]}}, "a; if opt is sgd or adam"),
        (UniformParameterRange("x", 0.0, 1.0).to_dict(), "0 … 1"),
        (UniformIntegerParameterRange("x", 1, 7, 2).to_dict(), "1 … 7, step 2"),
        (LogUniformParameterRange("x", -3, 0).to_dict(), "10^(-3 … 0)"),
        (DiscreteParameterRange("x", [1, 2]).to_dict(), "1, 2"),
        ({"type": "ParameterSet", "parameter_combinations": []}, "combinations"),
    ],
)  # fmt: skip
def test_ranges_in_words(table_: dict[str, Any], words: str) -> None:
    assert ranges({"parameters": {"x": table_}}) == {"x": words}


@pytest.mark.parametrize(
    ("values", "words"),
    [([3, 0.5, 1], "seen: 0.5 … 3"), (["b", "a", "b"], "seen: b, a"), ([1, "a", None, True], "seen: 1, a, null, true"),
     ([[1], [1]], "seen: [1]"), (list(map(str, range(10))), "seen: 0, 1, 2, 3, 4, 5, 6, 7, 2 more")],
)  # fmt: skip
def test_what_was_seen_in_words(values: list[Any], words: str) -> None:
    assert seen(values) == words


def test_an_objective_that_chooses_by_itself() -> None:
    facts = gather(
        with_record(study_data(20), sweep={"parameters": {"lr": {"low": 0.0, "high": 1.0}}}), acts=True
    )
    assert facts.ranges == {"lr": "0 … 1", "layers": "seen: 1 … 6", "optimizer": "seen: sgd, adam"}


@pytest.mark.parametrize("sweep", [{}, {"parameters": []}, {"parameters": {"x": 3}}])
def test_a_record_without_ranges(sweep: dict[str, Any]) -> None:
    assert ranges(sweep) == {}


# Markdown


def shown(markdown: str) -> str:
    return str(MARKDOWN.render(markdown))


@pytest.mark.parametrize(
    "text", [*HOSTILE, "a|b", "a\\|b", "`", "``x`", " ", "@someone", "[a](b)", "a\nb", "*b*"]
)
def test_what_programs_wrote_is_code(text: str) -> None:
    """In a table's cell and in a sentence: never markup, never a second cell."""
    page = shown(table(["a", "b"], [[code(text), "end"]]))
    rows = re.findall(r"<td>(.*?)</td>", page)
    assert len(rows) == 2
    assert rows[1] == "end"
    plain = re.sub(r"^<code>(.*)</code>$", r"\1", rows[0])
    assert rows[0] == "-" or plain != rows[0]
    assert "<" not in plain
    if "\\|" not in text and text.isprintable() and len(text) < 80:
        import html

        assert html.unescape(plain).strip() == (text.strip() or "-")


def test_the_markdown_of_a_hostile_study_has_no_markup_of_its() -> None:
    data = study_data(30, name="<b>x</b>|@all")
    for place, text in enumerate(HOSTILE):
        data = with_task(data, place, status=Status.FAILED, reason_class=Reason.OBJECTIVE_ERROR, reason=text)
    data = with_record(data, reason=HOSTILE[0], environment={"versions": {"python": HOSTILE[1]}})
    page = shown(render(data, "md", acts=False))
    allowed = "h2|h3|ul|li|p|table|thead|tbody|tr|th|td|code|strong"
    assert set(re.findall(r"</?([a-zA-Z!][\w-]*)", page)) <= set(allowed.split("|"))
    assert "alert(1)" in page


def test_markdown_says_the_facts() -> None:
    data = with_record(
        study_data(40, metrics=(LOSS,)),
        state="completed",
        budget={"jobs": {"used": 40, "limit": 40}},
        sweep={"sampler": {"type": "tpe", "seed": 3}, "parameters": {"lr": {"low": 0.0, "high": 1.0}}},
    )
    text = render(data, "md", acts=False)
    for part in ("## Study `s`", "**completed**: 40 trials", "### Best trials", "| 1 |", "### Parameters",
                 "importance", "| jobs | 40 | 40 |", "### Failures", "failed objective error", "### Workers",
                 "| `node0` |", "| sampler | `tpe (seed 3)` |", "best so far, by trial:"):  # fmt: skip
        assert part in text, part
    assert max(map(len, text.splitlines())) < 400


def test_tables_stay_short() -> None:
    text = table(["n"], [[str(n)] for n in range(MOST_ROWS + 3)])
    assert text.endswith("and 3 more")
    assert text.count("\n") == MOST_ROWS + 3


@pytest.mark.parametrize("trials", [0, 1])
def test_a_study_without_results(trials: int) -> None:
    data = study_data(trials)
    assert "No trial has a result." in render(data, "md", acts=False)
    assert "No trial has a result." in render(data, "html", acts=False)


# Packing


def unpacked(value: dict[str, str]) -> list[float]:
    codes = {"u1": "B", "i1": "b", "i2": "h", "u2": "H", "i4": "i", "u4": "I", "f4": "f", "f8": "d"}
    found = array(codes[value["dtype"]])
    found.frombytes(base64.b64decode(value["bdata"]))
    return found.tolist()


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (list(range(100)), "u1"),
        (list(range(-100, 100)), "i1"),
        (list(range(-100, 200)), "i2"),
        ([*range(30), 2**31], "u4"),
        ([*range(30), 2**40], "f4"),
        ([*range(30), -(10**400)], "f4"),
        ([n / 7 for n in range(100)], "f4"),
        ([n / 7 if n % 3 else None for n in range(100)], "f4"),
        ([1.7e9 + n / 1000 for n in range(100)], "f8"),  # a second's parts of a moment
        ([n * 1e300 for n in range(100)], "f8"),
        ([None] * 20, "f4"),
        ([math.nan, math.inf, *map(float, range(30))], "f4"),
        ([0.1] * 20, "f8"),
    ],
)
def test_numbers_come_back(values: list[Any], dtype: str) -> None:
    found = packed({"x": values})["x"]
    assert found["dtype"] == dtype
    finite = [v for v in values if v is not None and abs(v) < 1e308]
    span = max(finite) - min(finite) if finite else 0
    for value, again in zip(values, unpacked(found), strict=True):
        if value is None or (isinstance(value, float) and math.isnan(value)):
            assert math.isnan(again)
        elif abs(value) < 1e308:
            assert abs(value - again) <= CLOSE * span


def test_what_is_no_long_list_of_numbers_stays() -> None:
    value = {"name": "a", "x": ["b"] * 50, "y": [1, 2], "z": [True] * 50, "on": True, "m": [1, "a"] * 30}
    assert packed(value) == value


def test_a_grid_has_its_shape() -> None:
    found = packed({"z": [[float(10 * row + column) for column in range(10)] for row in range(5)]})["z"]
    assert found["shape"] == "5,10"
    assert unpacked(found) == [float(n) for n in range(50)]
    uneven = {"z": [[1.0] * 3, [2.0] * 4]}
    assert packed(uneven) == uneven


def test_squeezed_data_is_letters_only() -> None:
    value = {"a": HOSTILE, "b": math.nan, "half": "\udcff", "n": [1.5, None]}
    text = squeezed(value)
    assert re.fullmatch(r"[A-Za-z0-9+/=]+", text)
    again = json.loads(gzip.decompress(base64.b64decode(text)))
    assert again == {"a": list(HOSTILE), "b": None, "half": "?", "n": [1.5, None]}
    assert squeezed(value) == text


# Writing


@pytest.mark.parametrize(
    ("name", "form"), [("a.html", "html"), ("a/b.HTM", "html"), ("x.md", "md"), ("x.pdf", None), ("html", None)]
)  # fmt: skip
def test_a_files_name_says_the_format(name: str, form: str | None) -> None:
    assert format_of(name) == form


@pytest.mark.parametrize("form", ["html", "md"])
def test_a_report_replaces_a_report_and_nothing_else(tmp_path: Path, form: str) -> None:
    path = tmp_path / "new" / "r"
    text = render(study_data(3), form, acts=False)
    write(text, path, overwrite=False)
    assert is_report(path)
    write(text + "\n", path, overwrite=False)
    assert path.read_text() == text + "\n"
    mine = tmp_path / "thesis.html"
    mine.write_text("mine")
    with pytest.raises(BadInput, match=r"thesis.html exists, and is no report: name another file"):
        write(text, mine, overwrite=False)
    assert mine.read_text() == "mine"
    with pytest.raises(BadInput, match="is no report"):
        refuse_taken(mine, overwrite=False)
    for fine in ((mine, True), (path, False), (tmp_path / "none" / "x", False)):
        refuse_taken(fine[0], overwrite=fine[1])
    write(text, mine, overwrite=True)
    assert mine.read_text() == text
    assert sorted(p.name for p in tmp_path.iterdir()) == ["new", "thesis.html"]


def test_a_report_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "r.html", tmp_path):
        with pytest.raises(BadInput, match=str(path)):
            write("x", path, overwrite=True)


@pytest.mark.parametrize("package", ["jinja2", "plotly"])
def test_a_page_says_what_to_install_and_markdown_needs_none(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [*sys.modules]:
        if name.split(".")[0] in ("jinja2", "plotly") or name.startswith(
            ("controller.report.p", "controller.figures")
        ):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    data = study_data(30)
    with pytest.raises(BadInput, match=rf"{package} isn't installed: pip install 'optuna-rq\[dashboard\]'"):
        render(data, "html", acts=False)
    assert "importance" in render(data, "md", acts=False)


def test_a_large_study_is_small_enough_to_be_mailed() -> None:
    text = render(study_data(1000, points=100, slots=16), "html", acts=False)
    # Plotly's script is 2 MB of it.
    assert len(text.encode()) < 4_000_000


# From the store, and from a file


@pytest.fixture(scope="module")
def stored(page_store: Store, tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, str]:
    url = f"sqlite:///{tmp_path_factory.mktemp('storage')}/o.db"
    make_study(page_store, "kept", 40, points=20, hostile=True, storage=url)
    return page_store, url


@pytest.mark.parametrize("form", ["html", "md"])
def test_a_studys_file_gives_the_same_report(stored: tuple[Store, str], form: str, tmp_path: Path) -> None:
    store, url = stored
    path = tmp_path / "s.gz"
    export_study(store, "kept", url, path, overwrite=False)
    read = read_study_file(path)
    # Both were read at some moment; all else is the same.
    moment = replace(read, at=BEGAN + 1000)
    from controller.results.curves import read_curves
    from controller.results.study_data import read_study

    data = read_study(store, "kept").with_curves(read_curves(store, store.studies.tasks("kept")))
    assert render(moment, form, acts=True) == render(replace(data, at=BEGAN + 1000), form, acts=True)
    text = report_of_store(store, "kept", form, lambda _: open_storage(url))
    assert text.startswith("<!doctype" if form == "html" else "## Study")


class OfTrials:
    """A storage that has these trials, for any study."""

    def __init__(self, trials: list[FrozenTrial]) -> None:
        self.trials = trials

    def get_study_id_from_name(self, name: str) -> int:
        return 1

    def get_all_trials(self, study_id: int, deepcopy: bool = True) -> list[FrozenTrial]:
        return self.trials


def test_the_report_reads_the_log_of_decisions(stored: tuple[Store, str]) -> None:
    store, url = stored
    trials = open_storage(url).get_all_trials(1)
    for trial in trials:
        trial.system_attrs = {LOG: [[trial.number, 0.0, "asked", {"by": "tpe"}]]}
    storage = cast("BaseStorage", OfTrials(trials))
    assert "why trials were asked for" not in report_of_store(store, "kept", "md", lambda _: storage)

    def away(study: StudyRecord) -> Any:
        raise BadInput("set OPTUNA_STORAGE to that")

    said = "time: Optuna's storage can't be read: set OPTUNA\\_STORAGE to that."
    assert said in report_of_store(store, "kept", "md", away)


def test_no_such_study(page_store: Store) -> None:
    with pytest.raises(BadInput, match="no study 'x'"):
        report_of_store(page_store, "x", "md", lambda _: None)


def facts_of(data: StudyData) -> Facts:
    return gather(data, acts=True)


def test_several_objectives_have_an_importance_each() -> None:
    data = with_record(study_data(60, metrics=(LOSS, SIZE)), state=StudyState.COMPLETED)
    text = render(data, "md", acts=False)
    assert "importance for `loss` | importance for `size`" in text
    assert "Best trials, the Pareto front first" in text
    assert "best so far" not in text
    assert to_markdown(facts_of(data)).count("importance") == 0
