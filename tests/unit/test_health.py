"""Health and metrics without processes: addresses, the HTTP server, what is counted, what the probes say."""

from __future__ import annotations

import http.client
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.parser import text_string_to_metric_families

from controller.health.probes import PATIENCE_S, STALE_S, Health
from controller.health.redis_metrics import REGISTRATION_LIFE_S, Seen
from controller.loop.observer import LEASE, REDIS, STORAGE
from tests.fakes import ManualClock
from tests.servers import free_port
from worker.health.address import Address, parse_address
from worker.health.attempts import DROPPED, HANDED_BACK, REQUEUED, HealthReporter
from worker.health.monitoring import Monitoring
from worker.health.server import MOST_THREADS, Answer, HealthServer
from worker.process.channel import Lines
from worker.protocol.errors import BadInput
from worker.slot.daemon import REGISTRATION_PERIOD_S


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("9108", ("127.0.0.1", 9108)),
        ("0.0.0.0:9108", ("0.0.0.0", 9108)),
        ("head-1.example.org:1", ("head-1.example.org", 1)),
        ("[::1]:65535", ("::1", 65535)),
    ],
)
def test_an_address(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address
    assert parse_address(str(parse_address(text))) == address


@pytest.mark.parametrize(
    "text",
    ["", "x", "0", "65536", "-1", ":9108", "a:b", "::1:9108", "h:9108:1", "http://h:1", "h/x:1", "9108 9109"],
)
def test_no_address(text: str) -> None:
    with pytest.raises(BadInput, match=r"give \[HOST:\]PORT") as refused:
        parse_address(text)
    assert len(refused.value.problems) == 1


# The server


@pytest.fixture
def served() -> Iterator[tuple[int, dict[str, Answer], Counter]]:
    """A server's port, what its probe says next, and a counter of its registry."""
    registry = CollectorRegistry()
    counter = Counter("things", "Things.", registry=registry)
    says = {"next": Answer(True, "fine")}
    server = HealthServer(Address("127.0.0.1", free_port()), registry, {"/livez": lambda: says["next"]})
    server.start()
    yield server._server.server_port, says, counter
    server.close()


def ask(port: int, path: str, method: str = "GET") -> tuple[int, str, dict[str, str]]:
    """Status, body and headers of an answer."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode(), dict(answer.headers)
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(), dict(error.headers)


def test_probes_and_metrics(served: tuple[int, dict[str, Answer], Counter]) -> None:
    port, says, counter = served
    assert ask(port, "/livez")[:2] == (200, "fine\n")
    says["next"] = Answer(False, "not\nfine")
    assert ask(port, "/livez")[:2] == (503, "not fine\n")
    counter.inc(3)
    status, text, headers = ask(port, "/metrics")
    assert status == 200
    assert headers["Content-Type"].startswith("text/plain; version=")
    families = list(text_string_to_metric_families(text))
    assert [(f.name, f.type, [s.value for s in f.samples]) for f in families] == [
        ("things", "counter", [3.0])
    ]


@pytest.mark.parametrize("path", ["/", "/metrics/", "/metrics/x", "/favicon.ico", "/../etc/passwd"])
def test_nothing_else_is_served(served: tuple[int, dict[str, Answer], Counter], path: str) -> None:
    assert ask(served[0], path)[0] == 404


@pytest.mark.parametrize("path", ["/metrics", "/livez"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"])
def test_other_methods_are_refused(
    served: tuple[int, dict[str, Answer], Counter], path: str, method: str
) -> None:
    status, _, headers = ask(served[0], path, method)
    assert (status, headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("path", ["/metrics", "/livez"])
def test_head_has_the_headers_only(served: tuple[int, dict[str, Answer], Counter], path: str) -> None:
    whole, head = ask(served[0], path), ask(served[0], path, "HEAD")
    assert (head[0], head[1]) == (200, "")
    assert head[2]["Content-Length"] == str(len(whole[1]))
    assert head[2]["Content-Type"] == whole[2]["Content-Type"]


def test_many_silent_connections_are_not_waited_for(served: tuple[int, dict[str, Answer], Counter]) -> None:
    port, before = served[0], threading.active_count()
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(8)]
    assert ask(port, "/livez")[0] == 200
    silent += [socket.create_connection(("127.0.0.1", port)) for _ in range(2 * MOST_THREADS)]
    with pytest.raises((OSError, http.client.HTTPException)):  # the one too many is hung up on
        ask(port, "/livez")
    assert threading.active_count() <= max(before, MOST_THREADS)
    for connection in silent:
        connection.close()


def test_an_error_in_a_metric_is_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        def collect(self) -> Any:
            raise ValueError("redis://:geheim@host")

    registry = CollectorRegistry()
    registry.register(Broken())
    server = HealthServer(Address("127.0.0.1", free_port()), registry, {})
    server.start()
    status, text, _ = ask(server._server.server_port, "/metrics")
    server.close()
    assert status == 500
    assert "geheim" not in text
    assert "ValueError" in caplog.text


def test_an_answer_that_is_under_way_is_given_before_the_end() -> None:
    asked, go_on = threading.Event(), threading.Event()

    def slow() -> Answer:
        asked.set()
        go_on.wait(10)
        return Answer(True, "x" * 1_000_000)

    server = HealthServer(Address("127.0.0.1", free_port()), CollectorRegistry(), {"/livez": slow})
    server.start()
    port = server._server.server_port
    found: list[tuple[int, str, dict[str, str]]] = []
    reader = threading.Thread(target=lambda: found.append(ask(port, "/livez")))
    with socket.create_connection(("127.0.0.1", port)):  # one that says nothing keeps nobody for long
        reader.start()
        assert asked.wait(10)
        closing = threading.Thread(target=server.close)
        closing.start()
        closing.join(0.2)
        assert closing.is_alive()
        go_on.set()
        reader.join(10)
        closing.join(10)
        assert not closing.is_alive()
    assert [(status, len(text)) for status, text, _ in found] == [(200, 1_000_001)]


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(BadInput, match=f"--metrics-port 127.0.0.1:{port}: another program listens there"):
            HealthServer(Address("127.0.0.1", port), CollectorRegistry(), {})


@pytest.mark.parametrize(
    ("host", "why"), [("192.0.2.1", "not an address of this machine"), ("nobody.invalid", "no such host")]
)
def test_a_host_that_is_not_here(host: str, why: str) -> None:
    with pytest.raises(BadInput, match=why):
        HealthServer(Address(host, free_port()), CollectorRegistry(), {})


def test_closing_frees_the_port() -> None:
    address = Address("127.0.0.1", free_port())
    for _ in range(2):
        server = HealthServer(address, CollectorRegistry(), {})
        server.start()
        server.close()
    HealthServer(address, CollectorRegistry(), {}).close()  # one that was never started


# The worker's side


def test_slots_need_no_prometheus_client() -> None:
    code = "import sys, worker.slot, worker.runner, worker.cli; print('prometheus_client' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


class Daemon:
    """A worker's monitoring, the socket of its slot 0, and what it has counted."""

    def __init__(self) -> None:
        self.clock = ManualClock(100.0)
        self.port = free_port()
        self.monitoring = Monitoring(Address("127.0.0.1", self.port), "w", 1, self.clock.monotonic)
        self.ours, self.theirs = socket.socketpair()
        for end in (self.ours, self.theirs):
            end.setblocking(False)
        self.reporter = HealthReporter(self.theirs)

    def turn(self, up: bool = True, **state: Any) -> None:
        told = {
            "redis_up": True,
            "registered_at": self.clock.monotonic(),
            "draining": False,
            "paused": False,
            **state,
        }
        self.monitoring.turn({0: self.ours} if up else {}, **told)

    def value(self, name: str, **labels: str) -> float | None:
        """A sample of the worker's, without the prefix of its name."""
        families = text_string_to_metric_families(ask(self.port, "/metrics")[1])
        samples = [sample for family in families for sample in family.samples]
        wanted = (f"optuna_rq_worker_{name}", {"worker": "w", **labels})
        return next((s.value for s in samples if (s.name, s.labels) == wanted), None)


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    daemon = Daemon()
    yield daemon
    daemon.monitoring.close()
    daemon.ours.close()
    daemon.theirs.close()


def test_what_a_slot_tells_is_counted(daemon: Daemon) -> None:
    daemon.turn()
    assert daemon.value("attempts_ended_total", outcome="completed", reason="") == 0
    with daemon.reporter.attempt(SimpleNamespace(ended_as=("completed", ""))):
        daemon.turn()
        assert (daemon.value("slots_busy"), daemon.value("attempts_started_total")) == (1, 1)
    with (
        pytest.raises(ValueError, match="x"),
        daemon.reporter.attempt(SimpleNamespace(ended_as=(DROPPED, ""))),
    ):
        raise ValueError("x")
    with daemon.reporter.attempt(SimpleNamespace(ended_as=(REQUEUED, HANDED_BACK))):
        pass
    daemon.reporter.refused()
    daemon.turn()
    assert (daemon.value("slots_busy"), daemon.value("attempts_started_total")) == (0, 3)
    for outcome, reason in (("completed", ""), (DROPPED, ""), (REQUEUED, HANDED_BACK)):
        assert daemon.value("attempts_ended_total", outcome=outcome, reason=reason) == 1
    assert daemon.value("attempt_duration_seconds_count") == 3
    assert daemon.value("jobs_refused_total") == 1


def test_what_a_killed_slot_ran_is_lost(daemon: Daemon) -> None:
    attempt = daemon.reporter.attempt(SimpleNamespace(ended_as=("completed", "")))
    attempt.__enter__()
    daemon.monitoring.slot_ended(0, daemon.ours)
    daemon.monitoring.slot_restarts()
    assert (daemon.value("slots_busy"), daemon.value("slot_restarts_total")) == (0, 1)
    assert daemon.value("attempts_ended_total", outcome="lost", reason="") == 1


def test_nobody_counts_where_nothing_listens() -> None:
    with HealthReporter(None).attempt(SimpleNamespace(ended_as=("completed", ""))):
        pass


def test_a_daemon_that_does_not_listen_holds_up_no_slot(daemon: Daemon) -> None:
    said = 50_000
    for _ in range(said):
        daemon.reporter.refused()
    got = 0
    lines = Lines()
    while True:
        try:
            messages = lines.feed(daemon.ours.recv(1 << 16))
        except BlockingIOError:
            break
        got += len(messages)
        assert all(message == {"op": "refused"} for message in messages)
    assert 0 < got < said
    daemon.turn()
    daemon.reporter.refused()  # whole messages go on where the socket was full
    daemon.turn()
    assert (daemon.value("jobs_refused_total") or 0) > 1


def test_when_a_worker_is_ready(daemon: Daemon) -> None:
    ready = daemon.monitoring.ready
    assert ready() == (False, "starting")
    daemon.turn()
    assert ready() == (True, "ready: 1 slot(s), 0 busy")
    daemon.turn(redis_up=False)
    assert ready() == (False, "Redis is away")
    daemon.turn(up=False)
    assert ready() == (False, "no slot is up")
    daemon.turn(paused=True)
    assert not ready().ok
    assert ready().text.startswith("paused")
    daemon.turn(paused=True, draining=True)
    assert ready() == (False, "draining: it was told to end")
    assert ask(daemon.port, "/readyz")[:2] == (503, "draining: it was told to end\n")
    for name, value in {"draining": 1, "paused": 1, "redis_up": 1, "slots_up": 1, "slots": 1}.items():
        assert daemon.value(name) == value, name


def test_a_worker_lives_while_its_loop_turns(daemon: Daemon) -> None:
    assert daemon.monitoring.live().ok
    daemon.clock.sleep(29.9)
    assert daemon.monitoring.live().ok
    daemon.turn()
    daemon.clock.sleep(30.0)
    assert daemon.monitoring.live() == (False, "the loop has not turned for 30 s")
    assert daemon.value("heartbeat_age_seconds") == 30
    assert daemon.value("uptime_seconds") == pytest.approx(59.9)
    daemon.turn(redis_up=False)  # one that waits for Redis lives
    assert daemon.monitoring.live().ok


# The controller's side


def test_a_registration_outlives_three_periods() -> None:
    assert REGISTRATION_LIFE_S == 3 * REGISTRATION_PERIOD_S


def test_a_controller_lives_while_its_loop_turns() -> None:
    clock = ManualClock()
    health = Health("s", clock.monotonic)
    clock.sleep(PATIENCE_S - 1)
    assert health.live().ok  # it starts
    clock.sleep(1)
    assert health.live() == (False, f"the loop has not turned for {PATIENCE_S:.0f} s")
    for waits_for in ("", REDIS, STORAGE, LEASE):
        health.heartbeat(waits_for)
        clock.sleep(STALE_S - 0.1)
        assert health.live().ok, waits_for
        clock.sleep(0.1)
        assert not health.live().ok, waits_for
    with health.at_length():  # the sampler is asked
        clock.sleep(PATIENCE_S - 1)
        assert health.live().ok
    clock.sleep(STALE_S)
    assert not health.live().ok


def test_a_command_to_a_silent_redis_is_not_a_stuck_loop() -> None:
    clock = ManualClock()
    health = Health("s", clock.monotonic)
    health.heartbeat()
    clock.sleep(80)
    assert not health.live().ok
    health.redis = SimpleNamespace(seen=lambda: None, away_at=clock.monotonic() - 5)  # type: ignore[assignment]
    assert health.live().ok


def test_a_controller_stands_by_only_when_it_was_told_to() -> None:
    health = Health("s")
    assert health.ready() == (False, "starting")
    health.redis = SimpleNamespace(seen=lambda: Seen(up=True), away_at=0.0)  # type: ignore[assignment]
    health.lock = lock = SimpleNamespace(held=False)  # type: ignore[assignment]
    assert health.ready() == (False, "starting")  # it has not asked yet
    health.stands_by = True
    assert health.ready() == (True, "standing by: another controller acts on study s")
    lock.held = True
    assert health.ready() == (False, "starting")  # it takes over
    health.begun = True
    assert health.ready() == (True, "acts on study s")
    lock.held = False
    assert not health.ready().ok


def test_what_a_controller_waits_for() -> None:
    health = Health("s")
    assert health.storage_up
    health.heartbeat(STORAGE)
    assert not health.storage_up
    health.heartbeat()
    assert health.storage_up
