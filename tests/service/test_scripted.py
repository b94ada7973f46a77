"""The fake is a product: it keeps the engine's promises, and its verifier checks its sums."""

from __future__ import annotations

import asyncio
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.engines.base import Delta, Message, Prompt, Sampling, Usage, numbers
from service.engines.scripted import ArithmeticVerifier, ScriptedEngine, rehearse
from verifier.scoring import Chain

QUESTION = Prompt((Message("user", "What is 3 and 4 and 5?"),), "Step 1:")


@given(
    words=st.integers(0, 40),
    n=st.integers(1, 5),
    most=st.integers(1, 30),
    delay=st.sampled_from([0.0, 1e-6]),
)
def test_deltas_add_up_to_the_completion_and_to_what_was_spent(
    words: int, n: int, most: int, delay: float
) -> None:
    engine = ScriptedEngine(lambda prompt, rng: " word" * words, delay)
    heard: list[Delta] = []

    def watch(delta: Delta) -> bool:
        heard.append(delta)
        return True

    done = asyncio.run(engine.complete([QUESTION] * n, Sampling(max_tokens=most), watch))

    for index, completion in enumerate(done):
        own = [delta for delta in heard if delta.index == index]
        assert completion.text == "".join(delta.text for delta in own)
        assert completion.usage == sum((delta.usage for delta in own), Usage())
        assert min(words, most) == completion.usage.completion
        assert ("length" if words > most else "stop") == completion.finish
    assert engine.spent == sum((completion.usage for completion in done), Usage())
    first, *others = done
    assert 0 == first.usage.cached
    assert all(first.usage.prompt == each.usage.cached for each in others)


def test_a_watch_stops_it_between_two_tokens() -> None:
    engine = ScriptedEngine(lambda prompt, rng: " word" * 50, delay=1e-4)
    heard: list[Delta] = []

    def watch(delta: Delta) -> bool:
        heard.append(delta)
        return len(heard) < 5

    (done,) = asyncio.run(engine.complete([QUESTION], Sampling(), watch))

    assert ("aborted", 4) == (done.finish, done.usage.completion)
    assert done.usage == engine.spent


def test_what_is_no_log_probability_says_nothing_of_its_token() -> None:
    """An engine that talks nonsense must not make a path more certain than can be, nor break it."""
    told = [(" 1", math.nan), (" 2", 1e9), (" 3", 1e-7), ("x4", -math.inf), ("five", -1.0)]

    assert numbers(told) == ((6, 1.0), (8, 0.0))


def test_a_stop_string_ends_it() -> None:
    engine = ScriptedEngine(lambda prompt, rng: " one two three")

    (done,) = asyncio.run(engine.complete([QUESTION], Sampling(stop=(" three",))))

    assert (" one two", "stop") == (done.text, done.finish)


@pytest.mark.parametrize("begun", ["Step 1:", "Step 1: 0 + 3 = 3.\nStep 2:", ""])
def test_the_rehearsal_goes_on_from_where_the_turn_was_begun(begun: str) -> None:
    lucky = random.Random(1)
    lucky.random = lambda: 1.0  # type: ignore[method-assign]

    written = rehearse(Prompt(QUESTION.messages, begun), lucky)

    whole = "Step 1: 0 + 3 = 3.\nStep 2: 3 + 4 = 7.\nStep 3: 7 + 5 = 12.\nAnswer: \\boxed{12}"
    assert whole == begun + written


def test_the_arithmetic_verifier_doubts_everything_from_the_first_wrong_sum_on() -> None:
    chain = Chain("q", ("0 + 3 = 3.", "3 + 4 = 8.", "8 + 1 = 9."))

    (verdict,) = asyncio.run(ArithmeticVerifier().score([chain]))

    assert [True, False, False] == [score.correct > 0.5 for score in verdict.scores]
