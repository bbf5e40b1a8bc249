"""A person at a terminal: 80 and 40 columns, a pipe that closes, a study that goes on."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.cells import cell_len

from tests.e2e.cli import Cli, folder_of
from tests.e2e.harness import assert_nothing_left
from tests.terminal import at_terminal

NAMES = (
    "optimizer_learning_rate", "optimizer_weight_decay", "encoder_dropout_probability",
    "decoder_dropout_probability", "number_of_encoder_layers", "number_of_attention_heads",
    "learning_rate_scheduler_name", "activation_function", "warmup_steps_fraction",
    "gradient_accumulation_steps",
)  # fmt: skip
OBJECTIVES = """
import threading, time

def train(task, **parameters):
    task.report_scalar("validation_loss", "cross_entropy", parameters["optimizer_learning_rate"], 0)
    task.report_scalar("threads", "", threading.active_count(), 0)
    time.sleep(parameters["warmup_steps_fraction"])
"""
STUDY = "transformer-finetuning-large-scale-ablation"
METRIC = "validation_loss/cross_entropy"


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    with folder_of(tmp_path, OBJECTIVES) as found:
        yield found


def sweep(cli: Cli, trials: int, seconds: float) -> str:
    """Ten parameters with long names, of each kind; a trial takes up to `seconds`."""
    spaces = [{"type": "float", "low": 0.0, "high": 1.0}] * 4 + [{"type": "int", "low": 1, "high": 99}] * 2
    spaces += [
        {"choices": ["cosine_with_warm_restarts", "linear_with_warmup"]},
        {"choices": ["relu", "gelu"]},
    ]
    spaces += [{"type": "float", "low": seconds / 2, "high": seconds}, {"type": "int", "low": 1, "high": 99}]
    return cli.sweep(
        study={"name": STUDY, "metric": {"name": METRIC, "goal": "minimize"}},
        objective={"function": "obj:train"},
        parameters=dict(zip(NAMES, spaces, strict=True)),
        budget={"max_trials": trials},
    )


def shown(cli: Cli, width: int, *arguments: str) -> tuple[int, list[str]]:
    """Exit code of a command on a terminal of `width` columns, and what its lines held, one after the other."""
    with at_terminal(cli.folder, *arguments, width=width, height=40) as terminal:
        code = terminal.wait()
        plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.raw)
        return code, [line.rstrip() for line in re.split(r"[\r\n]+", plain)]


def test_a_study_on_a_narrow_terminal(cli: Cli) -> None:
    code, lines = shown(cli, 80, "start", sweep(cli, 2, 1.2), "--workers", "1")
    assert code == 0, lines
    # Below the lines of ended trials: the study as it stands, which counts them at once.
    assert max(map(cell_len, lines[: lines.index("Next:")])) <= 80
    ended = [place for place, line in enumerate(lines) if line.startswith("trial ")]
    assert len(ended) == 2
    assert any("0 ended · 1 running on 1 slot of 1 worker" in line for line in lines[: ended[0]])
    assert any("1 ended" in line for line in lines[ended[0] : ended[1]])
    assert not any("0 ended" in line for line in lines[ended[0] : ended[1]])
    between = " ".join(lines[ended[0] : ended[1]])
    assert re.search(r"running · \d+ s, about \d+ s left", between)
    assert "budget: " in between
    best = re.search(r"best \S+ \(trial 0\)(.*?)(trial  iteration|running ·)", between)
    assert best
    assert all(f"{name}=" in best[1] for name in NAMES)

    row = cli.json("top", "-k", "1")[0]
    for width in (40, 80):
        code, lines = shown(cli, width, "top", "-k", "1")
        assert code == 0
        assert max(map(len, lines)) <= width
        words = " ".join(lines).split()
        for name, value in row["hyper_parameters"].items():
            pair = f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
            assert pair in words or width == 40, pair
            assert any(word.startswith(f"{name}=") for word in words)
        assert METRIC in words
        assert len(lines) < (20 if width == 40 else 14)
        for question in ("tasks", "status"):
            code, lines = shown(cli, width, question)
            assert code == 0
            assert max(map(len, lines)) <= width
            assert any("completed" in line for line in lines)
    assert not any("no worker" in line for line in lines)
    assert any(re.match(r"time: \d", line) for line in lines)


def test_a_closed_pipe_ends_a_study_in_order_and_it_goes_on(cli: Cli) -> None:
    file = sweep(cli, 8, 0.6)
    piped = cli.in_shell(f"controller start {file} --workers 1 | head -4 | tail -1; echo ${{PIPESTATUS[0]}}")
    assert (piped.stderr, piped.stdout.splitlines()[-1]) == ("", "141")
    assert_nothing_left(cli.folder)
    status = cli.json("status")
    assert (status["state"], status["reason"]) == ("interrupted", "by Ctrl-C or a signal")
    assert status["left"][0].endswith("of 8 trials")

    assert cli.start(file, workers=1).returncode == 0
    tasks = cli.json("tasks")
    assert {task["status"] for task in tasks} == {"completed"}
    assert len(tasks) == 8
    # What was cut short is one row with its retry, and is ranked once.
    stopped = cli.json("tasks", "--status", "stopped")
    assert sorted(n for task in tasks for n in task["retries"]) == [task["trial"] for task in stopped]
    rows = list(
        csv.DictReader(io.StringIO(cli("top", "-k", "20", "--all-metrics", "--format", "csv").stdout))
    )
    assert [row["rank"] for row in rows] == [str(number) for number in range(1, 9)]
    assert len({row[NAMES[0]] for row in rows}) == 8
    # No trial leaves a thread behind, the last one of an ended trial may be on its way out.
    threads = [float(row["threads"]) for row in sorted(rows, key=lambda row: int(row["trial"]))]
    assert max(threads[-3:]) <= min(threads) + 1
