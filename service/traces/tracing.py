"""The trace of a run that is over, with its content."""

from asyncio import CancelledError
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from service.errors import ServiceError
from service.record import Find, Record
from service.solver import Loss, Report
from service.traces.trace import Failure, KeptPath, KeptStep, Origin, Spent, Trace, Turn
from verifier.answers import normal
from verifier.scoring import Cost


def traced(run: Report | Loss, origin: Origin) -> Trace:
    """The document of a run, with its content."""
    record, question = run.record, run.task.question
    return Trace(
        id=run.id,
        created=run.created,
        **asdict(origin) | {"threshold": origin.threshold},
        content=True,
        messages=tuple(
            Turn(role=m.role, content=m.content, length=len(m.content)) for m in question.messages
        ),
        form=question.form,
        strategy=asdict(run.task.strategy),  # type: ignore[call-overload]
        sampling=question.sampling,
        budget=run.task.budget,
        rounds=tuple(record.rounds.values()),
        paths=_paths(record.finds),
        candidates=tuple(record.candidates),
        warnings=tuple(record.warnings),
        usage=Spent.of(run.calls),
        calls=tuple(run.calls),
        seconds=run.seconds,
        **(_solved(run, record) if isinstance(run, Report) else _lost(run)),
    )


def _solved(report: Report, record: Record) -> dict[str, Any]:
    solution = report.solution
    places, place = [find.path.place for find in record.finds], solution.path.place
    return {
        "outcome": "solved",
        "error": None,
        "chosen": places.index(place) if place in places else None,
        "answer": solution.path.answer,
        "verified": solution.verified,
        "score": solution.score,
        "stop_reason": solution.stop_reason,
        "baseline": report.baseline,
    }


def _lost(loss: Loss) -> dict[str, Any]:
    nothing = {"chosen": None, "answer": None, "verified": False, "score": None}
    nothing |= {"stop_reason": None, "baseline": None}
    if isinstance(loss.error, CancelledError):
        return nothing | {"outcome": "cancelled", "error": None}
    seen = loss.error if isinstance(loss.error, ServiceError) else ServiceError("A defect.")
    return nothing | {"outcome": "failed", "error": Failure(code=seen.code, message=seen.message)}


def _paths(finds: Sequence[Find]) -> tuple[KeptPath, ...]:
    answers = [None if f.path.answer is None else normal(f.path.answer) for f in finds]
    groups = [None if answer is None else answers.index(answer) for answer in answers]
    return tuple(_path(find, group) for find, group in zip(finds, groups, strict=True))


def _path(find: Find, group: int | None) -> KeptPath:
    path, verdict = find.path, find.verdict
    return KeptPath(
        sample=path.sample,
        round=path.round,
        kept=find.kept,
        first_weak=None if verdict is None or verdict.weak is None else verdict.weak + 1,
        verified=find.verified,
        steps=tuple(
            KeptStep(
                step=number,
                text=step.text,
                length=len(step.text),
                round=step.round,
                score=step.score,
                certainty=step.certainty,
            )
            for number, step in enumerate(path.steps, 1)
        ),
        answer=path.answer,
        group=group,
        policy=path.usage,
        verifier=Cost() if verdict is None else verdict.cost,
        parent=path.parent,
        stopped=path.stopped,
    )
