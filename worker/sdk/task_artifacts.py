"""The part of `Task` that stores files: artifacts and checkpoints."""

from __future__ import annotations

import atexit
import contextlib
import glob
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker.protocol.checkpoint import name_of
from worker.protocol.errors import ArtifactError, BadInput
from worker.sdk.artifact_saving import ArtifactHandle, forget, upload
from worker.sdk.session import Session
from worker.sdk.task_core import TaskCore

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was fetched; can be opened as its path can."""

    path: Path
    """A verified copy, kept until the program ends."""
    iteration: int

    def __fspath__(self) -> str:
        return os.fspath(self.path)


class TaskArtifacts(TaskCore):
    """The part of `Task` that stores files."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._uploaded: dict[str, ArtifactHandle] = {}
        self._scratch: list[Path] = []

    # Artifacts

    @property
    def artifacts(self) -> Mapping[str, ArtifactHandle]:
        """Name → artifact: those of the task, or, in a worker's program, those that it has uploaded."""
        if self.at is None:
            return dict(self._uploaded)
        from worker.artifacts import ArtifactMeta  # noqa: PLC0415 - programs that store nothing don't wait for it

        stored = self.at.store.artifacts.of_task(self.about["id"])
        return {name: ArtifactHandle(ArtifactMeta.from_json(text)) for name, text in stored.items()}

    def upload_artifact(
        self,
        name: str,
        artifact_object: Any,
        metadata: Any = None,
        delete_after_upload: bool = False,
        *,
        as_files: bool = False,
        mimetype: str | None = None,
        encoding: str | None = None,
        **_: Any,
    ) -> bool:
        """Store a file, a folder or an object with the task; returns when it is stored and listed.

        A store that is away is waited for, ``ARTIFACT_PATIENCE`` seconds (300) long.

        Args:
            name: under which it is listed; a later artifact of the same name replaces it.
            artifact_object: a path (str or Path) to a file or folder, bytes, a dict or list, a numpy
                array, a DataFrame, a figure or an image. A path with ``*``, ``?`` or ``[`` stands for all
                files that it matches, in folders below as well; they are stored as one .zip.
            metadata: ClearML's, not kept.
            delete_after_upload: remove the file or folder once it is stored.
            as_files: store each file of a folder as an artifact ``name/path within it`` of its own, rather
                than the folder as one .zip.
            mimetype, encoding: such as ``text/csv`` and ``gzip``; guessed from the name when not given.

        Raises:
            ArtifactError: it can't be read or stored; the message says why.
            TaskStopped: the task is to stop.
        """
        session = self._own_session("artifacts come")
        session.check_stop()
        matched = _matched(name, artifact_object)
        with tempfile.TemporaryDirectory(prefix="orq-matched-") if matched else _nothing() as folder:
            given = artifact_object
            if matched:
                given = _linked(Path(folder), matched)
            sources = _files_of(name, given) if as_files else {name: given}
            for each, source in sources.items():
                handle = upload(self.about, session, each, source, mimetype=mimetype, encoding=encoding)
                self._uploaded[handle.meta.name] = handle
        if delete_after_upload and isinstance(artifact_object, (str, Path)):
            for path in matched.values() or [Path(artifact_object)]:
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)
        return True

    # Checkpoints

    def save_checkpoint(self, path: Any, iteration: int, *, keep: int = 2) -> None:
        """Store a checkpoint: if this attempt is lost, the next one can go on from here.

        What has been reported until now is kept for that attempt, so that no iteration counts twice. Works
        also once the task is to stop, as in a ``finally`` block, within the task's grace period.

        Args:
            path: a file or folder; also anything else that `upload_artifact` takes.
            iteration: the last one that is in it, from 0.
            keep: how many of the task's checkpoints are kept, the newest; at least 1.

        Raises:
            ArtifactError: it can't be read or stored; the ones before are kept.
        """
        session = self._own_session("checkpoints come")
        if isinstance(iteration, bool) or int(iteration) != iteration or iteration < 0:
            raise ValueError(f"save_checkpoint: iteration {iteration!r} must be a whole number from 0")
        if keep < 1:
            raise ValueError(f"save_checkpoint: keep={keep} must be at least 1")
        handle = upload(self.about, session, name_of(int(iteration)), path, checkpoint=int(iteration))
        known = [meta for meta in self._checkpoints() if meta.name != handle.meta.name]
        replaced = [meta for meta in self._checkpoints() if meta.name == handle.meta.name]
        dropped = known[: max(0, len(known) + 1 - keep)]
        self.about["checkpoints"] = [meta.to_json() for meta in [*known[len(dropped) :], handle.meta]]
        if dropped:
            session.unlink([meta.name for meta in dropped])
        # Unlisted first: what a crash in between leaves is found by `controller artifacts gc`.
        forget(self.about, [*replaced, *dropped])

    def last_checkpoint(self) -> Checkpoint | None:
        """The newest checkpoint of this task that can be fetched; None when there is none.

        In a program it is that of the attempt before, or its own. Go on at ``iteration + 1``.
        """
        from worker.artifacts import fetch  # noqa: PLC0415 - programs that store nothing don't wait for it

        for meta in reversed(self._checkpoints()):
            folder = Path(tempfile.mkdtemp(prefix="orq-checkpoint-"))
            if not self._scratch:
                atexit.register(self.remove_scratch)
            self._scratch.append(folder)
            try:
                path = fetch(meta, folder)
            except ArtifactError as error:
                log.warning("checkpoint %s is passed over: %s", meta.name, error)
                continue
            return Checkpoint(path=path, iteration=int(meta.name.rpartition("/")[2]))
        return None

    def _checkpoints(self) -> list[Any]:
        """Descriptions of the task's checkpoints, the oldest first."""
        from worker.artifacts import ArtifactMeta  # noqa: PLC0415 - programs that store nothing don't wait for it

        if self.session is None and self.at is not None:
            texts: Sequence[str] = [
                point.meta for point in self.at.store.reports.checkpoints(self.about["id"])
            ]
        else:
            texts = self.about.get("checkpoints", ())
        return [ArtifactMeta.from_json(text) for text in texts]

    def remove_scratch(self) -> None:
        """Remove the copies of checkpoints that were fetched."""
        while self._scratch:
            shutil.rmtree(self._scratch.pop(), ignore_errors=True)

    def _own_session(self, what: str) -> Session:
        if self.session is None:
            raise BadInput(f"task {self.about['id']}: {what} from the program that runs it")
        return self.session


