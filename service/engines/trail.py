"""What a server wrote, by its tokens as they came, so that a kept prefix is sent in those tokens.

Tokenised anew, a text may come out in other tokens than a model wrote it in, and the server's cache
would not know them. Forgetting costs such a hit and no more: the turns heard longest ago go first.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from service.engines.base import Message

CONVERSATIONS, TURNS = 4096, 64  # remembered, and of each


@dataclass(slots=True)
class Turn:
    """An assistant's turn from its beginning.

    `marks`: after so many characters of it so many tokens, where one ends as the other does.
    """

    text: str
    tokens: list[int]
    marks: list[tuple[int, int]] = field(default_factory=list)

    @classmethod
    def begun(cls, text: str, tokens: Sequence[int]) -> Turn:
        return cls(text, list(tokens), [(len(text), len(tokens))])

    def hear(self, text: str, tokens: Sequence[int]) -> None:
        """What came together. A token that brings no text yet ends no character."""
        self.text += text
        self.tokens += tokens
        if text:
            self.marks.append((len(self.text), len(self.tokens)))

    def within(self, prefix: str) -> tuple[int, int]:
        """The last mark up to which the turn reads as the prefix does."""
        fits = (mark for mark in reversed(self.marks) if mark[0] <= len(prefix))
        return next((mark for mark in fits if self.text[: mark[0]] == prefix[: mark[0]]), (0, 0))


class Trail:
    """The turns by the conversation that they followed."""

    def __init__(self) -> None:
        self._turns: OrderedDict[tuple[Message, ...], deque[Turn]] = OrderedDict()

    def remember(self, messages: tuple[Message, ...], turn: Turn) -> None:
        self._turns.setdefault(messages, deque(maxlen=TURNS)).append(turn)
        self._turns.move_to_end(messages)
        if len(self._turns) > CONVERSATIONS:
            self._turns.popitem(last=False)

    def recall(self, messages: tuple[Message, ...], prefix: str) -> tuple[int, list[int]]:
        """How many characters of the prefix were written before, and in which tokens."""
        turns = self._turns.get(messages, ())
        turn = max(turns, key=lambda turn: turn.within(prefix), default=None)
        characters, tokens = turn.within(prefix) if turn else (0, 0)
        return characters, turn.tokens[:tokens] if turn else []
