"""Diverse verifier tree search: beams that never compete, so that one early favourite is not all.

After Beeching, Tunstall and Rush (Scaling test-time compute with open models, 2024): n / width
trees, each of which goes on with the best of `width` next steps until that is a whole path.
"""

from collections.abc import Sequence
from itertools import groupby
from typing import Literal

from service.solution import Path
from service.strategies.attempt import Attempt
from service.strategies.base import knobs
from service.strategies.stepping import Search, Width, grows, value


@knobs
class DVTS(Search):
    """`score` is the confidence in the answer that most trees share."""

    name: Literal["dvts"] = "dvts"
    width: Width = 4

    @property
    def first_steps(self) -> int:
        width = min(self.width, self.n)
        return self.n // width * width

    def survivors(self, living: Sequence[Path], attempt: Attempt) -> list[Path]:
        """Siblings are told by their number: paths are written on in runs of `width`."""
        width = min(self.width, self.n)
        litters = groupby(living, key=lambda path: (path.round, path.sample // width))
        tops = [max(siblings, key=value) for _, siblings in litters]
        return [path for path in tops for _ in range(width if grows(path) else 1)]
