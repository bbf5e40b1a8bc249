"""What a slot has of its machine: GPUs, threads."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path

from worker.protocol.errors import BadInput

VISIBLE = "CUDA_VISIBLE_DEVICES"
ORDER = "CUDA_DEVICE_ORDER"
THREADS = "OMP_NUM_THREADS"

_ANSWER_S = 20.0


def cpus() -> int:
    """The CPUs that this process may use."""
    with contextlib.suppress(AttributeError):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def gpus_here() -> list[tuple[str, str]]:
    """Number and id (empty where nothing tells it) of each GPU of this machine, NVIDIA's or AMD's."""
    tool = shutil.which("nvidia-smi")
    if tool:
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            answer = subprocess.run(
                [tool, "--query-gpu=index,uuid", "--format=csv,noheader"],
                capture_output=True, text=True, timeout=_ANSWER_S, check=True,
            )  # fmt: skip
            rows = [line.split(",") for line in answer.stdout.splitlines() if "," in line]
            return [(index.strip(), uuid.strip()) for index, uuid in rows]
    nodes = sorted(Path("/dev").glob("nvidia[0-9]*"))
    if nodes:
        return [(node.name.removeprefix("nvidia"), "") for node in nodes]
    count = 0
    for properties in Path("/sys/class/kfd/kfd/topology/nodes").glob("*/gpu_id"):
        with contextlib.suppress(OSError):
            count += properties.read_text().strip() not in ("", "0")
    return [(str(number), "") for number in range(count)]


def parse_gpus(text: str, environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """The devices of ``--gpus``: numbers or ids between commas, or ``all``.

    Raises:
        BadInput: one is named twice, or isn't there.
    """
    here = gpus_here()
    visible = environment.get(VISIBLE)
    known = [index for index, _ in here] if visible is None else _named_in(visible)
    if text.strip() == "all":
        if not known:
            raise BadInput("--gpus all: this machine has no GPU (or its driver isn't loaded)")
        return tuple(known)
    named = [part.strip() for part in text.split(",")]
    for name in named:
        if not re.fullmatch(r"\d+|(GPU|MIG)-[\w/-]+", name):
            raise BadInput(f"--gpus {text}: {name!r} is no GPU; give numbers such as 0,1, or all")
        if named.count(name) > 1:
            raise BadInput(f"--gpus {text}: {name} is named twice")
        there = name in known or any(uuid.startswith(name) for _, uuid in here if uuid)
        # Nothing lists the parts that a GPU was divided into.
        if not there and not (name.startswith("MIG-") and here):
            shown = f"there are {', '.join(known)}" if known else "it has none (or its driver isn't loaded)"
            raise BadInput(f"--gpus {text}: this machine has no GPU {name}; {shown}")
    return tuple(named)


def _named_in(visible: str) -> list[str]:
    """The devices of a ``CUDA_VISIBLE_DEVICES``: those before one that is none, such as -1."""
    return list(takewhile(lambda name: name and name != "-1", (v.strip() for v in visible.split(","))))


def visible(environment: Mapping[str, str]) -> tuple[str, ...] | None:
    """The devices that programs with this environment see; None for all."""
    named = environment.get(VISIBLE)
    return None if named is None else tuple(_named_in(named))


def share_of(gpus: Sequence[str], slot: int, slots: int) -> Sequence[str]:
    """The devices of one slot: neighbours, as evenly as it goes; one, shared, where there are fewer."""
    if len(gpus) < slots:
        return gpus[slot % len(gpus) :][:1]
    return gpus[slot * len(gpus) // slots : (slot + 1) * len(gpus) // slots]


def slot_environment(
    slot: int,
    slots: int,
    gpus: Sequence[str],
    threads: int | None,
    environment: Mapping[str, str] = os.environ,
) -> dict[str, str]:
    """What a slot's programs find in their environment.

    Args:
        threads: of each program; None for an even share of the CPUs, unless the environment says something.
    """
    found = {}
    if gpus:
        found[VISIBLE] = ",".join(share_of(gpus, slot, slots))
        # CUDA would number the fastest first; these are the driver's numbers, as are those that are watched.
        found[ORDER] = environment.get(ORDER, "PCI_BUS_ID")
    if threads is None and slots > 1 and THREADS not in environment:
        threads = max(1, cpus() // slots)
    if threads is not None:
        found[THREADS] = str(threads)
    return found
