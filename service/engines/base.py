"""What a strategy may ask of a language model, and what it costs.

`Engine` is all that a strategy sees. `Backend` is what a process runs: an engine that can also be
measured, checked and closed. Chat templates, tokenisers and wire formats stay behind it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal, Protocol, runtime_checkable

from pydantic import Field

from service.errors import ContextLengthExceeded, EngineError
from service.text import readable
from verifier.readout import Query
from verifier.scoring import PathTooLong, VerifierError

ROUNDING = 1e-3  # a log-probability that is computed may be so far above zero

Role = Literal["system", "user", "assistant"]
Finish = Literal["stop", "length", "aborted", "failed"]


@dataclass(frozen=True, slots=True)
class Message:
    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """A conversation, and the assistant's next turn as far as it is already written.

    `salt` is the tenant's: what an engine has cached is used again for prompts of the same salt.
    `session`: whose call it is, the same for all calls of a solve. Where an engine is several
    replicas, they go to one of them, which still has the tokens of those before in its cache.
    `since`: when the request came that it is for, in seconds since 1970. Where calls wait for each
    other, those of the earlier request go first, so that what was begun is ended.
    """

    messages: tuple[Message, ...]
    prefix: str = ""
    salt: str = ""
    session: str = ""
    since: int = 0


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to draw; `max_tokens` is a hard cap on the tokens generated for each prompt.

    `seconds` are left of the request's deadline, when the call is made: of use to an engine that is
    elsewhere, since here the call is cancelled then. `certainty`: tell how probable numbers were.
    """

    temperature: float = 0.7
    top_p: float = 0.95
    max_tokens: int = 512
    stop: tuple[str, ...] = ()
    seed: int | None = None
    seconds: Annotated[float | None, Field(exclude=True)] = None
    certainty: Annotated[bool, Field(exclude=True)] = False


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of the policy. `cached` of the `prompt` tokens needed no computing."""

    prompt: int = 0
    cached: int = 0
    completion: int = 0
    calls: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt + other.prompt,
            self.cached + other.cached,
            self.completion + other.completion,
            self.calls + other.calls,
        )

    def __sub__(self, other: Usage) -> Usage:
        return self + Usage(-other.prompt, -other.cached, -other.completion, -other.calls)

    @property
    def computed(self) -> int:
        """Tokens that had to be computed: prefill that was not cached, and what was generated."""
        return self.prompt - self.cached + self.completion


@dataclass(frozen=True, slots=True)
class Completion:
    """What followed a prompt's prefix. `failed`: this sample was lost, its siblings were not."""

    text: str
    finish: Finish
    usage: Usage


Numbers = tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class Delta:
    """What is new since the last one: text of the prompt at `index`, and what it cost.

    The last one of a prompt carries its `finish`. `numbers`: of each token that holds a digit, how
    far into the text it ends, and how probable the model itself found it, before temperature and
    top_p; where an engine can tell, and `Sampling.certainty` asks.
    """

    index: int
    text: str
    usage: Usage
    finish: Finish | None = None
    numbers: Numbers = ()


Watch = Callable[[Delta], bool]
"""Hears each delta as it comes; answers whether this prompt's completion shall go on."""


def unwatched(_: Delta) -> bool:
    return True


class Engine(Protocol):
    async def complete(
        self, prompts: Sequence[Prompt], sampling: Sampling, watch: Watch = unwatched
    ) -> list[Completion]:
        """One completion a prompt, in order; equal prompts share their prefill.

        For every prompt the deltas' texts join to the completion's text and their usages add up to
        its usage, also when the watch stopped it. On cancellation the engine aborts, tells the
        watch whatever it has not heard yet, and raises.

        Raises `EngineError`.
        """
        ...


class Backend(Engine, Protocol):
    name: str
    """The model, as responses name it."""

    begins_turns: bool
    """Whether `Prompt.prefix` is honoured. A chat-only server cannot; it is given none."""

    async def measure(self, prompts: Sequence[Prompt]) -> list[int]:
        """Prompt tokens of each; never too few, and exact where the tokeniser is at hand."""
        ...

    async def check(self) -> None:
        """Return if the engine answers; raise `EngineError` if not."""

    async def close(self) -> None: ...


@runtime_checkable
class Counting(Protocol):
    """An engine that counts for itself, where we cannot forget a token."""

    @property
    def spent(self) -> Usage:
        """All it has computed for `complete`, also in calls that were cancelled."""
        ...


class Told:
    """One prompt's watch: adds up what it passes on, so that the completion is what was told.

    Here a model's text comes in, and is made readable.
    """

    def __init__(self, watch: Watch, index: int) -> None:
        self._watch = watch
        self._index = index
        self.text = ""
        self.usage = Usage()
        self.finish: Finish = "aborted"

    def __call__(self, text: str, usage: Usage, numbers: Numbers = ()) -> bool:
        text = readable(text)
        self.text += text
        self.usage += usage
        return self._watch(Delta(self._index, text, usage, numbers=numbers))

    def complete(self, finish: Finish) -> Completion:
        self.finish = finish
        self._watch(Delta(self._index, "", Usage(), finish))
        return self.completed()

    def completed(self) -> Completion:
        return Completion(self.text, self.finish, self.usage)


def turns(query: Query) -> Prompt:
    """A verifier's query as a prompt."""
    messages = (Message("system", query.system), Message("user", query.user))
    said = messages if query.system else messages[1:]
    return Prompt(said, query.begun, query.salt, query.session)


def unread(says: str, error: Exception) -> VerifierError:
    """What an engine's error means to the verifier that it reads for."""
    kind = PathTooLong if isinstance(error, ContextLengthExceeded) else VerifierError
    return kind(f"{says}: {error}")


def numbers(tokens: Iterable[tuple[str, float]]) -> Numbers:
    """What a delta has to say of these tokens, given with their log-probabilities.

    What is none, being NaN or above zero by more than rounding, says nothing of its token.
    """
    found, end = list[tuple[int, float]](), 0
    for token, log in tokens:
        end += len(token)
        if log < ROUNDING and any(map(str.isdigit, token)):
            found.append((end, math.exp(min(log, 0.0))))
    return tuple(found)


def single(word: str, tokens: Sequence[int], model: str) -> int:
    """The one token that is this word; raises `EngineError` if the model spells it in several."""
    if len(tokens) != 1:
        raise EngineError(f"{word!r} is no single token of {model}; choose another.")
    return tokens[0]


def at(sampling: Sampling, index: int) -> Sampling:
    """The sampling of the call's sample number `index`: the same seed would draw the same path."""
    if sampling.seed is None:
        return sampling
    return replace(sampling, seed=sampling.seed + index)
