"""A corrupted path: right up to one step, wrong from it on, and else beyond reproach."""

from __future__ import annotations

import re
from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from verifier.answers import extract
from verifier.training.arithmetic import equations
from verifier.training.corruption import corruptions
from verifier.training.examples import Example


def path_of(question: str, cut: tuple[str, ...], correct: tuple[float | None, ...]) -> Example:
    return Example(
        question_id="id",
        question=question,
        steps=cut,
        correct=correct,
        value=(1.0,) * len(cut),
        source="rollout",
    )


def right(question: str, *cut: str) -> Example:
    return path_of(question, cut, (1.0,) * len(cut))


PENS = right(
    "A shop gets 4 boxes of 30 pens and 25 crates of 60 pens every month. How many in a year?",
    "In boxes there are \\(4 \\text{ boxes} \\times 30 = 120\\) pens.",
    "Multiply the crates by the pens in each. There are 1,500 pens because 25 * 60 = 1,500.",
    "Add the 120 pens and the 1,500 pens:\n\\[ 1,500 + 120 = 1,620 \\]",
    "Over the months of a year it is 1,620 * 12 = 19,440.\nAnswer: \\boxed{19440}",
)


def drawn(path: Example, times: int = 300) -> list[Example]:
    found = (corruptions(path, Random(seed)) for seed in range(times))
    return [one for one in found if one is not None]


def first_wrong(example: Example) -> int:
    return example.correct.index(0.0)


def is_loose(example: Example, source: Example) -> bool:
    """Whether nothing follows from the change."""
    at = first_wrong(example)
    return example.steps[at + 1 :] == source.steps[at + 1 :]


def test_a_change_is_carried_on_to_the_answer() -> None:
    found = {one.steps for one in drawn(PENS)}
    assert (
        PENS.steps[0],
        "Add the crates by the pens in each. There are 85 pens because 25 + 60 = 85.",
        "Add the 120 pens and the 85 pens:\n\\[ 85 + 120 = 205 \\]",
        "Over the months of a year it is 205 * 12 = 2,460.\nAnswer: \\boxed{2460}",
    ) in found
    assert (
        *PENS.steps[:2],
        "Subtract the 120 pens and the 1,500 pens:\n\\[ 1,500 - 120 = 1,380 \\]",
        "Over the months of a year it is 1,380 * 12 = 16,560.\nAnswer: \\boxed{16560}",
    ) in found
    assert (
        *PENS.steps[:3],
        "Over the months of a year it is 1,620 * 10 = 16,200.\nAnswer: \\boxed{16200}",
    ) in found


def test_every_step_and_every_kind_gets_its_turn() -> None:
    found = drawn(PENS)
    texts = "\n".join(step for one in found for step in one.steps)
    assert {0, 1, 2, 3} == set(map(first_wrong, found))
    assert "25 + 60 = 85" in texts  # another operation
    assert re.search(r"25 \* (4|30) =|(4|30) \* 60 =", texts)  # another number of the question
    assert re.search(r"25 \* 60 = (?!1,500)", texts)  # another result
    assert any(is_loose(one, PENS) and first_wrong(one) < 3 for one in found)


def test_what_is_named_before_it_is_computed_changes_with_it() -> None:
    found = [one.steps[1] for one in drawn(PENS) if not is_loose(one, PENS)]
    assert all("There are 85 pens because" in step for step in found if "+ 60 = 85" in step)


def test_words_follow_the_operation() -> None:
    for one in drawn(PENS):
        step = one.steps[1]
        assert step.startswith("Multiply" if " * " in step else ("Add", "Divide"))


def test_the_manner_of_writing_stays() -> None:
    path = right("q", "He has $1,300.50 + $200.25 = $1,500.75.", "So \\boxed{1500.75}")
    for one in drawn(path):
        assert re.fullmatch(
            r"He has \$[\d,]+\.\d\d \S \$[\d,]+\.\d\d = \$(\d{1,3},?)+\.\d\d.", one.steps[0]
        )
        assert re.fullmatch(r"So \\boxed\{\d+\.\d+\}", one.steps[1])


def test_value_is_known_only_where_the_answer_changed() -> None:
    for one in drawn(PENS):
        same = extract(one.steps[-1]) == extract(PENS.steps[-1])
        assert (None, None, None, None if same else 0.0) == one.value


def test_a_number_with_two_meanings_is_not_carried_on() -> None:
    """The result 5 and the 5 friends cannot be told from each other in the last step."""
    path = right("10 euros, 5 of them spent, for 5 friends?", "10 - 5 = 5", "5 / 5 = 1")
    for one in drawn(path):
        assert first_wrong(one) == 1 or is_loose(one, path)


def test_an_equation_that_cannot_be_read_is_not_built_on_a_changed_number() -> None:
    path = right("q", "He has 3 * 8 = 24.", "So 24 - x = 4 + 24 y", "x + 24 = 44")
    for one in drawn(path):
        assert is_loose(one, path)


@pytest.mark.parametrize(
    "path",
    [
        right("q"),
        right("q", "Let us see.", "It is plain."),
        path_of("q", ("3 + 4 = 7",), (None,)),
        path_of("q", ("3 + 4 = 7", "b"), (1.0, 0.0)),
    ],
)
def test_a_path_with_nothing_to_change_or_not_known_to_be_right_is_left_alone(
    path: Example,
) -> None:
    assert corruptions(path, Random(0)) is None


def test_the_same_seed_draws_the_same() -> None:
    assert corruptions(PENS, Random(3)) == corruptions(PENS, Random(3))


def chain(start: int, moves: list[tuple[str, int]]) -> Iterator[str]:
    """Steps that go on from each other's results."""
    total = start
    for sign, number in moves:
        before = total
        total = {"+": total + number, "-": total - number, "*": total * number}[sign]
        yield f"Now there are {before} {sign} {number} = {total} apples."
    yield f"So that is it.\nAnswer: \\boxed{{{total}}}"


MOVES = st.tuples(st.sampled_from("+-*"), st.integers(2, 90))


@settings(deadline=None)
@given(
    st.integers(3, 99), st.lists(MOVES, min_size=1, max_size=5), st.integers(0, 99), st.booleans()
)
def test_it_is_equal_before_and_sound_behind(
    start: int, moves: list[tuple[str, int]], seed: int, asked: bool
) -> None:
    cut = tuple(chain(start, moves))
    source = right(f"Of {start} apples, {[n for _, n in moves]}?" if asked else "Well?", *cut)
    corrupted = corruptions(source, Random(seed))
    assume(corrupted is not None)
    assert corrupted
    at = first_wrong(corrupted)

    assert len(cut) == len(corrupted.steps)
    assert cut[:at] == corrupted.steps[:at]
    assert cut[at] != corrupted.steps[at]
    assert (1.0,) * at + (0.0,) + (None,) * (len(cut) - at - 1) == corrupted.correct
    assert "corruption" == corrupted.source
    later = [equation.holds for step in corrupted.steps[at + 1 :] for equation in equations(step)]
    assert all(later)


@settings(deadline=None)
@given(st.lists(st.text("0123456789+-*/= .,x$%{}\\n", max_size=40), max_size=3), st.integers(0, 9))
def test_nothing_raises_on_arbitrary_text(cut: list[str], seed: int) -> None:
    corrupted = corruptions(right("1, 2 and 30?", *cut), Random(seed))
    assert corrupted is None or len(cut) == len(corrupted.steps)
