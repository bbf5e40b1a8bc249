"""Signatures of jobs: what a good one is good for, and all the ways in which one can be bad."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import fakeredis
import pytest

from tests.fakes import ManualClock
from worker.protocol import ObjectiveMetric, Sign, Status, Store, TaskRecord, TaskSpec, keys, new_task_id
from worker.protocol.errors import ForbiddenJob
from worker.protocol.redis_time import RedisTime
from worker.protocol.signature import MAX_AGE_S, MAX_AHEAD_S, Signer, UsedSignatures, used_once

SECRET = "a secret of some length"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_800_000_000.0)


@pytest.fixture
def signer(clock: ManualClock) -> Signer:
    return Signer(SECRET, clock.now)


def record_of(**changes: Any) -> TaskRecord:
    spec = {
        "objective": {"kind": "function", "target": "train:objective", "env": {"A": "1"}},
        "parameters": {"General/lr": 0.1},
        "metrics": (ObjectiveMetric(title="loss", series="", sign=Sign.MIN),),
        "queue": "gpu",
        "code": {"sha256": "0" * 64, "size": 1, "key": "k", "unpacked": 1},
    }
    spec.update(changes.pop("spec", {}))
    fields: dict[str, Any] = {
        "id": "1" * 32, "name": "t", "study": "s", "trial": 3, "status": Status.QUEUED, "created_at": 1.0, **changes,
    }  # fmt: skip
    return TaskRecord(spec=TaskSpec(**spec), **fields)


def refusal(verify: Callable[[], Any]) -> str:
    with pytest.raises(ForbiddenJob) as caught:
        verify()
    said = str(caught.value)
    assert "\n" not in said
    assert SECRET not in said
    return said


def test_a_signature_is_good_for_its_record(signer: Signer) -> None:
    record = record_of()
    assert signer.verify(signer.sign(record), record)


def test_what_changes_while_a_task_waits_does_not_matter(signer: Signer) -> None:
    token = signer.sign(record_of())
    signer.verify(token, record_of(status=Status.IN_PROGRESS, queued_at=5.0, name="renamed", iterations=3))


def test_each_signature_is_another_one(signer: Signer) -> None:
    tokens = {signer.sign(record_of()) for _ in range(20)}
    assert len(tokens) == 20
    assert len({signer.verify(token, record_of()) for token in tokens}) == 20


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "2" * 32},
        {"attempt": 2},
        {"study": "other"},
        {"trial": 4},
        {"spec": {"objective": {"kind": "function", "target": "os:system", "env": {"A": "1"}}}},
        {"spec": {"objective": {"kind": "function", "target": "train:objective", "env": {"A": "2"}}}},
        {"spec": {"objective": {"kind": "function", "target": "train:objective"}}},
        {"spec": {"parameters": {"General/lr": 0.2}}},
        {"spec": {"parameters": {"General/lr": 0.1, "General/x": 1}}},
        {"spec": {"queue": "default"}},
        {"spec": {"code": {}}},
        {"spec": {"code": {"sha256": "1" * 64, "size": 1, "key": "k", "unpacked": 1}}},
        {"spec": {"artifacts": "file:///elsewhere"}},
        {"spec": {"time_limit_s": 1e9}},
        {"spec": {"check_only": True}},
        {"spec": {"configurations": {"c": {"kind": "dict", "value": {}}}}},
    ],
)
def test_a_record_that_was_altered(signer: Signer, changes: dict[str, Any]) -> None:
    token = signer.sign(record_of())
    said = refusal(lambda: signer.verify(token, record_of(**changes)))
    assert "signed for another task or attempt, or its task was altered" in said


def test_every_field_of_a_description_is_signed(signer: Signer) -> None:
    token = signer.sign(record_of())
    record = record_of()
    for name in TaskSpec.__dataclass_fields__:
        changed = replace(record, spec=replace(record.spec, **{name: {"another": "value"}}))
        if name == "metrics":
            changed = replace(record, spec=replace(record.spec, metrics=()))
        refusal(lambda changed=changed: signer.verify(token, changed))  # type: ignore[misc]


@pytest.mark.parametrize("token", [None, ""])
def test_a_job_that_is_not_signed(signer: Signer, token: str | None) -> None:
    assert "it is not signed" in refusal(lambda: signer.verify(token, record_of()))


def test_another_secret(clock: ManualClock, signer: Signer) -> None:
    token = Signer(SECRET + " ", clock.now).sign(record_of())
    said = refusal(lambda: signer.verify(token, record_of()))
    assert "OPTUNA_RQ_SECRET has to be the same for" in said


def test_every_character_counts(signer: Signer) -> None:
    token, record = signer.sign(record_of()), record_of()
    for place in range(len(token)):
        for other in "A0.-":
            damaged = token[:place] + other + token[place + 1 :]
            # Of the last character, two bits are nothing but padding.
            if damaged != token and place < len(token) - 1:
                refusal(lambda damaged=damaged: signer.verify(damaged, record))  # type: ignore[misc]
    for cut in (token[:-1], token[1:], token + "x", token.rpartition(".")[0], token * 2):
        refusal(lambda cut=cut: signer.verify(cut, record))  # type: ignore[misc]


@pytest.mark.parametrize(
    "token", ["x", "..", "a.b.c", "\x00", "ü", "\ud800", ".", "0" * 3000, "a.AAAAAAAAAAAA.x"]
)
def test_what_is_no_signature_at_all(signer: Signer, token: str) -> None:
    assert "its signature is wrong" in refusal(lambda: signer.verify(token, record_of()))


@pytest.mark.parametrize("later_s", [0.0, MAX_AGE_S - 1, -MAX_AHEAD_S + 1])
def test_an_age_that_is_taken(clock: ManualClock, later_s: float) -> None:
    signed = Signer(SECRET, lambda: clock.now() - later_s).sign(record_of())
    Signer(SECRET, clock.now).verify(signed, record_of())


@pytest.mark.parametrize(
    ("later_s", "message"),
    [
        (MAX_AGE_S + 2, "it was signed 24 h ago; the controller will sign it again"),
        (40 * 86400.0, "it was signed 960 h ago"),
        (-MAX_AHEAD_S - 2, "s in the future: a clock is wrong"),
        (-3600.0, "it was signed 3600 s in the future: a clock is wrong"),
    ],
)
def test_an_age_that_is_not(clock: ManualClock, later_s: float, message: str) -> None:
    token = Signer(SECRET, lambda: clock.now() - later_s).sign(record_of())
    assert message in refusal(lambda: Signer(SECRET, clock.now).verify(token, record_of()))


def test_the_time_of_a_signature_can_not_be_changed(clock: ManualClock, signer: Signer) -> None:
    old = signer.sign(record_of())
    clock.sleep(MAX_AGE_S + 10)
    value, at, signature = old.rsplit(".", 2)
    fresh = signer.sign(record_of()).rsplit(".", 2)[1]
    assert fresh != at
    said = refusal(lambda: signer.verify(f"{value}.{fresh}.{signature}", record_of()))
    assert "its signature is wrong" in said


# Signatures of records


def test_a_record_signature_vouches_for_what_is_run(signer: Signer) -> None:
    record = record_of()
    signed = signer.sign_record(record)
    assert signer.verified(signed, record) == record
    for harmless in (
        record_of(attempt=3),
        record_of(status=Status.IN_PROGRESS),
        record_of(spec={"queue": "other"}),
    ):
        assert signer.verified(signed, harmless) == harmless
    added = record_of(spec={"parameters": {"General/lr": 0.1, "x": 1}})
    assert signer.verified(signed, added) == record
    for changes in (
        {"id": "2" * 32}, {"study": "other"}, {"trial": 4}, {"spec": {"objective": {"kind": "command", "argv": ["x"]}}},
        {"spec": {"parameters": {"General/lr": 0.2}}}, {"spec": {"parameters": {}}}, {"spec": {"code": {}}},
    ):  # fmt: skip
        said = refusal(lambda changes=changes: signer.verified(signed, record_of(**changes)))  # type: ignore[misc]
        assert "altered in Redis" in said


@pytest.mark.parametrize(
    "signed",
    [None, "", "x", "[]", "{}", "5", "null", '[["General/lr"], "x"]', '[[], ""]', "[5, 5]", "[" * 9999],
)
def test_what_is_no_record_signature(signer: Signer, signed: str | None) -> None:
    refusal(lambda: signer.verified(signed, record_of()))


def test_a_record_signature_is_no_job_signature_and_of_one_secret(clock: ManualClock, signer: Signer) -> None:
    record = record_of()
    refusal(lambda: Signer(SECRET + "x", clock.now).verified(signer.sign_record(record), record))
    mac = json.loads(signer.sign_record(record))[1]
    refusal(lambda: signer.verify(mac, record))
    refusal(lambda: signer.verified(json.dumps([["General/lr"], signer.sign(record)]), record))


# Clocks


TRUE_TIME = time.time


class RedisClock:
    """As much of a client as `RedisTime` asks: what Redis says the time is."""

    def time(self) -> tuple[int, int]:
        now = TRUE_TIME()
        return int(now), int(now % 1 * 1e6)


def machine_whose_clock_is_off(monkeypatch: pytest.MonkeyPatch, ahead_s: float) -> RedisTime:
    """Redis' time as seen from there. From now on this process is there."""
    monkeypatch.setattr(time, "time", lambda: TRUE_TIME() + ahead_s)
    seen = RedisTime(RedisClock())
    assert abs(seen.now() - TRUE_TIME()) < 1.0
    return seen


