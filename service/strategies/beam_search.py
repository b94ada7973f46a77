"""Beam search over steps: of all next steps only those of the highest value are written on.

After Snell et al. (arXiv 2408.03314, section 5.2): n paths, of which n / width survive each step,
written on `width` times each. What is whole leaves its place in the beam to no other.
"""

from collections.abc import Sequence
from typing import Literal

from service.solution import Path
from service.strategies.attempt import Attempt
from service.strategies.base import knobs
from service.strategies.stepping import Search, Width, grows, value


@knobs
class BeamSearch(Search):
    """`score` is the confidence in the answer that most of the whole paths share."""

    name: Literal["beam_search"] = "beam_search"
    width: Width = 4

    def survivors(self, living: Sequence[Path], attempt: Attempt) -> list[Path]:
        whole = [path for path in living if not grows(path)]
        growing = sorted(filter(grows, living), key=value, reverse=True)
        room = max(0, self.n - len(whole))
        width = min(self.width, self.n)
        return whole + [path for path in growing[: -(-room // width)] for _ in range(width)][:room]
