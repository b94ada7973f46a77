"""The events of a streamed response: what the responses API sends while an answer is made."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from service.openai.answer import Answer, Stamp
from service.openai.responses import (
    MessageItem,
    ReasoningItem,
    ResponsesRequest,
    ended,
    message_item,
    output_text,
    reasoning_item,
    response,
)

Event = dict[str, Any]
Item = ReasoningItem | MessageItem


@dataclass(slots=True)
class ResponseEvents:
    """One response: whole, or its events, numbered, in the order in which they may be sent."""

    stamp: Stamp
    asked: ResponsesRequest
    _sent: int = 0

    def whole(self, answer: Answer) -> str:
        return response(self.stamp, self.asked, ended(answer), answer).model_dump_json()

    def begin(self) -> Iterator[Event]:
        begun = response(self.stamp, self.asked, "in_progress")
        yield self._event("response.created", response=begun)
        yield self._event("response.in_progress", response=begun)
        if self.asked.shows_reasoning:
            item = reasoning_item(self.stamp, "in_progress", [])
            yield self._event("response.output_item.added", output_index=0, item=item)

    def reason(self, index: int, text: str) -> Iterator[Event]:
        if self.asked.shows_reasoning and text:
            item = reasoning_item(self.stamp, "in_progress", [])
            yield self._part("response.reasoning_text.delta", 0, item, delta=text)

    def end(self, answer: Answer) -> Iterator[Event]:
        status = ended(answer)
        whole = response(self.stamp, self.asked, status, answer)
        *reasoning, message = whole.output
        for item in reasoning:
            text = answer.choices[0].reasoning
            yield self._part("response.reasoning_text.done", 0, item, text=text)
            yield self._event("response.output_item.done", output_index=0, item=item)
        yield from self._message(len(reasoning), message, answer.choices[0].content)
        yield self._event(f"response.{status}", response=whole)

    def fail(self, error: dict[str, str | None]) -> Iterator[Event]:
        yield self._event("error", **{name: error[name] for name in ("message", "code", "param")})

    def _message(self, at: int, item: Item, text: str) -> Iterator[Event]:
        begun = message_item(self.stamp, "in_progress", [])
        yield self._event("response.output_item.added", output_index=at, item=begun)
        yield self._part("response.content_part.added", at, item, part=output_text(""))
        if text:
            yield self._part("response.output_text.delta", at, item, delta=text, logprobs=[])
        yield self._part("response.output_text.done", at, item, text=text, logprobs=[])
        yield self._part("response.content_part.done", at, item, part=output_text(text))
        yield self._event("response.output_item.done", output_index=at, item=item)

    def _part(self, kind: str, at: int, item: Item, **data: object) -> Event:
        return self._event(kind, item_id=item.id, output_index=at, content_index=0, **data)

    def _event(self, kind: str, **data: object) -> Event:
        told = {
            name: value.model_dump(mode="json") if isinstance(value, BaseModel) else value
            for name, value in data.items()
        }
        event = {"type": kind, "sequence_number": self._sent, **told}
        self._sent += 1
        return event
