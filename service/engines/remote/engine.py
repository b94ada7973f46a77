"""Any server that speaks OpenAI's API over HTTP, as an engine: vLLM, SGLang, llama.cpp, a provider.

All is streamed: a watch hears it as it comes, and closing the connection stops the server. vLLM and
llama.cpp count aloud; elsewhere a chunk counts as one token until the last brings exact figures.
vLLM is sent tokens, those that it wrote where a prefix is kept, so that its cache knows them.
The server may be a router before several replicas: every call names its session, which pins the
calls of one solve to one replica (vLLM's router hashes it; other servers do not heed it).
Not covered: a tokeniser of our own, so that `measure` is an upper bound but on vLLM; servers that
ignore `max_tokens`.
"""

import asyncio
import math
from collections.abc import Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import asdict, dataclass, replace
from time import monotonic
from typing import Any, Self

import httpx2

from service.engines import base
from service.engines.base import Completion, Prompt, Sampling, Told, Usage, Watch
from service.engines.remote.server import FOREIGN, Server
from service.engines.remote.tokenizer import Tokenizer
from service.engines.written import Turn, Written
from service.errors import ContextLengthExceeded, EngineError, ServiceError
from service.text import readable
from verifier.pooling import Rows
from verifier.prms.prm import Turns
from verifier.readout import Pair, Query, Reading
from verifier.scoring import Cost, Meter, VerifierError, unmetered
from verifier.steps import neutralise
from verifier.together import together

_BEGIN_TURNS = ("vllm", "sglang", "llamacpp")  # what these call themselves in a list of models
_FINISH: dict[str | None, base.Finish] = {"stop": "stop", "length": "length"}


@dataclass(frozen=True, slots=True)
class _Call:
    """A sample's request. `size`: the prompt's tokens at the most, if the server counts none."""

    path: str
    body: dict[str, Any]
    prompt: Prompt
    sampling: Sampling
    size: int


def _odds(gap: float) -> float:
    """The logistic function; a server may call what cannot be -9999, or worse."""
    return (1 + math.tanh(gap / 2)) / 2


def _plain(prompt: Prompt) -> Prompt:
    """The prompt with no control tokens in its texts; a verifier's query has none, but markers."""
    messages = tuple(replace(turn, content=neutralise(turn.content)) for turn in prompt.messages)
    return replace(prompt, messages=messages, prefix=neutralise(prompt.prefix))


