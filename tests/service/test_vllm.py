"""The vLLM engine for real, on a tiny random model: counts, aborts, prefixes, salts, a death.

`make vllm` runs it, in the environment that has vLLM. Each test states a promise of the engine
protocol, or one of the issue that asked for this engine.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import httpx2
import pytest
import uvicorn
from checkpoints import CONTROL, architecture, tiny_chat

from service.app import create_app
from service.engines.base import Completion, Delta, Message, Prompt, Sampling, Usage
from service.engines.scripted import ArithmeticVerifier
from service.errors import ContextLengthExceeded, EngineUnavailable, StartupError
from service.ledger import Budget, Ledger, MeteredEngine
from verifier.readout import MARKED, Query

if TYPE_CHECKING:
    from service.engines.vllm.engine import VllmEngine

pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("ignore")]  # vLLM's own are many

T = TypeVar("T")
CONTEXT = 2048
ASK = "Tom has 3 bags of 4 apples and eats 2. How many are left?"
PROMPT = Prompt((Message("system", "You are a teacher. " * 9), Message("user", ASK)), "Step 1:")
COUNTERS = {
    "prompt": "vllm:prompt_tokens_total",
    "cached": "vllm:prompt_tokens_cached_total",
    "completion": "vllm:generation_tokens_total",
}


def gauge(name: str) -> int:
    """The sum of one of vLLM's own metrics."""
    from prometheus_client import REGISTRY

    samples = (sample for metric in REGISTRY.collect() for sample in metric.samples)
    return int(sum(sample.value for sample in samples if sample.name == name))


class Bench:
    """One engine and the loop that it lives on."""

    def __init__(self, folder: Path) -> None:
        from service.engines.vllm.core import Plan
        from service.engines.vllm.engine import VllmEngine

        self.runner = asyncio.Runner()
        loading = VllmEngine.load(Plan(str(folder), CONTEXT, cache=0.5, eager=True))
        self.engine: VllmEngine = self.run(loading)

    def run(self, work: Awaitable[T]) -> T:
        async def main() -> T:
            return await work

        return self.runner.run(main())

    def complete(
        self,
        *prompts: Prompt,
        watch: Callable[[Delta], bool] = lambda delta: True,
        **sampling: object,
    ) -> list[Completion]:
        drawn = Sampling(**({"max_tokens": 24, "seed": 1} | sampling))  # type: ignore[arg-type]
        return self.run(self.engine.complete(prompts, drawn, watch))

    def counted(self) -> Usage:
        """vLLM's own counters, once it is idle."""
        self.run(idle(10))
        return Usage(**{field: gauge(name) for field, name in COUNTERS.items()})


async def idle(most: float) -> float:
    """Seconds until nothing runs; fails after so many."""
    began = time.perf_counter()
    while gauge("vllm:num_requests_running") + gauge("vllm:num_requests_waiting"):
        assert time.perf_counter() - began < most, "vLLM still runs something"
        await asyncio.sleep(0.01)
    took = time.perf_counter() - began
    await asyncio.sleep(0.1)  # counters follow the gauges
    return took


def tokens_of(usage: Usage) -> tuple[int, int, int]:
    return usage.prompt, usage.cached, usage.completion


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    bench = Bench(tiny_chat(tmp_path_factory.mktemp("tiny")))
    yield bench
    bench.run(bench.engine.close())
    bench.runner.close()


def test_the_deltas_of_a_completion_add_up_to_it(bench: Bench) -> None:
    heard: list[Delta] = []

    def watch(delta: Delta) -> bool:
        heard.append(delta)
        return True

    done = bench.complete(PROMPT, PROMPT, PROMPT, watch=watch)

    for index, completion in enumerate(done):
        own = [delta for delta in heard if delta.index == index]
        assert completion.text == "".join(delta.text for delta in own)
        assert completion.usage == sum((delta.usage for delta in own), Usage())
        assert completion.finish == own[-1].finish
        assert len(own) > 5, "the text came at once and not as it was generated"


def test_samples_of_one_prompt_share_its_prefill_and_differ(bench: Bench) -> None:
    prompt = Prompt((Message("user", f"Once and for all: {ASK * 4}"),))

    first, *others = bench.complete(*[prompt] * 4, temperature=1.0)

    assert 0 == first.usage.cached
    for other in others:
        assert other.usage.prompt - other.usage.cached <= 32
        assert other.text != first.text


def test_equal_seeds_draw_equal_texts(bench: Bench) -> None:
    assert bench.complete(PROMPT)[0].text == bench.complete(PROMPT)[0].text
    assert bench.complete(PROMPT)[0].text != bench.complete(PROMPT, seed=2)[0].text


