from __future__ import annotations

import asyncio
import multiprocessing
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pebble.pool.process import WORKERS_NAME

from verifier.answers import LONGEST, Grader, extract, normal

SAME_EITHER_WAY = (
    ("18", "18"), ("1234", "1,234"), ("1234567.5", "1,234,567.50"), ("10000", r"10\,000"),
    ("10000", "10,\\!000"), ("1,234", "1{,}234"), ("18.0", "18"), ("18", "$18"), ("18", r"\$18"),
    ("$18.00", "18 dollars"), ("18", "18."), ("18", "**18**."), ("18", "$18$."), ("18", r"\(18\)"),
    ("-3", "−3"), ("+3", "3"), ("-$5", "-5"), (".5", "0.50"), ("0.5", "1/2"), ("1/2", "2/4"),
    (r"\frac{3}{4}", "0.75"), (r"\dfrac{3}{4}", r"\tfrac{3}{4}"), (r"-\frac{3}{4}", "-3/4"),
    ("1 1/2", "3/2"), (r"2\frac{3}{4}", "2.75"), ("50%", r"50\%"), ("50%", "50 percent"),
    ("50%", "50"), ("12.5%", "12.5"), ("A", "(A)"), ("A", "A."), ("(A)", "A:"), ("B", r"\text{B}"),
    ("B", "(B) 18 eggs"), ("(A) -2", "A"),
    ("no", "No"), ("Yes", r"\text{yes.}"), ("no solution", r"\text{No solution}"),
    (r"90^\circ", "90"), ("x + 1", "x+1"), (r"\left(1, 2\right)", "(1,2)"),
    ("18", "18 eggs"), ("18", r"18 \text{ eggs}"), ("18", r"18\text{eggs}"), ("18.0", "18 eggs."),
    ("18 eggs", "She sells 18 eggs a day"), ("35.52", "Tom spent $35.52 on video games"),
    ("15.1", "Total cement used: 15.1 tons"), ("0.2", "It weighs 0.2 pounds more than the other"),
    ("1234", "In all, 1,234 people came."), ("-5", "-5 degrees"), ("4", "4 seeds (per pot)"),
    ("0.5", "Tess's cup holds 0.5 litres"), ("90", r"90\text{ degrees}"),
)  # fmt: skip
DIFFERENT_EITHER_WAY = (
    ("18", "81"), ("18", "18.1"), ("18", "-18"), ("1,234", "1.234"), ("1/3", "0.33"), ("12", "1/2"),
    ("3/2", "11/2"), ("1/2", "1 1/2"), ("0.5", "50"), ("A", "B"), ("A", "a"), ("yes", "no"),
    ("listen", "silent"), ("banana", "0"), ("", "0"), ("", "x"), ("18", "eighteen"),
    ("(A)", "apple"), ("(A) 18", "B"), ("18", "19 eggs"), ("5 hours", "5 minutes"),
    ("-5", "It is 5 degrees"),
)  # fmt: skip
PROVEN = (
    (r"\sqrt{8}", r"2\sqrt{2}"), ("(x+1)^2", "x^2+2x+1"), ("x=5", "5"), ("1,2", "2, 1"),
    (r"\frac{\pi}{2}", r"0.5\pi"), ("10^3", "1000"),
)  # fmt: skip
REFUTED = (
    (r"2\sqrt{3}", "23"), ("(3,4)", "3"), ("x+1", "1"), ("x^2", "x2"), ("5x", "5"), ("1,2", "12"),
    ("[0,1]", "(0,1)"), ("x", "y"), ("3,4", "34"), ("2**3", "23"), ("1 2", "12"),
    ("0", r"\frac{1}{"), ("0", "1/0"), ("5", "}{5"), ("9", "9 pencils and 4 rulers"), ("2", "2 pi"),
    ("18", "minus 18 eggs"), ("2", "2 million people"), ("3", "3 dozen eggs"), ("5", "not 5"),
    ("5", "at least 5 apples"), ("5", "more than 5 apples"), ("2", "2 thirds of it"),
    ("5", "It holds .5 litres"), ("5", "5 log x"), ("9", "9 squared"), ("3", "3 x"),
    ("5", "5/8 miles"),
)  # fmt: skip
HOSTILE = "9^{9^{9^{9}}}"


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    """One for all tests that need its process, which takes a second to start."""
    grader = Grader(timeout=1.5)
    yield grader
    grader.close()


