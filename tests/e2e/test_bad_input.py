"""Mistakes of the user's: one clear line each, exit code 2, nothing started, nothing lost."""

from __future__ import annotations

import os
import socketserver
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.harness import BIN, assert_nothing_left, environment, run, started, wait_for
from tests.redisserver import RedisServer

MODULE = """
VALUE = 3
def good(task, x): return x
def needs_more(task, x, depth): return x
def takes_less(task): return 1
def no_x(task, y=1): return y
"""

HEAD = '[study]\nname = "s"\nmetric = { name = "loss", goal = "minimize" }\n'
GOOD = HEAD + (
    '[objective]\nfunction = "obj:good"\n'
    '[parameters]\nx = { type = "float", low = 0.0, high = 1.0 }\n[budget]\nmax_trials = 2\n'
)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "obj.py").write_text(MODULE)
    (tmp_path / "missing_library.py").write_text("import surely_not_installed\ndef f(task, x): pass\n")
    yield tmp_path
    assert_nothing_left(tmp_path)


def refused(folder: Path, *arguments: str, exit_code: int = 2, **env: str) -> str:
    """What `controller start` says; it must be refused properly."""
    done = run("controller", "start", *arguments, cwd=folder, timeout=60, **env)
    assert done.returncode == exit_code, (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("controller: ")
    return done.stderr


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("max_trials", "max_trails", 'budget.max_trails: unknown key; did you mean "max_trials"'),
        ("low = 0.0", "low = 2.0", "parameters.x"),
        ("high = 1.0", "high = 1.0, log = true", "parameters.x"),
        ('x = { type = "float", low = 0.0, high = 1.0 }', "x = { choices = [] }", "parameters.x"),
        ("[budget]", "x = 3\n[budget]", "a key is given twice: cannot overwrite a value (at line 8"),
        ("[study]", "[study", "line 1"),
        ('"obj:good"', '"obj:godo"', "has no 'godo'"),
        ('"obj:good"', '"obj:VALUE"', "can't be called"),
        ('"obj:good"', '"nowhere:good"', "no module 'nowhere'"),
        ('"obj:good"', '"missing_library:f"', "imports 'surely_not_installed', which is not installed"),
        ('"obj:good"', '"obj:needs_more"', "needs an argument 'depth'"),
        ('"obj:good"', '"obj:no_x"', "doesn't take parameter 'x'"),
        ('function = "obj:good"', 'script = "nowhere.py"', "nowhere.py"),
        ('function = "obj:good"', 'command = ["echo", "{y}"]', "y"),
        ('function = "obj:good"', 'command = ["echo"]', "x"),
        ('function = "obj:good"', 'command = ["surely-not-a-program", "{x}"]', "surely-not-a-program"),
        ('function = "obj:good"', 'optuna = "obj:good"', "can't be called with a trial alone"),
        ("[budget]", '[sampler]\ntype = "tpee"\n[budget]', "did you mean"),
        ("[budget]", '[sampler]\nn_startup_trails = 3\n[budget]', "n_startup_trials"),
        ("[budget]", '[queue]\nname = "a b"\n[budget]', "queue name 'a b'"),
        ("max_trials = 2", "", "never end"),
    ],
)  # fmt: skip
def test_mistakes_in_the_sweep_file(folder: Path, old: str, new: str, message: str) -> None:
    assert old in GOOD
    (folder / "sweep.toml").write_text(GOOD.replace(old, new))
    assert message in refused(folder)


def test_all_mistakes_are_told_at_once(folder: Path) -> None:
    (folder / "sweep.toml").write_text(GOOD.replace("max_trials", "max_trails").replace("high", "hihg"))
    said = refused(folder)
    assert "max_trails" in said
    assert "hihg" in said
    assert all(line.startswith("controller: sweep.toml: ") for line in said.splitlines())


def test_files_that_can_not_be_read(folder: Path) -> None:
    assert "nothing.toml" in refused(folder, "nothing.toml")
    (folder / "sweep.txt").write_text(GOOD)
    assert "sweep.txt" in refused(folder, "sweep.txt")
    (folder / "sweep.toml").write_text(GOOD)
    assert "--set" in refused(folder, "--set", "budget.max_trails=3")
    assert not (folder / ".optuna-rq").exists()


class OldRedis(socketserver.StreamRequestHandler):
    """Answers as a Redis of years ago."""

    def handle(self) -> None:
        while line := self.rfile.readline():
            words = []
            for _ in range(int(line[1:])):
                size = int(self.rfile.readline()[1:])
                words.append(self.rfile.read(size + 2)[:-2].decode().lower())
            if words[0] == "info":
                text = b"# Server\r\nredis_version:5.0.3\r\n"
                self.wfile.write(b"$%d\r\n%s\r\n" % (len(text), text))
            elif words[0] == "hello":
                self.wfile.write(b"-ERR unknown command `HELLO`\r\n")
            else:
                self.wfile.write(b"+PONG\r\n" if words[0] == "ping" else b"+OK\r\n")


