"""All that a run came to, as one tree of figures; and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from bench.report.board import ArmFigures, Board, Difference, differences, measured
from bench.report.controls import Controls, Revision, controls, revisions
from bench.report.pools import CHOOSERS, Matched, Point, curve, largest, matched, pools
from bench.report.reliability import Reliability, reliability
from bench.solves import Solve

DRAWN = {"marks"}  # what plots are made of; left out of the JSON


@dataclass(frozen=True, slots=True)
class Found:
    """`curves`: voting and choosing among fewer samples of the arm `pool`."""

    model: str
    verifier: str
    questions: int
    board: Board
    arms: Sequence[ArmFigures]
    differences: Sequence[Difference]
    controls: Sequence[Controls]
    revisions: dict[str, list[Revision]]
    pool: str | None
    curves: dict[str, list[Point]]
    matched: Sequence[Matched]
    reliability: Sequence[Reliability]

    def as_json(self) -> str:
        """One line; a figure that could not be had is null."""
        told = {
            "model": self.model,
            "verifier": self.verifier,
            "questions": self.questions,
            "datasets": self.board.datasets,
            "pool": self.pool,
        }
        for name in ("arms", "differences", "controls", "matched", "reliability"):
            told[name] = [asdict(each, dict_factory=_plain) for each in getattr(self, name)]
        told["curves"] = {
            name: [asdict(point, dict_factory=_plain) for point in points]
            for name, points in self.curves.items()
        }
        return json.dumps(told)


def found(solves: Iterable[Solve]) -> Found:
    board = Board.of(solves)
    answered = [solve.solution for solve in board.solves if solve.solution]
    pool = largest(board)
    held = pools(board, pool) if pool else {}
    return Found(
        model=answered[0].model if answered else "",
        verifier=(answered[0].verifier or "") if answered else "",
        questions=len({(s.dataset, s.question_id) for s in board.solves}),
        board=board,
        arms=measured(board),
        differences=differences(board),
        controls=controls(board),
        revisions={arm: made for arm in board.arms if (made := revisions(board, arm))},
        pool=pool,
        curves={chooser: curve(held, chooser) for chooser in CHOOSERS} if held else {},
        matched=matched(board, pool, held) if pool else [],
        reliability=reliability(board),
    )


def _plain(pairs: list[tuple[str, object]]) -> dict[str, object]:
    return {
        name: round(part, 5) if isinstance(part, float) else part
        for name, part in pairs
        if name not in DRAWN
    }