def test_500_mixed_calls_cost_what_vllm_counts_to_the_token(bench: Bench) -> None:
    """One in ten is aborted: by its watch, or cancelled, at any time, also before it is begun."""
    rng = random.Random(7)
    told = Usage()
    aborted = 0

    async def call(number: int, slots: asyncio.Semaphore) -> None:
        nonlocal told, aborted
        rude = number % 10 == 0
        patience = rng.randrange(30) if rude and number % 20 else 10_000

        def watch(delta: Delta) -> bool:
            nonlocal told, patience
            told += delta.usage
            patience -= delta.usage.completion
            return patience > 0

        prompt = Prompt(
            (Message("user", f"{rng.randrange(20)}: {ASK * rng.randint(1, 5)}"),),
            rng.choice(("", "Step 1:")),
            rng.choice(("", "a tenant's")),
        )
        sampling = Sampling(
            temperature=rng.choice((0.0, 1.0)),
            top_p=rng.choice((0.9, 1.0)),
            max_tokens=500 if rude else rng.randint(1, 40),  # in mid-answer on a fast machine, too
            stop=() if rude else rng.choice(((), ("a",), ("42", "e"))),
            seed=rng.choice((None, number)),
        )
        async with slots:
            calling = asyncio.ensure_future(
                bench.engine.complete([prompt] * rng.choice((1, 1, 2, 4)), sampling, watch)
            )
            if rude and number % 20 == 0:
                await asyncio.sleep(rng.uniform(0, 0.3))
                calling.cancel()
            with suppress(asyncio.CancelledError):
                done = await calling
                aborted += any(each.finish == "aborted" for each in done)
            aborted += calling.cancelled()

    async def calls() -> None:
        slots = asyncio.Semaphore(32)
        await asyncio.gather(*(call(number, slots) for number in range(500)))

    before = bench.counted()
    bench.run(calls())
    after = bench.counted()

    assert tokens_of(after - before) == tokens_of(told)
    assert aborted >= 30, "the test is to abort some in mid-answer"
    assert told.cached > 0


def test_an_idle_second_after_each_of_100_cancels_and_nothing_held_back(bench: Bench) -> None:
    rng = random.Random(8)
    ledgers: list[Ledger] = []
    took: list[float] = []

    async def one() -> None:
        ledgers.append(Ledger(Budget(100_000, 100_000, 60_000)))
        engine = MeteredEngine(bench.engine, ledgers[-1])
        calling = asyncio.ensure_future(
            engine.complete([PROMPT] * rng.randint(1, 8), Sampling(max_tokens=1500))
        )
        await asyncio.sleep(rng.uniform(0, 0.2))
        calling.cancel()
        with suppress(asyncio.CancelledError):
            await calling
        took.append(await idle(1.0))

    before = bench.counted()
    for _ in range(100):
        bench.run(one())
    after = bench.counted()

    assert 100 == len(took)
    spent = sum((ledger.policy for ledger in ledgers), Usage())
    assert tokens_of(after - before) == tokens_of(spent)
    for ledger in ledgers:
        assert 100_000 == ledger.tokens_left + ledger.policy.completion
        assert 100_000 == ledger.compute_left + ledger.policy.computed


def test_a_watch_stops_one_sample_and_its_siblings_go_on(bench: Bench) -> None:
    heard = Usage()

    def watch(delta: Delta) -> bool:
        nonlocal heard
        heard += delta.usage
        return delta.index != 1 or delta.usage.completion == 0

    first, second, third = bench.complete(PROMPT, PROMPT, PROMPT, watch=watch)

    assert "aborted" == second.finish
    assert 24 == first.usage.completion == third.usage.completion > second.usage.completion
    assert heard == first.usage + second.usage + third.usage


def test_a_kept_prefix_is_sent_as_the_tokens_it_was_written_in(bench: Bench) -> None:
    """Noise is seldom tokenised as it was written; the cache must know a revision all the same."""
    heard: list[Delta] = []

    def watch(delta: Delta) -> bool:
        heard.append(delta)
        return True

    asked = Prompt((*PROMPT.messages, Message("user", "Again.")), "Step 1:")
    (draft,) = bench.complete(asked, max_tokens=200, temperature=1.0, watch=watch)
    text = "".join(delta.text for delta in heard[:150])
    kept = Prompt(asked.messages, asked.prefix + text)

    sent = bench.run(bench.engine.tokens(kept))
    begun = sent.tokens[sent.head :]
    (revision,) = bench.complete(kept, max_tokens=4)

    assert draft.text.startswith(text)
    assert len(begun) > 20
    assert begun != bench.engine._tokenizer.text(kept.prefix)
    assert bench.engine._written.recall(kept) == (begun, "")
    assert revision.usage.prompt - revision.usage.cached <= 32


