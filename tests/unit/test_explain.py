"""`controller explain`: the life of a task, and where the time of a study's slots went, by what records say."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import fakeredis
import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState

from controller.insight.explain import Known, TaskLife, explain_task
from controller.insight.explain_reading import read_answer, read_known
from controller.insight.explain_shares import (
    CONTROLLER,
    GIVEN_UP,
    LIMIT,
    OVER,
    PAUSED,
    RUNNING,
    SAMPLER,
    STARTING,
    STORAGE,
)
from controller.insight.explain_study import StudyAnswer, explain_study
from controller.insight.explain_waits import AT_ONCE, IDLE, NEW, QUEUED, SLOTS, Slots, waits
from controller.report.insight.explain import section
from controller.report.writing import render
from controller.results.study_data import StudyData, TaskData
from controller.search.decision_log import LOG
from tests.dashboard import client_of, page_store, site_of
from tests.made_studies import HOSTILE, make_study
from tests.study_data import LOSS, START, study_data
from worker.protocol import Reason, Status, Store, StudyRecord, Summary, TaskRecord, TaskSpec, keys
from worker.protocol.checkpoint import with_resume_point
from worker.protocol.earlier_attempt import EarlierAttempt
from worker.protocol.errors import BadInput
from worker.protocol.study_log import LogEntry

__all__ = ["page_store"]


def task(trial: int, slot: str, created: float, started: float, ended: float, **more: Any) -> TaskRecord:
    """A task of ten iterations at most; moments in seconds since the study began."""
    fields: dict[str, Any] = {
        "status": Status.COMPLETED,
        "spec": TaskSpec(metrics=(LOSS,), parameters={"lr": trial / 10, "opt": "a"}, max_iterations=10),
        "compute_s": ended - started,
        "iterations": 10,
        "last_iteration": 9,
        "queued_at": START + created,
        **more,
    }
    return TaskRecord(
        id=f"{trial:032x}", name=f"trial {trial}", study="s", trial=trial, created_at=START + created,
        started_at=START + started, ended_at=START + ended, worker=slot, **fields,
    )  # fmt: skip


def study_of(*records: TaskRecord, ended: float = 100.0, **more: Any) -> StudyData:
    study = StudyRecord(name="s", created_at=START, metrics=(LOSS,), ended_at=START + ended, **more)
    return StudyData(study=study, tasks=tuple(TaskData(record=one) for one in records), at=START + 200)


def log(at: float, kind: str, text: str = "", **more: str) -> LogEntry:
    return LogEntry(at=START + at, kind=kind, text=text, **more)


def told(record: TaskRecord, *entries: Any, state: TrialState = TrialState.COMPLETE) -> FrozenTrial:
    return optuna.trial.create_trial(
        state=state, value=0.5, params={"x": 0.5}, distributions={"x": FloatDistribution(0, 1)},
        system_attrs={LOG: [[place, START, *entry] for place, entry in enumerate(entries)]},
    )  # fmt: skip


def life(record: TaskRecord, *others: TaskRecord, **more: Any) -> TaskLife:
    records = [*others, record]
    return explain_task(Known(record=record, slots=Slots(records, START + 200), others=records, **more))


def kinds(found: TaskLife) -> list[str]:
    return [step.kind for step in found.steps]


# One task


def test_a_task_that_confirms_says_what() -> None:
    spec = TaskSpec(metrics=(LOSS,), parameters={"lr": 0.1}, confirms="ab" * 16, seed=7)
    found = life(replace(task(9, "w/0", 0, 1, 2, spec=spec), trial=-1))
    assert found.steps[0].text == "created to confirm task abababab, with seed 7"
    assert found.steps[0].why == {"confirms": "ab" * 16, "seed": 7}


def test_the_life_of_a_task_that_was_lost_and_resumed() -> None:
    lost = EarlierAttempt(
        attempt=1, worker="w3/0", started_at=START + 3.2, ended_at=START + 40, handed_back=False,
        reason="worker w3/0 was lost",
    )  # fmt: skip
    summary = {LOSS.key: Summary.of("loss", "")}
    record = task(
        5, "w4/0", 0, 41, 70, attempt=2, earlier=(lost,), status=Status.STOPPED, reason_class=Reason.PRUNED,
        reason="given up at iteration 4", queued_at=START + 40, iterations=5, last_iteration=4,
    )  # fmt: skip
    before = task(2, "w3/0", -9, -8, 3.1)
    trial = told(
        record,
        ["asked", {"by": "tpe", "n": 12, "together": 2, "good": [2]}],
        ["pruned", {"step": 4, "value": 0.61, "best": 0.61, "by": "median", "n": 9, "bound": 0.5}],
        state=TrialState.PRUNED,
    )
    points = {
        "checkpoint/2": with_resume_point("{}", 2, START + 30, summary),
        "checkpoint/3": with_resume_point("{}", 3, START + 60, summary),
    }
    entries = [
        log(20, "pause", "paused"),
        log(50, "tag", "tagged", by="ada", task=record.id),
        log(99, "pause"),
    ]
    found = life(record, before, trial=trial, artifacts=points, log=entries)
    assert kinds(found) == [
        "asked", "chosen", "started", "study", "checkpoint", "lost", "started", "person", "checkpoint", "ended",
        "told",
    ]  # fmt: skip
    texts = [step.text for step in found.steps]
    assert texts[0] == (
        "asked for as trial 5 by TPE, from 12 trials, 2 parameters together; it took trial 2 for good"
    )
    assert texts[1] == "lr 0.5 (beyond the good ones' 0.2), opt a (1 of 1 good ones)"
    assert texts[2] == (
        "attempt 1 began on w3/0, 3.2 s after it was queued: this slot ran trial 2 until 100 ms before; "
        "1 slot was busy then"
    )
    assert texts[5] == ("attempt 1 given up after 37 s: worker w3/0 was lost; its lease of 15 s had run out")
    assert texts[6].endswith("it went on from the checkpoint of iteration 2")
    assert found.steps[9].why["bound"] == 0.5
    assert texts[10].startswith("told to Optuna as PRUNED with 0.5")
    plain = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert plain["steps"][0]["at"] == "2023-11-14T22:13:20.000+00:00"
    assert [row["after"] for row in found.rows()][:3] == ["+0 ms", "+0 ms", "+3.2 s"]


@pytest.mark.parametrize(
    ("started", "before", "cause", "busy"),
    [
        (0.05, task(1, "w/0", -9, -9, -1), AT_ONCE, 0),
        (3.0, task(1, "w/0", -9, -9, 2.9), SLOTS, 1),
        (3.0, task(1, "w/0", -9, -9, -1), IDLE, 0),
        (3.0, task(1, "other/0", -9, -9, 9), NEW, 1),
    ],
)
def test_what_an_attempt_waited_for(started: float, before: TaskRecord, cause: str, busy: int) -> None:
    record = task(2, "w/0", 0, started, 9)
    (wait,) = waits(record, Slots([before, record], START + 20))
    assert (wait.cause, round(wait.seconds, 3), wait.busy) == (cause, started, busy)
    assert json.loads(json.dumps(wait.why()))["for"] == cause
    assert "after it was queued" in wait.text


def test_a_task_that_is_still_queued() -> None:
    busy = task(1, "w/0", 0, 0, 500)
    record = replace(task(2, "", 10, 0, 0), status=Status.QUEUED, started_at=None, ended_at=None)
    (wait,) = waits(record, Slots([busy, record], START + 30))
    assert (wait.cause, wait.seconds, wait.busy) == (QUEUED, 20, 1)
    found = life(record, busy)
    assert kinds(found) == ["asked", "queued"]
    assert (
        found.steps[1].text == "attempt 1 queued for 3 min 10 s so far: 1 slot was busy with this study then"
    )


@pytest.mark.parametrize(
    ("reason", "retry_on", "text"),
    [
        (
            Reason.OBJECTIVE_ERROR,
            (),
            "no other attempt: retry_on names no class of failure; 1 of 3 attempts used",
        ),
        (Reason.OUT_OF_MEMORY, ("out_of_memory",), "no other attempt: 1 of 3 attempts used"),
        (Reason.WORKER_LOST, (), "no other attempt: 1 of 3 attempts used"),
    ],
)
def test_why_a_failed_task_is_not_tried_again(reason: Reason, retry_on: tuple[str, ...], text: str) -> None:
    record = task(1, "w/0", 0, 0, 3, status=Status.FAILED, reason_class=reason, reason="it broke")
    record = replace(record, spec=replace(record.spec, retry_on=retry_on))
    found = life(record)
    assert [step.text for step in found.steps][-2:] == [
        f"failed: {reason}: it broke; it computed 3 s and reported 10 iterations", text,
    ]  # fmt: skip


# A study


def test_each_second_of_the_slots_is_accounted_for() -> None:
    lost = EarlierAttempt(
        attempt=1, worker="b/0", started_at=START + 2, ended_at=START + 12, handed_back=False,
        reason="worker b/0 was lost",
    )  # fmt: skip
    data = study_of(
        task(0, "a/0", 0, 1, 10),
        # Free from 10 to 20: the sampler took 4 s of it, the storage 1 s, then 2 s until it began.
        task(1, "a/0", 18, 20, 30),
        # Paused from 31 to 39, asked for at 40.
        task(2, "a/0", 40, 40, 80),
        task(3, "b/0", 2, 41, 50, attempt=2, earlier=(lost,), queued_at=START + 12),
        task(4, "b/0", 60, 60, 70),
        ended=90,
    ).with_events([log(31, "pause"), log(39, "resume")])
    reasons = {
        1: {"asked": {"by": "tpe", "n": 1, "ask_s": 4.0, "store_s": 0.5}},
        2: {"asked": {"by": "tpe", "startup": 2, "of": 10, "store_s": 1.0, "closed": 3}},
    }
    answer = explain_study(data.with_reasons(reasons))
    # b/0: from 12 on its worker was gone; its next task was queued then, and waited for it.
    assert {part: round(spent, 6) for part, spent in answer.shares.items()} == {
        RUNNING: 9 + 10 + 40 + 9 + 10, GIVEN_UP: 10, STARTING: 2 + 29, SAMPLER: 4, STORAGE: 1,
        CONTROLLER: 3 + 2 + 10, PAUSED: 8, OVER: 10 + 20,
    }  # fmt: skip
    assert answer.slot_s == pytest.approx((90 - 1) + (90 - 2))
    assert sum(row["share"] for row in answer.share_rows()) == pytest.approx(1, abs=1e-3)
    assert answer.bound.startswith("slots: more of them")
    assert answer.decisions == {
        "asked": 3, "asked: TPE": 1, "asked: TPE, at random": 1, "duplicate closed": 3,
        "attempt lost or tried again": 1, "completed": 5,
        "study: pause": 1, "study: resume": 1,
    }  # fmt: skip
    assert answer.queued["trials"] == 3
    json.dumps(answer.as_dict(), allow_nan=False)


def test_slots_kept_free_by_the_limit() -> None:
    data = study_of(
        task(0, "a/0", 0, 0, 10), task(1, "b/0", 0, 0, 40), task(2, "a/0", 40, 40, 50), ended=50,
        sweep={"budget": {"max_concurrent": 1}},
    )  # fmt: skip
    answer = explain_study(data)
    assert answer.shares == {RUNNING: 60, LIMIT: 30, OVER: 10}


def test_a_slot_that_took_no_later_trial_has_gone() -> None:
    """Its worker was ended, or replaced: its time ends with its last trial."""
    data = study_of(task(0, "a/0", 0, 0, 10), task(1, "b/0", 50, 50, 90), ended=90)
    answer = explain_study(data)
    assert (answer.slot_s, answer.shares) == (50, {RUNNING: 50})


def test_what_pruning_saved() -> None:
    pruned = {"status": Status.STOPPED, "reason_class": Reason.PRUNED}
    data = study_of(
        task(0, "a/0", 0, 0, 20),
        task(1, "a/0", 20, 20, 24, **pruned, iterations=2, last_iteration=1),
        task(2, "a/0", 24, 24, 29, **pruned, iterations=5, last_iteration=4),
        ended=29,
    )
    saved = explain_study(data).saved
    assert saved is not None
    # 8 iterations of 2 s, and 5 of 1 s.
    assert (saved.trials, saved.iterations, saved.seconds, saved.of_s) == (2, 13, 21, 29)
    assert saved.text.endswith(
        "13 iterations left of 10 each: about 21 s of slots, 42% of what the study would have computed"
    )
    endless = [replace(one.record, spec=replace(one.record.spec, max_iterations=None)) for one in data.tasks]
    again = explain_study(study_of(*endless)).saved
    assert again is not None
    assert again.full == 10
    assert explain_study(study_of(*endless[1:])).saved is None


def test_a_study_that_has_not_begun() -> None:
    answer = explain_study(study_of())
    assert (answer.bound, answer.share_rows(), answer.saved) == ("", [], None)
    assert answer.unknown == ("where its time went: no trial has begun",)


# Read from the store


@pytest.fixture
def store() -> Store:
    return Store(fakeredis.FakeRedis(decode_responses=True))


def no_storage(study: StudyRecord) -> Any:
    raise BadInput("set OPTUNA_STORAGE to that")


def test_what_records_tell_without_optunas_storage(store: Store) -> None:
    """As of a study of an older version: no guess, and no error."""
    ids = make_study(store, "s", 30, points=3)
    found = explain_task(read_known(store, store.tasks.get(ids[7]), no_storage))
    assert kinds(found) == ["asked", "started", "ended"]
    assert "pruned: worse than the median" in found.steps[-1].text
    assert found.unknown == (
        "what was decided in Optuna's storage can't be read: set OPTUNA_STORAGE to that",
    )
    answer = read_answer(store, "s", no_storage)
    assert answer.decisions == {"asked": 30, "pruned": 6, "completed": 21, "failed: objective_error": 3}
    assert len(answer.unknown) == 1
    assert answer.unknown[0].endswith("set OPTUNA_STORAGE to that")
    with pytest.raises(BadInput, match="no study 'other'"):
        read_answer(store, "other", no_storage)


def test_where_an_attempt_went_on_is_kept_when_its_checkpoint_is_not(store: Store) -> None:
    record = replace(
        task(3, "", 0, 0, 0),
        status=Status.QUEUED,
        started_at=None,
        ended_at=None,
        iterations=0,
        last_iteration=-1,
    )
    store.tasks.create(record)
    moves, saved = store.transitions, keys.artifacts(record.id)
    moves.start(record.id, 1, "w1/0")
    summary = {LOSS.key: Summary.of("loss", "").add(0.5, 40)}
    store.redis.hset(saved, "checkpoint/40", with_resume_point("{}", 40, START, summary))
    moves.requeue(record.id, 1, reason="worker w1/0 was lost")
    moves.start(record.id, 2, "w2/0")
    store.redis.hdel(saved, "checkpoint/40")
    found = explain_task(read_known(store, store.tasks.get(record.id), no_storage))
    assert found.steps[-1].text.endswith("; it went on from the checkpoint of iteration 40")
    # The next one finds no checkpoint: nothing of the one before is told as its own.
    moves.requeue(record.id, 2, reason="worker w2/0 was lost")
    moves.start(record.id, 3, "w1/0")
    assert store.tasks.get(record.id).resumed is None
    last = explain_task(read_known(store, store.tasks.get(record.id), no_storage)).steps[-1].text
    assert last.endswith("; it began again, as there is no checkpoint")


def test_of_a_large_study_only_what_ran_beside_it_is_read(store: Store) -> None:
    ids = make_study(store, "s", 60)
    record = store.tasks.get(ids[30])
    good = told(record, ["asked", {"by": "tpe", "n": 9, "good": [1, 31, 99, "x"]}])
    storage = FakeStorage(good)
    known = read_known(store, record, lambda study: storage, around=2)
    assert sorted(one.trial for one in known.others) == [1, 28, 29, 30, 31, 32]
    assert storage.asked == ("s", 30)
    chosen = next(step for step in explain_task(known).steps if step.kind == "chosen")
    assert chosen.why["General/optimizer"]["n"] == 2


class FakeStorage:
    """Gives one trial."""

    def __init__(self, trial: FrozenTrial) -> None:
        self.trial = trial
        self.asked: tuple[str, int] | None = None

    def get_study_id_from_name(self, name: str) -> str:
        return name

    def get_trial_id_from_study_id_trial_number(self, study: str, number: int) -> int:
        self.asked = (study, number)
        return number

    def get_trial(self, number: int) -> FrozenTrial:
        return self.trial


def test_a_storage_of_an_older_version(store: Store, tmp_path: Any) -> None:
    """Its trials have no log."""
    url = f"sqlite:///{tmp_path}/optuna.db"
    ids = make_study(store, "s", 12, storage=url)
    found = explain_task(read_known(store, store.tasks.get(ids[1]), lambda study: _open(url)))
    assert kinds(found) == ["asked", "started", "ended", "told"]
    assert found.steps[0].text == "asked for as trial 1"
    assert found.unknown == ("why it was asked for: it carries no log of decisions that can be read",)
    answer: StudyAnswer = read_answer(store, "s", lambda study: _open(url))
    assert answer.unknown[0].startswith("why trials were asked for")


def test_a_study_of_an_older_version_that_went_on() -> None:
    """Its first trials have no log."""
    data = study_data(4).with_reasons({3: {"asked": {"by": "tpe"}}})
    answer = explain_study(data)
    assert answer.decisions["asked: TPE"] == 1
    assert answer.unknown[0].endswith("time: 3 of the trials don't say")


def test_a_log_that_somebody_broke() -> None:
    record = task(1, "w/0", 0, 0, 3)
    trial = told(record)
    for broken in ("x", [["n", 0, "asked"]], [[1, 2.0]], {"a": 1}, None, 7):
        trial.system_attrs = {LOG: broken}
        found = life(record, trial=trial)
        assert kinds(found) == ["asked", "started", "ended", "told"]
        assert found.unknown == ("why it was asked for: it carries no log of decisions that can be read",)


def _open(url: str) -> Any:
    return optuna.storages.get_storage(url)


def test_a_task_outside_any_study(store: Store) -> None:
    record = replace(task(-1, "w/0", 0, 0, 3), study="", trial=-1)
    found = explain_task(read_known_of(store, record))
    assert found.steps[0].text == "created"
    assert found.unknown == ()


def read_known_of(store: Store, record: TaskRecord) -> Known:
    store.tasks.create(record)
    return read_known(store, record, no_storage)


def test_hostile_records(store: Store) -> None:
    ids = make_study(store, "s", len(HOSTILE), points=2, hostile=True)
    store.redis.hset(keys.artifacts(ids[0]), "checkpoint/1", "{")
    for task_id in ids:
        found = explain_task(read_known(store, store.tasks.get(task_id), no_storage))
        assert json.loads(json.dumps(found.as_dict(), allow_nan=False))["task_id"] == task_id
    assert read_answer(store, "s", no_storage).slots == 4


# Where it is shown


def test_the_pages_show_it(page_store: Store, tmp_path: Any) -> None:
    url = f"sqlite:///{tmp_path}/optuna.db"
    ids = make_study(page_store, "shown", 24, points=2, storage=url)
    client = client_of(site_of(page_store, storage_url=lambda study: url))
    page = client.get(f"/tasks/{ids[8]}").text
    assert "Why it is as it is" in page
    assert "stopped: pruned: worse than the median; it computed 9 s" in page
    assert "told to Optuna as PRUNED with" in page
    assert "<h1>" not in client.get(f"/tasks/{ids[8]}?part=life").text
    shown = client.get("/studies/shown/insight/explain?part=section").text
    assert "waiting for the controller: 74% of slot time" in shown
    assert re.search(r'asked</th><td class="number">24<', shown)
    lost = client_of(site_of(page_store, storage_url=no_storage))
    assert "Not known: what was decided in Optuna&#39;s storage" in lost.get(f"/tasks/{ids[8]}").text


def test_a_page_of_hostile_tasks(store: Store) -> None:
    client = client_of(site_of(store, storage_url=no_storage))
    for task_id in make_study(store, "s", len(HOSTILE), points=2, hostile=True):
        answer = client.get(f"/tasks/{task_id}?part=life")
        assert answer.status_code == 200
        assert "asked for as trial" in answer.text
        assert "<script>" not in answer.text
        assert "<img" not in answer.text


def test_the_report_has_it() -> None:
    data = study_of(task(0, "a/0", 0, 0, 10), task(1, "a/0", 11, 11, 20), ended=20)
    found = section(data)
    assert found is not None
    assert found.rows[0] == {"time of slots": RUNNING, "share": "95.0%", "time": "19 s"}
    assert found.text[0].startswith("Bounded by slots: more of them")
    markdown = render(data, "md", acts=False)
    assert "What bounded its speed" in markdown
    assert "| `waiting for the controller` | `5.0%` | `1 s` |" in markdown
