"""The server's tokenizer, by whose tokens a caller's text stays text.

What callers and policies write is tokenised with special tokens split, so "<|im_end|>" in a
question is text; those of the chat template, which comes from the model, are not.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from itertools import pairwise

from service.engines.base import Prompt, single
from service.engines.llamacpp.server import Server

END = -1  # between the tokens of two prompts


class Tokenizer:
    def __init__(self, server: Server) -> None:
        self._server = server
        self._templates: dict[tuple[str, ...], list[list[int] | int]] = {}
        self._words: dict[str, int] = {}

    async def turns(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        """The prompts in the model's own template, callers' text with special tokens split."""
        texts: list[str | int] = []
        for prompt in prompts:
            texts += [*await self._templated(prompt), prompt.prefix, END]
        tokens = [END, *await self.tokenize(texts)]
        ends = [place for place, token in enumerate(tokens) if token == END]
        return [tokens[start + 1 : end] for start, end in pairwise(ends)]

    async def _templated(self, prompt: Prompt) -> list[str | int]:
        """The messages' texts between the template's tokens."""
        roles = tuple(message.role for message in prompt.messages)
        if roles not in self._templates:
            self._templates[roles] = await self._template(roles)
        texts: list[str | int] = []
        for part in self._templates[roles]:
            texts += part if isinstance(part, list) else [prompt.messages[part].content]
        return texts

    async def _template(self, roles: tuple[str, ...]) -> list[list[int] | int]:
        """The template's own tokens, and between them the numbers of the messages."""
        mark = secrets.token_hex(8)
        messages = [{"role": role, "content": f"{mark}{i};"} for i, role in enumerate(roles)]
        rendered = (await self._server.post("/apply-template", {"messages": messages}))["prompt"]
        parts: list[list[int] | int] = []
        for number, text in enumerate(re.split(f"{mark}([0-9]+);", rendered)):
            if number % 2:
                parts.append(int(text))
            elif text:
                parts.append(await self.tokenize([text], special=True, first=number == 0))
        return parts

    async def tokenize(
        self, texts: Sequence[str | int], *, special: bool = False, first: bool = False
    ) -> list[int]:
        """Every text on its own; numbers among them stay as they are."""
        request = {"content": texts, "parse_special": special, "add_special": first}
        tokens: list[int] = (await self._server.post("/tokenize", request))["tokens"]
        return tokens

    async def word(self, word: str) -> int:
        if word not in self._words:
            self._words[word] = single(word, await self.tokenize([word]), self._server.name)
        return self._words[word]
