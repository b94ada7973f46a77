"""A chat completion, whole or in chunks. Keys that OpenAI has not are `reasoning` and its older
name `reasoning_content`, which hold the same; `usage.compute`; `surefoot`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from service.openai.answer import Answer, Choice, Piece, Stamp, Surefoot
from service.openai.request import ChatRequest
from service.openai.usage import Usage
from service.wire import Reply


class AssistantMessage(Reply):
    role: Literal["assistant"]
    content: str
    refusal: None
    reasoning: str | None = None
    reasoning_content: str | None = None


class CompletionChoice(Reply):
    index: int
    message: AssistantMessage
    finish_reason: Literal["stop", "length"]
    logprobs: None


class ChatCompletion(Reply):
    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    system_fingerprint: str
    service_tier: Literal["default"] | None = None
    choices: list[CompletionChoice]
    usage: Usage
    surefoot: Surefoot


def completion(answer: Answer, stamp: Stamp, asked: ChatRequest) -> ChatCompletion:
    tier: dict[str, Any] = {"service_tier": "default"} if asked.service_tier else {}
    return ChatCompletion(
        id=stamp.id,
        object="chat.completion",
        created=stamp.created,
        model=stamp.model,
        system_fingerprint=stamp.fingerprint,
        **tier,
        choices=[
            CompletionChoice(
                index=index,
                message=_message(choice, asked),
                finish_reason=choice.finish,
                logprobs=None,
            )
            for index, choice in enumerate(answer.choices)
        ],
        usage=answer.usage,
        surefoot=answer.surefoot,
    )


def _message(choice: Choice, asked: ChatRequest) -> AssistantMessage:
    return AssistantMessage(
        role="assistant",
        content=choice.content,
        refusal=None,
        **(_reasoning(choice.reasoning) if asked.shows_reasoning else {}),
    )


def _reasoning(text: str) -> dict[str, Any]:
    return {"reasoning": text, "reasoning_content": text}


@dataclass(slots=True)
class Chunks:
    """One completion: whole, or its chunks in the order in which they may be sent."""

    stamp: Stamp
    asked: ChatRequest
    _begun: set[int] = field(default_factory=set)

    def whole(self, answer: Answer) -> str:
        return completion(answer, self.stamp, self.asked).model_dump_json(exclude_unset=True)

    def begin(self) -> Iterator[Piece]:
        yield from self._role(0)

    def reason(self, index: int, text: str) -> Iterator[Piece]:
        yield from self._role(index)
        if self.asked.shows_reasoning and text:
            yield self._delta(index, _reasoning(text))

    def end(self, answer: Answer) -> Iterator[Piece]:
        """The answers once they are chosen, how each ended, and the usage if it was asked for."""
        for index, choice in enumerate(answer.choices):
            yield from self._role(index)
            if choice.content:
                yield self._delta(index, {"content": choice.content})
        *others, last = (
            self._delta(index, {}, choice.finish) for index, choice in enumerate(answer.choices)
        )
        yield from others
        yield last | {"surefoot": answer.surefoot.model_dump(mode="json")}
        if self.asked.tells_usage:
            yield self._chunk([]) | {"usage": answer.usage.model_dump()}
        yield "[DONE]"

    def fail(self, error: dict[str, str | None]) -> Iterator[Piece]:
        yield {"error": error}

    def _role(self, index: int) -> Iterator[Piece]:
        """The role, which goes first, once for a choice."""
        if index not in self._begun:
            self._begun.add(index)
            yield self._delta(index, {"role": "assistant", "content": ""})

    def _delta(
        self, index: int, delta: dict[str, str], finish: str | None = None
    ) -> dict[str, Any]:
        return self._chunk(
            [{"index": index, "delta": delta, "finish_reason": finish, "logprobs": None}]
        )

    def _chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        chunk: dict[str, Any] = {
            "id": self.stamp.id,
            "object": "chat.completion.chunk",
            "created": self.stamp.created,
            "model": self.stamp.model,
            "system_fingerprint": self.stamp.fingerprint,
            "choices": choices,
        }
        if self.asked.service_tier:
            chunk["service_tier"] = "default"
        return chunk | ({"usage": None} if self.asked.tells_usage else {})
