"""What workers say of artifacts decides nothing: only the study's own part of its own stores is touched."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import fakeredis
import optuna
import pytest

from controller.results.artifact_keeper import ArtifactKeeper
from controller.results.artifacts import Artifacts
from tests.fakes import LOSS, record
from worker.artifacts import ArtifactMeta, open_store, save
from worker.artifacts.beneath import LinkInTheWay, opened_folder
from worker.protocol import Status, Store, StudyRecord, TaskRecord
from worker.protocol.errors import ArtifactError, InvalidKey
from worker.sdk.artifact_saving import forget
from worker.sdk.optuna_store import OptunaArtifactStore


@pytest.fixture
def store() -> Store:
    return Store(fakeredis.FakeRedis(decode_responses=True))


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tmp_path / "artifacts"


def study_in(store: Store, base: Path, name: str = "s", **changes: Any) -> StudyRecord:
    made = StudyRecord(name=name, created_at=1.0, metrics=(LOSS,), artifacts=f"file://{base}", **changes)
    store.studies.save(made)
    return made


def task_in(store: Store, study: str = "s", status: Status = Status.COMPLETED) -> TaskRecord:
    made = record(study=study, status=status)
    store.tasks.create(made)
    return made


def saved(store: Store, task: TaskRecord, base: Path, group: str = "s") -> ArtifactMeta:
    """An artifact as a worker saves and lists it."""
    meta = save(open_store(f"file://{base}"), group, "model", {"a": 1})
    store.artifacts.add(task.id, None, meta.name, meta.to_json())
    return meta


def paths(base: Path) -> list[str]:
    return sorted(path.relative_to(base).as_posix() for path in base.rglob("*") if not path.is_dir())


HOSTILE: dict[str, Callable[[ArtifactMeta, Path, str], ArtifactMeta]] = {
    "a store of the head node": lambda m, at, other: replace(
        m, store=f"file://{at}", key="precious/file", url=f"file://{at}/precious/file"
    ),
    "its root": lambda m, at, other: replace(m, store="file:///", key=f"{at}/precious/file".lstrip("/")),
    "dots": lambda m, at, other: replace(m, key="s/../../precious/file"),
    "dots that end well": lambda m, at, other: replace(m, key=f"s/../s/{m.artifact_id}"),
    "an absolute key": lambda m, at, other: replace(m, key=f"{at}/precious/file"),
    "another study": lambda m, at, other: replace(m, key=other),
    "another study with its id": lambda m, at, other: replace(
        m, key=other, artifact_id=other.rpartition("/")[2]
    ),
    "a file beside the artifacts": lambda m, at, other: replace(m, key="s/notes"),
    "another bucket": lambda m, at, other: replace(m, store="s3://others/s", artifact_id=ID, key=f"s/{ID}"),
    "a key with NUL": lambda m, at, other: replace(m, key=f"s/{m.artifact_id}\x00"),
    "the study's folder": lambda m, at, other: replace(m, key="s"),
    "a longer name": lambda m, at, other: replace(m, key=f"s-2/{m.artifact_id}"),
    "a study below": lambda m, at, other: replace(m, key=f"s/inner/{m.artifact_id}"),
    "an endless key": lambda m, at, other: replace(m, key="s/" + "x/" * 4000),
}


ID = str(uuid.uuid4())


@pytest.fixture
def scene(
    store: Store, base: Path, tmp_path: Path
) -> tuple[Artifacts, TaskRecord, ArtifactMeta, str, list[str]]:
    """A study with one artifact, another with one, and files of the head node's own."""
    study, task = study_in(store, base), task_in(store)
    own = saved(store, task, base)
    study_in(store, base, "t")
    other = saved(store, task_in(store, "t"), base, "t")
    (base / "s" / "notes").write_text("by hand")
    (base / "s-2").mkdir()
    (base / "s-2" / own.artifact_id).write_text("of s-2")
    (base / "s" / "inner").mkdir()
    (base / "s" / "inner" / own.artifact_id).write_text("of s/inner")
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("the head node's")
    return Artifacts(store, study), task, own, other.key, paths(tmp_path)


