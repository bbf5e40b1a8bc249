"""What a task's page and those of its artifacts say, without a browser; artifacts lie in a folder and in a real bucket."""

from __future__ import annotations

import gzip
import json
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.dashboard import client_of, site_of
from tests.made_studies import HOSTILE, make_study
from tests.s3server import S3Server
from worker.artifacts import open_store, save
from worker.protocol import Status, Store, keys, new_task_id

DATA = os.urandom((3 << 20) + 11)


class Saved:
    """A study of 12 trials whose first one has artifacts."""

    def __init__(self, store: Store, url: str, folder: Path) -> None:
        self.store = store
        self.tasks = make_study(store, "s", 12, points=30, hostile=True)
        self.task = self.tasks[0]
        record = store.studies.get("s")
        store.studies.save(replace(record, artifacts=url))
        self.files = folder
        self.ids: dict[str, str] = {}
        self.client = client_of(site_of(store, artifacts_url=url))

    def add(self, name: str, filename: str, data: bytes, mimetype: str | None = None, kind: str = "") -> str:
        """Store and list an artifact of the first task; returns its id."""
        path = self.files / f"{len(self.ids)}" / filename
        path.parent.mkdir()
        path.write_bytes(data)
        meta = save(open_store(self.store.studies.get("s").artifacts), "s", name, path, mimetype=mimetype)
        meta = replace(meta, kind=kind) if kind else meta
        self.store.artifacts.add(self.task, None, name, meta.to_json())
        self.ids[name] = meta.artifact_id
        return meta.artifact_id

    def get(self, name: str, end: str = "", method: str = "GET", **headers: str) -> Any:
        """An answer at the address of an artifact."""
        path = f"/tasks/{self.task}/artifacts/{self.ids.get(name, quote(name, safe=''))}{end}"
        given = {key.replace("_", "-"): value for key, value in headers.items()}
        return self.client.request(method, path, headers={"accept": "text/html", **given})


@pytest.fixture(scope="module", params=["folder", "bucket"])
def saved(
    request: pytest.FixtureRequest, page_store: Store, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Saved]:
    folder = tmp_path_factory.mktemp("artifacts")
    with pytest.MonkeyPatch.context() as patch:
        url = f"file://{folder}/store"
        if request.param == "bucket":
            server: S3Server = request.getfixturevalue("s3_server")
            for name, value in server.env().items():
                patch.setenv(name, value)
            server.make_bucket("task-page")
            url = "s3://task-page/here"
        found = Saved(page_store, url, folder)
        found.add("data", "data.bin", DATA)
        found.add("empty", "empty.bin", b"")
        found.add("odd <b>/..", 'x"; filename=evil.exe\r\n.bin', b"odd", kind="file")
        found.add("zwölf 新", "zwölf 新.txt", "zwölf <script>alert(1)</script>\x1b[2J\n".encode())
        found.add("table", "t.csv", b"a,b\n1,<script>alert(2)</script>\n")
        found.add("packed", "t.csv.gz", gzip.compress(b"a,b\n1,2\n"))
        found.add("page", "p.html", b"<script>alert(3)</script><p>hello</p>")
        found.add(
            "drawing", "d.svg", b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(4)</script></svg>"
        )
        found.add("false picture", "p.png", b"<script>alert(5)</script>", mimetype="text/html")
        found.add("plot", "p.plotly.json", json.dumps({"data": [{"y": [1, 2]}]}).encode(), kind="plotly")
        found.add("broken plot", "q.plotly.json", b"[1]", kind="plotly")
        found.add("parquet", "t.parquet", b"PAR1")
        yield found


RANGES: list[tuple[str, int, int, int]] = [
    ("bytes=0-0", 206, 0, 1),
    ("bytes=5-1000000", 206, 5, 1_000_001),
    ("bytes=3145700-", 206, 3_145_700, len(DATA)),
    ("bytes=-7", 206, len(DATA) - 7, len(DATA)),
    ("bytes=10-99999999999", 206, 10, len(DATA)),
    ("bytes=-99999999999", 206, 0, len(DATA)),
    ("bytes=0-1,5-6", 200, 0, len(DATA)),
    ("bytes=9-3", 200, 0, len(DATA)),
    ("lines=1-2", 200, 0, len(DATA)),
    ("bytes=-", 200, 0, len(DATA)),
]


