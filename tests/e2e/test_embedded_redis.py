"""The embedded Redis with real processes: one server, private, with its data, never left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import redis

from worker.embedded import EmbeddedRedis, find_redis_server
from worker.protocol.errors import BadInput, RedisUnavailable

USER = """
import sys, time
from pathlib import Path
from worker.embedded import EmbeddedRedis
embedded = EmbeddedRedis(Path(sys.argv[1]))
print(embedded.ensure(), flush=True)
sys.stdin.read()
embedded.close()
"""


def wait_for(condition: Callable[[], object], what: str, deadline_s: float = 30.0) -> None:
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, f"still waiting for: {what}"
        time.sleep(0.02)


def processes(state: Path) -> list[psutil.Process]:
    """The owner and the server of a state folder, as their arguments and open files show."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.status() == psutil.STATUS_ZOMBIE:
                continue
            is_owner = any(part.endswith("redis_owner.py") for part in process.cmdline())
            if (is_owner and str(state) in process.cmdline()) or (
                process.name() == "redis-server" and process.cwd() == str(state / "redis")
            ):
                found.append(process)
    return found


def the(kind: str, state: Path) -> psutil.Process:
    (process,) = [p for p in processes(state) if (p.name() == "redis-server") == (kind == "server")]
    return process


def client(url: str) -> redis.Redis:
    return redis.Redis.from_url(url, decode_responses=True)


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "state"
    yield path
    for process in processes(path):
        with contextlib.suppress(psutil.Error):
            process.kill()


