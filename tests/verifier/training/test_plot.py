"""A PNG of as many panels as there is data for."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from verifier.training.metrics import Figure
from verifier.training.plot import plot
from verifier.training.report import (
    Choice,
    Evaluation,
    FirstError,
    Marks,
    Paths,
    ProcessReport,
    Quality,
    RolloutReport,
    Selection,
)

SHARE = Figure(0.6, 0.5, 0.7)
MARKS = Marks.of([("a", True, 0.9), ("a", False, 0.4), ("b", True, 1.0), ("b", False, 0.0)])
ONE_SIDED = Marks.of([("a", True, 0.9)])
NOTHING = Marks.of([])
ROW, SQUARE = (1890, 645), (1440, 1230)


def process(marks: Marks = MARKS) -> ProcessReport:
    return ProcessReport(
        kind="process",
        file="process.jsonl.gz",
        solutions=2,
        wrong=1,
        at_threshold=FirstError(0.5, SHARE, SHARE, SHARE),
        best_on_this_file=FirstError(0.4, SHARE, SHARE, SHARE),
        correct=Quality.of(marks),
        paths=Paths(((0.9, 0.4), (1.0, 0.8)), np.array([1, -1])),
    )


def rollouts(marks: Marks = MARKS, *choices: Choice) -> RolloutReport:
    return RolloutReport(
        kind="rollouts",
        file="rollouts.jsonl",
        solutions=4,
        right=2,
        without_steps=0,
        value=Quality.of(marks),
        last_value=Quality.of(marks),
        selection=Selection(2, 2, 0, choices),
    )


CHOSEN = rollouts(MARKS, Choice("random", SHARE, SHARE), Choice("best_by_value_last", SHARE, None))


def drawn(folder: Path, *files: ProcessReport | RolloutReport) -> tuple[int, int]:
    """The size of the picture in pixels, from its header."""
    plot(Evaluation("scripted", 0.5, files), folder / "plot.png")
    head = (folder / "plot.png").read_bytes()[:24]
    assert head.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", head[16:])
    return width, height


@pytest.mark.parametrize(
    ("files", "size"),
    [
        ([process()], ROW),
        ([CHOSEN, CHOSEN], ROW),
        ([process(), CHOSEN, process()], SQUARE),
    ],
)
def test_one_kind_of_file_makes_a_row_and_both_make_a_square(
    tmp_path: Path, files: list[ProcessReport | RolloutReport], size: tuple[int, int]
) -> None:
    assert size == drawn(tmp_path, *files)


def test_what_has_no_curve_is_left_out_without_a_warning(tmp_path: Path) -> None:
    """One file's steps are all right, so they have no ROC curve; the other's has no steps."""
    assert SQUARE == drawn(tmp_path, process(ONE_SIDED), rollouts(NOTHING))


def test_other_figures_make_another_picture(tmp_path: Path) -> None:
    better = rollouts(MARKS, Choice("random", Figure(0.9, 0.8, 1.0), None))

    drawn(tmp_path, CHOSEN)
    before = (tmp_path / "plot.png").read_bytes()
    drawn(tmp_path, better)

    assert before != (tmp_path / "plot.png").read_bytes()
