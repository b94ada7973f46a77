"""The strategies on scripted paths; a test for each defect of StepCo's research code (A.6)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest
from staging import Playback, StatedVerifier

from service.engines.base import Completion, Message, Prompt, Sampling, Watch, unwatched
from service.engines.scripted import SURE, ScriptedEngine
from service.events import Event, Revised, StepWritten, Verified, unheard
from service.ledger import Budget
from service.record import Round
from service.solver import Report, Solver, Task
from service.strategies import AnyStrategy, BestOfN, SelfConsistency, Single, StepCo
from service.strategies.attempt import Question
from service.strategies.locating import Locate
from verifier.answers import Grader
from verifier.scoring import Score

SAMPLING = Sampling()


def solve(
    strategy: AnyStrategy,
    *texts: str,
    begins_turns: bool = True,
    sampling: Sampling = SAMPLING,
    verifier: StatedVerifier | None = None,
) -> tuple[Report, list[Event], list[Prompt]]:
    """The report of a solve in which the policy writes these texts, and what was told and asked."""
    script, heard = Playback(*texts), list[Event]()
    engine = ScriptedEngine(script, begins_turns=begins_turns)
    question = Question((Message("user", "How many?"),), sampling)
    task = Task(question, strategy, Budget(10_000, None, 60_000), "none")
    grader = Grader()
    try:
        solver = Solver(engine, verifier or StatedVerifier(), grader)
        report = asyncio.run(solver.solve(task, heard.append))
    finally:
        grader.close()
    return report, heard, script.prompts


def texts(report: Report) -> list[str]:
    return [step.text for step in report.solution.path.steps]


GOOD = " a\nStep 2: b\nAnswer: \\boxed{1}"
WEAK = " a\nStep 2: b (0.2)\nAnswer: \\boxed{2}"


def test_a_draft_without_doubts_is_accepted_after_one_call() -> None:
    report, _, prompts = solve(StepCo(), GOOD)

    assert (report.solution.path.answer, report.solution.verified, report.solution.stop_reason) == (
        "1",
        True,
        "accepted",
    )
    assert 1 == len(prompts) == report.ledger.policy.calls


def test_a_revision_goes_on_from_the_kept_prefix_to_the_character() -> None:
    report, _, prompts = solve(StepCo(), WEAK, " c\nAnswer: \\boxed{3}")

    assert prompts[1].prefix == "Step 1: a\nStep 2:"
    assert texts(report) == ["a", "c\nAnswer: \\boxed{3}"]
    assert [step.round for step in report.solution.path.steps] == [0, 1]


def test_a_prefix_is_kept_as_it_was_written_whatever_its_format() -> None:
    _, _, prompts = solve(
        StepCo(), " **a**\n\n\nStep 2:  b (0.2)\nAnswer: \\boxed{2}", " c\nAnswer: \\boxed{3}"
    )

    assert prompts[1].prefix == "Step 1: **a**\n\n\nStep 2:"


def test_answers_are_read_from_the_path_and_never_asked_for() -> None:
    report, _, prompts = solve(StepCo(), WEAK, " b (0.3)\nAnswer: \\boxed{2}", " c\nAnswer: 5")

    assert 3 == len(prompts) == report.ledger.policy.calls
    assert report.solution.path.answer == "5"


def test_the_gate_looks_at_every_step_and_not_at_the_whole_path_alone() -> None:
    """The research code accepts on one score for the path and never looks at the steps then."""
    draft = " a (0.1)\nStep 2: b (0.9)\nAnswer: \\boxed{2}"

    strict, _, _ = solve(StepCo(), draft, GOOD)
    lax, _, prompts = solve(StepCo(accept="value"), draft)

    assert strict.solution.path.answer == "1"
    assert lax.solution.path.answer == "2"
    assert len(prompts) == 1


@pytest.mark.parametrize("strategy", [Single, BestOfN, StepCo])
def test_the_verifiers_own_threshold_holds_where_the_request_names_none(
    strategy: type[Single | BestOfN | StepCo],
) -> None:
    verifier = StatedVerifier(threshold=Score(0.1, 0.5))

    own, _, _ = solve(strategy(), *[WEAK] * 10, verifier=verifier)
    named, _, _ = solve(strategy(threshold=0.25), *[WEAK] * 10, verifier=verifier)

    assert own.solution.verified
    assert not named.solution.verified


def test_a_path_is_accepted_by_value_at_the_threshold_for_values() -> None:
    verifier = StatedVerifier(threshold=Score(0.9, 0.15))

    report, _, _ = solve(StepCo(accept="value"), WEAK, verifier=verifier)

    assert "accepted" == report.solution.stop_reason


def test_what_a_revision_keeps_is_not_scored_again() -> None:
    verifier = StatedVerifier()

    report, _, _ = solve(StepCo(), WEAK, " c\nStep 3: d\nAnswer: 3", verifier=verifier)

    draft, revision = verifier.chains
    assert ((), ("a", "c", "d\nAnswer: 3")) == (draft.known, revision.steps)
    assert (report.solution.path.steps[0].score,) == revision.known


def test_two_equal_answers_stop_it_only_where_that_is_asked_for() -> None:
    revisions = (" c (0.3)\nAnswer: \\boxed{2.0}", " d\nAnswer: \\boxed{7}")

    paper, _, _ = solve(StepCo(), WEAK, *revisions)
    code, _, prompts = solve(StepCo(stop="repeated"), WEAK, *revisions)

    assert (paper.solution.path.answer, paper.solution.stop_reason) == ("7", "accepted")
    assert code.solution.stop_reason == "repeated"
    assert len(prompts) == 2


def test_the_flagged_step_never_moves_back() -> None:
    """The rewritten path's first step is weak now, but it was kept: step 2 is flagged again."""
    strategy = StepCo(revise="rewrite", max_rounds=2)

    report, heard, _ = solve(
        strategy,
        WEAK,
        " changed (0.1)\nStep 2: c (0.3)\nAnswer: \\boxed{2}",
        " again (0.1)\nStep 2: d (0.4)\nAnswer: \\boxed{2}",
    )

    assert [event.weak for event in heard if isinstance(event, Verified)] == [1, 1, 1]
    assert texts(report)[0] == "a"


