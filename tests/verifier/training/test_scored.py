"""Paths scored a few batches at a time; what is kept is not asked for again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from verifier.scoring import Chain, Meter, Score, Verdict, VerifierError, unmetered
from verifier.training.data import DataError
from verifier.training.scored import AT_ONCE, score

CHAINS = [Chain("q", tuple("x" * (n + 1) for n in range(k))) for k in range(40)]


class Counting:
    """Scores a step by its length; fails once it has been asked about `most` paths."""

    def __init__(self, name: str = "counting", most: int = 1_000) -> None:
        self.name = name
        self.asked: list[Chain] = []
        self.at_once = self.busiest = 0
        self._most = most

    async def score(self, chains: Sequence[Chain], meter: Meter = unmetered) -> list[Verdict]:
        if len(self.asked) + len(chains) > self._most:
            raise VerifierError("down")
        self.asked += chains
        self.at_once += 1
        self.busiest = max(self.busiest, self.at_once)
        await asyncio.sleep(0.001 * (len(self.asked) % 3))
        self.at_once -= 1
        return [Verdict(tuple(map(scored, chain.steps))) for chain in chains]


def scored(step: str) -> Score:
    return Score(correct=1 / len(step), value=len(step) / 100)


def run(
    verifier: Counting, kept: Path | None = None, chains: Sequence[Chain] = CHAINS
) -> tuple[list[tuple[Score, ...]], list[tuple[int, int]]]:
    told: list[tuple[int, int]] = []
    progress = told.append
    found = asyncio.run(score(chains, verifier, kept, lambda *counts: progress(counts)))
    return found, told


EXPECTED = [tuple(map(scored, chain.steps)) for chain in CHAINS]


def test_every_path_gets_its_scores_in_order_from_a_few_batches_at_once() -> None:
    verifier = Counting()

    found, told = run(verifier)

    assert EXPECTED == found
    assert (39, 39) == told[-1]
    assert verifier.busiest == AT_ONCE


def test_a_path_of_no_steps_is_not_asked_about_and_a_path_that_comes_twice_once() -> None:
    verifier = Counting()

    found, _ = run(verifier, chains=[CHAINS[3], CHAINS[0], CHAINS[3]])

    assert [EXPECTED[3], (), EXPECTED[3]] == found
    assert [CHAINS[3]] == verifier.asked


def test_a_job_that_failed_goes_on_where_it_ended(tmp_path: Path) -> None:
    kept, failing, fresh = tmp_path / "kept.jsonl", Counting(most=20), Counting()

    with pytest.raises(VerifierError, match="down"):
        run(failing, kept)
    done = len(kept.read_text(encoding="utf-8").splitlines())
    found, told = run(fresh, kept)

    assert 0 < done <= 20
    assert EXPECTED == found
    assert len(fresh.asked) == 39 - done == told[-1][1]


def test_a_finished_job_is_read_again_without_the_verifier(tmp_path: Path) -> None:
    kept, idle = tmp_path / "kept.jsonl", Counting()
    run(Counting(), kept)

    found, told = run(idle, kept)

    assert (EXPECTED, []) == (found, told)
    assert idle.asked == []


def test_a_line_that_was_cut_off_is_scored_again(tmp_path: Path) -> None:
    kept, verifier = tmp_path / "kept.jsonl", Counting()
    run(Counting(), kept)
    kept.write_bytes(kept.read_bytes()[:-9])

    found, _ = run(verifier, kept)

    assert EXPECTED == found
    assert len(verifier.asked) == 1


def test_another_verifiers_scores_are_not_taken(tmp_path: Path) -> None:
    kept, other = tmp_path / "kept.jsonl", Counting("other")
    run(Counting(), kept)

    run(other, kept)

    assert len(other.asked) == 39


def test_a_file_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    kept = tmp_path / "kept.jsonl"
    kept.write_text('{"question": "q"}\n', encoding="utf-8")

    with pytest.raises(DataError, match="line 1: key"):
        run(Counting(), kept)


def test_a_verdict_of_the_wrong_length_is_refused() -> None:
    class Short(Counting):
        async def score(self, chains: Sequence[Chain], meter: Meter = unmetered) -> list[Verdict]:
            return [Verdict(()) for _ in chains]

    with pytest.raises(VerifierError, match="0 scores"):
        run(Short())
