"""Studies' code on a worker: fetched once, verified, unpacked; what isn't as described is refused whole."""

from __future__ import annotations

import hashlib
import os
import random
import stat
import struct
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import worker.slot.code
from controller.session.code_snapshot import snapshot
from controller.sweep import CodeSection
from worker.artifacts import open_store
from worker.protocol.errors import ObjectiveLoadError
from worker.runner.requirements import also_missing, missing
from worker.slot.code import KEPT_S, CodeFolders, cache_folder

Code = dict[str, Any]


class Place:
    """A store with code in it, and a worker's folders."""

    def __init__(self, folder: Path) -> None:
        self.store, self.cache, self.scratch = folder / "store", folder / "cache", folder / "scratch"
        self.url = f"file://{self.store}"
        self.outside = folder

    def put(self, archive: Path, unpacked: int, key: str = "s/code.zip") -> Code:
        """Store an archive; returns what a task's description says of it."""
        content = archive.read_bytes()
        (self.store / key).parent.mkdir(parents=True, exist_ok=True)
        (self.store / key).write_bytes(content)
        sha256 = hashlib.sha256(content).hexdigest()
        return {"sha256": sha256, "size": len(content), "key": key, "unpacked": unpacked}

    def put_files(self, key: str = "s/code.zip", **files: str) -> Code:
        """Store a snapshot of modules."""
        source = self.outside / "source"
        source.mkdir(exist_ok=True)
        for name, text in files.items():
            (source / f"{name}.py").write_text(text)
        with snapshot(CodeSection(), source) as taken:
            return self.put(taken.archive, taken.size, key)

    def folders(self, name: str = "worker") -> CodeFolders:
        return CodeFolders(self.scratch / name, self.cache)

    def written(self) -> set[str]:
        """What there is, by path."""
        return {path.relative_to(self.outside).as_posix() for path in self.outside.rglob("*")}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


