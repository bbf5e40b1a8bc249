"""GPUs from the driver to what people see, with real processes and a stand-in for NVML."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import fakenvml
from tests.e2e.harness import Bench, run, started, wait_for
from tests.fakenvml import gpu
from tests.servers import free_port
from worker.protocol import Reason, Status, TaskRecord
from worker.protocol.gpu_status import unpack

GIB = 1 << 30
OBJECTIVES = """
import json, os, time
from pathlib import Path

def hold(task, gib, seconds):
    path = Path(os.environ["FAKE_NVML"])
    state = json.loads(path.read_text())
    state["gpus"][0]["processes"].append([os.getpid(), int(gib) << 30])
    new = path.with_name("new")
    new.write_text(json.dumps(state))
    new.replace(path)
    time.sleep(seconds)
    return 1.0

class OutOfMemoryError(RuntimeError):
    pass

def too_much(task):
    hold(task, 60, 2.5)
    raise OutOfMemoryError("CUDA out of memory. Tried to allocate 30.00 GiB. GPU 0 has a total capacity of 80 GiB")
"""


class Machine:
    """What the driver says."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.set()

    def set(self, **about: Any) -> None:
        state = {"gpus": [gpu(0), gpu(1)], "fails": {}, **about}
        self.path.with_name("next").write_text(json.dumps(state))
        self.path.with_name("next").replace(self.path)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "nvml.json")


@pytest.fixture
def bench(tmp_path: Path, redis_url: str) -> Bench:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/nvidia-smi").write_text("#!/bin/sh\necho '0, GPU-0000-0'\necho '1, GPU-1111-0'\n")
    (tmp_path / "bin/nvidia-smi").chmod(0o755)
    (tmp_path / "lib").mkdir()
    shutil.copy(fakenvml.__file__, tmp_path / "lib/pynvml.py")
    (tmp_path / "node").mkdir()
    found = Bench(redis_url, tmp_path / "node")
    found.module("obj.py", OBJECTIVES)
    return found


@pytest.fixture
def stranger() -> Iterator[int]:
    process = subprocess.Popen(["sleep", "120"])
    yield process.pid
    process.kill()
    process.wait()


def log_of(bench: Bench) -> str:
    return (bench.folder.parent / "worker.log").read_text()


def serving(bench: Bench, *options: str) -> Any:
    top = bench.folder.parent

    return started(
        "worker", "--name", "w", *options, cwd=bench.folder, log=top / "worker.log", REDIS_URL=bench.url,
        PYTHONPATH=str(top / "lib"), FAKE_NVML=str(top / "nvml.json"), PATH=f"{top}/bin:{os.environ['PATH']}",
    )  # fmt: skip


def gpus_of(bench: Bench) -> list[str]:
    return [str(each) for row in bench.store.workers.list() for each in unpack(row.get("gpus", ""))]


def ended(bench: Bench, target: str, **parameters: Any) -> TaskRecord:
    return bench.ended(bench.submit(target, parameters=parameters))


def test_from_the_driver_to_the_people(bench: Bench, machine: Machine, stranger: int) -> None:
    machine.set(gpus=[gpu(0, processes=[[stranger, 8 * GIB]]), gpu(1)])
    port = free_port()
    with serving(bench, "--slots", "1", "--gpus", "0", "--metrics-port", str(port)):
        wait_for(lambda: gpus_of(bench) == ["0: 87 % 9.0 of 80.0 GB 61 °C"], "the registration", 20.0)
        task = ended(bench, "obj:hold", gib=20, seconds=3.0)
        assert task.status is Status.COMPLETED, task.reason
        scalars = bench.store.reports.scalars([task.id])[0]
        seen = {
            key.split("/", 1)[1]: each.last
            for key, each in scalars.items()
            if key.startswith(":monitor:gpu/")
        }
        assert seen == {
            "0/utilization": 87.0, "0/memory_used_gb": 9.0, "0/memory_free_gb": 71.0, "0/temperature": 61.0,
            "0/power": 402.5, "0/process_memory_gb": 20.0,
        }  # fmt: skip
        shown = run("controller", "show", task.id, cwd=bench.folder, REDIS_URL=bench.url).stdout
        assert "GPUs, at most" in shown
        assert "process_memory_gb" in shown
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            metrics = answer.read().decode()
        (utilization,) = re.findall(
            r"^optuna_rq_worker_gpu_utilization_ratio\{.*\} (.*)$", metrics, re.MULTILINE
        )
        assert float(utilization) == 0.87
        line = f"GPU 0 (NVIDIA H100, 80.0 GB) is held by others: process {stranger} (sleep of "
        assert f"optuna-rq: {line}" in bench.output(task.id)
        assert line in log_of(bench)

        machine.set(gpus=[gpu(0, processes=[[stranger, 8 * GIB]]), gpu(1)])
        task = ended(bench, "obj:too_much")
        assert (task.status, task.reason_class) == (Status.FAILED, Reason.OUT_OF_MEMORY)
        assert "Tried to allocate 30.00 GiB" in task.reason
        assert (
            f"[GPU 0 (NVIDIA H100, 80.0 GB), this trial held 60.0 GB, others held it: process {stranger}"
            in task.reason
        )

        # One fails, then the driver does: trials go on, with a line for each.
        machine.set(fails={"nvmlDeviceGetMemoryInfo:0": 15})
        wait_for(lambda: gpus_of(bench) == ["0: lost (GPU is lost)"], "the loss", 30.0)
        assert ended(bench, "obj:hold", gib=1, seconds=0.0).status is Status.COMPLETED
        machine.set(fails={"nvmlDeviceGetCount": 1})
        wait_for(lambda: "GPUs aren't watched: Uninitialized" in log_of(bench), "the driver's end", 30.0)
        task = ended(bench, "obj:hold", gib=1, seconds=1.2)
        assert task.status is Status.COMPLETED
        assert log_of(bench).count("GPU 0 (NVIDIA H100) is lost: GPU is lost") == 1
    assert log_of(bench).count("aren't watched") == 1
    assert "Traceback" not in log_of(bench)


def test_a_driver_that_hangs_holds_up_nobody(bench: Bench, machine: Machine) -> None:
    machine.set(hangs=True)
    with serving(bench, "--slots", "1", "--gpus", "0") as process:
        wait_for(lambda: bench.store.workers.list(), "the worker")
        began = time.monotonic()
        assert ended(bench, "obj:hold", gib=1, seconds=0.0).status is Status.COMPLETED
        assert time.monotonic() - began < 20
        process.terminate()
        assert process.wait(20) == 0
    assert gpus_of(bench) == []


@pytest.mark.parametrize("code", [9, 12])
def test_without_a_driver_there_is_one_line(bench: Bench, machine: Machine, code: int) -> None:
    machine.set(fails={"nvmlInit": code})
    with serving(bench, "--slots", "2", "--gpus", "0,1"):
        wait_for(lambda: "aren't watched" in log_of(bench), "the line", 20.0)
        for _ in range(3):
            assert ended(bench, "obj:hold", gib=1, seconds=0.6).status is Status.COMPLETED
    (line,) = [line for line in log_of(bench).splitlines() if "aren't watched" in line]
    assert line.endswith(f"GPUs aren't watched: {fakenvml.TEXTS[code]}")
