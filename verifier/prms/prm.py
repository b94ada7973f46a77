"""What a process-reward model is shown, where its scores are read, and how.

A model of this kind is run once over a question and its steps, and gives a row of probabilities for
every token; those of a step stand behind the step's marker.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from verifier.scoring import Aggregate

Turns = tuple[tuple[str, str], ...]
"""A conversation: roles and what they say, to be put in the model's own chat template."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A text, or a conversation, that is tokenised by itself.

    A score is read at the last token of each `marker` in it; "" is in none.
    """

    text: str | Turns
    marker: str = ""


@dataclass(frozen=True, slots=True)
class Prm:
    """`hub`: the model on the hub. `arguments`: what vLLM must be told to run it, beside `RUNNER`.

    `pieces`: what it is shown of a question and steps, others' texts neutralised; one marker a
    step. `good`: which number of a row says that the step is right.
    `aggregate`: what suits it, by those who made it.
    """

    hub: str
    pieces: Callable[[str, Sequence[str]], list[Piece]]
    good: int
    aggregate: Aggregate
    arguments: Mapping[str, object] = field(default_factory=dict)


RUNNER: Mapping[str, object] = {
    "runner": "pooling",
    "pooler_config": {"task": "token_classify", "tok_pooling_type": "ALL"},
}
"""A row for every token. The scores are found among them by us, whatever tokens others wrote."""


def spoken(yes: str, no: str) -> Mapping[str, object]:
    """Arguments for a language model whose rows are its odds of these two tokens of its vocabulary.

    vLLM keeps these two rows of the head, and so reads all steps of a path in one pass.
    """
    head = {"classifier_from_token": [yes, no], "method": "no_post_processing"}
    return {"convert": "classify", "hf_overrides": head}