def test_it_is_told_how_probable_the_model_found_its_numbers(bench: Bench) -> None:
    heard: list[Delta] = []

    def watch(delta: Delta) -> bool:
        heard.append(delta)
        return True

    bench.complete(PROMPT, max_tokens=400, temperature=1.0, certainty=True, watch=watch)

    assert any(delta.numbers for delta in heard), "noise has digits in it"
    assert all(0 < number < 1 for delta in heard for _, number in delta.numbers)


def test_a_tenants_cache_serves_no_other_tenant(bench: Bench) -> None:
    messages = (Message("user", f"A secret: {ASK * 3}"),)

    one, again, other = (
        bench.complete(Prompt(messages, salt=salt), max_tokens=1)[0]
        for salt in ("one", "one", "other")
    )

    assert (0, 0) == (one.usage.cached, other.usage.cached)
    assert again.usage.cached > 0


@pytest.mark.parametrize("token", CONTROL)
def test_control_tokens_in_a_text_are_text(bench: Bench, token: str) -> None:
    control = bench.engine._tokenizer._native.token_to_id(token) or -1
    asked = Prompt((Message("user", f"What is {token} here?"),), f"Step 1: {token}")
    plain = Prompt((Message("user", "What is that here?"),), "Step 1: that")

    sent, innocent = (bench.run(bench.engine.tokens(prompt)).tokens for prompt in (asked, plain))

    assert sent.count(control) == innocent.count(control)
    assert token in bench.engine._tokenizer._native.decode(sent, skip_special_tokens=False)


def test_a_question_longer_than_the_context_is_refused(bench: Bench) -> None:
    prompt = Prompt((Message("user", ASK * 100),))

    with pytest.raises(ContextLengthExceeded):
        bench.complete(prompt)


def test_measure_is_what_vllm_counts(bench: Bench) -> None:
    (measured,) = bench.run(bench.engine.measure([PROMPT]))

    assert measured == bench.complete(PROMPT)[0].usage.prompt


def test_a_reading_is_the_odds_of_two_tokens_and_counted(bench: Bench) -> None:
    """Against a torch forward over the same tokens, in float32."""
    import torch
    from transformers import AutoModelForCausalLM

    query = Query("", ASK, "Step 1: 12. ки")
    reader = bench.engine.reader()
    before = bench.counted()
    (reading,) = bench.run(reader.read([query], [MARKED.correct, MARKED.value]))
    after = bench.counted()

    tokens = bench.engine._tokenizer.conversation([Message("user", ASK)])
    tokens += bench.engine._tokenizer.text(query.begun)
    model = AutoModelForCausalLM.from_pretrained(bench.engine._core._plan.model)
    logits = model(torch.tensor([tokens])).logits[0, -1]
    for odds, (yes, no) in zip(reading.odds, [MARKED.correct, MARKED.value], strict=True):
        gap = logits[bench.engine.word(yes)] - logits[bench.engine.word(no)]
        assert odds == pytest.approx(torch.sigmoid(gap).item(), abs=0.03)
    spent = after - before
    assert reading.cost.tokens == spent.prompt - spent.cached + spent.completion


def test_a_model_that_does_not_write_is_refused_in_one_sentence(tmp_path: Path) -> None:
    from service.engines.vllm.core import Core, Plan

    architecture(tiny_chat(tmp_path), "BertModel")

    with pytest.raises(StartupError, match="BertModel"):
        asyncio.run(Core.start(Plan(str(tmp_path), CONTEXT)))


async def lasting(client: httpx2.AsyncClient, body: object) -> asyncio.Future[httpx2.Response]:
    """A solve that still runs after half a second: noise may end at any token."""
    while True:
        solving = asyncio.ensure_future(client.post("/solve", json=body))
        await asyncio.sleep(0.5)
        if not solving.done():
            return solving


def test_a_dead_engine_is_seen_at_once_and_started_again(bench: Bench) -> None:
    """Killed in mid-solve: 503 for the solve and for /ready, and after a while it serves again."""
    app = create_app(bench.engine, ArithmeticVerifier())
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))

    async def main() -> None:
        serving = asyncio.ensure_future(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            body = {"problem": ASK, "strategy": "single", "sampling": {"max_tokens": 1900}}
            assert 200 == (await client.get("/ready")).status_code
            solving = await lasting(client, body)
            (core,) = (p for p in multiprocessing.active_children() if "EngineCore" in p.name)
            core.kill()
            failed = await solving
            assert 503 == failed.status_code
            assert "engine_unavailable" == failed.json()["error"]["code"]
            assert 503 == (await client.get("/ready")).status_code
            with pytest.raises(EngineUnavailable):
                await bench.engine.complete([PROMPT], Sampling())
            began = time.perf_counter()
            while (await client.get("/ready")).status_code != 200:
                assert time.perf_counter() - began < 300
                await asyncio.sleep(0.5)
            body["sampling"] = {"max_tokens": 8}
            assert 200 == (await client.post("/solve", json=body)).status_code
        server.should_exit = True
        await serving

    bench.run(main())
