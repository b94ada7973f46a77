"""Grades: numbers by value, options by letter or by what they say; gold against itself."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from bench.grading import mistaken, right
from bench.questions import Item
from verifier.answers import Grader

OPTIONS = Item(id="o", question="Which?", answer="B", choices=("0.22", "0.26", "A dog"))


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    grader = Grader()
    yield grader
    grader.close()


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        ("B", True),
        ("(B)", True),
        ("B) 0.26", True),
        ("0.26", True),
        ("C", False),
        ("(A) 0.22", False),
        ("0.22", False),
        (None, False),
    ],
)
def test_an_option_is_named_by_its_letter_or_by_what_it_says(
    grader: Grader, answer: str | None, verdict: bool
) -> None:
    assert verdict == asyncio.run(right(grader, OPTIONS, answer))


def test_without_options_a_letter_is_an_answer_like_others(grader: Grader) -> None:
    item = Item(question="How many?", answer="1,000")

    assert asyncio.run(right(grader, item, "1000.0"))
    assert not asyncio.run(right(grader, item, "B"))


def test_a_spot_check_finds_what_grading_gets_wrong(grader: Grader) -> None:
    fine = [Item(id=str(n), question="?", answer=str(n)) for n in range(4)]
    blank = Item(id="bad", question="?", answer="C", choices=("1", "2"))

    assert [] == asyncio.run(mistaken(grader, [*fine, OPTIONS]))
    assert ["bad: the gold answer 'C' is not graded right"] == asyncio.run(
        mistaken(grader, [fine[0], blank, fine[1]])
    )
