"""`Logger`: a task's reports, in ClearML's words."""

from __future__ import annotations

import csv as csv_module
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from worker.sdk import runtime


class Logger:
    """Reports of a task. Plots, tables and images become artifacts named ``title/series[/iteration]``."""

    def __init__(self, task: Any) -> None:
        self._task = task

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
        """Report a value that belongs to the whole run, as metric `name`."""
        self._task.report_scalar(name, "", value, 0)

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
            url: the same, for ClearML's other way to say it; a local path.
        """
        source = csv or url
        if source is not None:
            self._keep(title, series, iteration, Path(source))
        elif isinstance(table_plot, (list, tuple)):
            self._keep_text(title, series, iteration, _as_csv(table_plot), ".csv")
        elif table_plot is not None:
            self._keep(title, series, iteration, table_plot)
        else:
            raise ValueError("report_table: give table_plot, csv or url")

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
        **_: Any,
    ) -> None:
        """Keep an image.

        Args:
            local_path: of an image file.
            image: a PIL image, or an array of (height, width[, 1, 3 or 4]): uint8, or floats from 0 to 1.
            matrix: the same as an array in `image`.
        """
        given = [source for source in (local_path, image, matrix) if source is not None]
        if len(given) != 1:
            raise ValueError("report_image: give one of local_path, image and matrix")
        (source,) = given
        if isinstance(source, (str, Path)):
            self._keep(title, series, iteration, Path(source))
        elif hasattr(source, "save"):
            self._keep(title, series, iteration, source)
        else:
            self._keep(title, series, iteration, _as_image(source))

    report_media = report_image

    def flush(self, wait: bool = False) -> bool:
        """See `Task.flush`."""
        return bool(self._task.flush())

    # Keeping

    def _name(self, title: str, series: str, iteration: int | None) -> str:
        parts = [title, series] if series else [title]
        return "/".join(parts if iteration is None else [*parts, str(int(iteration))])

    def _keep(self, title: str, series: str, iteration: int | None, source: Any) -> None:
        self._task.upload_artifact(self._name(title, series, iteration), source)

    def _keep_text(self, title: str, series: str, iteration: int | None, text: str, suffix: str) -> None:
        import tempfile  # noqa: PLC0415 - an optional package

        with tempfile.TemporaryDirectory(prefix="orq-report-") as folder:
            path = Path(folder) / f"table{suffix}"
            path.write_text(text, encoding="utf-8")
            self._keep(title, series, iteration, path)


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
