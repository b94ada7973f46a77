"""What goes over HTTP whatever the route: readable text, and what a caller may choose."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from service.strategies import STRATEGIES, AnyStrategy
from service.text import is_readable


def _readable(text: str) -> str:
    if not is_readable(text):
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


Text = Annotated[
    str,
    Field(max_length=64_000, json_schema_extra={"minLength": 1, "pattern": r"^[^\u0000]+$"}),
    AfterValidator(_readable),
    AfterValidator(_spoken),
]
StrategyName = Annotated[str, WithJsonSchema({"type": "string", "enum": list(STRATEGIES)})]
Chosen = Annotated[
    AnyStrategy, Field(discriminator="name", json_schema_extra={"required": ["name"]})
]
NamedStrategy = Annotated[
    Chosen,
    BeforeValidator(_named, json_schema_input_type=StrategyName | Chosen),
]

CacheSalt = Annotated[str, Field(max_length=256), AfterValidator(_readable)]
BaselineKind = Literal["none", "estimate", "measure"]


class Shape(BaseModel):
    """What callers say: as it is written here, and no more."""

    model_config = ConfigDict(
        extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class Reply(BaseModel, use_attribute_docstrings=True):
    """What is said to callers."""


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
    deadline_ms: int | None = Field(default=None, ge=1, le=86_400_000)
    """From the request's coming on, its wait in the queue with it. Null: as the service has it."""
