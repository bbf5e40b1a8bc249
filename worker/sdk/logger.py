"""`Logger`: a task's reports, in ClearML's words."""

from __future__ import annotations

import contextlib
import csv as csv_module
import io
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from worker.protocol.metrics import NO_ITERATION, SINGLE_VALUES
from worker.sdk import runtime

FETCH_S = 60.0
"""How long a server of a URL may keep silent, in seconds."""


_PLOTS = (
    "histogram",
    "vector",
    "confusion_matrix",
    "matrix",
    "surface",
    "scatter2d",
    "scatter3d",
    "line_plot",
)
"""What ClearML draws itself: its `report_…` methods are not there."""


class Logger:
    """Reports of a task. Plots, tables and images become artifacts named ``title/series[/iteration]``."""

    def __init__(self, task: Any) -> None:
        self._task = task

    def __getattr__(self, name: str) -> Any:
        hint = ""
        if name.removeprefix("report_") in _PLOTS:
            hint = ": draw it, and report_matplotlib_figure or report_plotly keeps it"
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}{hint}")

    @classmethod
    def current_logger(cls) -> Logger:
        """The logger of this program's task.

        A program that has none (no worker runs it, and it has not called `Task.init`) gets one whose
        reports stay in the process.
        """
        logger: Logger = runtime.current_or_unlisted().get_logger()
        return logger

    def report_scalar(self, title: str, series: str, value: float, iteration: int) -> None:
        """See `Task.report_scalar`."""
        self._task.report_scalar(title, series, value, iteration)

    def report_single_value(self, name: str, value: float) -> None:
        """Report a value that belongs to the whole run.

        It is metric ``Summary/name``, and replaces the value reported before; a study whose objective or
        constraint is `name` finds it, too.
        """
        self._task.report_scalar(SINGLE_VALUES, name, value, NO_ITERATION)

    def report_text(self, msg: str, level: int = 20, print_console: bool = True, *_: Any, **__: Any) -> None:
        """Write a line to the task's log, and to the console unless told not to; the level is ClearML's."""
        if print_console:
            print(msg, flush=True)
        self._task.log_text(msg)

    def report_table(
        self,
        title: str,
        series: str,
        iteration: int | None = None,
        table_plot: Any = None,
        csv: str | None = None,
        url: str | None = None,
        **_: Any,
    ) -> None:
        """Keep a table.

        Args:
            table_plot: a DataFrame, or rows as lists.
            csv: path of a CSV file, instead.
            url: of a CSV file (http, https, file, or a path), instead; a copy is kept.

        Raises:
            ValueError: not exactly one of them is given, or nothing can be read from the URL.
        """
        if sum(source is not None for source in (table_plot, csv, url)) != 1:
            raise ValueError("report_table: give one of table_plot, csv and url")
        if url is not None:
            with fetched(str(url), "report_table") as path:
                self._keep(title, series, iteration, path)
        elif csv is not None:
            self._keep(title, series, iteration, Path(csv))
        elif isinstance(table_plot, (list, tuple)):
            self._keep_data(title, series, iteration, _as_csv(table_plot), "table.csv")
        else:
            self._keep(title, series, iteration, table_plot)

    def report_plotly(
        self, title: str, series: str, figure: Any, iteration: int | None = None, **_: Any
    ) -> None:
        """Keep a plotly figure (or the dict of one), as JSON."""
        self._keep(title, series, iteration, figure)

    def report_matplotlib_figure(
        self,
        title: str,
        series: str,
        figure: Any,
        iteration: int | None = None,
        report_image: bool = False,
        report_interactive: bool = True,
    ) -> None:
        """Keep a matplotlib figure (or the pyplot module, for its current figure), as PNG."""
        current = getattr(figure, "gcf", None)
        self._keep(title, series, iteration, current() if callable(current) else figure)

    def report_image(
        self,
        title: str,
        series: str,
        iteration: int | None = None,
        local_path: str | None = None,
        image: Any = None,
        matrix: Any = None,
        max_image_history: int | None = None,
        delete_after_upload: bool = False,
        url: str | None = None,
        **_: Any,
    ) -> None:
        """Keep an image.

        Args:
            local_path: of an image file.
            image: a PIL image, or an array of (height, width[, 1, 3 or 4]): uint8, or floats from 0 to 1.
            matrix: the same as an array in `image`.
            max_image_history: ClearML's; each iteration's image is kept.
            delete_after_upload: remove `local_path` once it is kept.
            url: of an image that lies elsewhere; the link is kept, as ``{"url": …}``.
        """
        given = [source for source in (local_path, image, matrix, url) if source is not None]
        if len(given) != 1:
            raise ValueError("report_image: give one of local_path, image, matrix and url")
        (source,) = given
        if url is not None or local_path is not None:
            self.report_media(
                title, series, iteration, local_path, url=url, delete_after_upload=delete_after_upload
            )
        elif isinstance(source, (str, Path)):
            self._keep(title, series, iteration, Path(source))
        elif hasattr(source, "save"):
            self._keep(title, series, iteration, source)
        else:
            self._keep(title, series, iteration, _as_image(source))

    def report_media(
        self,
        title: str,
        series: str,
        iteration: int | None = None,
        local_path: str | None = None,
        stream: Any = None,
        file_extension: str | None = None,
        max_history: int | None = None,
        delete_after_upload: bool = False,
        url: str | None = None,
        **_: Any,
    ) -> None:
        """Keep an image, a sound or a film.

        Args:
            local_path: of a file.
            stream: an open file or buffer, instead; needs `file_extension`.
            file_extension: of what `stream` holds, such as ``.wav``.
            max_history: ClearML's; each iteration's file is kept.
            delete_after_upload: remove `local_path` once it is kept.
            url: of a file that lies elsewhere, instead; the link is kept, as ``{"url": …}``.
        """
        if sum(source is not None for source in (local_path, stream, url)) != 1:
            raise ValueError("report_media: give one of local_path, stream and url")
        if url is not None:
            self._keep(title, series, iteration, {"url": str(url)})
        elif local_path is not None:
            name = self._name(title, series, iteration)
            self._task.upload_artifact(name, Path(local_path), delete_after_upload=delete_after_upload)
        elif not file_extension:
            raise ValueError("report_media: a stream needs its file_extension, such as '.wav'")
        else:
            self._keep_data(title, series, iteration, stream.read(), f"media.{file_extension.lstrip('.')}")

    def flush(self, wait: bool = False) -> bool:
        """See `Task.flush`."""
        return bool(self._task.flush())

    # Keeping

    def _name(self, title: str, series: str, iteration: int | None) -> str:
        parts = [title, series] if series else [title]
        return "/".join(parts if iteration is None else [*parts, str(int(iteration))])

    def _keep(self, title: str, series: str, iteration: int | None, source: Any) -> None:
        self._task.upload_artifact(self._name(title, series, iteration), source)

    def _keep_data(
        self, title: str, series: str, iteration: int | None, data: str | bytes, name: str
    ) -> None:
        with tempfile.TemporaryDirectory(prefix="orq-report-") as folder:
            path = Path(folder) / name
            path.write_bytes(data.encode() if isinstance(data, str) else data)
            self._keep(title, series, iteration, path)


