"""Conversations as the tokens of one model: its own chat template around what others wrote.

The template's tokens come from the model; callers' and policies' texts are tokenised by a copy that
knows no control tokens, so "<|im_end|>" in a question is text. Every text is tokenised by itself,
so an equal beginning has equal tokens. Running the model is left to the engines.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Self

from service.engines.base import Message, Role
from service.errors import EngineError, StartupError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TEMPLATES = 256  # orders of roles remembered; most conversations have one of three
TAG = re.compile(r"<.*>|\[.*\]", re.DOTALL)  # an added token that means something to the model


class ChatTokenizer:
    """Make it with `load`. Blocks; threads may share it."""

    def __init__(self, tokenizer: Any) -> None:  # noqa: ANN401 - transformers has no types here
        from tokenizers import Tokenizer

        self._chat = tokenizer
        self._native: Tokenizer = tokenizer.backend_tokenizer
        self._plain = Tokenizer.from_str(_without_tags(self._native.to_str()))
        self._template = lru_cache(TEMPLATES)(self._rendered)

    @classmethod
    def load(cls, model: str) -> Self:
        """Of a folder or a hub name. Raises `StartupError`."""
        tokenizer = pretrained(model)
        if not tokenizer.is_fast or not tokenizer.chat_template:
            raise StartupError(
                f"{model} lacks a chat template or a tokenizer.json; take an instruct model."
            )
        return cls(tokenizer)

    def conversation(self, messages: Sequence[Message]) -> list[int]:
        """The messages, and the assistant's turn opened. Raises `EngineError`."""
        tokens: list[int] = []
        for part in self._template(tuple(message.role for message in messages)):
            tokens += part if isinstance(part, list) else self.text(messages[part].content)
        return tokens

    def text(self, text: str) -> list[int]:
        """A text's tokens, none of them a control token."""
        tokens: list[int] = self._plain.encode(text, add_special_tokens=False).ids
        return tokens

    def word(self, text: str) -> int:
        """The one token that is this text. Raises `LookupError`."""
        tokens = self.text(text)
        if len(tokens) != 1:
            raise LookupError(f"{text!r} is not one token of this model")
        return tokens[0]

    def _rendered(self, roles: tuple[Role, ...]) -> list[list[int] | int]:
        """The template's own tokens, and between them the numbers of the messages."""
        from jinja2 import TemplateError

        mark = secrets.token_hex(8)
        turns = [{"role": role, "content": f"{mark}{i};"} for i, role in enumerate(roles)]
        try:
            rendered = self._chat.apply_chat_template(
                turns, tokenize=False, add_generation_prompt=True
            )
        except TemplateError as error:
            raise EngineError("The model's chat template takes no such turns.") from error
        parts: list[list[int] | int] = []
        for number, text in enumerate(re.split(f"{mark}([0-9]+);", rendered)):
            if number % 2:
                parts.append(int(text))
            elif text:
                parts.append(self._native.encode(text, add_special_tokens=False).ids)
        return parts


def pretrained(model: str) -> Any:  # noqa: ANN401 - transformers has no types here
    """The tokenizer of a folder or a hub name, as it is. Raises `StartupError`."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(model)
    except (OSError, ValueError) as error:
        raise StartupError(f"{model} has no tokenizer that can be read; see to it.") from error


def _without_tags(tokenizer: str) -> str:
    """The tokenizer's JSON without the added tokens that control a model."""
    described = json.loads(tokenizer)
    described["added_tokens"] = [
        token
        for token in described["added_tokens"]
        if not token["special"] and not TAG.fullmatch(token["content"].strip())
    ]
    described["post_processor"] = None  # it may speak of them
    return json.dumps(described)
