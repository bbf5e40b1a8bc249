"""The code of a study, as its workers get it: ``[code]`` in the sweep file."""

from __future__ import annotations

import errno
import os
import stat
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pathspec import GitIgnoreSpec

from controller.sweep import CodeSection
from worker.artifacts import ArtifactMeta, ArtifactStore, save
from worker.artifacts.archive import unpack
from worker.artifacts.checksum import checksums, new_sha256
from worker.protocol import Store
from worker.protocol.errors import BadInput
from worker.protocol.sizes import show_size

ALWAYS_LEFT_OUT = (
    ".git", ".hg", ".svn", ".optuna-rq/", "__pycache__/", "*.pyc", ".ipynb_checkpoints/", ".mypy_cache/",
    ".pytest_cache/", ".ruff_cache/", ".tox/", "*.egg-info/", ".DS_Store",
    ".env", ".env.*", "*.pem", "*.key", ".netrc", ".ssh/", ".aws/",
)  # fmt: skip
"""Repositories, caches, and what often holds secrets; ``exclude = ["!…"]`` takes one in all the same."""

MAX_FILES = 20_000
MAX_DEPTH = 200
"""Folders within folders."""
_DATE = (1980, 1, 1, 0, 0, 0)
"""Of all files in a snapshot: equal code makes equal archives."""


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A folder's code as one archive, named by what is in it."""

    folder: Path
    archive: Path
    sha256: str
    files: int
    size: int
    """Bytes of the files."""

    def describe(self) -> str:
        """For people."""
        return f"code: {self.files} file(s), {show_size(self.size)}, of {self.folder} ({self.sha256[:12]})"

    @contextmanager
    def unpacked(self) -> Iterator[Path]:
        """A folder with just what workers get."""
        with TemporaryDirectory(prefix="orq-code-") as scratch:
            folder = Path(scratch) / "code"
            unpack(self.archive, folder, self.size)
            yield folder

    def store_in(self, artifacts: ArtifactStore, store: Store, study: str) -> dict[str, Any]:
        """Put it where workers find it, unless it is there; listed as an artifact of the study.

        Returns:
            What a task's description says of it, see `worker.slot.code`.
        """
        name = f"code {self.sha256[:12]}"
        known = store.artifacts.of_study(study).get(name)
        meta = ArtifactMeta.from_json(known) if known else None
        if meta is None or meta.sha256 != self.sha256 or not artifacts.exists(meta.key):
            meta = save(artifacts, study, name, self.archive, patience_s=30.0)
            store.artifacts.add_to_study(study, name, meta.to_json())
        return {"sha256": meta.sha256, "size": meta.size, "key": meta.key, "unpacked": self.size}


@contextmanager
def snapshot(section: CodeSection, base: Path, own: Sequence[Path] = ()) -> Iterator[Snapshot]:
    """Take a snapshot of a folder; the archive is removed afterwards.

    Args:
        base: what ``path`` is relative to.
        own: files and folders that studies themselves write; left out wherever they lie.

    Raises:
        BadInput: there is no such folder, it is too large, or a file can't be read.
    """
    try:
        folder = (base / Path(section.path).expanduser()).resolve()
        there = folder.is_dir()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, no such user, no name of a file
        raise BadInput(f"code.path: {section.path!r}: {error}") from error
    if not there:
        raise BadInput(f"code.path: there is no folder {folder}")
    files = list(_files(folder, section.exclude, own))
    _check_size(files, section, folder)
    if not files:
        raise BadInput(f"code.path: nothing in {folder} is left, by code.exclude and .gitignore")
    with TemporaryDirectory(prefix="orq-code-") as scratch:
        archive = Path(scratch) / "code.zip"
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as target:
            # As it was read: a log may have grown meanwhile.
            total = sum(_add(target, name, path) for name, path, _ in sorted(files))
        _, (sha256,) = checksums(archive, "code", new_sha256)
        yield Snapshot(folder=folder, archive=archive, sha256=sha256, files=len(files), size=total)


def _check_size(files: Sequence[tuple[str, Path, int]], section: CodeSection, folder: Path) -> None:
    sizes = {name: size for name, _, size in files}
    total = sum(sizes.values())
    if total > section.max_size:
        largest = sorted(sizes, key=lambda name: -sizes[name])[:3]
        shown = ", ".join(f"{name} ({show_size(sizes[name])})" for name in largest)
        most = show_size(section.max_size)
        raise BadInput(
            f"code: {show_size(total)} in {folder} is more than code.max_size = {most}; "
            f"the largest: {shown}; leave data out with code.exclude or .gitignore, or raise code.max_size"
        )


def _add(target: zipfile.ZipFile, name: str, path: Path) -> int:
    """Bytes of the file."""
    if "\\" in name:
        raise BadInput(f"code: {name} has a backslash in its name; leave it out with code.exclude")
    try:
        executable = path.stat().st_mode & stat.S_IXUSR
        about = zipfile.ZipInfo(name, _DATE)
        about.compress_type = zipfile.ZIP_DEFLATED
        about.external_attr = (stat.S_IFREG | (0o755 if executable else 0o644)) << 16
        content = path.read_bytes()
        target.writestr(about, content)
        return len(content)
    except (OSError, UnicodeEncodeError) as error:
        raise _unreadable(path, error) from error


