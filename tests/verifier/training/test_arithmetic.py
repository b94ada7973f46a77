"""Stated arithmetic: true, false, or not to be told."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from verifier.training.arithmetic import equations, mentioned, results


def verdicts(text: str) -> list[bool | None]:
    return [equation.holds for equation in equations(text)]


@pytest.mark.parametrize(
    "text",
    [
        "Natalia sold 48/2 = 24 clips in May.",
        r"\[ 500 \text{ seeds} - (45 + 61) = 394 \text{ flowers} \]",
        r"so she pays \(\$12.00 + \$25 = \$37.00\).",
        r"\[ \frac{110}{5} = 22 \text{ rounds} \]",
        "First find 15 rows * 10 cars/row = 150 cars",
        "In total there are 1,000 x 30/100 = 300 people.",
        "- 5 + 3 = 8",
        "1. 5 + 3 = 8",
        "Subtract what he gave to her: 8 - 3 = 5, which is left.",
        "so that is 20% of 50 = 10",
        "3/4 = 75%",
        "10 / 3 = 3.33",
        "5 / 3 = 1.66",
        r"\frac{500}{9} \approx 55.55",
        "30 = 5 * 6",
    ],
)
def test_true_equations_hold(text: str) -> None:
    assert [True] == verdicts(text)


@pytest.mark.parametrize(
    "text",
    [
        r"\[ \text{Total} = 80 \text{ seeds} + 16 \text{ seeds} = 106 \text{ seeds} \]",
        r"Subtract the discount: \( 300 - 21 = 179 \).",
        "He finds 26 + 22 + 17 = 67 of them.",
        r"\[ \frac{1,000,000}{2} = 5,000,000 \text{ tokens} \]",
        r"\text{discounted} = 13.00 \times 0.75 = 11.25",
        "3000 grams + 2980 grams = 6980 grams",
        "20% of 50 = 15",
        "so $3.99 x 5 = $20.05",
        "10 / 3 = 3.5",
        "3 * 4 + 5 = 13 + 5",
    ],
)
def test_false_equations_are_found(text: str) -> None:
    assert False in verdicts(text)


@pytest.mark.parametrize(
    "text",
    [
        "x + 3 = 9",
        "2x + 3 = 9",
        "2ab + 3 = 9",
        "Cost + 5 = 9",
        "2 hours = 120 minutes",
        "7 hours - 220 minutes = 200 minutes",
        "$5 + 50 cents = $5.50",
        "25 cents = 45 cents",
        "1/4 = 15 sheep",
        "80 + 10% = 88",
        "17 / 3 = 5 boxes",
        "0.33 * 60 = 20",
        "6 / 1/2 = 12",
        "5 * 3 = 15 million + 2",
        "half of 20 + 5 = 15",
        "twice 3 + 4 = 10",
        "2 + 3 = 5x",
        "|3 - 5| + 1 = 3",
        r"\sqrt{9} + 2 = 5",
        "f(3 + 4) + 1 = 12",
        r"\frac{y-4}{0-4} = -2",
        r"101_2 + 1 = 6",
    ],
)
def test_where_there_is_doubt_nothing_is_said_to_be_false(text: str) -> None:
    assert False not in verdicts(text)


def test_each_link_of_a_chain_is_judged() -> None:
    text = r"\[ 240 + 0.20 \times 240 = 240 + 48 = 328 \]"
    assert [True, False] == verdicts(text)


def test_a_chain_may_go_on_in_the_next_line() -> None:
    text = "\\begin{align*} K &= 3 \\cdot 4 + 2 \\\\\n&= 12 + 2 \\\\\n&= 15 \\end{align*}"
    assert [None, True, False] == verdicts(text)


def test_an_equals_sign_may_only_lead_to_the_next_calculation() -> None:
    text = "She has 2 + 3 = 5 * 4 = 20 apples."
    assert [None, True] == verdicts(text)


def test_a_mismatch_within_a_running_total_is_left_open() -> None:
    text = "2 * 60 = 120 + 3 * 12 = 36"
    assert [None, None] == verdicts(text)


INTEGERS = st.integers(1, 2000)


@settings(deadline=None)
@given(INTEGERS, INTEGERS, st.sampled_from("+-*"), st.integers(-50, 50))
def test_printed_equations_are_judged_rightly(one: int, other: int, sign: str, off: int) -> None:
    outcome = {"+": one + other, "-": one - other, "*": one * other}[sign]
    written = sign.replace("*", "\\times")
    assume(outcome + off not in (one, other))

    assert [off == 0] == verdicts(
        f"So he has \\({one} {written} {other} = {outcome + off}\\) left."
    )


@settings(deadline=None)
@given(INTEGERS, st.integers(2, 60), st.integers(-9, 9))
def test_exact_quotients_are_judged_rightly(outcome: int, divisor: int, off: int) -> None:
    assert [off == 0] == verdicts(f"\\frac{{{outcome * divisor}}}{{{divisor}}} = {outcome + off}")


@settings(deadline=None)
@given(st.integers(1, 5000), st.integers(1, 400))
def test_a_quotient_may_be_rounded_or_cut_to_any_places(one: int, other: int) -> None:
    assert [True] == verdicts(f"{one} / {other} = {one / other:.2f}")
    assert [True] == verdicts(f"{one} / {other} = {one * 100 // other / 100:.2f}")


def test_results_are_right_hand_sides_or_a_lone_statement() -> None:
    assert [12, 7] == results("He had 3 * 4 = 12 and then 12 - 5 = 7 left.")
    assert [12] == results("So she has 12 apples.")
    assert [] == results("Add the 12 apples to the 5 pears.")
    assert [] == results("Now we add them up.")


def test_mentioned_are_digits_words_and_partial_results() -> None:
    found = mentioned("Half of the twelve went. 17 - 5 - 3 = 9")
    assert {Fraction(1, 2), 12, 17, 5, 3, 9, 14, 8} == found
