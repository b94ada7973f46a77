"""Which prefixes are worth more rollouts."""

from __future__ import annotations

import pytest

from verifier import steps
from verifier.scoring import Score, Verdict
from verifier.training.data import Question, Rollout
from verifier.training.tree import branches


def rollout(*cut: str, of: str = "one", given: int = 0) -> Rollout:
    begun = f"{steps.join(cut[:given])}\n{steps.label(given + 1)}" if given else steps.OPENING
    return Rollout(
        question_id=of,
        question=f"{of}?",
        policy="p",
        temperature=0.8,
        text=steps.join(cut),
        begun=begun,
        answer="1",
        gold="1",
        correct=True,
        completion_tokens=9,
        finish_reason="stop",
    )


def verdict(*scores: float | tuple[float, float]) -> Verdict:
    pairs = [score if isinstance(score, tuple) else (score, score) for score in scores]
    return Verdict(tuple(Score(*pair) for pair in pairs))


def chosen(rows: list[tuple[Rollout, Verdict]], most: int = 9) -> list[tuple[str, tuple[str, ...]]]:
    rollouts, verdicts = zip(*rows, strict=True)
    return [(row.id, row.steps) for row in branches(rollouts, verdicts, most)]


def test_a_branch_is_the_question_with_the_steps_to_go_on_from() -> None:
    (row,) = branches([rollout("a", "b")], [verdict(0.5, 0.9)], 9)

    assert Question(id="one", question="one?", answer="1", steps=("a",)) == row


def test_where_the_verifier_is_least_sure_comes_first() -> None:
    path = rollout("a", "b", "c", "d"), verdict((0.99, 0.9), (0.99, 0.8), (0.97, 0.55), 0.5)
    assert [("one", ("a", "b", "c")), ("one", ("a", "b"))] == chosen([path])


def test_doubt_about_correctness_counts_like_doubt_about_value() -> None:
    path = rollout("a", "b", "c"), verdict((0.5, 0.01), (0.9, 0.01), (0.9, 0.01))
    assert ("one", ("a",)) == chosen([path])[0]


def test_a_fall_is_looked_at_from_both_sides() -> None:
    path = rollout("a", "b", "c", "d", "e"), verdict(0.98, 0.97, 0.03, 0.02, 0.01)
    assert {("one", ("a", "b")), ("one", ("a", "b", "c"))} == set(chosen([path]))


def test_every_question_has_its_best_before_any_has_its_second() -> None:
    rows = [
        (rollout("a", "b", "c"), verdict(0.5, 0.5, 0.9)),
        (rollout("d", "b", "c"), verdict(0.5, 0.5, 0.9)),
        (rollout("e", "f", of="two"), verdict(0.9, 0.9)),
    ]
    assert ["one", "two", "one"] == [name for name, _ in chosen(rows, most=3)]
    assert 5 == len(chosen(rows))


def test_a_prefix_is_chosen_once_at_the_most_it_is_worth() -> None:
    rows = [
        (rollout("a", "b"), verdict(0.9, 0.9)),
        (rollout("a", "c"), verdict(0.5, 0.9)),
        (rollout("d", "c"), verdict(0.6, 0.9)),
    ]
    assert [("one", ("a",)), ("one", ("d",))] == chosen(rows)


@pytest.mark.parametrize(
    "path",
    [
        rollout("a"),
        rollout("So \\boxed{1}", "b"),
        rollout("a", "b", given=1),
    ],
)
def test_neither_ends_nor_what_was_given_are_branched(path: Rollout) -> None:
    assert [] == chosen([(path, verdict(*[0.5] * len(steps.split(path.text))))])
