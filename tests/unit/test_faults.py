"""What is the machine's fault, and what is not."""

from __future__ import annotations

import errno
import os
import sqlite3
import subprocess
from pathlib import Path

import pytest
import redis
from botocore.exceptions import ClientError, EndpointConnectionError

from worker.artifacts.protocol import ArtifactStoreUnavailable
from worker.protocol.errors import ArtifactError, ObjectiveLoadError, StorageUnavailable
from worker.protocol.faults import Lacking, fault_from, fault_in, fault_of
from worker.protocol.status import Reason

DISK = (Reason.DISK_FULL, Lacking.SPACE)
BROKEN = (Reason.MACHINE_FAULT, Lacking.SPACE)
FILES = (Reason.MACHINE_FAULT, Lacking.FILES)
PROCESSES = (Reason.MACHINE_FAULT, Lacking.PROCESSES)
GPU = (Reason.MACHINE_FAULT, Lacking.GPU)
STORE = (Reason.STORE_AWAY, Lacking.STORE)


def system(number: int, path: str | None = None) -> OSError:
    return OSError(number, os.strerror(number), path)


def s3(status: int, code: str) -> ClientError:
    return ClientError(
        {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}},  # type: ignore[typeddict-item]
        "PutObject",
    )


def caused(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


def within(error: BaseException, context: BaseException) -> BaseException:
    error.__context__ = context
    return error


def found(error: BaseException, *, starting: bool = False) -> object:
    fault = fault_of(error, starting=starting)
    return fault and (fault.reason_class, fault.lacking)


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (system(errno.ENOSPC), DISK),
        (system(errno.EDQUOT), DISK),
        (system(errno.EROFS), BROKEN),
        (system(errno.EIO), BROKEN),
        (system(errno.ESTALE), BROKEN),
        (system(errno.ENOTCONN, "/mnt/fuse/x"), BROKEN),
        (system(errno.EMFILE), FILES),
        (system(errno.ENFILE), FILES),
        (sqlite3.OperationalError("database or disk is full"), DISK),
        (sqlite3.OperationalError("disk I/O error"), BROKEN),
        (OSError("16384 requested and 4080 written"), DISK),
        (RuntimeError("[enforce fail] . PytorchStreamWriter failed writing file data/0: file write failed"), DISK),
        (RuntimeError("can't start new thread"), PROCESSES),
        (RuntimeError("No CUDA GPUs are available"), GPU),
        (RuntimeError("CUDA error: no CUDA-capable device is detected"), GPU),
        (RuntimeError("CUDA error: CUDA-capable device(s) is/are busy or unavailable"), GPU),
        (RuntimeError("Found no NVIDIA driver on your system."), GPU),
        (RuntimeError("CUDA error: uncorrectable ECC error encountered"), GPU),
        (RuntimeError("No HIP GPUs are available"), GPU),
        (ArtifactStoreUnavailable("artifact store s3://b: away"), STORE),
        (StorageUnavailable("locked"), STORE),
        (EndpointConnectionError(endpoint_url="http://s3"), STORE),
        (s3(503, "SlowDown"), STORE),
        (s3(503, "503"), STORE),
        (s3(507, "XMinioStorageFull"), STORE),
        (s3(500, "InternalError"), STORE),
        (redis.ConnectionError("refused"), STORE),
        (redis.OutOfMemoryError("command not allowed when used memory > 'maxmemory'."), STORE),
        (redis.ResponseError("MISCONF Errors writing to the AOF file: No space left on device"), STORE),
        # What it came from counts as well, and says more.
        (caused(ArtifactStoreUnavailable("no room"), system(errno.ENOSPC)), DISK),
        (caused(ObjectiveLoadError("importing it fails"), system(errno.ENOSPC)), DISK),
        (within(RuntimeError("the model was not saved"), system(errno.ENOSPC)), DISK),
        (within(KeyError("x"), system(errno.EMFILE)), FILES),
    ],
    ids=lambda value: repr(value)[:60],
)  # fmt: skip
def test_of_the_machine(error: BaseException, wanted: object) -> None:
    assert found(error) == wanted
    fault = fault_of(error)
    assert fault is not None
    assert fault.reason_class.is_machine_fault
    assert fault.advice.startswith(f"{fault.reason_class}: {fault.reason[:300]}")
    assert "; " in fault.advice


