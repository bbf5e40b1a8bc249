"""Filter expressions: what matches, what is missing, and what is refused where."""

from __future__ import annotations

from typing import Any

import pytest

from controller.results.where import DEEPEST, LONGEST, Where, WhereError

ROW: dict[str, Any] = {
    "trial": 7, "status": "completed", "reason": "", "lr": 0.003, "layers": 3, "opt": "adam", "flag": True,
    "accuracy/validation": 0.91, "General/k": 2, "größe": 1.5, "lambda": 4, "tags": ["good", "second look"],
    "note": "try 'again' C:\\new", "started_at": "2026-11-29T02:30:00.000+00:00", "shape": [1, 2],
}  # fmt: skip
MISSING = ("momentum", "loss")


def matches(text: str) -> bool:
    columns = {name: lambda row, name=name: row.get(name) for name in (*ROW, *MISSING)}
    return Where.parse(text).compile(columns)(ROW)


@pytest.mark.parametrize(
    "text",
    [
        'lr < 0.01 and status == "completed"',
        "0.001 < lr <= 0.003",
        "not lr > 0.01",
        "trial % 2 == 1 and layers ** 2 - 1 == 8 and layers // 2 == 1 and -lr < +lr",
        "lr * 1000 >= layers",
        "`accuracy/validation` > 0.9",
        '"accuracy/validation" > 0.9',
        "'General/k' == 2 and `General/k` != 3",
        "1 - `accuracy/validation` < 0.1",
        '1 - "accuracy/validation" < 0.1',
        "größe > 1 and lr < 1 and `größe` == 1.5",
        "`lambda` == 4",
        '"good" in tags and "bad" not in tags',
        '"look" not in tags',
        "\"again\" in note and '\\'again\\'' in note",
        '"C:\\new" in note',
        'opt in ("sgd", "adam") and opt not in ["x"] and opt in {"adam"}',
        "layers in (1, layers)",
        "flag",
        "flag == true and flag is not None",
        'started_at > "2026-11-29"',
        "reason == '' and note != ''",
        "shape == [1, 2]",
        "  lr <\n1 ",
        "lr < 1 or loss < 1",
        "loss is None and lr is not None and loss == None and lr != null",
        'status == "completed" != "`"',
        "9 ** 9 > trial",
        "opt != 3",
    ],
)
def test_a_row_that_matches(text: str) -> None:
    assert matches(text)


@pytest.mark.parametrize(
    "text",
    [
        "lr > 0.01",
        "loss < 1",
        "not loss < 1",
        "loss != 1",
        "not (loss < 1 and lr < 1)",
        "0 < loss < 1",
        "loss + 1 > 0",
        "-loss < 1",
        "loss in (1, 2)",
        "momentum not in (1, 2)",
        "momentum",
        "lr < 'a'",
        "opt > 1",
        "'a' in lr",
        "1 in opt",
        "lr / 0 > 1 or lr % 0 == 0",
        "9.0 ** 999 > 1",
        "(0 - 8) ** 0.5 > 0",
        "opt + 1 > 0",
        "shape < 3",
        "9 ** 9 ** 9 ** 9 ** 9 > 1",
        '"accuracy/validation" == "x"',
    ],
)
def test_a_row_that_does_not_match(text: str) -> None:
    assert not matches(text)


@pytest.mark.parametrize(
    ("text", "column", "problem"),
    [
        ("lr < 0.01 and statsu == 'x'", 15, "there is no statsu; did you mean status?"),
        ("größe > 1 and lrr < 1", 15, "there is no lrr; did you mean lr?"),
        ("accuracy > 1", 1, "there is no accuracy; did you mean `accuracy/validation`?"),
        ("accuracy/validation > 1", 1, "did you mean `accuracy/validation`?"),
        ("  `a b` < 1", 3, "there is no `a b`; there are: "),
        ("lr < 1 and lr = 2", 15, 'write "=="'),
        ("lr < 1 && trial > 2", 8, 'write "and"'),
        ("lr < 1 || trial > 2", 8, 'write "or"'),
        ("lr <> 1", 4, 'write "!="'),
        ("lr < 1 AND trial > 2", 8, "small letters"),
        ("reason LIKE 'x'", 8, '"part" in name'),
        ("lr <", 5, "this can't be read"),
        ("(lr < 1", 1, "'(' was never closed"),
        ("lr < `x", 6, "backticks"),
        ("lr == ``", 7, "backticks"),
        ("note == 'x", 9, "no end"),
        ("optim.lr < 1", 1, "backticks: `optim.lr`"),
        ("__import__('os').system('x')", 1, "no functions"),
        ("trial and open('x')", 11, "no functions"),
        ("[x for x in tags]", 1, "isn't allowed"),
        ("trial if lr else 1", 1, "isn't allowed"),
        ("lambda: 1", 1, "isn't allowed"),
        ("tags[0] == 'x'", 1, "isn't allowed"),
        ("{1: 2}", 1, "isn't allowed"),
        ("f'{lr}' == 'x'", 1, "isn't allowed"),
        ("(lr := 3)", 2, '"=="'),
        ("b'x' == lr", 1, "only numbers"),
        ("1j < lr", 1, "only numbers"),
        ("lr @ lr", 1, "sign"),
        ("lr << 2", 1, "sign"),
        ("~lr", 1, '"not"'),
        ("opt is 'adam'", 1, '"is" asks for None'),
        ("lr < None", 1, 'None stands after "is"'),
        ("lr + 'x' > 1", 6, "a text is no number"),
        ("lr < 1 # always", 8, "means nothing here"),
        ("lr < 1\0", 7, "means nothing here"),
        ("", 1, "it is empty"),
        ("  ", 1, "it is empty"),
        ("x" * (LONGEST + 1), LONGEST, "characters"),
        ("lr < 1; trial", 7, "this can't be read"),
    ],
)
def test_what_is_wrong_and_where(text: str, column: int, problem: str) -> None:
    with pytest.raises(WhereError) as caught:
        matches(text)
    assert problem in caught.value.problem
    assert caught.value.column == column
    assert str(caught.value).startswith(f"filter, column {column}: ")
    assert "\n" not in caught.value.problem


@pytest.mark.parametrize("nest", ["(" * 999 + "lr" + ")" * 999, "-" * 1999 + "1", "not " * 400 + "lr"])
def test_what_is_too_deep_is_refused(nest: str) -> None:
    with pytest.raises(WhereError):
        matches(nest)


def test_what_is_deep_is_read() -> None:
    assert matches("(" * 60 + "lr" + ")" * 60)
    assert matches(" and ".join(["lr < 1"] * 150))
    assert matches("not not " * (DEEPEST // 2 - 1) + "lr")
