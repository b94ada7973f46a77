"""What an engine wrote, by its tokens, so that a kept prefix is sent as the tokens it was.

Tokenised anew, a text may come out in other tokens than a model wrote it in: the engine's cache
would not know them. Forgetting costs such a hit and no more, so the memory is bounded: the first
turn of the conversation used longest ago goes first.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from service.engines.base import Prompt

ROOM = 1 << 20  # tokens; about 12 MB with their texts


@dataclass(frozen=True, slots=True)
class Turn:
    """An assistant's turn from its beginning, its tokens too."""

    text: str
    tokens: array[int]

    def shared(self, prefix: str) -> int:
        """How many characters it begins with as the prefix does."""
        most = min(len(self.text), len(prefix))
        return bisect_left(range(1, most + 1), True, key=lambda n: self.text[:n] != prefix[:n])


class Written:
    """Turns by the conversation they followed; those of one tenant are not told to another."""

    def __init__(self, room: int = ROOM) -> None:
        self._room = room
        self._turns: OrderedDict[int, list[Turn]] = OrderedDict()
        self.held = 0

    def remember(self, prompt: Prompt, text: str, tokens: Sequence[int]) -> None:
        """A turn that followed the prompt's messages; its prefix is its beginning."""
        turns = self._turns.setdefault(_key(prompt), [])
        self._turns.move_to_end(_key(prompt))
        turns.append(Turn(text, array("i", tokens)))
        self.held += len(tokens)
        while self.held > self._room:
            key, oldest = next(iter(self._turns.items()))
            self.held -= len(oldest.pop(0).tokens)
            if not oldest:
                del self._turns[key]

    def recall(self, prompt: Prompt) -> Sequence[int]:
        """The tokens of the turn that shares most with the prompt's prefix; none if none does."""
        turns = self._turns.get(_key(prompt), ())
        turn = max(turns, key=lambda turn: turn.shared(prompt.prefix), default=None)
        return turn.tokens if turn and turn.shared(prompt.prefix) else ()


def _key(prompt: Prompt) -> int:
    """A number for the conversation: what it says need not be kept, as every use is checked."""
    return hash((prompt.messages, prompt.salt))
