"""``/optuna``: optuna-dashboard over Optuna's storage and the studies' artifacts, behind the page's guard.

It has no login of its own, can change and delete everything, and is made to stand at the root of a server.
Here it only shows unless told otherwise, and its pages and script get the addresses that lead here.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import re
import threading
from collections.abc import Callable, Iterable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from controller.dashboard.optuna_artifacts import StudiesArtifacts
from controller.dashboard.optuna_style import Pages
from controller.dashboard.wsgi import Application, answer_by
from worker.protocol.errors import OptunaRQError
from worker.trials.storage import open_existing

MOUNT = "/optuna"
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self' 'unsafe-eval'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self'",
        "frame-src 'self'",
        "form-action 'none'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
"""What optuna-dashboard's own pages need: its plots make code from text, its parts bring styles along."""
_OF_STUDY = re.compile(r"/(?:api/)?artifacts/(\d+)/")
_PLACES = (
    (re.compile(r'"/dashboard"'), '"{at}/dashboard"'),
    (re.compile(r"\$\{this\.baseURL\}/api/"), "{at}/api/"),
    (re.compile(r"`/csv/"), "`{at}/csv/"),
    (re.compile(r"`(?:\$\{\w+\})?/artifacts/(?=\$)"), "`{at}/artifacts/"),
)
"""What has an address in the script of optuna-dashboard, and what stands there instead."""
METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"]


class OptunaPages:
    """optuna-dashboard, made when it is first asked for.

    Args:
        storage_url: Optuna's storage, with its password.
        artifacts_of: name of a study → URL of its artifact store.
        allow_changes: let its pages change and delete.
    """

    def __init__(self, storage_url: str, artifacts_of: Callable[[str], str], *, allow_changes: bool) -> None:
        self._storage_url = storage_url
        self._artifacts_of = artifacts_of
        self._allow_changes = allow_changes
        self._making = threading.Lock()
        self._made: Application | None = None

    def routes(self) -> list[BaseRoute]:
        async def show(request: Request) -> Response:
            return await self._answer(request)

        def begin(request: Request) -> Response:
            return RedirectResponse(f"{_at(request)}/dashboard", 307)

        def of_notes(request: Request) -> Response:
            """Notes name artifacts by the address that they have where optuna-dashboard stands alone."""
            study, trial, key = (request.path_params[part] for part in ("study", "trial", "key"))
            return RedirectResponse(f"{_at(request)}/artifacts/{study}/{trial}/{key}", 307)

        return [
            Route(MOUNT, begin),
            Route(f"{MOUNT}/", begin, name="optuna"),
            Route(f"{MOUNT}/{{path:path}}", show, methods=METHODS),
            Route("/artifacts/{study:int}/{trial:int}/{key:uuid}", of_notes),
        ]

    async def _answer(self, request: Request) -> Response:
        application = await to_thread.run_sync(self._get)
        path = f"/{request.path_params['path']}"
        if path == "/static/bundle.js":
            return await to_thread.run_sync(_script_answer, request, _at(request))
        return await answer_by(application, request, path, _at(request))

    def _get(self) -> Application:
        """The application. Raises `BadInput` when the storage can't be read."""
        with self._making:
            if self._made is None:
                import optuna_dashboard  # noqa: PLC0415 - with scikit-learn, longer than all the rest of the page

                _script("")
                storage = open_existing(self._storage_url)
                artifacts = StudiesArtifacts(storage, self._artifacts_of)
                theirs = optuna_dashboard.wsgi(storage, artifact_store=artifacts)
                self._made = _guarded(Pages(theirs, hide=not self._allow_changes), artifacts)
            return self._made


def _guarded(application: Application, artifacts: StudiesArtifacts) -> Application:
    """The application, with answers that act for nobody: an artifact that is a page would run as ours."""

    def guarded(environ: dict[str, Any], respond: Callable[..., Any]) -> Iterable[bytes]:
        path = str(environ["PATH_INFO"])
        found = _OF_STUDY.match(path)
        artifacts.note(int(found[1]) if found else None)

        def respond_safely(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            dropped = ("access-control-allow-origin", "content-security-policy")
            kept = [(name, value) for name, value in headers if name.lower() not in dropped]
            policy = "sandbox" if path.startswith("/artifacts/") else POLICY
            return respond(status, [*kept, ("Content-Security-Policy", policy)], *more)

        return application(environ, respond_safely)

    return guarded


def _script_answer(request: Request, at: str) -> Response:
    packed, tag = _script(at)
    headers = {"ETag": tag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    if "gzip" not in request.headers.get("accept-encoding", ""):
        return Response(gzip.decompress(packed), media_type="text/javascript", headers=headers)
    headers["Content-Encoding"] = "gzip"
    return Response(packed, media_type="text/javascript", headers=headers)


@functools.lru_cache(maxsize=4)
def _script(at: str) -> tuple[bytes, str]:
    """optuna-dashboard's script with addresses below `at`, compressed, and a tag of it.

    Raises:
        OptunaRQError: this version's addresses aren't where they are known to be.
    """
    package = find_spec("optuna_dashboard")
    assert package is not None  # the command has looked
    assert package.origin is not None
    text = Path(package.origin).with_name("public").joinpath("bundle.js").read_text("utf-8")
    for place, own in _PLACES:
        text, found = place.subn(own.format(at=at), text)
        if not found:
            raise OptunaRQError(
                f"optuna-dashboard {version('optuna-dashboard')} can't be shown below a path: it has no "
                f"{place.pattern!r}; `optuna-dashboard STORAGE` shows it by itself"
            )
    content = text.encode()
    return gzip.compress(content, 5), f'"{hashlib.blake2b(content, digest_size=12).hexdigest()}"'


def _at(request: Request) -> str:
    """The path that leads here, a proxy's prefix included."""
    return str(request.scope.get("root_path", "")).rstrip("/") + MOUNT
