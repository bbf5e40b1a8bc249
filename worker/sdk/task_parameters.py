"""A task's parameters and configurations: the part of `Task` that connects a program's settings to it."""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from worker.protocol.record import TaskRecord
from worker.protocol.values import as_text, bare, full, lookup, plain
from worker.sdk.arguments import Arguments, actions_of
from worker.sdk.other_lines import HYDRA, HydraLine, is_hydras
from worker.sdk.settings import Settings, as_container, follow, refill
from worker.sdk.task_core import TaskCore

MAX_CONFIGURATION_BYTES = 1 << 20
"""Longest configuration file that is kept with a task."""


class TaskParameters(TaskCore):
    """The part of `Task` that has its parameters and configurations."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._connected: dict[str, Any] = {}
        self._matched: set[str] = set()

    # Reading

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters of the task's record, by the names given there, as JSON types. A copy.

        In a study's task, those that the study chose are among them.
        """
        return dict(self.about.get("parameters", {}))

    def _all(self) -> dict[str, Any]:
        rest = {full(k): v for k, v in self.parameters.items() if k not in self._matched}
        return {**rest, **self._connected}

    def get_parameters(self, backwards_compatibility: bool = True, cast: bool = False) -> dict[str, Any]:
        """All parameters: the connected ones and those that the study chose.

        Args:
            backwards_compatibility: ClearML's, without effect.
            cast: give values in their own types rather than as text.

        Returns:
            ``section/name`` → value.
        """
        return {name: value if cast else as_text(value) for name, value in self._all().items()}

    def get_parameters_as_dict(self, cast: bool = False) -> dict[str, Any]:
        """The parameters as nested dicts: section → name → value, each slash one level."""
        found: dict[str, Any] = {}
        for name, value in self.get_parameters(cast=cast).items():
            *path, last = name.split("/")
            inner = found
            for part in path:
                deeper = inner.setdefault(part, {})
                if not isinstance(deeper, dict):
                    deeper = inner[part] = {"": deeper}
                inner = deeper
            inner[last] = value
        return found

    def get_parameter(self, name: str, default: Any = None, cast: bool = False) -> Any:
        """One parameter, by its full name or without its section, as text or (`cast`) in its own type."""
        found = self.get_parameters(cast=cast)
        if name in found:
            return found[name]
        return next((value for key, value in found.items() if bare(key) == name), default)

    # Changing

    def set_parameters(self, *args: Mapping[str, Any], **kwargs: Any) -> None:
        """Replace all parameters.

        Args:
            args: dicts of ``section/name`` → value.
            kwargs: single ones; without a section they are in ``General``.
        """
        self._set({k: v for given in (*args, kwargs) for k, v in given.items()}, keep=False)

    def update_parameters(self, *args: Mapping[str, Any], **kwargs: Any) -> None:
        """As `set_parameters`, but parameters that aren't named stay."""
        self._set({k: v for given in (*args, kwargs) for k, v in given.items()}, keep=True)

    def set_parameter(self, name: str, value: Any, description: str | None = None, **_: Any) -> None:
        """Set one parameter; the description is ClearML's and not kept."""
        self._set({name: value}, keep=True)

    def _set(self, values: Mapping[str, Any], *, keep: bool) -> None:
        named = {full(str(name)): plain(value) for name, value in values.items()}

        def change(old: TaskRecord) -> TaskRecord:
            before = {full(k): v for k, v in old.spec.parameters.items()} if keep else {}
            return replace(old, spec=replace(old.spec, parameters={**before, **named}))

        if not self.change(change) and self.session is not None:
            self.session.parameters(named)
        self._connected = {**(self._connected if keep else {}), **named}

    # Connecting

    def connect(
        self, mutable: Any, name: str = "General", ignore_remote_overrides: bool = False, **_: Any
    ) -> Any:
        """Tie a program's settings to the task.

        Standalone, they become the task's parameters. Under a worker, the task's values replace them. What
        no record can hold (functions, sets, dates, objects) stays the program's own unless it is searched.

        Args:
            mutable: a dict (nested ones too), an `argparse.Namespace`, an `argparse.ArgumentParser` (its
                defaults are replaced), a dataclass, a named tuple, a config of OmegaConf's, a class or any
                object with attributes. Values keep the type of their default.
            name: the section that the names belong to; ``Args`` for argparse.
            ignore_remote_overrides: keep the program's values also under a worker.

        Returns:
            `mutable` itself, changed in place. For a plain dict, a dict that also makes parameters of the
            keys that the program adds to it later. For a named tuple, a changed copy.

        Raises:
            TypeError: `mutable` holds no named values.
            ValueError: a parameter can't be turned into its default's type.
        """
        if isinstance(mutable, argparse.ArgumentParser):
            self._connect_parser(mutable)
            return mutable
        if isinstance(mutable, argparse.Namespace):
            self.connect_arguments(None, mutable)
            return mutable
        settings = Settings(mutable)
        for path, value in self._override(settings, name, replace=not ignore_remote_overrides).items():
            try:
                settings.put(path, value)
            except (TypeError, ValueError) as error:
                raise ValueError(f"parameter {_named(name, path)}: {error}") from error
        if type(mutable) is dict:

            def added(path: tuple[Any, ...], value: Any) -> Any:
                return self._follow(path, value, name, replace=not ignore_remote_overrides)

            return follow(mutable, added)
        return settings.result()

    def _follow(self, path: tuple[Any, ...], value: Any, section: str, *, replace: bool) -> Any:
        """What a program gets for a key that it adds to a connected dict later."""
        last: dict[Any, Any] = {path[-1]: value}
        whole = last
        for key in reversed(path[:-1]):
            whole = {key: whole}
        settings = Settings(whole)
        for where, new in self._override(settings, section, replace=replace).items():
            settings.put(where, new)
        return last[path[-1]]

    def _connect_parser(self, parser: argparse.ArgumentParser) -> None:
        defaults = argparse.Namespace(
            **{
                action.dest: action.default
                for action in actions_of(parser)
                if action.default != argparse.SUPPRESS
            }
        )
        before = dict(vars(defaults))
        self.connect_arguments(parser, defaults)
        changed = {key: value for key, value in vars(defaults).items() if value is not before[key]}
        parser.set_defaults(**changed)

    def connect_arguments(
        self, parser: argparse.ArgumentParser | None, namespace: argparse.Namespace
    ) -> None:
        """Connect what argparse has parsed; called by itself for a program's own command line."""
        if is_hydras(namespace):
            self._connect_hydra(namespace)
            return
        arguments = Arguments(parser, namespace, self.about.get("arguments"))
        changed = {path[0]: value for path, value in self._override(arguments, "Args").items()}
        for name, value in changed.items():
            setattr(namespace, name, value)
        arguments.check_groups(changed)

    def _connect_hydra(self, namespace: argparse.Namespace) -> None:
        """Connect what Hydra's command line overrides, by the config's names in section Hydra."""
        line = HydraLine(namespace)
        line.add([name.partition("/")[2] for name in self.given() if name.startswith(f"{HYDRA}/")])
        known = {"Args/overrides": list(namespace.overrides)}
        self._connected.update(known)
        if self.session is not None and not self.given():
            self.session.parameters(known)
        self._override(line, HYDRA)

    def _override(
        self, settings: Settings | Arguments | HydraLine, section: str, *, replace: bool = True
    ) -> dict[tuple[Any, ...], Any]:
        """The values that the task has for a program's own, by path; all are noted as connected."""
        changed, fresh = {}, {}
        given = self.given() if replace else {}
        searched = self.about.get("searched", ())
        for path, default in settings.values.items():
            name = "/".join(str(part) for part in path)
            key, value = lookup(given, section, name)
            if key is not None:
                self._matched.add(key)
                try:
                    new = settings.take(path, value, searched=key in searched)
                except (ValueError, TypeError, ArithmeticError) as error:
                    raise ValueError(f"parameter {section}/{name}: {error}") from error
                if new is not default:
                    changed[path] = new
            else:
                fresh[f"{section}/{name}"] = plain(default)
            self._connected[f"{section}/{name}"] = plain(changed.get(path, default))
        if fresh and self.session is not None:
            self.session.parameters(fresh)
        return changed

    def given(self) -> Mapping[str, Any]:
        """The parameters whose values replace a program's own, for this library: those of a worker's task."""
        if self.session is None or self.about.get("by_hand"):
            return {}
        found: Mapping[str, Any] = self.about.get("parameters", {})
        return found

    def connect_configuration(
        self, configuration: Mapping[str, Any] | str | Path, name: str = "General", **_: Any
    ) -> Any:
        """Tie a configuration, a dict or a file, to the task.

        Standalone, it is kept with the task. Under a worker, what is kept there replaces it.

        Args:
            configuration: a dict, list or other mapping of JSON types, a config of OmegaConf's, or the path
                of a text file of at most 1 MiB.
            name: of the configuration; several are told apart by it.

        Returns:
            For a dict, the dict, changed in place; for a path, the path to read from.

        Raises:
            ValueError: a dict is given where a file is kept, or the other way round, or it can't be kept.
        """
        kept = self.about.get("configurations", {}).get(name) if self.session is not None else None
        if isinstance(configuration, (str, Path)):
            return self._connect_file(Path(configuration), name, kept)
        if kept is not None:
            if kept.get("kind") != "dict":
                raise ValueError(f"configuration {name!r}: the task has a file of that name, not a dict")
            value = kept["value"]
            return configuration if refill(configuration, value) else value
        self._keep(name, {"kind": "dict", "value": _json(name, configuration)})
        return configuration

    def _connect_file(self, path: Path, name: str, kept: Mapping[str, Any] | None) -> str | Path:
        if kept is not None:
            if kept.get("kind") != "file":
                raise ValueError(f"configuration {name!r}: the task has a dict of that name, not a file")
            folder = Path(tempfile.mkdtemp(prefix="orq-config-"))
            copy = folder / Path(str(kept["name"])).name
            copy.write_text(str(kept["text"]), encoding="utf-8")
            return copy
        try:
            data = path.read_bytes()
            text = data.decode("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"configuration {name!r}: {path} can't be read: {error}") from error
        if len(data) > MAX_CONFIGURATION_BYTES:
            raise ValueError(
                f"configuration {name!r}: {path} has {len(data)} bytes; up to {MAX_CONFIGURATION_BYTES} are "
                "kept (upload a larger file as an artifact)"
            )
        self._keep(name, {"kind": "file", "name": path.name, "text": text})
        return path

    def _keep(self, name: str, stored: Mapping[str, Any]) -> None:
        self.about.setdefault("configurations", {})[name] = dict(stored)
        if self.session is not None:
            self.session.configuration(name, stored)

    def set_configuration_object(
        self,
        name: str,
        config_text: str | None = None,
        description: str | None = None,
        config_type: str | None = None,
        config_dict: Mapping[str, Any] | list[Any] | None = None,
    ) -> None:
        """Keep a configuration with the task: a text, or a dict or list of JSON types.

        Raises:
            ValueError: not exactly one of both is given, or it can't be kept.
        """
        if (config_text is None) == (config_dict is None):
            raise ValueError(f"configuration {name!r}: give config_text or config_dict")
        if config_text is not None:
            self._keep(name, {"kind": "file", "name": name, "text": str(config_text)})
        else:
            self._keep(name, {"kind": "dict", "value": _json(name, config_dict)})

    def get_configuration_object(self, name: str) -> str | None:
        """The text of a configuration: a file's, or a dict as JSON. None when there is none of that name."""
        kept = self.about.get("configurations", {}).get(name)
        if kept is None:
            return None
        return str(kept["text"]) if kept.get("kind") == "file" else json.dumps(kept["value"])

    def get_configuration_object_as_dict(self, name: str) -> dict[str, Any] | None:
        """A configuration that is a dict (or a file of JSON) as a dict; None when there is none."""
        text = self.get_configuration_object(name)
        found = None if text is None else json.loads(text)
        return found if isinstance(found, dict) else None


def _json(name: str, configuration: Any) -> Any:
    """A configuration as JSON types. Raises `ValueError`."""
    try:
        return json.loads(json.dumps(as_container(configuration), default=_as_dict))
    except (TypeError, ValueError) as error:
        raise ValueError(f"configuration {name!r}: {error}") from error


def _as_dict(value: Any) -> Any:
    """What JSON doesn't know, within a configuration. Raises `TypeError`."""
    value = as_container(value)
    if isinstance(value, list):
        return value
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a {type(value).__name__} can't be kept as JSON")


def _named(section: str, path: tuple[Any, ...]) -> str:
    return "/".join([section, *(str(part) for part in path)])
