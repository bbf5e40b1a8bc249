"""`controller artifacts`: list, get, put, rm, gc, and what keep_top and delete do."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from optuna.artifacts import get_all_artifact_meta

from controller.commands.settings import resolve
from tests.e2e.cli import Cli, folder_of
from tests.s3server import S3Server
from worker import artifact_store

OBJECTIVES = """
from pathlib import Path
from optuna.artifacts import FileSystemArtifactStore, upload_artifact
from worker import artifact_store

def saves(task, x):
    Path(task.id).mkdir()
    Path(task.id, "model.txt").write_text(f"model {x}")
    task.upload_artifact("model", Path(task.id, "model.txt"))
    task.upload_artifact("settings", {"x": x})
    return x

def by_optuna(trial):
    x = trial.suggest_categorical("x", [1.0, 2.0, 3.0])
    name = f"structure-{trial.number}.txt"
    Path(name).write_text(str(x))
    upload_artifact(artifact_store=artifact_store(), file_path=name, study_or_trial=trial)
    Path("elsewhere").mkdir(exist_ok=True)
    if trial.number == 0:
        upload_artifact(artifact_store=FileSystemArtifactStore("elsewhere"), file_path=__file__, study_or_trial=trial)
        upload_artifact(artifact_store=artifact_store(), file_path=name, study_or_trial=trial.study)
    return x

def folder(task, x):
    base = Path("out/deep")
    base.mkdir(parents=True, exist_ok=True)
    (base / "a.txt").write_text("a")
    Path("out/b.csv").write_text("1,2")
    task.upload_artifact("whole", "out", as_files=True)
    task.upload_artifact("typed", "out/b.csv", mimetype="application/x-own", encoding="identity")
    for bad in ("out/b.csv", "nowhere", {"a": 1}):
        try:
            task.upload_artifact("bad", bad, as_files=True)
        except Exception as error:
            print(type(error).__name__)
    return x
