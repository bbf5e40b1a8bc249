"""A task's page in a real browser: it follows a running task, draws, shows artifacts from a bucket, by keyboard."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.dashboard import Served, served, site_of, tab
from tests.e2e.harness import wait_for
from tests.fakes import LOSS
from tests.made_studies import PARAMETERS, make_study
from tests.s3server import S3Server
from worker.artifacts import open_store, save
from worker.protocol import (
    Batch,
    Point,
    Reason,
    Status,
    Store,
    StudyRecord,
    Summary,
    TaskRecord,
    TaskSpec,
    new_task_id,
)

pytestmark = pytest.mark.slow

URL = "s3://task-browser/here"


class Running:
    """A task that runs, as its slot writes it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.summary = Summary.of("loss", "")
        self.seq = 0
        self.task = TaskRecord(
            id=new_task_id(),
            name="t",
            study="live",
            trial=0,
            created_at=time.time(),
            status=Status.QUEUED,
            spec=TaskSpec(
                objective={"kind": "command", "argv": ["./train", "--lr={lr}"]},
                parameters={"lr": 0.01},
                searched=("lr",),
                metrics=(LOSS,),
                artifacts=URL,
            ),
        )
        store.tasks.create(self.task)
        self.task = store.transitions.start(self.task.id, 1, "node/0")

    def report(self, value: float) -> None:
        self.seq += 1
        self.summary = self.summary.add(value, self.seq)
        point = Point(title="loss", series="", value=value, iteration=self.seq, at=time.time())
        self.store.reports.add(
            self.task, Batch(seq=self.seq, points=[point], summaries={"loss": self.summary})
        )

    def prints(self, text: str) -> None:
        self.store.logs.append(self.task.id, 1, text.encode())

    def saves(self, name: str, path: Path, kind: str = "") -> str:
        meta = save(open_store(URL), "live", name, path)
        meta = replace(meta, kind=kind) if kind else meta
        self.store.artifacts.add(self.task.id, 1, name, meta.to_json())
        return meta.artifact_id


@pytest.fixture(scope="module")
def page_of(page_store: Store, s3_server: S3Server) -> Iterator[Served]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3_server.env().items():
            patch.setenv(name, value)
        s3_server.make_bucket("task-browser")
        page_store.studies.save(
            StudyRecord(
                name="live", created_at=time.time(), metrics=(LOSS,), artifacts=URL,
                sweep={"parameters": PARAMETERS, "objective": {"command": ["./train"]}},
            )
        )  # fmt: skip
        with served(site_of(page_store, allow_actions=True)) as found:
            yield found


@pytest.fixture(scope="module")
def running(page_store: Store, page_of: Served) -> Running:
    return Running(page_store)


def expect(what: Any) -> Any:
    from playwright.sync_api import expect

    expect.set_options(timeout=30_000)
    return expect(what)