def test_kept_steps_of_a_rewrite_are_restored_from_our_copy() -> None:
    report, _, prompts = solve(
        StepCo(revise="rewrite"), WEAK, " CHANGED\nStep 2: c\nAnswer: \\boxed{3}"
    )

    assert texts(report) == ["a", "c\nAnswer: \\boxed{3}"]
    asked = prompts[1].messages[-1].content
    assert "20.0 % at step 2" in asked
    assert "Step 2: b (0.2)" in asked


def test_a_rewrite_that_begins_at_the_weak_step_is_understood() -> None:
    report, _, _ = solve(
        StepCo(),
        "Step 1: a\nStep 2: b (0.2)\nAnswer: \\boxed{2}",
        "Step 2: c\nAnswer: \\boxed{3}",
        begins_turns=False,
    )

    assert texts(report) == ["a", "c\nAnswer: \\boxed{3}"]


def test_an_engine_that_takes_whole_chats_only_is_said_to_have_rewritten() -> None:
    report, _, _ = solve(StepCo(), "Step 1: a (0.2)", "Step 1:" + GOOD, begins_turns=False)

    assert (report.record.warnings) == [
        "revise: 'rewrite' was used; this engine takes whole chats."
    ]


def test_a_preamble_is_not_counted_as_a_step() -> None:
    """The research code's index bug: k told to the model was one too high behind a preamble."""
    _, _, prompts = solve(
        StepCo(),
        "Sure, let us solve this.\nStep 1: a\nStep 2: b (0.2)\nAnswer: \\boxed{2}",
        "Here it is.\nStep 2: c\nAnswer: \\boxed{3}",
        begins_turns=False,
    )

    assert "at step 2" in prompts[1].messages[-1].content


def test_the_best_path_is_returned_and_not_the_last_one() -> None:
    worse = " c (0.1)\nAnswer: \\boxed{9}"

    best, _, _ = solve(StepCo(max_rounds=1), WEAK, worse)
    last, _, _ = solve(StepCo(max_rounds=1, select="last"), WEAK, worse)

    assert (best.solution.path.answer, best.solution.stop_reason) == ("2", "max_rounds")
    assert last.solution.path.answer == "9"
    assert not best.solution.verified


