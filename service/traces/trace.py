"""One solve, kept: a frozen document that a newer version can still read.

A field once written keeps its meaning; a new one has a default. What is not kept: the prompts'
exact characters, and the paths of a measured baseline.
"""

from __future__ import annotations

import re
from asyncio import CancelledError
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from service.engines.base import Role, Sampling, Usage
from service.errors import ServiceError
from service.ledger import Budget, Call, Ledger
from service.record import Find, Record, Round
from service.solution import StopReason
from service.solver import Baseline, Loss, Report
from verifier.answers import normal
from verifier.scoring import Cost, Score

UNREADABLE = re.compile("[\x00\ud800-\udfff]")  # NUL and lone surrogates: no database takes both
KEYLESS = "default"  # the tenant of callers without a key
SHORT = 200  # characters of a question or an answer in a list

Outcome = Literal["solved", "failed", "cancelled"]


def storable(text: object) -> object:
    return UNREADABLE.sub("\ufffd", text) if isinstance(text, str) else text


Text = Annotated[str, BeforeValidator(storable)]


class Value(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class Spent(Value):
    """`total` is what was computed: prompt - cached + completion + the verifier's tokens."""

    policy: Usage
    verifier: Cost
    wasted: int
    """Of completion: generated in calls that came to nothing."""
    total: int

    @classmethod
    def of(cls, ledger: Ledger) -> Spent:
        return cls(
            policy=ledger.policy,
            verifier=ledger.verifier,
            wasted=ledger.wasted,
            total=ledger.computed,
        )


class Turn(Value):
    role: Role
    content: Text | None
    """Null where content is not kept."""
    length: int
    """Characters."""


class KeptStep(Value):
    step: int
    text: Text | None
    length: int
    round: int
    """The round that wrote it; 0 is the draft."""
    score: Score | None


class KeptPath(Value):
    sample: int
    round: int
    kept: int
    """Steps that stand as the path before had them."""
    first_weak: int | None
    """Number of the first step in doubt when it was verified."""
    verified: bool
    steps: tuple[KeptStep, ...]
    answer: Text | None
    group: int | None
    """Index of the first path whose answer reads the same; null without an answer."""
    policy: Usage
    """What the call that wrote it cost."""
    verifier: Cost


class Candidate(Value):
    sample: int
    answer: Text | None
    score: float | None
    tokens: int


class Failure(Value):
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Origin:
    """Whose solve it is, which route it came by, and who answered."""

    tenant: str
    route: str
    model: str
    verifier: str
    threshold: Score


class Trace(Value):
    id: str
    created: datetime
    tenant: str
    route: str
    outcome: Outcome
    error: Failure | None
    content: bool
    """Whether the texts of questions, steps and answers are in it."""
    messages: tuple[Turn, ...]
    strategy: dict[str, Any]
    """Its name and all its knobs."""
    sampling: Sampling
    budget: Budget
    model: Text
    verifier: Text
    threshold: Score
    """The verifier's own, where the strategy's is null."""
    rounds: tuple[Round, ...]
    paths: tuple[KeptPath, ...]
    candidates: tuple[Candidate, ...]
    chosen: int | None
    """Index of the path that was returned."""
    answer: Text | None
    verified: bool
    score: float | None
    stop_reason: StopReason | None
    warnings: tuple[Text, ...]
    baseline: Baseline | None
    usage: Spent
    calls: tuple[Call, ...]
    """Of engine and verifier, as they ended; their tokens add up to `usage`."""
    seconds: float

    @property
    def question(self) -> str | None:
        """The last turn, as far as it is kept."""
        return self.messages[-1].content

    def without_content(self) -> Trace:
        """The same with every text left out; lengths, scores and which answers agree stay."""
        paths = tuple(
            path.model_copy(
                update={
                    "answer": None,
                    "steps": tuple(step.model_copy(update={"text": None}) for step in path.steps),
                }
            )
            for path in self.paths
        )
        update = {
            "content": False,
            "messages": tuple(turn.model_copy(update={"content": None}) for turn in self.messages),
            "paths": paths,
            "candidates": tuple(c.model_copy(update={"answer": None}) for c in self.candidates),
            "answer": None,
            "baseline": self.baseline and replace(self.baseline, answer=None),
            "sampling": replace(self.sampling, stop=()),
        }
        return self.model_copy(update=update)


class Summary(Value):
    """A line of a list of traces."""

    id: str
    created: datetime
    route: str
    strategy: str
    outcome: Outcome
    model: str
    verifier: str
    question: str | None = Field(description=f"Its first {SHORT} characters.")
    answer: str | None = Field(description=f"Its first {SHORT} characters.")
    verified: bool
    score: float | None
    stop_reason: str | None
    tokens: int
    """Computed in all."""
    seconds: float


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
        strategy=asdict(run.task.strategy),  # type: ignore[call-overload]
        sampling=question.sampling,
        budget=run.task.budget,
        rounds=tuple(record.rounds.values()),
        paths=_paths(record.finds),
        candidates=tuple(Candidate(**asdict(found)) for found in record.candidates),
        warnings=tuple(record.warnings),
        usage=Spent.of(run.ledger),
        calls=tuple(run.ledger.calls),
        seconds=run.seconds,
        **(_solved(run, record) if isinstance(run, Report) else _lost(run)),
    )


def _solved(report: Report, record: Record) -> dict[str, Any]:
    solution = report.solution
    places = [(find.path.sample, find.path.round) for find in record.finds]
    place = (solution.path.sample, solution.path.round)
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
            )
            for number, step in enumerate(path.steps, 1)
        ),
        answer=path.answer,
        group=group,
        policy=path.usage,
        verifier=Cost() if verdict is None else verdict.cost,
    )
