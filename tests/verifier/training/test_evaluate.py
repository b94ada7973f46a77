"""Verifiers whose worth is known, on small files made for it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from verifier.scoring import Chain, Meter, Score, Verdict, unmetered
from verifier.training.data import DataError, Process, Question, Rollout, write
from verifier.training.evaluate import evaluate
from verifier.training.metrics import Figure
from verifier.training.report import Evaluation, ProcessReport, RolloutReport

Judge = Callable[[str], Score]


class Scripted:
    """Scores each step by what it says, alone."""

    name = "scripted"

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self.asked = 0

    async def score(self, chains: Sequence[Chain], meter: Meter = unmetered) -> list[Verdict]:
        self.asked += len(chains)
        return [Verdict(tuple(map(self._judge, chain.steps))) for chain in chains]


def knowing(step: str) -> Score:
    """Sees every wrong step; sure of a right answer, less so of a wrong one."""
    sure = 0.9 if "good" in step else 0.2
    return Score(correct=sure, value=sure)


def careless(step: str) -> Score:
    return Score(correct=0.9, value=0.5)


def process(number: int, steps: str, label: int) -> Process:
    return Process(
        id=f"p{number}", question=f"Question {number}?", steps=tuple(steps.split()), label=label
    )


MARKED = [
    process(1, "good good bad", 2),
    process(2, "bad good", 0),
    process(3, "good bad bad bad", 1),
    process(4, "good", -1),
    process(5, "good good", -1),
]


def rollout(question: int, answer: str | None, word: str) -> Rollout:
    text = f"Step 1: {word} start\nStep 2: {word} end\nAnswer: \\boxed{{{answer}}}" if word else ""
    return Rollout(
        question_id=f"q{question}",
        question=f"Question {question}?",
        policy="small",
        temperature=0.8,
        text=text,
        answer=answer,
        gold="7",
        correct=answer == "7",
        completion_tokens=9,
        finish_reason="stop",
    )


def question(number: int, answers: Sequence[str | None]) -> list[Rollout]:
    return [rollout(number, answer, "good" if answer == "7" else "bad") for answer in answers]


GRADED = [
    *question(1, ["7", "5", "5.0", "3"]),
    *question(2, ["7", "7", "1", None]),
    *question(3, ["2", "2", "2", "2"]),
    *question(4, ["7", "4"]),
]


def run(
    folder: Path, rows: Sequence[Process | Rollout], judge: Judge = knowing, solutions: int = 4
) -> Evaluation:
    file = folder / "rows.jsonl.gz"
    write(file, rows)
    return asyncio.run(evaluate([file], Scripted(judge), lambda *_: None, solutions=solutions))


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> RolloutReport:
    return graded(run(tmp_path_factory.mktemp("graded"), GRADED))


def marked(evaluation: Evaluation) -> ProcessReport:
    (report,) = evaluation.files
    assert isinstance(report, ProcessReport)
    return report


def graded(evaluation: Evaluation) -> RolloutReport:
    (report,) = evaluation.files
    assert isinstance(report, RolloutReport)
    return report


def value(found: Figure | None) -> float | None:
    return None if found is None else round(found.value, 4)


def test_a_verifier_that_sees_every_error_has_an_f1_of_1(tmp_path: Path) -> None:
    report = marked(run(tmp_path, MARKED))

    assert (5, 3) == (report.solutions, report.wrong)
    assert (1, 1, 1) == (
        value(report.at_threshold.f1),
        value(report.at_threshold.accuracy_on_wrong),
        value(report.at_threshold.accuracy_on_right),
    )
    assert 0.21 == report.best_on_this_file.threshold


def test_a_step_behind_the_first_error_does_not_count(tmp_path: Path) -> None:
    """9 steps of 12: 6 right ones at 0.9, and 3 that are the first wrong ones at 0.2."""
    report = marked(run(tmp_path, MARKED))

    assert 9 == report.correct.steps
    assert 1 == value(report.correct.roc_auc)
    assert pytest.approx((6 * 0.01 + 3 * 0.04) / 9, abs=1e-4) == value(report.correct.brier)


def test_a_verifier_that_flags_nothing_has_an_f1_of_0(tmp_path: Path) -> None:
    report = marked(run(tmp_path, MARKED, careless))

    assert (0, 0, 1) == (
        value(report.at_threshold.f1),
        value(report.at_threshold.accuracy_on_wrong),
        value(report.at_threshold.accuracy_on_right),
    )


def test_selection_is_told_for_whole_questions_and_the_rest_counted(found: RolloutReport) -> None:
    """Of the first question "5" and "5.0" are one answer, with two votes of four."""
    selection = found.selection
    right = {choice.way: value(choice.accuracy) for choice in selection.choices}

    assert (4, 3, 1) == (selection.solutions, selection.questions, selection.left_out)
    assert 3 + 2 * 8 == len(right)
    assert {"oracle": 0.6667, "random": 0.25, "majority": 0.3333} == {
        way: right[way] for way in ("oracle", "random", "majority")
    }
    assert 0.6667 == right["best_by_value_last"] == right["vote_by_correct_product"]


def test_a_choice_is_compared_with_the_majority_question_by_question(found: RolloutReport) -> None:
    over = {choice.way: choice.over_majority for choice in found.selection.choices}

    assert over["majority"] == Figure(0, 0, 0)
    assert 0.3333 == value(over["best_by_value_last"])
    assert -0.0833 == value(over["random"])


def test_of_more_solutions_the_first_are_taken(tmp_path: Path) -> None:
    selection = graded(run(tmp_path, GRADED, solutions=2)).selection
    found = {choice.way: value(choice.accuracy) for choice in selection.choices}

    assert (4, 0) == (selection.questions, selection.left_out)
    assert (0.5 + 1 + 0 + 0.5) / 4 == found["majority"]


def test_no_question_with_enough_solutions_leaves_no_choice(tmp_path: Path) -> None:
    assert graded(run(tmp_path, GRADED, solutions=9)).selection.choices == ()


def test_value_is_judged_by_the_outcome_at_every_step_and_at_the_last(found: RolloutReport) -> None:
    last = found.last_value

    assert (14, 4) == (found.solutions, found.right)
    assert (28, 14) == (found.value.steps, last.steps)
    assert 1 == value(found.value.roc_auc) == value(last.roc_auc)
    assert pytest.approx((4 * 0.01 + 10 * 0.04) / 14, abs=1e-4) == value(last.brier)


def test_a_solution_of_no_steps_scores_nothing(tmp_path: Path) -> None:
    """It alone is right, and is never chosen by its score."""
    rows = [rollout(1, "7", ""), rollout(1, "1", "bad"), rollout(1, "2", "bad")]

    report = graded(run(tmp_path, rows, solutions=3))
    found = {choice.way: value(choice.accuracy) for choice in report.selection.choices}

    assert (1, 4) == (report.without_steps, report.value.steps)
    assert (1, 0) == (found["oracle"], found["best_by_value_mean"])
    assert report.value.roc_auc is None


def test_files_of_both_kinds_are_scored_in_one_go(tmp_path: Path) -> None:
    files = [tmp_path / "marked.jsonl", tmp_path / "graded.jsonl"]
    write(files[0], MARKED)
    write(files[1], GRADED)
    told: list[tuple[int, int]] = []

    found = asyncio.run(evaluate(files, Scripted(knowing), lambda *counts: told.append(counts)))

    assert ["marked.jsonl", "graded.jsonl"] == [report.file for report in found.files]
    assert {15} == {total for _, total in told}
    assert 15 == max(done for done, _ in told)


def test_kept_scores_make_the_same_evaluation_without_the_verifier(tmp_path: Path) -> None:
    file, kept, idle = tmp_path / "rows.jsonl", tmp_path / "kept.jsonl", Scripted(careless)
    write(file, GRADED)

    first = asyncio.run(evaluate([file], Scripted(knowing), lambda *_: None, kept=kept))
    again = asyncio.run(evaluate([file], idle, lambda *_: None, kept=kept))

    assert first.as_json() == again.as_json()
    assert idle.asked == 0


def test_the_order_of_questions_changes_nothing(tmp_path: Path) -> None:
    """Rollouts that share a question stay in their order, as the first are taken."""
    rows = [row for number in (3, 1, 2) for row in GRADED if row.question_id == f"q{number}"]

    for one, other in (MARKED, MARKED[::-1]), (sorted(rows, key=lambda row: row.question_id), rows):
        assert json.loads(run(tmp_path, one).as_json()) == json.loads(
            run(tmp_path, other).as_json()
        )


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "holds no rows"),
        ('{"question": "q", "answer": "7"}', "neither solutions with a marked error"),
        ('{"text": "Step 1: a", "correct": true}', "line 1: question_id"),
        ('{"steps": ["a"], "label": 0}', "line 1: id"),
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path: Path, content: str, sentence: str) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(f"{content}\n", encoding="utf-8")

    with pytest.raises(DataError, match=sentence):
        asyncio.run(evaluate([file], Scripted(knowing), lambda *_: None))


def test_a_file_of_questions_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    write(file, [Question(id="1", question="q", answer="7", steps=("a",))])

    with pytest.raises(DataError, match="neither"):
        asyncio.run(evaluate([file], Scripted(knowing), lambda *_: None))