@pytest.mark.parametrize(
    ("ahead_s", "message"),
    [
        (-3600.0, "this machine's clock is 3600 s behind Redis': times will look wrong; set it (NTP)"),
        (3600.0, "this machine's clock is 3600 s ahead of Redis': times will look wrong; set it (NTP)"),
        (61.5, "ahead of Redis'"),
        (58.0, ""),
        (-58.0, ""),
    ],
)
def test_a_clock_that_is_off_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, ahead_s: float, message: str
) -> None:
    said = machine_whose_clock_is_off(monkeypatch, ahead_s).trouble()
    assert message in said
    assert "\n" not in said
    assert bool(said) == bool(message)


@pytest.mark.parametrize(
    ("there_s", "here_s"), [(3600.0, 0.0), (0.0, 3600.0), (-3600.0, 3600.0), (90000.0, -90000.0)]
)
def test_sides_whose_clocks_differ_agree_by_redis_time(
    monkeypatch: pytest.MonkeyPatch, there_s: float, here_s: float
) -> None:
    token = Signer(SECRET, machine_whose_clock_is_off(monkeypatch, there_s).now).sign(record_of())
    own_token = Signer(SECRET, time.time).sign(record_of())
    here = machine_whose_clock_is_off(monkeypatch, here_s)
    assert Signer(SECRET, here.now).verify(token, record_of())
    if not -MAX_AGE_S < there_s <= MAX_AHEAD_S:  # by that machine's own clock it would not have been taken
        refusal(lambda: Signer(SECRET, here.now).verify(own_token, record_of()))