def test_it_follows_a_running_task(browser: Any, page_of: Served, running: Running, tmp_path: Path) -> None:
    running.prints("\x1b[32mbegins\x1b[0m\n 10%\r 20%")
    with tab(browser, page_of) as open_tab:
        page = open_tab.open(f"/tasks/{running.task.id}")
        log = page.get_by_role("log")
        expect(page.locator(".state").first).to_have_text("in progress")
        expect(log.locator(".f2")).to_have_text("begins")
        expect(log.locator("#rest")).to_have_text("20%")
        # Output, with what a program may print instead of text; the curve appears, and grows.
        running.prints("\r100%\n<img src=x onerror=alert(1)>\x1b[2J\n")
        expect(log).to_contain_text("<img src=x onerror=alert(1)>\\x1b[2J")
        expect(log).to_contain_text("100%")
        expect(log).not_to_contain_text("20%")
        running.report(3.0)
        running.report(2.0)
        drawn = page.locator("figure [data-figure*='metric=loss']")
        page.locator("#curves").scroll_into_view_if_needed()
        expect(drawn).to_have_attribute("data-drawn", "")

        def points() -> int:
            return int(drawn.evaluate("figure => figure.data[0].x.length"))

        assert points() == 2
        running.report(1.0)
        wait_for(lambda: points() == 3, "the third point of the curve")
        expect(page.get_by_role("row", name="loss")).to_contain_text("1")
        # Smoothed and on a logarithmic axis, also what comes after that; the address keeps it.
        form = page.get_by_role("form", name="Curves")
        form.get_by_label("Smooth").fill("0.9")
        form.get_by_label("log y").check()
        last = "figure => [figure.data[0].y.length, figure.data[0].y.at(-1) > 1.5, figure.layout.yaxis.type]"
        wait_for(lambda: drawn.evaluate(last) == [3, True, "log"], "a smooth curve on a logarithmic axis")
        running.report(0.5)
        wait_for(lambda: drawn.evaluate(last) == [4, True, "log"], "the same of the fourth point")
        page.reload()
        wait_for(lambda: drawn.evaluate(last) == [4, True, "log"], "the same again")
        form.get_by_label("over time").check()
        page.wait_for_url("**by_time=1**")
        wait_for(lambda: "minutes" in drawn.evaluate("figure => figure.layout.xaxis.title.text"), "minutes")
        # Many lines: the end is seen, unless a person looks at the beginning.
        running.prints("".join(f"line {number}\n" for number in range(300)))
        expect(log).to_contain_text("line 299")
        assert log.evaluate("log => log.scrollHeight - log.scrollTop - log.clientHeight") < 24
        log.evaluate("log => log.scrollTop = 0")
        expect(page.get_by_label("follow")).not_to_be_checked()
        running.prints("the last\n")
        expect(log).to_contain_text("the last")
        assert log.evaluate("log => log.scrollTop") == 0
        # Its end, with a traceback.
        running.store.transitions.finish(
            running.task.id, 1, Status.FAILED, worker="node/0", reason_class=Reason.OBJECTIVE_ERROR,
            reason="ValueError: <b>", error="Traceback (most recent call last):\n  <script>alert(1)</script>",
        )  # fmt: skip
        expect(page.locator(".state").first).to_have_text("failed")
        expect(page.locator(".traceback")).to_contain_text("<script>alert(1)</script>")


def test_earlier_output_and_keys(browser: Any, page_of: Served, page_store: Store) -> None:
    tasks = make_study(page_store, "keys", 3, points=5)
    page_store.redis.append(
        f"orq:task:{tasks[1]}:log", "".join(f"row {number}\n" for number in range(20_000))
    )
    with tab(browser, page_of) as open_tab:
        page = open_tab.open(f"/tasks/{tasks[1]}")
        log = page.get_by_role("log")
        expect(log).to_contain_text("row 19999")
        assert "row 9999\n" not in log.inner_text()
        first = "log => log.querySelector('.part > div').textContent"
        before = log.evaluate(first)
        page.keyboard.press("e")
        wait_for(lambda: log.evaluate(first) != before, "earlier output")
        assert not page.get_by_label("follow").is_checked()
        page.keyboard.press("f")
        assert page.get_by_label("follow").is_checked()
        page.keyboard.press("o")
        assert page.evaluate("document.activeElement.id") == "log"
        page.keyboard.press("n")
        expect(page).to_have_url(f"{page_of.url}/tasks/{tasks[2]}")
        expect(page.get_by_role("heading", name="Trial 2")).to_be_visible()
        page.keyboard.press("p")
        expect(page).to_have_url(f"{page_of.url}/tasks/{tasks[1]}")
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        page.get_by_role("button", name="copy").first.click()
        expect(page.locator("#banner")).to_have_text("Copied.")
        copied = page.evaluate("navigator.clipboard.readText()")
        assert copied == f"controller reproduce {tasks[1]}"
        # Deleted meanwhile: the page keeps what it showed, and says so.
        open_tab.check()
        page_store.studies.delete("keys")
        expect(page.locator("#banner")).to_contain_text("no task")
        expect(page.get_by_role("heading", name="Trial 1")).to_be_visible()
        wait_for(lambda: open_tab.problems, "the answers that there is no such task")
        page.goto("about:blank")
        assert all("404" in problem for problem in open_tab.problems)
        open_tab.problems.clear()


