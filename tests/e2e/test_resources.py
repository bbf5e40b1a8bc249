"""What a worker gives its programs: GPUs, threads, a scratch folder, memory; and which queues it serves."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import pytest

import worker
from controller.commands.start_command import start
from controller.commands.worker_commands import pause
from controller.sweep import BudgetSection
from tests.cgroupfs import SITE, Hierarchy
from tests.e2e.cli import folder_of
from tests.e2e.harness import (
    BIN,
    Bench,
    assert_nothing_left,
    descendants,
    environment,
    run,
    started,
    wait_for,
)
from worker.cli import command
from worker.protocol import Reason, Status, TaskRecord
from worker.protocol.connection import connect
from worker.protocol.transport import TaskQueue
from worker.slot.devices import cpus
from worker.slot.settings import DEFAULT_DRAIN_S

OBJECTIVES = """
import json, multiprocessing.connection, os, subprocess, sys, tempfile, time
from pathlib import Path

NAMES = ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "TMPDIR")

def show(task):
    print(json.dumps({name: os.environ.get(name) for name in NAMES}))
    time.sleep(0.3)      # so that each slot gets some
    return 1.0

def litter(task):
    here = tempfile.gettempdir()
    print(json.dumps([here, os.environ["TMPDIR"], sorted(os.listdir(here))]))
    Path(here, "left").write_text("x")
    Path(tempfile.mkdtemp(prefix="folder-"), "x").write_text("x")
    os.mkdir(f"{here}/closed", 0o500)
    os.symlink("/etc", f"{here}/link")
    return 1.0

def listen(task):
    with multiprocessing.connection.Listener():   # a socket in a folder that multiprocessing keeps in mind
        return os.getpid()

def gone(task):
    here = tempfile.gettempdir()
    os.rmdir(here)
    os.symlink(os.environ["ELSEWHERE"], here)
    return 1.0

def litter_and_wait(task):
    Path(tempfile.gettempdir(), "left").write_text("x")
    print("here")
    time.sleep(60)

def eat(task, megabytes):
    block = b"x" * int(megabytes * 1e6)
    for n in range(20):
        time.sleep(0.1)
    return 1.0

def eat_in_children(task, megabytes):
    eaters = [subprocess.Popen([sys.executable, "eat.py", str(megabytes)]) for n in range(2)]
    return sum(eater.wait() for eater in eaters)

def eat_detached(task, megabytes, seconds):
    eaten = Path("eaten")
    eaten.unlink(missing_ok=True)
    subprocess.run([sys.executable, "detach.py", str(megabytes)], stdout=subprocess.DEVNULL)
    while not eaten.exists():
        time.sleep(0.01)
    time.sleep(seconds)
    return 1.0
