"""Tables on screens of any width: nothing is cut, and names and values stay whole where they can."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from controller.commands.tables import table_of
from controller.screen.layout import Fields, Paragraph

NAMES = (
    "optimizer_learning_rate", "optimizer_weight_decay", "encoder_dropout_probability",
    "decoder_dropout_probability", "number_of_encoder_layers", "number_of_attention_heads",
    "learning_rate_scheduler_name", "activation_function", "warmup_steps_fraction",
    "gradient_accumulation_steps",
)  # fmt: skip
PAIRS = [f"{name}=0.0001234" for name in NAMES]
METRIC = "validation_loss/cross_entropy"


def printed(rows: list[dict[str, Any]], width: int, title: str = "") -> list[str]:
    stream = io.StringIO()
    Console(file=stream, width=width, highlight=False, emoji=False).print(table_of(rows, title))
    return [line.rstrip() for line in stream.getvalue().splitlines() if line.strip()]


def trial(number: int, **more: Any) -> dict[str, Any]:
    return {"rank": number, "task": "985f1d9a", "trial": number, "status": "completed", **more}


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 200, 240])
@pytest.mark.parametrize("metrics", [1, 3])
def test_ten_long_parameters_stay_readable(width: int, metrics: int) -> None:
    values = {f"{METRIC}{number or ''}": 0.134222 for number in range(metrics)}
    rows = [trial(number, **values, parameters=" ".join(PAIRS)) for number in (1, 2)]
    lines = printed(rows, width, "Top 2 of study transformer-finetuning-large-scale-ablation")
    assert max(map(cell_len, lines)) <= width
    words = [word for line in lines for word in line.split()]
    for text in PAIRS if width > 44 else NAMES[1:2]:
        assert sum(text in word for word in words) == 2, text
    for name in values:
        assert name in words
    assert words.count("0.134222") == 2 * metrics
    # A trial takes a few lines, where it took 35.
    assert len(lines) <= (2 * (len(PAIRS) + 5 + 2 * metrics) + 3 if width < 80 else 21)


def test_what_fits_is_a_table() -> None:
    lines = printed([trial(1, loss=0.5, parameters="x=0.1")], 80, "Top 1")
    assert [line.split() for line in lines if "─" not in line] == [
        ["Top", "1"],
        ["rank", "task", "trial", "status", "loss", "parameters"],
        ["1", "985f1d9a", "1", "completed", "0.5", "x=0.1"],
    ]


def test_long_texts_are_below_their_rows_on_a_narrow_screen() -> None:
    reason = "objective_error: ValueError: " + "the matrix is singular " * 6
    lines = printed(
        [trial(1, loss=None, worker="", reason=""), trial(2, loss=0.5, worker="node-7/0", reason=reason)], 60
    )
    assert lines[2].split() == ["1", "985f1d9a", "1", "completed"]
    assert lines[3].split() == ["2", "985f1d9a", "2", "completed", "0.5"]
    assert lines[4] == "    worker: node-7/0"
    assert lines[5].startswith("    reason: objective_error: ValueError: the matrix")
    assert " ".join(" ".join(lines[5:]).split()) == f"reason: {reason.strip()}"


@pytest.mark.parametrize("width", [12, 20, 41, 80])
def test_wide_characters_count_for_what_they_take(width: int) -> None:
    rows = [trial(1, 損失=0.5, parameters="学習率=0.001 最適化手法=確率的勾配降下法 größe=1")]
    lines = printed(rows, width, "研究 [x]")
    assert max(map(cell_len, lines)) <= width
    assert "学習率=0.001最適化手法=確率的勾配降下法größe=1" in "".join("".join(lines).split())


@pytest.mark.parametrize("width", [10, 30, 80])
def test_names_and_values_are_shown_as_they_are(width: int) -> None:
    shown = "".join("".join(printed([trial(1, **{"acc[val]": "[bold]x[/]"})], width)).split())
    assert "acc[val]" in shown
    assert "[bold]x[/]" in shown


def test_a_blank_number_is_blank() -> None:
    lines = printed([{**trial(1), "loss": 0.25}, {**trial(2), "rank": None, "loss": 0.125}], 80)
    assert lines[-1].split() == ["985f1d9a", "2", "completed", "0.125"]
    # Numbers stand below each other at their ends.
    assert lines[-1].rstrip().endswith("0.125")
    assert len(lines[-1].rstrip()) == len(lines[-2].rstrip())


def fields(width: int, value: str = " ".join(PAIRS)) -> list[str]:
    stream = io.StringIO()
    shown = Fields([("task_id", "f" * 32), ("reason", value), ("worker", "研究" * 30), ("odd", "[bold]x[/]")])
    Console(file=stream, width=width, highlight=False, emoji=False).print(shown)
    return stream.getvalue().splitlines()


def test_fields_are_broken_between_words_and_set_in() -> None:
    lines = fields(80)
    assert lines[0] == f"{'task_id':<14} {'f' * 32}"
    assert lines[1] == f"{'reason':<14} {PAIRS[0]}"
    rest = lines[2 : next(place for place, line in enumerate(lines) if line.startswith("worker"))]
    assert [word for line in rest for word in line.split()] == PAIRS[1:]
    assert all(line.startswith(" " * 15) for line in rest)
    narrow = fields(40)
    assert narrow[:3] == [f"task_id {'f' * 32}", f"reason {PAIRS[0]}", f"    {PAIRS[1]}"]
    assert "odd [bold]x[/]" in narrow


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_fields_and_paragraphs_fit(width: int) -> None:
    assert max(map(cell_len, fields(width))) <= width
    stream = io.StringIO()
    text = "best: " + " ".join(PAIRS)
    Console(file=stream, width=width, highlight=False, emoji=False).print(Paragraph(text))
    lines = stream.getvalue().splitlines()
    assert max(map(cell_len, lines)) <= width
    assert "".join("".join(lines).split()) == text.replace(" ", "")
    assert all(line.startswith("  ") for line in lines[1:])


@pytest.mark.parametrize("width", [30, 40, 80])
def test_numbers_stand_in_their_row_whatever_their_column_is_called(width: int) -> None:
    rows = [
        {"metric": "loss", "value": 0.5, "min_value": 0.25},
        {"metric": "size", "value": 2.0, "min_value": 1.0},
    ]
    lines = printed(rows, width)
    assert [line.split() for line in lines if "─" not in line] == [
        ["metric", "value", "min_value"], ["loss", "0.5", "0.25"], ["size", "2", "1"],
    ]  # fmt: skip
