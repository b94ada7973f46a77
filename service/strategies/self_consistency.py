"""Self-consistency (arXiv 2203.11171): sample n paths, return the answer most of them share.

With a `confidence` it is Adaptive-Consistency (arXiv 2305.11860): no more are sampled once it is so
probable that the leading answer would stay ahead of the second for ever.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import count
from typing import Annotated, Literal

from pydantic import Field

from service.solution import Path, Solution, StopReason
from service.strategies.attempt import Attempt, Manner
from service.strategies.base import Lead, Samples, drafts, knobs

UNJUDGED = Manner(judged=False)


@knobs
class SelfConsistency:
    """The verifier has no part in it, so its solution is never `verified`.

    `n`: paths to sample; with a `confidence`, at the most (the paper: 40 and 0.95).
    `score` is the winner's share of the votes. Ties go to the answer that came first.
    """

    name: Literal["self_consistency"] = "self_consistency"
    n: Samples = 10
    lead: Lead = "sample"
    confidence: Annotated[
        float | None,
        Field(strict=True, gt=0.5, lt=1, description="Of the lead, at which to stop sampling."),
    ] = None

    async def solve(self, attempt: Attempt) -> Solution:
        paths, voters, groups, asked = list[Path](), list[Path](), list[int](), 0
        while more := self._more(groups, asked):
            drawn = await drafts(attempt, more, self.lead, first=asked, manner=UNJUDGED)
            asked += more
            for path in drawn:
                attempt.found(path, None)
            paths += drawn
            voters += [path for path in drawn if path.answer is not None]
            groups = await attempt.group(voters)
        if not voters:
            return Solution(paths[0], False, None, "sampled")
        (winner, votes), *_ = Counter(groups).most_common(1)
        reason: StopReason = "sampled" if asked == self.n else "agreed"
        return Solution(voters[groups.index(winner)], False, votes / len(paths), reason)

    def _more(self, groups: Sequence[int], asked: int) -> int:
        """How many to draw next: as few as could settle it, so that none is drawn in vain."""
        left = self.n - asked
        if self.confidence is None:
            return left
        first, second = ([votes for _, votes in Counter(groups).most_common(2)] + [0, 0])[:2]
        wanted = (k for k in count() if staying_ahead(first + k, second) >= self.confidence)
        return min(left, next(wanted))


def staying_ahead(first: int, second: int) -> float:
    """The probability that the answer with `first` votes is likelier than that with `second`.

    Of the two alone, before any vote all shares are alike likely: the mass of
    Beta(first + 1, second + 1) above one half (arXiv 2305.11860, section 3), in whole numbers.
    """
    drawn = first + second + 1
    return sum(math.comb(drawn, k) for k in range(first + 1)) / (1 << drawn)
