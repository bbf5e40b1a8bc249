"""The placeholders of a command objective."""

from __future__ import annotations

import pytest

from worker.protocol.command import RESERVED, fill, flags, placeholders
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
        (["{flag:a}", "{flag:b c:-b}", "{flag:d::--no-d}", "{{flag:e}}", "{f}"], {"a", "b c", "d", "f"}),
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
        ([64, 64], "[64, 64]"),
        ((64, 0.1), "[64, 0.1]"),
        ([], "[]"),
        (["ä b", None, True, [1e-7]], '["ä b", null, true, [1e-07]]'),
        ({"a": True, "b": [None]}, '{"a": true, "b": [null]}'),
        (2**60 + 1, "1152921504606846977"),
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


@pytest.mark.parametrize(
    ("argument", "value", "expected"),
    [
        ("{flag:use_bn}", True, ["--use_bn"]),
        ("{flag:use_bn}", False, []),
        ("{flag:use_bn:--use-bn}", True, ["--use-bn"]),
        ("{flag:use_bn:--use-bn}", False, []),
        ("{flag:v:-v}", True, ["-v"]),
        ("{flag:use_bn:--use-bn:--no-use-bn}", True, ["--use-bn"]),
        ("{flag:use_bn:--use-bn:--no-use-bn}", False, ["--no-use-bn"]),
        ("{flag:cache::--no-cache}", True, []),
        ("{flag:cache::--no-cache}", False, ["--no-cache"]),
        ("{flag:cache:--cache=a b:}", True, ["--cache=a b"]),
        ("{flag:General/x}", True, ["--General/x"]),
    ],
)
def test_a_flag_is_there_or_not(argument: str, value: bool, expected: list[str]) -> None:
    name = argument.strip("{}").split(":")[1]
    assert flags(["p", argument, f"{{{name}}}"]) == {name}
    assert fill(["p", "--lr", argument, "x"], {name: value}) == ["p", "--lr", *expected, "x"]
    # A trial without the parameter has neither form, and what stands before it stays.
    assert fill(["p", "--lr", argument, "x"], {}, conditional=[name]) == ["p", "--lr", "x"]


def test_an_option_before_an_absent_value_goes_but_a_flag_stays() -> None:
    argv = ["p", "{flag:a}", "{m}", "--m", "{m}", "{flag:a}"]
    assert fill(argv, {"a": True}, conditional=["m"]) == ["p", "--a", "--a"]
    assert fill(argv, {"a": False, "m": 1}, conditional=["m"]) == ["p", "1", "--m", "1"]


def test_plain_braces_are_no_flag() -> None:
    assert flags(["{{flag:x}}"]) == set()
    assert fill(["{{flag:x}}"], {}) == ["{flag:x}"]


@pytest.mark.parametrize("argument", ["--x={flag:x}", "{flag:x}{y}", "{{{flag:x}}}", " {flag:x}"])
def test_a_flag_within_other_text_is_refused(argument: str) -> None:
    for refuse in (lambda: placeholders([argument]), lambda: fill([argument], {"x": True, "y": 1})):
        with pytest.raises(BadInput, match='a flag is an argument of its own.*"--name={name}"'):
            refuse()


@pytest.mark.parametrize("argument", ["{flag:}", "{flag::--x}", "{flag:x:}", "{flag:x::}", "{flag:x:a:b:c}"])
def test_a_malformed_flag_is_refused(argument: str) -> None:
    with pytest.raises(BadInput, match="is no flag; write {flag:name}"):
        placeholders([argument])


@pytest.mark.parametrize(
    ("value", "shown"), [(1, "1"), (0, "0"), ("true", "true"), (None, "null"), ([], r"\[\]")]
)
def test_a_flag_of_another_value_is_refused(value: object, shown: str) -> None:
    with pytest.raises(BadInput, match=f"flag {{flag:x}} needs true or false, got {shown}"):
        fill(["p", "{flag:x}"], {"x": value})
