"""The process that owns the embedded redis-server and ends it after its last user.

Run as a file (``python -I -S redis_owner.py``), so that neither `controller`'s imports nor the user's own
modules are loaded: it starts in milliseconds and stays small. Hence the standard library only.

Three files in the state folder are locked with ``flock``, which the kernel frees however a process ends:

| file | shared by | exclusive by |
|---|---|---|
| `users.lock` | every user, while it uses the server | the owner, while the server ends |
| `keeper.lock` | - | the owner, while it lives |
| `server.lock` | - | the owner and its server together, until both are gone |
"""

from __future__ import annotations

import _thread
import contextlib
import fcntl
import os
import signal
import sys
import time

USERS_LOCK = "users.lock"
OWNER_LOCK = "keeper.lock"
"""Keeps the name that a server of an earlier version may still hold."""
SERVER_LOCK = "server.lock"
CONFIG_FILE = "redis.conf"
SOCKET_NAME = "redis.sock"
SOCKET_FOLDER_FILE = "socket-folder"
"""Names the private folder that holds the socket when the state folder's path is too long for one."""

PREDECESSOR_TIMEOUT_S = 20.0
"""Longest wait for an earlier server's locks, in seconds."""
STOP_TIMEOUT_S = 15.0
"""Time between SIGTERM and SIGKILL, in seconds."""
_PR_SET_PDEATHSIG = 1


def open_lock(path: str | os.PathLike[str]) -> int:
    """Open a lock file, and create it if need be. Returns its descriptor, which exec closes."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def acquire(fd: int, operation: int, timeout_s: float) -> bool:
    """Take a flock (`fcntl.LOCK_SH` or `fcntl.LOCK_EX`), waiting at most `timeout_s` seconds.

    Returns:
        Whether it was taken.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            fcntl.flock(fd, operation | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
        time.sleep(0.01)


def serve(state_dir: str, server: str) -> int:
    """Run the server until the last user is gone or the server ends by itself.

    Args:
        state_dir: the state folder, absolute, with the configuration in it.
        server: the redis-server binary, absolute.

    Returns:
        The exit code: 0, or 1 if an earlier server didn't end in time.
    """
    users = open_lock(os.path.join(state_dir, USERS_LOCK))
    held = []
    for name in (OWNER_LOCK, SERVER_LOCK):
        held.append(open_lock(os.path.join(state_dir, name)))
        if not acquire(held[-1], fcntl.LOCK_EX, PREDECESSOR_TIMEOUT_S):
            print(
                f"redis_owner: an earlier server still holds {name} in {state_dir}",
                file=sys.stderr,
                flush=True,
            )
            return 1
    # Loaded before the fork: between fork and exec the child should do as little as possible.
    prctl = _prctl()
    owner_pid = os.getpid()
    pid = os.fork()
    if pid == 0:
        _become_server(server, os.path.join(state_dir, CONFIG_FILE), held[-1], prctl, owner_pid)
    signal.signal(signal.SIGTERM, lambda *_: os.kill(pid, signal.SIGTERM))
    _thread.start_new_thread(_end_after_last_user, (users, pid))
    os.waitpid(pid, 0)
    _remove_socket(state_dir)
    # The kernel frees the locks when this process ends: the next process to take them finds everything tidy.
    return 0


def _end_after_last_user(users: int, server_pid: int) -> None:
    # Blocks without polling, and keeps no new user out: shared locks are granted while others are held.
    fcntl.flock(users, fcntl.LOCK_EX)
    with contextlib.suppress(ProcessLookupError):
        os.kill(server_pid, signal.SIGTERM)
        time.sleep(STOP_TIMEOUT_S)
        os.kill(server_pid, signal.SIGKILL)


def _become_server(server: str, config: str, server_lock: int, prctl: object, owner_pid: int) -> None:
    """In the forked child: exec redis-server, which ends with the owner and holds `server_lock`."""
    try:
        if callable(prctl):
            prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
        if os.getppid() == owner_pid:
            os.set_inheritable(server_lock, True)
            # On standard input: Redis 7 takes a path with "[", "*" or "?" for a pattern, finds nothing and
            # runs on its defaults, open to everybody. The option is for the same case: never a port.
            os.dup2(os.open(config, os.O_RDONLY), 0)
            os.execv(server, [server, "-", "--port", "0"])
    except OSError as error:
        print(f"redis_owner: can't run {server}: {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(1)


def _prctl() -> object:
    """Linux' prctl, or None elsewhere (there the next start ends an orphaned server)."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        import ctypes  # noqa: PLC0415 - hardly ever needed

        return ctypes.CDLL(None, use_errno=True).prctl
    except (ImportError, OSError, AttributeError):
        return None


def _remove_socket(state_dir: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(os.path.join(state_dir, SOCKET_NAME))
    with contextlib.suppress(OSError):
        with open(os.path.join(state_dir, SOCKET_FOLDER_FILE), "rb") as file:
            folder = file.read()
        with contextlib.suppress(OSError):
            os.unlink(os.path.join(folder, SOCKET_NAME.encode()))
        os.rmdir(folder)
        os.unlink(os.path.join(state_dir, SOCKET_FOLDER_FILE))


def main() -> None:
    """``redis_owner.py STATE_DIR SERVER ALIVE_FD``: detach, then `serve`.

    ALIVE_FD is the writing end of a pipe that nobody writes to: the starter reads its end when we end.
    """
    state_dir, server, alive_fd = sys.argv[1], sys.argv[2], int(sys.argv[3])
    os.set_inheritable(alive_fd, False)
    if os.fork():
        # The starter reaps this process at once; the owner is nobody's child, so no zombie is left in a
        # long-running controller and nobody ends it together with their own children.
        os._exit(0)
    os.umask(0o077)
    os.chdir("/")
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for ignored in (signal.SIGINT, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    # Skips the interpreter's clean-up, which has nothing to do here, and the waiting thread.
    os._exit(serve(state_dir, server))


if __name__ == "__main__":
    main()
