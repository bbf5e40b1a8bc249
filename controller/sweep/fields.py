"""What the fields of a sweep file may hold, and the table that all of its sections are."""

from __future__ import annotations

import shlex
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, PlainValidator

from controller.sweep.durations import parse_duration
from controller.sweep.problems import one_line, show
from controller.sweep.values import inexact, read_value
from worker.protocol.errors import BadInput
from worker.protocol.sizes import parse_size


def to_tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def one_or_more(value: object) -> object:
    return tuple(value) if isinstance(value, list) else (value,)


def to_whole(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def to_number(value: object) -> object:
    reason = inexact(value, as_float=True) if isinstance(value, int) and not isinstance(value, bool) else None
    if reason is not None:
        raise ValueError(reason)
    return value


def to_seconds(value: object) -> object:
    if not isinstance(value, (str, int, float)) or isinstance(value, bool):
        raise ValueError(f'must be a duration such as "2h" or a number of seconds, got {show(value)}')
    try:
        seconds = parse_duration(value)
    except BadInput as error:
        raise ValueError(one_line(str(error))) from error  # pydantic can't carry half a character
    if seconds == 0:
        raise ValueError("must be longer than zero")
    return seconds


def to_size(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise ValueError(f'must be a size such as "100MB", got {show(value)}')
    try:
        return parse_size(str(value), "size")
    except BadInput as error:
        raise ValueError(f'must be a size such as "100MB", got {show(value)}') from error


def split_words(value: object) -> object:
    if not isinstance(value, str):
        return to_tuple(value)
    try:
        return tuple(shlex.split(value))
    except ValueError as error:
        raise ValueError(f"can't be split into arguments: {error}; give a list of text instead") from error


# Unchanged in both directions: pydantic's own union would write true as 1.
AnyValue = Annotated[Any, PlainValidator(read_value), PlainSerializer(lambda value: value)]
Number = Annotated[float, BeforeValidator(to_number), Field(allow_inf_nan=False)]
Price = Annotated[Number, Field(ge=0)]
Whole = Annotated[int, BeforeValidator(to_whole)]
Positive = Annotated[Whole, Field(ge=1)]
Duration = Annotated[float, BeforeValidator(to_seconds)]
Texts = Annotated[tuple[str, ...], BeforeValidator(to_tuple)]
# Parameter name to the values for which the condition holds; with several names, all must hold.
When = dict[str, Annotated[tuple[AnyValue, ...], BeforeValidator(one_or_more)]]


class Section(BaseModel):
    """A table of the sweep file: unknown keys are refused, nothing is converted silently."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    def to_dict(self) -> dict[str, Any]:
        """The table as a sweep file would give it, without what is left at its default; JSON-able."""
        return self.model_dump(mode="json", by_alias=True, exclude_defaults=True)
