"""One draft, verified: the baseline every other strategy is measured against."""

from functools import partial
from typing import Literal

from service.solution import Path, Solution
from service.strategies.attempt import Attempt
from service.strategies.base import Threshold, knobs


@knobs
class Single:
    name: Literal["single"] = "single"
    threshold: Threshold = None

    async def solve(self, attempt: Attempt) -> Solution:
        doubt = partial(Path.first_weak, threshold=attempt.bar(self.threshold).correct)
        (path,) = await attempt.verify(await attempt.draft(), doubt)
        return Solution(path, doubt(path) is None, path.score("last"), "sampled")
