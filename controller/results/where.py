"""Filter expressions, such as ``lr < 0.01 and status == "completed"``.

They look like Python's and are read by Python's parser, yet nothing of them is ever run: each kind of node
that is allowed is turned into a function here, and all others are refused.

A condition on what a row lacks is neither true nor false, and so is its opposite: such a row never matches,
unless the other side of an ``or`` does, or ``x is None`` asks for it.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from keyword import kwlist
from typing import Any, Generic, TypeVar

from controller.results.where_source import HELP, LONGEST, Source, WhereError
from worker.protocol.nearest import nearest

DEEPEST = 50
"""How deep its parts may stand in each other."""

R = TypeVar("R")
Getter = Callable[[R], Any]
"""Returns a value of a row; None where the row lacks it."""


@dataclass(frozen=True)
class Where:
    """An expression whose syntax is right; `compile` knows whether its names are."""

    text: str
    _tree: ast.expr = field(repr=False)
    _source: Source = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Where:
        """Raises `WhereError`."""
        source = Source.of(text)
        try:
            tree = ast.parse(source.python, mode="eval").body
        except SyntaxError as error:
            raise source.unreadable(error) from error
        except (ValueError, MemoryError, RecursionError) as error:
            raise WhereError(text, 1, f"it can't be read: {error or 'it is too deep'}") from error
        return cls(text, tree, source)

    def compile(self, columns: Mapping[str, Getter[R]]) -> Callable[[R], bool]:
        """The expression as a function that says whether a row matches.

        Args:
            columns: name → what returns its value of a row.

        Raises:
            WhereError: a name is none of these, or something stands there that isn't allowed.
        """
        test = _truth(_Compiler(self._source, columns).value(self._tree, 0))
        return lambda row: test(row) is True


class _Compiler(Generic[R]):
    """Turns nodes into functions of a row, which return None where something is missing."""

    def __init__(self, source: Source, columns: Mapping[str, Getter[R]]) -> None:
        self._source = source
        self._columns = columns

    def value(self, node: ast.expr, depth: int) -> Getter[R]:
        if depth > DEEPEST:
            raise self._source.wrong(node, f"more than {DEEPEST} parts stand in each other here")
        depth += 1
        if isinstance(node, ast.Name):
            return self._named(node)
        if isinstance(node, ast.Constant):
            return self._constant(node)
        if isinstance(node, ast.BoolOp):
            return self._joined(node, depth)
        if isinstance(node, ast.UnaryOp):
            return self._unary(node, depth)
        if isinstance(node, ast.Compare):
            return self._compared(node, depth)
        if isinstance(node, ast.BinOp):
            return self._arithmetic(node, depth)
        if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
            items = [self.value(item, depth) for item in node.elts]
            return lambda row: [item(row) for item in items]
        raise self._refused(node)

    def _refused(self, node: ast.expr) -> WhereError:
        if isinstance(node, ast.Attribute):
            name = self._source.name(node)
            return self._source.wrong(node, f"a name with dots stands in backticks: `{name}`")
        if isinstance(node, ast.Call):
            return self._source.wrong(node, 'there are no functions; a text contains another: "part" in name')
        if isinstance(node, ast.NamedExpr):
            return self._source.wrong(node, 'write "==" to compare')
        return self._source.wrong(node, f"this isn't allowed; {HELP}")

    def _named(self, node: ast.Name) -> Getter[R]:
        name = self._source.name(node)
        if name in self._columns:
            return self._columns[name]
        if name.casefold() in _WORDS and self._source.place(node) not in self._source.quoted:
            word = _WORDS[name.casefold()]
            return lambda row: word
        raise self._source.wrong(node, unknown(name, self._columns))

    def _constant(self, node: ast.Constant) -> Getter[R]:
        constant = node.value
        if constant is not None and not isinstance(constant, (bool, int, float, str)):
            raise self._source.wrong(node, "only numbers, texts in quotes, True, False and None stand here")
        return lambda row: constant

    def _joined(self, node: ast.BoolOp, depth: int) -> Getter[R]:
        tests = [_truth(self.value(one, depth)) for one in node.values]
        decides = isinstance(node.op, ast.Or)  # what one side says whatever the others do

        def joined(row: R) -> bool | None:
            found: bool | None = not decides
            for test in tests:
                one = test(row)
                if one is decides:
                    return decides
                if one is None:
                    found = None
            return found

        return joined

    def _unary(self, node: ast.UnaryOp, depth: int) -> Getter[R]:
        if isinstance(node.op, ast.Not):
            test = _truth(self.value(node.operand, depth))
            return lambda row: None if (found := test(row)) is None else not found
        if isinstance(node.op, ast.Invert):
            raise self._source.wrong(node, 'write "not" for "~"')
        operand = self._number(node.operand, depth)
        sign = -1 if isinstance(node.op, ast.USub) else 1
        return lambda row: None if (found := operand(row)) is None else sign * found

    def _compared(self, node: ast.Compare, depth: int) -> Getter[R]:
        sides = [node.left, *node.comparators]
        tests = []
        for operation, left, right in zip(node.ops, sides, sides[1:], strict=False):
            if _is_none(left) or _is_none(right):
                tests.append(self._missing(node, operation, left if _is_none(right) else right, depth))
                continue
            compare = _COMPARE.get(type(operation))
            if compare is None:
                raise self._source.wrong(node, '"is" asks for None only: write "=="')
            by_name = not isinstance(operation, (ast.In, ast.NotIn))
            tests.append(
                _comparing(compare, self._left(left, depth, by_name=by_name), self.value(right, depth))
            )
        if len(tests) == 1:
            return tests[0]

        def chained(row: R) -> bool | None:
            found = [test(row) for test in tests]
            return False if False in found else None if None in found else True

        return chained

    def _left(self, node: ast.expr, depth: int, *, by_name: bool) -> Getter[R]:
        """The left side of a comparison: there a name that is no word may stand in quotes as well."""
        if by_name and isinstance(node, ast.Constant) and isinstance(node.value, str):
            name = node.value
            if name in self._columns and not name.isidentifier():
                return self._columns[name]
        return self.value(node, depth)

    def _missing(self, node: ast.expr, operation: ast.cmpop, asked: ast.expr, depth: int) -> Getter[R]:
        """Whether a row lacks a value, or has it."""
        value = self.value(asked, depth)
        if isinstance(operation, (ast.Is, ast.Eq)):
            return lambda row: value(row) is None
        if isinstance(operation, (ast.IsNot, ast.NotEq)):
            return lambda row: value(row) is not None
        raise self._source.wrong(node, 'None stands after "is" and "is not" only')

    def _arithmetic(self, node: ast.BinOp, depth: int) -> Getter[R]:
        operation = _ARITHMETIC.get(type(node.op))
        if operation is None:
            raise self._source.wrong(node, f"this sign isn't allowed, only + - * / // % **; {HELP}")
        return _computing(operation, self._number(node.left, depth), self._number(node.right, depth))

    def _number(self, node: ast.expr, depth: int) -> Getter[R]:
        """As a float; None where a row has something else."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if node.value not in self._columns:
                raise self._source.wrong(node, "a text is no number")
            value = self._columns[node.value]
        else:
            value = self.value(node, depth)

        def number(row: R) -> float | None:
            found = value(row)
            return float(found) if isinstance(found, (int, float)) and abs(found) < _LARGEST else None

        return number


