"""vLLM in this process: many questions at once, on a GPU or a CPU.

Token ids go in and come out, so that a kept prefix is sent as the tokens it was written in. Every
sample is a sequence of its own: samples of one prompt share its prefill through the prefix cache,
block by block, and each is counted by itself. Nothing of a request but `Sampling` reaches vLLM.
Starting it, keeping it alive and counting exactly are the business of `core`.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from service.engines import base
from service.engines.base import Completion, Prompt, Sampling, Told, Usage, Watch
from service.engines.vllm.core import Core, Native, Plan
from service.engines.vllm.tokenizer import ChatTokenizer
from service.engines.written import Turn, Written
from service.errors import ContextLengthExceeded, ServiceError
from service.text import readable
from verifier.readout import Pair, Query, Reading
from verifier.scoring import Cost, Meter, unmetered
from verifier.together import together

LONG = 50_000  # characters from which a prompt is tokenised beside the loop
FINISHES: dict[str, base.Finish] = {"stop": "stop", "length": "length", "abort": "aborted"}


class VllmEngine:
    """A `Backend`. Make it with `load`; `reader` is its side for a verifier."""

    begins_turns = True

    def __init__(self, core: Core, tokenizer: ChatTokenizer, name: str, context: int) -> None:
        self.name = name
        self._core = core
        self._tokenizer = tokenizer
        self._context = context
        self._written = Written()

    @classmethod
    async def load(cls, plan: Plan, name: str = "") -> VllmEngine:
        """Load a folder or a hub name. Raises `StartupError`."""
        tokenizer = await asyncio.to_thread(ChatTokenizer.load, plan.model)
        core = await Core.start(plan)
        return cls(core, tokenizer, name or Path(plan.model).name, plan.context)

    def reader(self, adapter: str = "") -> VllmReader:
        """This engine as a verifier's, with one of its adapters on or with none."""
        return VllmReader(self, adapter)

    async def complete(
        self, prompts: Sequence[Prompt], sampling: Sampling, watch: Watch = base.unwatched
    ) -> list[Completion]:
        told = [Told(watch, index) for index in range(len(prompts))]
        turns = {prompt: await self.tokens(prompt) for prompt in dict.fromkeys(prompts)}
        await together(
            self._draw(prompt, turns[prompt], base.at(sampling, index), told[index])
            for index, prompt in enumerate(prompts)
        )
        return [each.completed() for each in told]

    async def measure(self, prompts: Sequence[Prompt]) -> list[int]:
        return [len(turn.tokens) for turn in [await self.tokens(prompt) for prompt in prompts]]

    async def check(self) -> None:
        self._core.demand()

    async def close(self) -> None:
        await self._core.close()

    async def tokens(self, prompt: Prompt) -> Sent:
        """What is sent. Raises `ContextLengthExceeded`."""
        size = sum(len(message.content) for message in prompt.messages) + len(prompt.prefix)
        turn = await asyncio.to_thread(self._turn, prompt) if size > LONG else self._turn(prompt)
        if len(turn.tokens) >= self._context:
            raise ContextLengthExceeded(
                f"The question does not fit in {self._context:,} tokens; shorten it.", "problem"
            )
        return turn

    async def read(
        self, query: Query, words: Sequence[int], adapter: str = ""
    ) -> tuple[dict[int, float], Usage]:
        """The log-probabilities of these tokens as the next one, and what it cost."""
        heard = Heard(await self.tokens(base.turns(query)), Told(base.unwatched, 0), Turn("", ()))
        params = {"max_tokens": 1, "temperature": 0.0, "logprob_token_ids": list(words)}
        await self._core.follow(heard.sent.tokens, params, heard, query.salt, adapter)
        return heard.logs, heard.told.usage

    def word(self, text: str) -> int:
        """The one token that is this text. Raises `LookupError`."""
        return self._tokenizer.word(text)

    def _turn(self, prompt: Prompt) -> Sent:
        head = self._tokenizer.conversation(prompt.messages)
        begun, rest = self._written.recall(prompt)
        return Sent(head + begun + self._tokenizer.text(rest), len(head))

    async def _draw(self, prompt: Prompt, turn: Sent, sampling: Sampling, told: Told) -> None:
        heard = Heard(turn, told, Turn(prompt.prefix, turn.tokens[turn.head :]))
        params = {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_tokens,
            "stop": list(sampling.stop),
            "seed": sampling.seed,
            "logprobs": 0 if sampling.certainty else None,
        }
        try:
            ending = await self._core.follow(
                turn.tokens, params, heard, prompt.salt, since=prompt.since
            )
        finally:
            if not sampling.stop:
                self._written.remember(prompt, heard.turn)
        told.complete(FINISHES.get(ending, "failed"))


@dataclass(frozen=True, slots=True)
class Sent:
    """A prompt's tokens; the assistant's turn begins behind the first `head` of them."""

    tokens: list[int]
    head: int


@dataclass(slots=True)
class Heard:
    """One sequence as it comes from vLLM: told on, its tokens kept and counted."""

    sent: Sent
    told: Told
    turn: Turn
    logs: dict[int, float] = field(default_factory=dict)

    def __call__(self, output: Native) -> bool:
        (sample,) = output.outputs
        usage = Usage(completion=len(sample.token_ids))
        if sample.token_ids and not self.told.usage.calls:  # with its first token vLLM counts it
            usage += Usage(len(self.sent.tokens), output.num_cached_tokens, calls=1)
        self.turn.hear(readable(sample.text), sample.token_ids)
        for place in sample.logprobs or ():
            self.logs.update({token: likely.logprob for token, likely in place.items()})
        written = zip(sample.token_ids, sample.logprobs or (), strict=False)
        likely = ((place[token].decoded_token, place[token].logprob) for token, place in written)
        return self.told(sample.text, usage, base.numbers(likely))


@dataclass(frozen=True, slots=True)
class VllmReader:
    """A verifier's `Reader`: exact odds of next tokens, all queries at once."""

    engine: VllmEngine
    adapter: str = ""

    @property
    def name(self) -> str:
        return self.engine.name

    async def read(
        self, queries: Sequence[Query], pairs: Sequence[Pair], meter: Meter = unmetered
    ) -> list[Reading]:
        try:
            words = {word: self.engine.word(word) for pair in pairs for word in pair}
            return await together(self._read(query, words, pairs, meter) for query in queries)
        except (LookupError, ValueError, ArithmeticError, ServiceError) as error:
            raise base.unread(f"{self.name} gave no reading", error) from error

    async def weigh(self, queries: Sequence[Query]) -> list[int]:
        return await self.engine.measure([base.turns(query) for query in queries])

    async def check(self) -> None:
        await self.engine.check()

    async def close(self) -> None:
        await self.engine.close()

    async def _read(
        self, query: Query, words: dict[str, int], pairs: Sequence[Pair], meter: Meter
    ) -> Reading:
        logs, usage = await self.engine.read(query, list(words.values()), self.adapter)
        cost = Cost(usage.computed, 1)
        meter(cost)
        odds = (1 / (1 + math.exp(logs[words[no]] - logs[words[yes]])) for yes, no in pairs)
        return Reading(tuple(odds), cost)