def same(grader: Grader, gold: str, answer: str) -> bool:
    return asyncio.run(grader.same(gold, answer))


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"Step 1: a\nAnswer: \boxed{18}", "18"),
        (r"\boxed{1} then \boxed{2}", "2"),
        (r"$\boxed{ \frac{1}{2} }$.", r"\frac{1}{2}"),
        (r"\boxed{\sqrt{\frac{a}{b_{1}}}}", r"\sqrt{\frac{a}{b_{1}}}"),
        (r"\boxed{\left\{ 1, 2 \right.}", r"\left\{ 1, 2 \right."),
        (r"\boxed{a \\{2}}", r"a \\{2}"),
        (r"\fbox{7}", "7"),
        (r"\boxed {7}", "7"),
        (r"$\boxed 18$", "18"),
        (r"$\boxed 1,234.$", "1,234"),
        (r"\boxed x", "x"),
        (r"{ \boxed{5}", "5"),
        (r"} \boxed{5} }", "5"),
        (r"\boxed{5} <ans>6</ans> Answer: 7", "5"),
        (r"\boxed{} <ans> 6 </ans> Answer: 7", "6"),
        ("<ans>5</ans> <ans>6</ans> <ans>", "6"),
        ("Answer: 5\nAnswer: 6", "6"),
        ("**Answer:** $18$", "18"),
        ("**Final Answer**: **18**.", "18"),
        ("Answer:\n18\n", "18"),
        ("Therefore, the final answer is $1,234.50. We are done.", "$1,234.50"),
        ("the answer is 5. No, wait: the answer is 6.", "6"),
        (r"The answer is \(x = 3\).", "x = 3"),
        ("The answer is 18 eggs.", "18 eggs"),
        ("The answer is: 3.5\nThe answer is", "3.5"),
    ],
)
def test_the_last_answer_is_extracted_a_box_before_a_tag_before_a_statement(
    text: str, answer: str
) -> None:
    assert extract(text) == answer


@pytest.mark.parametrize(
    "text",
    [
        "", "18", "Step 1: 9 * 2 = 18", r"\boxed{18", r"Answer: \boxed{18", r"\boxed{}", "<ans>18",
        "18</ans>", "<ans> </ans>", "Answer:", "**Answer:** ", r"put it in \boxed and stop",
        "answers: 5", "we answer isometrically",
    ],
)  # fmt: skip
def test_a_text_without_an_answer_has_none(text: str) -> None:
    """It is never the whole text: what cannot be found must not be compared."""
    assert extract(text) is None


@given(st.lists(st.sampled_from([*r"\{} a5$.", r"\boxed", r"\boxed{", "<ans>", "Answer:", "\n"])))
def test_an_extracted_answer_stands_in_the_text_and_is_never_blank(parts: list[str]) -> None:
    text = "".join(parts)
    answer = extract(text)
    assert answer is None or (answer.strip() and answer in text)


