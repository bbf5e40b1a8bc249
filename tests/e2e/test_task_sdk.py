"""`Task` and `Logger` as ClearML's users write them: by hand, from outside, and under a worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.harness import environment, run, started, wait_for
from worker import Task
from worker.protocol.errors import BadInput

TEMPLATE = """
import argparse
from pathlib import Path
from worker import Logger, Task
parser = argparse.ArgumentParser()
parser.add_argument("data")
parser.add_argument("--epochs", type=int, default=3)
parser.add_argument("--warmup", type=float)
arguments = parser.parse_args()     # before Task.init, as many scripts do

class Options:
    depth = 2
    folder = Path("out")
    def method(self): ...

task = Task.init(project_name="P", task_name="template", tags=["one", "two"])
settings = task.connect({"lr": 0.1, "net": {"layers": 2, "act": "relu"}, "sizes": [1, 2]})
options = task.connect(Options(), name="Options")
config = task.connect_configuration({"a": {"b": 1}}, name="config")
path = task.connect_configuration(Path("settings.yaml"), name="file")
for epoch in range(arguments.epochs):
    task.report_scalar("loss", "train", settings["lr"] / (epoch + 1), iteration=epoch)
logger = task.get_logger()
logger.report_single_value("final", 7.0)
logger.report_text("a line of its own", print_console=False)
task.set_progress(50)
print("saw", arguments.data, arguments.epochs, arguments.warmup, settings, options.depth, repr(options.folder),
      config, Path(path).read_text())
