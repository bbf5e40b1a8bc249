"""The settings that a program connects, whatever holds them: dicts, objects, OmegaConf's configs."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from dataclasses import is_dataclass
from inspect import ismodule
from typing import Any

from worker.protocol.values import taken

log = logging.getLogger(__name__)

Path = tuple[Any, ...]
"""The keys or attributes that lead to a value, from the outside in."""


class Settings:
    """The values of one thing that is connected, by path, and how they are changed in place.

    Attributes:
        values: path → the program's own value.
        derived: paths of values that follow from others, as OmegaConf's interpolations do.

    Raises:
        TypeError: it holds no named values.
    """

    def __init__(self, holder: Any) -> None:
        self._holder = holder
        self._fields: dict[str, Any] = {}
        """What is to be changed in a named tuple, which can't be changed in place."""
        self.derived: set[Path] = set()
        if not (_is_branch(holder) or _has_attributes(holder)) or isinstance(holder, (str, bytes)):
            raise TypeError(
                f"Task.connect takes a dict, a namespace or an object, not {type(holder).__name__}"
            )
        self.values: dict[Path, Any] = dict(self._walk(holder, ()))

    def _walk(self, holder: Any, above: Path) -> Iterator[tuple[Path, Any]]:
        for key, value, derived in _entries(holder):
            path = (*above, key)
            inner = isinstance(holder, Mapping) and isinstance(value, MutableMapping) and value
            if inner or (is_dataclass(value) and not isinstance(value, type)):
                yield from self._walk(value, path)
            else:
                if derived:
                    self.derived.add(path)
                yield path, value

    def take(self, path: Path, value: Any, searched: bool) -> Any:
        """What the program gets for one value where the task has `value`; see `taken`."""
        own = self.values[path]
        return own if path in self.derived and not searched else taken(value, own, searched=searched)

    def put(self, path: Path, value: Any) -> None:
        """Change one value in place. Raises `TypeError` or `ValueError` where its holder refuses that."""
        holder = self._holder
        for key in path[:-1]:
            holder = holder[key] if isinstance(holder, Mapping) else getattr(holder, key)
        key = path[-1]
        if _is_named_tuple(holder):
            self._fields[key] = value
        elif isinstance(holder, MutableMapping):
            with _writable(holder):
                holder[key] = value
        elif _is_frozen_model(holder):
            object.__setattr__(holder, key, value)
        else:
            _set(holder, key, value)

    def result(self) -> Any:
        """What the program is to use: the thing itself, or a changed copy of a named tuple."""
        if not self._fields:
            return self._holder
        log.warning(
            "Task.connect: a %s can't be changed in place; use what connect returns",
            type(self._holder).__name__,
        )
        return self._holder._replace(**self._fields)


def _is_branch(value: Any) -> bool:
    return isinstance(value, MutableMapping) or _is_named_tuple(value)


def _is_named_tuple(value: Any) -> bool:
    return isinstance(value, tuple) and hasattr(value, "_fields")


def _has_attributes(value: Any) -> bool:
    if isinstance(value, type) or hasattr(value, "__dict__"):
        return not isinstance(value, (list, set, frozenset, tuple)) and not _is_config(value)
    return any(_slots(type(value)))


def _is_frozen_model(value: Any) -> bool:
    """Whether it is a model of pydantic's that refuses every change."""
    config = getattr(type(value), "model_config", None)
    return isinstance(config, Mapping) and bool(config.get("frozen"))


def _set(holder: Any, key: str, value: Any) -> None:
    """Set an attribute, of a frozen dataclass or one of attrs' as well. Raises `TypeError`."""
    try:
        setattr(holder, key, value)
    except AttributeError as error:  # what both raise for a frozen one
        try:
            object.__setattr__(holder, key, value)
        except (AttributeError, TypeError):
            raise TypeError(str(error)) from error


def _is_config(value: Any) -> bool:
    """Whether it is one of OmegaConf's containers."""
    omegaconf = sys.modules.get("omegaconf")
    return omegaconf is not None and bool(omegaconf.OmegaConf.is_config(value))


def _entries(holder: Any) -> Iterator[tuple[Any, Any, bool]]:
    """Key, value, and whether it is derived, of each setting in a holder."""
    if _is_config(holder):
        yield from _config_entries(holder)
    elif isinstance(holder, Mapping):
        yield from ((key, value, False) for key, value in holder.items())
    elif _is_named_tuple(holder):
        yield from ((key, getattr(holder, key), False) for key in holder._fields)
    else:
        yield from ((key, value, False) for key, value in _attributes(holder))


def _config_entries(config: Any) -> Iterator[tuple[Any, Any, bool]]:
    """Those of a config of OmegaConf's; a missing value is None."""
    tools = sys.modules["omegaconf"].OmegaConf
    for key in config:
        value, derived = None, bool(tools.is_interpolation(config, key))
        if not tools.is_missing(config, key):
            with contextlib.suppress(sys.modules["omegaconf"].errors.OmegaConfBaseException):
                value = config[key]
        yield key, tools.to_container(value, resolve=True) if tools.is_list(value) else value, derived


