"""What an objective imports that is not the user's own, so that it can be imported beforehand.

A first trial tells what there is; a process that trials are forked from imports it, and nothing else. The
user's own modules are imported by each trial itself: what they seed, open or start belongs to that trial.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import json
import os
import random
import sys
import sysconfig
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

OURS = ("worker", "controller")
NEVER = ("jax", "jaxlib", "tensorflow")
"""Libraries whose own threads don't survive a fork."""


@dataclass
class Lesson:
    """What a trial has imported."""

    names: list[str] = field(default_factory=list)
    """Of libraries' modules, in the order in which they were imported."""
    variables: dict[str, str] = field(default_factory=dict)
    """Environment variables that the imports have set: libraries may have read them."""
    unsafe: str = ""
    """A package among them that doesn't survive a fork."""


class Notebook:
    """Where trials leave what they have imported, for the process that forks them: an unlinked file."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as its process

    def write(self, lesson: Lesson) -> None:
        """Replace what is there."""
        text = json.dumps([lesson.names, lesson.variables, lesson.unsafe]).encode() + b"\n"
        os.pwrite(self._file.fileno(), text, 0)

    def take(self) -> Lesson | None:
        """The last lesson, which is gone then; None if there is none."""
        if not os.fstat(self._file.fileno()).st_size:
            return None
        lesson = self.read()
        os.ftruncate(self._file.fileno(), 0)
        return lesson

    def read(self) -> Lesson:
        """The last lesson; an empty one if there is none, or it was cut short."""
        size = os.fstat(self._file.fileno()).st_size
        try:
            names, variables, unsafe = json.loads(os.pread(self._file.fileno(), size, 0).partition(b"\n")[0])
            found = {str(key): str(value) for key, value in variables.items()}
            return Lesson([str(name) for name in names], found, str(unsafe))
        except (ValueError, TypeError, AttributeError):
            return Lesson()


class Learner:
    """Notes what is imported from now on, and by which environment variables."""

    def __init__(self, notebook: Notebook, before: Before) -> None:
        self._notebook = notebook
        self._before = before
        self._environment: dict[bytes, bytes] = {}
        self._variables: dict[str, str] | None = None
        self._newest = ""

    def begin(self, target: str) -> None:
        """The objective ``module:name`` is about to be imported."""
        claim(target)
        self._environment = _environment()

    def note(self) -> None:
        """Write what was imported until now, if anything. The variables are those at the first note."""
        newest = next(reversed(sys.modules), "")
        if newest == self._newest:
            return
        self._newest = newest
        if self._variables is None:
            changed = _environment().items() - self._environment.items()
            self._variables = {os.fsdecode(name): os.fsdecode(value) for name, value in changed}
        names = [name for name in self._before.new() if is_library(name)]
        if names or self._variables:
            self._notebook.write(Lesson(names, self._variables))


def _environment() -> dict[bytes, bytes]:
    """The environment as `os.environ` keeps it: it is decoded only where it matters."""
    return dict(vars(os.environ)["_data"])


class Before:
    """The modules that there are now, and later those that have come since."""

    def __init__(self) -> None:
        names = list(sys.modules)
        self._names = frozenset(names)
        self._last = names[-1]

    def is_now(self) -> bool:
        """Whether none has come or gone since, as far as that can be seen cheaply."""
        return len(self._names) == len(sys.modules) and next(reversed(sys.modules)) == self._last

    def new(self) -> list[str]:
        """Names of modules that have come since, in the order of their import."""
        found: list[str] = []
        try:
            # New ones are last: the names of the others lie all over the memory, and a process that was
            # forked would copy it.
            for name in reversed(sys.modules):
                if name == self._last:
                    return found[::-1]
                if name not in self._names:
                    found.append(name)
        except RuntimeError:  # another thread imports
            pass
        return [name for name in list(sys.modules) if name not in self._names]


_claimed = {"__main__", "__mp_main__"}
"""Packages that are the user's own wherever they lie."""


def claim(target: str) -> None:
    """The package of an objective, ``module:name``, is the user's own, also where it is installed."""
    _claimed.add(target.partition(":")[0].split(".")[0])


