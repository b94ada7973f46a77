"""Math-Shepherd (peiyi9979/math-shepherd-mistral-7b-prm): `ки` behind every step, then + or −.

The odds of "+" against "-" at each tag are the score (its model card). Labels are Monte-Carlo
estimates; a path's score is that of its weakest step (arXiv 2312.08935, sections 3.2 and 3.4).
"""

from collections.abc import Sequence

from verifier import steps
from verifier.prms.prm import Piece, Prm, spoken

BEGINNING = "<s>"


def pieces(question: str, path: Sequence[str]) -> list[Piece]:
    """The one layout that our own verifier's steps have, too."""
    text = f"{steps.neutralise(question)} {steps.marked(path)}"
    return [Piece(BEGINNING), Piece(text, steps.MARKER.strip())]


PRM = Prm(
    "peiyi9979/math-shepherd-mistral-7b-prm",
    pieces,
    good=0,
    aggregate="min",
    arguments=spoken("▁+", "▁-"),
)
