"""The wire shapes of /solve: what a request may hold, and how a report is told."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Literal

from pydantic import ConfigDict, Field, model_validator
from pydantic.config import JsonDict

from service import events
from service.engines.base import Message, Sampling
from service.ledger import Budget
from service.record import Round
from service.solution import Path, StopReason
from service.solver import Baseline, Report, Task
from service.strategies import STRATEGIES
from service.strategies.attempt import Question
from service.traces.trace import Origin, Spent, Trace
from service.traces.tracing import traced
from service.wire import (
    BaselineKind,
    BudgetShape,
    CacheSalt,
    NamedStrategy,
    Reply,
    SamplingShape,
    Shape,
    Text,
)
from verifier.scoring import Score

PROBLEM_ALONE: JsonDict = {"problem": {"type": "string"}, "messages": {"type": "null"}}
MESSAGES_ALONE: JsonDict = {"messages": {"type": "array"}, "problem": {"type": "null"}}


class MessageShape(Shape):
    role: Literal["system", "user", "assistant"]
    content: Text


class SolveRequest(Shape):
    """A question, as `problem` or as `messages`, and how to solve it."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {"required": ["problem"], "properties": PROBLEM_ALONE},
                {"required": ["messages"], "properties": MESSAGES_ALONE},
            ],
            "examples": [{"problem": "What is 3 and 4 and 5 and 6?", "sampling": {"seed": 7}}],
        }
    )

    problem: Text | None = None
    messages: list[MessageShape] | None = Field(default=None, min_length=1, max_length=256)
    strategy: NamedStrategy = STRATEGIES["stepco"]()
    """A strategy's name, or an object with its name and knobs."""
    sampling: SamplingShape = SamplingShape()
    budget: BudgetShape = BudgetShape()
    baseline: BaselineKind = "estimate"
    stream: bool = False
    include_trace: bool = False
    """Put the whole trace into the response."""
    cache_salt: CacheSalt = ""
    """What the engine has cached for requests of another salt is not used for this one."""

    @model_validator(mode="after")
    def _one_question(self) -> SolveRequest:
        if (self.problem is None) == (self.messages is None):
            raise ValueError("give either problem or messages")
        if self.messages and self.messages[-1].role != "user":
            raise ValueError("the last of the messages must be the user's")
        return self

    def task(self, deadline_ms: int) -> Task:
        turns = self.messages or [MessageShape(role="user", content=self.problem or "")]
        messages = tuple(Message(turn.role, turn.content) for turn in turns)
        return Task(
            question=Question(messages, Sampling(**dict(self.sampling))),
            strategy=self.strategy,
            budget=Budget(**dict(self.budget) | {"deadline_ms": deadline_ms}),
            baseline=self.baseline,
            cache_salt=self.cache_salt,
        )


class NumberedStep(Reply):
    step: int
    text: str
    round: int
    """The round that wrote it; 0 is the draft."""
    score: Score | None


class SolveResponse(Reply):
    id: str
    answer: str | None
    verified: bool
    score: float | None
    strategy: str
    stop_reason: StopReason
    steps: list[NumberedStep]
    rounds: list[Round]
    candidates: list[events.CandidateFound]
    usage: Spent
    baseline: Baseline | None
    warnings: list[str]
    model: str
    verifier: str
    elapsed_ms: int
    trace: Trace | None
    """All there is to know of the solve, if it was asked for."""


def response(report: Report, origin: Origin, *, include_trace: bool = False) -> SolveResponse:
    solution, record = report.solution, report.record
    return SolveResponse(
        id=report.id,
        answer=solution.path.answer,
        verified=solution.verified,
        score=solution.score,
        strategy=report.strategy,
        stop_reason=solution.stop_reason,
        steps=[
            NumberedStep(step=number, text=step.text, round=step.round, score=step.score)
            for number, step in enumerate(solution.path.steps, 1)
        ],
        rounds=list(record.rounds.values()),
        candidates=record.candidates,
        usage=Spent.of(report.calls),
        baseline=report.baseline,
        warnings=record.warnings,
        model=origin.model,
        verifier=origin.verifier,
        elapsed_ms=round(1000 * report.seconds),
        trace=traced(report, origin) if include_trace else None,
    )


def told(event: events.Event) -> tuple[str, dict[str, Any]] | None:
    """An event's name and data on the wire; None for what only the response tells."""
    match event:
        case events.StepWritten(round, sample, index, text):
            data = {"round": round, "sample": sample, "step": index + 1, "text": text}
            return "step", data
        case events.Drafted(path):
            return "drafted", {"round": 0, "sample": path.sample, **_written(path)}
        case events.Revised(path, kept, score):
            weak = None if score is None else kept + 1
            data = {"round": path.round, "kept": kept, "first_weak": weak, "score": score}
            return "revised", data | _written(path) | {"sample": path.sample}
        case events.Verified(path, weak, cost):
            data = {"round": path.round, "sample": path.sample, "first_weak": _number(weak)}
            scores = [asdict(step.score) for step in path.steps if step.score is not None]
            return "verified", data | {"scores": scores, "tokens": cost.tokens}
        case events.CandidateFound():
            return "candidate", asdict(event)
        case events.TextWritten() | events.Warned():
            return None


def _written(path: Path) -> dict[str, Any]:
    steps = [step.text for step in path.steps]
    return {"steps": steps, "answer": path.answer, "tokens": path.usage.completion}


def _number(index: int | None) -> int | None:
    return None if index is None else index + 1