@dataclass
class _Rules:
    """What is left out: our own list, ``.gitignore`` files on the way down, and ``exclude``, which has the
    last word."""

    exclude: GitIgnoreSpec
    ours: GitIgnoreSpec = field(default_factory=lambda: GitIgnoreSpec.from_lines(ALWAYS_LEFT_OUT))
    own: frozenset[tuple[int, int]] = frozenset()
    """Device and inode of what studies themselves write."""
    ignored: list[tuple[Path, GitIgnoreSpec]] = field(default_factory=list)
    """Of each folder that has a ``.gitignore``, the outermost first."""

    def leave_out(self, path: Path, name: str, *, is_folder: bool) -> bool:
        slash = "/" if is_folder else ""
        last = _say(self.exclude, name + slash)
        if last is not None:
            return last
        for folder, spec in reversed(self.ignored):
            said = _say(spec, path.relative_to(folder).as_posix() + slash)
            if said is not None:
                return said or bool(_say(self.ours, name + slash))
        return bool(_say(self.ours, name + slash))


def _say(spec: GitIgnoreSpec, name: str) -> bool | None:
    """Whether the last pattern that matches a file, or a folder (``name/``), leaves it out; None without one.

    A spec's own answer for a file looks at the folders above it, too. Here these were asked about on the way
    down, and Git takes no notice of them any more: ``!lib/`` takes back the folder, not every file in it.
    """
    for pattern in reversed(spec.patterns):
        found = pattern.match_file(name) if pattern.include is not None else None
        if found is None:
            continue
        regex = found.match.re
        if regex.groups:  # it ends with the file, or with the folder that it names
            hit = any(match.end() == len(name) for match in regex.finditer(name))
        else:  # all that lies in a folder, which it isn't itself
            hit = found.match.end() < len(name) or not name.endswith("/")
        if hit:
            return bool(pattern.include)
    return None


def _files(folder: Path, exclude: Sequence[str], own: Sequence[Path]) -> Iterator[tuple[str, Path, int]]:
    """The files of a snapshot: name in it, path, and bytes. Raises `BadInput` for more than `MAX_FILES`."""
    rules = _Rules(_spec(exclude), own=frozenset(_identity(path.stat()) for path in own if path.exists()))
    for outer in _repository(folder):
        _read_gitignore(rules, outer)
    for count, found in enumerate(_walk(folder, "", rules, frozenset())):
        if count >= MAX_FILES:
            raise BadInput(
                f"code: more than {MAX_FILES} files in {folder}; "
                "leave data out with code.exclude or .gitignore"
            )
        yield found


def _spec(lines: Sequence[str]) -> GitIgnoreSpec:
    try:
        return GitIgnoreSpec.from_lines(lines)
    except ValueError as error:
        raise BadInput(f"code.exclude: {error}") from error


def _repository(folder: Path) -> list[Path]:
    """The folders above one, from that of its repository on; none where it is in none, or is that itself."""
    if os.path.exists(folder / ".git"):
        return []
    for number, above in enumerate(folder.parents):
        if os.path.exists(above / ".git"):
            return [*reversed(folder.parents[: number + 1])]
    return []


def _read_gitignore(rules: _Rules, folder: Path) -> bool:
    path = folder / ".gitignore"
    try:
        if not path.is_file():
            return False
        text = path.read_text(encoding="utf-8-sig", errors="replace")
        rules.ignored.append((folder, GitIgnoreSpec.from_lines(text.splitlines())))
    except OSError as error:
        raise _unreadable(path, error) from error
    except ValueError as error:
        raise BadInput(f"code: {path}: {error}") from error
    return True


def _walk(
    folder: Path, inside: str, rules: _Rules, above: frozenset[tuple[int, int]]
) -> Iterator[tuple[str, Path, int]]:
    # Links are followed, each folder once on the way down.
    try:
        status = folder.stat()
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise _unreadable(folder, error) from error
    identity = _identity(status)
    if identity in above:
        return
    if len(above) >= MAX_DEPTH:
        raise BadInput(
            f"code: {folder} is more than {MAX_DEPTH} folders deep; leave it out with code.exclude"
        )
    has_own = _read_gitignore(rules, folder)
    for entry in entries:
        path, name = Path(entry.path), inside + entry.name
        found = _status_of(path, name, rules)
        if found is None:
            continue
        if stat.S_ISDIR(found.st_mode):
            if not os.path.exists(path / "pyvenv.cfg"):  # a virtual environment
                yield from _walk(path, f"{name}/", rules, above | {identity})
        elif stat.S_ISREG(found.st_mode):
            yield name, path, found.st_size
    if has_own:
        rules.ignored.pop()


def _status_of(path: Path, name: str, rules: _Rules) -> os.stat_result | None:
    """What a folder's entry is; None for one that is left out. Raises `BadInput` when it can't be read."""
    try:
        status = path.stat()
    except OSError as error:
        if rules.leave_out(path, name, is_folder=False) or error.errno in (errno.ENOENT, errno.ELOOP):
            return None  # the latter: links that lead nowhere
        raise _unreadable(path, error) from error
    if _identity(status) in rules.own:
        return None
    return None if rules.leave_out(path, name, is_folder=stat.S_ISDIR(status.st_mode)) else status


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _unreadable(path: Path | str, error: Exception) -> BadInput:
    shown = os.fsencode(path).decode(errors="replace")
    reason = (error.strerror or error) if isinstance(error, OSError) else "its name is no UTF-8"
    return BadInput(f"code: {shown} can't be read: {reason}; leave it out with code.exclude")