@pytest.mark.parametrize("how", HOSTILE)
def test_what_is_outside_is_neither_read_nor_deleted(
    scene: tuple[Artifacts, TaskRecord, ArtifactMeta, str, list[str]], store: Store, tmp_path: Path, how: str
) -> None:
    found, task, own, other, before = scene
    forged = HOSTILE[how](own, tmp_path, other)
    store.artifacts.add(task.id, None, own.name, forged.to_json())
    (listed,) = found.of_tasks([task.id])
    with pytest.raises(ArtifactError):
        found.get(listed, tmp_path / "copy", overwrite=False)
    assert not found.is_here(listed)
    (problem,) = found.remove([listed])
    assert "\n" not in problem
    assert len(problem) < 1000
    assert ArtifactKeeper(store, "s", 1).clean() == 0
    assert paths(tmp_path) == before
    assert own.name in store.artifacts.of_task(task.id), "what was left alone stays listed"


@pytest.mark.parametrize(
    "place", ["", "file:///", "file:///precious", "s3://others/s", "http://127.0.0.1:1/", "\x1b[2J\n=cmd()"]
)
def test_what_is_its_own_goes_whatever_store_is_named(
    scene: tuple[Artifacts, TaskRecord, ArtifactMeta, str, list[str]],
    store: Store,
    tmp_path: Path,
    place: str,
) -> None:
    """Its key is in the study's part of the study's store. Nothing else is opened."""
    found, task, own, _, before = scene
    if place:
        store.artifacts.add(task.id, None, own.name, replace(own, store=place).to_json())
    assert found.remove(found.of_tasks([task.id])) == []
    assert paths(tmp_path) == [path for path in before if path != f"artifacts/{own.key}"]


@pytest.mark.parametrize("by", ["delete", "gc", "keep_top"])
def test_tasks_that_workers_slip_into_lists_are_not_the_studys(
    scene: tuple[Artifacts, TaskRecord, ArtifactMeta, str, list[str]], store: Store, tmp_path: Path, by: str
) -> None:
    """The lists by status are written by workers, the list of all tasks is not."""
    found, task, _, _, before = scene
    store.redis.zrem("orq:study:s:status:completed", task.id)
    (foreign,) = store.studies.tasks("t")
    store.redis.zadd("orq:study:s:status:completed", {foreign: 7})
    store.redis.hset(f"orq:task:{foreign}", "study", "s")
    if by == "keep_top":
        ArtifactKeeper(store, "s", 1).clean()
    elif by == "gc":
        assert found.remove(found.outside_top(1)) == []
    else:
        assert foreign not in {one.owner for one in found.all()}
    assert paths(tmp_path) == before


def test_files_of_the_first_versions_go_too(store: Store, base: Path) -> None:
    """They lay under study/task/id/name."""
    study, task = study_in(store, base), task_in(store)
    meta = saved(store, task, base)
    old = f"s/{task.id}/{meta.artifact_id}/model.json"
    (base / old).parent.mkdir(parents=True)
    (base / meta.key).rename(base / old)
    store.artifacts.add(task.id, None, meta.name, replace(meta, key=old).to_json())
    found = Artifacts(store, study)
    assert found.is_here(*found.all())
    assert found.remove(found.all()) == []
    assert list(base.iterdir()) == []


def test_a_study_that_was_moved_to_another_store(store: Store, base: Path, tmp_path: Path) -> None:
    study = study_in(store, tmp_path / "new", artifact_stores=(f"file://{base}",))
    task = task_in(store)
    meta = saved(store, task, base)
    found = Artifacts(store, study)
    assert found.get(found.all()[0], tmp_path / "copy", overwrite=False).exists()
    assert found.remove(found.all()) == []
    assert not (base / meta.key).exists()


def test_stores_that_a_person_names(store: Store, base: Path, tmp_path: Path) -> None:
    """Where a worker had a store of its own."""
    study, task = study_in(store, tmp_path / "own"), task_in(store)
    meta = saved(store, task, base)
    found = Artifacts(store, study)
    (problem,) = found.remove(found.all())
    assert "is not the study's store" in problem
    assert "--store URL" in problem
    assert (base / meta.key).exists()
    named = Artifacts(store, study, stores=(f"file://{base}",))
    assert named.remove(named.all()) == []
    assert not (base / meta.key).exists()


def test_one_folder_by_two_names(store: Store, base: Path, tmp_path: Path) -> None:
    (tmp_path / "mount").symlink_to(base)
    study, task = study_in(store, tmp_path / "mount"), task_in(store)
    meta = saved(store, task, base)
    found = Artifacts(store, study)
    assert found.remove(found.all()) == []
    assert not (base / meta.key).exists()