def _nothing() -> contextlib.AbstractContextManager[str]:
    return contextlib.nullcontext("")


def _matched(name: str, source: Any) -> dict[str, Path]:
    """The files that a path with wildcards stands for, by their names within its folder; empty for others."""
    if not isinstance(source, (str, Path)) or not re.search(r"[*?\[]", str(source)):
        return {}
    text = str(source)
    if "\n" in text or os.path.lexists(text):
        return {}
    parts = Path(text).parts
    first = next(i for i, part in enumerate(parts) if re.search(r"[*?\[]", part))
    above = Path(*parts[:first])
    # The last part is looked for in all folders below, as ClearML does it.
    pattern = [*parts[first:-1], "**", parts[-1]] if parts[-1] != "**" else [*parts[first:], "*"]
    found = glob.glob(str(Path(*pattern)), root_dir=above, recursive=True)
    files = {path: above / path for path in sorted(found) if (above / path).is_file()}
    if not files:
        raise ArtifactError(f"artifact {name!r}: there is no file {Path(text).absolute()}")
    return files


def _linked(folder: Path, files: Mapping[str, Path]) -> Path:
    """Links to files, by the names that they are to have below `folder`; returns `folder`."""
    for inside, path in files.items():
        link = folder / inside
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path.absolute())
    return folder


def _files_of(name: str, source: Any) -> dict[str, Path]:
    """Artifact name → file, of all files below a folder."""
    if not isinstance(source, (str, os.PathLike)) or not Path(os.fsdecode(source)).is_dir():
        raise ArtifactError(f"artifact {name!r}: as_files takes the path of a folder, not {source!r:.80}")
    folder = Path(os.fsdecode(source))
    found = {}
    for above, _, files in sorted(os.walk(folder)):
        for file in sorted(files):
            path = Path(above) / file
            if path.is_file():
                found[f"{name}/{path.relative_to(folder).as_posix()}"] = path
    if not found:
        raise ArtifactError(f"artifact {name!r}: there is no file in {folder}")
    return found