@pytest.mark.parametrize(("text", "status", "first", "end"), RANGES)
def test_ranges(saved: Saved, text: str, status: int, first: int, end: int) -> None:
    answer = saved.get("data", range=text)
    assert answer.status_code == status
    assert answer.content == DATA[first:end]
    assert answer.headers["content-length"] == str(end - first)
    if status == 206:
        assert answer.headers["content-range"] == f"bytes {first}-{end - 1}/{len(DATA)}"


def test_a_download_is_a_file_and_nothing_else(saved: Saved) -> None:
    answer = saved.get("data")
    assert (answer.status_code, answer.content) == (200, DATA)
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["content-type"] == "application/octet-stream"
    assert (
        answer.headers["content-disposition"]
        == "attachment; filename=\"data.bin\"; filename*=UTF-8''data.bin"
    )
    for text in (f"bytes={len(DATA)}-", "bytes=-0"):
        refused = saved.get("data", range=text)
        assert (refused.status_code, refused.headers["content-range"]) == (416, f"bytes */{len(DATA)}")
    head = saved.get("data", method="HEAD")
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(len(DATA)))
    same = saved.get("data", if_none_match=answer.headers["etag"])
    assert (same.status_code, same.content) == (304, b"")
    other = saved.get("data", range="bytes=0-0", if_range='"of-another-file"')
    assert (other.status_code, len(other.content)) == (200, len(DATA))
    empty = saved.get("empty")
    assert (empty.status_code, empty.content, empty.headers["content-length"]) == (200, b"", "0")
    assert saved.get("empty", range="bytes=0-").status_code == 416


@pytest.mark.parametrize("name", ["page", "drawing", "false picture", "zwölf 新", "odd <b>/.."])
def test_nothing_of_a_program_runs_as_ours(saved: Saved, name: str) -> None:
    for end in ("", "/image", "/frame"):
        answer = saved.get(name, end, sec_fetch_dest="document")
        if answer.status_code != 200:
            assert answer.status_code == 404
            continue
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("sandbox; default-src 'none'")
        assert "script-src" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "\n" not in answer.headers["content-disposition"]
        if answer.headers["content-disposition"].startswith("inline"):
            assert answer.headers["content-type"] == "image/svg+xml"
        else:
            assert answer.headers["content-type"] == "application/octet-stream"


def test_odd_names(saved: Saved) -> None:
    odd = saved.get("odd <b>/..")
    assert odd.content == b"odd"
    assert re.search(r'filename="[A-Za-z0-9._ -]*"', odd.headers["content-disposition"])
    assert (
        "filename*=UTF-8''zw%C3%B6lf%20%E6%96%B0.txt" in saved.get("zwölf 新").headers["content-disposition"]
    )
    # By its name, too, however it is called.
    for name in ("odd <b>/..", "zwölf 新"):
        by_name = saved.client.get(
            f"/tasks/{saved.task}/artifacts/{quote(name.replace('/', '~2F'), safe='~')}"
        )
        assert by_name.content == saved.get(name).content


def test_a_frame_has_no_rights(saved: Saved) -> None:
    plain = saved.get("page", "/frame", sec_fetch_dest="iframe")
    assert plain.headers["content-type"].startswith("text/html")
    assert plain.headers["content-security-policy"].startswith("sandbox; default-src 'none'")
    scripts = saved.get("page", "/frame?scripts=1", sec_fetch_dest="iframe")
    policy = scripts.headers["content-security-policy"]
    # Its scripts run at an origin of their own, without a network, forms and addresses of ours.
    assert policy.startswith("sandbox allow-scripts; default-src 'none'")
    assert "allow-same-origin" not in policy
    assert "connect-src" not in policy
    assert "frame-ancestors 'self'" in policy
    shown = saved.get("page", "/page").text
    assert '<iframe class="whole" title="page" sandbox=""' in shown
    assert 'sandbox="allow-scripts"' in saved.get("page", "/page?scripts=1").text
    assert "&lt;script&gt;alert(3)" in saved.get("page", "/page?source=1").text


