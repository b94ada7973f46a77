"""Diverse verifier tree search: beams that never compete, so that one early favourite is not all.

After Beeching, Tunstall and Rush (Scaling test-time compute with open models, 2024): n / width
trees, each of which goes on with the best of `width` next steps until that is a whole path.
"""

from collections.abc import Sequence
from functools import partial
from itertools import groupby
from typing import Literal

from service.solution import Path, Solution
from service.strategies.attempt import Attempt
from service.strategies.base import Samples, Threshold, knobs
from service.strategies.stepping import Steps, Width, grows, search, value


@knobs
class DVTS:
    """`score` is the confidence in the answer that most trees share."""

    name: Literal["dvts"] = "dvts"
    n: Samples = 8
    width: Width = 4
    max_steps: Steps = 16
    threshold: Threshold = None

    async def solve(self, attempt: Attempt) -> Solution:
        width = min(self.width, self.n)
        n = self.n // width * width
        survivors = partial(self._survivors, width)
        return await search(attempt, n, self.max_steps, self.threshold, survivors)

    def _survivors(self, width: int, living: Sequence[Path]) -> list[Path]:
        """Siblings are told by their number: paths are written on in runs of `width`."""
        litters = groupby(living, key=lambda path: (path.round, path.sample // width))
        tops = [max(siblings, key=value) for _, siblings in litters]
        return [path for path in tops for _ in range(width if grows(path) else 1)]