@pytest.mark.parametrize(
    "unit", [r"\boxed{", r"\boxed", "{", "\\", "<ans>", "answer", "answer:", "answer ", ".", "*",
             "$", " ", "a ", r"\text{", "1", "1,111", "\n"]
)  # fmt: skip
def test_time_is_linear_in_the_text(unit: str) -> None:
    text = unit * (200_000 // len(unit))
    began = time.perf_counter()
    extract(text)
    extract(f"Answer: {text}")
    normal(text + "x")
    assert time.perf_counter() - began < 2


@pytest.mark.parametrize("words", ["egg" * 300, "an-egg-" * 140, "egg, " * 190])
def test_no_time_is_lost_on_words_that_name_no_number(grader: Grader, words: str) -> None:
    began = time.perf_counter()
    assert not same(grader, "6", f"{words}! 6")
    assert time.perf_counter() - began < 10


def test_plain_answers_are_compared_exactly_and_need_no_process() -> None:
    grader = Grader()
    before = multiprocessing.active_children()
    for one, other in SAME_EITHER_WAY:
        assert same(grader, one, other), (one, other)
        assert same(grader, other, one), (other, one)
    for one, other in DIFFERENT_EITHER_WAY:
        assert not same(grader, one, other), (one, other)
        assert not same(grader, other, one), (other, one)
    assert multiprocessing.active_children() == before
    grader.close()


def test_a_percentage_may_be_given_as_a_fraction_of_one_if_the_gold_answer_is_one(
    grader: Grader,
) -> None:
    assert same(grader, "50%", "0.5")
    assert same(grader, r"50\%", "1/2")
    assert not same(grader, "0.5", "50%")
    assert not same(grader, "50%", "0.5%")
    assert not same(grader, "50%", "5000")


@settings(deadline=None)
@given(st.integers(), st.booleans())
def test_a_number_is_itself_however_its_thousands_are_set_and_never_its_neighbour(
    grader: Grader, number: int, dollar: bool
) -> None:
    written = f"{'$' if dollar else ''}{number:,}.00"
    assert same(grader, str(number), written)
    assert not same(grader, str(number + 1), written)


@settings(deadline=None)
@given(st.text())
def test_every_answer_is_the_same_as_itself(grader: Grader, answer: str) -> None:
    assert same(grader, answer, answer)


def test_expressions_are_compared_by_what_they_mean(grader: Grader) -> None:
    for gold, answer in PROVEN:
        assert same(grader, gold, answer), (gold, answer)


def test_lookalikes_are_told_apart(grader: Grader) -> None:
    """Research code deleted letters and signs and evaluated the rest: x+1 was 1, 2√3 was 23."""
    for gold, answer in REFUTED:
        assert not same(grader, gold, answer), (gold, answer)
        assert not same(grader, answer, gold), (answer, gold)


def test_a_fraction_is_not_its_numerator(grader: Grader) -> None:
    """Research code took the first number it could find."""
    assert not same(grader, r"\frac{3}{4}", "3")
    assert not same(grader, "3", r"\frac{3}{4}")


def test_an_answer_that_cannot_be_read_is_not_zero(grader: Grader) -> None:
    """Research code gave 0 for what it could not parse, and labelled steps with that."""
    assert not same(grader, "0", "cannot be determined")


def test_no_answer_is_ever_run_as_code(grader: Grader) -> None:
    """Research code called `eval` on what the model wrote."""
    code = "__import__('time').sleep(60)"
    began = time.perf_counter()
    assert not same(grader, "None", code)
    assert not same(grader, "18", code)
    assert time.perf_counter() - began < 3


def test_a_hostile_answer_ends_in_time_blocks_no_one_and_the_next_is_answered(
    grader: Grader,
) -> None:
    async def ticks_while_comparing() -> int:
        comparison = asyncio.create_task(grader.same("5", HOSTILE))
        ticks = 0
        while not comparison.done():
            await asyncio.sleep(0.01)
            ticks += 1
        assert not comparison.result()
        return ticks

    assert same(grader, "x+1", "1+x")
    began = time.perf_counter()
    assert asyncio.run(ticks_while_comparing()) > 20
    assert time.perf_counter() - began < 4
    assert same(grader, "x+1", "1+x")


def test_a_worker_that_dies_is_replaced(grader: Grader) -> None:
    assert same(grader, "x+1", "1+x")
    for process in multiprocessing.active_children():
        if process.name == WORKERS_NAME:
            process.kill()
    time.sleep(0.5)
    assert same(grader, "x+1", "1+x")


def test_a_long_answer_is_only_the_same_if_it_is_written_the_same(grader: Grader) -> None:
    long = "+".join(["x"] * LONGEST)
    assert same(grader, long, f"$ {long} $")
    assert not same(grader, long, f"{long}+0")


def test_answers_are_grouped_in_order_of_first_appearance(grader: Grader) -> None:
    answers = ["18", "x+1", "$18", "1/2", "1+x", "no", "18.0", "0.5", "(x+1)", "No", "x"]
    assert asyncio.run(grader.group(answers)) == [0, 1, 0, 2, 1, 3, 0, 2, 1, 3, 4]
    assert asyncio.run(grader.group([])) == []


def test_the_worker_makes_no_noise() -> None:
    """math-verify logs what it gives up on, and parsers write where they like."""
    noise = "import logging, sys; print(1); sys.stderr.write('2'); logging.warning('3')"
    script = f"from verifier import answers; answers._prepare(); {noise}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"", b"")
