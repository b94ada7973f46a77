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
from service.strategies.attempt import Attempt, Doubt, Fork, Manner
from service.strategies.base import Aggregation, Lead, Threshold, drafts, knobs
from service.strategies.locating import Locate, located
from verifier.scoring import Score


@knobs
class StepCo:
    """The paper's algorithm is `revise="rewrite", select="last"`; its code adds
    `accept="value", stop="repeated", monotone=False`.

    `threshold`: θ, below which a step is weak (paper: 0.5); left out, the verifier's own.
    `lead`: "greedy" drafts in the likeliest tokens, and samples the revisions alone.
    `max_rounds`: T, revisions at the most (paper: 5).
    `revise`: "continue" samples a new suffix from the kept prefix; "rewrite" is the paper's prompt;
    "restart" keeps nothing (a control: the same budget without the located step).
    `monotone`: the flagged step never moves back (paper: k(t) >= k(t-1)).
    `accept`: "steps" when no step is weak; "value" when the path's value reaches the threshold.
    `stop`: "accepted" revises until then; "repeated" also stops at two equal answers in a row.
    `select`: on a bad exit, the "best" path seen or the "last" one.
    `aggregate`: how a path's value is made of its steps' values; left out, as suits the verifier.
    `locate`: which step of a path in doubt is revised (paper: the first weak one, "correct").
    `stream`: verify steps while they are written, and write no path on behind a weak one. If the
    path to be returned is one of those, it is first revised once more, to its end.
    """

    name: Literal["stepco"] = "stepco"
    threshold: Threshold = None
    lead: Lead = "sample"
    max_rounds: Annotated[int, Field(strict=True, ge=0, le=32)] = 5
    revise: Literal["continue", "rewrite", "restart"] = "continue"
    monotone: StrictBool = True
    accept: Literal["steps", "value"] = "steps"
    stop: Literal["accepted", "repeated"] = "accepted"
    select: Literal["best", "last"] = "best"
    aggregate: Aggregation = None
    locate: Locate = "correct"
    stream: StrictBool = False

    async def solve(self, attempt: Attempt) -> Solution:
        bar = attempt.bar(self.threshold)
        doubt: Doubt = partial(self._doubt, attempt, bar, since=0)
        drafted = await drafts(attempt, 1, self.lead, manner=self._manner(bar, 0))
        (path,) = await attempt.verify(drafted, doubt)
        seen, weak = [path], doubt(path)
        reason: StopReason | None = None
        while weak is not None and (reason := await self._stopped(seen, attempt)) is None:
            fork = Fork(path, 0 if self.revise == "restart" else weak)
            since = fork.kept if self.monotone else 0
            doubt = partial(self._doubt, attempt, bar, since=since)
            written = await attempt.revise(
                [fork],
                len(seen),
                rewrite=self.revise == "rewrite",
                manner=self._manner(bar, fork.kept),
            )
            (path,) = await attempt.verify(written, doubt)
            seen.append(path)
            weak = doubt(path)
        by = self.aggregate or attempt.aggregate
        if reason is None:
            return Solution(path, True, path.score(by), "accepted")
        chosen = path if self.select == "last" else best(seen, by)
        chosen = await attempt.finish(chosen, len(seen), doubt)
        return Solution(chosen, False, chosen.score(by), reason)

    def _manner(self, bar: Score, since: int) -> Manner:
        weak = partial(Path.weak_step, threshold=bar.correct, since=since)
        return Manner(stop=weak if self.stream else None)

    def _doubt(self, attempt: Attempt, bar: Score, path: Path, since: int) -> int | None:
        """The step to revise from, or None when the path is accepted."""
        weak = self._weak(attempt, bar, path, since)
        if weak is None or self.locate == "correct" or (path.answer is None and not path.stopped):
            return weak
        return located(path, self.locate, bar.correct, attempt, since)

    def _weak(self, attempt: Attempt, bar: Score, path: Path, since: int) -> int | None:
        """The first step in doubt, or None when the path is accepted."""
        weak = path.first_weak(bar.correct, since)
        if self.accept == "steps" or path.answer is None:
            return weak
        if (path.score(self.aggregate or attempt.aggregate) or 0.0) >= bar.value:
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