class RemoteEngine:
    """A backend. `connect` makes one: it asks the server what there is to know beside its URL."""

    def __init__(self, server: Server, concurrency: int, together: int) -> None:
        self.name = server.model
        self.begins_turns = False
        self._kind = ""
        self._context = math.inf
        self._in_tokens = False
        self._written = Written()
        self._slots = asyncio.Semaphore(concurrency)
        self._together = together
        self._server = server
        self._tokenizer = Tokenizer(server)

    @classmethod
    async def connect(
        cls,
        url: str,
        model: str | None = None,
        key: str | None = None,
        timeout: float = 120.0,  # noqa: ASYNC109 - from chunk to chunk, not of this call
        concurrency: int = 64,
        begins_turns: bool | None = None,
        together: int = 16,
    ) -> Self:
        """Of the samples of one call so many stay `together`; more begin a session of their own.

        Raises `EngineUnavailable` if nothing answers there, `EngineError` if it is no engine.
        """
        engine = cls(Server(url, model or "", key, timeout), concurrency, together)
        try:
            cards = (await engine._server.ask("/v1/models")).data
            if not cards:
                raise EngineError(f"{engine._server.place} lists no model; start it with one")
        except EngineError:
            await engine.close()
            raise
        card = next((card for card in cards if card.get("id") == model), cards[0])
        engine.name = engine._server.model = model or card.get("id", "")
        engine._kind = kind = card.get("owned_by", "")
        engine._context = card.get("max_model_len") or math.inf
        engine._in_tokens = kind == "vllm" and await engine._tokenizer.answers()
        engine.begins_turns = kind in _BEGIN_TURNS if begins_turns is None else begins_turns
        return engine

    async def complete(
        self, prompts: Sequence[Prompt], sampling: Sampling, watch: Watch = base.unwatched
    ) -> list[Completion]:
        losses: list[Exception] = []

        async def sample(index: int, prompt: Prompt) -> Completion:
            told = Told(watch, index)
            try:
                async with self._slots:
                    placed = replace(prompt, session=self._session(prompt, index))
                    return await self._follow(placed, base.at(sampling, index), told)
            except FOREIGN as e:
                if isinstance(e, httpx2.HTTPStatusError) and 400 <= e.response.status_code < 429:
                    # Our fault, and so the same for every sample.
                    raise self._server.failure(e) from e
                losses.append(e)
                return told.complete("failed")

        completions = await together(sample(*pair) for pair in enumerate(prompts))
        if losses and len(losses) == len(prompts):
            raise self._server.failure(losses[0]) from losses[0]
        return completions

    async def measure(self, prompts: Sequence[Prompt]) -> list[int]:
        """Exact on vLLM, which tokenises for us; never too few elsewhere.

        A token takes a byte at least; what a chat template adds to a text is less than 64.
        """
        if self._in_tokens:
            return [sum(map(len, await self._tokens(_plain(prompt)))) for prompt in prompts]
        turns = [(*(m.content for m in prompt.messages), prompt.prefix) for prompt in prompts]
        return [sum(len(neutralise(text).encode()) + 64 for text in turn) for turn in turns]

    async def read(
        self, queries: Sequence[Query], pairs: Sequence[Pair], meter: Meter = unmetered
    ) -> list[Reading]:
        """Odds by vLLM's word, which names any token; elsewhere among the likeliest tokens.

        One that is not among them counts as likely as the last of them.
        """
        with self._for_a_verifier("gave no reading"):
            named = await self._named(pairs) if self._kind == "vllm" else {}
            return [await self._read(query, pairs, named, meter) for query in queries]

    async def weigh(self, queries: Sequence[Query]) -> list[int]:
        return await self.measure([base.turns(query) for query in queries])

    async def encode(self, texts: Sequence[str | Turns]) -> list[list[int]]:
        """Tokens by the server's own tokeniser, a conversation's by its chat template."""
        with self._for_a_verifier("tokenised nothing"):
            return await together(self._tokenizer.encode(text) for text in texts)

    async def pool(self, prompts: Sequence[Sequence[int]]) -> list[Rows]:
        """What vLLM's pooling runner says of each, all in one request."""
        asked = {"model": self.name, "input": prompts, "task": "token_classify"}
        with self._for_a_verifier("gave no scores"):
            rows = (await self._server.ask("/pooling", asked)).data
        return [each["data"] for each in sorted(rows, key=lambda row: row["index"])]

    async def check(self) -> None:
        await self._server.ask("/v1/models")

    async def close(self) -> None:
        await self._server.close()

    async def _read(
        self, query: Query, pairs: Sequence[Pair], named: dict[str, Any], meter: Meter
    ) -> Reading:
        sampling = Sampling(temperature=1.0, top_p=1.0, max_tokens=1)
        path, body = await self._request(base.turns(query), sampling)
        del body["stream"], body["stream_options"]
        body |= {"logprobs": 20 if "prompt" in body else True, "top_logprobs": 20}
        left = None if query.until == math.inf else query.until - monotonic()
        heard = await self._server.ask(path, body | named, query.session, left)
        cost = Cost(heard.since(Usage()).computed, 1)
        meter(cost)
        logs = {each.token: each.logprob for each in heard.likely or ()}
        if not all(yes in logs or no in logs for yes, no in pairs):
            raise VerifierError(f"{self.name} names no log-probability of {pairs}")
        least = min(logs.values())
        gaps = (logs.get(yes, least) - logs.get(no, least) for yes, no in pairs)
        return Reading(tuple(_odds(gap) for gap in gaps), cost)

    async def _named(self, pairs: Sequence[Pair]) -> dict[str, Any]:
        """What asks vLLM for the log-probabilities of these tokens, likely or not."""
        words = [await self._tokenizer.word(word) for pair in pairs for word in pair]
        return {"logprob_token_ids": words}

    async def _follow(self, prompt: Prompt, sampling: Sampling, told: Told) -> Completion:
        if not self._in_tokens:
            path, body = await self._request(_plain(prompt), sampling)
            (size,) = await self.measure([prompt])
            return await self._hear(_Call(path, body, prompt, sampling, size), told)
        return await self._go_on(_plain(prompt), sampling, told)

    async def _go_on(self, prompt: Prompt, sampling: Sampling, told: Told) -> Completion:
        """On vLLM: tokens in and out, so that a kept prefix is sent in the tokens it was."""
        head, begun = await self._tokens(prompt)
        body = {"prompt": head + begun, "add_special_tokens": False}
        size = len(head) + len(begun)
        body |= self._asked(prompt, self._fitting(sampling, size))
        turn = Turn(prompt.prefix, begun)
        try:
            call = _Call("/v1/completions", body, prompt, sampling, size)
            return await self._hear(call, told, turn)
        finally:
            if not sampling.stop:
                self._written.remember(prompt, turn)

    def _fitting(self, sampling: Sampling, size: int) -> Sampling:
        """With no more tokens than there is room for behind so many: vLLM refuses to be asked.

        Raises `ContextLengthExceeded` if there is no room.
        """
        room = self._context - size
        if room < 1:
            raise ContextLengthExceeded(
                f"The question does not fit in {self._context:,} tokens; shorten it.", "problem"
            )
        return replace(sampling, max_tokens=int(min(sampling.max_tokens, room)))

    async def _tokens(self, prompt: Prompt) -> tuple[list[int], list[int]]:
        """By vLLM's tokeniser: those of the conversation, and of the turn that is begun."""
        begun, rest = self._written.recall(prompt)
        head = await self._tokenizer.conversation(prompt.messages)
        return head, begun + (await self._tokenizer.text(rest) if rest else [])

    async def _hear(self, call: _Call, told: Told, turn: Turn | None = None) -> Completion:
        going, ending = True, None
        try:
            session, seconds = call.prompt.session, call.sampling.seconds
            heard = self._server.listen(call.path, call.body, session, seconds)
            async with aclosing(heard) as chunks:
                async for chunk in chunks:
                    ending = ending or chunk.ending
                    text, spent = chunk.text or "", chunk.since(told.usage)
                    if turn:
                        turn.hear(readable(text), chunk.new or ())
                    if text or spent != Usage():
                        going = told(text, spent, chunk.numbers)
                    if not (going or ending):
                        break
        finally:
            if told.usage.calls and not told.usage.prompt:
                told("", Usage(prompt=call.size))
        if going and ending not in _FINISH:
            raise httpx2.RemoteProtocolError("the stream has no ending")
        return told.complete(_FINISH.get(ending, "aborted"))

    def _session(self, prompt: Prompt, index: int) -> str:
        """Samples that stay together share one prefill; a large number of them shares the work."""
        group = index // self._together
        return f"{prompt.session}:{group}" if prompt.session and group else prompt.session

    async def _request(self, prompt: Prompt, sampling: Sampling) -> tuple[str, dict[str, Any]]:
        """Where to send what, for the server to go on behind the prefix."""
        messages = [{"role": m.role, "content": m.content} for m in prompt.messages]
        prefix = prompt.prefix
        if prefix and not self.begins_turns:
            raise ValueError("this engine cannot begin a turn: a prompt must come without a prefix")
        body = self._asked(prompt, sampling)
        if self._kind == "llamacpp" and self.begins_turns:
            rendered = await self._server.ask("/apply-template", body | {"messages": messages})
            own = {"prompt": rendered.prompt + prefix, "timings_per_token": True}
            return "/v1/completions", body | own
        if prefix:
            messages.append({"role": "assistant", "content": prefix})
            body |= {"continue_final_message": True, "add_generation_prompt": False}
        return "/v1/chat/completions", body | {"messages": messages}

    def _asked(self, prompt: Prompt, sampling: Sampling) -> dict[str, Any]:
        drawn = asdict(sampling)
        del drawn["seconds"], drawn["certainty"]
        body = {name: value for name, value in drawn.items() if value not in (None, ())}
        body |= {"model": self.name, "stream": True, "stream_options": {"include_usage": True}}
        if sampling.certainty:
            body |= self._telling()
        if self._kind == "vllm":
            body["stream_options"]["continuous_usage_stats"] = True
            body["return_token_ids"] = True  # vllm-router drops the wish to be told of usage
            body["priority"] = prompt.since  # of no effect unless it schedules by priority
            if prompt.salt:
                body["cache_salt"] = prompt.salt
        return body

    def _telling(self) -> dict[str, Any]:
        """What asks for the probability of each token written, where that is known to be heeded."""
        if self._kind not in _BEGIN_TURNS:
            return {}
        if self._kind == "llamacpp" and self.begins_turns:
            return {"n_probs": 1}
        return {"logprobs": 0 if self._in_tokens else True}

    @contextmanager
    def _for_a_verifier(self, what: str) -> Iterator[None]:
        try:
            yield
        except ServiceError as error:
            raise base.unread(f"{self.name} {what}", error) from error
