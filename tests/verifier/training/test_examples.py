"""What a step's labels are, and where they come from."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verifier import steps
from verifier.training.data import Question, Rollout
from verifier.training.examples import (
    DOUBTFUL,
    TRUSTED,
    Example,
    from_gold,
    from_rollouts,
)

CLIPS = Question(
    id="clips",
    question="Natalia sold 48 clips in April, and half as many in May. How many altogether?",
    answer="72",
    solution="Natalia sold 48/2 = 24 clips in May.\nShe sold 48+24 = 72 clips altogether.",
    meta={
        "solution_annotated": "Natalia sold 48/2 = <<48/2=24>>24 clips in May.\n"
        "She sold 48+24 = <<48+24=72>>72 clips altogether."
    },
)
MAY = "In May she sold 48 / 2 = 24 clips."
SUM = "Altogether 48 + 24 = 72."
END = "Answer: \\boxed{72}"
BAD = "In May she sold 48 * 2 = 96 clips."
FALSE = "In May she sold 48 / 2 = 26 clips."


def rollout(
    *cut: str, right: bool, given: int = 0, answer: str | None = "1", question: Question = CLIPS
) -> Rollout:
    begun = f"{steps.join(cut[:given])}\n{steps.label(given + 1)}" if given else steps.OPENING
    return Rollout(
        question_id=question.id,
        question=question.question,
        policy="p",
        temperature=0.8,
        text=steps.join(cut),
        begun=begun,
        answer=answer,
        gold=question.answer,
        correct=right,
        completion_tokens=9,
        finish_reason="stop" if answer else "length",
    )


def labelled(*rollouts: Rollout, questions: tuple[Question, ...] = (CLIPS,)) -> list[Example]:
    return from_rollouts(rollouts, {question.id: question for question in questions})


def test_every_prefix_of_a_rollout_has_its_outcome_as_value() -> None:
    examples = labelled(rollout(MAY, SUM, END, right=True), rollout("Hm.", BAD, right=False))
    assert [(1.0, 1.0, 1.0), (0.0, 0.0)] == [example.value for example in examples]


def test_a_shared_prefix_has_the_mean_of_the_outcomes() -> None:
    examples = labelled(
        rollout(MAY, SUM, END, right=True),
        rollout(MAY, SUM, "Answer: \\boxed{27}", right=False),
        rollout(MAY, "Then 24.", right=False),
        rollout(BAD, "Then 96.", right=False),
    )
    assert pytest.approx((1 / 3, 1 / 2, 1)) == examples[0].value
    assert pytest.approx((1 / 3, 0)) == examples[2].value
    assert (0, 0) == examples[3].value


def test_a_rollout_is_no_evidence_for_less_than_it_was_given() -> None:
    (example,) = labelled(rollout(MAY, SUM, END, right=True, given=2))
    assert (None, 1.0, 1.0) == example.value


def test_where_a_prefix_was_branched_its_continuations_alone_count() -> None:
    """The path it was taken from was chosen, not drawn; its first step was not branched."""
    path = rollout(MAY, SUM, "Answer: \\boxed{27}", right=False)
    drawn = [rollout(MAY, SUM, END, right=True, given=2) for _ in range(3)]
    drawn += [rollout(MAY, SUM, "So 1.", right=False, given=2)]
    examples = labelled(path, *drawn)
    assert (0, 3 / 4, 0) == examples[0].value
    assert (0, 3 / 4, 1) == examples[1].value


def test_questions_do_not_share_prefixes() -> None:
    other = CLIPS.model_copy(update={"id": "other"})
    examples = labelled(
        rollout(MAY, END, right=True), rollout(MAY, BAD, right=False, question=other)
    )
    assert [("clips", (1, 1)), ("other", (0, 0))] == [(e.question_id, e.value) for e in examples]


def test_a_rollout_without_steps_is_left_out() -> None:
    empty = rollout(right=False).model_copy(update={"text": steps.OPENING})
    assert [] == labelled(empty)


def test_all_steps_of_a_path_that_ended_right_are_right() -> None:
    (example,) = labelled(rollout(MAY, SUM, END, right=True))
    assert (1.0, 1.0, 1.0) == example.correct


def test_behind_a_false_equation_a_right_end_may_be_luck() -> None:
    (example,) = labelled(rollout("Let us see.", FALSE, END, right=True))
    assert (1.0, None, None) == example.correct


def test_a_false_equation_is_wrong_whatever_came_of_it() -> None:
    examples = labelled(rollout(FALSE, END, right=True), rollout(FALSE, SUM, "x", right=False))
    assert (0.0, None, None) == examples[1].correct


def test_before_a_false_equation_known_results_are_trusted() -> None:
    (example,) = labelled(rollout(MAY, "Altogether 48 + 24 = 62.", right=False))
    assert (TRUSTED, 0.0) == example.correct


def test_a_result_that_nobody_right_reaches_is_doubtful_and_nothing_is_said_behind_it() -> None:
    (example,) = labelled(rollout("48 in April.", BAD, "48 + 96 = 144", END, right=False))
    assert (TRUSTED, DOUBTFUL, None, None) == example.correct


def test_a_result_that_a_right_rollout_reaches_is_not_doubtful() -> None:
    """A third of 48 is not in the gold solution, but one came right that way."""
    thirds = "A third of it is 48 / 3 = 16."
    right = rollout("So.", thirds, "16 * 4.5 = 72", right=True)
    wrong = rollout(thirds, "16 * 4 = 64", "x", right=False)
    assert (DOUBTFUL, None, None) == labelled(wrong)[0].correct
    assert (TRUSTED, DOUBTFUL, None) == labelled(right, wrong)[1].correct


def test_a_part_of_a_gold_sum_is_a_known_result() -> None:
    gold = CLIPS.model_copy(
        update={"meta": {"solution_annotated": "48 - 5 - 3 - 2 = <<48-5-3-2=38>>38"}}
    )
    path = rollout("48 - 3 = 45", "5 + 2 = 7", "45 * 7 = 315", "x", right=False)
    (example,) = labelled(path, questions=(gold,))
    assert (TRUSTED, TRUSTED, DOUBTFUL, None) == example.correct


def test_a_prefix_that_another_rollout_came_right_from_is_right_in_spite_of_doubt() -> None:
    odd = "She sold 48 - 7 = 41."
    examples = labelled(
        rollout("Hm.", odd, END, right=True, given=2), rollout("Hm.", odd, BAD, "x", right=False)
    )
    assert (1.0, 1.0, DOUBTFUL, None) == examples[1].correct


def test_with_nothing_doubtful_the_error_may_be_anywhere() -> None:
    (example,) = labelled(rollout("Hm.", MAY, "Answer: \\boxed{24}", right=False))
    assert (None, None, None) == example.correct


def test_the_last_step_of_a_path_that_was_cut_off_says_nothing() -> None:
    cut_off = rollout(MAY, "Altogether 48 + 24 = 7", right=False, answer=None)
    (example,) = labelled(cut_off)
    assert (None, None) == example.correct
    assert (0.0, 0.0) == example.value


def test_without_gold_and_right_rollouts_only_false_equations_are_found() -> None:
    bare = rollout("48 * 2 = 96", "96 - 1 = 94", "x", right=False)
    assert (None, 0.0, None) == from_rollouts([bare], {})[0].correct


CUT = st.sampled_from(["Hm.", MAY, SUM, BAD, FALSE, END, "48 + 96 = 144", "x + 3 = 5"])


@st.composite
def rollouts(draw: st.DrawFn) -> Rollout:
    cut = draw(st.lists(CUT, min_size=1, max_size=5))
    right = draw(st.booleans())
    answer = "72" if right else draw(st.sampled_from(["1", None]))
    return rollout(*cut, right=right, answer=answer, given=draw(st.integers(0, len(cut) - 1)))


@settings(deadline=None)
@given(st.lists(rollouts(), max_size=6), st.booleans())
def test_correctness_never_rises_up_to_the_first_error_and_is_unknown_behind_it(
    drawn: list[Rollout], known: bool
) -> None:
    for example in from_rollouts(drawn, {CLIPS.id: CLIPS} if known else {}):
        told = [label for label in example.correct if label is not None]
        doubted = [at for at, label in enumerate(example.correct) if label in (0.0, DOUBTFUL)]
        assert sorted(told, reverse=True) == told
        assert all(label is None for at in doubted for label in example.correct[at + 1 :])
        assert len(example.steps) == len(example.correct) == len(example.value)


def test_a_gold_line_is_a_step_and_the_last_one_concludes() -> None:
    (example,) = from_gold([CLIPS])
    assert example.steps == (
        "Natalia sold 48/2 = 24 clips in May.",
        "She sold 48+24 = 72 clips altogether.\nAnswer: \\boxed{72}",
    )
    assert ((1.0, 1.0), (None, None), "gold") == (example.correct, example.value, example.source)


def math(solution: str | None) -> Question:
    return Question(id="m", question="q", answer="5", solution=solution)


def test_a_gold_solution_in_paragraphs_is_cut_into_sentences() -> None:
    (example,) = from_gold(
        [
            math(
                "By the law of cosines, e.g. on the triangle $A. B$ with 2.5 sides, we have\n"
                "\\[a = 3. B = 4.\\]Then we may well divide both sides by $2.$  Hence it follows "
                "that the answer is near.\n\nThus. So we have at last $x = \\boxed{5}$ as needed."
            )
        ]
    )
    assert example.steps == (
        "By the law of cosines, e.g. on the triangle $A. B$ with 2.5 sides, we have\n"
        "\\[a = 3. B = 4.\\]",
        "Then we may well divide both sides by $2.$",
        "Hence it follows that the answer is near.",
        "Thus. So we have at last $x = \\boxed{5}$ as needed.",
    )


def test_a_box_before_the_last_sentence_is_said_again_and_drawings_are_left_out() -> None:
    (example,) = from_gold(
        [
            math(
                "So it must be that $x = \\boxed{5}$, all told. [asy]draw((0,0)--(1,1));[/asy] "
                "That is what was to be found in the first place."
            )
        ]
    )
    assert example.steps == (
        "So it must be that $x = \\boxed{5}$, all told.",
        "That is what was to be found in the first place.\nAnswer: \\boxed{5}",
    )


def test_a_question_without_a_solution_makes_no_example() -> None:
    assert [] == from_gold([math(None), math("  ")])
