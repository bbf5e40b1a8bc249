"""What an objective returns is a number or none: text never is, even where Python could read it as one."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy
import pytest

from worker.protocol.returned import InvalidValue, as_number, values_of
from worker.protocol.words import with_article

NUMBERS = [
    1,
    0.5,
    True,
    Decimal("0.5"),
    Fraction(1, 2),
    numpy.float32(0.5),
    numpy.array(2.0),
    numpy.int64(3),
]
WRONG = [
    "0.3",
    "many",
    "",
    " 1 ",
    "nan",
    b"0.3",
    bytearray(b"1"),
    numpy.str_("0.3"),
    None,
    [],
    {},
    object(),
    10**400,
]


@pytest.mark.parametrize("value", NUMBERS, ids=lambda value: repr(value)[:30])
def test_a_number_of_any_kind(value: Any) -> None:
    expected = float(value.item() if hasattr(value, "item") else value)
    assert as_number(value, value, "a number") == expected
    assert values_of(value) == {"ordered": [expected]}
    assert values_of((value, 1)) == {"ordered": [expected, 1.0]}
    assert values_of({"loss": value}) == {"values": {"loss": expected}}


@pytest.mark.parametrize("value", WRONG, ids=lambda value: type(value).__name__)
def test_what_is_no_number(value: Any) -> None:
    with pytest.raises(InvalidValue, match="the objective returned .*; return a number"):
        as_number(value, value, "a number")
    for returned in ((1.0, value), [value], {"loss": value}):
        with pytest.raises(InvalidValue, match="the objective returned .*; return a number"):
            values_of(returned)


def test_text_is_named_as_such() -> None:
    with pytest.raises(InvalidValue) as caught:
        values_of("0.3")
    assert str(caught.value) == (
        "the objective returned '0.3', which is text; return a number, a dict of metric to number, or nothing, "
        "such as float('0.3')"
    )
    with pytest.raises(InvalidValue, match=r"returned \(1, '0.3'\), where '0.3' is text"):
        values_of((1, "0.3"))
    with pytest.raises(InvalidValue) as caught:
        values_of("x\n" * 5000)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_nothing_is_no_value() -> None:
    assert values_of(None) == {}


@pytest.mark.parametrize(
    ("noun", "text"),
    [("int", "an int"), ("list", "a list"), ("Estimator", "an Estimator"), ("ndarray", "an ndarray"),
     ("str", "a str"), ("object", "an object"), ("UserDict", "a UserDict")],
)  # fmt: skip
def test_articles(noun: str, text: str) -> None:
    assert with_article(noun) == text
