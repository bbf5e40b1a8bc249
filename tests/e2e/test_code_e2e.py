"""[code]: studies bring their code to workers that have nothing of it."""

from __future__ import annotations

import hashlib
import os
import random
import re
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import pytest

import worker
from controller.session.code_snapshot import snapshot
from controller.sweep import CodeSection
from tests.e2e.cli import Cli, folder_of
from tests.e2e.harness import Bench, run_json, started, wait_for
from tests.proxy import BreakingProxy
from tests.s3server import S3Server
from worker.artifacts import open_store
from worker.protocol import Reason, Status, Store
from worker.protocol.connection import connect

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def write(folder: Path, files: dict[str, str]) -> Path:
    """Write files by name; scripts that begin with ``#!`` can be run."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755 if text.startswith("#!") else 0o644)
    return folder


class Node:
    """A worker's machine: an empty folder, and a cache of its own."""

    def __init__(self, root: Path, redis_url: str) -> None:
        self.root = root
        self.folder = root / "node"
        self.folder.mkdir()
        self.bench = Bench(redis_url, self.folder)
        self.cache = root / "cache"
        self.log = root / "worker.log"
        self.url = f"file://{root}/store"

    @contextmanager
    def worker(self, *options: str, **env: str) -> Iterator[subprocess.Popen[bytes]]:
        variables = {"REDIS_URL": self.bench.url, "XDG_CACHE_HOME": str(self.cache), **env}
        with started("worker", *options, cwd=self.folder, log=self.log, **variables) as process:
            wait_for(lambda: self.bench.store.workers.list("default"), "the worker")
            yield process
        assert "Traceback" not in self.log.read_text(), self.log.read_text()

    def pack(self, **files: str) -> dict[str, Any]:
        """Modules as a study's code, stored; returns what its tasks say of it."""
        folder = self.root / f"code {random.random()}"
        folder.mkdir()
        return self.pack_folder(write(folder, {f"{name}.py": text for name, text in files.items()}))

    def pack_folder(self, folder: Path) -> dict[str, Any]:
        with snapshot(CodeSection(), folder) as taken:
            return taken.store_in(open_store(self.url), self.bench.store, "bench")

    def submit(self, objective: dict[str, Any] | str, code: Any, **changes: Any) -> str:
        return self.bench.submit(objective, code=code, artifacts=self.url, **changes)

    def value(self, task_id: str) -> float:
        """The loss of a task that has to complete."""
        task = self.bench.ended(task_id)
        assert task.status is Status.COMPLETED, task.reason + task.error
        return self.bench.store.reports.scalars([task_id])[0]["loss"].last


@pytest.fixture
def node(tmp_path: Path, redis_url: str) -> Node:
    return Node(tmp_path, redis_url)


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    (tmp_path / "head").mkdir()
    with folder_of(tmp_path / "head", "def quick(task, x):\n    return x\n") as found:
        yield found


# All kinds of objectives, over S3

KINDS: dict[str, Any] = {
    "script": {"script": "tools/run.py", "args": ["--tag", "a"]},
    "command": {"command": ["./bin/run.sh", "{x}"]},
    "optuna": {"optuna": "pkg.train:objective"},
}
CODE = {
    "pkg/__init__.py": "",
    "pkg/train.py": """
import os
from pkg.model import loss

def train(task, x):
    print("ran in", os.getcwd(), "with", sorted(os.listdir(".")))
    return loss(x)

def objective(trial):
    return loss(trial.suggest_float("x", 0, 1))
""",
    "pkg/model.py": "from pathlib import Path\ndef loss(x):\n    return x + float(Path('pkg/offset.txt').read_text())\n",
    "pkg/offset.txt": "10",
    "tools/run.py": """
import sibling                     # beside the script
import pkg.model                   # from the snapshot's folder
from worker import Task
task = Task.init()
settings = task.connect({"x": 0.0})
task.get_logger().report_scalar("loss", "", pkg.model.loss(settings["x"]), iteration=0)
""",
    "tools/sibling.py": "",
    "bin/run.sh": '#!/bin/sh\necho loss=$(python3 -c "import pkg.model; print(pkg.model.loss($1))")\n',
    "secrets.pem": "",
    ".env": "TOKEN=hush",
}