@contextlib.contextmanager
def fetched(url: str, what: str) -> Iterator[Path]:
    """Within, a file with what `url` names: a path, or a URL of http, https or file.

    Raises:
        ValueError: it can't be read; the message begins with `what`.
    """
    import urllib.request  # noqa: PLC0415 - slow to import, and hardly ever needed
    from urllib.parse import unquote, urlsplit  # noqa: PLC0415 - the same

    parts = urlsplit(url)
    if parts.scheme == "file" or len(parts.scheme) < 2:  # one letter is a drive
        yield Path(unquote(parts.path)) if parts.scheme == "file" else Path(url)
        return
    if parts.scheme not in ("http", "https"):
        raise ValueError(f"{what}: {url} is no URL of http, https or file; download it, and give its path")
    with tempfile.TemporaryDirectory(prefix="orq-report-") as folder:
        path = Path(folder) / (PurePosixPath(unquote(parts.path)).name or "file")
        try:
            with urllib.request.urlopen(url, timeout=FETCH_S) as source, path.open("wb") as target:
                shutil.copyfileobj(source, target)
        except (OSError, ValueError) as error:
            raise ValueError(f"{what}: {url} can't be read: {error}") from error
        yield path


def _as_csv(rows: Sequence[Any]) -> str:
    out = io.StringIO()
    writer = csv_module.writer(out)
    for row in rows:
        writer.writerow(row if isinstance(row, (list, tuple)) else [row])
    return out.getvalue()


def _as_image(matrix: Any) -> Any:
    """An array of pixels as a PIL image."""
    try:
        import numpy  # noqa: PLC0415 - an optional package
        from PIL import Image  # noqa: PLC0415 - an optional package
    except ImportError as error:
        raise ImportError(f"report_image: an array needs {error.name}: pip install numpy Pillow") from error
    array = numpy.asarray(matrix)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise ValueError(f"report_image: an array of shape {array.shape} is no image")
    if array.dtype != numpy.uint8:
        top = 1.0 if numpy.issubdtype(array.dtype, numpy.floating) else 255
        array = (numpy.clip(array / top, 0, 1) * 255).round().astype(numpy.uint8)
    return Image.fromarray(array)
