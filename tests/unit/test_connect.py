"""`Task.connect` and the values that JSON can't hold, in all that can hold them."""

from __future__ import annotations

import collections
import copy
import dataclasses
import datetime
import enum
import json
import math
import pickle
import types
import uuid
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy
import pydantic
import pytest
import yaml

from worker import Task
from worker.protocol.values import plain
from worker.sdk.session import LocalSession


def relu(x: float) -> float:
    return max(0.0, x)


class Net: ...


class Mode(enum.Enum):
    FAST = 1
    SLOW = 2


class Word(str, enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Point(NamedTuple):
    x: int = 1
    y: int = 2


OWN: dict[str, Callable[[], Any]] = {
    "function": lambda: relu,
    "lambda": lambda: lambda x: x,
    "class": lambda: Net,
    "object": Net,
    "module": lambda: math,
    "set": lambda: {"accuracy", "loss", "f1"},
    "frozenset": lambda: frozenset({1, 2}),
    "date and time": datetime.datetime.now,
    "date": lambda: datetime.date(2026, 1, 2),
    "duration": lambda: datetime.timedelta(seconds=3),
    "enum": lambda: Mode.FAST,
    "text enum": lambda: Word.RED,
    "int enum": lambda: Level.LOW,
    "path": lambda: Path("a/b"),
    "decimal": lambda: Decimal("0.1"),
    "fraction": lambda: Fraction(1, 3),
    "uuid": lambda: uuid.UUID(int=3),
    "complex": lambda: 1 + 2j,
    "bytes": lambda: b"a",
    "range": lambda: range(3),
    "array": lambda: numpy.arange(3),
    "numpy's number": lambda: numpy.float32(0.5),
    "numpy's int": lambda: numpy.int64(3),
    "list of functions": lambda: [relu],
    "list of dicts": lambda: [{"f": relu}],
    "tuple of enums": lambda: (Mode.FAST, 1),
    "deque": lambda: collections.deque([1]),
    "named tuple": Point,
    "empty ordered dict": collections.OrderedDict,
    "int keys": lambda: [{1: "a"}],
    "nothing": lambda: None,
    "empty dict": dict,
    "big": lambda: 2**60,
}


@dataclasses.dataclass
class Box:
    value: Any
    lr: float = 0.1


@dataclasses.dataclass(frozen=True)
class Frozen:
    value: Any
    lr: float = 0.1


@dataclasses.dataclass(slots=True)
class Slots:
    value: Any
    lr: float = 0.1


@dataclasses.dataclass(frozen=True, slots=True)
class Both:
    value: Any
    lr: float = 0.1


class Plain:
    def __init__(self, value: Any) -> None:
        self.value, self.lr = value, 0.1


class OldSlots:
    __slots__ = ("lr", "value")

    def __init__(self, value: Any) -> None:
        self.value, self.lr = value, 0.1


class Pair(NamedTuple):
    value: Any
    lr: float = 0.1


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)
    value: Any
    lr: float = 0.1


class FrozenModel(Model):
    model_config = pydantic.ConfigDict(frozen=True)


HOLDERS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], tuple[Any, Any]], str]] = {
    "dict": (lambda v: {"value": v, "lr": 0.1}, lambda h: (h["value"], h["lr"]), ""),
    "ordered dict": (
        lambda v: collections.OrderedDict(value=v, lr=0.1), lambda h: (h["value"], h["lr"]), ""
    ),
    "nested dict": (
        lambda v: {"in": {"value": v, "lr": 0.1}}, lambda h: (h["in"]["value"], h["in"]["lr"]), "in/"
    ),
    "dataclass": (Box, lambda h: (h.value, h.lr), ""),
    "frozen": (Frozen, lambda h: (h.value, h.lr), ""),
    "slots": (Slots, lambda h: (h.value, h.lr), ""),
    "frozen with slots": (Both, lambda h: (h.value, h.lr), ""),
    "dataclass in a dataclass": (lambda v: Box(Box(v)), lambda h: (h.value.value, h.value.lr), "value/"),
    "frozen in a dict": (lambda v: {"in": Frozen(v)}, lambda h: (h["in"].value, h["in"].lr), "in/"),
    "object": (Plain, lambda h: (h.value, h.lr), ""),
    "object with slots": (OldSlots, lambda h: (h.value, h.lr), ""),
    "namespace": (lambda v: types.SimpleNamespace(value=v, lr=0.1), lambda h: (h.value, h.lr), ""),
    "model": (lambda v: Model(value=v), lambda h: (h.value, h.lr), ""),
    "frozen model": (lambda v: FrozenModel(value=v), lambda h: (h.value, h.lr), ""),
    "named tuple": (Pair, lambda h: (h.value, h.lr), ""),
    "class": (lambda v: type("Settings", (), {"value": v, "lr": 0.1}), lambda h: (h.value, h.lr), ""),
}  # fmt: skip