# Each once


def test_a_signature_is_used_once_in_the_fleet(signer: Signer) -> None:
    store = Store(fakeredis.FakeRedis(decode_responses=True))
    record = record_of()
    token = signer.sign(record)
    store.tasks.create(record)
    before = store.redis.hgetall(keys.task(record.id))

    def start(slot: str, token: str = token) -> TaskRecord:
        return store.transitions.start(record.id, 1, slot, once=used_once(token, slot))

    start("a/0")
    start("a/0")  # the same start, tried again
    store.redis.hset(keys.task(record.id), mapping=before)
    for slot in ("b/0", "a/0", "a/1"):
        said = refusal(lambda slot=slot: start(slot))  # type: ignore[misc]
        assert "it has been run already, by a/0" in said
        assert store.tasks.get(record.id).status is Status.QUEUED
    start("b/0", signer.sign(record))
    (left_s,) = {round(store.redis.ttl(key)) for key in store.redis.keys("orq:used:*")}
    assert MAX_AGE_S < left_s <= MAX_AGE_S + MAX_AHEAD_S


def test_one_of_two_slots_that_start_at_once(signer: Signer) -> None:
    """The second one's record is put back between its look and its write."""
    store = Store(fakeredis.FakeRedis(decode_responses=True))
    record = record_of()
    token = signer.sign(record)
    store.tasks.create(record)
    before = store.redis.hgetall(keys.task(record.id))

    def meanwhile(found: TaskRecord) -> None:
        if not store.redis.exists(f"orq:used:{token.partition('.')[0]}"):
            store.transitions.start(record.id, 1, "a/0", once=used_once(token, "a/0"))
            store.redis.hset(keys.task(record.id), mapping=before)

    said = refusal(
        lambda: store.transitions.start(record.id, 1, "b/0", check=meanwhile, once=used_once(token, "b/0"))
    )
    assert "by a/0" in said


