"""What is learned from: all there is, and nothing of a held-out question."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from verifier.training.curriculum import HELD_OUT, curriculum, held_out
from verifier.training.data import Question, Rollout, read
from verifier.training.examples import Example

SOLUTION = "She has 3 + 4 = 7 apples.\nShe eats 2, so 7 - 2 = 5 are left."


def question(number: int) -> Question:
    return Question(
        id=f"q{number}",
        question=f"Ann picks 3 apples, then 4, and eats 2. Case {number}: how many are left?",
        answer="5",
        solution=SOLUTION,
        meta={"solution_annotated": SOLUTION},
    )


def rollout(number: int, *, right: bool) -> Rollout:
    answer = "5" if right else "9"
    sign = "-" if right else "+"
    return Rollout(
        question_id=f"q{number}",
        question=question(number).question,
        policy="p",
        temperature=0.8,
        text=f"Step 1: 3 + 4 = 7\nStep 2: 7 {sign} 2 = {answer}\nAnswer: \\boxed{{{answer}}}",
        answer=answer,
        gold="5",
        correct=right,
        completion_tokens=20,
        finish_reason="stop",
    )


QUESTIONS = [question(number) for number in range(400)]
ROLLOUTS = [rollout(number, right=right) for number in range(200) for right in (True, False)]
MADE = curriculum(ROLLOUTS, QUESTIONS, seed=1)


def test_no_held_out_question_is_learned_from() -> None:
    assert 5 < len({each.question_id for each in MADE.held_out}) < 60
    assert all(held_out(each.question_id) for each in MADE.held_out)
    assert not any(held_out(each.question_id) for each in MADE.learned)


def test_every_rollout_and_a_spoiled_copy_of_each_right_one_are_there() -> None:
    drawn = [each for each in [*MADE.learned, *MADE.held_out] if int(each.question_id[1:]) < 200]

    assert {"rollout": 400, "corruption": 200} == Counter(each.source for each in drawn)


def test_a_question_whose_rollouts_all_ended_alike_is_not_dwelt_on() -> None:
    (number,) = [n for n in range(300, 320) if not held_out(f"q{n}")][:1]
    alike = [rollout(number, right=False)] * 5
    unlike = [*alike, rollout(number, right=True)]

    taught = [curriculum(rows, QUESTIONS).learned for rows in (alike, unlike)]

    assert [2, 6] == [sum(each.source == "rollout" for each in learned) for learned in taught]


def test_gold_solutions_are_of_questions_that_have_no_rollout() -> None:
    gold = [each for each in [*MADE.learned, *MADE.held_out] if each.source == "gold"]

    assert 100 == len(gold)
    assert all(200 <= int(each.question_id[1:]) for each in gold)


def test_the_same_seed_makes_the_same_curriculum() -> None:
    assert MADE == curriculum(ROLLOUTS, QUESTIONS, seed=1)
    assert MADE != curriculum(ROLLOUTS, QUESTIONS, seed=2)


def test_the_held_out_part_is_kept_beside_the_run(tmp_path: Path) -> None:
    MADE.save(tmp_path / "run")

    assert MADE.held_out == list(read(tmp_path / "run" / HELD_OUT, Example))