def task(parameters: dict[str, Any] | None = None, *searched: str) -> Task:
    given = json.loads(json.dumps(parameters or {}))
    return Task({"id": "0", "parameters": given, "searched": list(searched)}, LocalSession())


def same(a: Any, b: Any) -> bool:
    if isinstance(a, numpy.ndarray):
        return bool((a == b).all())
    return a is b or a == b


@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize("kind", OWN)
def test_under_a_worker_a_value_stays_the_programs_own(kind: str, holder: str) -> None:
    make, look, above = HOLDERS[holder]
    by_hand, recorded = OWN[kind](), task()
    recorded.connect(make(by_hand))
    known = recorded.get_parameters(cast=True)
    json.dumps(known)
    # What JSON can't hold may read differently in another process.
    own = OWN[kind]()
    other = {name: v.replace(" at 0x", " at 0x1") if isinstance(v, str) else v for name, v in known.items()}
    one = task({**other, f"General/{above}lr": 0.5}, f"General/{above}lr")
    value, lr = look(one.connect(make(own)))
    assert value is own or ((holder == "class" or type(own) is dict) and value == own)
    assert lr == 0.5
    assert one.get_parameter(f"General/{above}lr", cast=True) == 0.5


# kind: (the study's value, what the program gets)
SEARCHED: dict[str, tuple[Any, Any]] = {
    "set": (["accuracy"], {"accuracy"}),
    "frozenset": ([3], frozenset({3})),
    "date and time": ("2026-02-03T04:05:06", datetime.datetime(2026, 2, 3, 4, 5, 6)),
    "date": ("2026-02-03", datetime.date(2026, 2, 3)),
    "duration": (5, datetime.timedelta(seconds=5)),
    "enum": ("SLOW", Mode.SLOW),
    "text enum": ("blue", Word.BLUE),
    "int enum": (2, Level.HIGH),
    "path": ("c", Path("c")),
    "decimal": (0.25, Decimal("0.25")),
    "fraction": ("2/3", Fraction(2, 3)),
    "uuid": (str(uuid.UUID(int=4)), uuid.UUID(int=4)),
    "numpy's number": (0.25, numpy.float32(0.25)),
    "numpy's int": (4, numpy.int64(4)),
    "list of dicts": ([1], [1]),
    "tuple of enums": ([1, 2], (1, 2)),
    "deque": ([2, 3], collections.deque([2, 3])),
    "named tuple": ([3, 4], Point(3, 4)),
    "nothing": ("adam", "adam"),
    "big": (2**60 + 1, 2**60 + 1),
}


@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize("kind", SEARCHED)
def test_a_searched_value_is_made_into_the_programs_type(kind: str, holder: str) -> None:
    make, look, above = HOLDERS[holder]
    given, wanted = SEARCHED[kind]
    name = f"General/{above}value"
    value, _ = look(task({name: given}, name).connect(make(OWN[kind]())))
    assert type(value) is type(wanted)
    assert same(value, wanted)


@pytest.mark.parametrize("kind", ["object", "module", "range", "bytes", "list of functions"])
def test_what_no_parameter_can_replace_fails_the_trial(kind: str) -> None:
    with pytest.raises(ValueError, match="parameter General/value: the program's own value is a"):
        task({"General/value": "x"}, "General/value").connect({"value": OWN[kind]()})


