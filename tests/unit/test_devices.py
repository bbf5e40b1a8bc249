"""GPUs and threads: which there are, what a user may name, and how slots share them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from worker.protocol.errors import BadInput
from worker.protocol.sizes import parse_size, show_size
from worker.slot import devices
from worker.slot.devices import VISIBLE, cpus, gpus_here, parse_gpus, share_of, slot_environment
from worker.slot.settings import resolve

UUIDS = {
    "0": "GPU-aaaa1111-0000",
    "1": "GPU-bbbb2222-0000",
    "2": "GPU-cccc3333-0000",
    "3": "GPU-dddd4444-0000",
}

Install = Callable[[str], None]


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts a shell script in nvidia-smi's place; there is none otherwise."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv(VISIBLE, raising=False)

    def install(body: str) -> None:
        tool = tmp_path / "nvidia-smi"
        tool.write_text(f"#!/bin/sh\n{body}\n")
        tool.chmod(0o755)

    return install


@pytest.fixture
def four(nvidia_smi: Install) -> None:
    rows = "\n".join(f"echo '{index}, {uuid}'" for index, uuid in UUIDS.items())
    nvidia_smi(f'[ "$1 $2" = "--query-gpu=index,uuid --format=csv,noheader" ] || exit 2\n{rows}')


@pytest.mark.usefixtures("four")
@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("0", ("0",)),
        ("0,1", ("0", "1")),
        (" 3 , 0 ", ("3", "0")),
        ("all", ("0", "1", "2", "3")),
        (UUIDS["1"], (UUIDS["1"],)),
        ("GPU-cccc", ("GPU-cccc",)),  # CUDA takes the beginning of an id
        ("MIG-1234/5/6", ("MIG-1234/5/6",)),
    ],
)
def test_what_can_be_named(text: str, found: tuple[str, ...]) -> None:
    assert parse_gpus(text, {}) == found


@pytest.mark.usefixtures("four")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("4", "this machine has no GPU 4; there are 0, 1, 2, 3"),
        ("0,7", "this machine has no GPU 7"),
        ("0,1,0", "0 is named twice"),
        ("GPU-eeee", "this machine has no GPU GPU-eeee"),
        ("two", "'two' is no GPU; give numbers such as 0,1, or all"),
        ("0-3", "'0-3' is no GPU"),
        ("0;1", "'0;1' is no GPU"),
        ("-1", "'-1' is no GPU"),
        ("0,", "'' is no GPU"),
        ("", "'' is no GPU"),
        ("all,0", "'all' is no GPU"),
        ("00", "no GPU 00"),
        ("٣", "no GPU"),
    ],
)
def test_what_cannot_be_named(text: str, said: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse_gpus(text, {})
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("four")
def test_what_the_environment_hides_is_not_there() -> None:
    assert parse_gpus("all", {VISIBLE: "2,3"}) == ("2", "3")
    assert parse_gpus("3", {VISIBLE: "2,3"}) == ("3",)
    with pytest.raises(BadInput, match="no GPU 0; there are 2, 3"):
        parse_gpus("0", {VISIBLE: "2,3"})
    for hidden in ("", "-1"):
        with pytest.raises(BadInput, match="no GPU"):
            parse_gpus("0", {VISIBLE: hidden})
        with pytest.raises(BadInput, match="no GPU"):
            parse_gpus("all", {VISIBLE: hidden})


@pytest.mark.parametrize(
    "body", [None, "exit 9", "echo 'NVIDIA-SMI has failed'; exit 9", "kill -9 $$", "echo No devices"]
)
def test_a_machine_without(body: str | None, nvidia_smi: Install) -> None:
    if body:
        nvidia_smi(body)
    if list(Path("/dev").glob("nvidia[0-9]*")):
        pytest.skip("this machine has some")
    assert gpus_here() == []
    for text in ("0", "all", "GPU-aaaa"):
        with pytest.raises(BadInput, match=f"--gpus {text}: this machine has no"):
            parse_gpus(text, {})


def test_a_driver_that_hangs(nvidia_smi: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_ANSWER_S", 0.2)
    nvidia_smi("exec sleep 30")
    assert gpus_here() == []


@pytest.mark.parametrize(
    ("gpus", "slots", "shares"),
    [
        ("0", 1, ["0"]),
        ("01", 1, ["01"]),
        ("0123", 2, ["01", "23"]),
        ("01", 2, ["0", "1"]),
        ("012", 2, ["0", "12"]),
        ("01", 3, ["0", "1", "0"]),
        ("0", 3, ["0", "0", "0"]),
        ("0123456", 3, ["01", "23", "456"]),
        ("3210", 2, ["32", "10"]),
    ],
)
def test_shares(gpus: str, slots: int, shares: list[str]) -> None:
    assert ["".join(share_of(gpus, slot, slots)) for slot in range(slots)] == shares


def test_a_slots_environment() -> None:
    share = str(max(1, cpus() // 2))
    assert slot_environment(0, 1, (), None, {}) == {}
    assert slot_environment(1, 2, ("0", "1", "2", "3"), None, {}) == {
        VISIBLE: "2,3",
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "OMP_NUM_THREADS": share,
    }
    fastest = slot_environment(0, 1, ("0",), None, {"CUDA_DEVICE_ORDER": "FASTEST_FIRST"})
    assert fastest["CUDA_DEVICE_ORDER"] == "FASTEST_FIRST"
    assert slot_environment(1, 2, (), None, {"OMP_NUM_THREADS": "5"}) == {}
    assert slot_environment(0, 2, (), 3, {"OMP_NUM_THREADS": "5"}) == {"OMP_NUM_THREADS": "3"}
    assert slot_environment(0, 1, (), 3, {}) == {"OMP_NUM_THREADS": "3"}
    assert slot_environment(0, 1000, (), None, {})["OMP_NUM_THREADS"] == "1"


@pytest.mark.usefixtures("four")
def test_all_mistakes_at_once() -> None:
    with pytest.raises(BadInput) as caught:
        resolve(
            redis_url="redis://localhost", queues=("a b",), slots=0, artifacts=None, burst=False, drain_s=1.0,
            name=None, gpus="9", threads=0, memory="lots", environment={},
        )  # fmt: skip
    said = str(caught.value).splitlines()
    assert [line.split()[0] for line in said] == ["--gpus", "--memory", "--slots", "--threads", "--queue:"]


@pytest.mark.usefixtures("four")
@pytest.mark.parametrize(("option", "value"), [("gpus", ""), ("memory", "")])
def test_an_option_that_is_empty_is_no_option(option: str, value: str) -> None:
    # As of `--gpus "$GPUS"` where nothing is in it: all GPUs for everybody is not what was meant.
    with pytest.raises(BadInput, match=f"--{option}"):
        resolve(
            redis_url="redis://localhost", queues=(), slots=1, artifacts=None, burst=False, drain_s=1.0,
            name=None, environment={}, **{option: value},
        )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4GB", 4_000_000_000), ("500MiB", 500 * 2**20), ("200MB", 200_000_000), ("1.5 GiB", 1_610_612_736),
        ("1e6", 1_000_000), ("2k", 2000), ("7", 7), ("1tb", 10**12), ("64 kib", 65536), ("100b", 100), (" 1g ", 10**9),
    ],
)  # fmt: skip
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text, "--memory") == size


@pytest.mark.parametrize(
    "text",
    ["lots", "", "GB", "-1GB", "4 PB", "4GBs", "0", "0.1", "1,5GB", "4G B", "1e400", "i", "4i", "nan", "inf"],
)
def test_no_sizes(text: str) -> None:
    with pytest.raises(BadInput, match="write a size such as 4GB or 500MiB") as caught:
        parse_size(text, "--memory")
    assert str(caught.value).startswith(f"--memory {text!r}")


def test_sizes_for_people() -> None:
    assert [show_size(n) for n in (0, 999, 1000, 200_000_000, 4_000_000_000, 10**15)] == [
        "0 bytes", "999 bytes", "1 kB", "200 MB", "4 GB", "1e+03 TB",
    ]  # fmt: skip
