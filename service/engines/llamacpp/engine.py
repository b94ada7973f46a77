"""llama.cpp in this process, through the prebuilt wheel `xllamacpp`, for a laptop.

Samples of one prompt share its prefill, and a prompt that begins like an earlier one of its
tenant's is prefilled from where they part. A verifier's adapter is on while it reads and off while
the policy writes, though both share one set of weights.

An aborted call is counted up to what was last delivered; llama.cpp may have computed one batch of
its prompt, or two tokens for each sample, before it heard of the abort. It cannot be told whose
those were, so they are not claimed.
"""

from __future__ import annotations

from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from service.engines import base
from service.engines.base import Completion, Finish, Prompt, Sampling, Told, Usage, Watch
from service.engines.llamacpp.server import Server
from service.engines.llamacpp.slots import ANY, SLOTS, Held, Slots
from service.engines.llamacpp.tokenizer import Tokenizer
from service.errors import ContextLengthExceeded, EngineError, EngineUnavailable
from verifier.readout import Pair, Query, Reading
from verifier.scoring import Cost, Meter, unmetered
from verifier.together import together

BIAS = 60.0  # lifts the tokens of a reading above all others; their odds stay as they are


class LlamaCppEngine:
    """A `Backend` and a verifier's `Reader` over one GGUF file. Make it with `load`."""

    begins_turns = True

    def __init__(self, server: Server, reading: float = 0.0) -> None:
        self.name = server.name
        self._reading = reading  # the adapter's scale while a verifier reads
        self.server = server
        self.tokenizer = Tokenizer(server)
        self._slots = Slots()

    @classmethod
    async def load(cls, model: Path, threads: int, adapter: Path | None = None) -> LlamaCppEngine:
        """Load the model, and the adapter to read with; raises `StartupError`."""
        return cls(await Server.start(model, threads, adapter), 1.0 if adapter else 0.0)

    async def complete(
        self, prompts: Sequence[Prompt], sampling: Sampling, watch: Watch = base.unwatched
    ) -> list[Completion]:
        told = [Told(watch, index) for index in range(len(prompts))]
        equal: dict[Prompt, list[int]] = {}
        for index, prompt in enumerate(prompts):
            equal.setdefault(prompt, []).append(index)

        def calls() -> Iterator[Coroutine[Any, Any, None]]:
            for prompt, members in equal.items():
                for start in range(0, len(members), SLOTS):
                    drawn = members[start : start + SLOTS]
                    samples = [Sample(told[i], shares_prefill=i != drawn[0]) for i in drawn]
                    yield self._draw(prompt, base.at(sampling, drawn[0]), samples)

        await together(calls())
        return [each.completed() for each in told]

    async def measure(self, prompts: Sequence[Prompt]) -> list[int]:
        return [len(tokens) for tokens in await self.tokenizer.turns(prompts)]

    async def read(
        self, queries: Sequence[Query], pairs: Sequence[Pair], meter: Meter = unmetered
    ) -> list[Reading]:
        """Odds of next tokens, exact: biased alike, they are all that is left to choose from."""
        try:
            words = {word: await self.tokenizer.word(word) for pair in pairs for word in pair}
            prompts = await self.tokenizer.turns([base.turns(query) for query in queries])
            shown = [
                Held(tokens, self._reading, query.salt)
                for tokens, query in zip(prompts, queries, strict=True)
            ]
            return [await self._read(held, words, pairs, meter) for held in shown]
        except (EngineError, ContextLengthExceeded, LookupError, ZeroDivisionError) as error:
            raise base.unread(f"{self.name} gave no reading", error) from error

    async def weigh(self, queries: Sequence[Query]) -> list[int]:
        return await self.measure([base.turns(query) for query in queries])

    async def check(self) -> None:
        await self.server.check()

    async def close(self) -> None:
        await self.server.close()

    async def _read(
        self, held: Held, words: dict[str, int], pairs: Sequence[Pair], meter: Meter
    ) -> Reading:
        request = {
            "prompt": held.tokens,
            "n_predict": 1,
            "n_probs": len(words),
            "post_sampling_probs": True,
            "logit_bias": [[token, BIAS] for token in words.values()],
            "temperature": 1.0,
            "samplers": ["temperature"],
            "lora": _scaled(self._reading),
        }
        read = Read(meter)
        with self._slots.taken(held) as place:
            async with self.server.complete(request | place.asked) as chunks:
                async for chunk in chunks:
                    read.hear(chunk)
            self._slots.hold(read.slot, held)
        yes_no = [(read.likely[words[yes]], read.likely[words[no]]) for yes, no in pairs]
        return Reading(tuple(yes / (yes + no) for yes, no in yes_no), read.cost)

    async def _draw(self, prompt: Prompt, sampling: Sampling, samples: list[Sample]) -> None:
        (tokens,) = await self.tokenizer.turns([prompt])
        request = {
            "prompt": tokens,
            "n": len(samples),
            "n_predict": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "samplers": ["temperature", "top_p"] if sampling.top_p < 1 else ["temperature"],
            "seed": -1 if sampling.seed is None else sampling.seed,
            "stop": list(sampling.stop),
            "return_tokens": True,
            "n_probs": int(sampling.certainty),
            "lora": _scaled(0.0),
        }
        held = Held(tokens, salt=prompt.salt)
        with self._slots.taken(held, len(samples)) as place:
            try:
                await self._follow(request | place.asked, samples)
            finally:
                for sample in samples:
                    where = place.slot if sample.slot is None else sample.slot
                    self._slots.hold(where, sample.left_of(held))

    async def _follow(self, request: dict[str, Any], samples: list[Sample]) -> None:
        async with self.server.complete(request) as chunks:
            async for chunk in chunks:
                samples[chunk["index"]].hear(chunk)
                if not any(sample.live for sample in samples):
                    break
        if any(sample.live for sample in samples):
            raise EngineUnavailable("llama.cpp broke off in mid-answer; restart the service.")
        for sample in samples:
            sample.end()


