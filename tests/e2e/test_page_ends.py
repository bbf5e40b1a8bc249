"""The page's server ends at once and in silence, whatever it is about to answer."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import pytest

from tests.dashboard import TOKEN
from tests.e2e.harness import wait_for

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]

SERVER = f"""
import contextlib, pathlib, time
import fakeredis
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from controller.dashboard.access import Tokens
from controller.dashboard.guard import Rules
from controller.dashboard.hosts import accepted_hosts
from controller.dashboard.server import listen, serve
from controller.dashboard.site import Site
from worker.protocol import Store

class Slow:
    def routes(self):
        return [Route("/optuna", slow, name="optuna")]

def slow(request):
    pathlib.Path("asked").touch()
    time.sleep(2)
    return PlainTextResponse("late")

store = Store(fakeredis.FakeRedis(decode_responses=True))
listening = listen("127.0.0.1", 0)
port = listening.getsockname()[1]
rules = Rules(tokens=Tokens(full={TOKEN!r}), hosts=accepted_hosts("127.0.0.1"))
ready = lambda: pathlib.Path("port.txt").write_text(str(port)) and pathlib.Path("port.txt").rename("port")
with contextlib.suppress(KeyboardInterrupt):
    serve(Site(lambda: store), rules, listening, optuna=Slow(), ready=ready)
print("ended")
"""


def test_what_is_cut_off_is_no_error(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_for(lambda: (tmp_path / "port").exists() or process.poll() is not None, "the server")
        port = (tmp_path / "port").read_text()
        asked = urllib.request.Request(
            f"http://127.0.0.1:{port}/optuna", headers={"Authorization": f"Bearer {TOKEN}"}
        )
        threading.Thread(target=lambda: _ask(asked), daemon=True).start()
        wait_for((tmp_path / "asked").exists, "the request")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert (out, err) == ("ended\n", "")


def _ask(request: urllib.request.Request) -> None:
    with contextlib.suppress(OSError):
        urllib.request.urlopen(request, timeout=30).read()
