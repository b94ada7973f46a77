r"""Skywork-o1-Open-PRM, 1.5B and 7B: a step a line, a score at the line feed that ends it.

No chat template: a token that begins the text, the question, the lines, each tokenised by itself
as in its makers' code (SkyworkAI/skywork-o1-prm-inference, `prepare_input`). A value head gives one
logit a token, its sigmoid is the score. A step of several lines is scored at its last. Its makers
do not say how they choose among paths; the mean is what users of it take.

vLLM has no such head; `register` gives it one wherever this package is installed beside it.
"""

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from verifier.prms.prm import Piece, Prm
from verifier.steps import neutralise

BEGINNING = "<|endoftext|>"
MARKER = "\n"


def pieces(question: str, steps: Sequence[str]) -> list[Piece]:
    path = [Piece(f"{BEGINNING}{neutralise(question)}\n")]
    for step in steps:
        lines = [Piece(line) for line in neutralise(step).split("\n")]
        path += [piece for line in lines for piece in (line, Piece("\n"))][:-1]
        path.append(Piece("\n", MARKER))
    return path


PRM = Prm("Skywork/Skywork-o1-Open-PRM-Qwen-2.5-7B", pieces, good=0, aggregate="mean")


def register() -> None:
    """vLLM calls it in each of its processes (entry point `vllm.general_plugins`)."""
    registry: Any = import_module("vllm").ModelRegistry
    registry.register_model("Qwen2ForPrmModel", "verifier.prms.value_head:Qwen2ForPrmModel")
