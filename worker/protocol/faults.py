"""What is the machine's fault and not the objective's: told from exceptions, and from what programs print.

The line to `out_of_memory`: memory that a trial itself takes (`MemoryError`, CUDA's, ``Cannot allocate
memory``, the kernel's OOM killer, ``worker --memory``) may be due to its parameters, and stays the trial's.
Where the system refuses the worker the memory to start a program at all, it is the machine's.
"""

from __future__ import annotations

import errno
import io
import re
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

from worker.protocol.errors import Retryable
from worker.protocol.status import Reason


class Lacking(str, Enum):
    """What a machine lacks, and so what has to be looked at to know whether it still does."""

    SPACE = "space"
    """Room on a disk, or a disk that can be written."""
    FILES = "files"
    """Descriptors."""
    PROCESSES = "processes"
    """Processes, threads, or the memory for one more."""
    GPU = "gpu"
    STORE = "store"
    """A server outside of it."""


_MEND = {
    Lacking.SPACE: "free space there, or mend the disk",
    Lacking.FILES: "raise the limit of open files (ulimit -n), or end what holds them",
    Lacking.PROCESSES: "raise the limit of processes (ulimit -u, the cgroup's pids.max), or free memory",
    Lacking.GPU: "see to the node's GPU and its driver (nvidia-smi)",
    Lacking.STORE: "see that it is up, has room, and can be reached from there",
}
"""What a person can do about it."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One fault of a machine."""

    reason_class: Reason
    lacking: Lacking
    reason: str
    """One line."""
    place: str = ""
    """The file or folder that it is about, where that is known."""

    @property
    def advice(self) -> str:
        """What is wrong and what to do, in one line."""
        reason = self.reason[:300]
        place = f" ({self.place})" if self.place and self.place not in reason else ""
        return f"{self.reason_class}: {reason}{place}; {_MEND[self.lacking]}"


_ERRNO = {
    errno.ENOSPC: (Reason.DISK_FULL, Lacking.SPACE),
    errno.EDQUOT: (Reason.DISK_FULL, Lacking.SPACE),
    errno.EROFS: (Reason.MACHINE_FAULT, Lacking.SPACE),
    errno.EIO: (Reason.MACHINE_FAULT, Lacking.SPACE),
    errno.ESTALE: (Reason.MACHINE_FAULT, Lacking.SPACE),
    errno.EMFILE: (Reason.MACHINE_FAULT, Lacking.FILES),
    errno.ENFILE: (Reason.MACHINE_FAULT, Lacking.FILES),
}
_TO_START = (errno.EAGAIN, errno.ENOMEM)
"""What ``fork`` is refused with; elsewhere they mean other things."""
_STARTERS = ("_execute_child", "_launch", "_posix_spawn")
"""Functions of Python's own in which a process is started."""

_GPU = (
    r"No CUDA GPUs are available|no CUDA-capable device|Found no NVIDIA driver|"
    r"CUDA driver (?:version is insufficient|initialization failed)|"
    r"CUDA-capable device\(s\) is/are busy or unavailable|all CUDA-capable devices are busy|"
    r"CUDA_ERROR_(?:NO_DEVICE|DEVICE_UNAVAILABLE|SYSTEM_DRIVER_MISMATCH|SYSTEM_NOT_READY|ECC_UNCORRECTABLE)|"
    r"[Uu]ncorrectable ECC error|GPU is lost|fallen off the bus|Driver/library version mismatch|"
    r"couldn't communicate with the NVIDIA driver|no ROCm-capable device|No HIP GPUs are available"
)
_BUSY = (
    r"50[0-9]|429|SlowDown|ServiceUnavailable|InternalError|RequestTimeout|Throttling\w*|"
    r"RequestLimitExceeded|TooManyRequests|QuotaExceeded|XMinio\w*(?:StorageFull|QuotaExceeded)|"
    r"InsufficientStorage"
)
_SERVERS = (
    r"(?:^|\.)(?:ArtifactStoreUnavailable|StorageUnavailable|RedisUnavailable|RedisAway)\b|"
    r"^botocore\.exceptions\.(?:EndpointConnectionError|ConnectionClosedError|ConnectTimeoutError|"
    r"ReadTimeoutError|ProxyConnectionError|ConnectionError|HTTPClientError)\b|"
    rf"^(?:botocore|boto3)\.\S+ .*An error occurred \((?:{_BUSY})\)|"
    r"^redis\.exceptions\.(?:ConnectionError|TimeoutError|BusyLoadingError|OutOfMemoryError|ReadOnlyError)\b|"
    r"^redis\.exceptions\.\w+: (?:MISCONF|NOREPLICAS|OOM command not allowed|LOADING)\b"
)
_TEXTS = tuple(
    (re.compile(pattern), reason_class, lacking)
    for pattern, reason_class, lacking in (
        (r"^redis\.exceptions\.\w+: (?:MISCONF|OOM)", Reason.STORE_AWAY, Lacking.STORE),
        (
            r"No space left on device|Disk quota exceeded|database or disk is full|"
            r"PytorchStreamWriter failed writing file|workers are out of shared memory|"
            r"\d+ requested and \d+ written",
            Reason.DISK_FULL,
            Lacking.SPACE,
        ),
        (
            r"Read-only file system|Stale (?:NFS )?file handle|Input/output error|disk I/O error",
            Reason.MACHINE_FAULT,
            Lacking.SPACE,
        ),
        (r"Too many open files", Reason.MACHINE_FAULT, Lacking.FILES),
        (
            r"can't start new thread|fork: (?:retry: )?(?:Resource temporarily unavailable|Cannot allocate)",
            Reason.MACHINE_FAULT,
            Lacking.PROCESSES,
        ),
        (_GPU, Reason.MACHINE_FAULT, Lacking.GPU),
        (_SERVERS, Reason.STORE_AWAY, Lacking.STORE),
    )
)
_QUOTED = re.compile(r"['\"\u2018(](/[^'\"\u2019()]+)['\"\u2019)]")


