"""The code of a study, as its workers get it: ``[code]`` in the sweep file."""

from __future__ import annotations

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
    ".git/", ".hg/", ".svn/", ".optuna-rq/", "__pycache__/", "*.pyc", ".ipynb_checkpoints/", ".mypy_cache/",
    ".pytest_cache/", ".ruff_cache/", ".tox/", "*.egg-info/", ".DS_Store",
    ".env", ".env.*", "*.pem", "*.key", ".netrc", ".ssh/", ".aws/",
)  # fmt: skip
"""Repositories, caches, and what often holds secrets; ``exclude = ["!…"]`` takes one in all the same."""

MAX_FILES = 50_000
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
            What a task's description says of it, see `worker.code`.
        """
        name = f"code {self.sha256[:12]}"
        known = store.study_artifacts(study).get(name)
        meta = ArtifactMeta.from_json(known) if known else None
        if meta is None or meta.sha256 != self.sha256 or not artifacts.exists(meta.key):
            meta = save(artifacts, study, name, self.archive, patience_s=30.0)
            store.add_study_artifact(study, name, meta.to_json())
        return {"sha256": meta.sha256, "size": meta.size, "key": meta.key, "unpacked": self.size}


@contextmanager
def snapshot(section: CodeSection, base: Path) -> Iterator[Snapshot]:
    """Take a snapshot of a folder; the archive is removed afterwards.

    Args:
        base: what ``path`` is relative to.

    Raises:
        BadInput: there is no such folder, it is too large, or a file can't be read.
    """
    folder = (base / Path(section.path).expanduser()).resolve()
    if not folder.is_dir():
        raise BadInput(f"code.path: there is no folder {folder}")
    files = list(_files(folder, section.exclude))
    total = _check_size(files, section, folder)
    if not files:
        raise BadInput(f"code.path: nothing in {folder} is left, by code.exclude and .gitignore")
    with TemporaryDirectory(prefix="orq-code-") as scratch:
        archive = Path(scratch) / "code.zip"
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as target:
            for name, path in sorted(files):
                _add(target, name, path)
        _, (sha256,) = checksums(archive, "code", new_sha256)
        yield Snapshot(folder=folder, archive=archive, sha256=sha256, files=len(files), size=total)


def _check_size(files: Sequence[tuple[str, Path]], section: CodeSection, folder: Path) -> int:
    try:
        sizes = {name: path.stat().st_size for name, path in files}
    except OSError as error:
        raise BadInput(f"code: {error.filename} can't be read: {error.strerror}; see code.exclude") from error
    total = sum(sizes.values())
    if total > section.max_size:
        largest = sorted(sizes, key=lambda name: -sizes[name])[:3]
        shown = ", ".join(f"{name} ({show_size(sizes[name])})" for name in largest)
        most = show_size(section.max_size)
        raise BadInput(
            f"code: {show_size(total)} in {folder} is more than code.max_size = {most}; "
            f"the largest: {shown}; leave data out with code.exclude or .gitignore, or raise code.max_size"
        )
    return total


def _add(target: zipfile.ZipFile, name: str, path: Path) -> None:
    try:
        executable = path.stat().st_mode & stat.S_IXUSR
        about = zipfile.ZipInfo(name, _DATE)
        about.compress_type = zipfile.ZIP_DEFLATED
        about.external_attr = (stat.S_IFREG | (0o755 if executable else 0o644)) << 16
        target.writestr(about, path.read_bytes())
    except (OSError, UnicodeEncodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "its name is no UTF-8"
        raise BadInput(f"code: {path} can't be read: {reason}; leave it out with code.exclude") from error


@dataclass
class _Rules:
    """What is left out: our own list, ``.gitignore`` files on the way down, and ``exclude``, which has the
    last word."""

    exclude: GitIgnoreSpec
    ours: GitIgnoreSpec = field(default_factory=lambda: GitIgnoreSpec.from_lines(ALWAYS_LEFT_OUT))
    ignored: list[tuple[Path, GitIgnoreSpec]] = field(default_factory=list)
    """Of each folder that has a ``.gitignore``, the outermost first."""

    def leave_out(self, path: Path, name: str, *, is_folder: bool) -> bool:
        slash = "/" if is_folder else ""
        last = self.exclude.check_file(name + slash).include
        if last is not None:
            return last
        for folder, spec in reversed(self.ignored):
            said = spec.check_file(path.relative_to(folder).as_posix() + slash).include
            if said is not None:
                return said or bool(self.ours.check_file(name + slash).include)
        return bool(self.ours.check_file(name + slash).include)


def _files(folder: Path, exclude: Sequence[str]) -> Iterator[tuple[str, Path]]:
    """The files of a snapshot: name in it, and path. Raises `BadInput` for more than `MAX_FILES`."""
    rules = _Rules(_spec(exclude))
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
    if (folder / ".git").exists():
        return []
    for number, above in enumerate(folder.parents):
        if (above / ".git").exists():
            return [*reversed(folder.parents[: number + 1])]
    return []


def _read_gitignore(rules: _Rules, folder: Path) -> bool:
    path = folder / ".gitignore"
    if not path.is_file():
        return False
    try:
        rules.ignored.append(
            (folder, GitIgnoreSpec.from_lines(path.read_text(errors="replace").splitlines()))
        )
    except (OSError, ValueError) as error:
        raise BadInput(f"code: {path} can't be read: {error}") from error
    return True


def _walk(
    folder: Path, inside: str, rules: _Rules, above: frozenset[tuple[int, int]]
) -> Iterator[tuple[str, Path]]:
    # Links are followed, each folder once on the way down.
    try:
        status = folder.stat()
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise BadInput(
            f"code: {folder} can't be read: {error.strerror}; leave it out with code.exclude"
        ) from error
    identity = (status.st_dev, status.st_ino)
    if identity in above:
        return
    has_own = _read_gitignore(rules, folder)
    for entry in entries:
        path, name, is_folder = Path(entry.path), inside + entry.name, entry.is_dir()
        if rules.leave_out(path, name, is_folder=is_folder):
            continue
        if is_folder:
            if not (path / "pyvenv.cfg").exists():  # a virtual environment
                yield from _walk(path, f"{name}/", rules, above | {identity})
        elif entry.is_file():
            yield name, path
    if has_own:
        rules.ignored.pop()
