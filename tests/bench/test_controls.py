"""Ceilings and flips, and what revisions began at and came to."""

from __future__ import annotations

from bench_solving import path, solve

from bench.report.board import Board, Unit
from bench.report.controls import Controls, Revision, controls, revisions
from bench.solves import Solve
from verifier.training.metrics import Figure

FINE, FALSE, ON, ON_WELL = "3 + 4 = 7.", "2 + 2 = 5.", "5 + 3 = 8.", "4 + 3 = 7."


def of(*solves: Solve) -> Controls:
    (found,) = controls(Board.of(solves))
    return found


def value(figure: Figure | None) -> float | None:
    return None if figure is None else figure.value


def test_flips_are_counted_from_the_draft_to_the_answer() -> None:
    right, wrong = path("7"), path("8")
    again_right, again_wrong = path("7", round=1), path("8", round=1)

    found = of(
        solve("arm", 0, [right, again_wrong]),
        solve("arm", 1, [right]),
        solve("arm", 2, [wrong, again_right]),
        solve("arm", 3, [wrong, again_wrong]),
        solve("arm", 4, [wrong]),
    )

    assert (0.5, 0.2, 1 / 3) == tuple(
        value(each) for each in (found.broken, found.broken_of_all, found.mended)
    )


def test_an_oracle_selects_any_right_path_and_leaves_right_drafts_alone() -> None:
    right, wrong = path("7"), path("8")

    found = of(
        solve("arm", 0, [right, path("8", sample=1)]),
        solve("arm", 1, [wrong, path("7", sample=1)], chosen=0),
        solve("arm", 2, [wrong]),
        solve("arm", 3, [right]),
    )

    assert (0.75, 0.5) == (value(found.oracle_selector), value(found.oracle_gate))


def test_of_wrong_answers_those_without_a_right_path_are_hopeless() -> None:
    wrong = path("8")

    found = of(
        solve("arm", 0, [path("7")]),
        solve("arm", 1, [wrong, path("7", sample=1)], chosen=0),
        solve("arm", 2, [wrong, path("9", sample=1)]),
    )

    assert 0.5 == value(found.hopeless)


def test_nothing_is_said_of_what_did_not_happen() -> None:
    found = of(solve("arm", 0, [path("7")]))

    assert (None, None, None) == (found.mended, found.hopeless, found.oracle_locator)


def test_a_revision_is_set_against_the_path_it_was_made_from() -> None:
    draft = path("8", FINE, FALSE, ON)
    first = path("8", FINE, "4 + 5 = 10.", round=1, kept=1)
    second = path("7", FINE, ON_WELL, round=2, kept=1)
    whole = solve("arm", 0, [draft, first, second])

    made = revisions(Board.of([whole]), "arm")

    unit = Unit("sums", "0", 0)
    assert [
        Revision(unit, 1, step=2, steps=3, before=False, after=False, error=2),
        Revision(unit, 2, step=2, steps=2, before=False, after=True, error=2),
    ] == made


def test_candidates_of_one_round_are_each_made_from_the_draft() -> None:
    draft = path("8", FINE, FALSE)
    one = path("8", FINE, "4 + 4 = 8.", round=1, kept=1, sample=1)
    two = path("7", FINE, ON_WELL, round=1, kept=1, sample=2)

    made = revisions(Board.of([solve("arm", 0, [draft, one, two])]), "arm")

    assert [(False, False), (False, True)] == [(each.before, each.after) for each in made]
    assert {2} == {each.steps for each in made}


def test_the_oracle_locator_is_as_good_as_revisions_that_began_at_the_error() -> None:
    """One of two such revisions mended the path; two more wrong drafts could have been found."""
    draft = path("8", FINE, FALSE)
    mended, not_so = path("7", FINE, ON_WELL, round=1, kept=1), path("8", FINE, ON, round=1, kept=1)

    found = of(
        solve("arm", 0, [draft, mended]),
        solve("arm", 1, [draft, not_so]),
        solve("arm", 2, [draft, path("8", FALSE, round=1)]),
        solve("arm", 3, [path("8", FINE)]),
        solve("arm", 4, [path("7", FINE)]),
    )

    assert 2 == found.located
    assert (3 * 0.5 + 0 + 1) / 5 == value(found.oracle_locator)