def test_what_is_refused_uses_nothing(signer: Signer) -> None:
    store = Store(fakeredis.FakeRedis(decode_responses=True))
    record = record_of()
    store.tasks.create(record)
    token = Signer(SECRET + "x").sign(record)
    refusal(
        lambda: store.transitions.start(
            record.id, 1, "a/0", check=lambda found: check(signer, token, found), once=used_once(token, "a/0")
        )
    )
    assert store.redis.keys("orq:used:*") == []


def check(signer: Signer, token: str, record: TaskRecord) -> None:
    signer.verify(token, record)


@pytest.mark.parametrize(
    "token", [None, "", ".", "x.y", "a" * 23 + ".x", "A" * 24 + ".x", "a" * 24 + "\n.x", "*.x", "../x"]
)
def test_what_is_no_nonce_names_no_key(token: str | None) -> None:
    assert used_once(token, "a/0") is None


def test_a_signature_is_used_once(tmp_path: Path, signer: Signer) -> None:
    one, other = UsedSignatures(tmp_path / "used"), UsedSignatures(tmp_path / "used")
    nonce = signer.verify(signer.sign(record_of()), record_of())
    one.use(nonce)
    for slot in (one, other):
        assert "it has been run already" in refusal(lambda slot=slot: slot.use(nonce))  # type: ignore[misc]
    other.use(signer.verify(signer.sign(record_of()), record_of()))


def test_used_signatures_are_kept_as_long_as_they_could_be_used(tmp_path: Path) -> None:
    clock = ManualClock(time.time())
    used = UsedSignatures(tmp_path / "used", clock.now)
    clock.sleep(MAX_AGE_S / 4)  # so long between two looks at what can go
    for name, age_s in (("still-good", MAX_AGE_S + MAX_AHEAD_S - 60), ("too-old", 3 * MAX_AGE_S)):
        (tmp_path / "used").mkdir(exist_ok=True)
        (tmp_path / "used" / name).touch()
        os.utime(tmp_path / "used" / name, (clock.now() - age_s, clock.now() - age_s))
    used.use("fresh")
    assert {path.name for path in (tmp_path / "used").iterdir()} == {"still-good", "fresh"}
    refusal(lambda: used.use("still-good"))


def test_the_names_of_used_signatures_stay_in_their_folder(tmp_path: Path, signer: Signer) -> None:
    record = replace(record_of(), id=new_task_id())
    nonce = signer.verify(signer.sign(record), record)
    assert nonce.isalnum()
    assert len(nonce) == 24
