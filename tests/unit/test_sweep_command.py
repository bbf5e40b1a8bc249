"""The placeholders of a command objective."""

from __future__ import annotations

import pytest

from worker.protocol.command import RESERVED, fill, placeholders
from worker.protocol.errors import BadInput


class NumpyLikeFloat(float):
    """Like numpy's float64, whose repr isn't a number."""

    def __repr__(self) -> str:
        return f"np.float64({float(self)!r})"


@pytest.mark.parametrize(
    ("argv", "names"),
    [
        ([], set()),
        (["./train", "--lr", "{lr}"], {"lr"}),
        (["{a}{b}", "--x={a}"], {"a", "b"}),
        (["{{lr}}"], set()),
        (["{{{lr}}}"], {"lr"}),
        (["{General/lr}", "{a b}"], {"General/lr", "a b"}),
        (["{task_id}", "{trial}"], set(RESERVED)),
    ],
)
def test_placeholders_are_found(argv: list[str], names: set[str]) -> None:
    assert placeholders(argv) == names


@pytest.mark.parametrize("argument", ["{", "}", "{}", "{lr", "lr}", '{"lr": {lr}}', "{{lr}"])
def test_a_single_brace_is_refused(argument: str) -> None:
    with pytest.raises(BadInput, match="plain braces"):
        placeholders([argument])
    with pytest.raises(BadInput, match="plain braces"):
        fill([argument], {"lr": 1})


def test_every_bad_argument_is_named() -> None:
    with pytest.raises(BadInput) as caught:
        placeholders(["{", "{lr}", "x}"])
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a b; rm -rf $HOME", "a b; rm -rf $HOME"),
        ("{lr}", "{lr}"),
        (3, "3"),
        (0.1 + 0.2, "0.30000000000000004"),
        (1e-5, "1e-05"),
        (NumpyLikeFloat(0.1), "0.1"),
        (True, "true"),
        (False, "false"),
        (None, "null"),
        ("", ""),
    ],
)
def test_values_are_written_so_that_they_read_back(value: object, text: str) -> None:
    assert fill(["p", "--x={x}", "{x}"], {"x": value}) == ["p", f"--x={text}", text]


def test_braces_and_other_text_stay() -> None:
    assert fill(["{{a}}", '{{"lr": {lr}}}', "plain"], {"lr": 1}) == ["{a}", '{"lr": 1}', "plain"]


def test_a_placeholder_without_a_value_is_refused() -> None:
    with pytest.raises(BadInput) as caught:
        fill(["p", "{a}{b}"], {}, conditional=["c"])
    assert len(caught.value.problems) == 2
    assert "{a}" in caught.value.problems[0]


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["p", "--m", "{m}", "x"], ["p", "x"]),
        (["p", "--m={m}", "x"], ["p", "x"]),
        (["p", "{m}"], ["p"]),
        (["p", "-v", "--", "{m}"], ["p", "-v", "--"]),
        (["p", "--a=1", "{m}"], ["p", "--a=1"]),
        (["p", "--a", "{a}", "{m}"], ["p", "--a", "1"]),
        (["p", "--pair", "{a},{m}"], ["p", "--pair"]),
        (["--m", "{m}", "{m}"], []),
    ],
)
def test_an_absent_conditional_parameter_takes_its_argument_along(
    argv: list[str], expected: list[str]
) -> None:
    assert fill(argv, {"a": 1}, conditional=("m",)) == expected


def test_a_conditional_parameter_that_is_there_is_filled() -> None:
    assert fill(["p", "--m", "{m}"], {"m": 0.5}, conditional=("m",)) == ["p", "--m", "0.5"]