"""


@pytest.fixture
def at(redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that this process and its programs work in, on one Redis."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.delenv("ARTIFACT_STORE", raising=False)
    (tmp_path / "settings.yaml").write_text("x: 1\n")
    return tmp_path


def python(folder: Path, text: str, *arguments: str, code: int = 0) -> str:
    """Run a script by hand; returns what it printed."""
    (folder / "script.py").write_text(text)
    done = run("python", "script.py", *arguments, cwd=folder, REDIS_URL=os.environ["REDIS_URL"])
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def background(folder: Path, text: str) -> subprocess.Popen[str]:
    (folder / "script.py").write_text(text)
    return subprocess.Popen(
        [sys.executable, "-u", "script.py"],
        cwd=folder,
        env=environment(REDIS_URL=os.environ["REDIS_URL"]),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ended(task: Any, *statuses: str) -> None:
    wait_for(lambda: task.status in (statuses or ("completed", "failed", "stopped")), f"the end of {task}")


def test_a_script_run_by_hand_is_a_base_task(at: Path) -> None:
    python(at, TEMPLATE, "digits", "--epochs", "4")
    task = Task.get_task(project_name="P", task_name="template")
    assert task.status == "completed"
    assert task.get_tags() == ["one", "two"]
    assert task.get_parameters() == {
        "Args/data": "digits",
        "Args/epochs": "4",
        "Args/warmup": "None",
        "General/lr": "0.1",
        "General/net/layers": "2",
        "General/net/act": "relu",
        "General/sizes": "[1, 2]",
        "Options/depth": "2",
        "Options/folder": "out",
    }
    assert task.get_parameters(cast=True)["General/sizes"] == [1, 2]
    assert task.get_parameters_as_dict(cast=True)["General"]["net"] == {"layers": 2, "act": "relu"}
    assert task.get_parameter("General/lr", cast=True) == 0.1
    assert task.get_parameter("no/such", default=5) == 5
    assert task.get_configuration_object_as_dict("config") == {"a": {"b": 1}}
    assert task.get_configuration_object("file") == "x: 1\n"
    scalars = task.get_last_scalar_metrics()
    assert scalars["loss"]["train"] == {"last": 0.025, "min": 0.025, "max": 0.1}
    assert scalars["Summary"]["final"]["last"] == 7.0
    assert task.get_reported_single_values() == {"final": 7.0}
    assert task.get_reported_single_value("none") is None
    points = task.get_reported_scalars()["loss"]["train"]
    assert points == {"name": "train", "x": [0, 1, 2, 3], "y": [0.1, 0.05, 0.1 / 3, 0.025]}
    assert task.get_reported_scalars(max_samples=2)["loss"]["train"]["x"] == [0, 3]
    assert task.get_progress() == 50
    assert task.get_project_name() == "P"


def test_under_a_worker_the_tasks_values_replace_the_programs(at: Path) -> None:
    python(at, TEMPLATE, "digits", "--epochs", "4")
    base = Task.get_task(project_name="P", task_name="template")
    copy = Task.clone(base, name="copy")
    assert (copy.status, copy.parent, copy.name) == ("created", base.id, "copy")
    copy.set_parameter("General/lr", "0.5")  # text, as ClearML has it
    copy.update_parameters({"General/net/layers": 5, "Args/epochs": 2, "Args/warmup": "0.25"})
    copy.set_parameters({**copy.get_parameters(cast=True), "Options/depth": 9, "Options/folder": "elsewhere"})
    refused = Task.clone(base, name="refused")
    refused.set_parameter("Args/epochs", "many")
    with started("worker", cwd=at, log=at / "log", REDIS_URL=os.environ["REDIS_URL"]):
        assert Task.enqueue(copy, queue_name="default") == {"queued": 1}
        Task.enqueue(refused)
        copy.wait_for_status(check_interval_sec=0.05)
        ended(refused)
    # As on the command line, and before anything was reported.
    assert refused.get_status_reason() == (
        "objective_error: exited with code 2: script.py: error: argument --epochs: invalid int value: 'many'"
    )
    assert "loss" not in refused.get_last_scalar_metrics()
    said = copy.at.store.logs.read(copy.id)[0]  # type: ignore[union-attr]
    assert (
        "saw digits 2 0.25 {'lr': 0.5, 'net': {'layers': 5, 'act': 'relu'}, 'sizes': [1, 2]} 9 "
        "PosixPath('elsewhere') {'a': {'b': 1}} x: 1" in said
    )
    assert copy.get_last_scalar_metrics()["loss"]["train"]["max"] == 0.5
    assert Task.get_task(task_id=base.id).get_parameter("General/lr") == "0.1"
    with pytest.raises(BadInput, match="clone it"):
        Task.enqueue(copy)


def test_finding_tasks(at: Path) -> None:
    for name in ("alpha one", "alpha two", "beta"):
        Task.create(project_name="Q", task_name=name, script="train.py").add_tags(["all", name[:4]])
    first, second = Task.get_tasks(project_name="Q", task_name="alpha")
    assert (first.name, second.name) == ("alpha two", "alpha one")
    assert [t.name for t in Task.get_tasks(tags=["all", "beta"])] == ["beta"]
    assert Task.query_tasks(project_name="Q", task_filter={"status": ["created"]}) == [
        Task.get_task(task_name="beta").id, first.id, second.id,
    ]  # fmt: skip
    first.set_archived()
    assert [t.name for t in Task.get_tasks(None, "Q", "alpha", allow_archived=False)] == ["alpha one"]
    with pytest.raises(BadInput, match="no task named 'alpha two'; the only one of that name is archived"):
        Task.get_task(task_name="alpha two", allow_archived=False)
    first.set_parent(second)
    assert [t.id for t in Task.get_tasks(task_filter={"parent": second.id})] == [first.id]
    # The newest of a name.
    again = Task.create(project_name="Q", task_name="beta", script="other.py")
    assert Task.get_task(project_name="Q", task_name="beta").id == again.id
    for arguments, said in (
        ({"project_name": "Q", "task_name": "betta"}, "did you mean 'beta' in project 'Q'?"),
        ({"project_name": "R", "task_name": "beta"}, "it is in project 'Q'"),
        ({"task_id": "0" * 32}, "no task"),
        ({}, "name a task_id"),
        ({"task_name": "beta", "task_filter": {"state": "x"}}, "did you mean 'status'?"),
        ({"task_name": "beta", "task_filter": {"status": "complete"}}, "did you mean 'completed'?"),
        (
            {
                "project_name": "Q",
                "task_name": "alpha two",
                "task_filter": {"status": ["completed", "failed"]},
            },
            "no task named 'alpha two' in project 'Q' with status completed or failed; the only one of that "
            "name has status created",
        ),
        (
            {"task_name": "beta", "tags": ["new"], "task_filter": {"type": "training", "parent": "x"}},
            "the newest of 2 of that name has parent none, tags none",
        ),
        (
            {"project_name": "Q", "task_filter": {"type": "testing"}},
            "the newest of 4 there has type training",
        ),
    ):
        with pytest.raises(BadInput, match=said.replace("?", "[?]")):
            Task.get_task(**arguments)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="name one of them"):
        Task.create(script="a.py", function="a:b")
    assert again.delete()
    with pytest.raises(BadInput):
        Task.get_task(task_id=again.id)


ENDS = {
    "raise ValueError('broken')": ("failed", "objective_error: ValueError: broken", 1),
    "task.mark_failed(status_message='no data')": ("failed", "objective_error: no data", 0),
    "task.mark_stopped()": ("stopped", "user: stopped by hand", 0),
    "task.mark_completed(); raise SystemExit(3)": ("completed", "", 3),
    "raise KeyboardInterrupt": ("stopped", "user: interrupted by hand", 130),
    "task.close(); import os; os._exit(0)": ("completed", "", 0),
}


@pytest.mark.parametrize("line", list(ENDS))
def test_how_a_program_run_by_hand_ends(at: Path, line: str) -> None:
    status, reason, code = ENDS[line]
    text = f"from worker import Task\ntask = Task.init('P', 'ends')\ntask.report_scalar('a', 'b', 1, 0)\n{line}\n"
    (at / "script.py").write_text(text)
    process = background(at, text)
    assert process.wait(30) in (code, -2)
    task = Task.get_task(task_name="ends")
    assert (task.status, task.get_status_reason()) == (status, reason)
    assert task.get_last_scalar_metrics()["a"]["b"]["last"] == 1


def test_a_program_that_is_killed_or_asked_to_stop(at: Path) -> None:
    text = """
