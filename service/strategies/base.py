"""What a strategy is, and what all of them say alike."""

from typing import Annotated, Protocol, TypeVar, cast, dataclass_transform

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as pydantic_dataclass

from service.solution import Solution
from service.strategies.attempt import Attempt

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


T = TypeVar("T")


class Strategy(Protocol):
    """Solves one question; a frozen dataclass whose fields are the request's knobs."""

    @property
    def name(self) -> str: ...

    async def solve(self, attempt: Attempt) -> Solution: ...


@dataclass_transform(frozen_default=True)
def knobs(cls: type[T]) -> type[T]:
    """A frozen dataclass that checks its fields' types and bounds and refuses unknown ones."""
    config = ConfigDict(extra="forbid", allow_inf_nan=False)
    return cast(type[T], pydantic_dataclass(frozen=True, config=config)(cls))
