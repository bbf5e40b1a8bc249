"""A Redis that can't be used: one line, and exit code 2 only where the URL is to be corrected."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from worker.protocol.connection import check, connect
from worker.protocol.errors import BadInput, OptunaRQError, RedisAway


def refusal(url: str) -> OptunaRQError:
    with pytest.raises(OptunaRQError) as refused:
        check(connect(url, patience_s=0, timeout_s=0.5), url)
    assert "\n" not in str(refused.value)
    assert "hidden-word" not in str(refused.value)
    return refused.value


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("redis", "it begins with none of redis://"),
        ("localhost:6379", "it begins with none of redis://"),
        ("redis:/head", "it begins with none of redis://"),
        ("http://head", "it begins with none of redis://"),
        ("redis+sentinel://head", "it begins with none of redis://"),
        ("unix://", "it names no socket"),
        ("redis://head/zero", "'zero' is no database number"),
        ("redis://:hidden-word@head/zero", "'zero' is no database number"),
        ("redis://head:99999/0", "out of range"),
        ("redis://:hidden-word@head:abc/0", "use redis://HOST:6379/0"),
        ("redis://[::1/0", "use redis://HOST:6379/0"),
        ("redis://127.0.0.1:1/0?colour=red", "there is no option 'colour'"),
        ("redis://127.0.0.1:1/0?socket_timeout=soon", "socket_timeout"),
        (f"redis://{'a' * 80}.org/0", "there can be no such host"),
    ],
)
def test_a_url_that_can_not_be_right(url: str, message: str) -> None:
    error = refusal(url)
    assert isinstance(error, BadInput)
    assert message in str(error)
    assert error.exit_code == 2


@pytest.mark.parametrize(
    ("url", "message", "exit_code"),
    [
        ("redis://127.0.0.1:1/0", "connection refused; is it running", 1),
        ("unix:///nowhere/redis.sock", "there is no such socket; is it running", 1),
        ("redis://no-such-host.invalid/0", "no such host; correct REDIS_URL", 2),
        ("rediss://127.0.0.1:1/0?ssl_ca_certs=/nowhere.pem", "there is no file /nowhere.pem", 2),
    ],
)
def test_a_redis_that_is_not_there(url: str, message: str, exit_code: int) -> None:
    error = refusal(url)
    assert isinstance(error, RedisAway)
    assert message in str(error)
    assert error.exit_code == exit_code


@pytest.fixture
def answer(request: pytest.FixtureRequest) -> Iterator[str]:
    """A server that answers all that it hears with the parameter; where that is None, with nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        open_ones = []

        def serve() -> None:
            while True:
                try:
                    one, _ = server.accept()
                except OSError:
                    return
                open_ones.append(one)
                if request.param is not None:
                    one.recv(1000)
                    one.sendall(request.param)

        threading.Thread(target=serve, daemon=True).start()
        yield f"redis://127.0.0.1:{server.getsockname()[1]}/0?protocol=2"
        server.shutdown(socket.SHUT_RDWR)
    for one in open_ones:
        one.close()


@pytest.mark.parametrize(
    ("answer", "message", "exit_code"),
    [
        (None, "no answer in time", 1),
        (b"-LOADING Redis is loading the dataset in memory\r\n", "loading", 1),
        (b"-ERR max number of clients reached\r\n", "max number of clients", 1),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "what answers there is not Redis", 2),
        (b"-NOAUTH Authentication required.\r\n", "password", 2),
        (b"-WRONGPASS invalid username-password pair or user is disabled.\r\n", "password", 2),
    ],
    indirect=["answer"],
)
def test_what_answers_instead_of_a_redis(answer: str, message: str, exit_code: int) -> None:
    error = refusal(answer)
    assert message in str(error)
    assert error.exit_code == exit_code
