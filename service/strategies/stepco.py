"""StepCo (arXiv 2410.12934): verify the path, rewrite it from the first weak step on, repeat.

Where the paper and its released code differ, or both can be bettered, a knob names the choice. The
defaults keep the verified prefix as it is and sample a fresh suffix from it, which costs the suffix
alone; and return the best path seen, since a revision may also break what was right. Answers are
read from the path, never asked for in a call of their own.
"""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Literal

from pydantic import Field, StrictBool

from service.solution import Path, Solution, StopReason, best
from service.strategies.attempt import Attempt
from service.strategies.base import Threshold, knobs
from verifier.scoring import Aggregate, Score


@knobs
class StepCo:
    """The paper's algorithm is `revise="rewrite", select="last"`; its code adds
    `accept="value", stop="repeated", monotone=False`.

    `threshold`: θ, below which a step is weak (paper: 0.5); left out, the verifier's own.
    `max_rounds`: T, revisions at the most (paper: 5).
    `revise`: "continue" samples a new suffix from the kept prefix; "rewrite" is the paper's prompt.
    `monotone`: the flagged step never moves back (paper: k(t) >= k(t-1)).
    `accept`: "steps" when no step is weak; "value" when the path's value reaches the threshold.
    `stop`: "accepted" revises until then; "repeated" also stops at two equal answers in a row.
    `select`: on a bad exit, the "best" path seen or the "last" one.
    `aggregate`: how a path's value is made of its steps' values.
    """

    name: Literal["stepco"] = "stepco"
    threshold: Threshold = None
    max_rounds: Annotated[int, Field(strict=True, ge=0, le=32)] = 5
    revise: Literal["continue", "rewrite"] = "continue"
    monotone: StrictBool = True
    accept: Literal["steps", "value"] = "steps"
    stop: Literal["accepted", "repeated"] = "accepted"
    select: Literal["best", "last"] = "best"
    aggregate: Aggregate = "last"

    async def solve(self, attempt: Attempt) -> Solution:
        doubt = partial(self._doubt, attempt.bar(self.threshold))
        (path,) = await attempt.verify(await attempt.draft(), doubt)
        seen, weak = [path], doubt(path)
        reason: StopReason | None = None
        while weak is not None and (reason := await self._stopped(seen, attempt)) is None:
            written = await attempt.revise(path, weak, len(seen), rewrite=self.revise == "rewrite")
            doubt = partial(doubt, since=weak if self.monotone else 0)
            (path,) = await attempt.verify([written], doubt)
            seen.append(path)
            weak = doubt(path)
        if reason is None:
            return Solution(path, True, path.score(self.aggregate), "accepted")
        chosen = path if self.select == "last" else best(seen, self.aggregate)
        return Solution(chosen, False, chosen.score(self.aggregate), reason)

    def _doubt(self, bar: Score, path: Path, since: int = 0) -> int | None:
        """The step to revise from, or None when the path is accepted."""
        weak = path.first_weak(bar.correct, since)
        if self.accept == "steps" or path.answer is None:
            return weak
        if (path.score(self.aggregate) or 0.0) >= bar.value:
            return None
        return len(path.steps) - 1 if weak is None else weak

    async def _stopped(self, seen: Sequence[Path], attempt: Attempt) -> StopReason | None:
        """Why the last path is not revised, though it holds a doubt; None if it shall be."""
        if attempt.open_ended(seen[-1]):
            return "open_ended"
        if attempt.greedy and len(seen) > 1 and seen[-1].text == seen[-2].text:
            return "unchanged"
        answers = [path for path in seen[-2:] if path.answer is not None]
        if (
            self.stop == "repeated"
            and len(answers) == 2
            and len(set(await attempt.group(answers))) == 1
        ):
            return "repeated"
        return "max_rounds" if len(seen) > self.max_rounds else None
