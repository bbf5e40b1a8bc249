"""`controller dashboard`, by HTTP and in a real browser."""

from __future__ import annotations

import json
import os
import signal
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import optuna
import pytest

from controller.commands.settings import resolve
from tests.e2e.cli import Cli, folder_of
from tests.e2e.harness import started, wait_for
from tests.s3server import S3Server
from worker.trials.storage import open_storage

OBJECTIVES = """
from pathlib import Path
import numpy
from PIL import Image
def saves(task, x):
    task.upload_artifact("notes", b"<script>alert(1)</script>")
    Path(task.id).mkdir()
    page = Path(task.id, "structure.txt")
    page.write_text(f"structure of trial {task.trial_number}")
    task.upload_artifact("structure", page)
    task.upload_artifact("picture", Image.fromarray(numpy.full((40, 60, 3), 200, dtype="uint8")))
    return x
"""


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    with folder_of(tmp_path, OBJECTIVES) as found:
        yield found


def run_study(cli: Cli, **env: str) -> optuna.Study:
    done = cli.start(cli.sweep(objective={"function": "obj:saves"}, budget={"max_trials": 2}), **env)
    assert done.returncode == 0, done.stderr + done.stdout
    return optuna.load_study(study_name="s", storage=resolve(folder=cli.folder, environment={}).storage_url)


@dataclass
class Shown:
    """A `controller dashboard` that runs."""

    url: str
    """What it has printed, with the token."""

    def __post_init__(self) -> None:
        self.base = "{0.scheme}://{0.netloc}".format(urlsplit(self.url))
        self.token = urlsplit(self.url).query.removeprefix("token=")

    def ask(self, path: str, method: str = "GET", body: Any = None, **headers: str) -> tuple[int, bytes, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data=data, method=method)
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json", **headers}
        for name, value in headers.items():
            request.add_header(name, value)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.read(), answer.headers
        except urllib.error.HTTPError as error:
            return error.code, error.read(), error.headers


@contextmanager
def dashboard(cli: Cli, *options: str, **env: str) -> Iterator[Shown]:
    log = cli.folder / "dashboard.log"
    log.unlink(missing_ok=True)
    with started(
        "controller", "dashboard", *options, "--port", "0", cwd=cli.folder, log=log, **env
    ) as process:
        line = wait_for(
            lambda: next((one for one in log.read_text().splitlines() if one.startswith("dashboard: ")), ""),
            "the dashboard's address",
        )
        assert line.startswith("dashboard: http://127.0.0.1:")
        yield Shown(line.split()[1])
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(60) == 0
        assert log.read_text().splitlines()[-1] == "dashboard: ended"
        assert "Traceback" not in log.read_text()


def test_it_shows_and_changes_nothing(cli: Cli) -> None:
    study = run_study(cli)
    trial = study.trials[0]
    metas = {
        meta.filename: meta for meta in optuna.artifacts.get_all_artifact_meta(trial, storage=study._storage)
    }
    with dashboard(cli, "s") as shown:
        assert shown.url.startswith(f"{shown.base}/studies/s?token=")
        assert shown.ask("/studies/s")[0] == 200
        assert shown.ask("/studies/s", Authorization="")[0] == 401
        assert shown.ask("/optuna/api/studies", Authorization="Bearer x")[0] == 401
        status, body, _ = shown.ask(f"/optuna/api/studies/{study._study_id}?after=0")
        assert status == 200
        assert len(json.loads(body)["trials"]) == 2
        for filename, text in (
            ("structure.txt", b"structure of trial 0"),
            ("notes.bin", b"<script>alert(1)</script>"),
        ):
            place = f"/optuna/artifacts/{study._study_id}/{trial._trial_id}/{metas[filename].artifact_id}"
            status, body, headers = shown.ask(place)
            assert (status, body) == (200, text)
            # What a task has saved can't act as the dashboard, and other sites can't read it.
            assert headers["Content-Security-Policy"] == "sandbox"
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["Access-Control-Allow-Origin"] is None
        assert shown.ask(f"/optuna/artifacts/{study._study_id}/{trial._trial_id}/{'0' * 8}")[0] == 404
        for method, path, data in [
            ("POST", "/api/studies", {"study_name": "new", "directions": ["minimize"]}),
            ("POST", f"/api/studies/{study._study_id}/rename", {"study_name": "other"}),
            ("DELETE", f"/api/studies/{study._study_id}", None),
            ("PUT", f"/api/studies/{study._study_id}/note", {"body": "x", "version": 1}),
            (
                "DELETE",
                f"/api/artifacts/{study._study_id}/{trial._trial_id}/{metas['notes.bin'].artifact_id}",
                None,
            ),
        ]:
            status, body, _ = shown.ask(f"/optuna{path}", method, data)
            assert status == 403, (method, path)
            assert "--allow-changes" in json.loads(body)["error"]
        # A name of somebody else's that leads here.
        assert shown.ask("/optuna/api/studies", Host="evil.example")[0] == 403
        assert shown.ask("/optuna/api/studies", Host="localhost:1")[0] == 200
        assert len(optuna.get_all_study_names(study._storage)) == 1


