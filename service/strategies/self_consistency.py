"""Self-consistency (arXiv 2203.11171): sample n paths, return the answer most of them share."""

from collections import Counter
from typing import Literal

from service.solution import Solution
from service.strategies.attempt import Attempt
from service.strategies.base import Samples, knobs


@knobs
class SelfConsistency:
    """The verifier has no part in it, so its solution is never `verified`.

    `score` is the winner's share of the votes. Ties go to the answer that came first.
    """

    name: Literal["self_consistency"] = "self_consistency"
    n: Samples = 10

    async def solve(self, attempt: Attempt) -> Solution:
        paths = await attempt.draft(self.n)
        for path in paths:
            attempt.found(path, None)
        voters = [path for path in paths if path.answer is not None]
        if not voters:
            return Solution(paths[0], False, None, "sampled")
        groups = await attempt.group(voters)
        (winner, votes), *_ = Counter(groups).most_common(1)
        return Solution(voters[groups.index(winner)], False, votes / len(paths), "sampled")
