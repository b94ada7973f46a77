"""One solve, kept: a frozen document that a newer version can still read.

A field once written keeps its meaning; a new one has a default. What is not kept: the prompts'
exact characters, and the paths of a measured baseline.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from service.engines.base import Role, Sampling, Usage
from service.events import CandidateFound
from service.ledger import Budget, Call
from service.record import Round
from service.solution import Place, StopReason
from service.solver import Baseline
from service.strategies.attempt import Form
from service.text import readable
from verifier.scoring import Aggregate, Cost, Score

KEYLESS = "default"  # the tenant of callers without a key
SHORT = 200  # characters of a question or an answer in a list

Outcome = Literal["solved", "failed", "cancelled"]


def storable(text: object) -> object:
    return readable(text) if isinstance(text, str) else text


Text = Annotated[str, BeforeValidator(storable)]


class Value(BaseModel):
    """A part of the document, or all of it."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class Spent(Value):
    """`total` is what was computed: prompt - cached + completion + the verifier's tokens."""

    policy: Usage
    verifier: Cost
    wasted: int
    """Of completion: generated in calls that came to nothing."""
    total: int

    @classmethod
    def of(cls, calls: Sequence[Call]) -> Spent:
        policy = sum((call.policy for call in calls), Usage())
        verifier = sum((call.verifier for call in calls), Cost())
        return cls(
            policy=policy,
            verifier=verifier,
            wasted=sum(call.wasted for call in calls),
            total=policy.computed + verifier.tokens,
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
    certainty: float | None = None
    """How probable the policy found the numbers in it, where that was told."""


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
    parent: Place | None = None
    """Sample and round of the path that it goes on from."""
    stopped: bool = False
    """Whether it was written no further than a step that failed."""


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
    aggregate: Aggregate


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
    form: Form
    """In steps, with our format; or free, as the caller's turns came."""
    strategy: dict[str, Any]
    """Its name and all its knobs."""
    sampling: Sampling
    budget: Budget
    """Of the request: where it asked for several answers, its runs share it."""
    model: Text
    verifier: Text
    threshold: Score
    """The verifier's own, where the strategy's is null."""
    aggregate: Aggregate = "last"
    """The verifier's own, where the strategy's is null."""
    rounds: tuple[Round, ...]
    paths: tuple[KeptPath, ...]
    candidates: tuple[CandidateFound, ...]
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
            "candidates": tuple(replace(found, answer=None) for found in self.candidates),
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
