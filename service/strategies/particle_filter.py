"""Particle filtering: steps are drawn in proportion to their value, not by the highest alone.

After Puri et al. (arXiv 2502.01618): n particles; after each step all of them, whole or growing,
are resampled with weights that are the odds of their value. A verifier's mistake so costs a share
of the particles, where a beam would follow it.
"""

from collections.abc import Sequence
from math import exp
from typing import Literal

from service.solution import Path
from service.strategies.attempt import Attempt
from service.strategies.base import knobs
from service.strategies.stepping import Search, value
from verifier.calibration import log_odds


@knobs
class ParticleFilter(Search):
    """`score` is the confidence in the answer that most particles share."""

    name: Literal["particle_filter"] = "particle_filter"

    def survivors(self, living: Sequence[Path], attempt: Attempt) -> list[Path]:
        odds = [exp(log_odds(value(path))) for path in living]
        return attempt.chance(living).choices(living, odds, k=len(living))