_WORDS = {"true": True, "false": False, "none": None, "null": None}
_LARGEST = 1e300


def unknown(name: str, known: Collection[str]) -> str:
    """The words for a name that no column has, with the one that was probably meant."""
    parts = [each for each in known if name.casefold() in re.split(r"\W+", each.casefold())]
    meant = nearest(name, known) or (min(parts, key=len) if parts else None)
    if meant is None:
        shown = ", ".join(sorted(map(written, known))[:12])
        return f"there is no {written(name)}; there are: {shown}{', …' if len(known) > 12 else ''}"
    return f"there is no {written(name)}; did you mean {written(meant)}?"


def written(name: str) -> str:
    """A column's name as an expression has it."""
    return name if name.isidentifier() and name not in _KEYWORDS else f"`{name}`"


_KEYWORDS = frozenset(kwlist)


def _is_none(node: ast.expr) -> bool:
    return (isinstance(node, ast.Constant) and node.value is None) or (
        isinstance(node, ast.Name) and node.id in ("none", "null")
    )


def _truth(value: Getter[R]) -> Callable[[R], bool | None]:
    return lambda row: None if (found := value(row)) is None else bool(found)


def _comparing(
    compare: Callable[[Any, Any], bool | None], left: Getter[R], right: Getter[R]
) -> Callable[[R], bool | None]:
    def compared(row: R) -> bool | None:
        one, other = left(row), right(row)
        return None if one is None or other is None else compare(one, other)

    return compared


def _ordered(operation: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool | None]:
    """A comparison that numbers and texts have among themselves."""

    def compare(one: Any, other: Any) -> bool | None:
        if isinstance(one, str) is not isinstance(other, str):
            return None
        return operation(one, other) if isinstance(one, _PLAIN) and isinstance(other, _PLAIN) else None

    return compare


_PLAIN = (int, float, str)


def _contains(item: Any, container: Any) -> bool | None:
    if isinstance(container, str):
        return item in container if isinstance(item, str) else None
    return item in container if isinstance(container, (list, tuple)) else None


def _lacks(item: Any, container: Any) -> bool | None:
    found = _contains(item, container)
    return None if found is None else not found


_COMPARE: Mapping[type[ast.cmpop], Callable[[Any, Any], bool | None]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: _ordered(operator.lt),
    ast.LtE: _ordered(operator.le),
    ast.Gt: _ordered(operator.gt),
    ast.GtE: _ordered(operator.ge),
    ast.In: _contains,
    ast.NotIn: _lacks,
}
_ARITHMETIC: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}


def _computing(
    operation: Callable[[float, float], Any], left: Getter[R], right: Getter[R]
) -> Callable[[R], float | None]:
    def computed(row: R) -> float | None:
        one, other = left(row), right(row)
        if one is None or other is None:
            return None
        try:
            found = operation(one, other)
        except ArithmeticError:
            return None
        return found if isinstance(found, float) else None

    return computed


__all__ = ["LONGEST", "Where", "WhereError", "unknown", "written"]
