r"""RLHFlow's PRMs on Llama-3.1-8B: each step a user's turn, and the assistant's answer + or −.

The question stands before the first step. Earlier steps are answered with +, and the odds of "+"
against "-" are read where the answer begins (RLHFlow/RLHF-Reward-Modeling, math-rm). What is read
comes before the answer, so one pass reads all of them. Labels are Monte-Carlo estimates; its makers
choose among paths by the mean over steps.
"""

from collections.abc import Sequence

from verifier.prms.prm import Piece, Prm, spoken
from verifier.steps import neutralise

MARKER = "<|start_header_id|>assistant<|end_header_id|>\n\n"


def pieces(question: str, steps: Sequence[str]) -> list[Piece]:
    asked = [neutralise(step) for step in steps]
    asked[:1] = [f"{neutralise(question)} {first}" for first in asked[:1]]
    turns = tuple(turn for step in asked for turn in (("user", step), ("assistant", "+")))
    return [Piece(turns, MARKER)]


PRM = Prm(
    "RLHFlow/Llama3.1-8B-PRM-Deepseek-Data",
    pieces,
    good=0,
    aggregate="mean",
    arguments=spoken("+", "-"),
)