"""

GRID = {
    "objective": {"function": "obj:saves"},
    "parameters": {"x": {"choices": [0.5, 0.25, 1.0, 2.0]}},
    "sampler": {"type": "grid"},
    "budget": {},
}


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    with folder_of(tmp_path, OBJECTIVES) as found:
        yield found


def files(cli: Cli) -> list[str]:
    base = cli.folder / ".optuna-rq" / "artifacts"
    return sorted(path.name for path in base.rglob("*") if path.is_file())


def study_of(cli: Cli) -> optuna.Study:
    return optuna.load_study(study_name="s", storage=resolve(folder=cli.folder, environment={}).storage_url)


def test_list_and_get(cli: Cli) -> None:
    assert cli.start(cli.sweep(**GRID)).returncode == 0
    rows = cli.json("artifacts", "list")
    assert len(rows) == 8
    best = cli.json("top", "-k", "1")[0]
    top = cli.json("artifacts", "list", "--top", "1")
    assert [row["name"] for row in top] == ["model", "settings"]
    assert {row["task_id"] for row in top} == {best["task_id"]}
    short = best["task_id"][:8]
    assert cli.json("artifacts", "list", "--task", short) == top
    done = cli("artifacts", "get", short, "model", "here.txt")
    assert done.returncode == 0, done.stderr
    assert (cli.folder / "here.txt").read_text() == "model 0.25"
    again = cli("artifacts", "get", short, "model", "here.txt")
    assert again.returncode == 1
    assert "exists; give --force" in again.stderr
    assert cli("artifacts", "get", "--top", "2", "--to", "best").returncode == 0
    got = sorted(
        path.relative_to(cli.folder / "best").as_posix() for path in (cli.folder / "best").rglob("*.*")
    )
    assert len(got) == 4
    assert f"{short}/model.txt" in got
    assert cli("artifacts", "get", "--study", "s", "--to", "all").returncode == 0
    assert len(list((cli.folder / "all").rglob("*.json"))) == 4
    for arguments, message in [
        ((), "say which"),
        ((short, "--top", "1"), "give either TASK, or"),
        ((short, "nothing"), "has no artifact 'nothing'; there are: model, settings"),
        (("ffffffff", "x"), "no task 'ffffffff'"),
        (("--study", "other"), "no study 'other'"),
    ]:
        refused = cli("artifacts", "get", *arguments)
        assert refused.returncode == 2, arguments
        assert message in refused.stderr
        assert "Traceback" not in refused.stderr


def test_corrupted_bytes_are_told_not_returned(cli: Cli) -> None:
    assert cli.start(cli.sweep(**GRID)).returncode == 0
    row = cli.json("artifacts", "list", "--top", "1")[0]
    path = cli.folder / ".optuna-rq" / "artifacts" / row["key"]
    path.write_bytes(b"X" + path.read_bytes()[1:])
    done = cli("artifacts", "get", row["task_id"], row["name"], "got.txt")
    assert done.returncode == 1
    assert "is damaged" in done.stderr
    assert (
        not (cli.folder / "model.txt").exists()
        or (cli.folder / "model.txt").read_bytes() != path.read_bytes()
    )


def test_remove(cli: Cli) -> None:
    assert cli.start(cli.sweep(**GRID)).returncode == 0
    rows = cli.json("artifacts", "list")
    first = rows[0]
    asked = cli("artifacts", "rm", first["task_id"], first["name"])
    assert asked.returncode == 130  # nobody said yes
    assert len(cli.json("artifacts", "list")) == 8
    done = cli("artifacts", "rm", first["task_id"], first["name"], "--yes")
    assert done.returncode == 0, done.stderr
    left = cli.json("artifacts", "list")
    assert [row["artifact_id"] for row in left] == [row["artifact_id"] for row in rows[1:]]
    assert first["artifact_id"] not in files(cli)
    assert len(files(cli)) == 7
    assert cli("artifacts", "rm", first["task_id"], "--yes").returncode == 0
    assert cli("artifacts", "rm", "--study", "s", "--top", "1", "--yes").returncode == 0
    assert len(cli.json("artifacts", "list")) <= 5
    assert cli("artifacts", "rm", "--study", "s", "--yes").returncode == 0
    assert cli.json("artifacts", "list") == []
    assert files(cli) == []
    assert "nothing to remove" in cli("artifacts", "rm", "--study", "s", "--yes").stdout
    assert cli("artifacts", "rm").returncode == 2


def test_artifacts_of_the_study_itself(cli: Cli) -> None:
    assert cli.start(cli.sweep(**GRID)).returncode == 0
    (cli.folder / "report.md").write_text("# first")
    assert cli("artifacts", "put", "report.md").returncode == 0
    (cli.folder / "report.md").write_text("# second")
    done = cli("artifacts", "put", "report.md", "--study", "s", "--mimetype", "text/x-own")
    assert done.returncode == 0, done.stderr
    own = [row for row in cli.json("artifacts", "list") if not row["task_id"]]
    assert [(row["name"], row["mimetype"]) for row in own] == [("report.md", "text/x-own")]
    study = study_of(cli)
    linked = get_all_artifact_meta(study)
    assert own[0]["artifact_id"] in [meta.artifact_id for meta in linked]
    store = artifact_store(f"file://{cli.folder}/.optuna-rq/artifacts", "s")
    with store.open_reader(own[0]["artifact_id"]) as reader:
        assert reader.read() == b"# second"
    missing = cli("artifacts", "put", "nowhere.md")
    assert missing.returncode == 1
    assert "no such file" in missing.stderr
    assert cli("artifacts", "get", "--study", "s", "--to", "out").returncode == 0
    assert (cli.folder / "out" / "study" / "report.md").read_text() == "# second"


def test_collecting(cli: Cli) -> None:
    assert cli.start(cli.sweep(**GRID)).returncode == 0
    base = cli.folder / ".optuna-rq" / "artifacts" / "s"
    old = time.time() - 2 * 86400
    for name in ("stray", f".part-{'0' * 32}"):
        (base / name).write_text("left by a crash")
        os.utime(base / name, (old, old))
    (base / "young").write_text("being uploaded")
    other = base.parent / "other-study"
    other.mkdir()
    (other / "kept").write_text("of somebody else")
    os.utime(other / "kept", (old, old))
    dry = cli("artifacts", "gc", "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert "1 unlisted, 0 outside the top: nothing removed" in dry.stdout
    assert (base / "stray").exists()
    done = cli("artifacts", "gc", "--yes")
    assert done.returncode == 0, done.stderr
    assert "1 removed" in done.stdout
    assert len(files(cli)) == 8 + 2
    assert cli("artifacts", "gc", "--older-than", "0.000001s", "--yes").returncode == 0
    assert "young" not in files(cli)
    assert "kept" in files(cli)
    done = cli("artifacts", "gc", "--keep-top", "1", "--yes")
    assert done.returncode == 0, done.stderr
    assert len(cli.json("artifacts", "list")) == 2
    assert {row["task_id"] for row in cli.json("artifacts", "list")} == {
        cli.json("top", "-k", "1")[0]["task_id"]
    }
    assert cli("artifacts", "gc", "--older-than", "soon").returncode == 2


def test_keep_top_while_the_study_runs(cli: Cli) -> None:
    done = cli.start(cli.sweep(**{**GRID, "artifacts": {"keep_top": 2}}))
    assert done.returncode == 0, done.stderr
    best = {row["task_id"] for row in cli.json("top", "-k", "2")}
    rows = cli.json("artifacts", "list")
    assert {row["task_id"] for row in rows} == best
    assert len(files(cli)) == len(rows) == 4
    wrong = cli("start", cli.sweep(**{**GRID, "artifacts": {"keep_top": 0, "keep_tpo": 1}}))
    assert wrong.returncode == 2
    assert "artifacts.keep_top" in wrong.stderr
    assert 'did you mean "keep_top"' in wrong.stderr


def test_deleting_a_study_can_take_its_artifacts_along(cli: Cli) -> None:
    assert cli.start(cli.sweep(**GRID)).returncode == 0
    stray = cli.folder / ".optuna-rq" / "artifacts" / "s" / "stray"
    stray.write_text("nobody's")
    assert cli("delete", "s", "--artifacts", "--yes").returncode == 0
    assert files(cli) == ["stray"]


def test_what_an_objective_uploads_by_optuna_itself(cli: Cli) -> None:
    sweep = cli.sweep(
        objective={"optuna": "obj:by_optuna"},
        parameters={},
        sampler={"type": "brute_force"},
        budget={"max_trials": 3},
    )
    assert cli.start(sweep, workers=1).returncode == 0
    rows = cli.json("artifacts", "list")
    own = [row for row in rows if not row["task_id"]]
    assert [row["filename"] for row in own] == ["structure-0.txt"]
    mine = [row for row in rows if row["filename"].startswith("structure") and row["task_id"]]
    assert len(mine) == 3
    assert all(row["size"] is None for row in mine)
    done = cli("artifacts", "get", mine[0]["task_id"], mine[0]["name"], "copy.txt")
    assert done.returncode == 0, done.stderr
    assert (cli.folder / "copy.txt").read_text() in ("1.0", "2.0", "3.0")
    strange = next(row for row in rows if row["filename"] == "obj.py")
    refused = cli("artifacts", "get", strange["task_id"], "obj.py", "got.py")
    assert refused.returncode == 1
    assert "name the store that the objective used with --store URL" in refused.stderr
    found = cli(
        "artifacts",
        "get",
        strange["task_id"],
        "obj.py",
        "got.py",
        "--store",
        f"file://{cli.folder}/elsewhere",
    )
    assert found.returncode == 0, found.stderr
    assert (cli.folder / "got.py").read_text() == OBJECTIVES
    # gc knows Optuna's links, and rm removes the bytes behind one.
    assert "0 unlisted" in cli("artifacts", "gc", "--older-than", "0.000001s", "--dry-run").stdout
    assert cli("artifacts", "rm", mine[0]["task_id"], mine[0]["name"], "--yes").returncode == 0
    assert mine[0]["artifact_id"] not in [row["artifact_id"] for row in cli.json("artifacts", "list")]
    assert mine[0]["artifact_id"] not in files(cli)


def test_a_deletion_by_a_dashboard_does_not_break_the_list(cli: Cli) -> None:
    sweep = cli.sweep(objective={"optuna": "obj:by_optuna"}, parameters={}, budget={"max_trials": 2})
    assert cli.start(sweep, workers=1).returncode == 0
    study = study_of(cli)
    before = cli.json("artifacts", "list")
    meta = get_all_artifact_meta(study)[0]
    # What the dashboard does: Optuna's own list fails from here on.
    study._storage.set_study_system_attr(study._study_id, f"artifacts:{meta.artifact_id}", json.dumps(None))
    study._storage.set_study_system_attr(study._study_id, "artifacts:odd", "{")
    with pytest.raises((TypeError, ValueError)):
        get_all_artifact_meta(study)
    after = cli.json("artifacts", "list")
    assert len(after) == len(before) - 1
    assert cli("artifacts", "gc", "--dry-run").returncode == 0


def test_folders_file_by_file_and_types(cli: Cli) -> None:
    assert (
        cli.start(cli.sweep(objective={"function": "obj:folder"}, budget={"max_trials": 1})).returncode == 0
    )
    rows = {row["name"]: row for row in cli.json("artifacts", "list")}
    assert set(rows) == {"whole/b.csv", "whole/deep/a.txt", "typed"}
    assert rows["whole/b.csv"]["mimetype"] == "text/csv"
    assert (rows["typed"]["mimetype"], rows["typed"]["encoding"]) == ("application/x-own", "identity")
    task = rows["typed"]["task_id"]
    assert cli("logs", task).stdout.splitlines() == ["ArtifactError"] * 3
    assert cli("artifacts", "get", task, "--to", "got").returncode == 0
    assert (
        sorted(path.name for path in (cli.folder / "got").rglob("*.*"))
        == sorted(["a.txt", "b.csv", f"{rows['typed']['artifact_id'][:8]}-b.csv"])
        or len(list((cli.folder / "got").rglob("*.*"))) == 3
    )


def test_in_a_bucket(cli: Cli, s3_server: S3Server) -> None:
    s3_server.make_bucket("commands")
    env = {**s3_server.env(), "ARTIFACT_STORE": "s3://commands/p"}
    assert cli.start(cli.sweep(**GRID), **env).returncode == 0
    client = s3_server.client()

    def keys() -> list[str]:
        return [item["Key"] for item in client.list_objects_v2(Bucket="commands").get("Contents", ())]

    assert len(keys()) == 8
    client.put_object(Bucket="commands", Key="p/s/stray", Body=b"x")
    upload = client.create_multipart_upload(Bucket="commands", Key="p/s/unfinished")
    assert upload["UploadId"]
    time.sleep(1.1)  # S3 tells times in whole seconds
    done = cli("artifacts", "gc", "--older-than", "0.000001s", "--keep-top", "1", "--yes", **env)
    assert done.returncode == 0, done.stderr
    assert len(keys()) == 2
    assert not client.list_multipart_uploads(Bucket="commands").get("Uploads")
    assert cli("delete", "s", "--artifacts", "--yes", **env).returncode == 0
    assert keys() == []
