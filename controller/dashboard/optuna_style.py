"""optuna-dashboard's pages below a path, without the controls that would only be refused."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

_LABELS = ("delete study", "rename study", "delete artifact", "skip trial")
_ICONS = ("AddBox", "Edit", "StopCircle")
"""Icons of the buttons that create a study, edit a note, and fail a trial."""

HIDDEN = (
    ", ".join(
        [
            *(f'[aria-label="{label}"]' for label in _LABELS),
            *(f'button:has([data-testid="{icon}Icon"])' for icon in _ICONS),
            '.MuiCardActionArea-root:has([data-testid="UploadFileIcon"])',
        ]
    )
    + " { display: none !important; }"
)
"""The style that hides them."""


class Pages:
    """Changes the pages of an application: their script is found where the application is.

    Args:
        hide: add `HIDDEN`, for an application that only shows.
    """

    def __init__(self, application: Callable[..., Iterable[bytes]], *, hide: bool) -> None:
        self._application = application
        self._hide = hide

    def __call__(self, environ: dict[str, Any], respond: Callable[..., Any]) -> Iterable[bytes]:
        path = str(environ.get("PATH_INFO", ""))
        if not path.startswith("/dashboard"):
            return self._application(environ, respond)
        # A page that a browser has from another dashboard would stay as it is.
        asked = {
            k: v for k, v in environ.items() if k not in ("HTTP_IF_MODIFIED_SINCE", "HTTP_IF_NONE_MATCH")
        }
        begun: list[tuple[Any, ...]] = []
        body = self._application(asked, lambda *answer: begun.append(answer))
        try:
            page = b"".join(body)
        finally:
            close = getattr(body, "close", None)
            if close is not None:
                close()
        if not begun:
            return [page]
        status, headers, *more = begun[-1]
        kept = [(k, v) for k, v in headers if k.lower() not in ("content-length", "last-modified", "etag")]
        if page:
            at = str(environ.get("SCRIPT_NAME", ""))
            page = page.replace(b'"/static/', f'"{at}/static/'.encode())
            head = f'<link rel="icon" href="{at}/favicon.ico">'
            if self._hide:
                head += f"<style>{HIDDEN}</style>"
            page = page.replace(b"</head>", f"{head}</head>".encode(), 1)
            kept.append(("Content-Length", str(len(page))))
        respond(status, [*kept, ("Cache-Control", "no-store")], *more)
        return [page]
