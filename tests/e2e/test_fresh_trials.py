"""A trial is a process of its own, as far as the user's code can tell: it begins and ends as Python does."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.harness import Bench, assert_nothing_left, living_in, serving
from tests.redisserver import RedisServer
from worker.protocol import Status, TaskRecord

MODULES = {
    "seeded": """
import random
import numpy as np
random.seed(42)
np.random.seed(42)
def train(task):
    return random.random() + np.random.rand()
""",
    "unseeded": """
import random
import numpy as np
rng, own = np.random.default_rng(), random.Random()
def train(task):
    return {"loss": rng.random(), "own": own.random(), "numpy": np.random.rand(), "random": random.random()}
""",
    "start_method": """
import multiprocessing
def train(task):
    multiprocessing.set_start_method("spawn")
    return 1.0
""",
    "rows": """
import csv
FILE = open("rows.csv", "a", newline="")
ROWS = csv.writer(FILE)
def train(task, number):
    ROWS.writerow([number])
    return 1.0
""",
    "hooks": """
import atexit
import zipfile
done = []
ARCHIVE = zipfile.ZipFile(f"archive-{id(done)}.zip", "w")
@atexit.register
def save():
    with open("hooks.txt", "a") as file:
        file.write(f"{len(done)} trials seen\\n")
class Last:
    def __del__(self):
        with open("hooks.txt", "a") as file:
            file.write("the end\\n")
last = Last()
def train(task):
    ARCHIVE.writestr("entry", "text")
    done.append(1)
    return 1.0
""",
    "alarm": """
import signal, time
def train(task, guard):
    assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
    if guard:
        signal.signal(signal.SIGALRM, lambda *given: 1 / 0)
        signal.alarm(1)
        return 1.0
    time.sleep(1.2)
    return 1.0
""",
    "settings": """
import logging, os, resource, signal, sys, threading, warnings
import numpy as np
def state():
    mask = os.umask(0)
    os.umask(mask)
    return [mask, os.nice(0), resource.getrlimit(resource.RLIMIT_CORE), len(logging.getLogger().handlers),
            np.geterr(), os.environ.get("LEFT"), os.getcwd(), sys.argv, len(warnings.filters),
            threading.active_count(), signal.getsignal(signal.SIGUSR1), sys.getrecursionlimit()]
def train(task):
    print(state())
    os.umask(0o077)
    os.nice(5)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    logging.getLogger().addHandler(logging.StreamHandler())
    np.seterr(all="raise")
    os.environ["LEFT"] = "1"
    os.chdir("/")
    sys.argv.append("left")
    warnings.simplefilter("error")
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    sys.setrecursionlimit(5000)
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    return 1.0
""",
    "threads": """
import threading, time
from concurrent.futures import ThreadPoolExecutor
POOL = ThreadPoolExecutor(2)
def late(name):
    time.sleep(0.5)
    open(name, "w").close()
def train(task):
    POOL.submit(late, "by-the-pool")
    threading.Thread(target=late, args=("by-a-thread",)).start()
    return 1.0
""",
    "hangs": """
import atexit, time
def train(task, where):
    if where == "atexit":
        atexit.register(time.sleep, 600)
    else:
        import threading
        threading.Thread(target=time.sleep, args=(600,)).start()
    return 3.0
""",
    "raises": """
import atexit, os
def train(task, how):
    atexit.register((lambda: os._exit(3)) if how == "exits" else (lambda: 1 / 0))
    atexit.register(print, "a hook before it")
    return 3.0
""",
    "children": """
import multiprocessing, os, subprocess, time
def train(task):
    subprocess.Popen(["sleep", "301"])
    subprocess.Popen(["sleep", "302"], start_new_session=True)
    multiprocessing.Process(target=time.sleep, args=(303,), daemon=True).start()
    return 1.0
""",
    "surroundings": """
import os, signal, subprocess, tempfile, uuid
from pathlib import Path
os.environ.setdefault("RUN_ID", uuid.uuid4().hex)
FOLDER = tempfile.mkdtemp()
os.makedirs("runs", exist_ok=True)
os.chdir("runs")
import colorsys
def train(task):
    assert os.path.dirname(FOLDER) == tempfile.gettempdir() == os.environ["TMPDIR"]
    assert Path.cwd().name == "runs"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with subprocess.Popen(["sleep", "307"]) as child:
        child.send_signal(signal.SIGINT)
    with open("ids.txt", "a") as file:
        file.write(os.environ["RUN_ID"] + "\\n")
    return 1.0
