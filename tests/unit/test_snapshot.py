"""Snapshots of a study's code: what is in them, that equal code makes equal ones, and what is refused."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from controller.session.code_snapshot import MAX_DEPTH, MAX_FILES, snapshot
from controller.sweep import CodeSection
from worker.protocol.errors import BadInput

NOBODY = 65534


def put(folder: Path, name: str, text: str = "x") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def names(folder: Path, **section: object) -> list[str]:
    """The names in a folder's snapshot, as workers would unpack them."""
    with snapshot(CodeSection.model_validate(section), folder) as taken, taken.unpacked() as unpacked:
        with zipfile.ZipFile(taken.archive) as archive:
            listed = archive.namelist()
        found = [p.relative_to(unpacked).as_posix() for p in unpacked.rglob("*") if p.is_file()]
        assert sorted(listed) == sorted(found)
        assert taken.files == len(listed)
        return sorted(listed)


def sha256(folder: Path, **section: object) -> str:
    with snapshot(CodeSection.model_validate(section), folder) as taken:
        return taken.sha256


def refusal(folder: Path, **section: object) -> str:
    with pytest.raises(BadInput) as caught, snapshot(CodeSection.model_validate(section), folder):
        pass
    text = str(caught.value)
    assert "\n" not in text
    return text


# What is in it


def test_what_is_left_out_by_itself(tmp_path: Path) -> None:
    kept = [
        "train.py",
        "lib/__init__.py",
        "lib/data/vocab.txt",
        "requirements.txt",
        "environment.py",
        "keys.py",
    ]
    for name in kept:
        put(tmp_path, name)
    for name in (
        ".git/HEAD", "sub/.git", ".hg/store", ".svn/entries", ".optuna-rq/optuna.db",
        "__pycache__/train.cpython-311.pyc", "lib/__pycache__/x.pyc", "old.pyc",
        ".env", ".env.production", "lib/.env", "server.pem", "certs/tls.key", ".netrc", ".ssh/id_rsa",
        ".aws/credentials", "venv/pyvenv.cfg", "venv/lib/site.py", "lib/.venv/pyvenv.cfg", "lib/.venv/bin/python",
        ".mypy_cache/x.json", ".pytest_cache/x", ".ruff_cache/x", ".tox/x", "me.egg-info/PKG-INFO", ".DS_Store",
        ".ipynb_checkpoints/a.ipynb",
    ):  # fmt: skip
        put(tmp_path, name)
    assert names(tmp_path) == sorted(kept)


def test_what_is_left_out_by_itself_can_be_taken_all_the_same(tmp_path: Path) -> None:
    for name in ("train.py", ".env", "lib/.env", "ca.pem", "other.pem", ".aws/config", "build/a.py"):
        put(tmp_path, name)
    put(tmp_path, ".gitignore", "build/\n*.log\n")
    put(tmp_path, "run.log")
    assert names(tmp_path, exclude=["!/.env", "!ca.pem", "!.aws/", "!build/"]) == [
        ".aws/config", ".env", ".gitignore", "build/a.py", "ca.pem", "train.py",
    ]  # fmt: skip
    # What .gitignore takes back is none of what holds secrets.
    put(tmp_path, ".gitignore", "!.env\n!*.pem\n!.aws/\n")
    assert names(tmp_path) == [".gitignore", "build/a.py", "run.log", "train.py"]


def test_exclude_has_the_last_word_and_one_file_of_a_folder_is_taken_back(tmp_path: Path) -> None:
    for name in ("train.py", "data/big.bin", "data/vocab.json", "notes/a.md", "a b.txt", "lib/data/x.bin"):
        put(tmp_path, name)
    put(tmp_path, ".gitignore", "/data/\n!notes/\n")
    exclude = ["notes", "a b.txt", "!/data/", "/data/*", "!/data/vocab.json"]
    assert names(tmp_path, exclude=exclude) == [".gitignore", "data/vocab.json", "lib/data/x.bin", "train.py"]
    assert names(tmp_path, exclude=["*", "!train.py"]) == ["train.py"]


