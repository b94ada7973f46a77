"""What a strategy is, and what all of them say alike."""

from dataclasses import replace
from typing import Annotated, Literal, Protocol, TypeVar, cast, dataclass_transform

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as pydantic_dataclass

from service.solution import Path, Solution
from service.strategies.attempt import WHOLE, Attempt, Manner
from verifier.scoring import Aggregate

Samples = Annotated[int, Field(strict=True, ge=1, le=64, description="How many paths are sampled.")]
Threshold = Annotated[
    float | None,
    Field(
        strict=True,
        ge=0,
        le=1,
        description="A step less correct is weak. Null: as the verifier has it.",
    ),
]

Aggregation = Annotated[
    Aggregate | None,
    Field(description="How a path's value is made of its steps'. Null: as suits the verifier."),
]

Lead = Annotated[
    Literal["greedy", "sample"],
    Field(description="How the first path is written: in the likeliest tokens, or as the others."),
]

T = TypeVar("T")


class Strategy(Protocol):
    """Solves one question; a frozen dataclass whose fields are the request's knobs."""

    @property
    def name(self) -> str: ...

    async def solve(self, attempt: Attempt) -> Solution: ...


async def drafts(
    attempt: Attempt, n: int, lead: Lead, *, first: int = 0, manner: Manner = WHOLE
) -> list[Path]:
    """Paths from scratch, numbered from `first` on; number 0 as `lead` says.

    Free text is never led by a greedy one: who asks for two poems wants two.
    """
    if first or lead == "sample" or attempt.question.form == "free":
        return await attempt.draft(n, first=first, manner=manner)
    led = await attempt.draft(manner=replace(manner, greedy=True))
    return led + (await attempt.draft(n - 1, first=1, manner=manner) if n > 1 else [])


@dataclass_transform(frozen_default=True)
def knobs(cls: type[T]) -> type[T]:
    """A frozen dataclass that checks its fields' types and bounds and refuses unknown ones."""
    config = ConfigDict(extra="forbid", allow_inf_nan=False)
    return cast(type[T], pydantic_dataclass(frozen=True, config=config)(cls))
