"""The responses API, without state: text in; a reasoning item and a message out.

What would need a memory or tools (`previous_response_id`, `store`, `tools`, …) is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field

from service.engines.base import Message
from service.openai.answer import Answer, Stamp, Surefoot
from service.openai.request import Asked, Ignored, Lenient, PlainFormat, Refused, Tokens, Turn
from service.openai.usage import Compute, Usage
from service.wire import Reply, Text

Status = Literal["in_progress", "completed", "incomplete"]


def _turns(given: object) -> object:
    """A text is the user's turn; reasoning that a client sends back is dropped."""
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    if isinstance(given, list):
        return [item for item in given if not _is_reasoning(item)]
    return given


def _is_reasoning(item: object) -> bool:
    return isinstance(item, dict) and item.get("type") == "reasoning"


class Item(Turn):
    type: Literal["message"] = "message"


Items = Annotated[list[Item], Field(min_length=1, max_length=256)]


class TextOptions(Lenient):
    format: PlainFormat | None = None
    verbosity: Ignored = None


class ResponsesRequest(Asked):
    """A request of the responses API."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"model": "surefoot-stepco", "input": "What is 3 and 4 and 5 and 6?"}]
        }
    )

    turns_param = "input"

    input: Annotated[Items, BeforeValidator(_turns, json_schema_input_type=Text | Items)]
    instructions: Text | None = None
    max_output_tokens: Tokens | None = None
    text: TextOptions | None = None
    truncation: Literal["disabled"] | None = None
    include: Ignored = None
    previous_response_id: Refused = None
    conversation: Refused = None
    background: Refused = None
    prompt: Refused = None
    context_management: Refused = None
    max_tool_calls: Refused = None

    @property
    def turns(self) -> tuple[Message, ...]:
        own = (Message("system", self.instructions),) if self.instructions else ()
        return (*own, *(item.message() for item in self.input))

    @property
    def most_tokens(self) -> int | None:
        return self.max_output_tokens


class ReasoningText(Reply):
    type: Literal["reasoning_text"]
    text: str


class ReasoningItem(Reply):
    type: Literal["reasoning"]
    id: str
    summary: list[Any]
    content: list[ReasoningText]
    status: Status


class OutputText(Reply):
    type: Literal["output_text"]
    text: str
    annotations: list[Any]
    logprobs: list[Any]


class MessageItem(Reply):
    type: Literal["message"]
    id: str
    role: Literal["assistant"]
    content: list[OutputText]
    status: Status


class InputDetails(Reply):
    cached_tokens: int
    cache_write_tokens: int


class OutputDetails(Reply):
    reasoning_tokens: int


class ResponsesUsage(Reply):
    input_tokens: int
    input_tokens_details: InputDetails
    output_tokens: int
    output_tokens_details: OutputDetails
    total_tokens: int
    compute: Compute


class Incomplete(Reply):
    reason: Literal["max_output_tokens"]


class ResponseObject(Reply):
    id: str
    object: Literal["response"]
    created_at: int
    status: Status
    model: str
    output: list[ReasoningItem | MessageItem]
    usage: ResponsesUsage | None
    incomplete_details: Incomplete | None
    surefoot: Surefoot | None
    error: None = None
    instructions: str | None = None
    metadata: Any = None
    temperature: float | None = None
    top_p: float | None = None
    parallel_tool_calls: bool = False
    store: bool = False
    tool_choice: Literal["none"] = "none"
    tools: tuple[()] = ()


def response(
    stamp: Stamp, asked: ResponsesRequest, status: Status, answer: Answer | None = None
) -> ResponseObject:
    """The response as it stands: begun, or with its answer."""
    return ResponseObject(
        id=stamp.id,
        object="response",
        created_at=stamp.created,
        status=status,
        model=stamp.model,
        output=[] if answer is None else _output(stamp, asked, answer),
        usage=None if answer is None else _usage(answer.usage),
        incomplete_details=(
            Incomplete(reason="max_output_tokens") if status == "incomplete" else None
        ),
        surefoot=None if answer is None else answer.surefoot,
        instructions=asked.instructions,
        metadata=asked.metadata,
        temperature=asked.temperature,
        top_p=asked.top_p,
    )


def ended(answer: Answer) -> Status:
    return "completed" if answer.choices[0].finish == "stop" else "incomplete"


def reasoning_item(stamp: Stamp, status: Status, texts: Sequence[str]) -> ReasoningItem:
    content = [ReasoningText(type="reasoning_text", text=text) for text in texts]
    name = stamp.id.replace("resp_", "rs_")
    return ReasoningItem(type="reasoning", id=name, summary=[], content=content, status=status)


def message_item(stamp: Stamp, status: Status, texts: Sequence[str]) -> MessageItem:
    name = stamp.id.replace("resp_", "msg_")
    content = [output_text(text) for text in texts]
    return MessageItem(type="message", id=name, role="assistant", content=content, status=status)


def output_text(text: str) -> OutputText:
    return OutputText(type="output_text", text=text, annotations=[], logprobs=[])


def _output(
    stamp: Stamp, asked: ResponsesRequest, answer: Answer
) -> list[ReasoningItem | MessageItem]:
    (choice,) = answer.choices
    message = message_item(stamp, ended(answer), [choice.content])
    if not asked.shows_reasoning:
        return [message]
    return [reasoning_item(stamp, "completed", [choice.reasoning]), message]


def _usage(usage: Usage) -> ResponsesUsage:
    cached = usage.prompt_tokens_details.cached_tokens
    reasoning = usage.completion_tokens_details.reasoning_tokens
    return ResponsesUsage(
        input_tokens=usage.prompt_tokens,
        input_tokens_details=InputDetails(cached_tokens=cached, cache_write_tokens=0),
        output_tokens=usage.completion_tokens,
        output_tokens_details=OutputDetails(reasoning_tokens=reasoning),
        total_tokens=usage.total_tokens,
        compute=usage.compute,
    )
