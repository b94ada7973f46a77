"""When requests come that do not wait for answers: Poisson, or in bursts; the same for a seed."""

from __future__ import annotations

import random
from collections.abc import Iterator

SHAPE = 0.25  # of the gamma distribution of bursts' gaps: their variation is twice Poisson's


def moments(arrivals: str, rate: float, seconds: float, seed: str) -> Iterator[float]:
    """Seconds from the beginning, rising, `rate` of them a second in the mean."""
    rng, shape = random.Random(seed), SHAPE if arrivals == "bursty" else 1.0
    now = 0.0
    while (now := now + rng.gammavariate(shape, 1 / (rate * shape))) < seconds:
        yield now