@pytest.mark.parametrize(("name", "other"), [("a", "a/b"), ("a_b", "a:b"), ("a", "a/b/c")])
def test_studies_whose_keys_meet(store: Store, base: Path, name: str, other: str) -> None:
    """``a/b`` lies below ``a``; ``a_b`` and ``a:b`` are one prefix."""
    mine, theirs = study_in(store, base, name), study_in(store, base, other)
    task = task_in(store, name)
    kept = saved(store, task_in(store, other), base, other)
    found = Artifacts(store, mine)
    assert [key for key, _ in found.unlisted(2e10)] == []
    store.artifacts.add(task.id, None, kept.name, kept.to_json())
    assert len(found.remove(found.all())) == 1
    assert (base / kept.key).exists()
    again = Artifacts(store, theirs)
    assert again.unlisted(2e10) == []
    store.artifacts.remove(task.id, None, [kept.name])
    assert Artifacts(store, theirs).remove(again.all()) == []
    assert not (base / kept.key).exists()


def test_a_copy_reads_what_is_the_originals_and_leaves_it(store: Store, base: Path, tmp_path: Path) -> None:
    """As after `controller import --name`."""
    original = study_in(store, base)
    kept = saved(store, task_in(store), base)
    copy = study_in(store, base, "copy", copied_from="s")
    task = task_in(store, "copy")
    store.artifacts.add(task.id, None, kept.name, kept.to_json())
    for known in (True, False):  # the original is in this Redis, or isn't
        found = Artifacts(store, copy)
        assert found.get(found.all()[0], tmp_path / f"copy {known}", overwrite=False).exists()
        assert len(found.remove(found.all())) == 1
        assert (base / kept.key).exists()
        store.studies.delete(original.name)
    stranger = Artifacts(store, study_in(store, base, "other"))
    with pytest.raises(ArtifactError, match="is not in the study's"):
        stranger.get(found.all()[0], tmp_path / "stolen", overwrite=False)


def test_tasks_outside_studies_do_not_reach_studies(store: Store, base: Path) -> None:
    study_in(store, base)
    kept = saved(store, task_in(store), base)
    loose = task_in(store, "")
    mine = saved(store, loose, base, "my project")
    store.artifacts.add(loose.id, None, "theirs", replace(kept, name="theirs").to_json())
    found = Artifacts(store, None, stores=(f"file://{base}",))
    (problem,) = found.remove(found.of_tasks([loose.id]))
    assert "belongs to another study" in problem
    assert (base / kept.key).exists()
    assert not (base / mine.key).exists()


def test_links_of_optuna_are_looked_for_by_their_ids_only(store: Store, base: Path, tmp_path: Path) -> None:
    study, task = study_in(store, base), task_in(store)
    meta = saved(store, task, base)
    (base / "root").write_text("not the study's")
    found = Artifacts(store, study)
    linked = replace(found.all()[0], meta=None)
    assert found.is_here(linked)
    for identifier in ("../root", "root", "/etc/passwd", "", "x/y", "\x00", f"{meta.artifact_id}/.."):
        forged = replace(linked, artifact_id=identifier)
        assert not found.is_here(forged)
        assert len(found.remove([forged])) == 1
    assert paths(base) == sorted(["root", meta.key])
    assert found.remove([linked]) == []


# Symbolic links


@pytest.mark.parametrize("where", ["s", "s/inner", "s/inner/file"])
def test_links_below_the_folder_lead_nowhere(tmp_path: Path, where: str) -> None:
    outside = tmp_path / "outside"
    (outside / "inner").mkdir(parents=True)
    for path in (outside / "file", outside / "inner" / "file"):
        path.write_text("kept")
    base = tmp_path / "base"
    (base / where).parent.mkdir(parents=True)
    target = {"s": outside, "s/inner": outside / "inner", "s/inner/file": outside / "file"}[where]
    (base / where).symlink_to(target)
    (tmp_path / "source").write_text("new")
    store = open_store(f"file://{base}")
    is_last = where.endswith("file")
    with pytest.raises(ArtifactError):
        store.get_file("s/inner/file", tmp_path / "copy")
    if is_last:
        assert not store.exists("s/inner/file")
        store.put_file("s/inner/file", tmp_path / "source", None)  # takes the link's place
        assert (base / "s/inner/file").read_text() == "new"
        (base / where).unlink()
        (base / where).symlink_to(target)
        store.delete("s/inner/file")  # the link alone
        assert not os.path.lexists(base / where)
    else:
        for refused in (
            lambda: store.exists("s/inner/file"),
            lambda: store.delete("s/inner/file"),
            lambda: store.put_file("s/inner/file", tmp_path / "source", None),
            lambda: list(store.entries("s/inner/")),
            lambda: store.remove_leftovers("s/inner/", 2e10),
        ):
            with pytest.raises(
                ArtifactError, match="a symbolic link below the store's folder is not followed"
            ):
                refused()
        assert list(store.list("")) == []
    assert sorted(path.read_text() for path in outside.rglob("file")) == ["kept", "kept"]