import time
from worker import Task
task = Task.init("P", "long")
task.register_abort_callback(lambda: print("called back", flush=True))
for i in range(6000):
    task.report_scalar("a", "b", i, i)
    time.sleep(0.01)
"""
    asked = background(at, text)
    task = wait_for(lambda: _find("long"), "the task")
    wait_for(task.get_last_scalar_metrics, "its first report")  # the callback is registered by then
    task.mark_stopped(status_message="enough")
    output, _ = asked.communicate(timeout=30)
    assert "called back" in output
    assert "stopped: enough" in output
    assert "Traceback" not in output
    assert (task.status, task.get_status_reason()) == ("stopped", "user: enough")
    terminated = background(at, text)
    task = wait_for(lambda: _find("long", task.id), "the next task")
    wait_for(task.get_last_scalar_metrics, "its first report")  # it is all set up then
    terminated.send_signal(signal.SIGTERM)
    terminated.wait(30)
    assert task.status == "stopped"
    killed = background(at, text)
    task = wait_for(lambda: _find("long", task.id), "the third task")
    wait_for(task.get_last_scalar_metrics, "its first report")
    killed.kill()
    killed.wait()
    task.at.store.redis.delete(f"orq:task:{task.id}:lease")  # rather than wait for it
    assert (task.status, task.get_status_reason().split(":")[0]) == ("failed", "worker_lost")
    with pytest.raises(RuntimeError, match="worker_lost"):
        task.wait_for_status()


def test_a_program_that_is_stopped_before_its_task_has_begun(at: Path) -> None:
    text = """
from worker import Task
from worker.sdk.home import home
store = home().store
create = store.tasks.create
def stopped_at_once(record):
    create(record)
    Task.get_task(task_id=record.id).mark_stopped(status_message="enough")
store.tasks.create = stopped_at_once
Task.init("P", "early")
print("went on", flush=True)
"""
    process = background(at, text)
    output, _ = process.communicate(timeout=30)
    task = Task.get_task(task_name="early")
    assert (process.returncode, output) == (1, f"task {task.id} stopped: enough\n")
    assert (task.status, task.get_status_reason()) == ("stopped", "user: enough")


def _find(name: str, other_than: str = "") -> Any:
    try:
        found = Task.get_task(task_name=name)
    except BadInput:
        return None
    return found if found.id != other_than else None


def test_a_program_sends_itself_to_a_worker(at: Path) -> None:
    text = """
import sys
from worker import Task
task = Task.init("P", "remote")
settings = task.connect({"x": 1})
task.execute_remotely(queue_name="far", exit_process=True)
print("ran with", settings, Task.current_task().id == task.id, flush=True)
task.report_scalar("y", "", settings["x"], 0)
"""
    assert "ran with" not in python(at, text)
    task = Task.get_task(task_name="remote")
    assert task.status == "queued"
    with started("worker", "--queue", "far", cwd=at, log=at / "log", REDIS_URL=os.environ["REDIS_URL"]):
        ended(task)
    assert task.status == "completed"
    assert "ran with {'x': 1} True" in task.at.store.logs.read(task.id)[0]
    assert task.get_last_scalar_metrics()["y"][""]["last"] == 1


REPORTS = """
import io
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
import matplotlib
matplotlib.use("Agg")
from pathlib import Path
import numpy, pandas
from matplotlib import pyplot
from PIL import Image
import plotly.graph_objects as go
from worker import Logger, Task