SHOWN = {
    "table": "<td>&lt;script&gt;alert(2)&lt;/script&gt;</td>",
    "packed": "<th>b</th>",
    "zwölf 新": "zwölf &lt;script&gt;alert(1)&lt;/script&gt;\\x1b[2J",
    "drawing": '/image"',
    "plot": "data-figure=",
    "parquet": "download it",
    "false picture": "<iframe",
    "data": "isn't shown; download it",
}


@pytest.mark.parametrize("name", SHOWN)
def test_what_a_page_shows(saved: Saved, name: str) -> None:
    answer = saved.get(name, "/page")
    assert answer.status_code == 200
    assert SHOWN[name].replace("'", "&#39;") in answer.text or SHOWN[name] in answer.text
    assert "<script>alert" not in answer.text


def test_plots(saved: Saved) -> None:
    assert saved.get("plot", "/figure").json() == {"data": [{"y": [1, 2]}], "layout": {}}
    broken = saved.get("broken plot", "/figure", accept="application/json")
    assert broken.status_code == 404
    assert "no plot of Plotly" in broken.json()["error"]


def test_bytes_that_are_gone(saved: Saved) -> None:
    identifier = saved.add("lost", "lost.txt", b"soon gone")
    open_store(saved.store.studies.get("s").artifacts).delete(f"s/{identifier}")
    for end in ("", "/page", "/image", "/frame", "/figure"):
        answer = saved.get("lost", end)
        assert answer.status_code == (200 if end == "/page" else 404 if end in ("/image", "/frame") else 410)
        assert "text/html" in answer.headers["content-type"]
    page = saved.get("lost", "/page").text
    assert "bytes of artifact &#39;lost&#39; are gone" in page
    unknown = saved.get("never was", "/page")
    assert unknown.status_code == 404
    assert "has no artifact &#39;never was&#39;" in unknown.text


def test_an_artifact_elsewhere_is_left_alone(saved: Saved) -> None:
    """A worker may say of anything that it is its artifact: another study's, a file of this machine."""
    (text,) = [saved.store.artifacts.of_task(saved.task)["data"]]
    for name, changes in (
        ("theirs", {"key": "other/7c9e6679-7425-40de-944b-e07fc1f90ae7"}),
        ("up", {"key": "s/../x"}),
    ):
        saved.store.artifacts.add(
            saved.task, None, name, json.dumps({**json.loads(text), "name": name, **changes})
        )
        saved.ids[name] = json.loads(text)["artifact_id"]
        answer = saved.client.get(f"/tasks/{saved.task}/artifacts/{name}", headers={"accept": "text/html"})
        assert answer.status_code == 502
        assert "left alone" in answer.text
        saved.store.artifacts.remove(saved.task, None, [name])


def test_the_page_of_a_task(saved: Saved) -> None:
    for place, task_id in enumerate(saved.tasks):
        answer = saved.client.get(f"/tasks/{task_id}")
        assert answer.status_code == 200
        assert f"Trial {place}" in answer.text
        for odd in ("<script>alert(1)", "<img src=x", '"onload="x', "49", "\x1b", "\u202e"):
            assert odd not in answer.text.replace('max="1" value=', "") or odd == "49"
    first = saved.client.get(f"/tasks/{saved.task}").text
    assert "1e-05 to 0.1, on a log scale" in first
    assert "1 to 8, whole numbers" in first
    assert "&#34;sgd&#34;, &#34;adam&#34;" in first
    assert 'rel="prev"' not in first
    assert f'rel="next" href="/tasks/{saved.tasks[1]}"' in first
    failed = saved.client.get(f"/tasks/{saved.tasks[9]}").text
    assert "objective_error" in failed
    assert "Traceback (most recent call last)" in failed
    # Each part by itself, as the page fetches it again.
    for part in ("top", "bottom"):
        answer = saved.client.get(f"/tasks/{saved.task}?part={part}")
        assert answer.status_code == 200
        assert "<html" not in answer.text
    assert "Attempts" in answer.text