def test_a_pipe_is_no_artifact(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    os.mkfifo(tmp_path / "s" / "pipe")
    with pytest.raises(ArtifactError, match="no object"):
        open_store(f"file://{tmp_path}").get_file("s/pipe", tmp_path / "copy")


def test_the_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "source").write_text("x")
    store = open_store(f"file://{tmp_path}/link")
    store.put_file("s/a", tmp_path / "source", None)
    store.get_file("s/a", tmp_path / "copy")
    assert (tmp_path / "copy").read_text() == "x"
    with opened_folder(tmp_path / "link", ["s"]):
        pass
    (tmp_path / "real" / "t").symlink_to("s")
    with pytest.raises(LinkInTheWay), opened_folder(tmp_path / "link", ["t"]):
        pass
    store.delete("s/a")
    assert not (tmp_path / "real" / "s").exists()


# Ids that can't be, as Optuna's own stores refuse them


@pytest.mark.parametrize("group", ["s", ""])
@pytest.mark.parametrize(
    "identifier", ["../test.txt", "/etc/passwd", "..", ".", "", "a//b", "a/../b", "a\x00"]
)
def test_an_invalid_id_is_a_value_error(tmp_path: Path, group: str, identifier: str) -> None:
    store = OptunaArtifactStore(open_store(f"file://{tmp_path}"), group)
    (tmp_path / "body").write_bytes(b"x")
    with open(tmp_path / "body", "rb") as body:
        for call in (
            lambda: store.open_reader(identifier),
            lambda: store.write(identifier, body),
            lambda: store.remove(identifier),
        ):
            with pytest.raises(ValueError, match="Invalid artifact_id") as caught:
                call()
            assert isinstance(caught.value, InvalidKey)


def test_optunas_functions_on_our_store(tmp_path: Path) -> None:
    """As Optuna's own tests of its folder store, and of upload, download and list, have it."""
    store = OptunaArtifactStore(open_store(f"file://{tmp_path}/store"), "s")
    study = optuna.create_study()
    (tmp_path / "a.txt").write_text("hello")
    for owner in (study, study.ask()):
        identifier = optuna.artifacts.upload_artifact(
            artifact_store=store, file_path=str(tmp_path / "a.txt"), study_or_trial=owner
        )
        assert str(uuid.UUID(identifier)) == identifier
        (listed,) = optuna.artifacts.get_all_artifact_meta(owner, storage=study._storage)
        assert (listed.artifact_id, listed.filename) == (identifier, "a.txt")
        optuna.artifacts.download_artifact(
            artifact_store=store, file_path=str(tmp_path / identifier), artifact_id=identifier
        )
        assert (tmp_path / identifier).read_text() == "hello"
        store.remove(identifier)
        with pytest.raises(optuna.artifacts.exceptions.ArtifactNotFound):
            store.remove(identifier)


# Checkpoints that a program no longer keeps


@pytest.mark.parametrize("how", [*HOSTILE, "its own"])
def test_a_program_forgets_only_its_own_checkpoints(
    scene: tuple[Artifacts, TaskRecord, ArtifactMeta, str, list[str]], base: Path, tmp_path: Path, how: str
) -> None:
    """Their descriptions come from Redis; local workers run on the head node."""
    _, _, own, other, before = scene
    forged = own if how == "its own" else HOSTILE[how](own, tmp_path, other)
    forget({"study": "s", "artifacts": f"file://{base}"}, [forged])
    assert paths(tmp_path) == [path for path in before if how != "its own" or path != f"artifacts/{own.key}"]
