"""The tasks that confirm a study's best: beside its search, shown on the page and in the report."""

from __future__ import annotations

from dataclasses import replace

from controller.insight.confirm_tasks import repeat_id, repeat_seed
from controller.report.insight.confirm import section
from controller.results.ranking import Ranking
from controller.results.study_data import read_study
from controller.results.tasks import list_confirming
from tests.dashboard import client_of, page_store
from tests.made_studies import make_study
from worker.protocol import Status, Store, Summary, TaskRecord, TaskSpec
from worker.protocol.batch import Batch, Point
from worker.protocol.confirmations import ConfirmPlan

__all__ = ["page_store"]


def test_a_search_sees_nothing_of_what_confirms_its_best(page_store: Store) -> None:
    store = page_store
    make_study(store, "s", 30)
    study = store.studies.get("s")
    best = Ranking(store, "s", study.metrics).records(2)
    ids, counts = store.studies.tasks("s"), store.studies.status_counts("s")
    ranks = store.ranking.scores("s", 1)
    metric = study.metrics[0]
    for source in best:
        for repeat in range(2):
            task = TaskRecord(
                id=repeat_id(source.id, repeat),
                name=f"confirms trial {source.trial}",
                study="s",
                created_at=store.clock.now(),
                spec=replace(
                    source.spec,
                    metrics=study.metrics,
                    confirms=source.id,
                    seed=repeat_seed(source.id, repeat),
                ),
            )
            store.tasks.create(task)
            store.transitions.queue(task.id)
            running = store.transitions.start(task.id, 1, "w/0")
            value = -9e9 * metric.score(1.0) + repeat
            point = Point(title=metric.title, series=metric.series, value=value, iteration=0, at=1.0)
            summary = Summary.of(metric.title, metric.series).add(value, 0)
            store.reports.add(running, Batch(seq=1, points=[point], summaries={metric.key: summary}))
            store.transitions.finish(task.id, 1, Status.COMPLETED, worker="w/0")
    store.confirmations.save("s", ConfirmPlan(k=2, seeds=2, of=tuple(one.id for one in best), trials=30))
    assert store.studies.tasks("s") == ids
    assert store.studies.status_counts("s") == counts
    assert store.ranking.scores("s", 1) == ranks
    assert [one.id for one in Ranking(store, "s", study.metrics).records(2)] == [one.id for one in best]
    rows = list_confirming(store, study, None, 10)
    assert [row["confirms"] for row in rows] == [one.id for one in best for _ in range(2)]
    assert store.studies.has("s", rows[0]["task_id"])
    told = section(read_study(store, "s"))
    assert told is not None
    assert [row["repeats"] for row in told.rows] == ["2", "2"]
    with client_of(store) as client:
        page = client.get("/studies/s/insight/confirm").text
    assert f"/tasks/{best[0].id}" in page
    assert told.text[0] in page
    store.studies.delete("s")
    assert store.confirmations.tasks("s") == []
    assert store.confirmations.plan("s") is None


def test_the_page_says_how_to_ask(page_store: Store) -> None:
    make_study(page_store, "plain", 3)
    with client_of(page_store) as client:
        assert "controller confirm plain" in client.get("/studies/plain/insight/confirm").text


def test_a_task_has_the_same_seed_in_each_attempt_and_others_have_another() -> None:
    first, other = (TaskRecord(id=c * 32, name="t", spec=TaskSpec(), created_at=1.0) for c in "ab")
    assert first.seed == replace(first, attempt=2).seed != other.seed
    assert replace(first, spec=TaskSpec(seed=7)).seed == 7
    assert TaskSpec.decode(TaskSpec(seed=7, confirms="x").encode()) == TaskSpec(seed=7, confirms="x")
