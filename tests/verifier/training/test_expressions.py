"""What is read as arithmetic, and what is left alone."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verifier.training.expressions import numbers, segments, value


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("48/2", 24),
        ("16 - 3 - 4", 9),
        ("2 + 3 * 4", 14),
        ("(2 + 3) * 4", 20),
        ("2(3 + 4)", 14),
        ("10 – 2 − 1", 7),
        ("5 × 4 ÷ 2", 10),
        ("5 x 4", 20),
        ("$5 * 3", 15),
        (r"\$1,200 + \$300", 1500),
        (r"60,\!000 \div 3", 20_000),
        (r"\frac{10}{4} \cdot 2", 5),
        (r"\dfrac{3 + 5}{2}", 4),
        (r"\frac12 + \frac 34", Fraction(5, 4)),
        (r"2\frac{1}{2}", Fraction(5, 2)),
        (r"2^{3} + 3^2 + 2²", 21),
        (r"2 \text{ bags} \times 3 \text{ apples per bag}", 6),
        ("15 rows * 10 cars/row", 150),
        ("24-hour day * 7 days", 168),
        ("20% of 50", 10),
        ("3/4 of 20", 15),
        ("-5 + 2", -3),
        (r"\left( 1 + 2 \right) \cdot 3", 9),
    ],
)
def test_a_plain_expression_has_its_value(expression: str, expected: int | Fraction) -> None:
    assert expected == value(expression)


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "total",
        "x + 3",
        "2x + 3",
        "2ab",
        "6 / 0",
        r"\sqrt{4} + 1",
        "3 +",
        "(3 + 4]",
        "2 million * 3",
        "5:30 - 2:00",
        "1st + 2nd",
        "0900 - 0130",
        "9^9^9^9",
        "1 and 2",
        "9" * 5000,
        "+".join("1" * 100),
    ],
)
def test_what_is_not_plainly_arithmetic_has_no_value(expression: str) -> None:
    assert value(expression) is None


def test_numbers_know_where_they_stand_and_what_they_were_rounded_to() -> None:
    text = "She paid $1,250.50 for .5 of 3 lots."
    found = numbers(text)

    assert ["1,250.50", ".5", "3"] == [text[slice(*number.span)] for number in found]
    assert [Fraction("1250.5"), Fraction("0.5"), 3] == [number.value for number in found]
    assert [True, False] == [found[0].states(Fraction(v)) for v in ("1250.504", "1250.52")]
    assert [True, False] == [found[2].states(Fraction(v)) for v in ("3", "3.1")]


def test_partial_results_of_a_sum_are_known_in_any_order() -> None:
    (segment,) = segments("17 - 5 - 3")
    assert {9, 12, 14, 8} == segment.side().parts


ATOMS = st.integers(0, 5000)


@st.composite
def expressions(draw: st.DrawFn, depth: int = 3) -> tuple[str, Fraction]:
    """An expression as a policy may write it, and its value."""
    if depth == 0 or draw(st.booleans()):
        number = draw(ATOMS)
        return draw(st.sampled_from([str(number), f"{number:,}", f"${number}"])), Fraction(number)
    left, one = draw(expressions(depth - 1))
    right, other = draw(expressions(depth - 1))
    sign = draw(st.sampled_from("+-*"))
    written = {"+": "+", "-": draw(st.sampled_from("-–−")), "*": draw(st.sampled_from(["*", "×"]))}
    outcome = {"+": one + other, "-": one - other, "*": one * other}[sign]
    return f"({left} {written[sign]} {right})", outcome


@settings(deadline=None)
@given(expressions())
def test_what_is_written_is_read_back(expression: tuple[str, Fraction]) -> None:
    text, outcome = expression
    assert outcome == value(text)


FRAGMENTS = st.sampled_from(
    [*"0123456789+-*/x×=^%$(){}[].,:;!\n ", "\\frac", "\\text{", "\\times", " apples ", "**", "of"]
)


@settings(deadline=None)
@given(st.lists(FRAGMENTS, max_size=60).map("".join) | st.text(max_size=80))
def test_any_text_is_cut_and_none_of_it_raises(text: str) -> None:
    for segment in segments(text):
        assert len(segment.side().values) <= 2