def test_an_unknown_task(saved: Saved) -> None:
    for path in (
        f"/tasks/{'0' * 32}",
        "/tasks/x%20%3Cb%3E",
        f"/tasks/{'0' * 32}/artifacts/x",
        f"/tasks/{'0' * 32}/log",
    ):
        answer = saved.client.get(path, headers={"accept": "text/html"})
        assert answer.status_code == 404
        assert "no task" in answer.text
        assert "<b>" not in answer.text


def test_curves(saved: Saved) -> None:
    url = f"/tasks/{saved.task}/curves?metric=loss%2Fvalidation"
    figure = saved.client.get(url).json()
    assert figure["data"][0]["x"] == [float(number) for number in range(30)]
    assert figure["layout"]["xaxis"]["title"]["text"] == "iteration"
    timed = saved.client.get(f"{url}&by_time=1&log=1").json()
    assert timed["data"][0]["x"][-1] == pytest.approx(29 * 9 / 30 / 60, abs=0.01)
    assert timed["layout"]["yaxis"]["type"] == "log"
    assert saved.client.get(f"/tasks/{saved.task}/curves?metric=none").status_code == 404
    # What is reported later is there with the next question.
    batch = json.dumps(["late", [["loss/validation", 30, 0.5, 1_800_000_009.5]]])
    saved.store.redis.rpush(keys.series(saved.task), batch)
    assert len(saved.client.get(url).json()["data"][0]["x"]) == 31
    saved.store.redis.rpop(keys.series(saved.task))


def test_the_machines_resources(saved: Saved) -> None:
    task_id = saved.tasks[2]
    names = [":monitor:machine/cpu_usage", ":monitor:machine/process_cpu_usage", ":monitor:machine/memory_free_gb",
             ":monitor:gpu/0/utilization", ":monitor:gpu/0/memory_used_gb"]  # fmt: skip
    for name in names:
        title, _, series = name.rpartition("/")
        saved.store.redis.hset(keys.scalars(task_id), name, json.dumps([title, series, 1, 1, 5, 2, 1, 2]))
    points = [[name, step, 10.0 * step, 1_800_000_020.1 + 60 * step] for name in names for step in (0, 1)]
    saved.store.redis.rpush(keys.series(task_id), json.dumps(["m", points]))
    page = saved.client.get(f"/tasks/{task_id}").text
    assert [found for found in re.findall("<figcaption>(.*?)</figcaption>", page) if found != "loss"] == [
        "CPU", "GPU 0 memory", "GPU 0 use",
    ]  # fmt: skip
    url = f"/tasks/{task_id}/curves?metric={quote(names[0], safe='')}&metric={quote(names[1], safe='')}"
    figure = saved.client.get(url).json()
    assert [trace["name"] for trace in figure["data"]] == ["cpu_usage", "process_cpu_usage"]
    assert figure["data"][0]["x"] == [0.0, 1.0]
    assert figure["layout"]["yaxis"]["title"]["text"] == "percent"


def test_output(saved: Saved) -> None:
    task_id = saved.tasks[6]
    url = f"/tasks/{task_id}/log"
    found = saved.client.get(url).json()
    assert found["lines"][0] == [["red", "f1"]]
    page = saved.client.get(f"/tasks/{task_id}").text
    assert '<span class="f1">red</span>' in page
    saved.store.redis.append(keys.log(task_id), b"\x1b[1mmore</div><script>\nhalf")
    more = saved.client.get(f"{url}?from={found['next']}&style={found['style']}").json()
    assert more["lines"] == [[["more</div><script>", "b"]]]
    assert more["rest"] == [["half", "b"]]
    assert saved.client.get(f"{url}?until={found['next']}").json()["lines"] == found["lines"]
    for wrong in ("x", "-1", "1e3", "9" * 30, "²"):
        assert saved.client.get(f"{url}?from={wrong}").status_code == 400
    whole = saved.client.get(f"/tasks/{task_id}/log.txt")
    assert whole.content == saved.store.logs.raw(task_id)
    assert whole.headers["content-disposition"].startswith("attachment")
    assert whole.headers["content-security-policy"].startswith("sandbox")


