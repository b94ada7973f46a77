"""What a strategy says on the way, to whoever listens: a callback, not a generator."""

from collections.abc import Callable
from dataclasses import dataclass

from service.solution import Path
from verifier.scoring import Cost


@dataclass(frozen=True, slots=True)
class TextWritten:
    """The policy has written on: the text as it came, the first with what its turn was begun with.

    `tokens` is what it cost.
    """

    round: int
    sample: int
    text: str
    tokens: int


@dataclass(frozen=True, slots=True)
class StepWritten:
    """The policy has finished writing a step of a path that is still growing."""

    round: int
    sample: int
    index: int
    text: str


@dataclass(frozen=True, slots=True)
class Drafted:
    """A path was written from scratch."""

    path: Path


@dataclass(frozen=True, slots=True)
class Revised:
    """A path was written anew from step `kept` on, whose correctness was `score`.

    One that was written on, and had no such step, has no score.
    """

    path: Path
    kept: int
    score: float | None


@dataclass(frozen=True, slots=True)
class Verified:
    """A path was scored; `weak` is the first step in doubt, None if there is none."""

    path: Path
    weak: int | None
    cost: Cost


@dataclass(frozen=True, slots=True)
class CandidateFound:
    """One of several paths, with the value it is chosen by, if it has one."""

    sample: int
    answer: str | None
    score: float | None
    tokens: int
    round: int = 0


@dataclass(frozen=True, slots=True)
class Warned:
    """Something was not done as asked; a sentence for the response's `warnings`."""

    message: str


Event = TextWritten | StepWritten | Drafted | Revised | Verified | CandidateFound | Warned
Listener = Callable[[Event], None]


def unheard(_: Event) -> None:
    """Nobody listens."""