task = Task.init("P", "reports")
Path("file.txt").write_text("content")
task.upload_artifact("array", numpy.arange(6).reshape(2, 3))
task.upload_artifact("frame", pandas.DataFrame({"a": [1, 2]}))
task.upload_artifact("dict", {"k": [1, None]})
task.upload_artifact("image", Image.new("RGB", (4, 3), "red"))
task.upload_artifact("path", "file.txt")
logger = Logger.current_logger()
logger.report_table("table", "rows", iteration=1, table_plot=[["a", "b"], [1, 2]])
logger.report_table("table", "frame", table_plot=pandas.DataFrame({"a": [1, 2]}))
logger.report_plotly("plot", "bars", figure=go.Figure(go.Bar(y=[1, 3])), iteration=2)
pyplot.plot([1, 2])
logger.report_matplotlib_figure("plot", "line", figure=pyplot, iteration=3)
logger.report_image("picture", "matrix", iteration=0, image=numpy.zeros((4, 5, 3), dtype=numpy.uint8))
logger.report_image("picture", "floats", iteration=0, image=numpy.ones((4, 5)))
for path in ("logs/a.txt", "logs/in/b.txt", "logs/in/c.csv", "gone/d.txt"):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(path)
task.upload_artifact("texts", "logs/*.txt")
task.upload_artifact("csv", Path("logs").absolute() / "*" / "*.csv")
task.upload_artifact("each", "logs/*.txt", as_files=True)
task.upload_artifact("gone", "gone/*", delete_after_upload=True)
try:
    task.upload_artifact("none", "logs/*.none")
except Exception as error:
    print(error)
Path("t.csv").write_text("a,b")
logger.report_table("table", "path", url="t.csv")
logger.report_table("table", "file", url=Path("t.csv").absolute().as_uri())
class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_): pass
server = ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
Thread(target=server.serve_forever, daemon=True).start()
logger.report_table("table", "http", url=f"http://127.0.0.1:{server.server_port}/t.csv")
for url in (f"http://127.0.0.1:{server.server_port}/none.csv", "s3://bucket/t.csv"):
    try:
        logger.report_table("table", "none", url=url)
    except ValueError as error:
        print(error)
logger.report_media("media", "link", iteration=1, url="s3://bucket/film.mp4")
logger.report_media("media", "stream", stream=io.BytesIO(b"sound"), file_extension="wav")
logger.report_media("media", "path", local_path="t.csv", delete_after_upload=True)
logger.report_image("media", "image", url="https://example.org/a.png")
print(sorted(task.artifacts))
"""


def test_artifacts_and_reports(at: Path) -> None:
    import numpy
    import pandas
    from PIL import Image

    said = python(at, REPORTS)
    task = Task.get_task(task_name="reports")
    found = task.artifacts
    assert (found["array"].get() == numpy.arange(6).reshape(2, 3)).all()
    pandas.testing.assert_frame_equal(found["frame"].get(), pandas.DataFrame({"a": [1, 2]}))
    assert found["dict"].get() == {"k": [1, None]}
    assert Path(found["path"].get_local_copy()).read_text() == "content"
    assert Image.open(found["image"].get_local_copy()).size == (4, 3)
    assert found["dict"].url.startswith("file:///")
    assert Path(found["table/rows/1"].get_local_copy()).read_text().split() == ["a,b", "1,2"]
    assert list(found["table/frame"].get()["a"]) == [1, 2]
    assert found["plot/bars/2"].get()["data"][0]["type"] == "bar"
    assert Image.open(found["plot/line/3"].get_local_copy()).format == "PNG"
    assert Image.open(found["picture/matrix/0"].get_local_copy()).size == (5, 4)
    with zipfile.ZipFile(found["texts"].get_local_copy()) as archive:
        assert archive.namelist() == ["a.txt", "in/b.txt"]
        assert archive.read("in/b.txt") == b"logs/in/b.txt"
    with zipfile.ZipFile(found["csv"].get_local_copy()) as archive:
        assert archive.namelist() == ["in/c.csv"]
    assert Path(found["each/in/b.txt"].get_local_copy()).read_text() == "logs/in/b.txt"
    assert "gone" in found
    assert not list((at / "gone").iterdir())
    assert f"artifact 'none': there is no file {at}/logs/*.none" in said
    for series in ("path", "file", "http"):
        assert Path(found[f"table/{series}"].get_local_copy()).read_text() == "a,b"
    assert "/none.csv can't be read: HTTP Error 404" in said
    assert "s3://bucket/t.csv is no URL of http, https or file; download it, and give its path" in said
    assert found["media/link/1"].get() == {"url": "s3://bucket/film.mp4"}
    assert found["media/image"].get() == {"url": "https://example.org/a.png"}
    assert Path(found["media/stream"].get_local_copy()).read_bytes() == b"sound"
    assert Path(found["media/path"].get_local_copy()).read_text() == "a,b"
    assert not (at / "t.csv").exists()
    assert Image.open(found["picture/floats/0"].get_local_copy()).getpixel((0, 0)) == 255


IN_A_WORKER = """
from worker import Logger, Task
def train(task, lr):
    for i in range(4):
        task.report_scalar("loss", "train", lr * i, i)
    same = Task.current_task()
    assert same is task and Task.init("other", "name") is task
    last = task.get_last_scalar_metrics()["loss"]["train"]
    print("last", last, task.get_reported_scalars()["loss"]["train"]["x"])
    print("parameters", task.get_parameters(), task.get_parameter("lr"), task.status)
    extra = task.connect({"momentum": 0.9, "lr": 1.0})
    print("connected", extra)
    task.set_progress(100)
    task.upload_artifact("numbers", {"lr": lr})
    print("artifact", task.artifacts["numbers"].get())
    assert task.execute_remotely("anywhere") is None
    try:
        Task.get_task(task_name="x")
    except Exception as error:
        print("refused:", error)
