"""Which step of a path to write anew, when it is known that one must be.

The verifier says two things of a step. `correct` doubts the step itself; `value` falls where the
path takes a wrong turn. Where a path is known to be wrong, the largest fall in the log-odds of both
is the first wrong step more often than the first doubt is (so it was on wrong solutions of
ProcessBench, with the verifier that ships).
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field

from service.solution import Path
from service.strategies.attempt import Attempt
from verifier.calibration import log_odds

Locate = Annotated[
    Literal["correct", "value", "both", "random"],
    Field(
        description="The step to revise: the first in doubt, that of the largest fall in value, "
        "of the largest fall in both readouts, or any (a control)."
    ),
]

UNREAD = 2.0  # log-odds of `correct` before the first step: a step is right 88 times in 100


def located(path: Path, by: Locate, threshold: float, attempt: Attempt, since: int = 0) -> int:
    """The step, from `since` on, of a path that is verified; the first one where it has none.

    Of one that could not be read to its end it is the first in doubt.
    """
    if len(path.steps) <= since:
        return since
    if by == "random":
        return attempt.chance([path]).randrange(since, len(path.steps))
    first = by == "correct" or path.score("last") is None
    if first and (weak := path.weak_step(threshold, since)) is not None:
        return weak
    falls = [_falls(path, readout) for readout in _READOUTS[by]]
    return max(range(since, len(path.steps)), key=lambda index: sum(each[index] for each in falls))


_READOUTS: dict[str, tuple[Literal["correct", "value"], ...]] = {
    "correct": ("correct",),
    "value": ("value",),
    "both": ("correct", "value"),
}


def _falls(path: Path, readout: Literal["correct", "value"]) -> list[float]:
    """By how much the log-odds fall at each step; before the first nothing is known of value."""
    read = [log_odds(getattr(step.score, readout)) for step in path.steps if step.score]
    return [a - b for a, b in pairwise([UNREAD if readout == "correct" else read[0], *read])]