@contextlib.contextmanager
def _writable(holder: Any) -> Iterator[None]:
    """Within, a config of OmegaConf's can be written also where its flags forbid that."""
    if not _is_config(holder):
        yield
        return
    omegaconf = sys.modules["omegaconf"]
    try:
        with omegaconf.read_write(holder), omegaconf.open_dict(holder):
            yield
    except omegaconf.errors.OmegaConfBaseException as error:
        raise ValueError(str(error).splitlines()[0]) from error


def _attributes(holder: Any) -> Iterator[tuple[str, Any]]:
    """The settings that a class or an object holds: its own and its classes', methods excepted."""
    kind = holder if isinstance(holder, type) else type(holder)
    known = getattr(kind, "__pydantic_fields__", None)
    if isinstance(known, Mapping) and not isinstance(holder, type):
        found = {name: getattr(holder, name) for name in known}
    else:
        found = {}
        for cls in reversed(kind.__mro__[:-1]):
            found.update(vars(cls))
        if not isinstance(holder, type):
            found.update({name: getattr(holder, name) for name in _slots(kind) if hasattr(holder, name)})
            found.update(getattr(holder, "__dict__", {}))
    for key, value in found.items():
        descriptor = hasattr(type(value), "__get__")
        if not key.startswith("_") and not callable(value) and not descriptor and not ismodule(value):
            yield key, value


def _slots(kind: type) -> Iterator[str]:
    """Names of the attributes that a class keeps in slots."""
    for cls in kind.__mro__:
        named = vars(cls).get("__slots__", ())
        for name in [named] if isinstance(named, str) else named:
            if name not in ("__dict__", "__weakref__"):
                yield name


def as_container(value: Any) -> Any:
    """A config of OmegaConf's as dicts and lists, with its interpolations; anything else as it is."""
    if not _is_config(value):
        return value
    return sys.modules["omegaconf"].OmegaConf.to_container(value, resolve=False)


def refill(holder: Any, value: Any) -> bool:
    """Give a dict, a list or a config another content, in place. False where the kinds differ."""
    listed = isinstance(holder, list) or (_is_config(holder) and not isinstance(holder, Mapping))
    if listed and isinstance(value, list):
        with _writable(holder):
            while len(holder):
                holder.pop()
            for item in value:
                holder.append(item)
        return True
    if isinstance(holder, MutableMapping) and isinstance(value, dict):
        with _writable(holder):
            holder.clear()
            holder.update(value)
        return True
    return False


class Followed(dict[Any, Any]):
    """A dict that is connected: keys that the program adds later become parameters, also in dicts within it.

    A change also reaches the dict that was given to `Task.connect`. Copies and pickles are plain dicts.

    Args:
        given: what was connected.
        added: takes the path of a new key and its value; returns what the program gets.
        left: how many keys are followed still, shared with the dicts within.
        above: the keys that lead to this dict.
    """

    MOST = 1000
    """Keys that are followed, at most: a program may well use the dict for its results."""

    def __init__(
        self,
        given: dict[Any, Any],
        added: Callable[[Path, Any], Any],
        left: Iterator[int] | None = None,
        above: Path = (),
    ) -> None:
        self._given = given
        self._added = added
        self._left = iter(range(self.MOST)) if left is None else left
        self._above = above
        super().__init__({key: self._within(key, value) for key, value in given.items()})

    def _within(self, key: Any, value: Any) -> Any:
        if type(value) is not dict:
            return value
        return Followed(value, self._added, self._left, (*self._above, key))

    def __setitem__(self, key: Any, value: Any) -> None:
        if key not in self and next(self._left, None) is not None:
            value = self._added((*self._above, key), value)
        self._given[key] = value.copy() if isinstance(value, Followed) else value
        super().__setitem__(key, self._within(key, value))

    def __delitem__(self, key: Any) -> None:
        super().__delitem__(key)
        self._given.pop(key, None)

    def pop(self, key: Any, *default: Any) -> Any:
        self._given.pop(key, None)
        return super().pop(key, *default)

    def clear(self) -> None:
        self._given.clear()
        super().clear()

    def update(self, *args: Any, **kwargs: Any) -> None:
        for key, value in dict(*args, **kwargs).items():
            self[key] = value

    def setdefault(self, key: Any, default: Any = None) -> Any:
        if key not in self:
            self[key] = default
        return self[key]

    def __ior__(self, other: Any) -> Any:  # type: ignore[misc] # `dict` has no matching __or__
        self.update(other)
        return self

    def copy(self) -> dict[Any, Any]:
        """A plain dict, as are those within it."""
        return {key: value.copy() if isinstance(value, Followed) else value for key, value in self.items()}

    __copy__ = copy

    def __reduce_ex__(self, protocol: Any) -> Any:
        return dict, (self.copy(),)


def follow(given: dict[Any, Any], added: Callable[[Path, Any], Any]) -> Followed:
    """See `Followed`; PyYAML, where it is loaded, writes it as the dict it is."""
    yaml = sys.modules.get("yaml")
    if yaml is not None:
        for writer in (yaml.representer.SafeRepresenter, yaml.representer.Representer):
            writer.add_representer(Followed, writer.represent_dict)
    return Followed(given, added)
