"""A Redis that is full, that is a replica, that moves, and connections to it that break: real servers, a proxy."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.e2e.cli import Cli, folder_of
from tests.e2e.harness import started, wait_for
from tests.proxy import BreakingProxy
from tests.redisserver import RedisServer

pytestmark = pytest.mark.slow

OBJECTIVES = """
import time

def steps(task, x):
    for i in range(10):
        task.report_scalar("loss", "", x + 9 - i, i)
        time.sleep(0.1)
"""
TRIALS = 8


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    with folder_of(tmp_path, OBJECTIVES) as found:
        yield found


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with RedisServer(appendonly=True) as found:
        yield found


class Running:
    """A controller and a worker of two slots, each with its own way to Redis, and what they say."""

    def __init__(self, cli: Cli, process: Any, logs: list[Path]) -> None:
        self.cli = cli
        self.process = process
        self._logs = logs

    def said(self, text: str) -> bool:
        return text in self._logs[0].read_text()

    def wait_for(self, text: str) -> None:
        wait_for(lambda: self.said(text), f"{text!r} in {self._logs[0].read_text()}", 90.0)

    def told(self, count: int) -> None:
        """Wait until the controller has said so often that a trial is complete."""
        wait_for(lambda: self._logs[0].read_text().count(" completed ") >= count, f"{count} told trials")

    def ends_well(self, url: str) -> None:
        """The study ends as if nothing had happened."""
        assert self.process.wait(120) == 0, self._logs[0].read_text()
        for log in self._logs:
            assert "Traceback" not in log.read_text(), log.read_text()
        trials = self.cli.trials()
        assert [trial.state.name for trial in trials] == ["COMPLETE"] * TRIALS
        rows = self.cli.json("tasks", REDIS_URL=url)
        assert {row["trial"]: row["loss"] for row in rows} == {trial.number: trial.value for trial in trials}
        assert {row["status"] for row in rows} == {"completed"}
        used = self.cli.json("status", REDIS_URL=url)["budget"]["iterations"]["used"]
        assert used == 10 * TRIALS


@contextmanager
def running(cli: Cli, url: str, workers_url: str | None = None, lease: str = "3s") -> Iterator[Running]:
    file = cli.sweep(
        objective={"function": "obj:steps"},
        budget={"max_trials": TRIALS, "max_iterations": 10, "max_concurrent": 2, "lease": lease},
    )
    logs = [cli.folder / "controller.log", cli.folder / "worker.log"]
    with (
        started("worker", "--slots", "2", cwd=cli.folder, log=logs[1], REDIS_URL=workers_url or url),
        started("controller", "start", file, cwd=cli.folder, log=logs[0], REDIS_URL=url) as process,
    ):
        yield Running(cli, process, logs)


def test_full(cli: Cli, server: RedisServer) -> None:
    with running(cli, server.url()) as study, server.client() as client:
        study.told(2)
        client.config_set("maxmemory", 1)
        study.wait_for("Redis is full: raise its maxmemory")
        started_new = cli.start(REDIS_URL=server.url(), workers=0)
        assert started_new.returncode == 1
        assert started_new.stderr.startswith("controller: Redis is full: raise its maxmemory")
        time.sleep(4.0)  # longer than a lease
        client.config_set("maxmemory", 0)
        study.wait_for("Redis is back")
        study.ends_well(server.url())


def test_a_policy_that_drops_records(cli: Cli, server: RedisServer) -> None:
    with server.client() as client:
        client.config_set("maxmemory", 1 << 30)
        client.config_set("maxmemory-policy", "allkeys-lru")
    log = cli.folder / "log"
    file = cli.sweep(objective={"function": "obj:steps"})
    with started("controller", "start", file, cwd=cli.folder, log=log, REDIS_URL=server.url()):
        wait_for(lambda: "maxmemory-policy noeviction" in log.read_text(), "the hint")


def test_failover(cli: Cli, server: RedisServer) -> None:
    """The address moves to the replica, which is not promoted at once."""
    with (
        RedisServer(appendonly=True, config=(f"replicaof {server.host} {server.port}",)) as replica,
        BreakingProxy(server.port) as address,
    ):
        url = f"redis://127.0.0.1:{address.port}/0"
        with replica.client() as client:
            # The first copy takes its primary some seconds; the short study is not to end meanwhile.
            wait_for(lambda: has_all(client, server), "the replica to follow")
        with running(cli, url) as study, replica.client() as client:
            study.told(2)
            wait_for(lambda: has_all(client, server), "the replica to have it all")
            server.kill()
            address.lead_to(replica.port)
            study.wait_for("Redis takes no writes: it is a replica")
            client.replicaof("NO", "ONE")
            study.wait_for("Redis is back")
            study.ends_well(url)


def has_all(replica: redis.Redis, primary: RedisServer) -> bool:
    """Whether a replica has what its primary had a moment ago; it may lack what comes now."""
    with primary.client() as client:
        wanted = client.info("replication")["master_repl_offset"]
    about = replica.info("replication")
    return bool(about["master_link_status"] == "up" and about["slave_repl_offset"] >= wanted)


def refuse(proxy: BreakingProxy) -> None:
    proxy.refuse()
    time.sleep(5.0)
    proxy.heal()


def reset(proxy: BreakingProxy) -> None:
    for _ in range(8):
        proxy.reset()
        time.sleep(0.3)


def blackhole(proxy: BreakingProxy) -> None:
    proxy.blackhole()
    time.sleep(5.0)
    proxy.heal()
    proxy.reset()  # what was swallowed is gone: such a connection does not come back


def delay(proxy: BreakingProxy) -> None:
    proxy.delay(0.3)
    time.sleep(5.0)
    proxy.heal()


@pytest.mark.parametrize("fault", [refuse, reset, blackhole, delay])
@pytest.mark.parametrize("whose", ["controller", "worker"])
def test_connections_that_break(
    cli: Cli, server: RedisServer, whose: str, fault: Callable[[BreakingProxy], None]
) -> None:
    """Of one side; the other one goes on. A worker's lease runs out meanwhile, where it says nothing."""
    with BreakingProxy(server.port) as proxy:
        through, straight = f"redis://127.0.0.1:{proxy.port}/0", server.url()
        urls = (through, straight) if whose == "controller" else (straight, through)
        with running(cli, *urls) as study:
            study.told(2)
            fault(proxy)
            study.ends_well(straight)


def test_the_servers_own_word_for_it() -> None:
    """redis-py has these classes, and a transaction raises them as a single command does."""
    with RedisServer() as server, server.client() as client:
        client.config_set("maxmemory", 1)
        pipe = client.pipeline()
        pipe.watch("a")
        pipe.multi()
        pipe.set("a", 1)
        with pytest.raises(redis.OutOfMemoryError):
            pipe.execute()