class Fetches:
    """Counts what is fetched from stores."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, delay_s: float = 0.0) -> None:
        self.count = 0

        def opened(url: str) -> Any:
            store = open_store(url)
            fetch = store.get_file

            def get_file(key: str, path: Path) -> None:
                self.count += 1
                time.sleep(delay_s)
                fetch(key, path)

            monkeypatch.setattr(store, "get_file", get_file)
            return store

        monkeypatch.setattr(worker.slot.code, "open_store", opened)


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(ObjectiveLoadError) as caught:
        call()
    text = str(caught.value)
    assert text.startswith("code: ")
    assert "\n" not in text
    return text


# Fetching


def test_it_is_fetched_once_by_each_machine_and_unpacked_once_by_each_worker(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetches = Fetches(monkeypatch)
    code = place.put_files(train="x = 1", other="y = 2")
    folders = place.folders()
    folder = folders.folder(code, place.url)
    assert sorted(path.name for path in folder.iterdir()) == ["other.py", "train.py"]
    assert folders.folder(code, place.url) == folder
    assert fetches.count == 1
    # Another worker here needs no store at all.
    (place.store / code["key"]).unlink()
    other = place.folders("other worker").folder(code, place.url)
    assert other != folder
    assert (other / "train.py").read_text() == "x = 1"
    assert fetches.count == 1


def test_codes_lie_side_by_side(place: Place) -> None:
    folders = place.folders()
    first = place.put_files("s/1.zip", train="x = 1")
    second = place.put_files("s/2.zip", train="x = 2")
    assert (folders.folder(first, place.url) / "train.py").read_text() == "x = 1"
    assert (folders.folder(second, place.url) / "train.py").read_text() == "x = 2"
    assert (folders.folder(first, place.url) / "train.py").read_text() == "x = 1"


def test_slots_that_ask_at_once_share_one_download(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    fetches = Fetches(monkeypatch, delay_s=0.3)
    code = place.put_files(train="x = 1")
    found: list[Path] = []
    # Each slot has an object of its own; the folder is the worker's.
    slots = [
        threading.Thread(target=lambda: found.append(place.folders().folder(code, place.url)))
        for _ in range(6)
    ]
    for slot in slots:
        slot.start()
    for slot in slots:
        slot.join(20)
    assert len(found) == 6
    assert len(set(found)) == 1
    assert fetches.count == 1


def test_the_second_store_is_asked_where_the_first_has_nothing(place: Place, tmp_path: Path) -> None:
    code = place.put_files(train="x = 1")
    own = f"file://{tmp_path}/own"
    folder = place.folders().folder(code, own, None, place.url)
    assert (folder / "train.py").exists()


def test_what_cannot_be_fetched_says_where_it_was_looked_for(place: Place, tmp_path: Path) -> None:
    code = {**place.put_files(train="x = 1"), "key": "s/gone.zip"}
    text = refusal(lambda: place.folders().folder(code, f"file://{tmp_path}/own", place.url))
    assert text.startswith("code: it can't be fetched: ")
    assert f"file://{tmp_path}/own" in text
    assert place.url in text
    assert "s/gone.zip" in text
    assert "no artifact store" in refusal(lambda: place.folders().folder(code, None))
    assert "ftp" in refusal(lambda: place.folders().folder(code, "ftp://host/x"))


# The cache


def test_a_cache_that_was_tampered_with_is_noticed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    fetches = Fetches(monkeypatch)
    code = place.put_files(train="x = 1")
    place.folders("0").folder(code, place.url)
    (cached,) = place.cache.iterdir()
    good = cached.read_bytes()
    evil = place.outside / "evil.zip"
    with zipfile.ZipFile(evil, "w") as archive:
        archive.writestr("train.py", "x = 'evil'")
    for number, content in enumerate((good[:-20], b"", good[:50] + b"\0" + good[51:], evil.read_bytes()), 1):
        cached.write_bytes(content)
        folder = place.folders(f"{number}").folder(code, place.url)
        assert (folder / "train.py").read_text() == "x = 1"
        assert fetches.count == 1 + number
        assert cached.read_bytes() == good


def test_a_cache_that_cannot_be_written(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    code = place.put_files(train="x = 1")
    place.cache.write_text("a file where the folder should be")
    folder = place.folders().folder(code, place.url)
    assert (folder / "train.py").read_text() == "x = 1"


def test_a_full_disk_under_the_cache(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    code = place.put_files(train="x = 1")
    fetch = worker.artifacts.folder.shutil.copyfile

    def copyfile(source: Path, target: Path) -> None:
        if place.cache in target.parents:
            raise OSError(28, "No space left on device", str(target))
        fetch(source, target)

    monkeypatch.setattr("worker.artifacts.folder.shutil.copyfile", copyfile)
    assert (place.folders().folder(code, place.url) / "train.py").exists()


def test_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch, place: Place) -> None:
    # As in a container that is given any user's number.
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os, "getuid", lambda: 1_234_567)
    code = place.put_files(train="x = 1")
    folder = CodeFolders(place.scratch).folder(code, place.url)
    assert (folder / "train.py").exists()


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder() == tmp_path / ".cache/optuna-rq/code"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg/optuna-rq/code"


def test_what_was_not_used_for_long_goes(place: Place) -> None:
    first, second, third = (place.put_files(f"s/{n}.zip", train=f"x = {n}") for n in range(3))
    for code in (first, second):
        place.folders().folder(code, place.url)
    old = time.time() - KEPT_S - 60
    for code in (first, second):
        os.utime(place.cache / f"{code['sha256']}.zip", (old, old))
    place.folders("later").folder(first, place.url)  # used, and kept for that
    place.folders("later").folder(third, place.url)
    assert {path.stem for path in place.cache.iterdir()} == {first["sha256"], third["sha256"]}


def test_what_a_killed_worker_has_left_half_done_is_done_anew(place: Place) -> None:
    code = place.put_files(train="x = 1")
    half = place.scratch / "worker" / f"{code['sha256']}.part"
    half.mkdir(parents=True)
    (half / "train.py").write_text("x =")
    assert (place.folders().folder(code, place.url) / "train.py").read_text() == "x = 1"


# What was stored is not what was described


@pytest.mark.parametrize("change", ["altered", "truncated", "longer", "empty", "another"])
def test_a_store_that_has_something_else(place: Place, change: str) -> None:
    code = place.put_files(train="x = 1")
    stored = place.store / code["key"]
    good = stored.read_bytes()
    stored.write_bytes(
        {
            "altered": good[:40] + bytes([good[40] ^ 1]) + good[41:],
            "truncated": good[:-1],
            "longer": good + b"\0",
            "empty": b"",
            "another": (place.store / place.put_files("s/2.zip", train="x = 2")["key"]).read_bytes(),
        }[change]
    )
    text = refusal(lambda: place.folders().folder(code, place.url))
    assert "is not the code that was sent" in text
    assert code["sha256"][:12] in text
    assert not list(place.outside.rglob("train.py"))[1:]  # but for the source
    assert not list(place.cache.glob("*"))
    stored.write_bytes(good)
    assert (place.folders().folder(code, place.url) / "train.py").read_text() == "x = 1"


@pytest.mark.parametrize(
    "change",
    [
        {"sha256": "0" * 63}, {"sha256": "../" * 21 + "x"}, {"sha256": "A" * 64}, {"sha256": None},
        {"size": "much"}, {"size": None}, {"size": float("inf")}, {"size": float("nan")}, {"size": []},
        {"unpacked": "x"}, {"unpacked": float("inf")}, {"key": "../../etc/passwd"}, {"key": "/etc/passwd"},
        {"key": ""}, {"key": "a\0b"}, {"key": "\ud800"}, {"key": "s/" + "x" * 5000}, {"size": -1}, {"unpacked": -1},
    ],
    ids=str,
)  # fmt: skip
def test_descriptions_that_are_none(place: Place, change: Code) -> None:
    code = place.put_files(train="x = 1")
    before = place.written()
    refusal(lambda: place.folders().folder({**code, **change}, place.url))
    assert not {name for name in place.written() - before if name.endswith(".py")}


@pytest.mark.parametrize("code", [[], "code", 3, {"sha256": "0" * 64}, [["sha256", 1]]], ids=str)
def test_descriptions_of_another_shape(place: Place, code: Any) -> None:
    assert "malformed" in refusal(lambda: place.folders().folder(code, place.url))


# Archives made to do harm


def _entry(name: str, mode: int = stat.S_IFREG | 0o644) -> zipfile.ZipInfo:
    about = zipfile.ZipInfo("x")
    about.filename, about.external_attr = name, mode << 16
    return about


EVIL: dict[str, Callable[[zipfile.ZipFile], None]] = {
    "up": lambda z: z.writestr(_entry("../evil.py"), "x"),
    "up from within": lambda z: z.writestr(_entry("a/../../evil.py"), "x"),
    "up and back": lambda z: z.writestr(_entry("a/../b.py"), "x"),
    "absolute": lambda z: z.writestr(_entry("/tmp/orq-evil.py"), "x"),
    "absolute, twice": lambda z: z.writestr(_entry("//tmp/orq-evil.py"), "x"),
    "backslashes": lambda z: z.writestr(_entry("..\\evil.py"), "x"),
    "link": lambda z: z.writestr(_entry("link", stat.S_IFLNK | 0o777), "/etc/passwd"),
    "link, then through it": lambda z: (
        z.writestr(_entry("link", stat.S_IFLNK | 0o777), ".."),
        z.writestr(_entry("link/evil.py"), "x"),
    ),
    "pipe": lambda z: z.writestr(_entry("pipe", stat.S_IFIFO | 0o644), ""),
    "device": lambda z: z.writestr(_entry("null", stat.S_IFCHR | 0o666), ""),
    "folder": lambda z: z.writestr(_entry("folder/", stat.S_IFDIR | 0o755), ""),
    "no name": lambda z: z.writestr(_entry(""), "x"),
    "a dot": lambda z: z.writestr(_entry("."), "x"),
    "the same twice": lambda z: (z.writestr(_entry("a.py"), "x"), z.writestr(_entry("a.py"), "y")),
    "the same by another path": lambda z: (z.writestr(_entry("a.py"), "x"), z.writestr(_entry("./a.py"), "y")),
    "a file and a folder": lambda z: (z.writestr(_entry("a"), "x"), z.writestr(_entry("a/b"), "y")),
    "a folder and a file": lambda z: (z.writestr(_entry("a/b"), "x"), z.writestr(_entry("a"), "y")),
    "more than declared": lambda z: z.writestr("zeros", b"\0" * 5_000_000, zipfile.ZIP_DEFLATED),
    "much of little": lambda z: [z.writestr(f"{n}", b"\0" * 20_000, zipfile.ZIP_DEFLATED) for n in range(99)],
    "a long name": lambda z: z.writestr(_entry("x" * 300), "x"),
    "a deep name": lambda z: z.writestr(_entry("d/" * 3000 + "x"), "x"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("kind", EVIL)
def test_an_archive_made_to_do_harm(place: Place, kind: str) -> None:
    evil = place.outside / "evil.zip"
    with zipfile.ZipFile(evil, "w") as archive:
        EVIL[kind](archive)
    code = place.put(evil, 1_000_000)
    before = place.written()
    refusal(lambda: place.folders().folder(code, place.url))
    allowed = ("cache", "scratch")
    assert not {name for name in place.written() - before if not name.startswith(allowed)}
    assert not [path for path in place.scratch.rglob("*") if path.suffix != ".lock" and path.is_file()]
    assert not Path("/tmp/orq-evil.py").exists()
    assert not any(path.is_symlink() for path in place.scratch.rglob("*"))
    assert not (place.scratch / "worker" / code["sha256"]).exists()
    # Nothing of it is in the way of another study.
    good = place.put_files("s/good.zip", train="x = 1")
    assert (place.folders().folder(good, place.url) / "train.py").exists()


def test_a_bomb_that_lies_about_its_size(place: Place) -> None:
    evil = place.outside / "bomb.zip"
    with zipfile.ZipFile(evil, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", b"\0" * 50_000_000)
    content = evil.read_bytes()
    # Both headers say that 1000 bytes are in it.
    content = content.replace(struct.pack("<L", 50_000_000), struct.pack("<L", 1000))
    evil.write_bytes(content)
    code = place.put(evil, 1000)
    refusal(lambda: place.folders().folder(code, place.url))
    assert not list(place.scratch.rglob("zeros"))


def test_modes_from_an_archive_give_no_rights(place: Place) -> None:
    archive = place.outside / "modes.zip"
    with zipfile.ZipFile(archive, "w") as target:
        for name, mode in (("setuid", 0o6755), ("closed", 0o000), ("open", 0o777), ("sticky", 0o1644)):
            target.writestr(_entry(name, stat.S_IFREG | mode), "x")
    folder = place.folders().folder(place.put(archive, 100), place.url)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes == {"setuid": 0o755, "closed": 0o600, "open": 0o755, "sticky": 0o644}


def test_random_damage_is_refused_or_does_no_harm(place: Place) -> None:
    source = place.outside / "source"
    source.mkdir()
    for number in range(6):
        (source / f"m{number}.py").write_text(f"x = {number}\n" * 40)
    with snapshot(CodeSection(), source) as taken:
        good, size = taken.archive.read_bytes(), taken.size
    chance, refused = random.Random(3), list[str]()
    archive = place.outside / "damaged.zip"
    for number in range(150):
        damaged = bytearray(good)
        for _ in range(chance.randint(1, 6)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        if number % 8 == 0:
            del damaged[chance.randrange(len(damaged)) :]
        archive.write_bytes(damaged)
        code = place.put(archive, size)
        try:
            place.folders().folder(code, place.url)
        except ObjectiveLoadError as error:
            refused.append(str(error))
    assert len(refused) > 75
    assert not [text for text in refused if "\n" in text]
    outside = {path.name for path in place.outside.iterdir()}
    assert outside == {"source", "store", "cache", "scratch", "damaged.zip"}


# What code needs besides


def test_requirements_that_are_missing(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/more.txt").write_text("not-here-d\n-r ../requirements.txt\n-r gone.txt\n")
    (tmp_path / "sub/last.txt").write_text("not-here-e ; extra == 'x'\nnot-here-f # why\n")
    (tmp_path / "requirements.txt").write_text(
        "\ufeff# a comment\n\nredis\nRedis>=1\nredis==1.0 ; python_version > '3'\nnot-here-a[x,y]>=1,<9\n"
        "not-here-b; python_version < '3'\nnot-here-c @ https://x.example/y.zip\n-e .\n./local\n--pre\n"
        "https://x.example/z.whl\n--index-url https://user:hush@x.example\n-r sub/more.txt\n--requirement=sub/last.txt\n"
        "-c constraints.txt\nnot_here_g==1.0 \\\n    --hash=sha256:abc\n???\ngit+https://x.example/w#egg=w\nnot-here-c\n"
    )
    found = missing(tmp_path)
    assert found[0].startswith("redis==1.0 (")
    assert found[1:] == [
        "not-here-a<9,>=1", "not-here-c", "not-here-d", "not-here-f", "not_here_g==1.0",
    ]  # fmt: skip
    assert "hush" not in also_missing(tmp_path)


def test_requirements_that_say_nothing(tmp_path: Path) -> None:
    assert also_missing(tmp_path) == ""
    path = tmp_path / "requirements.txt"
    for content in (b"", b"redis\n", b"\xff\xfe\0", b"=" * 2_000_000, b"not-here\n" * 200_000):
        path.write_bytes(content)
        assert also_missing(tmp_path) == ""
    path.write_text("\n".join(f"not-here-{n}" for n in range(13)))
    assert also_missing(tmp_path).endswith("not-here-9 and 3 more")