def test_every_kind_of_objective_on_a_worker_with_nothing(
    cli: Cli, node: Node, s3_server: S3Server, tmp_path: Path
) -> None:
    s3_server.make_bucket("code")
    write(cli.folder, CODE)
    env = {
        "REDIS_URL": node.bench.url,
        "ARTIFACT_STORE": "s3://code/prefix",
        "OPTUNA_STORAGE": f"sqlite:///{tmp_path}/optuna.db",
        **s3_server.env(),
    }
    optuna.create_study(study_name="older", storage=env["OPTUNA_STORAGE"])
    with node.worker(**env):
        for kind in ("script", "optuna"):
            file = cli.sweep(
                study={"name": kind, "metric": {"name": "loss", "goal": "minimize"}},
                objective=KINDS[kind],
                budget={"max_trials": 1, "max_failures": 1},
                code={"exclude": ["obj.py"]},
            )
            done = cli("start", file, **env)
            assert done.returncode == 0, done.stdout + done.stderr + node.log.read_text()
            assert "code: 8 file(s)" in done.stdout
            (trial,) = optuna.load_study(study_name=kind, storage=env["OPTUNA_STORAGE"]).trials
            assert 10 < trial.value < 11
        # The code stands among the study's artifacts, and in its tasks.
        listed = run_json("controller", "artifacts", "list", "script", cwd=cli.folder, **env)
        assert [row["name"] for row in listed if row["name"].startswith("code ")]
        (row,) = cli.json("tasks", "script", **env)
        code = node.bench.store.tasks.get(row["task"]).spec.code
        function = node.bench.submit("pkg.train:train", code=code, parameters={"x": 0.25})
        command = {"kind": "command", "argv": KINDS["command"]["command"]}
        run_sh = node.bench.submit(command, code=code, parameters={"x": 0.5})
        assert [node.value(each) for each in (function, run_sh)] == [10.25, 10.5]
        said = node.bench.output(function)
        assert "'bin', 'pkg', 'sweep.yaml', 'tools'" in said
        assert ".env" not in said
        assert f"ran in {node.folder}" not in said
    assert not list(node.folder.iterdir())
    # Another worker of this machine needs no store: what it has is the cache.
    client = s3_server.client()
    for each in client.list_objects_v2(Bucket="code")["Contents"]:
        client.delete_object(Bucket="code", Key=each["Key"])
    with node.worker(**{**env, "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1"}):
        again = node.bench.submit("pkg.train:train", code=code, parameters={"x": 0.75})
        assert node.value(again) == 10.75


