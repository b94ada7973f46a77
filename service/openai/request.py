"""What OpenAI's clients send, field by field: honoured, without effect on purpose, or refused.

`docs/openai.md` has the table. A refusal names its field and never repeats what stood there. Keys
that nobody knows are passed over and named in the response, but not those that would choose a
server or a template: whoever sends one would get something else than was asked for.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from service.engines.base import Message
from service.errors import InvalidRequest, UnsupportedParameter
from service.openai import names
from service.strategies import STRATEGIES, AnyStrategy
from service.wire import (
    BaselineKind,
    BudgetShape,
    CacheSalt,
    NamedStrategy,
    Shape,
    StrategyName,
    Text,
)

WITHOUT_EFFECT: tuple[object, ...] = (None, False, 0, "none", "auto", [], {})
READABLE_PARTS = ("text", "input_text", "output_text")
ROUTING = re.compile(
    r"(?:model_)?(?:api_base|base_url|api_key)|chat_template\w*|guided_\w*|structured_outputs"
    r"|continue_final_message|add_generation_prompt|grammar\w*|json_schema|ebnf|regex"
    r"|logits_processors?|mm_processor_\w*|media_io_kwargs|kv_transfer_params|vllm_xargs"
)
PLAIN = re.compile(r"[\w.-]{1,64}", re.ASCII)
MOST_NAMED = 16

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


def _idle(value: object) -> object:
    if value not in WITHOUT_EFFECT:
        raise PydanticCustomError("unsupported_parameter", "this is not supported; leave it out")
    return value


def _text_part(kind: str) -> str:
    if kind not in READABLE_PARTS:
        raise PydanticCustomError("unsupported_content_part", "only parts of text can be read")
    return kind


def _parts(content: object) -> object:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _listed(stop: object) -> object:
    return [stop] if isinstance(stop, str) else stop


Refused = Annotated[
    Any, AfterValidator(_idle), WithJsonSchema({"enum": list(WITHOUT_EFFECT)}, mode="validation")
]
"""Refused, unless it says nothing."""
Ignored = Any
"""Taken as it comes, without effect."""
Tokens = Annotated[int, Field(ge=1, le=1_000_000)]


Metadata = Annotated[
    dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]],
    Field(max_length=16),
]
"""Taken without effect, and as large as OpenAI takes it: some responses repeat it."""
Stop = Annotated[str, Field(min_length=1, max_length=256)]
Stops = Annotated[list[Stop], Field(max_length=4)]


class Lenient(Shape, extra="ignore"):
    """What others' clients add to it is passed over."""


class Part(Lenient):
    type: Annotated[
        str, Field(json_schema_extra={"enum": [*READABLE_PARTS]}), AfterValidator(_text_part)
    ]
    text: Text


Parts = Annotated[list[Part], Field(min_length=1, max_length=256)]
Content = Annotated[Parts, BeforeValidator(_parts, json_schema_input_type=Text | Parts)]


class Turn(Lenient):
    role: Literal["system", "developer", "user", "assistant"]
    content: Content
    tool_calls: Refused = None
    function_call: Refused = None
    audio: Refused = None

    def message(self) -> Message:
        role = "system" if self.role == "developer" else self.role
        return Message(role, "".join(part.text for part in self.content))


def _given(value: object) -> object:
    return {} if value is None else value


class Knobs(Shape):
    """Surefoot's own: what `POST /solve` takes, under the names it has there."""

    strategy: Annotated[
        NamedStrategy,
        BeforeValidator(_given, json_schema_input_type=StrategyName | AnyStrategy | None),
    ] = STRATEGIES["stepco"]()
    """Knobs of the strategy that the model's name chooses."""
    budget: BudgetShape = BudgetShape()
    baseline: BaselineKind = "estimate"
    include_trace: bool = False
    """Put the whole trace into the response."""
    cache_salt: CacheSalt = ""
    """What the engine has cached for requests of another salt is not used for this one."""


class Reasoning(Lenient):
    effort: Effort | None = None
    exclude: bool | None = None
    """Leave the reasoning out of the response."""
    summary: Ignored = None
    generate_summary: Ignored = None


class StreamOptions(Lenient):
    include_usage: bool | None = None
    include_obfuscation: Ignored = None


class PlainFormat(Lenient):
    type: Literal["text"]