@contextlib.contextmanager
def user_process(state: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Another process that uses the server until its standard input ends."""
    with subprocess.Popen(
        [sys.executable, "-c", USER, str(state)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            url = process.stdout.readline().strip()
            assert url.startswith("unix://")
            yield process, url
        finally:
            process.kill()


def test_starts_once_keeps_data_and_leaves_nothing_behind(state: Path) -> None:
    assert not EmbeddedRedis.exists(state)
    assert not state.exists(), "asking creates nothing"
    with EmbeddedRedis(state) as embedded:
        url = embedded.ensure()
        assert url.startswith(f"unix://{state}/redis.sock?password=")
        server = the("server", state)
        assert client(url).set("kept", "yes")
        assert embedded.ensure() == url
        assert the("server", state) == server
        embedded.close(wait=True)
        embedded.close(wait=True)
        assert processes(state) == []
        assert not (state / "redis.sock").exists()
    assert EmbeddedRedis.exists(state)
    with EmbeddedRedis(state) as embedded:
        assert client(embedded.ensure()).get("kept") == "yes"


def test_is_private(state: Path) -> None:
    with EmbeddedRedis(state) as embedded:
        url = embedded.ensure()
        password = url.rpartition("=")[2]
        assert stat.S_IMODE(state.stat().st_mode) == 0o700
        for name in ("redis.password", "redis.conf", "redis.log"):
            assert stat.S_IMODE((state / name).stat().st_mode) == 0o600, name
        assert stat.S_IMODE((state / "redis.sock").stat().st_mode) == 0o700
        assert len(processes(state)) == 2
        for process in processes(state):
            assert password not in " ".join(process.cmdline())
            assert password not in " ".join(process.environ().values())
            assert [c for c in process.net_connections() if c.status == psutil.CONN_LISTEN] == []
        assert password not in (state / "redis.log").read_text()
        with pytest.raises(redis.AuthenticationError):
            client(url.partition("?")[0]).ping()
        settings = client(url).config_get("*")
        wanted = {
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
        }
        assert {name: settings[name] for name in wanted} == wanted


def test_two_users_share_one_server_until_the_last_leaves(state: Path) -> None:
    with user_process(state) as (other, url), EmbeddedRedis(state) as embedded:
        assert embedded.ensure() == url
        server = the("server", state)
        embedded.close(wait=True)
        assert the("server", state) == server
        assert client(url).ping()
        assert other.stdin is not None
        other.stdin.close()
        assert other.wait(30) == 0
        wait_for(lambda: not processes(state), "the owner and the server to end")


def test_many_starting_at_once_start_one_server(state: Path) -> None:
    users = [EmbeddedRedis(state) for _ in range(6)]
    with ThreadPoolExecutor(len(users)) as pool:
        urls = set(pool.map(lambda user: user.ensure(), users))
    assert len(urls) == 1
    assert len(processes(state)) == 2
    assert (state / "redis.log").read_text().count("is starting o") == 1
    for user in users:
        user.close()


def test_arriving_while_the_last_user_leaves(state: Path) -> None:
    """Whatever moment of the server's end a new user hits, it gets a server that works."""
    for count in range(8):
        with EmbeddedRedis(state) as embedded:
            connection = client(embedded.ensure())
            assert connection.incr("rounds") == count + 1
            time.sleep(0.004 * count)  # moves the moment; nothing is waited for
    EmbeddedRedis(state).close()


def test_a_killed_user_leaves_nothing_behind(state: Path) -> None:
    with user_process(state) as (user, url):
        client(url).set("kept", "yes")
        user.send_signal(signal.SIGKILL)
        wait_for(lambda: not processes(state), "the owner and the server to end")
    with EmbeddedRedis(state) as embedded:
        assert client(embedded.ensure()).get("kept") == "yes"


def test_a_killed_server_comes_back_with_its_data(state: Path) -> None:
    with EmbeddedRedis(state) as embedded:
        url = embedded.ensure()
        client(url).set("kept", "yes")
        before = the("server", state)
        before.kill()
        assert embedded.ensure() == url
        assert client(url).get("kept") == "yes"
        assert the("server", state) != before
        assert len(processes(state)) == 2


def test_a_killed_owner_takes_the_server_along(state: Path) -> None:
    with EmbeddedRedis(state) as embedded:
        url = embedded.ensure()
        client(url).set("kept", "yes")
        server = the("server", state)
        owner = the("owner", state)
        owner.kill()
        wait_for(lambda: owner not in processes(state), "the owner to be dead")
        assert embedded.ensure() == url, "called at once, while the old server is still on its way out"
        assert the("server", state) != server
        assert client(url).get("kept") == "yes"
        the("owner", state).kill()
        wait_for(lambda: not processes(state), "the server to end with its owner")


def test_ctrl_c_in_the_terminal_does_not_reach_the_server(state: Path) -> None:
    with EmbeddedRedis(state) as embedded:
        embedded.ensure()
        for process in processes(state):
            assert os.getpgid(process.pid) != os.getpgid(0)
            assert os.getsid(process.pid) != os.getsid(0)
        assert not {p.pid for p in processes(state)} & {
            p.pid for p in psutil.Process().children(recursive=True)
        }


def test_a_child_with_the_descriptor_keeps_the_server(state: Path) -> None:
    with EmbeddedRedis(state) as embedded:
        url = embedded.ensure()
        fd = embedded.lock_fd
        assert fd is not None
        with subprocess.Popen(["sleep", "60"], pass_fds=[fd]) as child:
            embedded.close(wait=True)
            assert embedded.lock_fd is None
            assert client(url).ping()
            child.kill()
        wait_for(lambda: not processes(state), "the owner and the server to end")


def test_a_truncated_file_and_a_stale_socket_are_no_obstacle(state: Path) -> None:
    with EmbeddedRedis(state) as embedded:
        connection = client(embedded.ensure())
        connection.set("kept", "yes")
        connection.set("cut", "x" * 100)
        embedded.close(wait=True)
    (log,) = [
        file
        for file in (state / "redis").rglob("*")
        if file.suffix == ".aof"
        and not file.name.endswith((".base.aof", ".manifest"))
        and file.stat().st_size
    ]
    os.truncate(log, log.stat().st_size - 20)
    (state / "redis.sock").write_text("")
    with EmbeddedRedis(state) as embedded:
        connection = client(embedded.ensure())
        assert connection.get("kept") == "yes"
        assert connection.get("cut") is None


def test_a_long_path_works_and_its_socket_folder_goes(tmp_path: Path) -> None:
    state = tmp_path / ("long " * 20) / "state"
    with EmbeddedRedis(state) as embedded:
        url = embedded.ensure()
        assert client(url).ping()
        socket = Path(url.removeprefix("unix://").partition("?")[0])
        assert socket.parent.parent == Path(tempfile.gettempdir())
        assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700
        with user_process(state) as (_, others_url):
            assert others_url == url
        embedded.close(wait=True)
        assert not socket.parent.exists()
        assert processes(state) == []


def test_a_server_that_fails_says_why(state: Path) -> None:
    with EmbeddedRedis(state) as embedded:
        client(embedded.ensure()).set("kept", "yes")
        embedded.close(wait=True)
    for file in (state / "redis").rglob("*.aof"):
        file.write_bytes(b"no append-only file" + file.read_bytes())
    broken = EmbeddedRedis(state)
    with pytest.raises(RedisUnavailable, match=r"(?s)did not start.*redis\.log.*append only file"):
        broken.ensure()
    assert broken.lock_fd is None
    wait_for(lambda: not processes(state), "the owner to end")


def test_data_of_a_newer_layout_is_not_passed_over_silently(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (state / "redis" / "appendonlydir").mkdir(parents=True)
    monkeypatch.setattr("worker.embedded.finder.server_version", lambda binary: (6, 2))
    with pytest.raises(
        BadInput, match=r"no redis-server 7\.0 or newer .* but Redis 7 or newer wrote .*/state/redis"
    ):
        EmbeddedRedis(state).ensure()


def test_the_server_is_the_one_that_is_found(state: Path) -> None:
    with EmbeddedRedis(state) as embedded:
        embedded.ensure()
        assert the("server", state).exe() == str(find_redis_server().resolve())
