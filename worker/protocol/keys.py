"""Every Redis key of optuna-rq. RQ's own keys (``rq:*``) are RQ's affair.

Names of studies stand in keys as they are, but for ``:`` and ``%``, which are percent-encoded: study
``a:tasks`` is not in the way of study ``a``. Task ids are 32 hexadecimal digits.

| key | type | holds | written by | ends |
|---|---|---|---|---|
| `orq:studies` | zset | study name → time created | controller | with the study |
| `orq:study:S` | hash | the study: sweep, metrics, state, budget use | controller | with the study |
| `orq:study:S:lock` | string, expires | which controller acts on the study | controller | its lease |
| `orq:study:S:request` | string | `stop`, `pause`, `resume`, `finish`: asked for | both | when taken |
| `orq:study:S:tasks` | zset | task id → trial number | controller | with the study |
| `orq:study:S:status:X` | zset | ids of the tasks in status X → trial number | both | with the study |
| `orq:study:S:rank` | zset | task id → objective, smaller is better | worker | with the study |
| `orq:study:S:rank:completed` | zset | the same, completed tasks of one objective | worker | with the study |
| `orq:study:S:rank:I` | zset | as `rank`, by objective I of several, from 1 | worker | with the study |
| `orq:study:S:events` | stream | starts, reports, ends, requests | both | trimmed behind the reader |
| `orq:study:S:artifacts` | hash | artifact name → description, of its own | controller | with the study |
| `orq:study:S:removed` | set | ids of artifacts that were removed | controller | with the study |
| `orq:base_tasks` | zset | ids of tasks outside any study → time created | both | with the task |
| `orq:task:T` | hash | the task record | both | deleted with its study |
| `orq:task:T:lease` | string, expires | attempt and worker that may report | worker | its lease |
| `orq:task:T:scalars` | hash | metric → last, min, max, count, last iteration | worker | with the task |
| `orq:task:T:series` | list | batches of reported points, oldest first, capped | worker | with the task |
| `orq:task:T:log` | string | standard output and error, the last part | worker | with the task |
| `orq:task:T:artifacts` | hash | artifact name → its description | worker | with the task |
| `orq:workers` | set | names of workers seen | worker | pruned when read |
| `orq:worker:W` | hash, expires | host, queues, slots and what each runs | worker | its lease |
| `orq:control:W` | pub/sub | wakes worker W: look at the stop request of a task | controller | - |
"""

from __future__ import annotations

from worker.protocol.status import Status

PREFIX = "orq:"
STUDIES = "orq:studies"
BASE_TASKS = "orq:base_tasks"
WORKERS = "orq:workers"

MAX_OBJECTIVES = 16
"""Of one study: bounds its keys, which are known from its name alone."""


def study(name: str) -> str:
    return f"orq:study:{name.replace('%', '%25').replace(':', '%3A')}"


def study_lock(name: str) -> str:
    return f"{study(name)}:lock"


def study_request(name: str) -> str:
    return f"{study(name)}:request"


def study_tasks(name: str) -> str:
    return f"{study(name)}:tasks"


def study_status(name: str, status: Status) -> str:
    return f"{study(name)}:status:{status.value}"


def rank(name: str, *, index: int = 0, only_completed: bool = False) -> str:
    """The index by the objective at `index`; of completed tasks there is one by the first objective only."""
    if only_completed:
        return f"{study(name)}:rank:completed"
    return f"{study(name)}:rank:{index}" if index else f"{study(name)}:rank"


def events(name: str) -> str:
    return f"{study(name)}:events"


def study_artifacts(name: str) -> str:
    return f"{study(name)}:artifacts"


def removed_artifacts(name: str) -> str:
    return f"{study(name)}:removed"


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


def worker(name: str) -> str:
    return f"orq:worker:{name}"


def control(worker_name: str) -> str:
    return f"orq:control:{worker_name}"


def of_task(task_id: str) -> list[str]:
    """All keys that belong to a task."""
    return [key(task_id) for key in (task, lease, scalars, series, log, artifacts)]


def of_study(name: str) -> list[str]:
    """All keys that belong to a study, those of its tasks excepted."""
    return [
        study(name),
        study_lock(name),
        study_request(name),
        study_tasks(name),
        *(study_status(name, status) for status in Status),
        *(rank(name, index=index) for index in range(MAX_OBJECTIVES)),
        rank(name, only_completed=True),
        events(name),
        study_artifacts(name),
        removed_artifacts(name),
    ]
