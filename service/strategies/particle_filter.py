"""Particle filtering: steps are drawn in proportion to their value, not by the highest alone.

After Puri et al. (arXiv 2502.01618): n particles; after each step all of them, whole or growing,
are resampled with weights that are the odds of their value. A verifier's mistake so costs a share
of the particles, where a beam would follow it.
"""

from collections.abc import Sequence
from functools import partial
from math import exp
from typing import Literal

from service.solution import Path, Solution
from service.strategies.attempt import Attempt
from service.strategies.base import Samples, Threshold, knobs
from service.strategies.stepping import Steps, search, value
from verifier.calibration import log_odds


@knobs
class ParticleFilter:
    """`score` is the confidence in the answer that most particles share."""

    name: Literal["particle_filter"] = "particle_filter"
    n: Samples = 8
    max_steps: Steps = 16
    threshold: Threshold = None

    async def solve(self, attempt: Attempt) -> Solution:
        survivors = partial(self._survivors, attempt)
        return await search(attempt, self.n, self.max_steps, self.threshold, survivors)

    def _survivors(self, attempt: Attempt, living: Sequence[Path]) -> list[Path]:
        odds = [exp(log_odds(value(path))) for path in living]
        return attempt.chance(living).choices(living, odds, k=len(living))
