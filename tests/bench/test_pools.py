"""Fewer samples out of a recording: what they cost, how often they are right, in the mean."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from bench_solving import path, solve
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.report.board import Board, Unit
from bench.report.pools import CHOOSERS, Pool, curve, drawn, largest, matched, pools


def pool(right: list[bool], tokens: list[int], answers: list[int] | None = None) -> Pool:
    size = len(right)
    return Pool(
        right=np.array(right),
        answers=np.array(answers if answers is not None else [int(each) for each in right]),
        values=np.linspace(0.9, 0.1, size),
        lasts=np.linspace(0.1, 0.9, size),
        generated=np.array(tokens, float),
        verifying=np.full(size, 3.0),
        prompt=50.0,
    )


pooled = st.integers(1, 8).flatmap(
    lambda size: st.builds(
        pool,
        st.lists(st.booleans(), min_size=size, max_size=size),
        st.lists(st.integers(1, 500), min_size=size, max_size=size),
        st.lists(st.integers(-1, 3), min_size=size, max_size=size),
    )
)


def test_the_best_is_chosen_by_the_mean_of_its_values_or_by_the_last() -> None:
    held = pool([True, False, False], [10, 10, 10])

    chosen = {name: drawn(held, name, "generated", n=3)[0] for name in CHOOSERS}

    assert (1.0, 0.0) == (chosen["best"], chosen["best last"])


@given(
    pooled,
    st.floats(0, 6000),
    st.sampled_from(CHOOSERS),
    st.sampled_from(("generated", "computed")),
)
@settings(max_examples=150, deadline=None)
def test_a_budget_is_kept_in_the_mean_as_far_as_samples_are_whole(
    held: Pool, budget: float, chooser: str, of: str
) -> None:
    right, tokens, taken = drawn(held, chooser, of, budget=budget)  # type: ignore[arg-type]

    cost = held.cost(chooser, of)  # type: ignore[arg-type]
    fixed = held.prompt if of == "computed" else 0.0
    least, most = fixed + cost.min(), fixed + cost.sum()
    assert 0 <= right <= 1
    assert 1 <= taken <= len(cost)
    assert least <= tokens + 1e-6
    assert tokens <= most + 1e-6
    if fixed + cost.max() <= budget <= most:
        assert tokens == pytest.approx(budget, abs=cost.max() / 3)


def test_all_samples_are_what_the_arm_itself_had() -> None:
    held = pool([True, False, True, False, False], [10, 20, 30, 40, 50], [1, 0, 1, 0, 2])

    assert (0.5, 150.0, 5.0) == drawn(held, "vote", "generated", n=5)
    assert (1.0, 150.0 + 50 + 15, 5.0) == drawn(held, "best", "computed", n=5)
    assert 1.0 == drawn(held, "weighted vote", "generated", n=5)[0]


def test_a_vote_of_fewer_comes_to_what_all_such_votes_come_to_in_the_mean() -> None:
    rights = [True, True, False, False, False]
    held = pool(rights, [1] * 5, [1, 1, 0, 2, 3])
    exact = np.mean(
        [_vote([held.answers[i] for i in three]) for three in combinations(range(5), 3)]
    )

    found = drawn(held, "vote", "generated", n=3)[0]

    assert found == pytest.approx(exact, abs=0.12)


def test_a_number_between_two_is_a_lot_between_them() -> None:
    held = pool([True] * 4, [10] * 4)

    assert (25.0, 2.5) == drawn(held, "vote", "generated", n=2.5)[1:]


def test_samples_without_an_answer_have_no_vote_but_cost_their_tokens() -> None:
    held = pool([False, False, True], [10, 10, 10], [-1, -1, 1])

    assert (1.0, 30.0, 3.0) == drawn(held, "vote", "generated", n=3)


def test_the_control_costs_in_the_mean_what_the_arm_cost() -> None:
    solves = [
        solve("ten", q, [path("7" if s % 3 else "8", sample=s, tokens=10) for s in range(10)])
        for q in range(6)
    ]
    solves += [solve("ours", q, [path("7", tokens=15 + 10 * (q % 2))]) for q in range(6)]
    board = Board.of(solves)

    assert "ten" == largest(board)
    rows = matched(board, "ten", pools(board, "ten"))

    assert {"ours"} == {row.arm for row in rows}
    for row in rows:
        if row.of == "generated":
            assert row.spent == pytest.approx(20, abs=0.5)
            assert row.n == pytest.approx(2, abs=0.05)


def test_samples_that_are_used_up_are_told() -> None:
    solves = [solve("two", q, [path("7"), path("8", sample=1)]) for q in range(3)]
    solves += [solve("dear", q, [path("7", tokens=500)]) for q in range(3)]
    board = Board.of(solves)

    (row, *_) = matched(board, "two", pools(board, "two"))

    assert (3, 20.0, 500.0) == (row.short, row.spent, row.budget)


def test_a_curve_has_a_point_for_every_number_of_samples() -> None:
    whole = solve("arm", 0, [path("7", sample=s) for s in range(4)])

    points = curve(pools(Board.of([whole]), "arm"), "vote")

    assert [10.0, 20.0, 30.0, 40.0] == [point.generated for point in points]
    assert [30.0, 40.0, 50.0, 60.0] == [point.computed for point in points]


def test_paths_that_were_revised_are_no_samples() -> None:
    whole = solve("arm", 0, [path("8"), path("7", round=1)])

    assert largest(Board.of([whole])) is None
    assert {} == pools(Board.of([whole]), "arm")
    assert Unit("sums", "0", 0) in Board.of([whole]).arms["arm"]


def test_a_sample_that_the_verifier_could_not_read_is_worth_nothing_and_has_its_vote() -> None:
    samples = [path("8", sample=0), path("7", sample=1), path("8", sample=2, value=None)]
    (held,) = pools(Board.of([solve("arm", 0, samples)]), "arm").values()

    assert 0.0 == held.values[2] == held.lasts[2]
    assert held.answers[0] == held.answers[2] >= 0


def _vote(answers: list[int]) -> float:
    """One of the winners by lot; answer 1 is right."""
    counts = {answer: answers.count(answer) for answer in answers}
    winners = [answer for answer, count in counts.items() if count == max(counts.values())]
    return (1 in winners) / len(winners)