def test_ignore_files_of_the_repository_above_count(tmp_path: Path) -> None:
    (tmp_path / "repo/.git").mkdir(parents=True)
    put(tmp_path, ".gitignore", "train.py\n")  # outside of the repository
    put(tmp_path, "repo/.gitignore", "*.log\n/other/\n/apps/digits/data/\nsecret\n")
    put(tmp_path, "repo/apps/.gitignore", "!keep.log\n/digits/x.py\n")
    for name in (
        "train.py",
        "x.py",
        "a.log",
        "keep.log",
        "other/y.py",
        "data/b.bin",
        "lib/data/c.bin",
        "secret",
    ):
        put(tmp_path, f"repo/apps/digits/{name}")
    want = ["keep.log", "lib/data/c.bin", "other/y.py", "train.py"]
    assert names(tmp_path / "repo/apps/digits") == want
    assert names(tmp_path, path="repo/apps/digits") == want
    # A repository of its own, as a submodule has it (.git is a file there), asks nobody above.
    put(tmp_path, "repo/apps/digits/.git", "gitdir: ../../.git/modules/digits\n")
    assert "a.log" in names(tmp_path / "repo/apps/digits")


_NAMES = ("a", "b", "keep", "build", "lib.d", "x.log", "y.py", "z.txt", "a b", "!x")
_PATTERNS = (
    "*.log", "/a", "a/", "build/", "/build/*", "!keep", "!keep/", "!x.log", "!*.py", "**/b", "a/**", "a/**/z.txt",
    "*", "!*/", "/*", "!/a", "!/keep/", "*.t?t", "[xy].*", "b/y.py", "/b/keep/", "!a/keep", "\\!x", "#c", "", "a b",
    "z.txt ", "[a-b]", "[!k]*.t*", "keep?", "ke*p", "**/keep/*", "a/b/**", "keep/*", "!keep/z.txt", "**", "!**/",
    "a/*/", "!build/x.log", "lib.d", "*.d/", "!lib.d/",
)  # fmt: skip


def _grow(folder: Path, chance: random.Random, depth: int = 0) -> None:
    for name in _NAMES:
        if "." in name and name != "lib.d":
            if chance.random() < 0.6:
                put(folder, name)
        elif depth < 3 and chance.random() < 0.5:
            (folder / name).mkdir()
            _grow(folder / name, chance, depth + 1)
    if chance.random() < (0.25 if depth else 0.9):
        rules = (chance.choice(_PATTERNS) for _ in range(chance.randint(1, 5)))
        (folder / ".gitignore").write_text("\n".join(rules) + "\n")


def test_it_is_what_git_would_take(tmp_path: Path) -> None:
    if shutil.which("git") is None:
        assert os.environ.get("CI") != "true", "no git"
        pytest.skip("no git")
    count, chance = 40, random.Random(7)
    for number in range(count):
        folder = tmp_path / f"{number}"
        folder.mkdir()
        put(folder, "always")  # an empty snapshot is refused
        _grow(folder, chance)
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    listed = subprocess.run(
        ["git", "-c", f"core.excludesFile={os.devnull}", "ls-files", "-coz", "--exclude-standard"],
        cwd=tmp_path, check=True, capture_output=True, text=True,
    ).stdout.split("\0")  # fmt: skip
    for number in range(count):
        folder, prefix = tmp_path / f"{number}", f"{number}/"
        wanted = sorted(name.removeprefix(prefix) for name in listed if name.startswith(prefix))
        assert names(folder, exclude=["!always"]) == sorted({*wanted, "always"}), [
            f"{rules.relative_to(folder)}: {rules.read_text()!r}" for rules in folder.rglob(".gitignore")
        ]


def test_what_studies_write_themselves_is_no_code(tmp_path: Path) -> None:
    for name in ("train.py", "results/model.pt", "study.db", "study.db-wal", "lib/study.db"):
        put(tmp_path, name)
    own = [tmp_path / "results", tmp_path / "study.db", tmp_path / "study.db-wal", tmp_path / "not there"]
    with snapshot(CodeSection(), tmp_path, own) as taken, zipfile.ZipFile(taken.archive) as archive:
        assert archive.namelist() == ["lib/study.db", "train.py"]


# How files come along