@pytest.mark.parametrize(
    ("text", "default", "value"),
    [
        ("FAST", Mode.SLOW, Mode.FAST),
        ("Mode.FAST", Mode.SLOW, Mode.FAST),
        ("1", Mode.SLOW, Mode.FAST),
        ("red", Word.BLUE, Word.RED),
        ("{'a', 'b'}", {"c"}, {"a", "b"}),
        ("set()", {"c"}, set()),
        ('["a"]', {"c"}, {"a"}),
        ("c", PurePosixPath("a"), PurePosixPath("c")),
    ],
)
def test_a_value_that_was_written_as_text(text: str, default: Any, value: Any) -> None:
    found = task({"General/value": text}, "General/value").connect({"value": default})["value"]
    assert type(found) is type(value)
    assert found == value


def test_a_record_that_somebody_has_edited_counts() -> None:
    found = task({"General/path": "elsewhere", "General/tags": ["a"], "General/mode": "SLOW"}).connect(
        {"path": Path("out"), "tags": {"b"}, "mode": Mode.FAST}
    )
    assert found == {"path": Path("elsewhere"), "tags": {"a"}, "mode": Mode.SLOW}


def test_what_a_holder_refuses_fails_the_trial() -> None:
    class Computed:
        lr = 0.1

        def __setattr__(self, name: str, value: Any) -> None:
            raise AttributeError("can't set attribute")

    held = Computed()
    task({"General/lr": 0.5}).connect(held)
    assert held.lr == 0.5

    class Positive(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(validate_assignment=True)
        n: int = pydantic.Field(1, ge=0)

    with pytest.raises(ValueError, match="parameter General/n: .*"):
        task({"General/n": -1}).connect(Positive())


def test_what_the_record_says_of_enums() -> None:
    known = [plain(value) for value in (Mode.FAST, Word.RED, Level.HIGH)]
    assert known == ["Mode.FAST", "red", 2]
    assert [type(value) for value in known] == [str, str, int]


@pytest.mark.parametrize(
    "value", [3, "text", [1], {1}, None, (1, 2), b"a", object()], ids=lambda value: type(value).__name__
)
def test_what_has_no_names_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="Task.connect takes a dict, a namespace or an object"):
        task().connect(value)


def test_values_of_the_task_can_be_ignored() -> None:
    given = task({"General/lr": 0.5}, "General/lr")
    assert given.connect({"lr": 0.1}, ignore_remote_overrides=True) == {"lr": 0.1}


# What is added later


def test_keys_that_are_added_later_are_parameters() -> None:
    given, one = {"lr": 0.1, "net": {"depth": 1}}, task()
    settings = one.connect(given)
    settings["epochs"] = 3
    settings.update({"opt": "adam"}, seed=1)
    settings |= {"more": {"a": 1, "f": relu}}
    settings["net"]["width"] = 8
    settings["more"]["b"] = 2
    assert settings.setdefault("batch", 8) == 8
    assert settings.setdefault("batch", 9) == 8
    assert one.get_parameters(cast=True) == {
        "General/lr": 0.1, "General/net/depth": 1, "General/epochs": 3, "General/opt": "adam",
        "General/net/width": 8, "General/more/b": 2, "General/seed": 1, "General/more/a": 1, "General/more/f": str(relu), "General/batch": 8,
    }  # fmt: skip
    settings["lr"] = 0.7  # the program's own business
    assert one.get_parameter("General/lr", cast=True) == 0.1
    assert settings.pop("seed") == 1
    del settings["opt"]
    assert given == settings
    assert given["lr"] == 0.7


def test_keys_that_are_added_later_get_the_tasks_values() -> None:
    names = {"General/epochs": 7, "General/opt": "sgd", "General/more/a": 2, "General/net/width": 9}
    settings = task(names, *names).connect({"lr": 0.1, "net": {}})
    settings["net"]["width"] = 8
    assert settings.pop("net") == {"width": 9}
    settings["epochs"] = 3
    settings.update(opt="adam", more={"a": 1, "b": relu})
    assert settings == {"lr": 0.1, "epochs": 7, "opt": "sgd", "more": {"a": 2, "b": relu}}
    settings["epochs"] = 4
    assert settings["epochs"] == 4