def is_library(name: str) -> bool:
    """Whether a loaded module is a library's: installed, or Python's own."""
    module = sys.modules.get(name)
    spec = getattr(module, "__spec__", None)
    if module is None or spec is None or name.split(".")[0] in _claimed:
        return False
    if name.split(".")[0] in OURS:
        return True
    origin = _file(module) or spec.origin
    if origin in ("built-in", "frozen"):
        return True
    return origin is not None and _installed(origin)


def prepare() -> None:
    """Do what processes forked from this one need not: find out what `is_library` asks for, and forget
    what lies in folders."""
    _python_folders()
    importlib.invalidate_caches()


def _file(module: ModuleType) -> str | None:
    file = getattr(module, "__file__", None)
    if isinstance(file, str):
        return file
    # A package without a file of its own: where its parts lie.
    return next(iter(getattr(module, "__path__", ())), None)


def _installed(path: str) -> bool:
    return any(part in path for part in _PACKAGES) or path.startswith(_python_folders())


_PACKAGES = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")


@functools.cache
def _python_folders() -> tuple[str, ...]:
    found = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib")}
    return tuple(folder + os.sep for folder in found if folder)


class Unsafe(Exception):
    """A library that doesn't survive a fork was imported.

    Attributes:
        name: of the package.
    """

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name}: {why}")
        self.name = name


class Preloading:
    """Imports libraries into this process, one package after the other.

    Args:
        why_not: why this process can't be forked any more; empty while it can.
        left_out: packages that are not imported.
    """

    def __init__(self, why_not: Callable[[], str], left_out: Iterable[str] = ()) -> None:
        self._why_not = why_not
        self._left_out = {*left_out, *NEVER}
        self._tried: set[str] = set()

    def load(self, lesson: Lesson) -> None:
        """Import what is new, within the environment of the lesson: a trial sets its own.

        Raises:
            Unsafe: after a package that can't be forked.
        """
        before = {name: os.environ.get(name) for name in lesson.variables}
        os.environ.update(lesson.variables)
        try:
            with _silent():
                self._load(lesson)
            _keep_at_exit()
            importlib.invalidate_caches()  # what comes into folders later is found by those that are forked
        finally:
            for name, value in before.items():
                if value is not None:
                    os.environ[name] = value
                elif os.environ.get(name) == lesson.variables[name]:
                    del os.environ[name]

    def _load(self, lesson: Lesson) -> None:
        for package, names in _by_package(lesson.names).items():
            if package in self._left_out:
                continue
            new = [name for name in names if name not in self._tried and name not in sys.modules]
            self._tried.update(new)
            for name in new:
                _import(name)
            if new and (why := self._why_not()):
                raise Unsafe(package, why)


def _keep_at_exit() -> None:
    """Have no trial finalize at its end what was made beforehand: it is not its own, and the next ones need
    it. With torch that would take longer than all else."""
    finalizers: list[weakref.finalize[..., Any]] = list(vars(weakref.finalize)["_registry"])
    for each in finalizers:
        each.atexit = False


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Within, what this process prints goes nowhere: it would stand in the log of some trial."""
    kept = [(number, os.dup(number)) for number in (1, 2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        for number, _ in kept:
            os.dup2(nowhere, number)
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        for number, copy in kept:
            os.dup2(copy, number)
            os.close(copy)
        os.close(nowhere)


def _import(name: str) -> None:
    """Import a module as far as that goes: the trial says what is wrong with it."""
    try:
        importlib.import_module(name)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise


def _by_package(names: Iterable[str]) -> Mapping[str, list[str]]:
    """Names of modules by their package, packages in the order of their first module."""
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(name.split(".")[0], []).append(name)
    return found


def reseed() -> None:
    """Give this process random numbers of its own, as a new process has them, before the user's code runs."""
    random.seed()
    for name, seed in _SEEDS.items():
        module: Any = sys.modules.get(name)
        if module is not None:
            seed(module)


_SEEDS: dict[str, Callable[[Any], object]] = {
    "numpy.random": lambda module: module.seed(int.from_bytes(os.urandom(4), "big")),
    "torch": lambda module: module.seed(),
}