""",
    "pool": """
import atexit, multiprocessing, os
POOL = multiprocessing.Pool(2)
PID = os.getpid()
@atexit.register
def ended():
    if os.getpid() == PID:
        POOL.terminate()
        POOL.join()
        print("the pool has ended")
def train(task):
    return float(sum(POOL.map(abs, [-1, -2])))
""",
    "libraries": """
import libraries_rows, libraries_numbers, libraries_banner
def train(task, number):
    libraries_rows.FILE.write(f"{number}\\n")
    return {"loss": libraries_numbers.NUMBERS.random(), "more": libraries_numbers.MORE.random()}
""",
    "task": """
from worker import Logger, Task
TASK = Task.init(project_name="mine", task_name="mine")
SETTINGS = TASK.connect({"number": 0})
Logger.current_logger().report_scalar("early", "", 5.0, 0)
def train(number):
    assert Task.current_task() is TASK
    return {"loss": float(SETTINGS["number"])}
""",
    "profiled": """
import sys
calls = []
def look(*about):
    calls.append(len(calls))
sys.setprofile(look)
sys.settrace(look)
def train(task):
    return 1.0
""",
    "hook": """
import sys
def hook(kind, error, trace):
    print("the hook was told:", error)
sys.excepthook = hook
def train(task):
    raise ValueError("mine")
""",
    "mains": """
import multiprocessing, pickle
def double(value):
    return 2 * value
def train(task, method):
    with multiprocessing.get_context(method).Pool(2) as pool:
        return float(sum(pool.map(double, [1, 2, 3])))
