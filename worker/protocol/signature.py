"""Signed jobs: a worker runs what its controller asked for, whatever Redis says.

A job's signature covers the task, the attempt and all that decides what is run: the objective, the
parameters, the code, the queue. Write access to Redis alone doesn't let anybody make or change one.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from time import time
from typing import Any

from itsdangerous import BadSignature, TimestampSigner
from itsdangerous import Signer as PlainSigner

from worker.protocol.errors import ForbiddenJob
from worker.protocol.keys import used_signature
from worker.protocol.record import TaskRecord
from worker.protocol.transaction import Once

MAX_AGE_S = 24 * 3600.0
"""Age at which a signature is refused, in seconds. The controller then signs the job again."""
MAX_AHEAD_S = 300.0
"""How far a signature may lie in the future, in seconds: clocks differ."""

RECORD_SIGNATURE = "seal"
"""Field of a task's record in Redis, see `Signer.sign_record`."""

_NONCE = re.compile(r"[0-9a-f]{24}")
_SALT = "optuna-rq.job.1"
_RECORD_SALT = "optuna-rq.task.1"


class Signer:
    """Signs and verifies with a shared secret.

    Args:
        secret: the same on all sides.
        now: returns seconds since the epoch, by a clock that both sides share.
    """

    def __init__(self, secret: str, now: Callable[[], float] = time) -> None:
        self._now = now
        self._signer = _Stamped(secret, now)
        self._record_signer = PlainSigner(
            secret, salt=_RECORD_SALT, key_derivation="hmac", digest_method=hashlib.sha256
        )

    def sign(self, record: TaskRecord) -> str:
        """The signature of a task's current attempt. No two calls return the same."""
        return self._signer.sign(f"{secrets.token_hex(12)}.{_digest(record)}").decode()

    def sign_record(self, record: TaskRecord) -> str:
        """The signature of what a task runs, on any queue and without an expiry.

        It is stored beside the record, so that only what was launched is signed for further attempts.
        """
        names = sorted(record.spec.parameters)
        return json.dumps([names, self._record_signer.get_signature(_signed_text(record, names)).decode()])

    def verified(self, signed: str | None, record: TaskRecord) -> TaskRecord:
        """The record reduced to what was signed, without what a program has added.

        Raises:
            ForbiddenJob: the signature is missing, or signs something else.
        """
        try:
            names, signature = json.loads(signed or "")
            good = self._record_signer.verify_signature(_signed_text(record, names), signature)
            parameters = {name: record.spec.parameters[name] for name in names}
        except (ValueError, TypeError, KeyError, RecursionError):
            good = False
        if not good:
            raise ForbiddenJob(
                "what it runs was altered in Redis, or comes from somebody without this OPTUNA_RQ_SECRET"
            )
        return replace(record, spec=replace(record.spec, parameters=parameters, connected=()))

    def verify(self, token: str | None, record: TaskRecord) -> str:
        """Prove that a job was signed for exactly this record.

        Returns:
            The nonce of this signature.

        Raises:
            ForbiddenJob: it was not; one line says why.
        """
        if not token:
            raise ForbiddenJob("it is not signed (its sender has no OPTUNA_RQ_SECRET)")
        try:
            value, at = self._signer.unsign(token, return_timestamp=True)
        except (BadSignature, ValueError) as error:
            raise ForbiddenJob(
                "its signature is wrong (OPTUNA_RQ_SECRET has to be the same for controller and workers)"
            ) from error
        age_s = self._now() - at.timestamp()
        if age_s < -MAX_AHEAD_S:
            raise ForbiddenJob(f"it was signed {-age_s:.0f} s in the future: a clock is wrong")
        if age_s > MAX_AGE_S:
            raise ForbiddenJob(f"it was signed {age_s / 3600:.0f} h ago; the controller will sign it again")
        nonce, _, digest = value.decode("utf-8", "replace").partition(".")
        if digest != _digest(record):
            raise ForbiddenJob("it was signed for another task or attempt, or its task was altered since")
        return nonce


def used_once(token: str | None, slot: str) -> Once | None:
    """Redis' note that the job with this signature was run, so that none runs twice in the fleet.

    Args:
        token: not proved yet: `Signer.verify` refuses one that is no signature.
        slot: that is about to run it.
    """
    nonce = (token or "").partition(".")[0]
    if not _NONCE.fullmatch(nonce):
        return None
    return Once(key=used_signature(nonce), by=slot, life_s=MAX_AGE_S + MAX_AHEAD_S)


class UsedSignatures:
    """The signatures whose jobs a worker has run, so that none runs twice there, whatever Redis has lost.

    Args:
        folder: shared by the worker's slots; made on first use.
        now: returns seconds since the epoch.
    """

    def __init__(self, folder: Path, now: Callable[[], float] = time) -> None:
        self._folder, self._now = folder, now
        self._tidy_at = now() + MAX_AGE_S / 4

    def use(self, nonce: str) -> None:
        """Record a nonce as used. Raises `ForbiddenJob` if it was used before."""
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            (self._folder / nonce).touch(exist_ok=False)
        except FileExistsError as error:
            raise ForbiddenJob("it has been run already, and was put on the queue once more") from error
        if self._now() >= self._tidy_at:
            self._tidy_at = self._now() + MAX_AGE_S / 4
            for path in self._folder.iterdir():
                # Kept for twice the time they are valid: a clock may be set back.
                if path.stat().st_mtime < self._now() - 2 * MAX_AGE_S:
                    path.unlink(missing_ok=True)


class _Stamped(TimestampSigner):
    def __init__(self, secret: str, now: Callable[[], float]) -> None:
        super().__init__(secret, salt=_SALT, key_derivation="hmac", digest_method=hashlib.sha256)
        self._clock = now

    def get_timestamp(self) -> int:
        return int(self._clock())


def _signed_text(record: TaskRecord, names: Sequence[str]) -> str:
    parameters = {name: record.spec.parameters[name] for name in names}
    spec = replace(record.spec, parameters=parameters, connected=(), queue="")
    about: list[Any] = [record.id, record.study, record.trial, list(names), spec.encode()]
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()


def _digest(record: TaskRecord) -> str:
    about: list[Any] = [record.id, record.attempt, record.study, record.trial, record.spec.encode()]
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()
