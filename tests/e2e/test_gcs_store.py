"""Google Cloud Storage: faults, and a whole study, against a server that speaks its protocol."""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest

from controller.commands.settings import resolve
from tests.e2e.cli import folder_of
from tests.e2e.harness import wait_for
from tests.gcsserver import GCSServer
from tests.proxy import BreakingProxy
from worker import artifact_store
from worker.artifacts import ArtifactStoreUnavailable, fetch, open_store, save
from worker.protocol.errors import ArtifactError, BadInput

MB = 1 << 20


@pytest.fixture
def proxy(gcs_server: GCSServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[BreakingProxy]:
    with BreakingProxy(gcs_server.port) as found:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", found.endpoint)
        yield found


@pytest.fixture
def bucket(gcs_server: GCSServer) -> str:
    name = f"b-{uuid.uuid4().hex[:8]}"
    gcs_server.make_bucket(name)
    return name


def test_connections_that_break(proxy: BreakingProxy, bucket: str, tmp_path: Path) -> None:
    path = tmp_path / "big.bin"
    path.write_bytes(os.urandom(40 * MB))
    store = open_store(f"gs://{bucket}/p")
    proxy.reset_after("up", 5 * MB)
    meta = save(store, "g", "n", path, patience_s=60)
    assert proxy.resets == 1
    proxy.down = 0

    def vanish() -> None:
        wait_for(lambda: proxy.down > 12 * MB, "some of the download")
        proxy.refuse()
        time.sleep(2)
        proxy.heal()

    thread = threading.Thread(target=vanish)
    thread.start()
    back = fetch(meta, tmp_path / "back", store=store, patience_s=90)
    thread.join()
    assert back.read_bytes() == path.read_bytes()
    # Pieces that had come were not asked for again.
    assert proxy.down < 75 * MB


def test_what_is_wrong_is_said(
    proxy: BreakingProxy, bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    missing = open_store("gs://no-such-bucket-here/p")
    with pytest.raises(BadInput, match="bucket 'no-such-bucket-here' does not exist"):
        missing.check()
    store = open_store(f"gs://{bucket}/p")
    store.check()
    assert list(store.list("")) == []
    with pytest.raises(ArtifactError, match="no such object"):
        store.get_file("g/nothing", tmp_path / "x")
    proxy.refuse()
    begun = time.monotonic()
    with pytest.raises(BadInput, match="does not answer, or the connection to it broke"):
        store.check()
    assert time.monotonic() - begun < 30
    monkeypatch.delenv("STORAGE_EMULATOR_HOST")
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    with pytest.raises(BadInput, match="no credentials found; run `gcloud auth application-default login`"):
        open_store(f"gs://{bucket}/p").check()


@pytest.mark.slow
def test_a_store_that_is_away_may_come_back(proxy: BreakingProxy, bucket: str) -> None:
    store = open_store(f"gs://{bucket}/p")
    proxy.refuse()
    threading.Timer(2.0, proxy.heal).start()
    meta = save(store, "g", "n", {"a": 1}, patience_s=60)
    assert store.exists(meta.key)


def test_a_study(proxy: BreakingProxy, bucket: str, tmp_path: Path) -> None:
    objective = "def saves(task, x):\n    task.upload_artifact('settings', {'x': x})\n    return x\n"
    env = {"STORAGE_EMULATOR_HOST": proxy.endpoint, "ARTIFACT_STORE": f"gs://{bucket}/team"}
    with folder_of(tmp_path, objective) as cli:
        done = cli.start(cli.sweep(objective={"function": "obj:saves"}), **env)
        assert done.returncode == 0, done.stderr + done.stdout
        rows = cli.json("artifacts", "list", **env)
        assert len(rows) == 3
        assert rows[0]["url"].startswith(f"gs://{bucket}/team/s/")
        assert cli("artifacts", "get", rows[0]["task_id"], "settings", "got.json", **env).returncode == 0
        storage = resolve(folder=cli.folder, environment={}).storage_url
        trial = optuna.load_study(study_name="s", storage=storage).trials[0]
        (meta,) = optuna.artifacts.get_all_artifact_meta(trial, storage=optuna.storages.get_storage(storage))
        with artifact_store(env["ARTIFACT_STORE"], "s").open_reader(meta.artifact_id) as reader:
            assert b'"x"' in reader.read()
        assert cli("artifacts", "rm", "--study", "s", "--yes", **env).returncode == 0
        assert list(open_store(env["ARTIFACT_STORE"]).list("")) == []


@pytest.mark.slow
def test_away_for_good(proxy: BreakingProxy, bucket: str, tmp_path: Path) -> None:
    store = open_store(f"gs://{bucket}/p")
    meta = save(store, "g", "n", b"bytes")
    assert fetch(meta, tmp_path / "x").read_bytes() == b"bytes"
    proxy.refuse()
    with pytest.raises(ArtifactStoreUnavailable):
        store.exists(meta.key)