@dataclass(slots=True)
class Sample:
    """One sample of a call, told as its chunks come.

    One that the watch has stopped costs on until none of its call is live: they end together.
    """

    told: Told
    shares_prefill: bool
    tokens: list[int] = field(default_factory=list)
    stopped: bool = False
    done: bool = False
    slot: int | None = None

    @property
    def live(self) -> bool:
        return not (self.stopped or self.done)

    def left_of(self, prompt: Held) -> Held:
        """What its slot holds behind the call: the server keeps the cache of the first alone."""
        return (
            Held() if self.shares_prefill else replace(prompt, tokens=prompt.tokens + self.tokens)
        )

    def hear(self, chunk: dict[str, Any]) -> None:
        if "prompt_progress" in chunk:
            if not self.shares_prefill:
                self.stopped |= not self.told(
                    "", self._read(chunk["prompt_progress"]["processed"], chunk)
                )
            return
        self.tokens += chunk["tokens"]
        usage = Usage(completion=chunk["tokens_predicted"] - self.told.usage.completion)
        usage += self._read(chunk["tokens_evaluated"], chunk)
        likely = ((it["token"], it["logprob"]) for it in chunk.get("completion_probabilities", ()))
        text = "" if self.stopped else chunk["content"]
        self.stopped |= not self.told(text, usage, base.numbers(likely))
        if chunk["stop"]:
            self.slot = chunk["id_slot"]
            self.end("length" if chunk["stop_type"] == "limit" else "stop")

    def _read(self, processed: int, chunk: dict[str, Any]) -> Usage:
        """What is new of the prompt, of which so much is in the slot."""
        before = self.told.usage
        new = Usage(prompt=processed - before.prompt)
        if before.calls:
            return new
        cached = processed if self.shares_prefill else chunk["timings"]["cache_n"]
        return new + Usage(cached=cached, calls=1)

    def end(self, finish: Finish = "aborted") -> None:
        if not self.done:
            self.told.complete("aborted" if self.stopped else finish)
        self.done = True


@dataclass(slots=True)
class Read:
    """One reading, metered as its chunks come."""

    meter: Meter
    cost: Cost = field(default_factory=Cost)
    slot: int = ANY
    likely: dict[int, float] = field(default_factory=dict)
    """The probabilities of the tokens that were asked for."""

    def hear(self, chunk: dict[str, Any]) -> None:
        computed = chunk["timings"]["prompt_n"] + chunk["tokens_predicted"]
        new = Cost(computed - self.cost.tokens, 1 - self.cost.calls)
        self.cost += new
        self.meter(new)
        for found in chunk.get("completion_probabilities", ()):
            self.likely |= {top["id"]: top["prob"] for top in found["top_probs"]}
        if chunk["stop"]:
            self.slot = chunk["id_slot"]


def _scaled(scale: float) -> list[dict[str, float]]:
    """The adapter at this scale: a call that does not say may run on what another one computed."""
    return [{"id": 0, "scale": scale}]