def test_a_connected_dict_is_a_dict_everywhere() -> None:
    settings = task().connect({"lr": 0.1, "net": {"depth": 1}})
    assert isinstance(settings, dict)
    for other in (
        copy.copy(settings), copy.deepcopy(settings), settings.copy(), settings | {},
        pickle.loads(pickle.dumps(settings)), json.loads(json.dumps(settings)), dict(**settings),
        yaml.safe_load(yaml.safe_dump(settings)), yaml.safe_load(yaml.dump(settings)),
    ):  # fmt: skip
        assert type(other) is dict
        assert other == {"lr": 0.1, "net": {"depth": 1}}
        within = other["net"]
        assert isinstance(within, dict)
    assert type(settings.copy()["net"]) is type(copy.deepcopy(settings)["net"]) is dict
    assert task().connect(settings) is settings


def test_a_program_may_keep_its_results_in_it() -> None:
    one = task()
    settings = one.connect({"lr": 0.1})
    for step in range(3000):
        settings[f"loss {step}"] = step
    assert len(settings) == 3001
    assert len(one.get_parameters()) == 1001


def test_a_named_tuple_is_changed_in_a_copy(caplog: pytest.LogCaptureFixture) -> None:
    given = Pair(relu)
    assert task({"General/lr": 0.5}).connect(given) == Pair(relu, 0.5)
    assert "use what connect returns" in caplog.text
    assert task().connect(given) is given


# OmegaConf, where it is installed: its containers are looked at by what they offer


def test_configurations_of_texts_and_dicts() -> None:
    one = task()
    one.set_configuration_object("text", config_text="a: 1")
    one.set_configuration_object("dict", config_dict={"a": 1})
    assert one.get_configuration_object("text") == "a: 1"
    assert one.get_configuration_object_as_dict("dict") == {"a": 1}
    for given in ({}, {"config_text": "a", "config_dict": {}}):
        with pytest.raises(ValueError, match="give config_text or config_dict"):
            one.set_configuration_object("both", **given)
    listed = [1]
    kept = Task({"id": "0", "configurations": {"list": {"kind": "dict", "value": [2, 3]}}}, LocalSession())
    assert kept.connect_configuration(listed, name="list") is listed
    assert listed == [2, 3]


@pytest.fixture
def omegaconf() -> Any:
    return pytest.importorskip("omegaconf")


def test_configs_of_omegaconf(omegaconf: Any) -> None:
    conf = omegaconf.OmegaConf
    by_hand, one = (
        conf.create({"lr": 0.1, "net": {"layers": [1, 2], "name": "m${lr}"}, "miss": "???"}),
        task(),
    )
    assert one.connect(by_hand) is by_hand
    known = one.get_parameters(cast=True)
    assert known == {
        "General/lr": 0.1, "General/net/layers": [1, 2], "General/net/name": "m0.1", "General/miss": None,
    }  # fmt: skip
    chosen = {"General/lr": 0.5, "General/net/layers": [5, 6]}
    fresh = conf.create(conf.to_container(by_hand))
    conf.set_readonly(fresh, True)
    task({**known, **chosen}, *chosen).connect(fresh)
    assert (fresh.lr, list(fresh.net.layers), fresh.net.name) == (0.5, [5, 6], "m0.5")
    assert conf.is_missing(fresh, "miss")
    assert conf.is_readonly(fresh)
    for made in ({"a": {"b": [1, {"c": "${x}"}]}, "x": 2}, [1, {"a": 2}]):
        one, config = task(), conf.create(made)
        one.connect_configuration(config, name="config")
        again = conf.create({} if isinstance(made, dict) else [])
        later = Task({**one.about}, LocalSession())
        assert later.connect_configuration(again, name="config") is again
        assert again == config
    with pytest.raises(TypeError, match="ListConfig"):
        task().connect(conf.create([1]))
