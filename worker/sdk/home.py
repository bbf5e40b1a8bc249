"""What a program finds that was told nothing: Redis and the artifact store of the environment, else of this
folder.

``REDIS_URL`` and ``ARTIFACT_STORE`` say where they are. Without them a Redis of our own runs under
``.optuna-rq/`` of the current folder, shared by all who are started there.
"""

from __future__ import annotations

import atexit
import os
import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from worker.embedded import EmbeddedRedis
from worker.protocol.connection import check, connect
from worker.protocol.errors import BadInput
from worker.protocol.record import TaskRecord
from worker.protocol.sealing import Sealing
from worker.protocol.secrets import REDIS_URL, secret
from worker.protocol.store import Store
from worker.sdk import runtime

if TYPE_CHECKING:
    from worker.protocol.dispatch import Dispatcher

STATE_FOLDER = ".optuna-rq"
"""Where the embedded Redis, the SQLite storage and the artifacts lie when nothing else is named."""

PATIENCE_S = 10.0
"""How long one command is tried again while Redis is away, in seconds."""


class Home:
    """The Redis and the artifact store that this process uses by default.

    Thread-safe. Attributes:
        redis_url: with its password; print it `redact`-ed.
        artifacts_url: of the artifact store.
        folder: that the program was started in.
        embedded: the server of our own, or None when ``REDIS_URL`` names one.
    """

    def __init__(
        self, redis_url: str, artifacts_url: str, folder: Path, embedded: EmbeddedRedis | None
    ) -> None:
        self.redis_url = redis_url
        self.artifacts_url = artifacts_url
        self.folder = folder
        self.embedded = embedded
        self.store = Store(connect(redis_url, patience_s=PATIENCE_S))
        self.store.tasks.sealing = Sealing.of_environment()
        self._jobs: Dispatcher | None = None

    def enqueue(self, record: TaskRecord) -> None:
        """Put a queued task's attempt on its queue.

        Raises:
            BadInput: the name can't be a queue's; or jobs are signed, and the task isn't as it was made.
        """
        if self.store.tasks.sealing is not None:  # what is signed is what was compared
            record = self.store.tasks.vouched(record.id)
        if self._jobs is None:
            from worker.protocol.dispatch import Dispatcher  # noqa: PLC0415 - what only some programs need

            self._jobs = Dispatcher(connect(self.redis_url, patience_s=PATIENCE_S, text=False))
        self._jobs.enqueue(record)


_homes: dict[tuple[str | None, ...], Home] = {}
_lock = threading.Lock()


def home(*, create: bool = True) -> Home:
    """This process' home; found once for each environment and folder.

    Args:
        create: start an embedded Redis where there is none yet.

    Raises:
        RedisUnavailable: the Redis that is named can't be used; one line that says why.
        BadInput: no Redis is named, and there is none here (or none can be started).
    """
    folder, named = Path.cwd(), secret(REDIS_URL)
    artifacts = os.environ.get("ARTIFACT_STORE") or default_artifacts(folder)
    key = (named, artifacts, str(folder), str(os.getpid()))
    with _lock:
        if key not in _homes:
            _homes[key] = _open(named, artifacts, folder, create)
        return _homes[key]


def default_artifacts(folder: Path) -> str:
    """URL of the folder that artifacts go to when no store is named."""
    return f"file://{quote(str(folder / STATE_FOLDER / 'artifacts'))}"


def sqlite_url(path: Path) -> str:
    """A file's URL as SQLAlchemy and Optuna read it: what has a meaning in it is percent-encoded.

    Raises:
        BadInput: the path can't be written so for the SQLAlchemy that is installed.
    """
    text = str(path)
    if not re.search("[%?{}]", text):
        return f"sqlite:///{text}"
    import sqlalchemy  # noqa: PLC0415 - what only some programs need

    encoded = "sqlite:///" + re.sub("[%?{}]", lambda found: f"%{ord(found[0]):02X}", text)
    if sqlalchemy.make_url(encoded).database == text:
        return encoded
    # SQLAlchemy 2.0, the newest for Python 3.10, decodes nothing.
    if re.search("[?{}]", text):
        raise BadInput(
            f"{path}: SQLAlchemy {sqlalchemy.__version__} can't name a folder with ?, {{ or }}; work in "
            "another folder, set OPTUNA_STORAGE, or take Python 3.11 or newer"
        )
    return f"sqlite:///{text}"


def _open(named: str | None, artifacts: str, folder: Path, create: bool) -> Home:
    if named:
        check(connect(named, patience_s=0, timeout_s=5.0), named)
        return Home(named, artifacts, folder, None)
    if runtime.under_worker():
        raise BadInput(
            "this program runs under a worker, which keeps Redis' address from programs: it can use its own "
            "task, not others (start that worker with --share-redis for programs that drive others)"
        )
    if not create and not EmbeddedRedis.exists(folder / STATE_FOLDER):
        raise BadInput(
            f"no Redis named and no {STATE_FOLDER}/ in {folder}: set REDIS_URL, or run this where the task "
            "was made"
        )
    server = EmbeddedRedis(folder / STATE_FOLDER)
    url = server.ensure()
    atexit.register(server.close)
    return Home(url, artifacts, folder, server)
