"""What a slot offers its attempts."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from worker.process.cgroups import SlotGroup
from worker.protocol.record import TaskRecord
from worker.protocol.store import Store
from worker.slot.allowance import Allowance
from worker.slot.code import CodeFolders
from worker.slot.machine import Machine
from worker.slot.runner_program import SlotRunner
from worker.slot.scratch import TaskScratch


@dataclass(kw_only=True)
class SlotContext:
    """The store, a runner, folders and limits: the same for all attempts of one slot."""

    store: Store
    runner: SlotRunner
    folder: Path
    """Where programs start, and the first place that modules are imported from."""
    wake: socket.socket | None
    """Readable when a stop request may have arrived for this worker."""
    storage_url: str | None
    """Optuna's storage, for objectives that take Optuna's trial; None when nobody said where it is."""
    heartbeat: Callable[[], None]
    """To be called now and then while an attempt runs."""
    hand_back_at: Callable[[], float | None]
    """Monotonic time at which a running attempt is to be handed back, once the worker shuts down."""
    allowance: Allowance = field(default_factory=Allowance)
    """Which objectives are run."""
    memory_bytes: int | None = None
    """What a program and its children may use."""
    gpu_folder: Path | None = None
    """Where the watch over GPUs writes what it sees; None where there is none."""
    worker_pid: int = field(default_factory=os.getppid)
    """Of the worker that this slot belongs to."""
    group: SlotGroup | None = None
    """Where the kernel holds that limit; None where it can't, and the slot looks instead."""
    code: CodeFolders
    """Studies' own code."""
    scratch: TaskScratch
    """Where programs have their temporary files."""
    signed: bool = False
    """Jobs are signed here."""
    machine: Machine = field(default_factory=lambda: Machine(()))
    """Whether trials can run here."""
    seen: Callable[[TaskRecord], None] = lambda record: None
    """Records what a task runs in; never raises."""
    keep: Callable[[], frozenset[int]] = frozenset
    """Children of this process that belong to no attempt."""
