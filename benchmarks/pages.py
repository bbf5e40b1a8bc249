"""The server's time for the pages of a large study, beside optuna-dashboard's on the same one."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path
from urllib.parse import urlsplit

import redis

from benchmarks.rows import Row
from benchmarks.studies import BIN, redis_server
from tests.made_studies import make_study
from worker.protocol import Store

LIMIT_MS = 300.0
PAGES = {
    "all studies": "/",
    "a study's page": "/studies/bench",
    "its table of trials": "/studies/bench/trials",
    "the same, filtered and sorted": "/studies/bench/trials?where=lr+%3C+0.01&sort=lr",
    "its workers": "/workers",
}
ASKS = 5
"""Of each page in one run, after the first, which fills what servers keep."""


class Page:
    """`controller dashboard` over a Redis and a storage, asked as a browser asks."""

    def __init__(self, folder: Path, redis_url: str, storage: str) -> None:
        (folder / "token").write_text("a-token-for-the-benchmark")
        self._output = (folder / "dashboard.log").open("w+")
        begun = time.perf_counter()
        self._process = subprocess.Popen(
            [BIN / "controller", "dashboard", "--port", "0", "--token-file", "token"],
            cwd=folder,
            env={**os.environ, "REDIS_URL": redis_url, "OPTUNA_STORAGE": storage},
            stdout=self._output,
            stderr=subprocess.STDOUT,
        )
        address = self._address(folder / "dashboard.log")
        self.start_ms = (time.perf_counter() - begun) * 1000
        self._connection = http.client.HTTPConnection(address, timeout=120)

    def _address(self, log: Path) -> str:
        while True:
            if found := re.search(r"dashboard: (http://\S+)", log.read_text()):
                return urlsplit(found[1]).netloc
            if self._process.poll() is not None:
                raise RuntimeError(f"controller dashboard has ended:\n{log.read_text()}")
            time.sleep(0.01)

    def ask(self, path: str) -> tuple[int, bytes, float]:
        """Status, body and milliseconds."""
        headers = {"Authorization": "Bearer a-token-for-the-benchmark", "Accept": "text/html"}
        begun = time.perf_counter()
        self._connection.request("GET", path, headers=headers)
        answer = self._connection.getresponse()
        body = answer.read()
        return answer.status, body, (time.perf_counter() - begun) * 1000

    def end(self) -> None:
        self._connection.close()
        self._process.send_signal(signal.SIGINT)
        self._process.wait(30)
        self._output.close()


@contextlib.contextmanager
def page_of(trials: int, points: int) -> Iterator[Page]:
    with tempfile.TemporaryDirectory(prefix="bench-") as name, redis_server(Path(name)) as url:
        folder = Path(name)
        storage = f"sqlite:///{folder}/optuna.db"
        store = Store(redis.Redis.from_url(url, decode_responses=True))
        make_study(store, "bench", trials, points=points, storage=storage)
        page = Page(folder, url, storage)
        try:
            yield page
        finally:
            page.end()


def rows(runs: int, quick: bool, say: Callable[[str], None]) -> list[Row]:
    trials, points = (100, 10) if quick else (10_000, 20)
    say(f"writing a study of {trials} trials")
    times: dict[str, list[float]] = {}
    with page_of(trials, points) as page:
        asked = {label: path for label, path in PAGES.items() if page.ask(path)[0] == 200}
        figures = _figures(page)
        for number in range(runs):
            say(f"run {number + 1} of {runs}: pages")
            for label, path in asked.items():
                times.setdefault(label, []).append(_median(page, path))
            for path in figures:
                times.setdefault(path, []).append(_median(page, path))
            times.setdefault("optuna-dashboard", []).append(_median(page, "/optuna/api/studies/1"))
    found = {label: statistics.median(values) for label, values in times.items()}
    made = [
        Row(
            name=f"{label}, {trials} trials, server's ms (reference: the limit)",
            ours=found[label],
            reference=LIMIT_MS,
            sense="<=",
            aim=1,
        )
        for label in asked
    ]
    if figures:
        slowest = max(figures, key=lambda path: found[path])
        made.append(
            Row(
                name=f"its slowest figure, {trials} trials, server's ms (reference: the limit)",
                ours=found[slowest],
                reference=LIMIT_MS,
                sense="<=",
                aim=1,
            )
        )
        say(f"the slowest figure is {slowest}")
    made.append(
        Row(
            name=f"a study's page, {trials} trials, server's ms (reference: optuna-dashboard's)",
            ours=found["a study's page"],
            reference=found["optuna-dashboard"],
            sense="<=",
            aim=1,
        )
    )
    return made


def _figures(page: Page) -> list[str]:
    """Addresses of the figures on the study's page."""
    body = page.ask(PAGES["a study's page"])[1].decode()
    return [unescape(path) for path in dict.fromkeys(re.findall(r'data-figure="([^"]+)"', body))]


def _median(page: Page, path: str) -> float:
    found = []
    for _ in range(1 + ASKS):
        status, _, milliseconds = page.ask(path)
        if status != 200:
            raise RuntimeError(f"{path}: {status}")
        found.append(milliseconds)
    return statistics.median(found[1:])
