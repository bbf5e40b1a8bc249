"""The values of a choice, in a form that Optuna keeps and tells apart."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from optuna.distributions import CategoricalDistribution

from controller.search.points import find, possible
from worker.protocol.errors import BadInput


class Choices:
    """One of some values, each of any JSON type.

    Optuna keeps text, numbers, booleans and None. Where there are other values among them, or some that are
    equal in Python and not in JSON (1 and true), it gets the JSON text of each.

    Args:
        name: of the parameter, for messages.
        values: to choose from. A path counts as its text, a tuple as a list, an array as its numbers.

    Raises:
        BadInput: there are none, or one is of no JSON type.
    """

    def __init__(self, name: str, values: Sequence[Any]) -> None:
        if isinstance(values, (str, bytes, Mapping)):
            raise BadInput(f"parameter {name}: values must be a list, not {values!r:.80}")
        self._name = name
        self.values = [_as_json(name, value) for value in values]
        if not self.values:
            raise BadInput(f"parameter {name}: there are no values to choose from")
        self.encoded = not _plain(self.values)
        """Whether Optuna gets the values as JSON text."""
        self._texts = [json.dumps(value) for value in self.values] if self.encoded else []
        self.distribution = CategoricalDistribution(self._texts or self.values)

    def decode(self, value: Any) -> Any:
        """The program's value for one of Optuna's; a copy of its own."""
        return json.loads(value) if self.encoded else value

    def encode(self, value: Any) -> Any:
        """Optuna's value for one of the program's. Raises `BadInput` when it isn't among the choices."""
        if not self.encoded:
            return possible(self._name, self.distribution, value)
        index = find(self.values, value)
        if index is not None:
            return self._texts[index]
        shown = ", ".join(map(repr, self.values))
        raise BadInput(f"parameter {self._name}: {value!r} is not possible; one of {shown}")


def _plain(values: Sequence[Any]) -> bool:
    """Whether Optuna keeps the values as they are, and finds each of them."""
    kinds: dict[Any, bool] = {}
    for value in values:
        if not isinstance(value, (str, int, float, bool, type(None))):
            return False
        if isinstance(value, int) and abs(value) > sys.float_info.max:
            return False
        if kinds.setdefault(value, isinstance(value, bool)) is not isinstance(value, bool):
            return False
    return True


def _as_json(name: str, value: Any) -> Any:
    """`value` as JSON types, a copy."""
    try:
        return json.loads(json.dumps(value, default=_of_other_types))
    except (TypeError, ValueError, RecursionError) as error:
        raise BadInput(
            f"parameter {name}: JSON can't hold {value!r:.80} ({error}); give text, numbers, booleans, None, "
            "or lists and dicts of such"
        ) from None


def _of_other_types(value: Any) -> Any:
    if isinstance(value, PurePath):
        return str(value)
    # An array and its numbers are no JSON types, but hold them; a path is its text.
    if hasattr(value, "dtype") and hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, PurePath):
        return str(value)
    raise TypeError(f"it has no {type(value).__name__}")
