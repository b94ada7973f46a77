"""The tokens of an answer: what the ledger says, said in OpenAI's words."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from chatting import SUM, TURNS
from hypothesis import given, settings
from hypothesis import strategies as st
from staging import Playback, StatedVerifier

from service.engines.base import Prompt
from service.engines.scripted import ArithmeticVerifier, ScriptedEngine
from service.openai.answer import Answer, answer
from service.openai.names import SLUGS
from service.openai.request import ChatRequest
from service.openai.task import task
from service.solver import Solver, unkept
from service.traces.trace import KEYLESS, Origin
from verifier.answers import Grader
from verifier.scoring import EVEN, VerifierBackend

HERE = Origin(KEYLESS, "/v1/chat/completions", "scripted", "arithmetic", EVEN, "last")
MODELS = list(SLUGS)


def answered(
    engine: ScriptedEngine, verifier: VerifierBackend | None = None, **body: Any
) -> Answer:
    request = ChatRequest.model_validate({"messages": TURNS, "seed": 7} | body)
    solver = Solver(engine, verifier or ArithmeticVerifier(), Grader())
    return asyncio.run(answer(solver, request, task(request, 60_000), lambda _: None, HERE, unkept))


@settings(max_examples=60, deadline=None)
@given(
    model=st.sampled_from(MODELS),
    question=st.sampled_from([SUM, "Tell me of 3 and 4.", "What is 1 and 2 and 3 and 4 and 5?"]),
    n=st.integers(1, 4),
    seed=st.integers(0, 1000),
    limit=st.integers(1, 300),
    compute=st.none() | st.integers(150, 2000),
)
def test_usage_sums_to_what_engine_and_verifier_spent(
    model: str, question: str, n: int, seed: int, limit: int, compute: int | None
) -> None:
    engine = ScriptedEngine()
    body = {"budget": {"max_compute_tokens": compute}, "baseline": "none"}

    made = answered(
        engine,
        model=f"surefoot-{model}",
        messages=[{"role": "user", "content": question}],
        n=n,
        seed=seed,
        max_tokens=limit,
        surefoot=body,
    )

    spent, usage = engine.spent, made.usage
    told = usage.compute
    assert (told.calls, told.generated, told.cached) == (
        spent.calls,
        spent.completion,
        spent.cached,
    )
    assert told.prefill + told.cached == spent.prompt
    assert told.prefill + told.generated == spent.computed
    assert usage.completion_tokens == told.generated <= limit
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert 0 <= usage.completion_tokens_details.reasoning_tokens <= usage.completion_tokens
    assert compute is None or told.prefill + told.generated + told.verifier <= compute


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("question", [SUM, "Sing of 3 and 4."])
def test_prompt_tokens_are_the_callers_conversation_once(model: str, question: str) -> None:
    turns = [{"role": "system", "content": "Be terse."}, {"role": "user", "content": question}]
    engine = ScriptedEngine()

    made = answered(engine, model=f"surefoot-{model}", messages=turns)

    request = ChatRequest.model_validate({"model": "x", "messages": turns})
    assert [made.usage.prompt_tokens] == asyncio.run(engine.measure([Prompt(request.turns)]))


def test_reasoning_tokens_are_all_but_the_visible_answers() -> None:
    engine = ScriptedEngine(Playback(" a (0.9)\nStep 2: b (0.2)\nAnswer: 5", " c\nAnswer: 6"))

    made = answered(engine, StatedVerifier(), model="surefoot-stepco")

    # Draft of 8 tokens; its first step and the label "Step 2:" behind it are kept: 12 characters
    # of the 38 there are beside the opening's. The revision's 3 tokens follow.
    assert made.choices[0].content == "Step 1: a (0.9)\nStep 2: c\nAnswer: 6"
    assert made.usage.completion_tokens == 11
    assert made.usage.completion_tokens_details.reasoning_tokens == 11 - made.choices[0].tokens
    assert made.choices[0].tokens in (6, 7, 8)


def test_one_call_whose_text_is_the_answer_has_no_reasoning_tokens() -> None:
    made = answered(ScriptedEngine(), model="surefoot-single")

    assert made.usage.completion_tokens == made.choices[0].tokens
    assert made.usage.completion_tokens_details.reasoning_tokens == 0


def test_a_stop_moves_tokens_from_the_answer_to_the_reasoning() -> None:
    made = answered(ScriptedEngine(), model="surefoot-single", stop="Step 3")

    assert 0 < made.usage.completion_tokens_details.reasoning_tokens
    assert made.choices[0].tokens < made.usage.completion_tokens


def test_what_was_cached_of_our_own_format_is_not_told_as_the_callers() -> None:
    class Cached(ScriptedEngine):
        """A cache that holds our format, and three tokens of the caller's."""

        def _tell(self, told: Any, text: str, usage: Any, numbers: Any = ()) -> bool:
            if usage.prompt:
                usage = type(usage)(usage.prompt, usage.prompt - 6, usage.completion, usage.calls)
            return super()._tell(told, text, usage, numbers)

    made = answered(Cached(), model="surefoot-single")

    assert made.usage.prompt_tokens == 9
    assert made.usage.prompt_tokens_details.cached_tokens == 3


def test_the_baseline_stands_beside_with_its_saving() -> None:
    made = answered(ScriptedEngine(), model="surefoot-stepco")

    baseline, told = made.surefoot.baseline, made.usage.compute
    assert baseline is not None
    spent = told.prefill + told.generated + told.verifier
    assert pytest.approx(1 - spent / baseline.total) == baseline.saving