""",
}

LIBRARIES = {
    "libraries_rows": 'FILE = open("library-rows.txt", "a")',
    "libraries_numbers": "import random\nimport numpy\nNUMBERS, MORE = random.Random(), numpy.random.default_rng()",
    "libraries_banner": 'print("the banner")',
    "installed_objective": MODULES["unseeded"],
}


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="module")
def bench(server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    made = Bench(server.url(), tmp_path_factory.mktemp("fresh"))
    for name, text in MODULES.items():
        made.module(f"{name}_module.py", text)
    installed = made.folder / "env" / "site-packages"
    installed.mkdir(parents=True)
    for name, text in LIBRARIES.items():
        (installed / f"{name}.py").write_text(text)
    with serving(made, PYTHONPATH=str(installed)) as process:
        yield made
        process.terminate()
        assert process.wait(20) == 0
        assert_nothing_left(made.folder)


def run(bench: Bench, name: str, *trials: dict[str, Any], module: str = "") -> list[TaskRecord]:
    """Trials of one module, one after the other; all complete."""
    target = f"{module or name + '_module'}:train"
    ids = [bench.submit(target, parameters=parameters) for parameters in trials]
    records = [bench.ended(task_id) for task_id in ids]
    assert [record.status for record in records] == [Status.COMPLETED] * len(ids), [
        record.reason for record in records
    ]
    return records


def values(bench: Bench, records: list[TaskRecord], metric: str = "loss") -> list[float]:
    return [found[metric].last for found in bench.store.reports.scalars([record.id for record in records])]


def test_a_seed_of_the_users_holds(bench: Bench) -> None:
    alone = subprocess.run(
        [sys.executable, "-c", "import seeded_module; print(seeded_module.train(None))"],
        cwd=bench.folder, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert values(bench, run(bench, "seeded", {}, {}, {})) == [float(alone.stdout)] * 3


@pytest.mark.parametrize("metric", ["loss", "own", "numpy", "random"])
def test_what_nobody_seeds_is_different_each_time(bench: Bench, metric: str) -> None:
    assert len(set(values(bench, run(bench, "unseeded", {}, {}, {}), metric))) == 3


def test_what_may_be_set_once_is_set_once_each_time(bench: Bench) -> None:
    run(bench, "start_method", {}, {}, {})


def test_files_that_are_open_since_the_import_are_written(bench: Bench) -> None:
    run(bench, "rows", *({"number": number} for number in range(4)))
    assert (bench.folder / "rows.csv").read_text().split() == ["0", "1", "2", "3"]


def test_hooks_and_destructors_run_at_the_end_of_each_trial(bench: Bench) -> None:
    run(bench, "hooks", {}, {})
    assert (bench.folder / "hooks.txt").read_text().splitlines() == ["1 trials seen", "the end"] * 2
    archives = list(bench.folder.glob("archive-*.zip"))
    assert archives
    for path in archives:
        with zipfile.ZipFile(path) as archive:
            assert archive.read("entry") == b"text"


def test_a_timer_ends_with_its_trial(bench: Bench) -> None:
    run(bench, "alarm", {"guard": True}, {"guard": False})


def test_nothing_that_a_trial_sets_is_found_by_the_next(bench: Bench) -> None:
    first, *others = [
        bench.output(record.id).splitlines()[0] for record in run(bench, "settings", {}, {}, {})
    ]
    assert others == [first, first]


def test_threads_that_python_waits_for_are_waited_for(bench: Bench) -> None:
    run(bench, "threads", {})
    assert (bench.folder / "by-the-pool").exists()
    assert (bench.folder / "by-a-thread").exists()


@pytest.mark.parametrize("where", ["atexit", "thread"])
def test_an_end_that_hangs_is_cut_short_and_the_result_stands(bench: Bench, where: str) -> None:
    (record,) = run(bench, "hangs", {"where": where})
    assert values(bench, [record]) == [3.0]
    assert "its process did not end within 2 s of its result; it is killed" in bench.output(record.id)
    run(bench, "seeded", {})


@pytest.mark.parametrize("how", ["raises", "exits"])
def test_a_hook_that_fails_changes_no_result(bench: Bench, how: str) -> None:
    (record,) = run(bench, "raises", {"how": how})
    assert values(bench, [record]) == [3.0]
    assert "a hook before it" in bench.output(record.id)
    assert ("ZeroDivisionError" in bench.output(record.id)) == (how == "raises")


def test_the_processes_of_a_trial_end_with_it(bench: Bench) -> None:
    run(bench, "children", {})
    assert [found for found in living_in(bench.folder) if "sleep" in found] == []


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_own_functions_can_be_sent_to_processes(bench: Bench, method: str) -> None:
    assert values(bench, run(bench, "mains", {"method": method}, {"method": method})) == [12.0, 12.0]


def test_the_import_has_folder_environment_and_signals_of_a_new_process(bench: Bench) -> None:
    run(bench, "surroundings", {}, {}, {})
    assert len(set((bench.folder / "runs" / "ids.txt").read_text().split())) == 3


def test_a_pool_of_a_module_ends(bench: Bench) -> None:
    for record in run(bench, "pool", {}, {}):
        assert "the pool has ended" in bench.output(record.id)
        assert "did not end" not in bench.output(record.id)


def test_what_libraries_open_and_draw_belongs_to_each_trial(bench: Bench) -> None:
    records = run(bench, "libraries", *({"number": number} for number in range(4)))
    assert (bench.folder / "library-rows.txt").read_text().split() == ["0", "1", "2", "3"]
    for metric in ("loss", "more"):
        assert len(set(values(bench, records, metric))) == 4
    for record in records:
        assert bench.output(record.id).count("the banner") <= 1


@pytest.mark.parametrize("metric", ["loss", "own", "numpy", "random"])
def test_an_installed_objective_is_the_users_own(bench: Bench, metric: str) -> None:
    records = run(bench, "", {}, {}, {}, module="installed_objective")
    assert len(set(values(bench, records, metric))) == 3


def test_the_import_may_use_the_task(bench: Bench) -> None:
    records = run(bench, "task", *({"number": number} for number in (3, 4)))
    assert values(bench, records) == [3.0, 4.0]
    assert values(bench, records, "early") == [5.0, 5.0]


def test_an_exception_is_told_to_the_hook_for_them(bench: Bench) -> None:
    record = bench.ended(bench.submit("hook_module:train"))
    assert (record.status, record.reason) == (Status.FAILED, "ValueError: mine")
    assert bench.output(record.id).count("the hook was told: mine") == 1


def test_a_profiler_is_quiet_at_the_end(bench: Bench) -> None:
    (record,) = run(bench, "profiled", {})
    assert bench.output(record.id) == ""