def test_changes_when_they_are_allowed(cli: Cli) -> None:
    study = run_study(cli)
    trial = study.trials[0]
    meta = optuna.artifacts.get_all_artifact_meta(trial, storage=study._storage)[0]
    with dashboard(cli, "--allow-changes") as shown:
        new = {"study_name": "new", "directions": ["minimize"]}
        assert shown.ask("/optuna/api/studies", "POST", new, Origin="http://evil.example")[0] == 403
        assert shown.ask("/optuna/api/studies", "POST", new, Origin=shown.base)[0] == 201
        status, body, _ = shown.ask(
            f"/optuna/api/artifacts/{study._study_id}/{trial._trial_id}/{meta.artifact_id}", "DELETE"
        )
        # A finished trial keeps its link, says Optuna; whatever the answer, nothing of ours breaks.
        assert status in (204, 400, 404, 500), body
    assert "new" in optuna.get_all_study_names(study._storage)
    assert len(cli.json("artifacts", "list")) == 6


def test_artifacts_in_a_bucket(cli: Cli, s3_server: S3Server) -> None:
    s3_server.make_bucket("dashboard")
    study = run_study(cli, ARTIFACT_STORE="s3://dashboard/here", **s3_server.env())
    trial = study.trials[1]
    metas = {
        meta.filename: meta for meta in optuna.artifacts.get_all_artifact_meta(trial, storage=study._storage)
    }
    # Where they are stands in the study's record.
    with dashboard(cli, **s3_server.env()) as shown:
        identifier = metas["structure.txt"].artifact_id
        place = f"/optuna/artifacts/{study._study_id}/{trial._trial_id}/{identifier}"
        assert shown.ask(place)[:2] == (200, b"structure of trial 1")


def test_mistakes(cli: Cli) -> None:
    nothing = cli("dashboard", "--port", "0")
    assert nothing.returncode == 2
    assert "no such file" in nothing.stderr
    run_study(cli)
    unknown = cli("dashboard", "other", "--port", "0")
    assert unknown.returncode == 2
    assert "no study 'other' in this Redis; there are: s" in unknown.stderr
    with socket.create_server(("127.0.0.1", 0)) as taken:
        refused = cli("dashboard", "--port", str(taken.getsockname()[1]))
    assert refused.returncode == 2
    assert "can't listen on 127.0.0.1" in refused.stderr
    assert refused.stderr.strip().endswith("Address already in use; --port 0 takes one that is free")
    for done in (nothing, unknown, refused):
        assert "Traceback" not in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1


def see_artifacts(page: Any, base: str) -> None:
    """A trial's files are listed, and its picture is drawn, not just named."""
    from playwright.sync_api import expect

    page.goto(f"{base}/optuna/dashboard/studies/1/trials")
    expect(page.get_by_text("structure.txt").first).to_be_visible(timeout=30_000)
    expect(page.get_by_text("notes.bin").first).to_be_visible()
    picture = page.locator("img[src*='/artifacts/']").first
    expect(picture).to_be_visible(timeout=30_000)
    wait_for(lambda: picture.evaluate("image => image.naturalWidth") == 60, "the picture", 20)
    assert picture.evaluate("image => image.naturalHeight") == 40


@pytest.mark.slow
def test_a_browser_sees_a_tasks_artifact_in_optuna_dashboard(cli: Cli, browser: Any) -> None:
    from playwright.sync_api import expect

    run_study(cli)
    page = browser.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("response", lambda answer: problems.append(answer.url) if answer.status >= 400 else None)
    for options in ((), ("--allow-changes", "--prefix", "/hpo")):
        with dashboard(cli, *options) as shown:
            page.goto(shown.url)
            page.get_by_role("link", name="Optuna", exact=True).click()
            expect(page.get_by_role("link", name="Compare")).to_be_visible(timeout=30_000)
            # What would be refused is not offered.
            for control in ("[data-testid='AddBoxIcon']", "[aria-label='delete study']"):
                expect(page.locator(control).first).to_be_visible(visible=bool(options))
            see_artifacts(page, shown.base + ("/hpo" if options else ""))
            page.goto("about:blank")
    page.close()
    assert problems == [], "\n".join(problems)


def test_redis_and_studies_that_come_later(cli: Cli) -> None:
    """A page that was opened first shows what `controller start` makes in its folder."""
    storage = f"journal://{cli.folder}/other.journal"
    optuna.create_study(storage=open_storage(storage), study_name="elsewhere")
    with dashboard(cli, "--storage", storage) as shown:
        status, body, _ = shown.ask("/", Accept="text/html")
        assert status == 503
        assert b"there is no .optuna-rq/" in body
        assert b"comes back by itself" in body
        assert b"elsewhere" in shown.ask("/optuna/api/studies")[1]
        run_study(cli)
        status, body, _ = shown.ask("/studies/s")
        assert status == 200
        assert b"completed" in body
