"""Runs trials in the process that it is in: imports the objective, calls it, and says how it ended."""

from __future__ import annotations

import _thread
import contextlib
import errno
import importlib
import os
import queue
import resource
import select
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worker.process.cgroups import enter
from worker.process.channel import SOCKET_VARIABLE, Endpoint, Message
from worker.process.out_of_memory import of_gpu
from worker.protocol.errors import ObjectiveLoadError
from worker.protocol.faults import fault_of
from worker.protocol.returned import InvalidValue, values_of
from worker.protocol.seeds import SEED_VARIABLE
from worker.runner.libraries import Learner, reseed
from worker.runner.objective import call_function, check_signature, load_function
from worker.runner.process_state import ProcessState, holds_gpu
from worker.sdk import runtime
from worker.sdk.exceptions import TaskStopped
from worker.sdk.forking import deaf, not_for_children
from worker.sdk.members import Members
from worker.sdk.session import ChannelSession

if TYPE_CHECKING:
    from worker.sdk.task import Task


ORDERS = ("run", "check")
"""Messages that a result answers."""
IDLE_S = 10.0
"""How long a process that is reused waits for its next trial, in seconds."""
IDLE = 76
"""Exit code of a process that has waited for a trial in vain."""
GPU_IDLE_S = 2.0
"""The same of one that holds a GPU's memory."""


