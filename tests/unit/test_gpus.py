"""GPUs without any: what NVML says and how it fails, the watch, a slot's cards, what people see."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import generate_latest

from controller.results.status import worker_rows
from controller.results.tasks import gpu_rows
from tests import fakenvml
from tests.fakenvml import gpu
from tests.servers import free_port
from worker.health.address import Address
from worker.health.monitoring import Monitoring
from worker.process.out_of_memory import of_gpu
from worker.protocol.gpu_status import GpuStatus, pack, unpack
from worker.slot.devices import visible
from worker.slot.gpus import nvidia, watcher
from worker.slot.gpus.amd import AmdSmi, RocmSmi
from worker.slot.gpus.cards import Cards, read_sample
from worker.slot.gpus.device import Device, DriverAway, DriverMissing, chosen
from worker.slot.gpus.nvidia import Nvml
from worker.slot.gpus.watch import AWAY_S, BUSY_S, IDLE_PERIOD_S, PERIOD_S, READ, Watch
from worker.slot.gpus.watcher import SILENT_S, GpuWatcher, is_worth_it

GIB = 1 << 30


@pytest.fixture
def machine() -> Iterator[dict[str, Any]]:
    """Two GPUs; what is changed here, the driver says."""
    fakenvml.state.data = {"gpus": [gpu(0), gpu(1)], "fails": {}}
    yield fakenvml.state.data
    fakenvml.state.data = None


def open_fake() -> Nvml:
    return Nvml(fakenvml)


# NVML


def test_what_is_read(machine: dict[str, Any]) -> None:
    machine["gpus"][1]["processes"] = [[41, 3 * GIB], [42, None]]
    first, second = open_fake().devices()
    assert first == Device(
        number="0", uuid="GPU-0000-0", name="NVIDIA H100", total=80 * GIB, used=9 * GIB, free=71 * GIB,
        utilization=87.0, temperature=61.0, power=402.5,
    )  # fmt: skip
    assert second.holders == [(41, 3 * GIB), (42, None)]
    assert Device.from_dict(json.loads(json.dumps(second.to_dict()))) == second


@pytest.mark.parametrize(
    ("function", "field"),
    [
        ("nvmlDeviceGetMemoryInfo", "total"),
        ("nvmlDeviceGetUtilizationRates", "utilization"),
        ("nvmlDeviceGetTemperature", "temperature"),
        ("nvmlDeviceGetPowerUsage", "power"),
        ("nvmlDeviceGetComputeRunningProcesses", "holders"),
        ("nvmlDeviceGetMigMode", ""),
        ("nvmlDeviceGetName", ""),
    ],
)
@pytest.mark.parametrize("code", [2, 3, 4, 999])
def test_what_is_not_told_is_left_out(machine: dict[str, Any], function: str, field: str, code: int) -> None:
    machine["fails"] = {f"{function}:0": code}
    first, second = open_fake().devices()
    assert first.lost == second.lost == ""
    assert not field or not getattr(first, field)
    assert second.utilization == 87.0
    assert first.uuid == "GPU-0000-0"


def test_functions_that_an_old_library_lacks(machine: dict[str, Any]) -> None:
    old = SimpleNamespace(**{n: v for n, v in vars(fakenvml).items() if "Mig" not in n and "Power" not in n})
    first, _ = Nvml(old).devices()
    assert (first.power, first.temperature) == (None, 61.0)


@pytest.mark.parametrize("code", [15, 16])
@pytest.mark.parametrize(
    "function", ["nvmlDeviceGetHandleByIndex", "nvmlDeviceGetMemoryInfo", "nvmlDeviceGetPowerUsage"]
)
def test_a_gpu_that_is_lost(machine: dict[str, Any], function: str, code: int) -> None:
    driver = open_fake()
    driver.devices()
    machine["fails"] = {f"{function}:0": code}
    first, second = driver.devices()
    assert first == Device(number="0", uuid="GPU-0000-0", name="NVIDIA H100", lost=fakenvml.TEXTS[code])
    assert second.utilization == 87.0
    machine["fails"] = {}
    assert driver.devices()[0].lost == ""


def test_a_gpu_of_other_jobs_is_none_of_ours(machine: dict[str, Any]) -> None:
    machine["fails"] = {"nvmlDeviceGetHandleByIndex:0": 4}
    driver = open_fake()
    (only,) = driver.devices()
    assert (only.number, only.lost) == ("1", "")
    machine["fails"] = {"nvmlDeviceGetHandleByIndex:1": 999}
    assert [(each.number, each.lost) for each in driver.devices()] == [("0", ""), ("1", "it doesn't answer")]


def test_what_a_library_raises_that_it_should_not(
    machine: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        def devices(self) -> list[Device]:
            raise OSError("libnvidia-ml.so: undefined symbol\nof more lines")

        def close(self) -> None:
            pass

    def broken() -> Any:
        raise SyntaxError("not for this Python")

    watch = Watch(tmp_path, [Broken, broken])
    assert watch.open()
    assert watch.look() is None
    assert len(caplog.messages) == 2
    assert not any("\n" in line for line in caplog.messages)


def test_a_gpu_that_disappears_takes_nobodys_number(machine: dict[str, Any]) -> None:
    driver = open_fake()
    driver.devices()
    del machine["gpus"][0]
    one, zero = driver.devices()
    assert (one.number, one.uuid, one.lost) == ("1", "GPU-1111-0", "")
    assert (zero.number, zero.uuid, zero.lost) == ("0", "GPU-0000-0", "it is gone")


def test_parts_of_a_gpu(machine: dict[str, Any]) -> None:
    parts = [
        gpu(7, uuid=f"MIG-{n}", name="NVIDIA H100 MIG 1g.10gb", memory=[10 * GIB, GIB]) for n in range(2)
    ]
    machine["gpus"][0]["parts"] = parts
    found = open_fake().devices()
    assert [(each.number, each.uuid, each.total) for each in found] == [
        ("0", "GPU-0000-0", 80 * GIB), ("0.0", "MIG-0", 10 * GIB), ("0.1", "MIG-1", 10 * GIB),
        ("1", "GPU-1111-0", 80 * GIB),
    ]  # fmt: skip
    assert (found[2].utilization, found[2].power) == (None, 402.5)
    assert [each.number for each in chosen(found, ["MIG-1", "1"])] == ["0.1", "1"]
    assert [each.number for each in chosen(found, None)] == ["0", "1"]


@pytest.mark.parametrize(
    ("code", "kind"), [(12, DriverMissing), (9, DriverAway), (18, DriverAway), (999, DriverAway)]
)
def test_no_driver(machine: dict[str, Any], code: int, kind: type[Exception]) -> None:
    machine["fails"] = {"nvmlInit": code}
    with pytest.raises(kind) as caught:
        open_fake()
    assert str(caught.value) == fakenvml.TEXTS[code]


@pytest.mark.parametrize(
    ("names", "numbers"),
    [
        (["1", "0"], ["1", "0"]), (["GPU-1111-0"], ["1"]), (["GPU-1"], ["1"]), (["7"], []), (["GPU-x"], []), ([], []),
        (["0", "7"], ["0"]), (["MIG-GPU-1/2/3"], []),
    ],
)  # fmt: skip
def test_names(machine: dict[str, Any], names: list[str], numbers: list[str]) -> None:
    assert [each.number for each in chosen(open_fake().devices(), names)] == numbers


def test_what_programs_see() -> None:
    assert visible({}) is None
    assert visible({"CUDA_VISIBLE_DEVICES": "1,GPU-a,-1,2"}) == ("1", "GPU-a")
    assert visible({"CUDA_VISIBLE_DEVICES": ""}) == ()


def test_the_real_package_without_a_driver() -> None:
    pytest.importorskip("pynvml")
    if any(Path("/dev").glob("nvidia*")):
        pytest.skip("this machine has one")
    with pytest.raises(DriverMissing, match="Not Found"):
        nvidia.open_nvidia()


def test_the_real_package_has_the_functions_and_codes() -> None:
    real = pytest.importorskip("pynvml")
    ours = [name for name in vars(fakenvml) if name.startswith(("nvml", "NVML_"))]
    assert len(ours) > 20
    assert [name for name in ours if not hasattr(real, name)] == []
    codes = [name for name in ours if name.startswith("NVML_ERROR_")]
    assert {name: getattr(real, name) for name in codes} == {name: getattr(fakenvml, name) for name in codes}
    assert real.NVMLError(15).value == 15


# AMD


class AmdSmiException(Exception):
    pass


class Smi:
    """What of the module ``amdsmi`` is used, over one device."""

    AmdSmiException = AmdSmiException
    AmdSmiTemperatureType = SimpleNamespace(EDGE=0, HOTSPOT=1)
    AmdSmiTemperatureMetric = SimpleNamespace(CURRENT=0)

    def __init__(self, **answers: Any) -> None:
        self.answers = {
            "gpu_vram_usage": {"vram_total": 65520, "vram_used": 1000},
            "power_info": {"current_socket_power": "N/A", "average_socket_power": 310},
            "temp_metric": 47,
            "gpu_device_uuid": "GPU-amd",
            "gpu_asic_info": {"market_name": "AMD Instinct MI250X"},
            "gpu_activity": {"gfx_activity": 93},
            "gpu_process_list": [{"pid": 41, "memory_usage": {"vram_mem": GIB}}],
            **answers,
        }

    def amdsmi_init(self) -> None:
        if "init" in self.answers:
            raise AmdSmiException("no driver")

    def amdsmi_shut_down(self) -> None:
        raise AmdSmiException("not initialized")

    def amdsmi_get_processor_handles(self) -> list[str]:
        return ["handle"]

    def __getattr__(self, name: str) -> Any:
        answer = self.answers[name.removeprefix("amdsmi_get_")]
        if answer is None:
            raise AttributeError(name)

        def ask(*args: Any) -> Any:
            if isinstance(answer, Exception):
                raise answer
            return answer

        return ask


def test_amd() -> None:
    (device,) = AmdSmi(Smi()).devices()
    assert device == Device(
        number="0", uuid="GPU-amd", name="AMD Instinct MI250X", total=65520 << 20, used=1000 << 20, free=64520 << 20,
        utilization=93.0, temperature=47.0, power=310.0, holders=[(41, GIB)],
    )  # fmt: skip


@pytest.mark.parametrize(
    "name", ["power_info", "temp_metric", "gpu_device_uuid", "gpu_activity", "gpu_process_list"]
)
@pytest.mark.parametrize("answer", [None, AmdSmiException("no permission")])
def test_what_amd_does_not_tell(name: str, answer: Any) -> None:
    driver = AmdSmi(Smi(**{name: answer}))
    (device,) = driver.devices()
    assert (device.used, device.lost) == (1000 << 20, "")
    driver.close()


def test_amd_away() -> None:
    with pytest.raises(DriverAway, match="no driver"):
        AmdSmi(Smi(init=True))
    (device,) = AmdSmi(Smi(gpu_vram_usage=AmdSmiException("lost"))).devices()
    assert device.lost == "it doesn't answer"


ROCM = {
    "card0": {
        "GPU use (%)": "12", "VRAM Total Memory (B)": "68702699520", "VRAM Total Used Memory (B)": "11014144",
        "Temperature (Sensor edge) (C)": "35.0", "Temperature (Sensor memory) (C)": "50.0",
        "Average Graphics Package Power (W)": "90.0", "Card series": "Instinct MI210", "Unique ID": "0xabc",
    },
    "card1": {"GPU use (%)": "N/A"},
    "system": {"Driver version": "6"},
}  # fmt: skip


def test_rocm_smi(tmp_path: Path) -> None:
    tool = tmp_path / "rocm-smi"
    tool.write_text(f"#!/bin/sh\necho 'WARNING: low power'\necho '{json.dumps(ROCM)}'\n")
    tool.chmod(0o755)
    first, second = RocmSmi(str(tool)).devices()
    assert first == Device(
        number="0", uuid="0xabc", name="Instinct MI210", total=68702699520, used=11014144,
        free=68702699520 - 11014144, utilization=12.0, temperature=35.0, power=90.0,
    )  # fmt: skip
    assert second == Device(number="1")
    for body in ("exit 3", "echo nonsense", "echo '{'"):
        tool.write_text(f"#!/bin/sh\n{body}\n")
        with pytest.raises(DriverAway, match="rocm-smi"):
            RocmSmi(str(tool)).devices()


# The watch


def test_the_watch_writes_what_it_sees(machine: dict[str, Any], tmp_path: Path) -> None:
    watch = Watch(tmp_path, [open_fake])
    assert watch.open()
    assert read_sample(tmp_path) == (float("-inf"), [])
    found = watch.look()
    at, read = read_sample(tmp_path)
    assert read == found
    assert time.monotonic() - at < 5


def test_each_trouble_is_one_line(
    machine: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    watch = Watch(tmp_path, [open_fake])
    watch.open()
    watch.look()
    machine["fails"] = {"nvmlDeviceGetMemoryInfo:1": 15}
    for _ in range(3):
        watch.look()
    assert caplog.messages == ["GPU 1 (NVIDIA H100) is lost: GPU is lost"]
    machine["fails"] = {}
    watch.look()
    machine["fails"] = {"nvmlDeviceGetMemoryInfo:1": 15}
    watch.look()
    assert len(caplog.messages) == 2  # it came back in between
    caplog.clear()
    # The driver is loaded again, say: no device answers for a while.
    machine["fails"] = {"nvmlDeviceGetCount": 1, "nvmlInit": 9, "nvmlShutdown": 1}
    assert watch.look() is None
    assert watch.open()
    assert watch.look() is None
    assert caplog.messages == ["GPUs aren't watched: Uninitialized", "GPUs aren't watched: Driver Not Loaded"]
    machine["fails"] = {}
    assert watch.open()
    assert watch.look()


def test_a_watch_of_nothing_ends(
    machine: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    machine["fails"] = {"nvmlInit": 12}
    assert not Watch(tmp_path, [open_fake, lambda: None]).open()
    assert caplog.messages == ["GPUs aren't watched: NVML Shared Library Not Found"]
    assert not Watch(tmp_path, [lambda: None]).open()


def test_it_looks_more_often_while_something_runs(machine: dict[str, Any], tmp_path: Path) -> None:
    watch = Watch(tmp_path, [open_fake])
    assert watch.period_s() == IDLE_PERIOD_S
    Cards(tmp_path, None, os.getpid()).strangers()
    assert watch.period_s() == PERIOD_S
    old = time.time() - BUSY_S - 1
    os.utime(tmp_path / READ, (old, old))
    assert watch.period_s() == IDLE_PERIOD_S


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"at": 1}', '{"at": "x", "devices": []}',
                                  '{"at": 1, "devices": [{"number": "0", "holders": [], "new": 1}]}'])  # fmt: skip
def test_a_sample_that_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "gpus.json").write_text(text)
    assert read_sample(tmp_path) == (float("-inf"), [])


# The worker's side


@pytest.mark.parametrize(
    ("nodes", "packages", "gpus", "worth"),
    [
        ([], [], [], False),
        (["nvidiactl"], [], ["0"], False),  # without the package nothing is asked
        ([], ["pynvml"], [], False),
        (["nvidiactl"], ["pynvml"], [], True),
        ([], ["pynvml"], ["0"], True),
        (["kfd"], ["pynvml"], [], False),
        (["kfd"], ["amdsmi"], [], True),
    ],
)
def test_when_there_is_a_watch(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    nodes: list[str],
    packages: list[str],
    gpus: list[str],
    worth: bool,
) -> None:
    for node in nodes:
        (tmp_path / node).touch()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(watcher.importlib.util, "find_spec", lambda name: name if name in packages else None)
    assert is_worth_it(gpus, tmp_path) == worth


def test_the_workers_devices(
    machine: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = SimpleNamespace(now=time.monotonic())
    watching = GpuWatcher(tmp_path, ["1", "GPU-x"], lambda: clock.now)
    assert watching.status() == []
    watch = Watch(tmp_path, [open_fake])
    watch.open()
    watch.look()
    for _ in range(3):
        (status,) = watching.status()
    assert str(status) == "1: 87 % 9.0 of 80.0 GB 61 °C"
    assert caplog.messages == ["GPU GPU-x isn't watched: its driver doesn't know it (it knows 0, 1)"]
    clock.now += SILENT_S + 1
    assert watching.status() == []  # rather than what was true once
    assert watching.pid is None
    watching.close()


def test_a_driver_that_hangs(
    machine: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = SimpleNamespace(now=time.monotonic() - 1)
    watching = GpuWatcher(tmp_path, None, lambda: clock.now)
    watching._process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        watch = Watch(tmp_path, [open_fake])
        watch.open()
        watch.look()
        assert len(watching.status()) == 2
        clock.now += AWAY_S + SILENT_S + 5
        assert [watching.status(), watching.status()] == [[], []]
        (line,) = caplog.messages
        assert line.startswith("the GPUs' driver has not answered for ")
        (tmp_path / "gpus.json").unlink()  # nor does one that hung from the beginning
        assert watching.status() == []
        assert len(caplog.messages) == 1
    finally:
        watching.close()
        watching._process.wait()


# A slot's cards


@pytest.fixture
def stranger() -> Iterator[int]:
    # Not below this process, as far as the worker is concerned.
    process = subprocess.Popen(["sleep", "60"])
    yield process.pid
    process.kill()
    process.wait()


@pytest.fixture
def below() -> Iterator[int]:
    """The process id of a worker that runs nothing."""
    process = subprocess.Popen(["sleep", "60"])
    yield process.pid
    process.kill()
    process.wait()


def looked(folder: Path) -> None:
    watch = Watch(folder, [open_fake])
    watch.open()
    watch.look()


def test_a_trials_samples(machine: dict[str, Any], tmp_path: Path, stranger: int, below: int) -> None:
    machine["gpus"][1]["processes"] = [[41, 2 * GIB], [42, GIB], [stranger, 5 * GIB], [43, None]]
    began = time.monotonic()
    cards = Cards(tmp_path, ["1"], below)
    assert list(cards.sample([41], began)) == []  # nothing was seen yet
    looked(tmp_path)
    assert list(cards.sample([41, 42, 43], began)) == [
        (":monitor:gpu/1", "utilization", 87.0),
        (":monitor:gpu/1", "memory_used_gb", 9.0),
        (":monitor:gpu/1", "memory_free_gb", 71.0),
        (":monitor:gpu/1", "temperature", 61.0),
        (":monitor:gpu/1", "power", 402.5),
        (":monitor:gpu/1", "process_memory_gb", 3.0),
    ]
    # Not what was seen before it began, nor of a GPU that is lost, nor of another slot's.
    assert list(cards.sample([41], time.monotonic())) == []
    assert list(Cards(tmp_path, [], below).sample([41], began)) == []
    assert list(Cards(None, None, below).sample([41], began)) == []
    machine["fails"] = {"nvmlDeviceGetMemoryInfo:1": 15}
    looked(tmp_path)
    assert list(cards.sample([41], began)) == []


def test_memory_that_is_not_told_per_process(machine: dict[str, Any], tmp_path: Path, below: int) -> None:
    machine["gpus"][0]["processes"] = [[41, None]]
    began = time.monotonic()
    looked(tmp_path)
    series = [name for _, name, _ in Cards(tmp_path, ["0"], below).sample([41], began)]
    assert "process_memory_gb" not in series
    assert "memory_used_gb" in series


def test_who_holds_a_card(machine: dict[str, Any], tmp_path: Path, stranger: int, below: int) -> None:
    machine["gpus"][0]["processes"] = [
        [stranger, 5 * GIB],
        [os.getpid(), GIB],
        [below, GIB],
        [4_000_000, GIB],
    ]
    looked(tmp_path)
    (line,) = Cards(tmp_path, ["0", "1"], below).strangers()
    assert line.startswith(f"GPU 0 (NVIDIA H100, 80.0 GB) is held by others: process {stranger} (sleep of ")
    assert line.endswith(") 5.0 GB")
    assert Cards(tmp_path, ["1"], below).strangers() == []
    assert Cards(tmp_path, ["0"], os.getpid()).strangers() == []  # below this worker
    machine["gpus"][0]["processes"] = [[stranger, None]]
    machine["fails"] = {"nvmlDeviceGetHandleByIndex:1": 15}
    looked(tmp_path)
    (line,) = Cards(tmp_path, None, below).strangers()
    assert line.endswith(")")  # how much is not told


TORCH = "OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 1 has a total capacity of 79.11 GiB"


def test_out_of_memory_is_explained(
    machine: dict[str, Any], tmp_path: Path, stranger: int, below: int
) -> None:
    machine["gpus"][1]["processes"] = [[41, 70 * GIB], [stranger, 8 * GIB]]
    began = time.monotonic()
    cards = Cards(tmp_path, ["0", "1"], below)
    looked(tmp_path)
    list(cards.sample([41], began))
    machine["gpus"][1]["processes"] = [[stranger, 8 * GIB]]  # it has ended since
    looked(tmp_path)
    said = cards.explain(TORCH)
    assert said.startswith(
        f"{TORCH} [GPU 1 (NVIDIA H100, 80.0 GB), this trial held 70.0 GB, others held it: process {stranger} (sleep"
    )
    assert "GPU 0 (" not in said
    assert "GPU 0 (NVIDIA H100, 80.0 GB); GPU 1 (NV" in cards.explain("CUDA error: out of memory")
    assert Cards(None, None, below).explain(TORCH) == TORCH


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        (TORCH, True),
        ("RuntimeError: CUDA error: out of memory", True),
        ("RuntimeError: CUDA out of memory. Tried", True),
        ("RuntimeError: HIP out of memory. Tried", True),
        ("XlaRuntimeError: RESOURCE_EXHAUSTED: Out of memory while trying to allocate 8 bytes.", True),
        ("ResourceExhaustedError: OOM when allocating tensor with shape[9]", True),
        ("cupy.cuda.memory.OutOfMemoryError: Out of memory allocating 8 bytes", True),
        ("RuntimeError: CUDA driver error: CUDA_ERROR_OUT_OF_MEMORY", True),
        ("RuntimeError: cuDNN error: CUDNN_STATUS_ALLOC_FAILED", True),
        ("RuntimeError: CUDA error: device-side assert triggered", False),
        ("RESOURCE_EXHAUSTED: quota of requests", False),
        ("ValueError: ran out of memory of things", False),
        ("MemoryError", False),
    ],
)
def test_words_for_a_gpus_memory(text: str, is_one: bool) -> None:
    assert of_gpu(text) == is_one


# What is shown

STATUS = GpuStatus(
    number="0", name="NVIDIA H100", used=9.0, total=80.0, utilization=87.0, temperature=61.0, power=402.5
)


def test_a_registration_tells_and_is_read_with_care() -> None:
    lost = GpuStatus(number="0.1", name="n" * 99, lost="GPU is lost")
    read = unpack(pack([STATUS, lost]))
    assert read[0] == STATUS
    assert (str(read[1]), len(read[1].name)) == ("0.1: lost (GPU is lost)", 48)
    assert str(GpuStatus(number="3", name="")) == "3:"
    many = [GpuStatus(number=str(n), name="N" * 48, used=1e6 / 3, total=1e6 / 7) for n in range(200)]
    assert len(pack(many)) <= 4096
    assert 20 < len(unpack(pack(many))) < 200
    assert pack([]) == "[]"


@pytest.mark.parametrize(
    "text",
    ["", "[", "{}", "3", "[3]", "[[]]", '[["0"]]', '[[0,"n",1,2,3,4,5,""]]', '[["0","n",1,2,3,4,5,6]]', "[" * 100_000],
)  # fmt: skip
def test_no_registration_of_gpus(text: str) -> None:
    assert unpack(text) == []


@pytest.mark.parametrize("value", ['"x"', "1e999", "true", "NaN", "1e12", "[]"])
def test_numbers_that_are_none(value: str) -> None:
    (found,) = unpack(f'[["0","\\u001b[31mn\\n",{value},2,3,4,5,""]]')
    assert found.used is None
    assert found.total == 2.0
    assert "\x1b" not in found.name
    assert "\n" not in found.name


def test_rows_for_people() -> None:
    row = {"worker": "w", "gpus": []}
    assert worker_rows([row]) == [{"worker": "w"}]
    gpus = [json.loads(json.dumps(STATUS.__dict__))]
    assert worker_rows([row, {"worker": "v", "gpus": gpus}]) == [
        {"worker": "w", "gpus": ""},
        {"worker": "v", "gpus": "0: 87 % 9.0 of 80.0 GB 61 °C"},
    ]
    sampled = {
        ":monitor:gpu/0.1/utilization": {"value": 1.0, "max_value": 93.0},
        ":monitor:gpu/0.1/memory_free_gb": {"value": 1.0, "max_value": 9.0},
        ":monitor:machine/cpu_usage": {"value": 1.0, "max_value": 9.0},
        "loss": {"value": 1.0, "max_value": 9.0},
    }
    assert gpu_rows(sampled) == [{"gpu": "0.1", "utilization": 93.0}]


def test_metrics_of_a_worker() -> None:
    monitoring = Monitoring(Address("127.0.0.1", free_port()), "w", 1)
    try:
        monitoring.gpus = [STATUS, GpuStatus(number="1", name="NVIDIA H100", lost="GPU is lost")]
        text = generate_latest(monitoring.registry).decode()
    finally:
        monitoring.close()
    shown = [line.replace('gpu="0",name="NVIDIA H100",worker="w"', "0").replace('gpu="1",name="NVIDIA H100",worker="w"', "1")
             for line in text.splitlines() if line.startswith("optuna_rq_worker_gpu_")]  # fmt: skip
    assert shown == [
        "optuna_rq_worker_gpu_up{0} 1.0",
        "optuna_rq_worker_gpu_up{1} 0.0",
        "optuna_rq_worker_gpu_utilization_ratio{0} 0.87",
        "optuna_rq_worker_gpu_memory_used_bytes{0} 9.663676416e+09",
        "optuna_rq_worker_gpu_memory_bytes{0} 8.589934592e+10",
        "optuna_rq_worker_gpu_temperature_celsius{0} 61.0",
        "optuna_rq_worker_gpu_power_watts{0} 402.5",
    ]


def test_nothing_of_it_is_imported_beforehand() -> None:
    text = "import sys, worker.slot.slot, worker.slot.daemon; print([m for m in sys.modules if m in ('pynvml', 'amdsmi')])"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