"""
DETACH = """
import os, sys
os.fork() and os._exit(0)
os.setsid()
os.fork() and os._exit(0)
os.execv(sys.executable, [sys.executable, "eat.py", sys.argv[1]])
"""
DETACHED = """
import subprocess, sys, time
subprocess.run([sys.executable, "detach.py", sys.argv[1]], stdout=subprocess.DEVNULL)
print("loss=1", flush=True)
time.sleep(float(sys.argv[2]))
"""
SHOW = f"import json, os\nprint(json.dumps({{n: os.environ.get(n) for n in {('CUDA_VISIBLE_DEVICES', 'OMP_NUM_THREADS', 'TMPDIR')}}}))\n"
EAT = "import sys, time\nblock = b'x' * int(float(sys.argv[1]) * 1e6)\nopen('eaten', 'w').close()\nprint('loss=1')\ntime.sleep(2)\n"
LITTER = """
import json, os, tempfile
here = tempfile.gettempdir()
print(json.dumps([here, os.environ["TMPDIR"], sorted(os.listdir(here))]))
open(f"{here}/left", "w").close()
print("loss=1", flush=True)
"""
SMI = "#!/bin/sh\n" + "".join(f"echo '{n}, GPU-{n}{n}{n}{n}-0'\n" for n in range(4))


@pytest.fixture
def bench(tmp_path: Path, redis_url: str) -> Bench:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/nvidia-smi").write_text(SMI)
    (tmp_path / "bin/nvidia-smi").chmod(0o755)
    folder = tmp_path / "node"
    folder.mkdir()
    found = Bench(redis_url, folder)
    programs = {
        "show.py": SHOW,
        "eat.py": EAT,
        "litter.py": LITTER,
        "detach.py": DETACH,
        "detached.py": DETACHED,
    }
    for name, text in {"obj.py": OBJECTIVES, **programs}.items():
        found.module(name, text)
    return found


@contextmanager
def serving(bench: Bench, *options: str, queue: str = "default", **env: str) -> Iterator[Any]:
    """A worker with `options`; nothing in its log may be a traceback."""
    log = bench.folder.parent / "worker.log"
    with started("worker", *options, cwd=bench.folder, log=log, REDIS_URL=bench.url, **env) as process:
        wait_for(lambda: bench.store.workers.list(queue) or process.poll() is not None, "the worker")
        assert process.poll() is None, log.read_text()
        yield process
    assert "Traceback" not in log.read_text(), log.read_text()


def with_smi(bench: Bench) -> dict[str, str]:
    return {"PATH": f"{bench.folder.parent}/bin:{os.environ['PATH']}"}


def completed(bench: Bench, *ids: str) -> list[TaskRecord]:
    tasks = [bench.ended(each) for each in ids]
    for task in tasks:
        assert task.status is Status.COMPLETED, f"{task.reason}\n{task.error}"
    return tasks


def seen(bench: Bench, *options: str, count: int, **env: str) -> dict[str, dict[str, Any]]:
    """What programs of each slot have in their environment, by the slot's number."""
    found: dict[str, dict[str, Any]] = {}
    with serving(bench, *options, **env):
        ids = [bench.submit("obj:show") for _ in range(count)]
        for task in completed(bench, *ids):
            said = json.loads(bench.output(task.id))
            slot = str(task.worker).rpartition("/")[2]
            assert found.setdefault(slot, said) == said
        script = bench.submit({"kind": "script", "path": "show.py"}, metrics=())
        command = bench.submit({"kind": "command", "argv": [str(BIN / "python"), "show.py"]}, metrics=())
        for task in completed(bench, script, command):
            slot = str(task.worker).rpartition("/")[2]
            assert json.loads(bench.output(task.id)) == found[slot]
    return found


# GPUs and threads