class Asked(Shape, extra="allow"):
    """What the chat completions and the responses API have in common."""

    turns_param: ClassVar[str]
    """The field that holds the conversation."""

    model: Annotated[str, Field(max_length=512)]
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    reasoning: Reasoning | None = None
    surefoot: Annotated[Knobs, BeforeValidator(_given, json_schema_input_type=Knobs | None)] = (
        Knobs()
    )

    service_tier: Literal["auto", "default"] | None = None
    metadata: Metadata | None = None
    user: Ignored = None
    safety_identifier: Ignored = None
    prompt_cache_key: Ignored = None
    prompt_cache_options: Ignored = None
    prompt_cache_retention: Ignored = None
    parallel_tool_calls: Ignored = None
    store: Refused = None
    tools: Refused = None
    tool_choice: Refused = None
    top_logprobs: Refused = None
    moderation: Refused = None

    @property
    @abstractmethod
    def turns(self) -> tuple[Message, ...]:
        """The conversation."""

    @property
    @abstractmethod
    def most_tokens(self) -> int | None:
        """The limit on generated tokens, under the name that the API has for it."""

    @property
    def choices(self) -> int:
        """How many answers are asked for."""
        return 1

    @property
    def stops(self) -> Sequence[str]:
        """What ends the visible answer where it first stands."""
        return ()

    @property
    def effort(self) -> Effort | None:
        return self.reasoning.effort if self.reasoning else None

    @property
    def shows_reasoning(self) -> bool:
        return not (self.reasoning and self.reasoning.exclude)

    @property
    def ignored(self) -> list[str]:
        """Top-level keys that nobody knows, as far as a name can be told in a header."""
        plain = [key for key in self.model_extra or {} if PLAIN.fullmatch(key)]
        return sorted(plain)[:MOST_NAMED]

    @model_validator(mode="before")
    @classmethod
    def _named_by_model(cls, body: Any) -> Any:  # noqa: ANN401 - whatever JSON holds
        """The model's name chooses the strategy whose knobs are given."""
        name = names.strategy(body.get("model")) if isinstance(body, dict) else None
        if name is None:
            return body
        own = _given(body.get("surefoot"))
        knobs = _given(own.get("strategy")) if isinstance(own, dict) else None
        if isinstance(knobs, str):
            knobs = {"name": knobs}
        if not isinstance(own, dict) or not isinstance(knobs, dict):
            return body
        if knobs.get("name", name) != name:
            raise InvalidRequest(
                "The model's name chooses the strategy; leave this out.", "surefoot.strategy.name"
            )
        return body | {"surefoot": own | {"strategy": knobs | {"name": name}}}

    @model_validator(mode="after")
    def _routes_nowhere(self) -> Asked:
        for key in self.model_extra or {}:
            if ROUTING.fullmatch(key):
                raise UnsupportedParameter("Servers and templates are not chosen by requests.", key)
        return self

    @model_validator(mode="after")
    def _one_limit(self) -> Asked:
        own = self.surefoot.budget
        if self.most_tokens and "max_tokens" in own.model_fields_set:
            _demand_equal(self.most_tokens, own.max_tokens, "surefoot.budget.max_tokens")
        return self

    @model_validator(mode="after")
    def _ends_with_the_user(self) -> Asked:
        if self.turns[-1].role != "user":
            raise InvalidRequest("The last turn must be the user's.", self.turns_param)
        return self


def _demand_equal(one: object, other: object, param: str) -> None:
    if one != other:
        raise InvalidRequest("Two fields set this limit, and differ; leave one out.", param)


class ChatRequest(Asked):
    """A request of the chat completions API."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": "surefoot-stepco",
                    "messages": [{"role": "user", "content": "What is 3 and 4 and 5 and 6?"}],
                }
            ]
        }
    )

    turns_param = "messages"

    messages: Annotated[list[Turn], Field(min_length=1, max_length=256)]
    max_completion_tokens: Tokens | None = None
    max_tokens: Tokens | None = None
    n: Annotated[int, Field(ge=1, le=8)] | None = None
    stop: Annotated[
        Stops | None, BeforeValidator(_listed, json_schema_input_type=Stop | Stops | None)
    ] = None
    reasoning_effort: Effort | None = None
    include_reasoning: bool | None = None

    response_format: PlainFormat | None = None
    modalities: Annotated[list[Literal["text"]], Field(max_length=4)] | None = None
    verbosity: Ignored = None
    presence_penalty: Refused = None
    frequency_penalty: Refused = None
    logit_bias: Refused = None
    logprobs: Refused = None
    functions: Refused = None
    function_call: Refused = None
    audio: Refused = None
    prediction: Refused = None
    web_search_options: Refused = None

    @property
    def turns(self) -> tuple[Message, ...]:
        return tuple(turn.message() for turn in self.messages)

    @property
    def most_tokens(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens

    @property
    def choices(self) -> int:
        return self.n or 1

    @property
    def stops(self) -> Sequence[str]:
        return self.stop or ()

    @property
    def effort(self) -> Effort | None:
        return self.reasoning_effort or super().effort

    @property
    def shows_reasoning(self) -> bool:
        return self.include_reasoning is not False and super().shows_reasoning

    @property
    def tells_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> ChatRequest:
        if self.max_completion_tokens and self.max_tokens:
            _demand_equal(self.max_completion_tokens, self.max_tokens, "max_tokens")
        if self.reasoning_effort and self.reasoning and self.reasoning.effort:
            _demand_equal(self.reasoning_effort, self.reasoning.effort, "reasoning.effort")
        if self.stream_options and not self.stream:
            raise InvalidRequest("This goes with stream alone.", "stream_options")
        return self
