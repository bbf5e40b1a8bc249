"""Parameters between their text and a program's own types."""

from __future__ import annotations

from typing import Any

import pytest

from worker.protocol.values import as_text, cast_like


@pytest.mark.parametrize(
    "default",
    [
        None,
        True,
        False,
        3,
        -1,
        0.25,
        1e-9,
        "text",
        "",
        [1, 2],
        ["a", "b"],
        [],
        (1, 2.5),
        {"a": [1, {"b": None}]},
        {},
    ],
    ids=repr,
)
def test_the_text_of_a_value_gives_it_back(default: Any) -> None:
    assert cast_like(as_text(default), default) == default
    assert type(cast_like(as_text(default), default)) is type(default)


@pytest.mark.parametrize(
    ("text", "default", "value"),
    [
        ("null", None, "null"),
        ("", None, None),
        ("adam", None, "adam"),
        ('{"a": true}', {"a": False}, {"a": True}),
        ("[3, 4]", (1, 2), [3, 4]),
        ("(3, 4)", [1], [3, 4]),
    ],
)
def test_other_ways_to_write_it(text: str, default: Any, value: Any) -> None:
    found = cast_like(text, default)
    assert (tuple(found) if isinstance(default, tuple) else found) == (
        tuple(value) if isinstance(default, tuple) else value
    )


@pytest.mark.parametrize(
    ("text", "default"), [("one", [1]), ("3", [1]), ("[1", (1,)), ("[1]", {"a": 1}), ("x", 1)]
)
def test_what_is_not_understood_is_told(text: str, default: Any) -> None:
    with pytest.raises(ValueError):
        cast_like(text, default)


@pytest.mark.parametrize("default", [3, 0.5, [1], (1,), {"a": 1}, None])
@pytest.mark.parametrize("value", [[64, 64], [], {"b": [1]}, None])
def test_a_list_that_the_study_chose_is_no_mistake(value: Any, default: Any) -> None:
    found = cast_like(value, default)
    assert found == (tuple(value) if isinstance(default, tuple) and isinstance(value, list) else value)


@pytest.mark.parametrize("value", [2**53 + 1, -(2**60) - 1, 10**30])
def test_a_whole_number_keeps_its_digits(value: int) -> None:
    assert cast_like(value, 0) == value
    assert cast_like(as_text(value), 0) == value
    assert type(cast_like(f" {value} ", 1)) is int
    assert cast_like("3.0", 1) == 3
    assert cast_like("2.5", 1) == 2.5