def test_two_slots_share_out_gpus_threads_and_scratch(bench: Bench) -> None:
    found = seen(bench, "--slots", "2", "--gpus", "0,1,2,3", count=6, **with_smi(bench))
    assert [found[slot]["CUDA_VISIBLE_DEVICES"] for slot in "01"] == ["0,1", "2,3"]
    assert {each["OMP_NUM_THREADS"] for each in found.values()} == {str(max(1, cpus() // 2))}
    first, second = (Path(found[slot]["TMPDIR"]) for slot in "01")
    assert first != second
    assert first.parents[1] == second.parents[1]
    assert first.parents[1].name.startswith("orq-worker-")


def test_more_slots_than_gpus_and_threads_that_were_named(bench: Bench) -> None:
    found = seen(bench, "--slots", "3", "--gpus", "all", "--threads", "7", count=9,
                 CUDA_VISIBLE_DEVICES="1,3", **with_smi(bench))  # fmt: skip
    assert [found[slot]["CUDA_VISIBLE_DEVICES"] for slot in "012"] == ["1", "3", "1"]
    assert {each["OMP_NUM_THREADS"] for each in found.values()} == {"7"}


def test_what_the_environment_says_stays(bench: Bench) -> None:
    found = seen(bench, "--slots", "2", count=4, OMP_NUM_THREADS="5", CUDA_VISIBLE_DEVICES="3")
    assert {(each["CUDA_VISIBLE_DEVICES"], each["OMP_NUM_THREADS"]) for each in found.values()} == {
        ("3", "5")
    }


def test_the_objective_has_the_last_word(bench: Bench) -> None:
    mine = {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "TMPDIR": str(bench.folder)}
    with serving(bench, "--gpus", "0", "--threads", "2", **with_smi(bench)):
        ids = [
            bench.submit({"kind": "function", "target": "obj:show", "env": mine}),
            bench.submit({"kind": "script", "path": "show.py", "env": mine}, metrics=()),
        ]
        for task in completed(bench, *ids):
            assert json.loads(bench.output(task.id)) == mine
    assert (bench.folder / "obj.py").exists()  # what it named is not ours to empty


def test_local_workers_share_the_cpus(tmp_path: Path) -> None:
    with folder_of(tmp_path, OBJECTIVES.replace("def show(task)", "def show(task, x)")) as cli:
        file = cli.sweep(objective={"function": "obj:show"}, budget={"max_trials": 1})
        done = cli.start(file, workers=2)
        assert done.returncode == 0, done.stdout + done.stderr
        (row,) = cli.json("tasks")
        said = json.loads(cli("logs", row["task"]).stdout)
        assert said["OMP_NUM_THREADS"] == str(max(1, (os.cpu_count() or 1) // 2))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--gpus", "0,7"], "--gpus 0,7: this machine has no GPU 7; there are 0, 1, 2, 3"),
        (["--gpus", "0,0"], "--gpus 0,0: 0 is named twice"),
        (["--gpus", "cuda:0"], "--gpus cuda:0: 'cuda:0' is no GPU; give numbers such as 0,1, or all"),
        (["--threads", "0"], "--threads 0: at least 1"),
        (["--memory", "lots"], "--memory 'lots': write a size such as 4GB or 500MiB"),
        (["--slots", "0"], "--slots 0: at least 1"),
        (["--queue", "a b"], "--queue"),
    ],
)
def test_options_that_are_wrong(bench: Bench, options: list[str], said: str) -> None:
    done = run("worker", *options, cwd=bench.folder, REDIS_URL=bench.url, **with_smi(bench))
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(f"worker: {said}")


@pytest.mark.skipif(bool(list(Path("/dev").glob("nvidia[0-9]*"))), reason="this machine has GPUs")
@pytest.mark.parametrize("gpus", ["0", "all"])
def test_a_gpu_where_there_is_none(bench: Bench, gpus: str) -> None:
    done = run("worker", "--gpus", gpus, cwd=bench.folder, REDIS_URL=bench.url)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"worker: --gpus {gpus}: this machine has no GPU")
    assert "driver" in line


# Scratch


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A short path: there are Unix sockets in it."""
    with TemporaryDirectory(prefix="orq-") as folder:
        yield Path(folder)


def test_each_trial_finds_its_scratch_folder_empty_and_nothing_is_left(
    bench: Bench, temporary: Path, tmp_path: Path
) -> None:
    kinds: list[Any] = [
        "obj:litter",
        {"kind": "script", "path": "litter.py"},
        {"kind": "command", "argv": [str(BIN / "python"), "litter.py"]},
    ]
    with serving(bench, TMPDIR=str(temporary)) as process:
        places = set()
        for objective in [*kinds, *kinds, "obj:litter"]:
            changes = {"metrics": ()} if isinstance(objective, dict) and objective["kind"] == "script" else {}
            (task,) = completed(bench, bench.submit(objective, **changes))
            here, variable, there = json.loads(bench.output(task.id).splitlines()[0])
            assert there == []
            assert here == variable
            assert Path(here).is_relative_to(temporary)
            places.add(here)
        assert len(places) == 1
        # A process that is reused has no more to find out than its first trial.
        warm = {"kind": "function", "target": "obj:listen", "reuse": True}
        ids = [bench.submit(warm) for _ in range(4)]
        completed(bench, *ids)
        # Some of them in one process. (The first one's may be replaced: the runner before it left an orphan.)
        assert len({bench.store.reports.scalars([each])[0]["loss"].last for each in ids}) <= 2
        # Nor does it matter what a trial makes of the folder itself.
        (tmp_path / "precious").mkdir()
        (tmp_path / "precious/file").touch()
        objective = {"kind": "function", "target": "obj:gone", "env": {"ELSEWHERE": f"{tmp_path}/precious"}}
        completed(bench, bench.submit(objective))
        (task,) = completed(bench, bench.submit("obj:litter"))
        assert json.loads(bench.output(task.id))[2] == []
        assert (tmp_path / "precious/file").exists()
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(20) == 0
    assert list(temporary.iterdir()) == []


def test_what_was_killed_leaves_nothing_either(bench: Bench, temporary: Path) -> None:
    def left() -> list[Path]:
        return list(temporary.rglob("left"))

    with serving(bench, "--name", "first", TMPDIR=str(temporary)) as process:
        first = bench.submit("obj:litter_and_wait", max_attempts=1)
        wait_for(lambda: "here" in bench.output(first) and left(), "the file")
        # The slot: the worker starts another, and removes what that one had.
        slot = next(
            p for p in descendants(process.pid) if "worker.slot" in " ".join(psutil.Process(p).cmdline())
        )
        os.kill(slot, signal.SIGKILL)
        wait_for(lambda: not left(), "the end of what the slot has left")
        second = bench.submit("obj:litter_and_wait", max_attempts=1)
        wait_for(lambda: "here" in bench.output(second) and left(), "the file")
        # The worker: the next one on this machine does.
        os.kill(process.pid, signal.SIGKILL)
        process.wait(10)
        assert_nothing_left(bench.folder)
        assert left()
    bench.store.redis.delete(*[key for key in bench.store.redis.scan_iter("*first*") if "worker" in key])
    with serving(bench, "--name", "second", TMPDIR=str(temporary)):
        wait_for(lambda: not left(), "the end of what the worker has left")
        assert len(list(temporary.iterdir())) == 1


def test_a_long_path_of_temporary_files(bench: Bench, tmp_path: Path) -> None:
    temporary = tmp_path / ("long" * 25)
    temporary.mkdir()
    with serving(bench, TMPDIR=str(temporary)):
        (task,) = completed(
            bench, bench.submit({"kind": "command", "argv": [str(BIN / "python"), "litter.py"]})
        )
        assert json.loads(bench.output(task.id).splitlines()[0])[0].startswith(str(temporary))


# Memory


def test_a_task_that_takes_more_memory_than_it_may_is_ended(bench: Bench) -> None:
    python = str(BIN / "python")
    greedy: dict[str, tuple[Any, dict[str, Any]]] = {
        "function": ("obj:eat", {"megabytes": 400}),
        "script": ({"kind": "script", "path": "eat.py", "args": ["400"]}, {}),
        "command": ({"kind": "command", "argv": ["sh", "-c", f"{python} eat.py 400; exit 0"]}, {}),
        "children": ("obj:eat_in_children", {"megabytes": 150}),
        "detached": ("obj:eat_detached", {"megabytes": 400, "seconds": 3.0}),
        "detached and left": ("obj:eat_detached", {"megabytes": 400, "seconds": 0.0}),
        "detached by a command": ({"kind": "command", "argv": [python, "detached.py", "400", "3"]}, {}),
    }
    modest: dict[str, tuple[Any, dict[str, Any]]] = {
        "function": ("obj:eat", {"megabytes": 100}),
        "command": ({"kind": "command", "argv": ["sh", "-c", f"{python} eat.py 100; exit 0"]}, {}),
        "children": ("obj:eat_in_children", {"megabytes": 40}),
        "detached": ("obj:eat_detached", {"megabytes": 40, "seconds": 1.0}),
    }
    with serving(bench, "--memory", "200MB"):
        ended = {}
        for kind in greedy:
            ids = [bench.submit(greedy[kind][0], parameters=greedy[kind][1])]
            ids += [bench.submit(modest[kind][0], parameters=modest[kind][1])] if kind in modest else []
            ended[kind] = [bench.ended(each) for each in ids]
        for kind, (task, *others) in ended.items():
            assert (task.status, task.reason_class) == (Status.FAILED, Reason.OUT_OF_MEMORY), (
                kind,
                task.reason,
            )
            assert task.reason.startswith("used "), kind
            assert "MB of memory; this worker allows 200 MB (--memory)" in task.reason
            used = float(task.reason.split()[1])
            assert 200 < used < 600, task.reason
            assert task.attempt == 1
            assert [other.status for other in others] == [Status.COMPLETED] * len(others), (kind, others)
        assert_no_eaters()
    said = (bench.folder.parent / "worker.log").read_text()
    assert said.count(": the memory of what runs is looked at twice a second, as ") == 1


@pytest.mark.real_start
def test_a_limit_that_the_kernel_holds(bench: Bench, tmp_path: Path) -> None:
    """With a hierarchy of cgroups in a folder: the processes are real, the kernel's kill is the test's."""
    hierarchy = Hierarchy(tmp_path / "cgroups")
    hierarchy.make()
    (tmp_path / "site").mkdir()
    (tmp_path / "site/sitecustomize.py").write_text(SITE)
    path = f"{tmp_path}/site:{Path(worker.__file__).parents[1]}"

    def inside() -> list[int]:
        found = list(hierarchy.own.glob("*-slot-0/cgroup.procs"))
        return [int(pid) for file in found for pid in file.read_text().split()]

    def killed(*pids: int) -> None:
        (group,) = hierarchy.own.glob("*-slot-0")
        hierarchy.kills(group, len(pids))
        for pid in pids:
            os.kill(pid, signal.SIGKILL)

    detached = {"megabytes": 10, "seconds": 60.0}
    command = {"kind": "command", "argv": [str(BIN / "python"), "detached.py", "10", "60"]}
    with serving(
        bench, "--memory", "200MB", PYTHONPATH=path, FAKE_CGROUPS=str(hierarchy.root.parent)
    ) as process:
        # All of it at once, as with memory.oom.group; or, by an older kernel, what has detached alone.
        for objective, parameters, whole in (
            ("obj:eat_detached", detached, True),
            ("obj:eat_detached", detached, False),
            (command, {}, True),
        ):
            task_id = bench.submit(objective, parameters=parameters)
            wait_for(lambda: inside() and eaters(), "the trial", 20.0)
            (pid,) = inside()
            killed(*eaters(), *([pid] if whole else []))
            task = bench.ended(task_id)
            hierarchy.exits(pid)
            assert (task.status, task.reason_class) == (Status.FAILED, Reason.OUT_OF_MEMORY), task.reason
            assert task.reason == "wanted more memory than the 200 MB that this worker allows (--memory)"
            assert_no_eaters()
        # The slot lives on; what was over its limit before is nobody else's matter.
        completed(bench, bench.submit("obj:eat", parameters={"megabytes": 1}))
        (pid,) = inside()
        hierarchy.exits(pid)
        process.terminate()
        assert process.wait(20) == 0
    said = (bench.folder.parent / "worker.log").read_text()
    assert said.count(": the memory of what runs is held by the kernel") == 1
    assert said.count("slot(s) on queue(s)") == 1
    assert "starting it again" not in said
    assert [each for each in hierarchy.own.iterdir() if each.is_dir()] == []


def eaters() -> list[int]:
    return [p.pid for p in psutil.process_iter(["cmdline"]) if "eat.py" in (p.info["cmdline"] or ())]


def assert_no_eaters() -> None:
    wait_for(
        lambda: not [p for p in psutil.process_iter(["cmdline"]) if "eat.py" in (p.info["cmdline"] or ())],
        "the end of all children",
        10.0,
    )


# Queues


def submit_to(bench: Bench, queue: str) -> str:
    """A task on another queue than the bench's."""
    task_id = bench.submit("obj:show", queue=queue)
    connection = connect(bench.url, text=False)
    TaskQueue("default", connection=connection).withdraw(task_id, 1)
    TaskQueue(queue, connection=connection).enqueue_attempt(task_id, 1)
    return task_id


def test_queues_are_served_in_their_order(bench: Bench) -> None:
    default = [bench.submit("obj:show") for _ in range(4)]
    first = [submit_to(bench, "gpu") for _ in range(2)]
    other = submit_to(bench, "elsewhere")
    with serving(bench, "--queue", "gpu", "--queue", "default"):
        wait_for(
            lambda: bench.store.tasks.get(default[0]).status is Status.IN_PROGRESS, "the second queue's turn"
        )
        late = submit_to(bench, "gpu")
        tasks = completed(bench, *default, *first, late)
        order = [task.id for task in sorted(tasks, key=lambda task: task.started_at or 0.0)]
        # Those that came late still go before what waits in the other queue.
        assert order == [*first, default[0], late, *default[1:]]
        assert bench.store.tasks.get(other).status is Status.QUEUED


def test_studies_go_to_the_workers_of_their_queue(tmp_path: Path, redis_url: str) -> None:
    env = {"REDIS_URL": redis_url, "ARTIFACT_STORE": f"file://{tmp_path}/store"}
    text = "import time\ndef quick(task, x):\n    time.sleep(0.2)\n    return x\n"
    with folder_of(tmp_path, text) as cli, ExitStack() as running:
        for name, queues in (("small", ["cpu"]), ("large", ["gpu", "cpu"])):
            options = [part for queue in queues for part in ("--queue", queue)]
            running.enter_context(started("worker", "--name", name, *options, cwd=cli.folder, **env))
        bench = Bench(redis_url, cli.folder)
        wait_for(lambda: len(bench.store.workers.list("cpu")) == 2, "both workers")
        controllers = []
        for queue, trials in (("cpu", 8), ("gpu", 3)):
            file = cli.sweep(
                f"{queue}.yaml",
                study={"name": queue, "metric": {"name": "loss", "goal": "minimize"}},
                queue={"name": queue},
                budget={"max_trials": trials, "max_failures": 1},
            )
            controllers.append(
                running.enter_context(started("controller", "start", file, cwd=cli.folder, **env))
            )
        assert [controller.wait(60) for controller in controllers] == [0, 0]
        served = {
            queue: {row["worker"] for row in cli.json("tasks", queue, **env)} for queue in ("cpu", "gpu")
        }
        assert served == {"cpu": {"small/0", "large/0"}, "gpu": {"large/0"}}


# The page


PAGE = (Path(worker.__file__).parents[1] / "docs/workers.md").read_text()


def test_the_commands_of_the_page(bench: Bench) -> None:
    lines = re.findall(r"^(?:[A-Z]+=\S+ )?worker -.*$", PAGE, re.MULTILINE)
    assert len(lines) == 9
    env = environment(REDIS_URL=bench.url, PATH=f"{bench.folder.parent}/bin:{BIN}:{os.environ['PATH']}")

    def call(line: str) -> subprocess.CompletedProcess[str]:
        variables = dict([line.split()[0].split("=")] if "=" in line.split()[0] else [])
        return subprocess.run(
            [*shlex.split(line)[len(variables) :], "--burst"],
            cwd=bench.folder, env={**env, **variables}, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    with ThreadPoolExecutor(3) as pool:
        for done in pool.map(call, lines):
            assert done.returncode == 0, done.stderr
            assert "slot(s) on queue(s)" in done.stderr


def test_the_page_knows_the_options_and_the_defaults() -> None:
    described = (command, start, pause)
    known = {option for one in described for parameter in one.params for option in parameter.opts}
    assert set(re.findall(r"--[a-z][a-z-]+", PAGE)) <= known
    assert f"`--drain` seconds ({DEFAULT_DRAIN_S:g})" in PAGE
    assert f"lease has run out ({BudgetSection().lease_s:g} s)" in PAGE


def test_two_workers_of_one_name(bench: Bench) -> None:
    with serving(bench, "--name", "twin"):
        done = run("worker", "--name", "twin", cwd=bench.folder, REDIS_URL=bench.url)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "'twin' is running already" in line
