"""Steps verified while they are written: what is stopped, what it saves, what it never costs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest
from staging import Playback, StatedVerifier

from service.engines.base import Message, Prompt, Sampling
from service.engines.scripted import TOKEN, ArithmeticVerifier, ScriptedEngine
from service.errors import VerifierUnavailable
from service.events import Event, Revised, Verified, unheard
from service.ledger import Budget
from service.solver import Report, Solver, Task
from service.strategies import StepCo
from service.strategies.attempt import Form, Question
from verifier.answers import Grader
from verifier.scoring import Chain, Cost, Meter, Verdict, VerifierBackend, VerifierError, unmetered

STREAMED = StepCo(stream=True)
ROOMY = Budget(10_000, None, 60_000)
WORDS = " and on and on and on"
DRAFT = f" a\nStep 2: b (0.2)\nStep 3: c{WORDS}\nAnswer: \\boxed{{2}}"
BETTER = " d\nAnswer: \\boxed{3}"


def solve(
    strategy: StepCo,
    *texts: str,
    verifier: VerifierBackend | None = None,
    budget: Budget = ROOMY,
    form: Form = "steps",
) -> tuple[Report, list[Event], list[Prompt]]:
    """The solve of a policy that writes these token by token, and what was told and asked."""
    script, heard = Playback(*texts), list[Event]()
    question = Question((Message("user", "How many?"),), Sampling(), form)
    engine = ScriptedEngine(script, delay=0.001)
    solver = Solver(engine, verifier or StatedVerifier(), Grader())
    task = Task(question, strategy, budget, "none")
    report = asyncio.run(solver.solve(task, heard.append))
    assert engine.spent == report.ledger.policy
    return report, heard, script.prompts


def count(text: str) -> int:
    return len(TOKEN.findall(text))


def test_a_path_is_written_no_further_than_two_words_behind_its_weak_step() -> None:
    report, _, prompts = solve(STREAMED, DRAFT, BETTER)

    read = " a\nStep 2: b (0.2)\nStep 3: c and"
    assert count(read + BETTER) == report.ledger.policy.completion
    assert "Step 1: a\nStep 2:" == prompts[1].prefix
    assert ("3", True, "accepted") == (
        report.solution.path.answer,
        report.solution.verified,
        report.solution.stop_reason,
    )


def test_what_was_written_behind_the_weak_step_is_no_part_of_the_path() -> None:
    _, heard, _ = solve(STREAMED, DRAFT, BETTER)

    draft = next(event.path for event in heard if isinstance(event, Verified))
    assert "Step 1: a\nStep 2: b (0.2)" == draft.text
    assert ["a", "b (0.2)"] == [step.text for step in draft.steps]
    assert (True, None) == (draft.stopped, draft.answer)
    assert count(" a\nStep 2: b (0.2)\nStep 3: c and") == draft.usage.completion


def test_a_path_without_a_weak_step_comes_out_as_if_it_had_not_been_watched() -> None:
    text = f" a\nStep 2: b{WORDS}\nStep 3: c\nAnswer: \\boxed{{2}}"

    streamed, _, _ = solve(STREAMED, text)
    plain, _, _ = solve(StepCo(), text)

    assert plain.solution == streamed.solution
    assert plain.ledger.policy == streamed.ledger.policy


class Counting(StatedVerifier):
    """Charges ten tokens for each step that it is not told the score of."""

    async def score(self, chains: Sequence[Chain], meter: Meter = unmetered) -> list[Verdict]:
        verdicts = await super().score(chains)
        fresh = [len(chain.steps) - len(chain.known) for chain in chains]
        charged = [
            replace(verdict, cost=replace(verdict.cost, tokens=10 * new))
            for verdict, new in zip(verdicts, fresh, strict=True)
        ]
        meter(sum((verdict.cost for verdict in charged), Cost()))
        return charged


def test_the_verifier_is_asked_once_a_step_and_of_no_step_twice() -> None:
    verifier = Counting()
    steps = "\n".join(f"Step {k}: s{k}{WORDS}" for k in range(2, 6))

    report, heard, _ = solve(STREAMED, f" s1\n{steps}\nAnswer: 1", verifier=verifier)

    fresh = [len(chain.steps) - len(chain.known) for chain in verifier.chains]
    assert [1] * 5 == fresh
    assert 50 == report.ledger.verifier.tokens
    assert [50] == [event.cost.tokens for event in heard if isinstance(event, Verified)]


class Slow(Counting):
    """Takes as long as some steps."""

    async def score(self, chains: Sequence[Chain], meter: Meter = unmetered) -> list[Verdict]:
        await asyncio.sleep(0.05)
        return await super().score(chains, meter)


def test_steps_that_are_finished_while_the_verifier_reads_are_read_together() -> None:
    verifier = Slow()
    steps = "\n".join(f"Step {k}: s{k}{WORDS}" for k in range(2, 21))

    report, _, _ = solve(STREAMED, f" s1\n{steps}\nAnswer: 1", verifier=verifier)

    assert len(verifier.chains) < 20
    assert 200 == report.ledger.verifier.tokens


def test_a_path_that_was_whole_before_its_weak_step_was_known_stays_whole() -> None:
    _, heard, _ = solve(STREAMED, " a (0.2)\nStep 2: b\nAnswer: 1", BETTER, verifier=Slow())

    draft = next(event.path for event in heard if isinstance(event, Verified))
    assert ("1", False) == (draft.answer, draft.stopped)
    assert all(step.score for step in draft.steps)


def test_the_path_that_is_returned_has_been_written_to_its_end() -> None:
    strategy = StepCo(stream=True, max_rounds=1)
    again = f" e (0.3)\nStep 3: f{WORDS}\nAnswer: \\boxed{{9}}"

    report, heard, _ = solve(strategy, DRAFT, again, f" g (0.4)\nStep 3: h{WORDS}\nAnswer: 7")

    assert ("max_rounds", "7", False) == (
        report.solution.stop_reason,
        report.solution.path.answer,
        report.solution.verified,
    )
    assert [1, 1] == [event.kept for event in heard if isinstance(event, Revised)]


def test_free_text_is_never_stopped() -> None:
    text = f"So it is. (0.2)\n\nAnd then: {WORDS}\n\nAnswer: 3"

    report, _, _ = solve(StepCo(stream=True, max_rounds=0), text, form="free")

    assert ("3", False) == (report.solution.path.answer, report.solution.path.stopped)


def test_a_check_that_the_budget_cannot_pay_yet_is_made_when_the_path_is_whole() -> None:
    """While it writes, the engine holds its grant back; what it leaves over pays the verifier."""
    asked = Question((Message("user", "How many?"),), Sampling()).prompt(begins_turns=True)
    (prompt,) = asyncio.run(ScriptedEngine().measure([asked]))
    text = f" a{WORDS}\nStep 2: b{WORDS}\nAnswer: 3"

    for spare, ends in ((5, "accepted"), (15, "accepted")):
        report, _, _ = solve(STREAMED, text, budget=Budget(10_000, prompt + 512 + spare, 60_000))

        assert (ends, None) == (report.solution.stop_reason, report.ledger.exhausted)
        assert ("3", True) == (report.solution.path.answer, report.solution.verified)


class Broken(StatedVerifier):
    async def score(self, chains: Sequence[Chain], meter: Meter = unmetered) -> list[Verdict]:
        raise VerifierError("gone")


def test_a_verifier_that_fails_ends_the_writing() -> None:
    script = Playback(f" a\nStep 2: b{' on' * 2000}")
    engine = ScriptedEngine(script, delay=0.001)
    task = Task(Question((Message("user", "How many?"),), Sampling()), STREAMED, ROOMY, "none")

    with pytest.raises(VerifierUnavailable):
        asyncio.run(Solver(engine, Broken(), Grader()).solve(task, unheard))

    assert engine.spent.completion < 20


def test_no_step_is_lost_and_no_token_uncounted_whatever_is_stopped() -> None:
    for seed in range(30):
        engine = ScriptedEngine(delay=0.0001)
        question = Question((Message("user", "Sum 3, 4, 5, 6, 7."),), Sampling(seed=seed))
        task = Task(question, StepCo(stream=True, max_rounds=9), ROOMY, "none")

        solver = Solver(engine, ArithmeticVerifier(), Grader())
        report = asyncio.run(solver.solve(task, unheard))

        path = report.solution.path
        assert (5, "25") == (len(path.steps), path.answer)
        assert engine.spent == report.ledger.policy
