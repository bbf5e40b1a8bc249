"""optuna-dashboard's pages, without the controls that would only be refused: for a dashboard that shows."""

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


class ReadOnlyPages:
    """Adds `HIDDEN` to the pages of an application."""

    def __init__(self, application: Callable[..., Iterable[bytes]]) -> None:
        self._application = application

    def __call__(self, environ: dict[str, Any], respond: Callable[..., Any]) -> Iterable[bytes]:
        path = str(environ.get("PATH_INFO", ""))
        if not path.startswith("/dashboard"):
            return self._application(environ, respond)
        # A page that a browser has from a dashboard with controls would stay as it is.
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
            page = page.replace(b"</head>", f"<style>{HIDDEN}</style></head>".encode(), 1)
            kept.append(("Content-Length", str(len(page))))
        respond(status, [*kept, ("Cache-Control", "no-store")], *more)
        return [page]
