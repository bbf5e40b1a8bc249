"""The tests' own redis-server: that it is real, keeps its data, and doesn't hide a missing binary."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.redisserver import RedisServer
from worker.protocol.errors import BadInput


def test_survives_a_kill_on_the_same_port_with_its_data() -> None:
    with RedisServer(password="p/w @1", appendonly=True, config=["maxclients 77"]) as server:
        url = server.url()
        with server.client() as client:
            client.set("kept", "yes")
            assert client.info("clients")["maxclients"] == 77
            server.kill()
            with pytest.raises(redis.ConnectionError):
                client.ping()
            server.start()
            assert server.url() == url
            assert client.get("kept") == b"yes"
        stranger = redis.Redis(port=server.port, retry=Retry(NoBackoff(), 0))
        with stranger, pytest.raises(redis.AuthenticationError):
            stranger.ping()
        directory = server.directory
        server.stop()
    assert not directory.exists()


def test_a_named_binary_that_does_not_run_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPTUNA_RQ_TEST_REDIS_SERVER", str(tmp_path / "missing"))
    with pytest.raises(BadInput, match="OPTUNA_RQ_TEST_REDIS_SERVER"):
        RedisServer().start()
