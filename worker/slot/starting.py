"""Starts the program of an attempt: in the slot's runner, or as a process of its own."""

from __future__ import annotations

from pathlib import Path

from worker.process.channel import Message
from worker.protocol.errors import ObjectiveLoadError
from worker.protocol.record import TaskRecord
from worker.runner.objective import script_path
from worker.slot.context import SlotContext
from worker.slot.program_channel import ProgramChannel
from worker.slot.programs import Program, command_argv, script_argv, start_fresh

RUNNER_KINDS = ("function", "optuna")
"""Kinds of objectives that a runner calls; others are programs of their own."""


def start_program(
    record: TaskRecord, context: SlotContext, channel: ProgramChannel, folder: Path, description: Message
) -> Program | None:
    """Start what the task's objective says; None where it was only to be checked, and is fine.

    Args:
        channel: is connected to the program.
        folder: that it starts in.
        description: of the task, as the program knows it.

    Raises:
        ObjectiveLoadError: this worker may not, or can't, run it.
    """
    kind = record.spec.objective.get("kind")
    if kind in RUNNER_KINDS:
        return _in_runner(record, context, channel, folder, description)
    if kind in ("script", "command"):
        return _as_process(record, context, channel, folder)
    raise ObjectiveLoadError(f"objective: this worker can't run the kind {kind!r}; upgrade optuna-rq here")


def _in_runner(
    record: TaskRecord, context: SlotContext, channel: ProgramChannel, folder: Path, description: Message
) -> Program:
    objective = record.spec.objective
    runner = context.runner.get(objective, folder)
    assert runner.channel is not None
    channel.listen(runner.channel, runner.hear)
    runner.send(
        {
            "op": "check" if record.spec.check_only else "run",
            "task": description,
            "objective": objective,
            "folder": str(folder),
            "optional": record.spec.optional,
            "connected": record.spec.connected,
            "scratch": str(context.scratch.path),
            "cgroup": _group(context),
            **({"storage": context.storage_url} if objective.get("kind") == "optuna" else {}),
        }
    )
    return runner


def _as_process(
    record: TaskRecord, context: SlotContext, channel: ProgramChannel, folder: Path
) -> Program | None:
    objective = record.spec.objective
    if objective.get("kind") == "script":
        if not objective.get("module"):
            context.allowance.check_script(script_path(objective, folder), folder)
        argv = script_argv(objective, folder)
    else:
        argv = command_argv(record, folder)
        context.allowance.check_command(argv[0], folder)
    if record.spec.check_only:
        channel.result = {"op": "result", "kind": "ok"}
        return None
    return start_fresh(
        argv,
        objective,
        folder,
        channel.open(),
        scratch=context.scratch.path,
        own_code=bool(record.spec.code),
        cgroup=_group(context),
        seed=record.seed,
    )


def _group(context: SlotContext) -> str:
    """The file with which a program enters the slot's cgroup; empty where there is none."""
    members = context.group.prepare() if context.group else None
    return str(members or "")
