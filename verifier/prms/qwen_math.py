"""Qwen2.5-Math-PRM, 7B and 72B: `<extra_0>` behind every step of the assistant's turn.

The row there is (wrong, right), from a head of its own. Labels are an LLM judge's where Monte-Carlo
estimates agree: it judges steps, so that the weakest one or the product speaks for a path (The
Lessons of Developing Process Reward Models, arXiv 2501.07301, sections 3 and 4; its model card).
"""

from collections.abc import Sequence

from verifier.prms.prm import Piece, Prm
from verifier.steps import neutralise

SYSTEM = "Please reason step by step, and put your final answer within \\boxed{}."
MARKER = "<extra_0>"


def pieces(question: str, steps: Sequence[str]) -> list[Piece]:
    path = "".join(neutralise(step) + MARKER for step in steps)
    turns = (("system", SYSTEM), ("user", neutralise(question)), ("assistant", path))
    return [Piece(turns, MARKER)]


PRM = Prm("Qwen/Qwen2.5-Math-PRM-7B", pieces, good=1, aggregate="product")
