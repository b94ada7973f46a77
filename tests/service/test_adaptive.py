"""The recommended strategy: what it draws, when it stops, whom it believes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from staging import Playback, StatedVerifier

from service.engines.base import Completion, Message, Prompt, Sampling, Watch, unwatched
from service.engines.scripted import TOKEN, ArithmeticVerifier, ScriptedEngine
from service.events import Event, Revised, unheard
from service.ledger import Budget
from service.solution import Path, Step
from service.solver import Report, Solver, Task
from service.strategies import Adaptive
from service.strategies.attempt import Attempt, Form, Question
from service.strategies.ballot import Ballot
from verifier.answers import Grader
from verifier.scoring import EVEN, Score

ROOMY = Budget(10_000, None, 60_000)
ASK = (Message("user", "Q?"),)


def solve(
    strategy: Adaptive,
    *texts: str,
    sampling: Sampling = Sampling(),  # noqa: B008
    delay: float = 0.0,
    form: Form = "steps",
    begins_turns: bool = True,
) -> tuple[Report, list[Event], list[Prompt]]:
    """The report of a solve in which the policy writes these texts, and what was told and asked."""
    script, heard = Playback(*texts), list[Event]()
    engine = ScriptedEngine(script, delay, begins_turns)
    task = Task(Question(ASK, sampling, form), strategy, ROOMY, "none")
    report = asyncio.run(Solver(engine, StatedVerifier(), Grader()).solve(task, heard.append))
    assert engine.spent == report.ledger.policy
    return report, heard, script.prompts


def outcome(report: Report) -> tuple[str | None, str]:
    return report.solution.path.answer, report.solution.stop_reason


def count(*texts: str) -> int:
    return sum(len(TOKEN.findall(text)) for text in texts)


SEVEN = " a (0.8)\nStep 2: b (0.7)\nAnswer: \\boxed{7}"
SEVEN_TOO = " c (0.9)\nAnswer: \\boxed{7.0}"
FIVE = " d (0.9)\nStep 2: e (0.65)\nAnswer: \\boxed{5}"
TWO = " f (0.6)\nAnswer: \\boxed{2}"


def test_two_that_agree_are_the_answer_and_nothing_more_is_drawn() -> None:
    report, _, prompts = solve(Adaptive(), SEVEN, SEVEN_TOO)

    assert ("7.0", "agreed") == outcome(report)
    assert report.solution.verified
    assert (2, count(SEVEN, SEVEN_TOO)) == (len(prompts), report.ledger.policy.completion)


@pytest.mark.parametrize(("form", "first"), [("steps", 0.0), ("free", 0.7)])
def test_the_first_path_is_greedy_and_no_other(form: Form, first: float) -> None:
    drawn: list[float] = []

    class Noting(ScriptedEngine):
        async def complete(
            self, prompts: Sequence[Prompt], sampling: Sampling, watch: Watch = unwatched
        ) -> list[Completion]:
            drawn.append(sampling.temperature)
            return await super().complete(prompts, sampling, watch)

    task = Task(Question(ASK, Sampling(), form), Adaptive(max_paths=3), ROOMY, "none")
    engine = Noting(Playback("Step 1:" * (form == "free") + SEVEN, FIVE, TWO))
    asyncio.run(Solver(engine, StatedVerifier(), Grader()).solve(task, unheard))

    assert drawn == [first, 0.7, 0.7]


def test_two_that_agree_are_believed_and_not_called_verified_where_a_step_is_in_doubt() -> None:
    weak = " a (0.4)\nAnswer: 7"

    report, _, prompts = solve(Adaptive(), weak, weak)

    assert (("7", "agreed"), 2) == (outcome(report), len(prompts))
    assert not report.solution.verified


def test_where_two_disagree_the_best_is_resampled_from_where_it_falls() -> None:
    suffix = " g (0.9)\nAnswer: \\boxed{7}"

    report, heard, prompts = solve(Adaptive(max_paths=3), SEVEN, FIVE, suffix)

    (revised,) = [event for event in heard if isinstance(event, Revised)]
    assert "Step 1: d (0.9)\nStep 2:" == prompts[2].prefix
    assert ((1, 0), (0, 1), 1) == (revised.path.parent, revised.path.place, revised.kept)
    assert ("7", "max_paths") == outcome(report)
    assert count(SEVEN, FIVE, suffix) == report.ledger.policy.completion


def test_a_step_that_is_surely_wrong_gets_one_suffix_and_an_uncertain_one_several() -> None:
    sure, unsure = " a (0.2)\nAnswer: 3", " a (0.4)\nAnswer: 3"
    other = " b (0.15)\nAnswer: 4"

    _, _, once = solve(Adaptive(max_paths=3, candidates=3), sure, other, TWO)
    _, _, often = solve(Adaptive(max_paths=5, candidates=3), unsure, other, TWO, SEVEN, FIVE)

    assert (3, 5) == (len(once), len(often))
    assert often[2] == often[3] == often[4]


def test_a_restart_draws_anew() -> None:
    _, _, prompts = solve(Adaptive(max_paths=3, revise="restart"), SEVEN, FIVE, TWO)

    assert prompts[0] == prompts[2]


def test_no_path_is_left_twice_at_the_same_step_while_another_was_not() -> None:
    _, heard, _ = solve(Adaptive(max_paths=5, candidates=1), SEVEN, FIVE, TWO, " h\nAnswer: 8", TWO)

    parents = [event.path.parent for event in heard if isinstance(event, Revised)]
    assert len(parents) == len(set(parents)) == 3


def test_votes_decide_and_the_verifier_breaks_ties() -> None:
    tie, _, _ = solve(Adaptive(max_paths=2), TWO, FIVE)
    vote, _, _ = solve(Adaptive(max_paths=3), TWO, FIVE, " h (0.5)\nAnswer: 2")

    assert "5" == tie.solution.path.answer
    assert "2" == vote.solution.path.answer


def test_the_score_is_the_confidence_in_the_answer() -> None:
    report, _, _ = solve(Adaptive(), " a (0.8)\nAnswer: 7", " b (0.5)\nAnswer: 7")

    assert report.solution.score == pytest.approx(1 - 0.2 * 0.5)


def test_enough_confidence_stops_it_and_too_little_is_no_answer() -> None:
    sure, _, drawn = solve(
        Adaptive(min_confidence=0.7), " a (0.9)\nAnswer: 7", " b (0.2)\nAnswer: 9"
    )
    mute, _, _ = solve(Adaptive(max_paths=2, abstain_below=0.4), TWO, " c (0.5)\nAnswer: 9")

    assert (("7", "confident"), 1) == (outcome(sure), len(drawn))
    assert (None, "abstained") == outcome(mute)
    assert not mute.solution.verified
    assert mute.solution.path.steps


LONG = " on" * 40
HOPELESS = f" a (0.05)\nStep 2: b{LONG}\nAnswer: 1"


def test_a_path_that_promises_nothing_is_written_no_further() -> None:
    report, _, _ = solve(Adaptive(max_paths=2), HOPELESS, SEVEN, delay=0.001)

    written = " a (0.05)\nStep 2: b on"
    assert ("7", "max_paths") == outcome(report)
    assert count(written, SEVEN) == report.ledger.policy.completion


def test_where_all_paths_promise_nothing_the_best_is_written_to_its_end() -> None:
    end = f" c (0.05)\nStep 2: d{LONG}\nAnswer: 3"

    report, _, prompts = solve(Adaptive(max_paths=2), HOPELESS, HOPELESS, end, delay=0.001)

    assert ("3", "max_paths") == outcome(report)
    assert (3, "Step 1:") == (len(prompts), prompts[2].prefix)
    assert not report.solution.verified


class Hasty(ScriptedEngine):
    """Writes what it is asked first at once, before the verifier can stop it."""

    def __init__(self, script: Playback) -> None:
        super().__init__(script, delay=0.001)
        self._first: ScriptedEngine | None = ScriptedEngine(script)

    async def complete(
        self, prompts: Sequence[Prompt], sampling: Sampling, watch: Watch = unwatched
    ) -> list[Completion]:
        if self._first is None:
            return await super().complete(prompts, sampling, watch)
        first, self._first = self._first, None
        return await first.complete(prompts, sampling, watch)


def test_a_kept_step_ends_no_path() -> None:
    """It was kept for want of a worse one; what goes on from it is judged by itself."""
    dip = " a (0.9)\nStep 2: b (0.05)\nStep 3: c (0.95)\nStep 4: d (0.0001)\nAnswer: 1"
    again = f" e (0.9)\nStep 5: f{LONG}\nAnswer: 2"
    engine, heard = Hasty(Playback(dip, " f (0.2)\nAnswer: 3", again)), list[Event]()
    strategy = Adaptive(max_paths=3, locate="value")
    task = Task(Question((Message("user", "Q?"),), Sampling()), strategy, ROOMY, "none")

    solver = Solver(engine, StatedVerifier(), Grader())
    asyncio.run(solver.solve(task, heard.append))

    (revised,) = [event for event in heard if isinstance(event, Revised)]
    assert (3, False, "2") == (revised.kept, revised.path.stopped, revised.path.answer)


def test_giving_up_can_be_switched_off() -> None:
    report, _, _ = solve(Adaptive(give_up=0.0), HOPELESS, HOPELESS, delay=0.001)

    assert ("1", "agreed") == outcome(report)
    assert 2 * count(HOPELESS) == report.ledger.policy.completion


def test_greedy_sampling_draws_one() -> None:
    report, _, prompts = solve(Adaptive(), SEVEN, sampling=Sampling(temperature=0))

    assert (("7", "unchanged"), 1) == (outcome(report), len(prompts))


def test_free_text_that_states_no_answer_is_left_as_it_is() -> None:
    report, _, prompts = solve(Adaptive(), "Rain.\n\nSun.", "Snow.", form="free")

    assert ((None, "open_ended"), 1) == (outcome(report), len(prompts))


def test_an_engine_that_takes_whole_chats_is_asked_to_rewrite() -> None:
    report, _, prompts = solve(
        Adaptive(max_paths=3),
        f"Step 1:{SEVEN}",
        f"Step 1:{FIVE}",
        "Step 2: x\nAnswer: 7",
        begins_turns=False,
    )

    assert "at step 2" in prompts[2].messages[-1].content
    assert "7" == report.solution.path.answer


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), budget=st.integers(1, 120), most=st.integers(2, 9))
def test_never_more_than_the_budget_and_never_a_path_that_was_not_seen(
    seed: int, budget: int, most: int
) -> None:
    engine = ScriptedEngine()
    question = Question((Message("user", "Sum 3, 4, 5 and 6."),), Sampling(seed=seed))
    task = Task(question, Adaptive(max_paths=most), Budget(budget, None, 60_000), "none")

    solver = Solver(engine, ArithmeticVerifier(), Grader())
    report = asyncio.run(solver.solve(task, unheard))

    assert engine.spent == report.ledger.policy
    assert engine.spent.completion <= budget
    assert report.solution.path in [find.path for find in report.record.finds]
    assert len(report.record.finds) <= most


def ballot(*votes: tuple[str, float]) -> Ballot:
    attempt = Attempt(
        question=Question((Message("user", "Q?"),), Sampling()),
        engine=ScriptedEngine(),
        verifier=StatedVerifier(),
        grader=Grader(),
        tell=unheard,
        begins_turns=True,
        threshold=EVEN,
        aggregate="last",
        heeds=False,
    )
    paths = [
        Path(steps=(Step("s", 0, Score(value, value)),), answer=answer, sample=sample)
        for sample, (answer, value) in enumerate(votes)
    ]
    return asyncio.run(Ballot.of(paths, attempt))


VOTES = st.lists(st.tuples(st.sampled_from("1234"), st.sampled_from([0.1, 0.4, 0.9])), max_size=7)


@settings(deadline=None)
@given(VOTES, st.randoms(use_true_random=False))
def test_whose_vote_came_first_does_not_matter(
    votes: list[tuple[str, float]], shuffled: object
) -> None:
    one, other = ballot(*votes), ballot(*sorted(votes, key=lambda _: shuffled.random()))  # type: ignore[attr-defined]

    assert (one.winner and one.winner.answer) == (other.winner and other.winner.answer)
    assert one.lead == other.lead
    assert one.confidence == pytest.approx(other.confidence)
    assert 0 <= one.confidence <= 1


@settings(deadline=None)
@given(VOTES.filter(bool), st.sampled_from([0.1, 0.4, 0.9]))
def test_another_vote_for_the_winner_makes_it_no_less_sure(
    votes: list[tuple[str, float]], value: float
) -> None:
    before = ballot(*votes)
    assert before.winner is not None

    after = ballot(*votes, (before.winner.answer or "", value))

    assert after.winner is not None
    assert before.winner.answer == after.winner.answer
    assert after.confidence >= before.confidence - 1e-12


def test_without_an_answer_there_is_no_winner() -> None:
    assert (None, 0, 0.0) == (ballot().winner, ballot().lead, ballot().confidence)