def test_a_task_that_names_a_study_that_does_not_list_it(saved: Saved) -> None:
    """Workers write records: a false name gives no right to a study's artifacts."""
    record = saved.store.tasks.get(saved.task)
    saved.store.tasks.create(replace(record, id=new_task_id(), study="", status=Status.CREATED))
    stray = saved.store.tasks.base_tasks()[0]
    saved.store.redis.hset(keys.task(stray), "study", "s")
    saved.store.artifacts.add(stray, None, "data", saved.store.artifacts.of_task(saved.task)["data"])
    answer = saved.client.get(f"/tasks/{stray}")
    assert answer.status_code == 200
    assert "/studies/s" not in answer.text


def test_a_study_has_artifacts_of_its_own(saved: Saved) -> None:
    path = saved.files / "report.txt"
    path.write_text("the report")
    meta = save(open_store(saved.store.studies.get("s").artifacts), "s", "report", path)
    saved.store.artifacts.add_to_study("s", "report", meta.to_json())
    assert "report.txt" in saved.client.get("/studies/s/artifacts").text
    assert saved.client.get(f"/studies/s/artifacts/{meta.artifact_id}").content == b"the report"
    assert "the report" in saved.client.get("/studies/s/artifacts/report/page").text
    assert saved.client.get("/studies/none/artifacts").status_code == 404


def test_it_works_behind_a_prefix(saved: Saved) -> None:
    client = client_of(site_of(saved.store), prefix="/hpo")
    text = client.get(f"/hpo/tasks/{saved.task}").text
    for address in re.findall(r'(?:href|src|data-live|data-figure|data-log)="(/[^"]*)"', text):
        assert address.startswith("/hpo/"), address
    assert HOSTILE[0] not in text


def test_an_objective_written_for_optuna(page_store: Store, tmp_path: Path) -> None:
    """What it asked for as it ran, and what it saved by Optuna's own means, stands in Optuna's storage."""
    import optuna

    storage = f"sqlite:///{tmp_path}/o.db"
    study = optuna.create_study(storage=storage, study_name="asked")
    trial = study.ask()
    value = trial.suggest_float("x", 0.5, 2.0, log=True)
    (tmp_path / "notes.txt").write_text("by Optuna")
    store = optuna.artifacts.FileSystemArtifactStore(base_path=tmp_path)
    identifier = optuna.artifacts.upload_artifact(
        artifact_store=store,
        file_path=str(tmp_path / "notes.txt"),
        study_or_trial=trial,
        storage=study._storage,
    )
    place = tmp_path / "store" / "asked" / identifier
    place.parent.mkdir(parents=True)
    (tmp_path / identifier).rename(place)
    (task_id,) = make_study(page_store, "asked", 1)
    record = page_store.studies.get("asked")
    page_store.studies.save(replace(record, storage=storage, sweep={}, artifacts=f"file://{tmp_path}/store"))
    task = page_store.tasks.get(task_id)
    spec = replace(
        task.spec, objective={"kind": "optuna", "target": "m:f"}, parameters={"x": value}, searched=()
    )
    page_store.redis.hset(keys.task(task_id), "spec", spec.encode())
    client = client_of(page_store)
    text = client.get(f"/tasks/{task_id}").text
    assert "0.5 to 2.0, on a log scale" in text
    assert "notes.txt" in text
    assert client.get(f"/tasks/{task_id}/artifacts/{identifier}").content == b"by Optuna"
    assert "by Optuna" in client.get(f"/tasks/{task_id}/artifacts/{identifier}/page").text
    # Optuna's storage is away: the page is there without it.
    page_store.studies.save(replace(record, storage=f"sqlite:///{tmp_path}/none.db", sweep={}))
    assert client.get(f"/tasks/{task_id}").status_code == 200
