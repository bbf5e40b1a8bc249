"""Command lines that jsonargparse and Hydra read, with a task's values."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from controller.search.parameters import UniformParameterRange
from controller.session.base_task import check_base_task
from worker import Task
from worker.protocol import Status, TaskRecord, TaskSpec
from worker.protocol.errors import BadInput
from worker.sdk import argparse_patch, runtime
from worker.sdk.other_lines import with_words, words
from worker.sdk.session import LocalSession


class Recording(LocalSession):
    def __init__(self) -> None:
        super().__init__()
        self.known: dict[str, Any] = {}

    def parameters(self, values: Any) -> None:
        self.known.update(values)


def hydras(*overrides: str) -> argparse.Namespace:
    return argparse.Namespace(overrides=list(overrides), hydra_help=False, run=False, cfg=None)


def test_what_hydra_overrides_by_hand_is_recorded() -> None:
    session = Recording()
    line = hydras(
        "model.lr=0.2",
        "+new=1",
        "++name=big net",
        "~gone",
        "hydra.mode=RUN",
        "db=mysql",
        "on=true",
        "none=null",
    )
    before = list(line.overrides)
    Task({"id": "0"}, session).connect_arguments(None, line)
    assert line.overrides == before
    assert session.known == {
        "Args/overrides": before,
        "Hydra/model.lr": 0.2,
        "Hydra/new": 1,
        "Hydra/name": "big net",
        "Hydra/db": "mysql",
        "Hydra/on": True,
        "Hydra/none": None,
    }


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0.5, "x=0.5"),
        (1e-05, "x=1e-05"),
        (3, "x=3"),
        (True, "x=true"),
        (None, "x=null"),
        ("adam", "x=adam"),
        ("a/b.yaml", "x=a/b.yaml"),
        ("two words", 'x="two words"'),
        ('a "quoted" \\', 'x="a \\"quoted\\" \\\\"'),
        ("a,b", 'x="a,b"'),
        ([1, "a"], 'x=[1, "a"]'),
        ({"a": 1}, 'x={"a": 1}'),
    ],
)
def test_hydra_gets_the_tasks_values(value: Any, written: str) -> None:
    given = {"Hydra/x": value, "Hydra/same": 1, "General/y": 2}
    task = Task({"id": "0", "parameters": given, "searched": ["Hydra/x"]}, LocalSession())
    line = hydras("same=1", "x=0.1")
    task.connect_arguments(None, line)
    assert line.overrides == ["same=1", "x=0.1", written]
    assert (line.run, line.cfg) == (False, None)
    assert task.get_parameter("Hydra/x", cast=True) == value
    line = hydras()  # it was not on the line of the run by hand
    task.connect_arguments(None, line)
    assert line.overrides == [written, "same=1"]


def base(**parameters: Any) -> TaskRecord:
    spec = TaskSpec(objective={"kind": "script", "path": "train.py"}, parameters=parameters)
    return TaskRecord(
        id="0" * 32, name="b", spec=spec, status=Status.COMPLETED, created_at=time.time(), started_at=1.0
    )


@pytest.mark.parametrize("allow", [False, True])
def test_a_parameter_of_hydras_acts_or_is_refused(allow: bool) -> None:
    searched = [UniformParameterRange("Hydra/model.lr", 0, 1)]
    for known in ({"Args/overrides": []}, {"Hydra/model.lr": 1}):
        check_base_task(base(**known), searched, allow_new_parameters=allow)
    with pytest.raises(BadInput, match="no command line of Hydra's"):
        check_base_task(base(lr=1), searched, allow_new_parameters=allow)
    other = [*searched, UniformParameterRange("General/x", 0, 1)]
    if not allow:
        with pytest.raises(BadInput, match="no such parameter"):
            check_base_task(base(**{"Args/overrides": []}), other, allow_new_parameters=False)


def test_words_of_jsonargparse() -> None:
    values = {"model.lr": 0.2, "epochs": 1, "config": Path("c"), "name": "a", "same": 1}
    given = {"model.lr": 0.7, "epochs": 3, "config": "d", "name": "b c", "same": 1, "none": 5}
    assert list(words(values, given, [])) == ["model.lr", "epochs", "name"]
    assert list(words(values, given, ["config"])) == ["model.lr", "epochs", "config", "name"]
    found = with_words(["--epochs", "1"], ["model.lr", "epochs", "name"], given, values)
    assert found == ["--epochs", "1", "--model.lr=0.7", "--epochs=3", "--name=b c"]
    inner = {"subcommand": "fit", "fit.model.lr": 0.1, "seed": 1}
    given = {"fit.model.lr": [1, None], "seed": True}
    assert with_words(["fit", "--model.lr", "1"], list(given), given, inner) == [
        "--seed=true", "fit", "--model.lr", "1", "--model.lr=[1, null]",
    ]  # fmt: skip


class Model:
    def __init__(self, lr: float = 0.1, width: int = 8, kind: str | None = None) -> None:
        self.lr, self.width, self.kind = lr, width, kind


@pytest.mark.parametrize("nested", [False, True], ids=["flat", "sub-command"])
def test_jsonargparse_itself(monkeypatch: pytest.MonkeyPatch, nested: bool) -> None:
    jsonargparse = pytest.importorskip("jsonargparse")
    inner = jsonargparse.ArgumentParser()
    inner.add_class_arguments(Model, "model")
    parser = inner
    if nested:
        parser = jsonargparse.ArgumentParser()
        parser.add_subcommands().add_subcommand("fit", inner)
    above = "fit." if nested else ""
    line = [*(["fit"] if nested else []), "--model.lr", "0.2"]
    monkeypatch.setattr(sys, "argv", ["train.py", *line])
    session = Recording()
    for about, lr, width in (
        ({"by_hand": True}, 0.2, 8),
        ({"parameters": {f"Args/{above}model.lr": 0.7, f"Args/{above}model.width": "16"}}, 0.7, 16),
    ):
        argparse_patch.take_seen()
        task = Task({"id": "0", **about}, session)
        runtime.enter(task)
        try:
            found = parser.parse_args()
            model = found.fit.model if nested else found.model
            assert (model.lr, model.width, model.kind) == (lr, width, None)
        finally:
            runtime.leave(task)
    assert session.known[f"Args/{above}model.lr"] == 0.2
    refused = Task({"id": "0", "parameters": {f"Args/{above}model.width": "wide"}}, LocalSession())
    runtime.enter(refused)
    try:
        with pytest.raises(SystemExit):
            parser.parse_args()
    finally:
        runtime.leave(refused)