def test_greedy_sampling_that_writes_the_same_again_stops_it() -> None:
    again = " b (0.2)\nAnswer: \\boxed{2}"

    greedy, _, prompts = solve(StepCo(), WEAK, again, sampling=Sampling(temperature=0))
    drawn, _, _ = solve(StepCo(max_rounds=2), WEAK, again, again)

    assert ("unchanged", 2) == (greedy.solution.stop_reason, len(prompts))
    assert "max_rounds" == drawn.solution.stop_reason


TURNING = " a (0.9)\nStep 2: b (0.45)\nStep 3: c (0.04)\nAnswer: 2"


@pytest.mark.parametrize(("locate", "kept"), [("correct", 1), ("value", 2), ("both", 2)])
def test_the_step_to_revise_is_located_as_the_request_says(locate: Locate, kept: int) -> None:
    _, heard, prompts = solve(StepCo(locate=locate), TURNING, " d\nAnswer: 3")

    assert [kept] == [event.kept for event in heard if isinstance(event, Revised)]
    assert prompts[1].prefix.endswith(f"Step {kept + 1}:")


def test_a_restart_keeps_nothing_whatever_was_located() -> None:
    report, heard, prompts = solve(StepCo(revise="restart"), TURNING, " d\nAnswer: 3")

    assert prompts[0] == prompts[1]
    assert [0] == [event.kept for event in heard if isinstance(event, Revised)]
    assert 2 == report.record.rounds[0].first_weak
    assert ["d\nAnswer: 3"] == texts(report)


@pytest.mark.parametrize("draft", ["", "   \n"])
def test_a_path_of_no_steps_is_never_verified(draft: str) -> None:
    for strategy in (Single(), BestOfN(n=1), StepCo(max_rounds=0)):
        report, _, _ = solve(strategy, draft, begins_turns=False)

        assert not report.solution.verified
        assert report.solution.path.answer is None


def test_a_path_without_an_answer_is_never_accepted() -> None:
    report, _, prompts = solve(StepCo(), " a\nStep 2: b", " b so 4\nAnswer: \\boxed{4}")

    assert prompts[1].prefix == "Step 1: a\nStep 2:"
    assert report.solution.path.answer == "4"


def test_rounds_say_what_was_kept_what_was_weak_and_what_it_cost() -> None:
    report, _, _ = solve(StepCo(), WEAK, " c\nAnswer: \\boxed{3}")

    assert [Round(0, 0, 2, 0.2, 7), Round(1, 1, None, None, 3)] == [*report.record.rounds.values()]


def test_steps_are_told_once_each_and_kept_ones_not_again() -> None:
    _, heard, _ = solve(StepCo(), WEAK, " c\nAnswer: \\boxed{3}")

    written = [(e.round, e.index) for e in heard if isinstance(e, StepWritten)]
    assert written == [(0, 0), (0, 1), (1, 1)]
    assert [e.kept for e in heard if isinstance(e, Revised)] == [1]


SAMPLES = (
    " a (0.9)\nAnswer: \\boxed{7}",
    " b (0.8)\nAnswer: \\boxed{5}",
    " c (0.7)\nAnswer: \\boxed{5.0}",
    " d (0.95)\n",
)


@pytest.mark.parametrize("strategy", [BestOfN(n=2), StepCo(max_rounds=1)], ids=lambda s: s.name)
def test_a_paths_value_is_made_as_suits_the_verifier_unless_the_request_says_how(
    strategy: BestOfN | StepCo,
) -> None:
    written = " a (0.3)\nStep 2: b (0.9)\nAnswer: 1", " c (0.4)\nAnswer: 2"
    verifier = StatedVerifier(aggregate="min")

    own, _, _ = solve(strategy, *written, verifier=verifier)
    named, _, _ = solve(replace(strategy, aggregate="last"), *written, verifier=verifier)

    assert ("2", 0.4) == (own.solution.path.answer, own.solution.score)
    assert ("1", 0.9) == (named.solution.path.answer, named.solution.score)


def test_best_of_n_takes_the_highest_value_among_paths_with_an_answer() -> None:
    report, _, _ = solve(BestOfN(n=4), *SAMPLES)

    assert (report.solution.path.answer, report.solution.score) == ("7", 0.9)
    assert [found.sample for found in report.record.candidates] == [0, 1, 2, 3]


