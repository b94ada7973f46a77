"""The wire shapes of /solve: what a request may hold, and how a report is told."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from service import events
from service.engines.base import Message, Sampling
from service.ledger import Budget
from service.record import Round
from service.solution import Path, StopReason
from service.solver import Baseline, Report, Task
from service.strategies import STRATEGIES, AnyStrategy
from service.strategies.attempt import Question
from service.traces.trace import UNREADABLE, Origin, Spent, Trace
from service.traces.tracing import traced
from verifier.scoring import Score


def _readable(text: str) -> str:
    if UNREADABLE.search(text):
        raise ValueError("text must not hold NUL or lone surrogate characters")
    return text


def _spoken(text: str) -> str:
    if not text.strip():
        raise ValueError("text must not be blank")
    return text


def _named(strategy: object) -> object:
    """A bare name stands for the strategy with its default knobs."""
    name = strategy if isinstance(strategy, str) else None
    if isinstance(strategy, dict):
        name = strategy.get("name")
    if not isinstance(name, str) or name not in STRATEGIES:
        raise ValueError(f"unknown strategy; there are {', '.join(STRATEGIES)}")
    return {"name": name} if isinstance(strategy, str) else strategy


Text = Annotated[str, Field(max_length=64_000), AfterValidator(_readable), AfterValidator(_spoken)]
NamedStrategy = Annotated[AnyStrategy, Field(discriminator="name"), BeforeValidator(_named)]


class Shape(BaseModel):
    model_config = ConfigDict(
        extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class MessageShape(Shape):
    role: Literal["system", "user", "assistant"]
    content: Text


class SamplingShape(Shape):
    """How paths are drawn; `max_tokens` caps each call, the budget caps them all."""

    temperature: float = Field(default=0.7, ge=0, le=2)
    top_p: float = Field(default=0.95, gt=0, le=1)
    max_tokens: int = Field(default=512, ge=1, le=32_768)
    seed: int | None = Field(default=None, ge=0, le=2**31 - 1)


class BudgetShape(Shape):
    """`max_tokens` bounds what is generated; `max_compute_tokens` all that is computed."""

    max_tokens: int = Field(default=8192, ge=1, le=1_000_000)
    max_compute_tokens: int | None = Field(default=None, ge=1, le=10_000_000)
    deadline_ms: int = Field(default=120_000, ge=1, le=600_000)


class SolveRequest(Shape):
    """A question, as `problem` or as `messages`, and how to solve it."""

    problem: Text | None = None
    messages: list[MessageShape] | None = Field(default=None, min_length=1, max_length=256)
    strategy: NamedStrategy = STRATEGIES["stepco"]()
    """A strategy's name, or an object with its name and knobs."""
    sampling: SamplingShape = SamplingShape()
    budget: BudgetShape = BudgetShape()
    baseline: Literal["none", "estimate", "measure"] = "estimate"
    stream: bool = False
    include_trace: bool = False
    """Put the whole trace into the response."""

    @model_validator(mode="after")
    def _one_question(self) -> SolveRequest:
        if (self.problem is None) == (self.messages is None):
            raise ValueError("give either problem or messages")
        if self.messages and self.messages[-1].role != "user":
            raise ValueError("the last of the messages must be the user's")
        return self

    def task(self) -> Task:
        turns = self.messages or [MessageShape(role="user", content=self.problem or "")]
        messages = tuple(Message(turn.role, turn.content) for turn in turns)
        return Task(
            question=Question(messages, Sampling(**dict(self.sampling))),
            strategy=self.strategy,
            budget=Budget(**dict(self.budget)),
            baseline=self.baseline,
        )


class Reply(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


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
    solution, record, ledger = report.solution, report.record, report.ledger
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
        usage=Spent.of(ledger),
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
            data = {"round": path.round, "kept": kept, "first_weak": kept + 1, "score": score}
            return "revised", data | _written(path)
        case events.Verified(path, weak, cost):
            data = {"round": path.round, "sample": path.sample, "first_weak": _number(weak)}
            scores = [asdict(step.score) for step in path.steps if step.score is not None]
            return "verified", data | {"scores": scores, "tokens": cost.tokens}
        case events.CandidateFound():
            return "candidate", asdict(event)
        case events.Warned():
            return None


def _written(path: Path) -> dict[str, Any]:
    steps = [step.text for step in path.steps]
    return {"steps": steps, "answer": path.answer, "tokens": path.usage.completion}


def _number(index: int | None) -> int | None:
    return None if index is None else index + 1
