"""Names of ClearML's SDK that are not there: the import says what to use."""

from __future__ import annotations

import pytest

import worker


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("Dataset", "can be a parameter"),
        ("InputModel", "artifact"),
        ("Model", "upload_artifact"),
        ("OutputModel", "save_checkpoint"),
        ("PipelineController", "not part of optuna-rq"),
        ("PipelineDecorator", "not part of optuna-rq"),
        ("StorageManager", "upload_artifact"),
        ("TaskParameters", "task.connect"),
    ],
)
def test_an_import_says_what_to_use(name: str, instead: str) -> None:
    with pytest.raises(ImportError, match=f"there is no {name} in worker: .*{instead}"):
        exec(f"from worker import {name}")


def test_what_is_promised_instead_is_there() -> None:
    for name in ("upload_artifact", "artifacts", "save_checkpoint", "connect"):
        assert hasattr(worker.Task, name)


@pytest.mark.parametrize(
    "plot", ["histogram", "confusion_matrix", "scatter2d", "scatter3d", "surface", "line_plot"]
)
def test_plots_that_are_not_there_say_what_to_use(plot: str) -> None:
    logger = worker.Logger(None)
    assert not hasattr(logger, f"report_{plot}")
    with pytest.raises(
        AttributeError, match=f"no attribute 'report_{plot}': draw it, and report_matplotlib_figure"
    ):
        getattr(logger, f"report_{plot}")()
    with pytest.raises(AttributeError, match="no attribute 'nothing'$"):
        logger.nothing()  # type: ignore[operator] # not there
    for name in ("report_matplotlib_figure", "report_plotly", "report_table"):
        assert hasattr(logger, name)


def test_other_names_are_missing_as_usual() -> None:
    assert not hasattr(worker, "Nothing")
