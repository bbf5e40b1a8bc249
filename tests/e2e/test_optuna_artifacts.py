"""What tasks save, as Optuna's artifact module sees it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from optuna.artifacts import (
    FileSystemArtifactStore,
    download_artifact,
    get_all_artifact_meta,
    upload_artifact,
)
from optuna.artifacts.exceptions import ArtifactNotFound

from controller.commands.settings import resolve
from tests.e2e.cli import Cli, folder_of
from tests.s3server import S3Server
from worker import artifact_store

OBJECTIVES = """
from pathlib import Path
def saves(task, x):
    Path(f"model-{task.trial_number}.txt").write_text(f"model {x}")
    task.upload_artifact("model", f"model-{task.trial_number}.txt")
    task.upload_artifact("settings", {"x": x})
    if x > 0.9:
        raise ValueError("too late")
    return x
"""


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    with folder_of(tmp_path, OBJECTIVES) as found:
        yield found


SECTIONS = {
    "objective": {"function": "obj:saves"},
    "parameters": {"x": {"choices": [0.25, 0.5, 1.0]}},
    "sampler": {"type": "grid"},
    "budget": {},
}


def check(cli: Cli, store: optuna.artifacts.FileSystemArtifactStore, folder: Path) -> None:
    storage = resolve(folder=cli.folder, environment={}).storage_url
    study = optuna.load_study(study_name="s", storage=storage)
    assert len(study.trials) == 3
    for trial in study.trials:
        metas = {meta.filename: meta for meta in get_all_artifact_meta(trial, storage=study._storage)}
        assert set(metas) == {f"model-{trial.number}.txt", "settings.json"}, trial.state
        model = metas[f"model-{trial.number}.txt"]
        assert (model.mimetype, model.encoding) == ("text/plain", None)
        target = folder / model.filename
        download_artifact(artifact_store=store, file_path=str(target), artifact_id=model.artifact_id)
        assert target.read_text() == f"model {trial.params['x']}"
    # The other way round: what Optuna puts in comes out again.
    (folder / "notes.txt").write_text("notes")
    artifact_id = upload_artifact(
        artifact_store=store, file_path=str(folder / "notes.txt"), study_or_trial=study
    )
    with store.open_reader(artifact_id) as reader:
        assert reader.read() == b"notes"
    store.remove(artifact_id)
    with pytest.raises(ArtifactNotFound):
        store.open_reader(artifact_id)
    with pytest.raises(ArtifactNotFound):
        store.remove(artifact_id)


def test_in_a_folder(cli: Cli, tmp_path: Path) -> None:
    assert cli.start(cli.sweep(**SECTIONS)).returncode == 0
    target = tmp_path / "downloads"
    target.mkdir()
    check(cli, FileSystemArtifactStore(cli.folder / ".optuna-rq" / "artifacts" / "s"), target)
    ours = artifact_store(f"file://{cli.folder}/.optuna-rq/artifacts", "s")
    assert ours.url.endswith("/artifacts/s")
    (tmp_path / "again").mkdir()
    check(cli, ours, tmp_path / "again")


def test_in_a_bucket(cli: Cli, s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    s3_server.make_bucket("optuna")
    for name, value in s3_server.env().items():
        monkeypatch.setenv(name, value)
    url = "s3://optuna/prefix"
    done = cli.start(cli.sweep(**SECTIONS), "--artifacts", url, **s3_server.env())
    assert done.returncode == 0, done.stderr
    target = tmp_path / "downloads"
    target.mkdir()
    check(cli, artifact_store(url, "s"), target)
