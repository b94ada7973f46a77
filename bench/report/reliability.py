"""Whether the verifier's word can be taken: `value` at a path's last step against its outcome.

Over every graded path of all arms, drafts and revisions apart; a path that several arms have seen
counts once. To judge `correct` takes marked errors, which `surefoot verifier evaluate` is given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bench.report.board import Board
from bench.solves import Seen
from verifier.training.report import Marks, Quality

KINDS = {"drafts": False, "revisions": True}


@dataclass(frozen=True, slots=True)
class Reliability:
    """Of the paths of one kind; `right` is the share of them that are."""

    kind: str
    paths: int
    right: float
    quality: Quality


def reliability(board: Board) -> list[Reliability]:
    return [
        Reliability(kind, len(marks.labels), float(marks.labels.mean()), Quality.of(marks))
        for kind, revised in KINDS.items()
        if len((marks := Marks.of(_rows(board, revised).values())).labels)
    ]


def _rows(board: Board, revised: bool) -> Mapping[object, tuple[str, float, float]]:
    rows: dict[object, tuple[str, float, float]] = {}
    for solve in board.solves:
        paths = solve.solution.trace.paths if solve.solution else ()
        for path, right in zip(paths, solve.paths_right, strict=False):
            value = _last(path)
            if value is not None and (path.round > 0) == revised:
                question = f"{solve.dataset}\n{solve.question_id}"
                key = question, tuple(step.text for step in path.steps)
                rows[key] = question, float(right), value
    return rows


def _last(path: Seen) -> float | None:
    score = path.steps[-1].score if path.steps else None
    return None if score is None else score.value