def test_an_embedded_start_and_what_a_study_writes_beside_its_code(cli: Cli) -> None:
    (cli.folder / "big.bin").write_bytes(b"x" * 5000)
    (cli.folder / "obj.py").write_text(
        "import os\ndef quick(task, x):\n    print('in', os.getcwd())\n    return x\n"
    )
    (cli.folder / "s.toml").write_text(
        '[study]\nname = "s"\nmetric = { name = "loss", goal = "minimize" }\n[objective]\nfunction = "obj:quick"\n'
        '[parameters]\nx = { type = "float", low = 0.0, high = 1.0 }\n[budget]\nmax_trials = 1\n'
        '[code]\npath = "."\nexclude = ["*.log"]\nmax_size = "1kB"\n'
    )
    where = {"ARTIFACT_STORE": "artifacts", "OPTUNA_STORAGE": "sqlite:///study.db"}
    for trials in (1, 2):
        done = cli.start(
            "s.toml", "--set", "code.max_size=1GB", "--set", f"budget.max_trials={trials}", workers=1, **where
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert (cli.folder / "study.db").exists()
        assert (cli.folder / "artifacts").exists()
        assert "code: 3 file(s)" in done.stdout
    for row in cli.json("tasks", **where):
        said = cli("logs", row["task"]).stdout
        assert "in /" in said
        assert f"in {cli.folder}\n" not in said


# Several codes on one worker


def test_each_study_has_its_own_code_on_one_slot_and_on_two(node: Node) -> None:
    write(
        node.folder,
        {"train.py": "import helper\ndef f(task):\n    return helper.value\n", "helper.py": "value = 0"},
    )
    codes = {
        n: node.pack(train="import helper\ndef f(task):\n    return helper.value\n", helper=f"value = {n}")
        for n in (1, 2)
    }
    codes[0] = {}  # what lies in the worker's folder
    script = {"kind": "script", "path": "run.py"}
    run_py = "from worker import Task\nimport helper\nTask.init().get_logger().report_scalar('loss', '', helper.value, 0)"
    scripts = {n: node.pack(run=run_py, helper=f"value = {n}") for n in (3, 4)}
    with node.worker("--slots", "1"):
        order = [0, 1, 2, 1, 0, 2, 2, 0, 1]
        ids = [node.submit("train:f", codes[n]) for n in order]
        assert [node.value(each) for each in ids] == order
        ids = [node.submit(script, scripts[n]) for n in (3, 4, 3)]
        assert [node.value(each) for each in ids] == [3, 4, 3]
        assert node.value(node.submit("train:f", {})) == 0
    with node.worker("--slots", "2"):
        order = [1, 2] * 8
        ids = [node.submit("train:f", codes[n]) for n in order]
        assert [node.value(each) for each in ids] == order
        assert len({node.bench.ended(each).worker for each in ids}) == 2


def test_slots_that_ask_at_once_fetch_it_once(node: Node, s3_server: S3Server) -> None:
    s3_server.make_bucket("once")
    folder = write(node.root / "large", {"train.py": "def f(task):\n    return 1\n"})
    (folder / "blob").write_bytes(os.urandom(3_000_000))
    with BreakingProxy(s3_server.port) as proxy, pytest.MonkeyPatch.context() as patch:
        env = {**s3_server.env(), "AWS_ENDPOINT_URL_S3": proxy.endpoint}
        for name, value in env.items():
            patch.setenv(name, value)
        node.url = "s3://once"
        code = node.pack_folder(folder)
        before = proxy.down
        with node.worker("--slots", "3", **env):
            ids = [node.submit("train:f", code) for _ in range(6)]
            assert [node.value(each) for each in ids] == [1] * 6
        assert 3_000_000 < proxy.down - before < 5_000_000


# What changes meanwhile


def test_changed_code_is_for_new_trials_and_a_running_study_keeps_its_own(cli: Cli, node: Node) -> None:
    store = Store(connect(node.bench.url, patience_s=5))
    go = node.root / "go"
    started_file = node.root / "started"
    wait = f"import os, time\ndef f(task, x):\n    open({str(started_file)!r}, 'w').close()\n    while not os.path.exists({str(go)!r}): time.sleep(0.02)\n"
    write(cli.folder, {"train.py": wait + "    return 1\n"})
    env = {"REDIS_URL": node.bench.url, "ARTIFACT_STORE": node.url}
    sweep = {"objective": {"function": "train:f"}, "code": {}}

    def values() -> list[float]:
        rows = sorted(cli.json("tasks", **env), key=lambda row: row["trial"])
        return [store.reports.scalars([row["task"]])[0]["loss"].last for row in rows]

    with node.worker(**env):
        file = cli.sweep(**sweep, budget={"max_trials": 3, "max_failures": 1})
        log = node.root / "controller.log"
        with started("controller", "start", file, cwd=cli.folder, log=log, **env) as controller:
            wait_for(lambda: started_file.exists(), "a trial")
            write(cli.folder, {"train.py": "syntax error"})
            (cli.folder / "train.py").unlink()
            go.touch()
            assert controller.wait(60) == 0, log.read_text()
        assert values() == [1, 1, 1]
        write(cli.folder, {"train.py": "def f(task, x):\n    return 2\n"})
        file = cli.sweep(**sweep, budget={"max_trials": 5, "max_failures": 1})
        done = cli("start", file, **env)
        assert done.returncode == 0, done.stdout + done.stderr
        assert values() == [1, 1, 1, 2, 2]


# What is missing


def test_a_requirement_that_a_worker_lacks_is_named_with_the_others(node: Node) -> None:
    folder = write(
        node.root / "needy",
        {
            "train.py": "import not_installed_a\ndef f(task):\n    return 1\n",
            "lazy.py": "def f(task):\n    import not_installed_a\n",
            "run.py": "import not_installed_a.sub\n",
            "requirements.txt": "# what it needs\nnot-installed-a[gpu]>=1\nnot-installed-b ; python_version > '3'\n"
            "not-installed-c ; python_version < '3'\nredis\nredis==1.0\n-r more.txt\n",
            "more.txt": "--index-url https://example.org/simple\nnot-installed-d  # later\n",
        },
    )
    code = node.pack_folder(folder)
    storage = f"sqlite:///{node.root}/optuna.db"
    optuna.create_study(study_name="bench", storage=storage)
    kinds: dict[str, tuple[dict[str, Any], Reason]] = {
        "function": ({"kind": "function", "target": "train:f"}, Reason.LAUNCH_ERROR),
        "optuna": ({"kind": "optuna", "target": "train:f", "storage": storage}, Reason.LAUNCH_ERROR),
        "lazy": ({"kind": "function", "target": "lazy:f"}, Reason.OBJECTIVE_ERROR),
        "script": ({"kind": "script", "path": "run.py"}, Reason.OBJECTIVE_ERROR),
    }
    with node.worker(OPTUNA_STORAGE=storage):
        ids = {name: node.submit(objective, code) for name, (objective, _) in kinds.items()}
        for name, (_, reason_class) in kinds.items():
            task = node.bench.ended(ids[name])
            assert (task.status, task.reason_class) == (Status.FAILED, reason_class), task.reason
            assert "'not_installed_a'" in task.reason
            lacks = task.reason.split("this machine lacks: ")[1]
            assert lacks.startswith("not-installed-a>=1, not-installed-b, redis==1.0 (")
            assert lacks.endswith(" is installed), not-installed-d")
            assert "\n" not in task.reason


def test_what_all_requirements_are_met_says_no_more(node: Node) -> None:
    code = node.pack_folder(
        write(node.root / "met", {"train.py": "import not_installed_a\n", "requirements.txt": "redis\n"})
    )
    with node.worker():
        task = node.bench.ended(node.submit("train:f", code))
        assert task.reason == "objective 'train:f': it imports 'not_installed_a', which is not installed here"


def test_what_the_code_does_not_have_is_said_in_its_users_words(node: Node) -> None:
    code = node.pack(train="x = 1")
    said = {
        "trian:f": "objective 'trian:f': no module 'trian' in [code] or installed",
        "train:f": "objective 'train:f': module 'train' ([code]/train.py) has no 'f'",
    }
    with node.worker():
        for target, reason in said.items():
            assert node.bench.ended(node.submit(target, code)).reason == reason
        script = node.submit({"kind": "script", "path": "sub/x.py"}, code)
        assert (
            node.bench.ended(script).reason
            == "objective script [code]/sub/x.py: no such file on this machine"
        )
        command = node.submit({"kind": "command", "argv": ["./train.py"]}, code)
        assert (
            node.bench.ended(command).reason
            == "objective command: [code]/train.py is not executable (chmod +x)"
        )


# What isn't as described


def test_code_that_is_not_as_described_is_a_launch_error_and_the_slot_lives_on(node: Node) -> None:
    good = node.pack(train="def f(task):\n    return 7\n")
    stored = node.root / "store" / good["key"]
    content = stored.read_bytes()

    def archive(fill: Any) -> dict[str, Any]:
        path = node.root / "evil.zip"
        with zipfile.ZipFile(path, "w") as target:
            fill(target)
        (node.root / "store/evil.zip").write_bytes(path.read_bytes())
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        return {"sha256": sha256, "size": path.stat().st_size, "key": "evil.zip", "unpacked": 1000}

    bad = {
        "no such object": {**good, "key": "s/gone", "sha256": "0" * 64},
        "another size": {**good, "size": good["size"] + 1, "sha256": "1" * 64},
        "no description": {"sha256": "x"},
        "no number": {**good, "size": float("inf")},
        "a path out": archive(lambda z: z.writestr("../../../../../../tmp/orq-evil.py", "x")),
    }
    with node.worker():
        for what, code in bad.items():
            task = node.bench.ended(node.submit("train:f", code))
            assert task.reason_class is Reason.LAUNCH_ERROR, (what, task.reason)
            assert task.reason.startswith("code: "), what
            assert "\n" not in task.reason
            assert task.attempt == 1
        stored.write_bytes(content[:30] + b"\xff" + content[31:])
        task = node.bench.ended(node.submit("train:f", good))
        assert "is not the code that was sent" in task.reason
        assert (task.reason_class, task.attempt) == (Reason.LAUNCH_ERROR, 1)
        stored.write_bytes(content)
        assert node.value(node.submit("train:f", good)) == 7
        # Now it is in the cache; what was done to it there is seen by the next worker.
        (cached,) = [path for path in node.cache.rglob("*.zip") if good["sha256"] in path.name]
    cached.write_bytes(content[:-9])
    with node.worker():
        assert node.value(node.submit("train:f", good)) == 7
    assert cached.read_bytes() == content
    assert not Path("/tmp/orq-evil.py").exists()
    assert not list(node.folder.iterdir())


def test_a_store_that_is_away_for_longer_than_the_lease(node: Node, s3_server: S3Server) -> None:
    s3_server.make_bucket("away")
    with BreakingProxy(s3_server.port) as proxy, pytest.MonkeyPatch.context() as patch:
        env = {**s3_server.env(), "AWS_ENDPOINT_URL_S3": proxy.endpoint}
        for name, value in env.items():
            patch.setenv(name, value)
        node.url = "s3://away"
        code = node.pack(train="def f(task):\n    return 7\n")
        proxy.refuse()
        # A cache that can't be written, besides.
        with node.worker(**{**env, "XDG_CACHE_HOME": "/proc/no-such-folder"}):
            task_id = node.submit("train:f", code, lease_s=1.5)
            task = node.bench.running(task_id)
            left = []

            def waited() -> bool:
                (lease,) = node.bench.store.tasks.leases([task_id])
                left.append(lease)
                return len(left) > 200

            wait_for(waited, "five seconds", 30)
            assert all(left), "the lease ran out"
            assert node.bench.store.tasks.get(task_id).status is Status.IN_PROGRESS
            proxy.heal()
            assert node.value(task_id) == 7
            assert node.bench.ended(task_id).attempt == task.attempt == 1


def test_a_worker_that_ends_and_a_task_that_is_stopped_wait_for_no_code(
    node: Node, s3_server: S3Server
) -> None:
    s3_server.make_bucket("gone")
    with BreakingProxy(s3_server.port) as proxy, pytest.MonkeyPatch.context() as patch:
        env = {**s3_server.env(), "AWS_ENDPOINT_URL_S3": proxy.endpoint}
        for name, value in env.items():
            patch.setenv(name, value)
        node.url = "s3://gone"
        code = node.pack(train="def f(task):\n    return 7\n")
        proxy.refuse()
        with node.worker("--slots", "2", "--drain", "0.5", **env) as process:
            stopped, *kept = (node.submit("train:f", code, lease_s=2.0) for _ in range(3))
            node.bench.running(stopped)
            node.bench.running(kept[0])
            node.bench.store.transitions.request_stop(stopped, Reason.USER, "not wanted")
            task = node.bench.ended(stopped, 10)
            assert (task.status, task.reason) == (Status.STOPPED, "not wanted")
            node.bench.running(kept[1])
            os.kill(process.pid, signal.SIGTERM)
            assert process.wait(10) == 0
        for each in kept:
            task = node.bench.store.tasks.get(each)
            assert (task.status, task.attempt, task.spent_attempts) == (Status.QUEUED, 2, 1), task.reason
            node.bench.enqueue(each, 2)
        proxy.heal()
        with node.worker(**env):
            assert [node.value(each) for each in kept] == [7, 7]


# What a user gets wrong


@pytest.mark.parametrize(
    ("section", "options", "said"),
    [
        ({"pth": "."}, (), ["code.pth", "path"]),
        ({"excludes": ["a"]}, (), ["code.excludes", "exclude"]),
        ({"path": "nowhere"}, (), ["code.path", "there is no folder", "nowhere"]),
        ({"path": 3}, (), ["code.path"]),
        ({"exclude": "data"}, (), ["code.exclude"]),
        ({"max_size": "lots"}, (), ["code.max_size", "100MB"]),
        ({"max_size": 0}, (), ["code.max_size"]),
        ({"max_size": True}, (), ["code.max_size"]),
        ({"max_size": "1kB"}, (), ["code.max_size = 1 kB", "big.bin (5 kB)"]),
        ({}, ("--set", "code.max_size=2kB"), ["code.max_size = 2 kB", "big.bin (5 kB)"]),
        ({}, ("--set", "code.max_sise=2kB"), ["code.max_sise", "max_size"]),
        ({"exclude": ["obj.py"]}, (), ["no module 'obj' in [code], the snapshot of "]),
        ("code", (), ["code"]),
        (None, (), ["code"]),
    ],
    ids=str,
)  # fmt: skip
def test_a_section_that_is_wrong(cli: Cli, section: Any, options: tuple[str, ...], said: list[str]) -> None:
    (cli.folder / "big.bin").write_bytes(b"x" * 5000)
    done = cli.start(cli.sweep(code=section), *options, workers=1)
    assert done.returncode == 2, done.stdout + done.stderr
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, done.stderr
    for text in said:
        assert text in lines[0]


# The page


def test_the_study_of_the_page(cli: Cli, node: Node) -> None:
    text = (Path(worker.__file__).parents[1] / "docs/code.md").read_text()

    def blocks(language: str) -> list[str]:
        return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)

    train, model = blocks("python")
    defaults, sweep = blocks("toml")
    (cli.folder / "obj.py").unlink()
    write(cli.folder, {"train.py": train, "mylib/__init__.py": "", "mylib/model.py": model, "data/x": "x"})
    (cli.folder / "sweep.toml").write_text(sweep)
    env = {"REDIS_URL": node.bench.url, "ARTIFACT_STORE": node.url}
    with node.worker("--slots", "2"):
        done = cli("start", "sweep.toml", **env)
    assert done.returncode == 0, done.stdout + done.stderr
    (said,) = re.findall(r"code: (.*) of /.* \(([0-9a-f]{12})\)", done.stdout)
    assert said[0].startswith("4 file(s), ")
    assert f"code {said[1]}" in cli("artifacts", "list", "brought", **env).stdout
    assert not list(node.folder.iterdir())
    read = tomllib.loads(defaults)["code"]
    assert CodeSection.model_validate({**read, "exclude": []}) == CodeSection()