def test_names_modes_and_content_arrive(tmp_path: Path) -> None:
    odd = (
        "with space.py",
        "ünï/çødé.py",
        "日本.txt",
        "new\nline.py",
        "12:30.txt",
        "#a",
        "-rf",
        "C:",
        "..a",
        "a..",
    )
    for name in odd:
        put(tmp_path, name, f"of {name}")
    put(tmp_path, "empty.py", "")
    (tmp_path / "blob").write_bytes(bytes(range(256)) * 1000)
    put(tmp_path, "run.sh", "#!/bin/sh\n").chmod(0o700)
    put(tmp_path, "readonly.py").chmod(0o400)
    with snapshot(CodeSection(), tmp_path) as taken, taken.unpacked() as unpacked:
        for name in odd:
            assert (unpacked / name).read_text() == f"of {name}"
        assert (unpacked / "blob").read_bytes() == bytes(range(256)) * 1000
        assert (unpacked / "empty.py").read_text() == ""
        assert os.access(unpacked / "run.sh", os.X_OK)
        assert (unpacked / "readonly.py").stat().st_mode & 0o111 == 0
        assert taken.size == sum(p.stat().st_size for p in unpacked.rglob("*") if p.is_file())
    assert not taken.archive.exists()


def test_equal_code_makes_equal_snapshots(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder, order in ((first, 1), (second, -1)):
        for name in ("train.py", "lib/a.py", "lib/b.py", "z", "ä.py")[::order]:
            put(folder, name, f"text of {name}")
        put(folder, "run.sh").chmod(0o755)
    known = sha256(first)
    for number, path in enumerate(sorted(second.rglob("*"))):
        os.utime(path, (number * 1e6, number * 1e8))
    (second / "lib/a.py").chmod(0o600)
    put(second, "__pycache__/train.pyc")
    (second / "empty folder").mkdir()
    assert sha256(second) == known
    assert sha256(tmp_path, path="second") == known
    put(second, "lib/b.py", "something else")
    assert sha256(second) != known
    shutil.copy(first / "lib/b.py", second / "lib/b.py")
    assert sha256(second) == known
    (second / "run.sh").chmod(0o644)
    assert sha256(second) != known


def test_links_are_followed_once_and_what_leads_nowhere_is_left_out(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    put(outside, "shared.py", "shared")
    code = tmp_path / "code"
    put(code, "train.py")
    put(code, "pkg/a.py")
    links = {
        "shared": outside, "one.py": outside / "shared.py", "dangling": "nowhere", "itself": "itself",
        "ping": "pong", "pong": "ping", "loop": ".", "pkg/up": "..",
    }  # fmt: skip
    for name, target in links.items():
        (code / name).symlink_to(target)
    os.mkfifo(code / "pipe")  # reading it would wait for ever
    (code / "nothing in it").mkdir()
    assert names(code) == ["one.py", "pkg/a.py", "shared/shared.py", "train.py"]


def test_a_file_that_grows_meanwhile_is_taken_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "train.py")
    log = put(tmp_path, "run.log", "a line\n")
    read = Path.read_bytes

    def slow_read(path: Path) -> bytes:
        log.write_text("a line\n" * 100)
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", slow_read)
    assert names(tmp_path) == ["run.log", "train.py"]


# What is refused


def test_a_folder_that_is_no_folder(tmp_path: Path) -> None:
    put(tmp_path, "file.py")
    (tmp_path / "loop").symlink_to("loop")
    assert refusal(tmp_path, path="nowhere") == f"code.path: there is no folder {tmp_path}/nowhere"
    for path in ("file.py", "loop", "~nobody-of-this-name/x", "a\0b", "x" * 300, "\ud800"):
        assert refusal(tmp_path, path=path).startswith("code.path: ")


def test_nothing_left(tmp_path: Path) -> None:
    assert "code.path: nothing in" in refusal(tmp_path)
    put(tmp_path, "train.py")
    assert "code.exclude" in refusal(tmp_path, exclude=["*"])


def test_too_large_names_the_largest(tmp_path: Path) -> None:
    for name, size in (
        ("train.py", 10),
        ("data/a.bin", 4000),
        ("data/b.bin", 3000),
        ("c.bin", 2000),
        ("d", 990),
    ):
        put(tmp_path, name, "x" * size)
    text = refusal(tmp_path, max_size=9999)
    assert "10 kB in" in text
    assert "code.max_size" in text
    assert "data/a.bin (4 kB), data/b.bin (3 kB), c.bin (2 kB)" in text
    assert "code.exclude" in text
    assert "d (" not in text
    assert len(names(tmp_path, max_size=10_000)) == 5
    assert names(tmp_path, max_size=9999, exclude=["d"]) == ["c.bin", "data/a.bin", "data/b.bin", "train.py"]


def test_too_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "train.py")
    (tmp_path / "many").mkdir()
    for number in range(9):
        put(tmp_path, f"many/{number}")
    assert MAX_FILES >= 10_000
    monkeypatch.setattr("controller.session.code_snapshot.MAX_FILES", 9)
    text = refusal(tmp_path)
    assert "more than 9 files" in text
    assert "code.exclude" in text
    assert names(tmp_path, exclude=["many/"]) == ["train.py"]
    (tmp_path / "many/0").unlink()
    assert len(names(tmp_path)) == 9


