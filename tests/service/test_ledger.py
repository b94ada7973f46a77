"""The budget is enforced below the strategies, and what was spent is never lost."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from staging import StatedVerifier

from service.engines.base import Completion, Delta, Message, Prompt, Sampling, Usage
from service.engines.scripted import ScriptedEngine
from service.ledger import Budget, BudgetExhausted, Ledger, MeteredEngine, MeteredVerifier
from verifier.scoring import Chain

PROMPT = Prompt((Message("user", "one two three"),), "Step 1:")
WEIGHT = 5  # words of it


def ledger(tokens: int = 100, compute: int | None = None, deadline_ms: int = 60_000) -> Ledger:
    return Ledger(Budget(tokens, compute, deadline_ms))


def words(n: int) -> ScriptedEngine:
    return ScriptedEngine(lambda prompt, rng: " w" * n)


def complete(engine: ScriptedEngine, spent: Ledger, n: int = 1, ask: int = 10) -> list[Completion]:
    metered = MeteredEngine(engine, spent)
    return asyncio.run(metered.complete([PROMPT] * n, Sampling(max_tokens=ask)))


def test_a_call_is_granted_what_it_asks_or_what_is_left() -> None:
    spent = ledger(tokens=12)

    first = complete(words(50), spent)
    second = complete(words(50), spent)

    assert [first[0].usage.completion, second[0].usage.completion] == [10, 2]
    assert spent.exhausted == "token_budget"


def test_what_a_call_leaves_over_serves_the_next_ones() -> None:
    """Four samples that ask 10 and use 3: the budget of 15 serves one at a time, and all four."""
    spent = ledger(tokens=15)

    done = complete(words(3), spent, n=4)

    assert [each.usage.completion for each in done] == [3, 3, 3, 3]
    assert spent.exhausted is None


def test_samples_that_find_nothing_left_come_back_empty_and_it_is_said() -> None:
    spent = ledger(tokens=25)

    done = complete(words(50), spent, n=4)

    assert [each.usage.completion for each in done] == [10, 10, 5, 0]
    assert spent.exhausted == "token_budget"


def test_with_nothing_left_a_call_is_refused_before_the_engine_hears_of_it() -> None:
    spent, engine = ledger(tokens=10), words(10)
    complete(engine, spent)

    with pytest.raises(BudgetExhausted, match="token_budget"):
        complete(engine, spent)

    assert engine.spent.calls == 1


def test_waves_do_not_draw_the_same_samples_twice() -> None:
    engine = ScriptedEngine(lambda prompt, rng: f" {rng.random()}")
    metered = MeteredEngine(engine, ledger(tokens=10))

    done = asyncio.run(metered.complete([PROMPT] * 4, Sampling(max_tokens=10, seed=7)))

    assert len({each.text for each in done}) == 4


def test_the_compute_budget_counts_prefill_generation_and_verifier() -> None:
    spent = ledger(compute=2 * WEIGHT + 10)
    complete(words(3), spent)

    assert spent.computed == WEIGHT + 3
    with pytest.raises(BudgetExhausted, match="compute_budget"):
        verify(spent, steps=2)
    assert len(verify(ledger(compute=40), steps=4)) == 4


def verify(spent: Ledger, steps: int) -> Sequence[object]:
    metered = MeteredVerifier(StatedVerifier(), spent)
    (verdict,) = asyncio.run(metered.score([Chain("q", ("s",) * steps)]))
    return verdict.scores


def test_after_the_deadline_nothing_is_begun() -> None:
    spent, engine = ledger(deadline_ms=0), words(3)

    with pytest.raises(BudgetExhausted, match="deadline"):
        complete(engine, spent)

    assert Usage() == engine.spent


def test_a_cancelled_call_has_paid_for_what_it_generated() -> None:
    engine, spent = ScriptedEngine(lambda prompt, rng: " w" * 99, delay=0.002), ledger()

    async def cancel() -> None:
        metered = MeteredEngine(engine, spent)
        call = asyncio.ensure_future(metered.complete([PROMPT] * 3, Sampling(max_tokens=20)))
        await asyncio.sleep(0.02)
        call.cancel()
        await asyncio.wait([call])

    asyncio.run(cancel())

    assert engine.spent == spent.policy
    assert 0 < spent.wasted == spent.policy.completion < 60
    assert 100 - spent.policy.completion == spent.tokens_left


@settings(max_examples=200, deadline=None)
@given(
    tokens=st.integers(1, 400),
    compute=st.none() | st.integers(1, 800),
    calls=st.lists(st.tuples(st.integers(1, 64), st.integers(1, 200)), max_size=6),
    seed=st.integers(0, 999),
)
def test_no_budget_is_ever_exceeded(
    tokens: int, compute: int | None, calls: list[tuple[int, int]], seed: int
) -> None:
    lengths = random.Random(seed)
    engine = ScriptedEngine(lambda prompt, rng: " w" * lengths.randrange(120))
    spent = ledger(tokens, compute)
    for n, ask in calls:
        try:
            complete(engine, spent, n, ask)
        except BudgetExhausted:
            break

    assert engine.spent == spent.policy
    assert spent.policy.completion <= tokens
    assert compute is None or spent.computed <= compute


def test_a_watch_hears_every_sample_end_once() -> None:
    ends: list[int] = []

    def watch(delta: Delta) -> bool:
        if delta.finish is not None:
            ends.append(delta.index)
        return True

    metered = MeteredEngine(words(50), ledger(tokens=25))
    asyncio.run(metered.complete([PROMPT] * 4, Sampling(max_tokens=10), watch))

    assert ends == [0, 1, 2, 3]


def test_a_verifier_is_told_until_when_its_verdict_is_wanted() -> None:
    spent, verifier = ledger(deadline_ms=1500), StatedVerifier()

    asyncio.run(MeteredVerifier(verifier, spent).score([Chain("a", ("b",))]))

    assert verifier.chains[0].until == spent.until <= time.monotonic() + 1.5