@pytest.mark.parametrize(
    "error",
    [
        ValueError("bad"),
        MemoryError(),
        RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB"),
        RuntimeError("CUDA error: device-side assert triggered"),
        system(errno.ENOENT, "/data/x"),
        system(errno.EACCES, "/data/x"),
        system(errno.ENOMEM),
        system(errno.EAGAIN),
        system(errno.ENOTCONN),
        ConnectionRefusedError(errno.ECONNREFUSED, "refused"),
        s3(403, "AccessDenied"),
        s3(404, "NoSuchBucket"),
        redis.ResponseError("WRONGTYPE"),
        ArtifactError("no such file"),
        ObjectiveLoadError("no such module"),
        TimeoutError("the download"),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_not_of_the_machine(error: BaseException) -> None:
    assert found(error) is None


def test_what_was_dealt_with_is_not_to_blame() -> None:
    error = within(ValueError("bad"), system(errno.ENOSPC))
    error.__suppress_context__ = True
    assert found(error) is None


@pytest.mark.parametrize("error", [system(errno.ENOMEM), system(errno.EAGAIN), MemoryError()])
def test_memory_and_processes_that_the_worker_itself_is_refused(error: BaseException) -> None:
    assert found(error, starting=True) == PROCESSES


def test_a_process_that_an_objective_may_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """EAGAIN says many things; from Python's own functions that fork it says this."""

    def refuse(*args: object) -> int:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr("subprocess._fork_exec", refuse)
    monkeypatch.setattr("subprocess._USE_VFORK", False)
    monkeypatch.setattr("subprocess._USE_POSIX_SPAWN", False)
    with pytest.raises(BlockingIOError) as raised:
        subprocess.Popen(["true"])
    assert found(raised.value) == PROCESSES


def test_the_place_is_the_file_that_was_open(tmp_path: Path) -> None:
    def saves() -> None:
        with open(tmp_path / "model", "wb") as file:
            file.write(b"x")
            raise system(errno.ENOSPC)

    def calls() -> None:
        with open(tmp_path / "other", "wb"):
            saves()

    with pytest.raises(OSError, match="No space") as raised:
        calls()
    fault = fault_of(raised.value)
    assert fault is not None
    assert fault.place == str(tmp_path / "model")
    named = fault_of(system(errno.ENOSPC, "/data/x"))
    assert named is not None
    assert named.place == "/data/x"


@pytest.mark.parametrize(
    ("line", "wanted", "place"),
    [
        ("OSError: [Errno 28] No space left on device: '/data/x'", DISK, "/data/x"),
        ("cp: error writing '/mnt/y/z': No space left on device", DISK, "/mnt/y/z"),
        ("thread 'main' panicked: No space left on device (os error 28)", DISK, ""),
        ("bash: fork: retry: Resource temporarily unavailable", PROCESSES, ""),
        ("OSError: [Errno 24] Too many open files: '/data/x'", FILES, "/data/x"),
        ("worker.artifacts.protocol.ArtifactStoreUnavailable: artifact 'm' was not stored", STORE, ""),
        ("botocore.exceptions.EndpointConnectionError: Could not connect", STORE, ""),
        (
            "botocore.exceptions.ClientError: An error occurred (SlowDown) when calling the PutObject operation",
            STORE,
            "",
        ),
        ("redis.exceptions.ConnectionError: Error 111 connecting", STORE, ""),
    ],
)
def test_lines_of_output(line: str, wanted: tuple[Reason, Lacking], place: str) -> None:
    fault = fault_in(line)
    assert fault is not None
    assert (fault.reason_class, fault.lacking, fault.place) == (*wanted, place)


@pytest.mark.parametrize(
    "line",
    [
        "ValueError: bad", "MemoryError", "requests.exceptions.ConnectionError: x", "", "Killed",
        "botocore.exceptions.ClientError: An error occurred (AccessDenied) when calling PutObject",
        "torch.OutOfMemoryError: CUDA out of memory",
    ],
)  # fmt: skip
def test_other_lines(line: str) -> None:
    assert fault_in(line) is None


def test_what_a_program_tells_of() -> None:
    fault = fault_of(system(errno.ENOSPC, "/data/x"))
    assert fault is not None
    about = [fault.reason_class.value, fault.lacking.value, fault.place]
    assert fault_from(about, fault.reason) == fault


@pytest.mark.parametrize(
    "about", [None, "x", [], ["disk_full"], ["no", "space", ""], ["disk_full", "no", ""], {}, 3]
)
def test_what_tells_of_no_fault(about: object) -> None:
    assert fault_from(about, "x") is None


def test_which_reasons_are_the_machines() -> None:
    assert {reason.value for reason in Reason if reason.is_machine_fault} == {
        "disk_full",
        "store_away",
        "machine_fault",
    }
