"""Redis over TLS: a study runs, and what is wrong with a certificate is said in one line."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tests.e2e.cli import Cli, folder_of
from tests.e2e.harness import run, started
from tests.redisserver import RedisServer, need_server

pytestmark = pytest.mark.slow

OBJECTIVES = """
def quick(task, x):
    task.report_scalar("loss", "", x, 0)
    task.upload_artifact("model", {"x": x})
"""

PASSWORD = "a p@ss/w:rd"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    need_server(tls=True)
    return trustme.CA()


@pytest.fixture(scope="module")
def ca(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The certificate that clients trust."""
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


def certificate(folder: Path, issuer: trustme.CA, *names: str, days: int = 30) -> Path:
    """A folder with a server's certificate and key.

    Args:
        days: from now until it expires; negative for one that has.
    """
    now = datetime.datetime.now(datetime.timezone.utc)
    made = issuer.issue_cert(
        *names, not_before=now - datetime.timedelta(days=60), not_after=now + datetime.timedelta(days=days)
    )
    folder.mkdir()
    for number, blob in enumerate(made.cert_chain_pems):
        blob.write_to_path(str(folder / "cert.pem"), append=number > 0)
    made.private_key_pem.write_to_path(str(folder / "key.pem"))
    return folder


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    (tmp_path / "work").mkdir()
    with folder_of(tmp_path / "work", OBJECTIVES) as found:
        found.sweep()
        yield found


def said(cli: Cli, url: str, *more: list[str]) -> set[str]:
    """What each of the commands says, without its name: one line and exit code 2."""
    lines = set()
    for argv in (["worker", "--burst"], ["controller", "start", "sweep.yaml"], *more):
        done = run(*argv, cwd=cli.folder, REDIS_URL=url)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), (argv, done.stderr)
        assert PASSWORD not in done.stdout + done.stderr
        lines.add(done.stderr.partition(": ")[2].strip())
    return lines


def test_a_study_over_tls(cli: Cli, authority: trustme.CA, ca: Path, tmp_path: Path) -> None:
    folder = certificate(tmp_path / "server", authority, "127.0.0.1")
    with RedisServer(password=PASSWORD, tls=folder) as server:
        url = {"REDIS_URL": f"{server.url()}?ssl_ca_certs={ca}"}
        assert url["REDIS_URL"].startswith("rediss://")
        with started("worker", cwd=cli.folder, log=tmp_path / "log", **url):
            done = cli("start", "sweep.yaml", **url)
            assert done.returncode == 0, done.stderr
        rows = cli.json("tasks", **url)
        assert [row["status"] for row in rows] == ["completed"] * 3
        assert "Traceback" not in (tmp_path / "log").read_text()
        for arguments in (["top"], ["status"], ["logs", str(rows[0]["task"])], ["delete", "s", "--yes"]):
            assert cli(*arguments, **url).returncode == 0


@pytest.mark.parametrize(
    ("names", "days", "other_authority", "message"),
    [
        (["127.0.0.1"], -1, False, "its certificate has expired; renew it (or set this machine's clock)"),
        (["127.0.0.1"], 30, True, "its certificate is signed by nobody known here; add ?ssl_ca_certs=/PATH/ca.pem to REDIS_URL"),
        (["redis.example"], 30, False, "its certificate is for another host; name the host as the certificate does"),
        (["10.9.8.7"], 30, False, "its certificate is for another host; name the host as the certificate does"),
    ],
    ids=["expired", "by another authority", "for another host", "for another address"],
)  # fmt: skip
def test_certificates_that_are_wrong(
    cli: Cli, authority: trustme.CA, ca: Path, tmp_path: Path,
    names: list[str], days: int, other_authority: bool, message: str,
) -> None:  # fmt: skip
    issuer = trustme.CA() if other_authority else authority
    with RedisServer(
        password=PASSWORD, tls=certificate(tmp_path / "server", issuer, *names, days=days)
    ) as server:
        (line,) = said(cli, f"{server.url()}?ssl_ca_certs={ca}", ["controller", "status"])
        assert message in line
        assert line.startswith(f"Redis at rediss://:***@127.0.0.1:{server.port}/0")


def test_an_authority_that_nobody_named(cli: Cli, authority: trustme.CA, tmp_path: Path) -> None:
    with RedisServer(
        password=PASSWORD, tls=certificate(tmp_path / "server", authority, "127.0.0.1")
    ) as server:
        (line,) = said(cli, server.url())
        assert "its certificate is signed by nobody known here" in line
        for path, why in (
            ("nothing.pem", f"there is no file {tmp_path}/nothing.pem (ssl_ca_certs)"),
            ("work/sweep.yaml", "the file that ?ssl_ca_certs in REDIS_URL names holds no certificate"),
        ):
            (line,) = said(cli, f"{server.url()}?ssl_ca_certs={tmp_path}/{path}")
            assert why in line, line


def test_tls_on_one_side_only(cli: Cli, authority: trustme.CA, ca: Path, tmp_path: Path) -> None:
    with RedisServer(password=PASSWORD) as plain:
        url = plain.url().replace("redis://", "rediss://") + f"?ssl_ca_certs={ca}"
        (line,) = said(cli, url)
        assert "if it does not speak TLS at this port, write redis:// instead of rediss://" in line
    with RedisServer(
        password=PASSWORD, tls=certificate(tmp_path / "server", authority, "127.0.0.1")
    ) as server:
        (line,) = said(cli, server.url().replace("rediss://", "redis://"))
        assert "if it speaks TLS at this port, write rediss:// instead of redis://" in line


def test_a_server_that_wants_certificates_of_its_clients(
    cli: Cli, authority: trustme.CA, ca: Path, tmp_path: Path
) -> None:
    folder = certificate(tmp_path / "server", authority, "127.0.0.1")
    mine = certificate(tmp_path / "mine", authority, "worker.example")
    config = ["tls-auth-clients yes", f'tls-ca-cert-file "{ca}"']
    with RedisServer(password=PASSWORD, tls=folder) as server:
        with server.client() as client:
            for line in config:
                name, _, value = line.partition(" ")
                client.config_set(name, value.strip('"'))
        url = f"{server.url()}?ssl_ca_certs={ca}"
        (line,) = said(cli, url)
        assert "if it wants a certificate, add ?ssl_certfile=/PATH/cert.pem&ssl_keyfile=/PATH/key.pem" in line
        url += f"&ssl_certfile={mine}/cert.pem&ssl_keyfile={mine}/key.pem"
        done = run("worker", "--burst", cwd=cli.folder, REDIS_URL=url)
        assert done.returncode == 0, done.stderr
