"""What is asked of a service under load, and how often: one declarative file.

Files in `mixes/` have names; another is given by its path. Every draw depends on the seed, so the
same file asks the same of two services. What is left to others: the drawing, and the asking.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from service.errors import StartupError

MIXES = Path(__file__).with_name("mixes")
QUESTIONS = Path(__file__).parents[1] / "data/gsm8k-20.jsonl"
Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(gt=0)]
Arrivals = Literal["poisson", "bursty", "closed"]


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Work(Part):
    """A strategy with its knobs, as `POST /solve` takes it."""

    share: Weight
    strategy: dict[str, Any]


class Budget(Part):
    share: Weight
    max_tokens: int = Field(ge=1)


class Tenant(Part):
    """A caller; `weight` and `tokens_per_day` are its key's, where that is ours to make."""

    share: Weight
    """Of the arrivals of an open loop; in a closed one all have as many callers."""
    weight: Weight = 1.0
    tokens_per_day: int = Field(default=10**9, ge=1)
    max_tokens: int | None = None
    """The budget of all its requests, if not drawn."""


class Stage(Part):
    """A stretch of one kind of arrivals.

    Open loops are offered at `rate` requests a second, or at `load` times what a closed stage
    before could do; a closed loop has `callers` that ask again when they are answered.
    """

    arrivals: Arrivals
    seconds: float = Field(default=10.0, gt=0, le=86_400)
    rate: Weight | None = None
    load: Weight | None = None
    callers: int = Field(default=32, ge=1, le=4096)
    requests: int | None = Field(default=None, ge=1)
    """Of a closed loop: so many, however long they take."""

    @property
    def open(self) -> bool:
        return self.arrivals != "closed"


class Plan(Part):
    """Shares are of requests; `patience` is in seconds, as all times are."""

    name: str = ""
    seed: int = 0
    deadline: float = Field(default=60.0, gt=0)
    """What each request asks for."""
    good_within: float = 5.0
    """An answer is good that comes so soon."""
    warmup: float = 2.0
    """Of each stage; latencies and rates are told of what is due later."""
    streamed: Share = 0.6
    openai: Share = 0.3
    """Asked through `/v1/chat/completions`."""
    cancelled: Share = 0.1
    """Whose callers leave after a while within `patience`, if they have no answer yet."""
    patience: tuple[float, float] = (0.2, 3.0)
    invalid: Share = 0.02
    honouring: Share = 0.2
    """Whose callers ask once more when refused, after `Retry-After`."""
    questions: str = str(QUESTIONS)
    """JSON lines, as `surefoot bench run` takes them."""
    work: tuple[Work, ...] = Field(min_length=1)
    budgets: tuple[Budget, ...] = Field(min_length=1)
    tenants: dict[str, Tenant] = Field(min_length=1)
    stages: tuple[Stage, ...] = Field(min_length=1)
    service: dict[str, str | int | float] = {}
    """Settings of a service that is started for it."""

    @model_validator(mode="after")
    def _loads_are_of_something(self) -> Plan:
        measured = False
        for stage in self.stages:
            if stage.open and not measured and stage.rate is None:
                raise ValueError("an open stage needs a rate, or a load behind a closed stage")
            measured |= not stage.open
        return self


def plan(
    mix: str,
    rates: list[float] | None = None,
    seconds: float | None = None,
    seed: int | None = None,
) -> Plan:
    """The mix of that name or file; with rates, offered at these one after another.

    Raises `StartupError` if there is none or it cannot be read.
    """
    try:
        read = Plan.model_validate(_told(mix))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "it"
        raise StartupError(f"The mix {mix} cannot be used: {place}: {first['msg']}.") from error
    stages = read.stages
    if rates:
        stages = tuple(Stage(arrivals="poisson", rate=rate) for rate in rates)
    if seconds:
        stages = tuple(stage.model_copy(update={"seconds": seconds}) for stage in stages)
    kept = read.seed if seed is None else seed
    return read.model_copy(update={"stages": stages, "seed": kept})


def _told(mix: str) -> dict[str, Any]:
    """What its file says, and below it what that of the mix says which it is `like`."""
    file = MIXES / f"{mix}.toml" if (MIXES / f"{mix}.toml").exists() else Path(mix)
    try:
        told = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        names = ", ".join(sorted(each.stem for each in MIXES.glob("*.toml")))
        raise StartupError(f"There is no mix {mix}; there are {names}, or name a file.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise StartupError(f"The mix {mix} is no TOML: {error}.") from error
    like = told.pop("like", None)
    return (_told(str(like)) if like else {}) | {"name": file.stem} | told
