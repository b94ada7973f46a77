"""vLLM's tokenizer, where a server has one to ask."""

from collections import OrderedDict

from service.engines.base import Message, single
from service.engines.remote.server import Server
from service.errors import EngineError
from verifier.prms.prm import Turns

HEADS = 1024  # conversations whose tokens are remembered


class Tokenizer:
    """Its methods raise `ServiceError`."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._words: dict[str, int] = {}
        self._heads: OrderedDict[tuple[Message, ...], list[int]] = OrderedDict()

    async def answers(self) -> bool:
        """Whether it can be asked; a router before several servers may not pass it on."""
        try:
            return bool(await self.text("1"))
        except EngineError:
            return False

    async def conversation(self, messages: tuple[Message, ...]) -> list[int]:
        """What asks a model for its answer; remembered."""
        if (known := self._heads.get(messages)) is not None:
            return known
        turns = tuple((turn.role, turn.content) for turn in messages)
        tokens = self._heads[messages] = await self.turns(turns, begun=True)
        while len(self._heads) > HEADS:
            self._heads.popitem(last=False)
        return tokens

    async def turns(self, turns: Turns, *, begun: bool = False) -> list[int]:
        """By the model's chat template; `begun`: and the beginning of an answer."""
        messages = [{"role": role, "content": content} for role, content in turns]
        asked = {"messages": messages, "add_generation_prompt": begun}
        return (await self._server.ask("/tokenize", asked)).tokens

    async def text(self, text: str) -> list[int]:
        asked = {"prompt": text, "add_special_tokens": False}
        return (await self._server.ask("/tokenize", asked)).tokens

    async def encode(self, text: str | Turns) -> list[int]:
        return await (self.text(text) if isinstance(text, str) else self.turns(text))

    async def word(self, word: str) -> int:
        """The one token that is this word."""
        if word not in self._words:
            self._words[word] = single(word, await self.text(word), self._server.model)
        return self._words[word]
