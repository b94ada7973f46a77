"""A verifier that is only asked: an instruct model reads the steps and says yes or no.

Weak (prompted small models are poor critics: ProcessBench, table 3), but it needs no training. The
question stands in the user's turn, so any chat server that returns log-probabilities can host it.
"""

from collections.abc import Sequence

from verifier import steps
from verifier.readout import Layout, Query, Reader, Readout

SYSTEM = (
    "You check solutions of mathematics problems, one step at a time. "
    "You are shown a problem and the steps of a solution so far. "
    "Answer Yes if the last step is right and follows from the problem and the steps before it. "
    "Answer No if it holds an error. Answer with one word."
)
REQUEST = "Problem: {question}\n\nSolution so far:\n{path}\n\nIs step {number} correct? Yes or No?"


def asked(question: str, so_far: Sequence[str]) -> Query:
    path = steps.join([steps.neutralise(step) for step in so_far])
    request = REQUEST.format(question=steps.neutralise(question), path=path, number=len(so_far))
    return Query(SYSTEM, request)


ASKED = Layout(asked, correct=("Yes", "No"), value=("Yes", "No"))


def judge(reader: Reader) -> Readout:
    return Readout(reader, ASKED, "judge", aggregate="min")