class Runner:
    """Executes what the slot sends. The main thread runs objectives; one thread reads the channel.

    Args:
        learner: notes what trials import.
        imported: called when the first objective is imported.
    """

    def __init__(self, endpoint: Endpoint, learner: Learner, imported: Callable[[], object]) -> None:
        self._endpoint = endpoint
        self._learner = learner
        self._imported = imported
        self._orders: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._session: ChannelSession | None = None
        self._modules = 0
        self._stopped, self._stop = os.pipe()
        self._reading = threading.Lock()
        """Taken while the channel is read."""
        self._state: ProcessState | None = None

    def first(self, messages: list[Message]) -> Message | None:
        """Get ready, and wait for an order; the slot hears that it is taken here.

        Args:
            messages: that were read already.

        Returns:
            None once the slot has closed the channel.
        """
        reseed()
        hello = {"op": "hello", "pid": os.getpid()}
        self._take(messages)
        order = self._next()
        if order is not None:
            if order.get("cgroup"):
                enter(order["cgroup"])
            self._endpoint.send(hello)
        return order

    def serve(self, first: Message) -> int:
        """Run a trial; where the objective reuses its process, the next ones too, until the channel closes.

        Returns:
            The process' exit code.
        """
        order: Message | None = first
        while order is not None:
            result = self._run(order)
            self._learner.note()
            self._endpoint.send(result)
            if not order["objective"].get("reuse"):
                break
            if not self._waits_for_more():
                return IDLE
            order = self._next()
            importlib.invalidate_caches()
        return 0

    def _next(self) -> Message | None:
        """The next order; None once the channel is closed. From then on a thread reads what follows."""
        members = runtime.make_members(listens=False)
        while self._orders.empty():
            messages = self._endpoint.receive()
            if messages is None:
                return None
            self._take(messages)
        self._reading.acquire()
        # One that the user's code finds no trace of, and that costs a process no more than it must.
        _thread.start_new_thread(self._read, (members,))
        return self._orders.get()

    def _read(self, members: Members) -> None:
        """Take what the slot says, until the trial is over; have the first child of this process heard."""
        sources: list[Any] = [self._endpoint, self._stopped, *([] if members.listens else [members])]
        try:
            while self._stopped not in (ready := select.select(sources, [], [])[0]):
                if self._endpoint in ready:
                    messages = self._endpoint.receive()
                    if messages is None:
                        sources.remove(self._endpoint)
                    self._take(messages or [])
                if members in ready:
                    sources.remove(members)
                    members.listen()
        finally:
            self._reading.release()

    def _waits_for_more(self) -> bool:
        """Wait for another order with nothing read ahead. False when none comes: this process ends."""
        os.write(self._stop, b".")
        with self._reading:
            os.read(self._stopped, 1)
        idle_s = GPU_IDLE_S if holds_gpu() else IDLE_S
        return not self._orders.empty() or self._endpoint.waits(timeout_s=idle_s)

    def _take(self, messages: list[Message]) -> None:
        for message in messages:
            if message.get("op") in ORDERS:
                self._session = ChannelSession(self._endpoint)
                self._orders.put(message)
            elif self._session is not None:
                self._session.handle(message)

    def _run(self, order: Message) -> Message:
        from worker.sdk.task import Task  # noqa: PLC0415 - what only some trials need

        description, objective = order["task"], order["objective"]
        target, folder = objective["target"], Path(order["folder"])
        session = self._session
        assert session is not None
        task = Task(description, session)
        seed = {SEED_VARIABLE: str(task.seed)}
        reuse = objective.get("reuse")
        variables = {"TMPDIR": order["scratch"], **objective.get("env", {}), **seed}
        if not reuse:
            _surround(variables, folder)  # until the process ends
            runtime.enter(task) if order["op"] == "run" else None  # the import may already want it
        self._learner.begin(target)
        try:
            function = load_function(target, folder)
            self._learner.note()
            self._imported()
            if reuse and self._state is None:
                self._state = ProcessState()  # what the import has set stays
            call: Callable[[], Message]
            if objective["kind"] == "optuna":
                call = _trial_of(function, task, order)
            else:
                added = order.get("connected", ())
                arguments = {n: value for n, value in description["parameters"].items() if n not in added}
                check_signature(function, target, arguments, order.get("optional", ()))
                call = partial(_call, function, task, arguments)
            if order["op"] == "check":
                return {"op": "result", "kind": "ok"}
        except ObjectiveLoadError as error:
            return load_error(error)
        runtime.enter(task)
        before = {thread.ident for thread in threading.enumerate()}
        address = runtime.open_to_children(session, lambda: task.about).address
        variables = {SOCKET_VARIABLE: address, **variables}
        try:
            with self._stoppable(session), _environment(variables, folder) if reuse else _joined(address):
                result: Message = {"op": "result", "kind": "ok", **call()}
        except BaseException as error:
            result = _explain(error)
        finally:
            _leave(task)
            session.close()
        if reuse:
            result["dirty"] = _left_behind(before) or not self._put_back()
            result["rss"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            if len(sys.modules) != self._modules:
                self._modules = len(sys.modules)
                result["files"] = _own_files(folder)
        return result

    def _put_back(self) -> bool:
        reseed()
        return self._state is None or self._state.put_back()

    @contextlib.contextmanager
    def _stoppable(self, session: ChannelSession) -> Iterator[None]:
        """Within, SIGTERM raises the stop request in the objective."""

        asked, own = TaskStopped("user", "terminated by a signal"), os.getpid()

        def handler(signum: int, frame: Any) -> None:
            raise runtime.stop_here(own, lambda: session.stop or asked, signum)

        signal.signal(signal.SIGTERM, not_for_children(handler))
        try:
            session.check_stop()
            yield
        finally:
            # From here on a late SIGTERM must not disturb the clean-up; the slot knows that we are done.
            signal.signal(signal.SIGTERM, deaf)


def _leave(task: Task) -> None:
    """The objective has returned: its task takes nothing more."""
    task.finish_following()
    task.remove_scratch()
    runtime.leave(task)
    with contextlib.suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()


def load_error(error: ObjectiveLoadError) -> Message:
    trace = "".join(traceback.format_exception(error.__cause__)) if error.__cause__ else ""
    return {"op": "result", "kind": "load_error", "reason": str(error), "error": trace, **fault_in(error)}


def fault_in(error: BaseException, *, starting: bool = False) -> Message:
    """The machine's fault behind an error, for the result that tells of it; empty where there is none.

    Args:
        starting: as for `fault_of`.
    """
    fault = fault_of(error, starting=starting)
    if fault is None:
        return {}
    return {"fault": [fault.reason_class.value, fault.lacking.value, fault.place]}


def _call(function: Callable[..., Any], task: Task, parameters: Mapping[str, Any]) -> Message:
    return values_of(call_function(function, task, parameters))


def _trial_of(function: Callable[..., Any], task: Task, order: Message) -> Callable[[], Message]:
    """A call of an objective that takes Optuna's trial. Raises `ObjectiveLoadError`."""
    # A compute node needs Optuna for these objectives only.
    from worker.trials.repeated import repeated_trial  # noqa: PLC0415 - what only some trials need
    from worker.trials.trial import call_objective, check_objective, open_trial, open_trial_study  # noqa: PLC0415 - what only some trials need

    objective, storage = order["objective"], order.get("storage")
    objective_of_trial = check_objective(function, objective["target"])
    if order["op"] == "check":
        open_trial_study(task.study or objective["study"], objective, storage, 0)
        return dict
    trial = repeated_trial(task) if task.about.get("confirms") else open_trial(task, objective, storage)

    def call() -> Message:
        values, stop = call_objective(objective_of_trial, trial)
        return {"ordered": values, "stop_study": stop}

    return call


def _explain(error: BaseException) -> Message:
    """How a trial that raised has ended."""
    if isinstance(error, TaskStopped):
        return {"op": "result", "kind": "stopped", "class": error.reason_class, "reason": error.reason}
    if _is_pruned(error):
        reason = str(error) or "given up by the objective"
        return {"op": "result", "kind": "stopped", "class": "pruned", "reason": reason}
    if isinstance(error, SystemExit):
        code = error.code
        if code is None or code == 0:
            return {"op": "result", "kind": "ok"}
        return {
            "op": "result",
            "kind": "error",
            "reason": f"called sys.exit({code!r})",
            "error": _trace(error),
        }
    if isinstance(error, InvalidValue):
        return {"op": "result", "kind": "invalid_value", "reason": str(error)}
    if sys.excepthook is not sys.__excepthook__:  # a program's own, as loggers set one
        with contextlib.suppress(BaseException):
            sys.excepthook(type(error), error, error.__traceback__)
    name, fault = type(error).__name__, fault_in(error)
    text = str(error).strip().splitlines()
    reason = f"{name}: {text[0]}" if text else name
    # By its words as well: torch's and jax's out-of-memory errors must not cost an import here.
    memory = isinstance(error, MemoryError) or of_gpu(reason) or _is_refused_memory(error)
    kind = "out_of_memory" if memory and not fault else "error"
    return {"op": "result", "kind": kind, "reason": reason[:500], "error": _trace(error), **fault}


def _is_refused_memory(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno == errno.ENOMEM


def _is_pruned(error: BaseException) -> bool:
    """Whether it is Optuna's TrialPruned, which is not imported for this."""
    return any(
        cls.__name__ == "TrialPruned" and cls.__module__.startswith("optuna.") for cls in type(error).__mro__
    )


def _trace(error: BaseException) -> str:
    """The traceback from the objective's first own frame on."""
    own = str(Path(__file__).parent)
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith(own):
        frames = frames.tb_next
    text = "".join(traceback.format_exception(type(error), error, frames or error.__traceback__))
    return text[-20_000:]


def _surround(variables: Mapping[str, str], folder: Path) -> None:
    """Give this process its environment and folder."""
    os.chdir(folder)
    if tempfile.tempdir == os.environ.get("TMPDIR"):
        tempfile.tempdir = None  # it is looked for in the environment
    os.environ.update(variables)


@contextlib.contextmanager
def _joined(address: str) -> Iterator[None]:
    """Within, programs that this process starts find its task."""
    os.environ[SOCKET_VARIABLE] = address
    try:
        yield
    finally:
        os.environ.pop(SOCKET_VARIABLE, None)


@contextlib.contextmanager
def _environment(variables: Mapping[str, str], folder: Path) -> Iterator[None]:
    """The environment, folder, arguments and import path that a fresh process would have."""
    environment, arguments, path = dict(os.environ), list(sys.argv), list(sys.path)
    _surround(variables, folder)
    try:
        yield
    finally:
        sys.argv[:], sys.path[:] = arguments, path
        _forget_temporary_folders(os.environ.get("TMPDIR"))
        changed = dict(os.environ)
        for name in changed.keys() - environment.keys():
            del os.environ[name]
        os.environ.update({n: value for n, value in environment.items() if changed.get(n) != value})
        with contextlib.suppress(OSError):
            os.chdir(folder)


def _forget_temporary_folders(folder: str | None) -> None:
    """Have the next trial make its own: what is in `folder` is removed now."""
    if tempfile.tempdir == folder:
        tempfile.tempdir = None
    multiprocessing = sys.modules.get("multiprocessing.process")
    if multiprocessing is not None:
        multiprocessing.current_process()._config.pop("tempdir", None)  # noqa: SLF001 - no public name


def _left_behind(before: set[int | None]) -> bool:
    """True when the trial has left threads running that were not there before it."""
    ours = {"optuna-rq-sender", "optuna-rq-reader", "optuna-rq-members"}
    return any(t.ident not in before and t.name not in ours for t in threading.enumerate())


def _own_files(folder: Path) -> dict[str, int]:
    """The loaded source files under `folder` and when they last changed, in nanoseconds."""
    root = str(folder) + os.sep
    found = {}
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if file and file.startswith(root) and f"{os.sep}site-packages{os.sep}" not in file:
            with contextlib.suppress(OSError):
                found[file] = os.stat(file).st_mtime_ns
    return found
