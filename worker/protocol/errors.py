"""Every error of optuna-rq, under one root.

A `BadInput` is a mistake of the user's: the commands print its message as one line and exit with 2; with 1
for what was named rightly, as far as one can tell, and is away (`ServerAway`, `RedisAway`).
Anything `Retryable` may succeed when tried again without changing anything; nothing else will.
Messages say what is wrong, where, and what to do next.
"""

from __future__ import annotations


class OptunaRQError(Exception):
    """Root of all errors raised by optuna-rq."""

    exit_code = 1


class BadInput(OptunaRQError):
    """The user asked for something that can't be: exit code 2, one clear line for each problem.

    Args:
        problems: one message, or several found in the same pass.
    """

    exit_code = 2

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Retryable(Exception):
    """Something outside is away or busy; the same call may succeed later."""


class ServerAway(BadInput, Retryable):
    """A store or a database that was named can't be reached, or is busy: it may be there later.

    Args:
        problems: as `BadInput`'s.
        input_is_wrong: its URL can't be right as far as one can tell: exit code 2.
    """

    def __init__(self, *problems: str, input_is_wrong: bool = False) -> None:
        super().__init__(*problems)
        self.exit_code = 2 if input_is_wrong else 1


class RedisUnavailable(OptunaRQError, Retryable):
    """Redis can't be reached, refuses the credentials, or is too old.

    Args:
        input_is_wrong: what names it is to be corrected: exit code 2, else 1.
    """

    def __init__(self, message: str, *, input_is_wrong: bool = True) -> None:
        super().__init__(message)
        self.exit_code = 2 if input_is_wrong else 1


class RedisAway(RedisUnavailable):
    """Redis can't be reached, or doesn't answer: it may later."""

    def __init__(self, message: str, *, input_is_wrong: bool = False) -> None:
        super().__init__(message, input_is_wrong=input_is_wrong)


class StorageUnavailable(OptunaRQError, Retryable):
    """Optuna's storage is locked or away."""


class RecordError(OptunaRQError):
    """A record in Redis can't be read: a field is missing or malformed (named in the message)."""


class NewerRecord(RecordError):
    """A record was written by a newer version of optuna-rq than this one."""

    exit_code = 2


class TransitionRefused(OptunaRQError):
    """The task's status doesn't allow this transition."""


class StaleAttempt(TransitionRefused):
    """The write carries an attempt that is no longer the task's current one."""


class ForbiddenJob(OptunaRQError):
    """A job on the queue isn't one of ours, or isn't one to run here; it was not run."""


class NoSuchTask(BadInput, TransitionRefused):
    """There is no record of the task: its id is wrong, it was deleted, or Redis has lost it."""


class ArtifactError(OptunaRQError):
    """An artifact could not be stored, found or read back."""


class InvalidKey(ArtifactError, ValueError):
    """No store can have such a key. A `ValueError`, too, as Optuna's own stores raise for such an id."""


class ObjectiveLoadError(OptunaRQError):
    """The objective can't be imported, isn't callable, or doesn't take the study's parameters.

    Args:
        message: what is wrong and where.
        missing_module: name of the top-level module that isn't installed here, when that is the cause
            (it may well be installed on another node).
    """

    def __init__(self, message: str, missing_module: str | None = None) -> None:
        super().__init__(message)
        self.missing_module = missing_module