def test_folders_without_end(tmp_path: Path) -> None:
    put(tmp_path, "train.py")
    put(tmp_path, "/".join(["ok"] + ["d"] * (MAX_DEPTH - 2)) + "/last.py")
    assert len(names(tmp_path)) == 2
    put(tmp_path, "/".join(["deep"] + ["d"] * MAX_DEPTH) + "/last.py")
    assert f"more than {MAX_DEPTH} folders deep" in refusal(tmp_path)


def test_the_whole_machine_is_refused_soon() -> None:
    started = time.monotonic()
    assert "code: " in refusal(Path("/"))
    assert time.monotonic() - started < 20


def test_names_that_workers_would_refuse(tmp_path: Path) -> None:
    put(tmp_path, "train.py")
    put(tmp_path, "a\\b.py")
    assert refusal(tmp_path) == "code: a\\b.py has a backslash in its name; leave it out with code.exclude"
    (tmp_path / "a\\b.py").unlink()
    os.close(os.open(os.fsencode(tmp_path) + b"/\xff.py", os.O_CREAT))
    text = refusal(tmp_path)
    assert "no UTF-8" in text
    text.encode()  # can be printed


def test_a_pattern_that_is_none(tmp_path: Path) -> None:
    put(tmp_path, "train.py")
    assert refusal(tmp_path, exclude=["a\\"]).startswith("code.exclude: ")
    put(tmp_path, "sub/.gitignore", "\ufeffx.py\r\n*.log\r\n")  # as Windows writes it
    put(tmp_path, "sub/x.py")
    assert names(tmp_path) == ["sub/.gitignore", "train.py"]
    put(tmp_path, "sub/.gitignore", "a\\\n")
    assert f"{tmp_path}/sub/.gitignore" in refusal(tmp_path)


@contextmanager
def _without_root(folder: Path) -> Iterator[Path]:
    """A folder, and for root another user's rights in this process: root reads everything."""
    if os.geteuid() != 0:
        yield folder
        return
    with TemporaryDirectory(prefix="orq-nobody-") as open_to_all:
        os.chmod(open_to_all, 0o755)
        os.chown(open_to_all, NOBODY, NOBODY)
        b"x".decode("cp437")  # zipfile's: an interpreter below /root can't be read any more
        os.seteuid(NOBODY)
        try:
            yield Path(open_to_all)
        finally:
            os.seteuid(0)


@pytest.mark.parametrize("what", ["file", "folder", ".gitignore", "folder that can be listed"])
def test_what_cannot_be_read(tmp_path: Path, what: str) -> None:
    with _without_root(tmp_path) as folder:
        _check_unreadable(folder, what)


def _check_unreadable(folder: Path, what: str) -> None:
    put(folder, "train.py")
    if what == "file":
        path = put(folder, "closed")
        path.chmod(0)
    elif what == ".gitignore":
        path = put(folder, ".gitignore")
        path.chmod(0)
    else:
        path = put(folder, "closed/a.py").parent
        path.chmod(0 if what == "folder" else 0o444)
    text = refusal(folder)
    path.chmod(0o700)
    assert str(path) in text
    assert "can't be read" in text
    assert "Permission denied" in text
    path.chmod(0)
    if what != ".gitignore":
        assert names(folder, exclude=["closed"]) == ["train.py"]
    path.chmod(0o700)


def test_a_file_that_fails_while_it_is_read(tmp_path: Path) -> None:
    put(tmp_path, "train.py")
    memory = Path("/proc/self/mem")
    if not memory.exists():
        pytest.skip("no /proc")
    (tmp_path / "memory").symlink_to(memory)  # a file of no bytes, whose first can't be read
    assert f"{tmp_path}/memory can't be read: Input/output error" in refusal(tmp_path)
