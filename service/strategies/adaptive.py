"""What we recommend: vote first, ask the verifier where votes do not decide, and stop early.

A first path is written greedily, as that is right more often than a sample is; a second is drawn.
If they agree, that is the answer (Adaptive-Consistency, arXiv 2305.11860). If not, the best path is
left at the step where the verifier's readouts fall most, and fresh suffixes are sampled from the
kept prefix (Thought-ICS, arXiv 2602.02416: no failed chain in the prompt), until an answer leads
by two votes. All paths ever seen vote, and the verifier breaks ties; so a weak one costs little. A
path whose steps promise nothing is written no further.

Tried on recorded paths and left out, as it paid nothing: asking on where both that agree are in
doubt, and giving up a question whose first two paths promise nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated, Literal

from pydantic import Field

from service.solution import Path, Solution, StopReason, best
from service.strategies.attempt import Attempt, Doubt, Fork, Manner
from service.strategies.ballot import Ballot
from service.strategies.base import Lead, Threshold, drafts, knobs
from service.strategies.locating import Locate, located

AHEAD = 2  # votes by which an answer must lead
SURE = 0.2  # so far below the threshold a step is surely wrong

Confidence = Annotated[float, Field(strict=True, ge=0, le=1)]


@knobs
class Adaptive:
    """`score` is the confidence in the answer, `verified` that no step of its path is in doubt.

    `max_paths`: drafts and revisions at the most.
    `candidates`: suffixes sampled for a step that the verifier is unsure about; of others, one.
    `lead`: "sample" draws the first path as the others (a control).
    `locate`: which step of the best path is written anew.
    `revise`: "continue" keeps the steps before it, "restart" keeps none (a control).
    `give_up`: a path is written no further behind a step of less value; 0 writes all to their end.
    `min_confidence`: stop as soon as the confidence in an answer reaches this.
    `abstain_below`: give no answer where the confidence in the best one stays below this.
    """

    name: Literal["adaptive"] = "adaptive"
    max_paths: Annotated[int, Field(strict=True, ge=2, le=64)] = 4
    candidates: Annotated[int, Field(strict=True, ge=1, le=16)] = 2
    lead: Lead = "greedy"
    locate: Locate = "both"
    revise: Literal["continue", "restart"] = "continue"
    give_up: Confidence = 0.1
    min_confidence: Confidence | None = None
    abstain_below: Confidence | None = None
    threshold: Threshold = None

    async def solve(self, attempt: Attempt) -> Solution:
        bar = attempt.bar(self.threshold).correct
        doubt: Doubt = partial(Path.first_weak, threshold=bar)
        manner, round = Manner(stop=self._hopeless), 0
        seen = await drafts(attempt, 1, self.lead, manner=manner)
        seen = await self._judged(attempt, seen, doubt)
        ballot = await Ballot.of(seen, attempt)
        while (reason := self._ended(seen, ballot, attempt)) is None:
            if len(seen) == 1:
                written = await attempt.draft(first=1, manner=manner)
            else:
                round += 1
                forks = self._forks(seen, bar, attempt)
                written = await attempt.revise(forks, round, manner=manner)
            seen += await self._judged(attempt, written, doubt)
            ballot = await Ballot.of(seen, attempt)
        if ballot.winner is None and best(seen, "mean").stopped:
            seen = [await attempt.finish(best(seen, "mean"), round + 1, doubt)]
            attempt.found(seen[0], seen[0].score("mean"))
            ballot = await Ballot.of(seen, attempt)
        chosen = ballot.winner or best(seen, "mean")
        return self._solution(chosen, ballot.confidence, reason, doubt)

    async def _judged(self, attempt: Attempt, paths: Sequence[Path], doubt: Doubt) -> list[Path]:
        verified = await attempt.verify(paths, doubt)
        for path in verified:
            attempt.found(path, path.score("mean"))
        return verified

    def _hopeless(self, path: Path) -> int | None:
        """The first of its own steps behind which the path promises nothing."""
        own = [(k, it.score) for k, it in enumerate(path.steps) if it.round == path.round]
        return next((k for k, score in own if score and score.value < self.give_up), None)

    def _ended(self, seen: Sequence[Path], ballot: Ballot, attempt: Attempt) -> StopReason | None:
        """Why no further path is written; None if one is."""
        if all(attempt.open_ended(path) for path in seen):
            return "open_ended"
        if attempt.greedy:
            return "unchanged"
        if ballot.lead >= AHEAD:
            return "agreed"
        if self.min_confidence is not None and ballot.confidence >= self.min_confidence:
            return "confident"
        return "max_paths" if len(seen) >= self.max_paths else None

    def _forks(self, seen: Sequence[Path], bar: float, attempt: Attempt) -> list[Fork]:
        """From the best path that was not revised before; several where the step may be right."""
        left = {path.parent for path in seen}
        fresh = [path for path in seen if path.place not in left and path.steps]
        if not fresh:
            return [Fork(seen[0], 0)]
        path = best(fresh, "mean")
        weak = located(path, self.locate, bar, attempt)
        unsure = (path.correct(weak) or 0.0) > bar - SURE
        room = self.max_paths - len(seen)
        kept = 0 if self.revise == "restart" else weak
        return [Fork(path, kept)] * min(self.candidates if unsure else 1, room)

    def _solution(
        self, path: Path, confidence: float, reason: StopReason, doubt: Doubt
    ) -> Solution:
        if reason == "open_ended":
            return Solution(path, False, None, reason)
        if self.abstain_below is not None and confidence < self.abstain_below:
            return Solution(replace(path, answer=None), False, confidence, "abstained")
        return Solution(path, doubt(path) is None, confidence, reason)
