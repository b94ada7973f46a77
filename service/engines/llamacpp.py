"""llama.cpp in this process, through the prebuilt wheel `xllamacpp`, for a laptop.

The wheel's server listens on loopback alone, behind a key that is drawn at start. Chat templates
come from the model. What callers and policies write is tokenised with special tokens split, so
"<|im_end|>" in a question is text. Samples of one prompt share its prefill, and a prompt that
begins like an earlier one of its tenant's is prefilled from where they part. A verifier's adapter
is on while it reads and off while the policy writes, though both share one set of weights.

The server sees that a call was given up when it next writes to it. So all calls are streams, which
tell of their prompts' progress too, and what is given up is reset: it ends behind the batch that is
being computed.

An aborted call is counted up to what was last delivered; llama.cpp may have computed one batch of
its prompt, or two tokens for each sample, before it heard of the abort. It cannot be told whose
those were, so they are not claimed.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import socket
import struct
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx2

from service.engines import base
from service.engines.base import Completion, Finish, Prompt, Sampling, Told, Usage, Watch
from service.errors import ContextLengthExceeded, EngineError, EngineUnavailable, StartupError
from verifier.readout import Pair, Query, Reading
from verifier.scoring import Cost, Meter, VerifierError, unmetered

SLOTS = 16
CONTEXT = 16_384  # tokens, shared by all slots
BATCH = 64  # tokens of prompts between two looks at who has left: half a second's on two cores
RESET = (socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closed is closed at once
BIAS = 60.0  # lifts the tokens of a reading above all others; their odds stay as they are
END = -1  # between the tokens of two prompts
ANY = -1  # a slot of the server's choice
TOLD = {"stream": True, "return_progress": True, "timings_per_token": True}


class LlamaCppEngine:
    """A `Backend` and a verifier's `Reader` over one GGUF file. Make it with `load`."""

    begins_turns = True

    def __init__(self, server: object, url: str, key: str, name: str, reading: float = 0.0) -> None:
        self.name = name
        self._reading = reading  # the adapter's scale while a verifier reads
        self._server = server  # its destructor stops the threads
        # The server closes a connection behind every stream; one it might close is not reused.
        unkept = httpx2.Limits(max_connections=None, max_keepalive_connections=0)
        self._http = httpx2.AsyncClient(
            base_url=url,
            headers={"Authorization": f"Bearer {key}"},
            timeout=httpx2.Timeout(600, connect=5),
            transport=httpx2.AsyncHTTPTransport(limits=unkept, socket_options=[RESET]),
            trust_env=False,
        )
        self._templates: dict[tuple[str, ...], list[list[int] | int]] = {}
        self._words: dict[str, int] = {}
        self._slots = Slots()

    @classmethod
    async def load(cls, model: Path, threads: int, adapter: Path | None = None) -> LlamaCppEngine:
        """Load the model, and the adapter to read with; raises `StartupError`."""
        key = secrets.token_hex(16)
        server = await asyncio.to_thread(_start, model, threads, key, adapter)
        return cls(server, server.listening_address, key, model.stem, 1.0 if adapter else 0.0)

    async def complete(
        self, prompts: Sequence[Prompt], sampling: Sampling, watch: Watch = base.unwatched
    ) -> list[Completion]:
        told = [Told(watch, index) for index in range(len(prompts))]
        equal: dict[Prompt, list[int]] = {}
        for index, prompt in enumerate(prompts):
            equal.setdefault(prompt, []).append(index)
        try:
            async with asyncio.TaskGroup() as group:
                for prompt, members in equal.items():
                    for start in range(0, len(members), SLOTS):
                        drawn = members[start : start + SLOTS]
                        samples = [Sample(told[i], shares_prefill=i != drawn[0]) for i in drawn]
                        group.create_task(self._draw(prompt, base.at(sampling, drawn[0]), samples))
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        return [each.completed() for each in told]

    async def measure(self, prompts: Sequence[Prompt]) -> list[int]:
        return [len(tokens) for tokens in await self._tokens(prompts)]

    async def read(
        self, queries: Sequence[Query], pairs: Sequence[Pair], meter: Meter = unmetered
    ) -> list[Reading]:
        """Odds of next tokens, exact: biased alike, they are all that is left to choose from."""
        try:
            words = {word: await self._word(word) for pair in pairs for word in pair}
            prompts = await self._tokens([base.turns(query) for query in queries])
            shown = [
                Held(tokens, self._reading, query.salt)
                for tokens, query in zip(prompts, queries, strict=True)
            ]
            return [await self._read(held, words, pairs, meter) for held in shown]
        except (EngineError, ContextLengthExceeded, LookupError, ZeroDivisionError) as error:
            raise VerifierError(f"{self.name} gave no reading: {error}") from error

    async def weigh(self, queries: Sequence[Query]) -> list[int]:
        return await self.measure([base.turns(query) for query in queries])

    async def check(self) -> None:
        with _translated(self.name):
            (await self._http.get("/health")).raise_for_status()

    async def close(self) -> None:
        await self._http.aclose()
        self._server = None

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
            **TOLD,
        }
        read = Read(meter)
        with self._slots.taken(held) as place:
            async with self._stream("/completion", request | place.asked) as chunks:
                async for chunk in chunks:
                    read.hear(chunk)
            self._slots.hold(read.slot, held)
        yes_no = [(read.likely[words[yes]], read.likely[words[no]]) for yes, no in pairs]
        return Reading(tuple(yes / (yes + no) for yes, no in yes_no), read.cost)

    async def _draw(self, prompt: Prompt, sampling: Sampling, samples: list[Sample]) -> None:
        (tokens,) = await self._tokens([prompt])
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
            **TOLD,
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
        async with self._stream("/completion", request) as chunks:
            async for chunk in chunks:
                samples[chunk["index"]].hear(chunk)
                if not any(sample.live for sample in samples):
                    break
        if any(sample.live for sample in samples):
            raise EngineUnavailable("llama.cpp broke off in mid-answer; restart the service.")
        for sample in samples:
            sample.end()

    async def _tokens(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        """The prompts in the model's own template, callers' text with special tokens split."""
        texts: list[str | int] = []
        for prompt in prompts:
            texts += [*await self._templated(prompt), prompt.prefix, END]
        tokens = [END, *await self._tokenize(texts)]
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
        rendered = (await self._post("/apply-template", {"messages": messages}))["prompt"]
        parts: list[list[int] | int] = []
        for number, text in enumerate(re.split(f"{mark}([0-9]+);", rendered)):
            if number % 2:
                parts.append(int(text))
            elif text:
                parts.append(await self._tokenize([text], special=True, first=number == 0))
        return parts

    async def _tokenize(
        self, texts: Sequence[str | int], *, special: bool = False, first: bool = False
    ) -> list[int]:
        """Every text on its own; numbers among them stay as they are."""
        request = {"content": texts, "parse_special": special, "add_special": first}
        tokens: list[int] = (await self._post("/tokenize", request))["tokens"]
        return tokens

    async def _word(self, word: str) -> int:
        if word not in self._words:
            tokens = await self._tokenize([word])
            if len(tokens) != 1:
                raise EngineError(f"{word!r} is no single token of {self.name}; choose another.")
            self._words[word] = tokens[0]
        return self._words[word]

    async def _post(self, path: str, request: dict[str, Any]) -> dict[str, Any]:
        with _translated(self.name):
            response = await self._http.post(path, json=request)
            _raise_for(response.status_code, response.content)
            reply: dict[str, Any] = response.json()
        return reply

    @asynccontextmanager
    async def _stream(
        self, path: str, request: dict[str, Any]
    ) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        with _translated(self.name):
            async with self._http.stream("POST", path, json=request) as response:
                if response.status_code != httpx2.codes.OK:
                    _raise_for(response.status_code, await response.aread())
                yield _chunks(response)


@dataclass(frozen=True, slots=True)
class Held:
    """The tokens in a slot's cache, the scale of the adapter they were computed with, and whose
    they are; that is None where it is not known.
    """

    tokens: list[int] = field(default_factory=list)
    scale: float = 0.0
    salt: str | None = None

    def shared(self, other: Held) -> int:
        """How many tokens they begin with alike; the server drops what another scale computed."""
        if (self.scale, self.salt) != (other.scale, other.salt):
            return 0
        pairs = enumerate(zip(self.tokens, other.tokens, strict=False))
        fewer = min(len(self.tokens), len(other.tokens))
        return next((at for at, (one, its) in pairs if one != its), fewer)


@dataclass(frozen=True, slots=True)
class Place:
    """A slot, and whether what lies in it may be used: not what is, or may be, another tenant's."""

    slot: int
    own: bool

    @property
    def asked(self) -> dict[str, Any]:
        return {"id_slot": self.slot, "cache_prompt": self.own}


class Slots:
    """What each slot of the server has in its cache, so that a call goes where most of it lies.

    The server's own choice looks at how alike prompts are as a whole, and so loses the kept prefix
    of a long path whose first steps alone are kept. Nor does it know of tenants, of whom none is to
    learn from what is cached what another has asked (CVE-2025-46570).
    """

    def __init__(self) -> None:
        self._tenant: str | None = None
        self._several = False  # tenants have been here
        self._cached = {slot: Held() for slot in range(SLOTS)}
        self._busy: set[int] = set()
        self._loose = 0  # calls in slots of the server's choice

    @contextmanager
    def taken(self, wanted: Held, samples: int = 1) -> Iterator[Place]:
        """The free slot with most of the tokens; the longest unused one where none has half.

        -1, the server's own choice, for several samples, which it spreads over slots, and while
        such a choice is not known: a call that is sent to a slot in use waits for it.
        """
        self._tenant = self._tenant or wanted.salt
        self._several |= self._tenant != wanted.salt
        free = [slot for slot in self._cached if slot not in self._busy]
        if samples > 1 or self._loose or not free:
            self._loose += 1
            try:
                yield Place(ANY, own=not self._several)
            except BaseException:
                self.hold(ANY, Held())
                raise
            finally:
                self._loose -= 1
            return
        slot = max(free, key=lambda slot: wanted.shared(self._cached[slot]))
        if 2 * wanted.shared(self._cached[slot]) < len(wanted.tokens):
            slot = free[0]
        own = not self._several or self._cached[slot].salt == wanted.salt
        self._busy.add(slot)
        self.hold(slot, wanted)
        try:
            yield Place(slot, own)
        finally:
            self._busy.discard(slot)

    def hold(self, slot: int, held: Held) -> None:
        """Where it is not known which slot that was, no free one is known any more."""
        if self._cached.pop(slot, None) is not None:
            self._cached[slot] = held  # behind all others: the one used last
        else:
            self._cached |= {each: Held() for each in self._cached if each not in self._busy}


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


async def _chunks(response: httpx2.Response) -> AsyncIterator[dict[str, Any]]:
    async for line in response.aiter_lines():
        field, _, data = line.partition(": ")
        if field == "error":
            raise EngineError("llama.cpp failed in mid-answer; its log says why.")
        if field == "data":
            yield json.loads(data)


def _raise_for(status: int, body: bytes) -> None:
    if status == httpx2.codes.OK:
        return
    if b"exceed_context_size" in body:
        raise ContextLengthExceeded(
            f"The question does not fit in {CONTEXT:,} tokens; shorten it.", "problem"
        )
    raise EngineError(f"llama.cpp refused a call with status {status}; its log says why.")


@contextmanager
def _translated(name: str) -> Iterator[None]:
    try:
        yield
    except (httpx2.HTTPError, httpx2.StreamError, json.JSONDecodeError) as error:
        raise EngineUnavailable(f"{name} does not answer; restart the service.") from error


def _scaled(scale: float) -> list[dict[str, float]]:
    """The adapter at this scale: a call that does not say may run on what another one computed."""
    return [{"id": 0, "scale": scale}]


def _start(model: Path, threads: int, key: str, adapter: Path | None) -> Any:  # noqa: ANN401 - the wheel is untyped
    native: Any = import_module("xllamacpp")
    params = native.CommonParams()
    params.model.path = str(model)
    params.port = 0
    params.api_keys = [key]
    params.n_ctx = CONTEXT
    params.n_parallel = SLOTS
    params.n_batch = params.n_ubatch = BATCH
    params.kv_unified = True
    params.endpoint_metrics = True
    params.cache_ram_mib = 0
    params.cache_idle_slots = False
    params.ui = False
    params.warmup = False
    params.verbosity = 0
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    if adapter:
        params.lora_adapters = [native.CommonAdapterLoraInfo(str(adapter), 0.0)]
    try:
        return native.Server(params)
    except RuntimeError as error:
        what = f"{model} with {adapter}" if adapter else f"{model}"
        raise StartupError(
            f"llama.cpp cannot load {what}; check that it is a GGUF file and that memory suffices."
        ) from error
