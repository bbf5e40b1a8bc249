"""Checkpoints of a sampler, so that a study that is started again suggests what it would have suggested.

After helios' functions of the same names (`helios.plugins.optuna.utils`). One file per trial,
``trial_000012.sampler``: a line of JSON that describes it, then Optuna's sampler as pickled by Python. Only
take checkpoints from a folder that nobody else can write to: a checkpoint can run code here.
"""

from __future__ import annotations

import hashlib
import json
import logging
import pickle
import re
from pathlib import Path
from typing import Any

import optuna

from worker.artifacts.atomic import replacing
from worker.optuna_internals import forget_search_space
from worker.protocol.errors import BadInput

log = logging.getLogger(__name__)

FORMAT = "optuna-rq sampler"
VERSION = 1
KEEP = 1000
"""Checkpoints that are kept by default, the newest; each takes some ten kilobytes."""

_NAME = re.compile(r"trial_(\d{6,})\.sampler")


class _Damaged(Exception):
    """The file is cut short or altered."""


def checkpoint_sampler(trial: optuna.Trial, chkpt_root: Path | str, *, keep: int = KEEP) -> None:
    """Write down the state of the sampler of `trial`'s study.

    Call it at the beginning of an objective, so that a trial that fails gets the same values again, and at
    its end, so that the next trial gets the values it would have had. The file appears whole or not at all.

    Args:
        trial: the current one; what it has had before is replaced.
        chkpt_root: the folder of the checkpoints; made if need be.
        keep: how many are kept, of the trials with the highest numbers.

    Raises:
        BadInput: the folder can't be written, or the sampler can't be pickled.
    """
    root = Path(chkpt_root)
    sampler = trial.study.sampler
    try:
        body = pickle.dumps(sampler)
    except Exception as error:
        raise BadInput(f"checkpoint_sampler: {type(sampler).__name__} can't be pickled: {error}") from error
    head = {
        "format": FORMAT,
        "v": VERSION,
        "optuna": optuna.__version__,
        "sampler": f"{type(sampler).__module__}.{type(sampler).__qualname__}",
        "study": trial.study.study_name,
        "trial": trial.number,
        "size": len(body),
        "sha256": hashlib.sha256(body).hexdigest(),
    }
    path = root / f"trial_{trial.number:06d}.sampler"
    try:
        with replacing(path) as partial:
            partial.write_bytes(json.dumps(head).encode() + b"\n" + body)
        for _, old in _found(root)[: -max(1, keep)]:
            old.unlink(missing_ok=True)
    except OSError as error:
        raise BadInput(f"checkpoint_sampler: {path}: {error.strerror or error}") from error


def restore_sampler(
    chkpt_root: Path | str, trial_id: int | None = None
) -> optuna.samplers.BaseSampler | None:
    """The sampler as a checkpoint has it; call it before `optuna.create_study`, and give it that.

    A checkpoint that is cut short or altered is passed over for the one before it, with a warning; so is a
    trial that has none.

    Args:
        chkpt_root: the folder of the checkpoints.
        trial_id: number of the trial, from 0; by default the last one.

    Returns:
        None when there is no checkpoint (up to that trial).

    Raises:
        BadInput: it was written by another version of Optuna or of this library, or its class isn't there.
    """
    if trial_id is not None and (isinstance(trial_id, bool) or trial_id < 0):
        raise BadInput(f"restore_sampler: trial_id {trial_id!r}: trials are numbered from 0")
    root = Path(chkpt_root)
    candidates = [item for item in _found(root) if trial_id is None or item[0] <= trial_id]
    if candidates and trial_id is not None and candidates[-1][0] != trial_id:
        log.warning("%s has no sampler of trial %d; taking that of %d", root, trial_id, candidates[-1][0])
    for number, path in reversed(candidates):
        try:
            return _read(path)
        except _Damaged as error:
            log.warning("sampler checkpoint %s is passed over: %s", path, error)
            continue
        finally:
            log.debug("sampler of trial %d: %s", number, path)
    return None


def prune_after(chkpt_root: Path | str, trial_id: int) -> int:
    """Remove the checkpoints of trials after `trial_id`; returns how many."""
    doomed = [path for number, path in _found(Path(chkpt_root)) if number > trial_id]
    for path in doomed:
        path.unlink(missing_ok=True)
    return len(doomed)


def _forget_search_spaces(holder: Any, depth: int = 0) -> None:
    """Clear a sampler's cached search spaces, which belong to the id of one study."""
    for value in list(getattr(holder, "__dict__", {}).values()):
        if (
            not forget_search_space(value)
            and type(value).__module__.startswith("optuna.samplers")
            and depth < 3
        ):
            _forget_search_spaces(value, depth + 1)


def _found(root: Path) -> list[tuple[int, Path]]:
    """The checkpoints in a folder, by the numbers of their trials."""
    if not root.is_dir():
        return []
    named = ((_NAME.fullmatch(path.name), path) for path in root.iterdir())
    return sorted((int(match[1]), path) for match, path in named if match)


def _read(path: Path) -> optuna.samplers.BaseSampler:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _Damaged(error.strerror or str(error)) from error
    line, _, body = data.partition(b"\n")
    try:
        head: dict[str, Any] = json.loads(line)
    except ValueError as error:
        raise _Damaged("it does not begin as a checkpoint does") from error
    if not isinstance(head, dict) or head.get("format") != FORMAT:
        raise _Damaged("it is no checkpoint of a sampler")
    if head.get("v") != VERSION:
        raise BadInput(
            f"sampler checkpoint {path}: version {head.get('v')} is not known; upgrade optuna-rq here"
        )
    if len(body) != head.get("size") or hashlib.sha256(body).hexdigest() != head.get("sha256"):
        raise _Damaged(f"it is cut short or altered ({len(body)} bytes of {head.get('size')})")
    if head.get("optuna") != optuna.__version__:
        raise BadInput(
            f"sampler checkpoint {path}: it is of Optuna {head.get('optuna')}, here is {optuna.__version__}; "
            "install that version to go on as before, or give a new sampler"
        )
    try:
        sampler = pickle.loads(body)
    except Exception as error:
        raise BadInput(
            f"sampler checkpoint {path}: {head.get('sampler')} can't be made here: {error}"
        ) from error
    _forget_search_spaces(sampler)
    if not isinstance(sampler, optuna.samplers.BaseSampler):
        raise BadInput(f"sampler checkpoint {path}: a {type(sampler).__name__} is no sampler")
    return sampler
