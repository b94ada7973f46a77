"""What came of each request: one line of JSON, whatever came of it. None is left out."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

FILE = "outcomes.jsonl"
LIMITS = ("token_budget", "compute_budget", "deadline")

Kind = Literal["answered", "refused", "rejected", "failed", "truncated", "cancelled", "lost"]
"""`refused`: it was invalid, and was told so; `rejected`: it was one too many, or over a quota;
`failed`: an error that nobody declared; `truncated`: a stream without its last event; `cancelled`:
its caller left; `lost`: the connection broke."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a response said of its tokens; those of a refusal are 0.

    `generated` by the policy, `computed` in all, `visible` of an answer of OpenAI's API.
    """

    solve: str | None = None
    stop_reason: str | None = None
    prompt: int = 0
    generated: int = 0
    computed: int = 0
    visible: int | None = None


@dataclass(slots=True)
class Clock:
    """Seconds since the request was due: when it was sent, and when what came first came.

    `reasoning` is the first step or word of reasoning, `answer` the first of the answer.
    """

    sent: float = 0.0
    first_byte: float | None = None
    reasoning: float | None = None
    answer: float | None = None
    end: float = 0.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """One attempt of one order. `due` is in seconds since its stage began.

    A second one `waited` so many seconds, as it was told to.
    """

    number: int
    stage: int
    tenant: str
    strategy: str
    budget: int
    path: str
    streamed: bool
    valid: bool
    attempt: int
    due: float
    kind: Kind
    status: int | None
    code: str | None
    clock: Clock
    told: Told = field(default_factory=Told)
    retry_after: int | None = None
    should_retry: bool = False
    remaining: int | None = None
    """Tokens of the tenant's day, as the response had it."""
    waited: int | None = None

    @property
    def cut(self) -> bool:
        """A limit ended it."""
        return self.told.stop_reason in LIMITS

    @property
    def late(self) -> bool:
        """Its deadline ended it."""
        return self.told.stop_reason == "deadline"

    def line(self) -> str:
        return json.dumps(asdict(self))


def read(folder: Path) -> list[Outcome]:
    """Those that a run has written."""
    rows = map(json.loads, (folder / FILE).read_text(encoding="utf-8").splitlines())
    nested = ("clock", Clock), ("told", Told)
    return [Outcome(**row | {name: kind(**row[name]) for name, kind in nested}) for row in rows]


def write(outcomes: Iterable[Outcome], folder: Path) -> None:
    text = "".join(f"{outcome.line()}\n" for outcome in outcomes)
    (folder / FILE).write_text(text, encoding="utf-8")
