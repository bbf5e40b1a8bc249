"""Is the winner really the best, or was it lucky? What repeats with other seeds say of a study's best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from controller.insight.confirm_answer import Confirmation, Confirmed, Measure
from controller.insight.confirm_rounds import Dropped, Repeat, scores_of, standing
from controller.insight.confirm_tasks import ended_repeats, sorted_out
from controller.insight.confirm_words import words_of
from controller.insight.words import p_text
from controller.results.parameters import as_written
from controller.results.study_data import StudyData, TaskData, read_tasks
from worker.protocol import ObjectiveMetric, Store, StudyRecord
from worker.protocol.confirmations import ConfirmPlan


def read_confirmation(store: Store, study: StudyRecord) -> Confirmation | None:
    """What confirms a study's best; None where nobody has asked for it."""
    plan = store.confirmations.plan(study.name)
    if plan is None:
        return None
    sources = read_tasks(store, study, plan.of)
    return confirmation_of(
        study, plan, sources, read_tasks(store, study, store.confirmations.tasks(study.name))
    )


def confirmation_in(data: StudyData) -> Confirmation | None:
    """As `read_confirmation`, of a study that was read, perhaps from its file."""
    if data.confirm_plan is None:
        return None
    sources = {task.record.id: task for task in data.tasks}
    return confirmation_of(
        data.study, data.confirm_plan, sources, {task.record.id: task for task in data.confirming}
    )


def confirmation_of(
    study: StudyRecord, plan: ConfirmPlan, sources: Mapping[str, TaskData], tasks: Mapping[str, TaskData]
) -> Confirmation:
    """The answer.

    Args:
        sources: the tasks that are confirmed, by id.
        tasks: those that confirm.
    """
    metrics = study.metrics
    plan = _present(plan, sources)
    found = sorted_out(plan, tasks.values())
    ended = ended_repeats(found, metrics)
    now = standing(ended, plan.seeds)
    columns = _columns(ended, len(metrics))
    shown = [_estimates(column, metric) for column, metric in zip(columns, metrics, strict=True)]
    chances = _chances(columns)
    configurations = [
        Confirmed(
            task=source,
            trial=sources[source].record.trial,
            place=number + 1,
            parameters=as_written(sources[source].record, everything=False),
            repeats=len(scores_of(ended[number])),
            failed=sum(repeat.scores is None for repeat in ended[number].values()),
            open=sum(not tries[-1].record.status.is_finished for tries in found[number].values()),
            measures=tuple(
                _measure(metric, of_metric[number], sources[source])
                for metric, of_metric in zip(metrics, shown, strict=True)
            ),
            probability=chances[number],
            dropped=_why(now.dropped.get(number), plan, sources),
            tasks=tuple(task.record.id for tries in found[number].values() for task in tries),
        )
        for number, source in enumerate(plan.of)
    ]
    ranked = sorted(configurations, key=lambda one: (-(one.probability or 0.0), one.place))
    answer = Confirmation(
        study=study.name,
        k=plan.k,
        seeds=plan.seeds,
        trials=plan.trials,
        configurations=tuple(ranked),
        ended="" if now.wanted and not plan.ended else plan.ended or "all repeats have run",
        least=now.least,
        most=now.most,
        objectives=tuple(metric.key for metric in metrics),
        expected_luck=_luck(columns[0], plan.trials),
    )
    return words_of(answer, metrics)


def _present(plan: ConfirmPlan, sources: Mapping[str, TaskData]) -> ConfirmPlan:
    """The plan without configurations whose tasks are gone, as after a rewind."""
    return ConfirmPlan(**{**vars(plan), "of": tuple(source for source in plan.of if source in sources)})


def _columns(ended: Sequence[Mapping[int, Repeat]], objectives: int) -> list[list[list[float]]]:
    """By objective and configuration, the scores of its repeats."""
    rows = [scores_of(one) for one in ended]
    return [[[score[index] for score in row] for row in rows] for index in range(objectives)]


@dataclass(frozen=True, kw_only=True)
class _Estimate:
    mean: float
    interval: tuple[float, float] | None
    deviation: float | None


def _estimates(column: Sequence[Sequence[float]], metric: ObjectiveMetric) -> list[_Estimate | None]:
    """For each configuration what its repeats say, as values of the objective."""
    from controller.insight.confirm_statistics import intervals, means, spreads  # noqa: PLC0415 - scipy

    if not any(column):
        return [None] * len(column)
    sign = 1.0 if metric.score(1.0) < 0 else -1.0  # of values, compared with scores
    deviations = spreads(column).deviations
    found: list[_Estimate | None] = []
    rows = zip(column, means(column), intervals(column), deviations, strict=True)
    for row, middle, span, deviation in rows:
        if not row:
            found.append(None)
            continue
        ends = None if span is None else sorted((sign * span[0], sign * span[1]))
        found.append(
            _Estimate(
                mean=sign * float(middle),
                interval=None if ends is None else (ends[0], ends[1]),
                deviation=float(deviation) if deviation == deviation else None,
            )
        )
    return found


def _measure(metric: ObjectiveMetric, found: _Estimate | None, source: TaskData) -> Measure:
    shown = source.value(metric)
    advantage = None
    if found is not None and shown is not None:
        advantage = metric.score(found.mean) - metric.score(shown)
    return Measure(
        metric=metric.key,
        shown=shown,
        mean=None if found is None else found.mean,
        low=None if found is None or found.interval is None else found.interval[0],
        high=None if found is None or found.interval is None else found.interval[1],
        deviation=None if found is None else found.deviation,
        advantage=advantage,
    )


def _chances(columns: Sequence[Sequence[Sequence[float]]]) -> list[float | None]:
    from controller.insight.confirm_statistics import probabilities, spreads  # noqa: PLC0415 - scipy

    if not columns or not any(columns[0]) or not spreads(columns[0]).freedoms.any():
        return [None] * (len(columns[0]) if columns else 0)
    return list(probabilities(columns))


def _luck(column: Sequence[Sequence[float]], trials: int) -> float | None:
    from controller.insight.confirm_statistics import expected_luck, spreads  # noqa: PLC0415 - scipy

    found = spreads(column)
    return expected_luck(float(found.deviations[0]), trials) if len(column) and found.freedoms[0] else None


def _why(found: Dropped | None, plan: ConfirmPlan, sources: Mapping[str, TaskData]) -> str:
    if found is None:
        return ""
    if found.by is None:
        return f"after {found.after} repeats: most of them failed"
    better = sources[plan.of[found.by]].record.trial
    return f"after {found.after} repeats: clearly worse than trial {better} ({p_text(found.p)})"
