"""What a server says: a chunk of an answer, a list of models, tokens."""

from typing import Any

from pydantic import AliasChoices, AliasPath, BaseModel, Field

from service.engines import base
from service.engines.base import Usage


def _in(*paths: str) -> Any:  # noqa: ANN401 - of the type of the field it stands for
    """A field that is found in one of these places, or None; a number counts in a list."""
    places = ([int(s) if s.isdigit() else s for s in path.split(".")] for path in paths)
    return Field(None, validation_alias=AliasChoices(*(AliasPath(str(p), *q) for p, *q in places)))


class _Likely(BaseModel):
    token: str
    logprob: float


class _Chosen(BaseModel):
    token: str = ""
    logprob: float = 0.0


class Heard(BaseModel, hide_input_in_errors=True):
    """What we need of any answer: a chunk of chat or text, a rendered prompt, a list of models."""

    text: str | None = _in("choices.0.delta.content", "choices.0.text")
    thought: str | None = _in("choices.0.delta.reasoning_content", "choices.0.delta.reasoning")
    ending: str | None = _in("choices.0.finish_reason")
    read: int | None = _in("usage.prompt_tokens")
    prefilled: int | None = _in("timings.prompt_n")
    cached: int | None = _in("usage.prompt_tokens_details.cached_tokens", "timings.cache_n")
    written: int | None = _in("usage.completion_tokens", "timings.predicted_n")
    new: list[int] | None = _in("choices.0.token_ids")
    likely: list[_Likely] | None = _in("choices.0.logprobs.content.0.top_logprobs")
    chosen: list[_Chosen] | None = _in("choices.0.logprobs.content")
    pieces: list[str] | None = _in("choices.0.logprobs.tokens")
    logs: list[float] | None = _in("choices.0.logprobs.token_logprobs")
    prompt: str = ""
    tokens: list[int] = []
    data: list[dict[str, Any]] = []

    @property
    def numbers(self) -> base.Numbers:
        """As a chat or as a text completion tells of them."""
        texts = zip(self.pieces or (), self.logs or (), strict=False)
        return base.numbers([*texts, *((each.token, each.logprob) for each in self.chosen or ())])

    def since(self, told: Usage) -> Usage:
        """What it cost since `told`. Who counts no token of the prompt does not count at all."""
        cached = self.cached or 0
        if prompt := self.read or cached + (self.prefilled or 0):
            return Usage(prompt, cached, self.written or 0, calls=1) - told
        written = int(bool(self.text or self.thought)) if self.new is None else len(self.new)
        return Usage(completion=written, calls=1 - told.calls)
