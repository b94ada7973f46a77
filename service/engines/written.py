"""What a model wrote, by its tokens as they came, so that a kept prefix is sent in those tokens.

Tokenised anew, a text may come out in other tokens than a model wrote it in: its cache would not
know them. Forgetting costs such a hit and no more, so the memory is bounded: the turns of the
conversation used longest ago go first. Text that comes late, as what may begin a stop string does,
is not to be remembered: its tokens spell more than came with them.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Sequence

from service.engines.base import Prompt

ROOM = 1 << 20  # tokens; some 20 MB with their texts


class Turn:
    """An assistant's turn as it comes, from what it was begun with on.

    `marks`: behind so many characters a token ends as well, the one of the same place in `counts`.
    """

    def __init__(self, text: str, tokens: Sequence[int]) -> None:
        self.text = text
        self.tokens = array("i", tokens)
        self._marks = array("i", [len(text)])
        self._counts = array("i", [len(tokens)])

    def hear(self, text: str, tokens: Sequence[int]) -> None:
        """What came together. A token that brings no text yet ends no character."""
        self.text += text
        self.tokens.extend(tokens)
        if text:
            self._marks.append(len(self.text))
            self._counts.append(len(self.tokens))

    def within(self, prefix: str) -> tuple[int, int]:
        """How many characters it begins with as the prefix does, in how many whole tokens."""
        most = min(len(self.text), len(prefix))
        same = bisect_left(range(1, most + 1), True, key=lambda n: self.text[:n] != prefix[:n])
        last = bisect_right(self._marks, same) - 1
        return (self._marks[last], self._counts[last]) if last >= 0 else (0, 0)


class Written:
    """Turns by the conversation they followed; those of one tenant are not told to another."""

    def __init__(self, room: int = ROOM) -> None:
        self._room = room
        self._turns: OrderedDict[int, list[Turn]] = OrderedDict()
        self.held = 0

    def remember(self, prompt: Prompt, turn: Turn) -> None:
        """A turn that is over. It followed the prompt's messages, and begins with its prefix."""
        turns = self._turns.setdefault(_key(prompt), [])
        self._turns.move_to_end(_key(prompt))
        turns.append(turn)
        self.held += len(turn.tokens)
        while self.held > self._room:
            key, oldest = next(iter(self._turns.items()))
            self.held -= len(oldest.pop(0).tokens)
            if not oldest:
                del self._turns[key]

    def recall(self, prompt: Prompt) -> tuple[list[int], str]:
        """The tokens in which the prompt's prefix was written before, and what is left of it."""
        found = ((turn.within(prompt.prefix), turn) for turn in self._turns.get(_key(prompt), ()))
        (characters, count), turn = max(found, key=lambda pair: pair[0], default=((0, 0), None))
        return list(turn.tokens[:count]) if turn else [], prompt.prefix[characters:]


def _key(prompt: Prompt) -> int:
    """A number for the conversation: what it says need not be kept, as every use is checked."""
    return hash((prompt.messages, prompt.salt))
