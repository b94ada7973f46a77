"""A caller that leaves, in whatever phase: all stops, and what was spent is in the ledger."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from staging import running

from service.app import create_app
from service.engines.base import Prompt
from service.engines.scripted import ArithmeticVerifier, Script, ScriptedEngine
from service.settings import Settings
from service.solver import Loss, Report
from service.traces.keeper import Keeper
from service.traces.retention import Retention
from service.traces.store import Store
from verifier.scoring import Chain, Cost, Meter, Score, Verdict, unmetered

SUM = "What is 3 and 4 and 5 and 6?"
QUOTA = 10**9
STEP = 0.02  # seconds a token, and a verified step, takes


def endless(*_: object) -> str:
    return " w" * 500


def draft(prompt: Prompt, _: object) -> str:
    """A draft in three lines; what is revised goes on and on."""
    revises = "Step 2" in prompt.prefix
    return " w" * 500 if revises else "Step 1: a\nStep 2: b\nAnswer: 1"


class Stepwise(ArithmeticVerifier):
    """Verifies step by step, and doubts the second; it knows what it has spent, and if it works."""

    def __init__(self) -> None:
        self.spent = Cost()
        self.working = 0

    async def score(self, chains: Sequence[Chain], meter: Meter = unmetered) -> list[Verdict]:
        self.working += 1
        try:
            return [await self._score(chain, meter) for chain in chains]
        finally:
            self.working -= 1

    async def _score(self, chain: Chain, meter: Meter) -> Verdict:
        for _ in chain.steps:
            await asyncio.sleep(STEP)
            self.spent += Cost(7, 1)
            meter(Cost(7, 1))
        scores = tuple(Score(0.1 + 0.8 * (number != 1), 0.5) for number in range(len(chain.steps)))
        return Verdict(scores, Cost(7 * len(chain.steps), len(chain.steps)))


class Slow(Stepwise):
    async def _score(self, chain: Chain, meter: Meter) -> Verdict:
        for _ in range(100):
            await Stepwise._score(self, chain, meter)
        raise AssertionError("nobody left")


@dataclass
class Bench:
    """A service, and what is in its parts."""

    engine: ScriptedEngine
    verifier: Stepwise
    app: FastAPI
    kept: list[Report | Loss] = field(default_factory=list)

    @property
    def idle(self) -> bool:
        admission = self.app.state.admission
        before = self.engine.spent
        time.sleep(4 * STEP)
        still = before == self.engine.spent and not self.verifier.working
        return still and (admission.running, admission.waiting) == (0, 0)

    @property
    def reserved(self) -> int:
        counters: dict[str, int] = self.app.state.quotas._store.storage
        return sum(number for key, number in counters.items() if "/tokens/" in key)


@contextmanager
def serving(
    engine: ScriptedEngine, verifier: Stepwise | None = None, **settings: Any
) -> Iterator[tuple[str, Bench]]:
    verifier = verifier or Stepwise()
    keeper = Keeper(Store("sqlite://"), Retention(1, 1000, 10), content=True)
    app = create_app(engine, verifier, keeper, Settings(tokens_per_day=QUOTA, **settings))
    bench = Bench(engine, verifier, app)
    keep = keeper.keeping

    def keeping(origin: Any) -> Any:
        kept = keep(origin)

        def both(run: Report | Loss) -> None:
            bench.kept.append(run)
            kept(run)

        return both

    keeper.keeping = keeping  # type: ignore[method-assign]
    with running(app) as url:
        yield url, bench


def leave(url: str, path: str, body: dict[str, Any], when: Callable[[], bool]) -> None:
    """Ask, and hang up as soon as that is so."""
    address = httpx2.URL(url)
    content = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    head += f"Content-Length: {len(content)}\r\n\r\n"
    limit = time.monotonic() + 20
    with socket.create_connection((address.host, address.port or 80)) as line:
        line.sendall(head.encode() + content)
        while not when():
            assert time.monotonic() < limit, "it never came to that"
            time.sleep(0.005)


def assert_stops(bench: Bench) -> None:
    """Within a second nothing computes, nothing is held, and every token has its owner."""
    limit = time.monotonic() + 1
    while not bench.idle:
        assert time.monotonic() < limit, "it still runs"
    ledgers = [run.ledger for run in bench.kept]
    assert bench.engine.spent.completion == sum(it.policy.completion for it in ledgers)
    assert bench.engine.spent.prompt == sum(it.policy.prompt for it in ledgers)
    assert bench.verifier.spent.tokens == sum(it.verifier.tokens for it in ledgers)
    assert bench.engine.spent.completion == bench.reserved


STEPCO: dict[str, Any] = {"name": "stepco"}
SAMPLES: dict[str, Any] = {"name": "best_of_n", "n": 6}
PHASES: dict[str, tuple[Script, type[Stepwise], dict[str, Any], Callable[[Bench], bool]]] = {
    "drafting": (endless, Stepwise, STEPCO, lambda it: it.engine.spent.completion > 2),
    "sampling": (endless, Stepwise, SAMPLES, lambda it: it.engine.spent.completion > 20),
    "verifying": (draft, Slow, STEPCO, lambda it: it.verifier.spent.calls > 2),
    "verifying samples": (draft, Slow, SAMPLES, lambda it: it.verifier.spent.calls > 2),
    "revising": (draft, Stepwise, STEPCO, lambda it: it.engine.spent.completion > 15),
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("path", ["/solve", "/v1/chat/completions"])
@pytest.mark.parametrize("phase", PHASES)
def test_in_every_phase_all_stops_within_a_second_and_all_is_accounted_for(
    phase: str, path: str, stream: bool
) -> None:
    script, verifier, strategy, reached = PHASES[phase]
    body: dict[str, Any] = {"problem": SUM, "strategy": strategy}
    if path != "/solve":
        own = {"strategy": {k: v for k, v in strategy.items() if k != "name"}}
        model = f"surefoot-{strategy['name'].replace('_', '-')}"
        turns = [{"role": "user", "content": SUM}]
        body = {"model": model, "messages": turns, "surefoot": own}
    with serving(ScriptedEngine(script, delay=STEP), verifier()) as (url, bench):
        leave(url, path, body | {"stream": stream}, lambda: reached(bench))
        assert_stops(bench)
        (lost,) = bench.kept

    assert isinstance(lost, Loss)
    assert isinstance(lost.error, asyncio.CancelledError)
    assert bench.engine.spent.completion > 0
    assert bool(bench.verifier.spent.tokens) == (phase not in ("drafting", "sampling"))
    if phase == "revising":
        assert lost.ledger.policy.calls == 2


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_who_leaves_the_queue_is_forgotten_and_was_never_charged(stream: bool) -> None:
    engine = ScriptedEngine(lambda *_: "Step 1: a\nAnswer: 1" + " w" * 100, delay=STEP)
    with serving(engine, concurrency=1) as (url, bench), ThreadPoolExecutor(1) as pool:
        body = {"problem": SUM, "strategy": "single"}
        first = pool.submit(httpx2.post, f"{url}/solve", json=body, timeout=30)
        while not engine.spent.completion:
            time.sleep(0.01)
        admission = bench.app.state.admission
        leave(url, "/solve", body | {"stream": stream}, lambda: admission.waiting == 1)
        limit = time.monotonic() + 1
        while admission.waiting:
            assert time.monotonic() < limit
        assert admission.running == 1
        assert first.result().status_code == 200
        assert_stops(bench)

    assert engine.spent.calls == 1


def test_a_caller_that_leaves_while_the_baseline_is_measured_has_paid_for_it() -> None:
    engine = ScriptedEngine(lambda *_: "Step 1: a\nAnswer: 1" + " w" * 20, delay=STEP)
    with serving(engine) as (url, bench):
        body = {"problem": SUM, "strategy": "single", "baseline": "measure"}
        leave(url, "/solve", body, lambda: engine.spent.calls == 11)
        time.sleep(1)
        spent = engine.spent.completion
        time.sleep(0.2)

    (lost,) = bench.kept
    assert spent == engine.spent.completion == lost.ledger.generated_in_all == bench.reserved
    assert lost.ledger.policy.calls == 1 < engine.spent.calls
