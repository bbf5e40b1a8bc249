"""Every Redis key of optuna-rq. RQ names its own keys (``rq:*``).

Keys hold the names of studies with ``:`` and ``%`` percent-encoded: study ``a:tasks`` does not collide with
study ``a``. Task ids are 32 hexadecimal digits.

| key | type | holds | written by | ends |
|---|---|---|---|---|
| `orq:studies` | zset | study name → time created | controller | with the study |
| `orq:study:S` | hash | the study: sweep, metrics, state, budget use | controller | with the study |
| `orq:study:S:lock` | string, expires | which controller acts on the study | controller | its lease |
| `orq:study:S:request` | string | `stop`, `pause` or `resume` | controller | when taken |
| `orq:study:S:finish` | string | that an objective wants no more launched | both | when taken |
| `orq:study:S:tasks` | zset | task id → trial number | controller | with the study |
| `orq:study:S:confirmations` | zset | task that confirms → time created | controller | with the study |
| `orq:study:S:confirm` | string | what is confirmed, see `ConfirmPlan` | controller | with the study |
| `orq:study:S:status:X` | zset | ids of the tasks in status X → trial number | both | with the study |
| `orq:study:S:rank` | zset | task id → objective, smaller is better | both | with the study |
| `orq:study:S:rank:completed` | zset | completed tasks by their only objective | both | with the study |
| `orq:study:S:rank:I` | zset | as `rank`, by objective I of several, from 1 | both | with the study |
| `orq:study:S:events` | stream | what happened, see `EventKind` | both | trimmed behind the reader |
| `orq:study:S:log` | stream | what was done with it, see `LogEntry`; capped | controller | with the study |
| `orq:study:S:edits` | hash | limit → how a person has edited it | controller | with the study |
| `orq:study:S:given` | list | configurations to be tried next, as JSON | controller | when taken |
| `orq:study:S:artifacts` | hash | artifact name → description, of its own | controller | with the study |
| `orq:study:S:removed` | set | ids of artifacts that were removed | controller | with the study |
| `orq:study:S:touched` | zset | task that was tagged, noted or removed → when | controller | with the study |
| `orq:study:S:surroundings` | hash | see `RecordedSurroundings` | controller | with the study |
| `orq:study:S:seen` | hash | worker name → surroundings of its tasks | both | with the study |
| `orq:base_tasks` | zset | ids of tasks outside any study → time created | both | with the task |
| `orq:task:T` | hash | the task record | both | with its study, or when deleted |
| `orq:task:T:lease` | string, expires | ``attempt:slot`` that runs the task | worker | its lease |
| `orq:task:T:scalars` | hash | metric → its summary, see `Summary.to_list` | both | with the task |
| `orq:task:T:series` | list | batches of points, see `Batch.encode`; capped | both | with the task |
| `orq:task:T:log` | string | standard output and error, the last part | both | with the task |
| `orq:task:T:artifacts` | hash | artifact name → its description | both | with the task |
| `orq:task:T:surroundings` | string | those of a task outside any study | worker | with the task |
| `orq:used:N` | string, expires | slot that has run the job signed with nonce N | worker | 24 h 5 min |
| `orq:workers` | set | names of workers seen | worker | pruned when read |
| `orq:worker:W` | hash, expires | host, queues, pause, and what each slot runs | both | its lease |
| `orq:control:W` | pub/sub | wakes worker W: id of a task to stop, `pause`, or an `Order` | controller | - |

"Controller" stands for every command on the head node. It shares keys with workers to repair what they left,
and to restore tasks that were moved or lost (`worker.protocol.copies`).
"""

from __future__ import annotations

from worker.protocol.status import Status

PREFIX = "orq:"
STUDIES = "orq:studies"
BASE_TASKS = "orq:base_tasks"
WORKERS = "orq:workers"
RQ = "rq:"
"""Prefix of RQ's own keys: its default, whatever RQ_KEY_PREFIX says. ACL rules and autoscalers rely on it."""

MAX_OBJECTIVES = 16
"""Most objectives of a study. Bounds its keys, so that its name alone gives all of them."""


def study(name: str) -> str:
    return f"orq:study:{name.replace('%', '%25').replace(':', '%3A')}"


def study_lock(name: str) -> str:
    return f"{study(name)}:lock"


def study_request(name: str) -> str:
    return f"{study(name)}:request"


def study_finish(name: str) -> str:
    return f"{study(name)}:finish"


def study_tasks(name: str) -> str:
    return f"{study(name)}:tasks"


def study_confirmations(name: str) -> str:
    return f"{study(name)}:confirmations"


def confirm_plan(name: str) -> str:
    return f"{study(name)}:confirm"


def study_status(name: str, status: Status) -> str:
    return f"{study(name)}:status:{status.value}"


def rank(name: str, *, index: int = 0, only_completed: bool = False) -> str:
    """The ranking by the objective at `index`; the one of completed tasks is by the first objective only."""
    if only_completed:
        return f"{study(name)}:rank:completed"
    return f"{study(name)}:rank:{index}" if index else f"{study(name)}:rank"


def events(name: str) -> str:
    return f"{study(name)}:events"


def study_log(name: str) -> str:
    return f"{study(name)}:log"


def budget_edits(name: str) -> str:
    return f"{study(name)}:edits"


def given(name: str) -> str:
    return f"{study(name)}:given"


def study_artifacts(name: str) -> str:
    return f"{study(name)}:artifacts"


def removed_artifacts(name: str) -> str:
    return f"{study(name)}:removed"


def study_touched(name: str) -> str:
    return f"{study(name)}:touched"


def study_surroundings(name: str) -> str:
    return f"{study(name)}:surroundings"


def study_seen(name: str) -> str:
    return f"{study(name)}:seen"


def task(task_id: str) -> str:
    return f"orq:task:{task_id}"


def lease(task_id: str) -> str:
    return f"orq:task:{task_id}:lease"


def scalars(task_id: str) -> str:
    return f"orq:task:{task_id}:scalars"


def series(task_id: str) -> str:
    return f"orq:task:{task_id}:series"


def log(task_id: str) -> str:
    return f"orq:task:{task_id}:log"


def artifacts(task_id: str) -> str:
    return f"orq:task:{task_id}:artifacts"


def surroundings(task_id: str) -> str:
    return f"orq:task:{task_id}:surroundings"


def used_signature(nonce: str) -> str:
    return f"orq:used:{nonce}"


def worker(name: str) -> str:
    return f"orq:worker:{name}"


def control(worker_name: str) -> str:
    return f"orq:control:{worker_name}"


def of_task(task_id: str) -> list[str]:
    """All keys that belong to a task."""
    return [key(task_id) for key in (task, lease, scalars, series, log, artifacts, surroundings)]


def of_study(name: str) -> list[str]:
    """All keys that belong to a study, except for those of its tasks."""
    return [
        study(name),
        study_lock(name),
        study_request(name),
        study_finish(name),
        study_tasks(name),
        study_confirmations(name),
        confirm_plan(name),
        *(study_status(name, status) for status in Status),
        *(rank(name, index=index) for index in range(MAX_OBJECTIVES)),
        rank(name, only_completed=True),
        events(name),
        study_log(name),
        budget_edits(name),
        given(name),
        study_artifacts(name),
        removed_artifacts(name),
        study_touched(name),
        study_surroundings(name),
        study_seen(name),
    ]
