"""The study page and its figures as answers: what they hold, what is refused, what is drawn when."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import fakeredis
import pytest

from controller.dashboard import keeping
from controller.dashboard.figure_drawer import Drawer, Wanted
from controller.dashboard.pages import figures
from controller.figures import FIGURES, Options
from controller.figures import figure as figure_module
from controller.figures.sample import Choice, numbers_in, pick
from controller.results.configuration import configuration
from controller.results.names import known_names
from tests.dashboard import client_of
from tests.study_data import LOSS, SIZE, made_up, study_data
from worker.protocol import ObjectiveMetric, Status, Store
from worker.protocol.copies import write_tasks
from worker.protocol.errors import BadInput
from worker.protocol.study_log import LogEntry

pytestmark = pytest.mark.filterwarnings(
    "ignore::UserWarning", "ignore::optuna.exceptions.ExperimentalWarning"
)
HOSTILE = "</script><script>alert(1)</script>"


@pytest.fixture(scope="module")
def store() -> Store:
    store = Store(fakeredis.FakeRedis(decode_responses=True))
    put(store, 40)
    put(store, 40, name="two", metrics=(LOSS, SIZE))
    put(store, 0, name="empty")
    return store


def put(store: Store, trials: int, name: str = "s", **options: Any) -> None:
    study, copies = made_up(trials, name=name, **options)
    sweep = {"study": {"name": name}, "objective": {"command": ["x"], "env": {"KEY": "secret-value"}}}
    store.studies.save(replace(study, sweep=sweep))
    # Ids are the numbers of trials: another study's tasks get others.
    placed = [
        replace(
            copy, record=replace(copy.record, id=f"{zlib.crc32(name.encode()):08x}{copy.record.trial:024x}")
        )
        for copy in copies
    ]
    write_tasks(store, placed)


@pytest.fixture(scope="module")
def client(store: Store) -> Iterator[Any]:
    with client_of(store) as found:
        yield found


def test_the_page_has_a_place_for_each_figure_and_draws_none(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Drawer, "draw", lambda *args: pytest.fail("the page itself draws nothing"))
    for name, several in (("s", False), ("two", True)):
        text = client.get(f"/studies/{name}").text
        found = re.findall(r'<div data-figure="([^"]+)"', text)
        assert ([url.split("/")[-1] for url in found] == list(FIGURES)) is several
        assert len(found) == len(FIGURES) - (0 if several else 2)
    assert "Figures of objective" in text


def test_the_page_says_how_the_study_stands(client: Any, store: Store) -> None:
    text = client.get("/studies/s").text
    assert "minimize loss" in text
    assert "interrupted" in text
    assert re.search(r"<dt>completed</dt><dd>\d+</dd>", text)
    part = client.get("/studies/s?part=glance").text
    assert part.strip().startswith('<p><span class="state interrupted">')
    assert "data-figure" not in part
    entry = LogEntry(at=1_700_000_000.0, kind="pause", text="for lunch </td>", by="ada", task="f" * 32)
    store.study_log.add("s", entry)
    part = client.get("/studies/s?part=log").text
    assert "<p><span" not in part
    for cell in ("2023-11-14 22:13:20", "pause", "for lunch &lt;/td&gt;", "ada", f'href="/tasks/{"f" * 32}"'):
        assert cell in part
    assert "for lunch" in client.get("/studies/s").text


def test_the_configuration_hides_values_of_the_environment(client: Any, store: Store) -> None:
    text = client.get("/studies/s").text
    assert "secret-value" not in text
    assert "KEY: (not shown)" in text
    assert configuration(replace(store.studies.get("s"), sweep={})) == ""


def test_an_empty_study_has_a_page_and_figures_that_say_so(client: Any) -> None:
    assert client.get("/studies/empty").status_code == 200
    for name in FIGURES.keys() - {"pareto", "hypervolume"}:
        answer = client.get(f"/studies/empty/figures/{name}")
        assert answer.status_code == 200
        assert answer.json()["layout"]["annotations"], name


def test_the_choices_of_the_address_are_chosen_on_the_page(client: Any) -> None:
    text = client.get("/studies/s?top=50&by=time&logy=1&smooth=0.6&trials=3,5-9&x=lr").text
    for part in ("<option selected>50</option>", '<option value="time" selected>', 'name="logy" value="1" checked',
                 'value="0.6"', 'value="3,5-9"', '<option value="lr" selected>'):  # fmt: skip
        assert part in text


def test_figures_are_packed(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "WORTH_PACKING", 1_000)
    answer = client.get("/studies/s/figures/curves?top=all")
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["content-type"] == "application/json"
    assert len(answer.json()["data"]) == 4
    plain = client.get("/studies/s/figures/curves?top=all", headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.json()["data"] == answer.json()["data"]


@pytest.mark.parametrize(
    ("query", "drawn"),
    [("top=5", 5), ("trials=3,5-9", 6), ("trials=900", 0), ("", 20), ("metric=none", 0)],
)
def test_curves_are_those_that_were_chosen(client: Any, query: str, drawn: int) -> None:
    assert len(client.get(f"/studies/s/figures/curves?{query}").json()["data"]) == drawn


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/studies/none", 404, "no study 'none'"),
        ("/studies/none/figures/best", 404, "no study 'none'"),
        ("/studies/s/figures/none", 404, "no figure 'none'; there are: best, "),
        ("/studies/s/figures/pareto", 404, "study 's' has one objective"),
        ("/studies/s/figures/best?objective=1", 400, "objective: '1' is not from 0 to 0"),
        ("/studies/s/figures/best?objective=-1", 400, "objective: '-1'"),
        ("/studies/s/figures/curves?by=moon", 400, "by: 'moon' is neither"),
        ("/studies/s/figures/curves?top=0", 400, "top: '0' is neither 'all' nor a number from 1 to 1000"),
        ("/studies/s/figures/curves?top=99999999999", 400, "top: "),
        ("/studies/s/figures/curves?trials=3;x", 400, "trials: '3;x' is no number"),
    ],
)
def test_bad_addresses_say_what_is_wrong(client: Any, path: str, status: int, said: str) -> None:
    answer = client.get(path, headers={"Accept": "application/json"})
    assert answer.status_code == status
    assert said in answer.json()["error"]


def test_names_of_a_hostile_study_are_text(store: Store) -> None:
    metric = ObjectiveMetric(title=HOSTILE, series="", sign=LOSS.sign)
    put(store, 12, name=f"{HOSTILE}/..", metrics=(metric,), **{HOSTILE: HOSTILE})
    with client_of(store) as client:
        page = next(url for url in re.findall('href="([^"]+)"', client.get("/").text) if "script" in url)
        text = client.get(page).text
        assert "<script>alert" not in text
        assert text.count("&lt;/script&gt;") > 4
        (url,) = re.findall(r'<div data-figure="([^"]+/slices)"', text)
        assert "<" not in client.get(url).text.replace("<br>", "").replace("<extra></extra>", "")
    store.studies.delete(f"{HOSTILE}/..")


def test_metrics_and_parameters_are_known_from_a_few_tasks(store: Store) -> None:
    names = known_names(store, store.studies.get("two"))
    assert names.metrics == ["loss", "size"]
    assert names.parameters == ["layers", "lr", "optimizer"]
    assert known_names(store, store.studies.get("empty")).parameters == []


# What is drawn when


class Clock:
    """Moves by `step` each time it is asked."""

    def __init__(self, step: float) -> None:
        self.now, self.step = 0.0, step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


def changed(store: Store, name: str = "s") -> None:
    study = store.studies.get(name)
    spare = replace(
        made_up(41, name=name)[1][39], record=replace(made_up(41, name=name)[1][39].record, trial=77)
    )
    store.studies.save(study)
    write_tasks(store, [spare])


def test_a_costly_figure_is_drawn_again_after_a_pause(store: Store) -> None:
    put(store, 20, name="busy")
    clock = Clock(0.5)
    assert keeping.SHORTEST_PAUSE_S < 0.5 * 15
    drawer = Drawer(clock)
    wanted = Wanted(study="busy", figure="best")
    first = json.loads(drawer.draw(store, wanted))
    assert first["layout"]["meta"]["again_s"] == 0
    changed(store, "busy")
    second = json.loads(drawer.draw(store, wanted))
    assert second["data"] == first["data"]
    assert 0 < second["layout"]["meta"]["again_s"] <= 0.5 * 15
    clock.now += second["layout"]["meta"]["again_s"]
    third = json.loads(drawer.draw(store, wanted))
    assert third["data"] != first["data"]
    assert third["layout"]["meta"]["again_s"] == 0
    other = json.loads(drawer.draw(store, replace(wanted, figure="values")))
    assert other["layout"]["meta"]["again_s"] == 0, "each figure for itself"


def test_a_figure_that_is_drawn_fast_is_drawn_each_time(store: Store) -> None:
    put(store, 20, name="fast")
    drawer = Drawer(Clock(0.01))
    wanted = Wanted(study="fast", figure="best")
    first = json.loads(drawer.draw(store, wanted))
    changed(store, "fast")
    second = json.loads(drawer.draw(store, wanted))
    assert (second["data"] == first["data"], second["layout"]["meta"]["again_s"]) == (False, 0)


def test_a_figure_that_fails_is_tried_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    drawer = Drawer()
    wanted = Wanted(study="s", figure="best", options=Options(objective=0))
    with monkeypatch.context() as patch:
        patch.setattr(figure_module.Figure, "__call__", lambda *args: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            drawer.draw(store, wanted)
    assert json.loads(drawer.draw(store, wanted))["data"]


def test_a_drawer_keeps_the_newest_figures_only(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controller.dashboard.figure_drawer.MOST_KEPT", 3)
    drawer = Drawer(Clock(10.0))
    wanted = [Wanted(study="s", figure="values", options=Options(metric=str(n))) for n in range(4)]
    for one in wanted:
        drawer.draw(store, one)
    assert json.loads(drawer.draw(store, wanted[3]))["layout"]["meta"]["again_s"] > 0, "kept"
    assert json.loads(drawer.draw(store, wanted[0]))["layout"]["meta"]["again_s"] == 0


# Whose curves


def test_the_best_are_those_with_results_then_those_that_run() -> None:
    data = study_data(12)
    picked = [int(task_id, 16) for task_id in pick(data, Choice(top=100))]
    values = [data.tasks[number].value(LOSS) for number in picked[:-1]]
    assert values == sorted(values, key=float)
    assert picked[-1] == 11, "the one that runs"
    assert 10 not in picked, "the one that failed"
    assert pick(data, Choice(top=2)) == [f"{number:032x}" for number in picked[:2]]
    assert len(pick(data, Choice(top=None))) == 12
    assert data.tasks[11].record.status is Status.IN_PROGRESS


@pytest.mark.parametrize(
    ("text", "numbers"), [("3, 5-7", (3, 5, 6, 7)), ("7 7,7", (7,)), ("0", (0,)), ("", ()), (" 4–5 ", (4, 5))]
)
def test_numbers_in_a_text(text: str, numbers: tuple[int, ...]) -> None:
    assert numbers_in(text) == numbers


@pytest.mark.parametrize("text", ["x", "5-3", "1-5000", "-1", "1e3", "9" * 12, "0-999 1000-1999 3"])
def test_what_names_no_trials(text: str) -> None:
    with pytest.raises(BadInput, match="trials: "):
        numbers_in(text)