def test_artifacts_from_a_bucket(browser: Any, page_of: Served, running: Running, tmp_path: Path) -> None:
    from PIL import Image

    pictures = io.BytesIO()
    Image.new("RGB", (60, 40), "red").save(pictures, "PNG")
    svg = "<svg xmlns='http://www.w3.org/2000/svg' width='30' height='20'><script>top.document.title='taken'</script></svg>"
    html = (
        "<p id=p>hello</p><script>document.getElementById('p').textContent = 'ran';"
        "try { top.document.title = 'taken'; } catch {}"
        "fetch('/').then(() => document.body.append('fetched'), () => document.body.append('refused'));</script>"
    )
    figure = {"data": [{"type": "bar", "x": [1, 2], "y": [3, 4]}], "layout": {}}
    again = Running(running.store)
    ids = {}
    for name, data, kind in [
        ("picture.png", pictures.getvalue(), ""),
        ("drawing.svg", svg.encode(), ""),
        ("page.html", html.encode(), ""),
        ("table.csv", b"a,b\n1,<b>two</b>\n", ""),
        ("bars.plotly.json", json.dumps(figure).encode(), "plotly"),
        ("model.bin", bytes(1 << 20), ""),
    ]:
        (tmp_path / name).write_bytes(data)
        ids[name] = again.saves(name, tmp_path / name, kind)
    place = f"/tasks/{again.task.id}"
    listed = again.store.artifacts.of_task(again.task.id)["model.bin"]
    with tab(browser, page_of) as open_tab:
        page = open_tab.open(place)
        for name, width in (("picture.png", 60), ("drawing.svg", 30)):
            image = page.get_by_role("img", name=name)
            image.scroll_into_view_if_needed()
            wait_for(lambda image=image, width=width: image.evaluate("i => i.naturalWidth") == width, name)
        # What is read again leaves in place what stays.
        page.evaluate("document.querySelector('.gallery img').mine = 'kept'")
        again.store.artifacts.remove(again.task.id, 1, ["model.bin"])
        expect(page.get_by_role("row", name="model.bin")).to_have_count(0)
        assert page.evaluate("document.querySelector('.gallery img').mine") == "kept"
        again.store.artifacts.add(again.task.id, 1, "model.bin", listed)
        bars = page.locator(f"[data-figure*='{ids['bars.plotly.json']}']")
        bars.scroll_into_view_if_needed()
        expect(bars).to_have_attribute("data-drawn", "")
        with page.expect_download() as download:
            page.get_by_role("row", name="model.bin").get_by_role("link", name="download").click()
        assert Path(download.value.path()).read_bytes() == bytes(1 << 20)
        assert download.value.suggested_filename == "model.bin"
        page = open_tab.open(f"{place}/artifacts/{ids['table.csv']}/page")
        expect(page.get_by_role("cell", name="<b>two</b>")).to_be_visible()
        # A page among the artifacts: without its scripts, then with them, and cut off both times.
        page = open_tab.open(f"{place}/artifacts/{ids['page.html']}/page")
        inside = page.frame_locator("iframe")
        expect(inside.locator("p")).to_have_text("hello")
        open_tab.problems = [one for one in open_tab.problems if "sandboxed" not in one]
        page.get_by_role("switch", name="run its scripts").click()
        expect(inside.locator("p")).to_have_text("ran")
        expect(inside.locator("body")).to_contain_text("refused")
        assert page.title().startswith("page.html")
        assert page.frames[1].evaluate("self.origin") == "null"
        open_tab.problems = [
            one
            for one in open_tab.problems
            if "Content Security Policy" not in one and "cookie" not in one.lower()
        ]
        # Stopped from the page: asked first, then its slot does it.
        page = open_tab.open(place)
        page.on("dialog", lambda dialog: dialog.accept())
        page.get_by_role("button", name="Stop").click()
        expect(page.locator(".why")).to_contain_text("asked to stop: stopped by hand")
        stop = again.store.tasks.get(again.task.id).stop
        assert stop is not None
        assert stop.reason_class is Reason.USER
        # The bytes are gone: the page says so.
        open_store(URL).delete(f"live/{ids['model.bin']}")
        page = open_tab.open(f"{place}/artifacts/{ids['model.bin']}/page")
        expect(page.get_by_role("alert")).to_contain_text("are gone")


def test_a_phone_and_the_dark(browser: Any, page_of: Served, page_store: Store) -> None:
    tasks = make_study(page_store, "phone", 10, points=5, hostile=True)
    for colors in ("light", "dark"):
        with tab(browser, page_of, viewport={"width": 360, "height": 740}, color_scheme=colors) as open_tab:
            page = open_tab.open(f"/tasks/{tasks[9]}")
            expect(page.get_by_role("heading", name="Trial 9")).to_be_visible()
            assert page.evaluate("document.documentElement.scrollWidth") <= 360
            assert page.title() != "taken"
