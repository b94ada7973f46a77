"""An evaluation as one line of JSON, and as tables that tell losses like wins."""

from __future__ import annotations

import json
from io import StringIO

import numpy as np
from rich.console import Console

from verifier.training.metrics import Figure
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
    tables,
)

MARKS = Marks.of([("b", True, 0.9), ("a", False, 0.4), ("b", True, 0.8)])
LOSS = Figure(-0.031234, -0.05, 0.0)
CHOICES = (
    Choice("majority", Figure(0.4, 0.3, 0.5), Figure(0.0, 0.0, 0.0)),
    Choice("best_by_value_last", Figure(0.368766, 0.3, 0.45), LOSS),
)
PROCESS = ProcessReport(
    kind="process",
    file="process.jsonl",
    solutions=2,
    wrong=0,
    at_threshold=FirstError(0.5, None, None, Figure(1.0, 1.0, 1.0)),
    best_on_this_file=FirstError(0.25, Figure(0.479, 0.4, 0.55), None, None),
    correct=Quality.of(MARKS),
    paths=Paths(((0.9, 0.8), (0.4,)), np.array([-1, -1])),
)
ROLLOUTS = RolloutReport(
    kind="rollouts",
    file="rollouts.jsonl",
    solutions=16,
    right=6,
    without_steps=3,
    value=Quality.of(MARKS),
    last_value=Quality.of(Marks.of([])),
    selection=Selection(8, 2, 5, CHOICES),
)
EVALUATION = Evaluation("judge:small", 0.5, (PROCESS, ROLLOUTS))


def shown() -> str:
    console = Console(width=120, file=StringIO(), record=True)
    console.print(*tables(EVALUATION))
    return console.export_text()


def test_rows_of_a_question_share_its_number() -> None:
    assert [1, 0, 1] == MARKS.questions.tolist()
    assert ([1, 0, 1], [0.9, 0.4, 0.8]) == (MARKS.labels.tolist(), MARKS.scores.tolist())


def test_the_json_is_one_line_of_figures_without_the_data_behind_them() -> None:
    line = EVALUATION.as_json()
    process, rollouts = json.loads(line)["files"]

    assert "\n" not in line
    assert {"value": -0.0312, "low": -0.05, "high": 0.0} == (
        rollouts["selection"]["choices"][1]["over_majority"]
    )
    assert process["at_threshold"]["f1"] is None
    assert {"steps", "roc_auc", "brier", "ece"} == process["correct"].keys()
    assert "paths" not in process


def test_a_loss_is_told_with_its_sign_and_interval() -> None:
    (row,) = [line for line in shown().splitlines() if "best by value last" in line]

    assert ["best by value last", "36.9", "30.0 to 45.0", "-3.1", "-5.0 to +0.0"] == [
        cell.strip() for cell in row.strip("│").split("│")
    ]


def test_tables_tell_what_is_missing_and_what_was_left_out() -> None:
    text = shown()

    assert "process.jsonl: 2 solutions, 0 with a wrong step" in text
    assert "at threshold 0.25, best here: F1, %" in text
    assert "5 questions with fewer solutions are left out" in text
    assert "3 solutions have no steps" in text
    assert "–" in text