"""


def test_inside_a_workers_program(at: Path) -> None:
    (at / "obj.py").write_text(IN_A_WORKER)
    task = Task.create(task_name="t", function="obj:train", parameters={"General/lr": 0.5})
    Task.enqueue(task)
    with started("worker", cwd=at, log=at / "log", REDIS_URL=os.environ["REDIS_URL"]):
        ended(task)
    said = task.at.store.logs.read(task.id)[0]  # type: ignore[union-attr]
    assert task.status == "completed", (task.get_status_reason(), said)
    assert "last {'last': 1.5, 'min': 0.0, 'max': 1.5} [0, 1, 2, 3]" in said
    assert "parameters {'General/lr': '0.5'} 0.5 in_progress" in said
    assert "connected {'momentum': 0.9, 'lr': 0.5}" in said
    assert "artifact {'lr': 0.5}" in said
    assert "refused: this program runs under a worker" in said
    assert task.get_parameters() == {"General/lr": "0.5", "General/momentum": "0.9"}
    assert task.artifacts["numbers"].get() == {"lr": 0.5}


TENSORBOARD = """
from tensorboardX import SummaryWriter
from worker import Task
def train(task):
    task.connect_tensorboard("runs")
    writer = SummaryWriter("runs")
    for i in range(3):
        writer.add_scalar("loss/train", 1.0 / (i + 1), i)
    writer.add_scalar("accuracy", 0.5, 2)
    writer.close()
"""


def test_tensorboards_scalars_are_picked_up(at: Path) -> None:
    (at / "obj.py").write_text(TENSORBOARD)
    task = Task.create(task_name="t", function="obj:train")
    Task.enqueue(task)
    with started("worker", cwd=at, log=at / "log", REDIS_URL=os.environ["REDIS_URL"]):
        ended(task)
    assert task.status == "completed", task.get_status_reason()
    assert task.get_reported_scalars()["loss"]["train"]["y"] == pytest.approx([1.0, 0.5, 1 / 3])
    assert task.get_last_scalar_metrics()["accuracy"]["accuracy"]["last"] == 0.5


def test_without_redis_a_folder_of_its_own_does(tmp_path: Path) -> None:
    text = "from worker import Task\nt = Task.init('P', 'local')\nt.report_scalar('a', 'b', 2, 0)\n"
    (tmp_path / "script.py").write_text(text)
    look = "from worker import Task\nt = Task.get_task(task_name='local')\nprint(t.status, t.get_last_scalar_metrics())\n"
    (tmp_path / "look.py").write_text(look)
    for script in ("script.py", "look.py"):
        done = subprocess.run(
            [sys.executable, script],
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    assert done.stdout == "completed {'a': {'b': {'last': 2.0, 'min': 2.0, 'max': 2.0}}}\n"
    done = subprocess.run(
        [sys.executable, "look.py"],
        cwd=tmp_path,
        env=environment(REDIS_URL="redis://:hidden-word@127.0.0.1:1/0"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert "RedisAway: Redis at redis://:***@127.0.0.1:1/0: connection refused" in done.stderr
    assert "hidden-word" not in done.stderr
