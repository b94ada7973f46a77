"""Best-of-N: sample n paths, score their steps, return the path the verifier likes best.

Aggregates after Let's Verify Step by Step (arXiv 2305.20050), the weighted vote after
Math-Shepherd (arXiv 2312.08935, section 3.4).
"""

from functools import partial
from typing import Literal

from service.solution import Path, Solution, best
from service.strategies.attempt import Attempt
from service.strategies.base import Aggregation, Lead, Samples, Threshold, drafts, knobs
from verifier.scoring import Aggregate


@knobs
class BestOfN:
    name: Literal["best_of_n"] = "best_of_n"
    n: Samples = 10
    lead: Lead = "sample"
    aggregate: Aggregation = None
    select: Literal["argmax", "weighted_vote"] = "argmax"
    threshold: Threshold = None

    async def solve(self, attempt: Attempt) -> Solution:
        doubt = partial(Path.first_weak, threshold=attempt.bar(self.threshold).correct)
        paths = await attempt.verify(await drafts(attempt, self.n, self.lead), doubt)
        by = self.aggregate or attempt.aggregate
        for path in paths:
            attempt.found(path, path.score(by))
        path = await self._choose(paths, by, attempt)
        return Solution(path, doubt(path) is None, path.score(by), "sampled")

    async def _choose(self, paths: list[Path], by: Aggregate, attempt: Attempt) -> Path:
        voters = [path for path in paths if path.answer is not None]
        if self.select == "argmax" or not voters:
            return best(paths, by)
        groups = await attempt.group(voters)
        weights = [0.0] * len(voters)
        for group, path in zip(groups, voters, strict=True):
            weights[group] += path.score(by) or 0.0
        winner = weights.index(max(weights))
        won = [p for group, p in zip(groups, voters, strict=True) if group == winner]
        return best(won, by)