def test_a_redis_that_can_not_be_used(folder: Path) -> None:
    (folder / "sweep.toml").write_text(GOOD)
    assert "connection refused" in refused(folder, exit_code=1, REDIS_URL="redis://127.0.0.1:1/0")
    with RedisServer(password="right-word") as server:
        where = f"127.0.0.1:{server.port}"
        for url, message in (
            (f"redis://:wrong-word@{where}/0", "wrong or missing password"),
            (f"redis://{where}/0", "password"),
            (f"redis://:right-word@{where}/99", "no such database"),
            ("http://nonsense", "Redis URL"),
        ):
            said = refused(folder, REDIS_URL=url)
            assert message in said
            assert "-word" not in said
            asked = run("controller", "top", cwd=folder, REDIS_URL=url)
            assert (asked.returncode, "Traceback" in asked.stderr) == (2, False), asked.stderr
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), OldRedis) as old:
        old.daemon_threads = True
        threading.Thread(target=old.serve_forever, daemon=True).start()
        assert "5.0.3 is too old" in refused(
            folder, REDIS_URL=f"redis://127.0.0.1:{old.server_address[1]}/0?protocol=2"
        )
        old.shutdown()


def test_a_storage_that_can_not_be_used(folder: Path) -> None:
    (folder / "sweep.toml").write_text(GOOD)
    for url, message in (
        ("nonsense", "storage 'nonsense'"),
        ("sqlite:/x.db", "write sqlite:///x.db"),
        ("postgresql+surelynot://user:hidden-word@host/db", "storage postgresql+surelynot"),
        (f"sqlite:///{folder}/obj.py", "storage sqlite"),
    ):
        said = refused(folder, OPTUNA_STORAGE=url)
        assert message in said
        assert "hidden-word" not in said
        assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("s3://", "no bucket"),
        ("s3://key:hidden-word@bucket/x", "leave credentials out"),
        ("ftp://x/y", "use file:///PATH, s3://BUCKET/PREFIX or gs://BUCKET/PREFIX"),
        ("file://x/y", "three slashes"),
        ("file:///proc/nowhere/x", "can't be written"),
    ],
)
def test_an_artifact_store_that_can_not_be_used(folder: Path, url: str, message: str) -> None:
    (folder / "sweep.toml").write_text(GOOD)
    said = refused(folder, ARTIFACT_STORE=url)
    assert message in said
    assert "hidden-word" not in said


def test_a_queue_without_a_worker_is_said(folder: Path, redis_url: str) -> None:
    (folder / "sweep.toml").write_text(GOOD)
    with started("controller", "start", cwd=folder, log=folder / "log", REDIS_URL=redis_url) as process:
        wait_for(lambda: "no worker serves queue 'default' yet" in (folder / "log").read_text(), "the hint")
        assert "worker --queue default" in (folder / "log").read_text()
        with started("worker", cwd=folder, REDIS_URL=redis_url):
            assert process.wait(60) == 0


def test_questions_where_nothing_is(folder: Path) -> None:
    for command in ("top", "status", "tasks"):
        done = run("controller", command, cwd=folder)
        assert done.returncode == 2
        assert "set REDIS_URL, or call this where" in done.stderr
    assert not (folder / ".optuna-rq").exists()


@pytest.mark.real_start
def test_a_file_of_the_user_that_hides_ours(folder: Path) -> None:
    (folder / "worker.py").write_text("x = 1\n")
    (folder / "train.py").write_text("from worker import Task\n")
    (folder / "sweep.toml").write_text(GOOD.replace('function = "obj:good"', 'script = "train.py"'))
    assert "worker.py hides optuna-rq's package" in refused(folder)
    (folder / "sweep.toml").write_text(GOOD.replace("obj:good", "worker:train"))
    assert "rename your module" in refused(folder)
    (folder / "sweep.toml").write_text(GOOD)
    assert run("controller", "start", "--workers", "1", cwd=folder).returncode == 0


def test_help_of_every_command(folder: Path) -> None:
    helped = run("controller", "--help", cwd=folder)
    assert helped.returncode == 0
    for command in (
        "start",
        "status",
        "top",
        "tasks",
        "show",
        "logs",
        "stop",
        "pause",
        "resume",
        "delete",
        "artifacts",
    ):
        assert command in helped.stdout
        own = run("controller", command, "--help", cwd=folder)
        assert own.returncode == 0
        assert "Usage: controller " + command in own.stdout
    start = run("controller", "start", "--help", cwd=folder).stdout
    assert all(
        name in start for name in ("REDIS_URL", "OPTUNA_STORAGE", "ARTIFACT_STORE", "--set", "--workers")
    )
    assert run("controller", "--version", cwd=folder).stdout.startswith("controller (optuna-rq)")
    assert run("controller", "tpo", cwd=folder).returncode == 2


@pytest.mark.real_start
def test_output_into_a_pipe_that_ends(folder: Path) -> None:
    (folder / "sweep.toml").write_text(GOOD)
    assert run("controller", "start", "--workers", "1", cwd=folder).returncode == 0

    done = subprocess.run(
        ["bash", "-c", "controller top --format json | head -c 1"],
        cwd=folder,
        env=environment(PATH=f"{BIN}:{os.environ['PATH']}"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "[", done.stderr
    assert "Traceback" not in done.stderr