def test_a_weighted_vote_adds_the_values_of_equal_answers() -> None:
    report, _, _ = solve(BestOfN(n=4, select="weighted_vote"), *SAMPLES)

    assert report.solution.path.answer == "5"


def test_self_consistency_takes_the_answer_most_samples_share() -> None:
    report, _, _ = solve(SelfConsistency(n=4), *SAMPLES)

    assert (report.solution.path.answer, report.solution.score) == ("5", 0.5)
    assert not report.solution.verified
    assert report.ledger.verifier.calls == 0


def test_a_tie_goes_to_the_answer_that_came_first() -> None:
    report, _, _ = solve(SelfConsistency(n=2), *SAMPLES[:2])

    assert report.solution.path.answer == "7"


def test_the_policy_is_told_the_format_before_the_callers_own_system_turn() -> None:
    script = Playback(GOOD)
    turns = (Message("system", "Be terse."), Message("user", "How many?"))
    task = Task(Question(turns, Sampling()), Single(), Budget(99, None, 9999), "none")

    solver = Solver(ScriptedEngine(script), StatedVerifier(), Grader())
    asyncio.run(solver.solve(task, lambda event: None))

    system, user = script.prompts[0].messages
    assert system.content.endswith("Be terse.")
    assert "Step k" in system.content
    assert user.content == "How many?"


def test_a_verifier_that_heeds_it_hears_how_certain_the_policy_was_of_each_step() -> None:
    """A label's own number is no part of a step, nor is a step without a number certain of any."""
    verifier = StatedVerifier(heeds=True)
    draft = " 2 + 3 = 5\nStep 2: so (0.2)\nStep 3: 9\nAnswer: \\boxed{9}"

    report, _, _ = solve(StepCo(), draft, " then\nAnswer: \\boxed{5}", verifier=verifier)

    sure = pytest.approx(SURE)
    assert [chain.certainties for chain in verifier.chains] == [(sure, sure, sure), (sure, sure)]
    assert [step.certainty for step in report.solution.path.steps] == [sure, sure]


def test_none_is_told_where_none_is_heeded_or_nothing_is_verified() -> None:
    heeding, deaf = StatedVerifier(heeds=True), StatedVerifier()

    unjudged, _, _ = solve(SelfConsistency(n=2), GOOD, GOOD, verifier=heeding)
    solve(Single(), GOOD, verifier=deaf)
    rewriting = StepCo(revise="rewrite")
    rewritten, _, _ = solve(rewriting, WEAK, f" 1{GOOD}", verifier=heeding)

    assert [step.certainty for step in unjudged.solution.path.steps] == [None, None]
    assert deaf.chains[0].certainties == (None, None)
    assert rewritten.solution.path.steps[1].certainty is None, "in other words than it was written"


@pytest.mark.parametrize(
    ("strategy", "script", "others"),
    [
        (BestOfN(n=3, lead="greedy"), (GOOD, WEAK, GOOD), 2),
        (SelfConsistency(n=3, lead="greedy"), (GOOD, WEAK, GOOD), 2),
        (StepCo(lead="greedy"), (WEAK, GOOD), 1),
    ],
)
def test_the_first_of_several_may_be_greedy(
    strategy: AnyStrategy, script: Sequence[str], others: int
) -> None:
    """A control for strategies that begin so."""
    drawn: list[tuple[int, float]] = []

    class Noting(ScriptedEngine):
        async def complete(
            self, prompts: Sequence[Prompt], sampling: Sampling, watch: Watch = unwatched
        ) -> list[Completion]:
            drawn.append((len(prompts), sampling.temperature))
            return await super().complete(prompts, sampling, watch)

    question = Question((Message("user", "How many?"),), SAMPLING)
    solver = Solver(Noting(Playback(*script)), StatedVerifier(), Grader())
    task = Task(question, strategy, Budget(10_000, None, 60_000), "none")
    report = asyncio.run(solver.solve(task, unheard))

    assert drawn == [(1, 0.0), (others, SAMPLING.temperature)]
    assert report.solution.path.answer == "1"
