"""The process that runs function objectives, one trial after the other, away from its slot.

It is started with an open socket to the slot. It imports the objective with the first trial, and forks: the
child runs trials and stays warm; the parent has done nothing but import, and forks another one when the slot
has ended the first, after a failure, a kill, or when a trial leaves threads or child processes behind. Where
what was imported doesn't survive a fork (`worker.runner.preload`), it runs the trials itself, and is replaced
as a whole; so it is when the objective's files change. It knows no Redis and holds no credentials of it.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import importlib
import os
import queue
import random
import resource
import signal
import socket
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worker.process.channel import SOCKET_VARIABLE, Endpoint, Message
from worker.process.parent_death import die_with_parent
from worker.protocol.errors import ObjectiveLoadError
from worker.protocol.faults import fault_of
from worker.protocol.returned import InvalidValue, values_of
from worker.runner import preload
from worker.runner.objective import call_function, check_signature, load_function
from worker.sdk import runtime
from worker.sdk.exceptions import TaskStopped
from worker.sdk.session import ChannelSession

if TYPE_CHECKING:
    from worker.sdk.task import Task


ORDERS = ("run", "check")
"""Messages that a result answers."""


class Parent:
    """Imports what the slot's first order names, and has a child run its trials."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._sockets = preload.sockets()

    def serve(self) -> None:
        """Until the slot closes the channel."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while (messages := self._endpoint.receive()) is not None:
            # What comes without an order was meant for a child that has ended.
            while messages and messages[0].get("op") not in ORDERS:
                del messages[0]
            if not messages:
                continue
            try:
                self._import(messages[0])
            except ObjectiveLoadError as error:
                self._endpoint.send(_load_error(error))
                continue
            if preload.why_not(self._sockets):
                Runner(self._endpoint).serve(messages)
                return
            self._have_run(messages)

    def _import(self, order: Message) -> None:
        """Import what an order's objective needs. Raises `ObjectiveLoadError`."""
        objective = order["objective"]
        load_function(objective["target"], Path(order["folder"]))
        if objective["kind"] == "optuna":
            importlib.import_module("worker.trials.trial")

    def _have_run(self, messages: list[Message]) -> None:
        """Have a child take `messages` and what follows, and tell of its end."""
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        gc.freeze()  # or the child's first collection would copy all that was imported
        parent = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            self._endpoint.send(
                {
                    "op": "result",
                    "kind": "error",
                    "reason": f"no process: {error}",
                    **_fault(error, starting=True),
                }
            )
            return
        if pid == 0:
            status = 1
            try:
                os.setsid()
                die_with_parent(parent)
                self._endpoint.send({"op": "hello", "pid": os.getpid()})
                Runner(self._endpoint).serve(messages)
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                with contextlib.suppress(Exception):
                    sys.stdout.flush()
                    sys.stderr.flush()
                os._exit(status)
        _, ended = os.waitpid(pid, 0)
        # It may have been killed in the middle of a line.
        self._endpoint.end_line()
        self._endpoint.send({"op": "exited", "pid": pid, "code": os.waitstatus_to_exitcode(ended)})


class Runner:
    """Executes what the slot sends. The main thread runs objectives; one thread reads the channel."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._orders: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._session: ChannelSession | None = None
        self._modules = 0

    def serve(self, messages: list[Message]) -> None:
        """Run trials until the slot closes the channel.

        Args:
            messages: that were read already.
        """
        self._take(messages)
        if self._endpoint.waits():
            # A stop request may have come while the objective was imported.
            self._take(self._endpoint.receive() or [])
        threading.Thread(target=self._read, name="optuna-rq-reader", daemon=True).start()
        while (order := self._orders.get()) is not None:
            self._endpoint.send(self._run(order))

    def _read(self) -> None:
        while (messages := self._endpoint.receive()) is not None:
            self._take(messages)
        self._orders.put(None)

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
        try:
            function = load_function(target, folder)
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
            return _load_error(error)
        runtime.enter(task)
        _reseed()
        before = {thread.ident for thread in threading.enumerate()}
        address = runtime.open_to_children(session, lambda: task.about).address
        variables = {"TMPDIR": order["scratch"], SOCKET_VARIABLE: address, **objective.get("env", {})}
        try:
            with self._stoppable(session), _environment(variables, folder):
                result: Message = {"op": "result", "kind": "ok", **call()}
        except BaseException as error:
            result = _explain(error)
        finally:
            task.finish_following()
            task.remove_scratch()
            runtime.leave(task)
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            session.close()
        result["dirty"] = _left_behind(before)
        result["rss"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        if len(sys.modules) != self._modules:
            self._modules = len(sys.modules)
            result["files"] = _own_files(folder)
        return result

    @contextlib.contextmanager
    def _stoppable(self, session: ChannelSession) -> Iterator[None]:
        """Within, SIGTERM raises the stop request in the objective."""

        asked, own = TaskStopped("user", "terminated by a signal"), os.getpid()

        def handler(signum: int, frame: Any) -> None:
            raise runtime.stop_here(own, lambda: session.stop or asked, signum)

        signal.signal(signal.SIGTERM, handler)
        try:
            session.check_stop()
            yield
        finally:
            # From here on a late SIGTERM must not disturb the clean-up; the slot knows that we are done.
            signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _load_error(error: ObjectiveLoadError) -> Message:
    trace = "".join(traceback.format_exception(error.__cause__)) if error.__cause__ else ""
    return {"op": "result", "kind": "load_error", "reason": str(error), "error": trace, **_fault(error)}


def _fault(error: BaseException, *, starting: bool = False) -> Message:
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
    from worker.trials.trial import call_objective, check_objective, open_trial, open_trial_study  # noqa: PLC0415 - what only some trials need

    objective, storage = order["objective"], order.get("storage")
    objective_of_trial = check_objective(function, objective["target"])
    if order["op"] == "check":
        open_trial_study(task.study or objective["study"], objective, storage, 0)
        return dict
    trial = open_trial(task, objective, storage)

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
    name, fault = type(error).__name__, _fault(error)
    # By name as well: torch's and jax's out-of-memory errors must not cost an import here.
    memory = isinstance(error, MemoryError) or "OutOfMemory" in name or _is_refused_memory(error)
    kind = "out_of_memory" if memory and not fault else "error"
    text = str(error).strip().splitlines()
    reason = f"{name}: {text[0]}" if text else name
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


def _reseed() -> None:
    """Give every trial fresh randomness, as a new process would have it."""
    random.seed()
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed(int.from_bytes(os.urandom(4), "big"))
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.seed()


@contextlib.contextmanager
def _environment(extra: dict[str, str], folder: Path) -> Iterator[None]:
    """The environment, folder, arguments and import path that a fresh process would have."""
    environment, arguments, path = dict(os.environ), list(sys.argv), list(sys.path)
    os.chdir(folder)
    if tempfile.tempdir == environment.get("TMPDIR"):
        tempfile.tempdir = None  # it is looked for in the environment
    os.environ.update(extra)
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


def main() -> None:
    """``python -c … FD PARENT``: serve the slot at the other end of the socket FD."""
    descriptor, parent = int(sys.argv[1]), int(sys.argv[2])
    die_with_parent(parent)
    runtime.supervised = True
    sys.argv[:] = ["optuna-rq-runner"]
    Parent(Endpoint(socket.socket(fileno=descriptor))).serve()
