"""A task's output in lines: colors as words, control characters as text, positions that go on."""

from __future__ import annotations

import fakeredis
import pytest

from controller.results import output_lines
from controller.results.output_lines import Line, read_output
from tests.fakes import record
from worker.protocol import Status, Store, logs


@pytest.fixture
def store() -> Store:
    return Store(fakeredis.FakeRedis(decode_responses=True))


def running(store: Store) -> str:
    task = record(status=Status.QUEUED)
    store.tasks.create(task)
    return store.transitions.start(task.id, 1, "w/0").id


def printed(store: Store, data: bytes) -> str:
    task_id = running(store)
    store.logs.append(task_id, 1, data)
    return task_id


def text_of(line: Line) -> str:
    return "".join(piece.text for piece in line)


def styles(line: Line) -> list[tuple[str, str]]:
    return [(piece.text, piece.style) for piece in line]


STYLES: dict[str, tuple[str, list[tuple[str, str]]]] = {
    "plain": ("a <b>", [("a <b>", "")]),
    "color": ("\x1b[31mred\x1b[0m plain", [("red", "f1"), (" plain", "")]),
    "bold on blue": ("\x1b[1;44mx\x1b[22my", [("x", "b g4"), ("y", "g4")]),
    "bright": ("\x1b[97;101mx", [("x", "f15 g9")]),
    "256": ("\x1b[38;5;196mx\x1b[38;5;9my\x1b[48;5;250mz", [("x", "f1"), ("y", "f9"), ("z", "f9 g7")]),
    "millions": ("\x1b[38;2;0;160;0mx\x1b[39my", [("x", "f2"), ("y", "")]),
    "halves of colors": ("\x1b[38mx\x1b[38;2;1mx\x1b[38;5mx\x1b[38;5;999mx", [("x", "")] * 4),
    "hidden is shown": ("\x1b[8mx", [("x", "")]),
    "reset by nothing": ("\x1b[3;4;7mx\x1b[my", [("x", "i u v"), ("y", "")]),
    "control": ("a\x07\x1b[2J\u202eb\x00", [("a\\x07\\x1b[2J\\u202eb\\x00", "")]),
    "overwritten": (" 10%\r 50%\r100%", [("100%", "")]),
    "returned at its end": ("done\r", [("done", "")]),
    "color of what is gone": ("\x1b[31mgone\rhere", [("here", "f1")]),
    "color after a return": ("gone\r\x1b[32mhere", [("here", "f2")]),
}


@pytest.mark.parametrize("name", STYLES)
def test_a_line(store: Store, name: str) -> None:
    written, expected = STYLES[name]
    found = read_output(store, printed(store, written.encode() + b"\n"))
    assert [styles(line) for line in found.lines] == [expected]
    assert found.rest == ()


def test_following_goes_on_where_it_was(store: Store) -> None:
    task_id = printed(store, b"\x1b[1mone\ntw")
    found = read_output(store, task_id)
    assert [styles(line) for line in found.lines] == [[("one", "b")]]
    assert styles(found.rest) == [("tw", "b")]
    assert found.next == len("\x1b[1mone\n")
    store.logs.append(task_id, 1, b"o\nthree\n")
    again = read_output(store, task_id, start=found.next, style=found.style)
    assert [styles(line) for line in again.lines] == [[("two", "b")], [("three", "b")]]
    assert read_output(store, task_id, start=again.next).lines == ()
    # What isn't one of our styles counts for nothing.
    (line, _) = read_output(store, task_id, start=found.next, style="b,onclick=x").lines
    assert styles(line) == [("two", "")]


def test_characters_that_are_cut_come_whole(store: Store) -> None:
    task_id = printed(store, "eins\nzwölf".encode()[:-3])
    found = read_output(store, task_id)
    store.logs.append(task_id, 1, "zwölf\n".encode()[3:])
    assert [text_of(line) for line in read_output(store, task_id, start=found.next).lines] == ["zwölf"]


def test_steps_back(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output_lines, "TAIL_BYTES", 50)
    written = [f"line {number}" for number in range(40)]
    task_id = printed(store, "".join(f"{line}\n" for line in written).encode())
    found = read_output(store, task_id)
    seen = [text_of(line) for line in found.lines]
    assert 1 < len(seen) < 10
    while found.start > found.first:
        found = read_output(store, task_id, until=found.start)
        seen = [*(text_of(line) for line in found.lines), *seen]
        assert found.rest == ()
    assert seen == written


def test_much_at_once_comes_in_parts(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output_lines, "MOST_BYTES", 100)
    task_id = printed(store, b"123456789\n" * 50)
    position, seen, parts = 0, 0, 0
    while True:
        found = read_output(store, task_id, start=position)
        seen, parts, position = seen + len(found.lines), parts + 1, found.next
        if not found.more:
            break
    assert (seen, parts) == (50, 5)


def test_a_bar_that_never_ends_its_line(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output_lines, "LONGEST_LINE", 100)
    task_id = printed(store, b"".join(b"\r%03d%%" % number for number in range(100)))
    found = read_output(store, task_id, start=0)
    assert (found.lines, text_of(found.rest)) == ((), "099%")
    assert found.next == 5 * 99 + 1
    store.logs.append(task_id, 1, b"\r100%\n")
    again = read_output(store, task_id, start=found.next)
    assert [text_of(line) for line in again.lines] == ["100%"]


def test_a_line_without_end_is_shown(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output_lines, "LONGEST_LINE", 100)
    task_id = printed(store, b"x" * 300)
    found = read_output(store, task_id, start=0)
    assert ([text_of(line) for line in found.lines], found.rest, found.next) == (["x" * 300], (), 300)


def test_what_was_trimmed_is_skipped(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "LOG_LIMIT", 100)
    task_id = printed(store, b"123456789\n" * 50)
    found = read_output(store, task_id, start=0)
    assert (found.first, found.start, found.next, len(found.lines)) == (400, 400, 500, 10)
    assert read_output(store, task_id, start=10_000).next == 500
    assert read_output(store, "0" * 32).lines == ()