def fault_of(error: BaseException, *, starting: bool = False) -> Fault | None:
    """The machine's fault that has led to `error`; None where it is not the machine's, as far as that shows.

    Args:
        starting: the worker itself met it when it began or watched a trial, before or beside the objective.
    """
    chain = list(_chain(error))
    for each in reversed(chain):
        found = _by_number(each, starting=starting)
        if found:
            return Fault(reason_class=found[0], lacking=found[1], reason=_line(error), place=_place(each))
    for each in chain:
        fault = fault_in(_line(each))
        if fault or isinstance(each, Retryable):
            return Fault(
                reason_class=fault.reason_class if fault else Reason.STORE_AWAY,
                lacking=fault.lacking if fault else Lacking.STORE,
                reason=_line(error),
                place=_place(each) or (fault.place if fault else ""),
            )
    return None


def fault_from(about: Any, reason: str) -> Fault | None:
    """A fault as a program tells of it: class, what is lacking and place; None where it is none."""
    try:
        reason_class, lacking, place = about
        return Fault(
            reason_class=Reason(reason_class),
            lacking=Lacking(lacking),
            reason=" ".join(reason.split())[:500],
            place=str(place)[:500],
        )
    except (TypeError, ValueError):
        return None


def fault_in(line: str) -> Fault | None:
    """The machine's fault that a line of a program's output tells of, such as the last of a traceback."""
    for pattern, reason_class, lacking in _TEXTS:
        if pattern.search(line):
            quoted = _QUOTED.search(line)
            place = quoted[1] if quoted else ""
            return Fault(reason_class=reason_class, lacking=lacking, reason=line[:500], place=place)
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error, then what it came from, each once."""
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        yield found
        found = found.__cause__ or (None if found.__suppress_context__ else found.__context__)


def _by_number(error: BaseException, *, starting: bool) -> tuple[Reason, Lacking] | None:
    if isinstance(error, MemoryError) and starting:
        return Reason.MACHINE_FAULT, Lacking.PROCESSES
    if not isinstance(error, OSError) or error.errno is None:
        return None
    known = _ERRNO.get(error.errno)
    if known is None and error.errno == errno.ENOTCONN and error.filename:
        return Reason.MACHINE_FAULT, Lacking.SPACE  # a mount whose server is gone; of a socket it says less
    if known is None and error.errno in _TO_START:
        frames = traceback.extract_tb(error.__traceback__)
        forks = error.errno == errno.EAGAIN and any(frame.name in _STARTERS for frame in frames[-2:])
        if starting or forks:
            return Reason.MACHINE_FAULT, Lacking.PROCESSES
    return known


def _line(error: BaseException) -> str:
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    text = " ".join(str(error).split())
    return f"{name}: {text}"[:500] if text else name


def _place(error: BaseException) -> str:
    """The file that an error is about: as it says, else the one that its innermost function had open."""
    named = getattr(error, "filename", None)
    if isinstance(named, (str, bytes)):
        return named if isinstance(named, str) else named.decode("utf-8", "replace")
    frames = list(traceback.walk_tb(error.__traceback__))
    for frame, _ in reversed(frames):
        for value in frame.f_locals.values():
            name = getattr(value, "name", None) if isinstance(value, io.IOBase) else None
            if isinstance(name, str) and not name.startswith("<"):
                return name
    return ""
