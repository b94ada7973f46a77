"""`surefoot verifier` as a person runs it, on the scripted engine and its verifier."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SUREFOOT = str(Path(sys.executable).with_name("surefoot"))
QUESTIONS = [
    {"id": f"q{n}", "question": f"What is {n} plus {n + 1} plus 3?", "answer": str(2 * n + 4)}
    for n in range(5)
]


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = ["env", "SUREFOOT_ENGINE=scripted", SUREFOOT, "verifier", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    file = tmp_path / "questions.jsonl"
    file.write_text("".join(f"{json.dumps(row)}\n" for row in QUESTIONS))
    return file


@pytest.fixture
def drawn(tmp_path: Path, questions: Path) -> Path:
    out = tmp_path / "rollouts.jsonl"
    done = run("rollouts", questions, "--out", out, "--samples", "4")
    assert 0 == done.returncode, done.stderr
    return out


def rows(file: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_rollouts_are_drawn_graded_and_not_drawn_twice(drawn: Path, questions: Path) -> None:
    before = rows(drawn)

    again = run("rollouts", questions, "--out", drawn, "--samples", "5", "--limit", "3")

    assert 20 == len(before)
    assert all(row["certainties"] for row in before)
    assert {True, False} >= {row["correct"] for row in before}
    assert 23 == len(rows(drawn))
    assert "3/3" in again.stderr


def test_questions_that_are_excluded_are_left_alone(tmp_path: Path, questions: Path) -> None:
    excluded, out = tmp_path / "excluded.json", tmp_path / "out.jsonl"
    excluded.write_text('["q0", "q3"]')

    run("rollouts", questions, "--out", out, "--exclude", excluded, "--samples", "1")

    assert {"q1", "q2", "q4"} == {row["question_id"] for row in rows(out)}


def test_an_evaluation_ends_with_a_line_of_json(drawn: Path, tmp_path: Path) -> None:
    plot, scores = tmp_path / "plot.png", tmp_path / "scores.jsonl"

    done = run("evaluate", drawn, "--solutions", "4", "--plot", plot, "--scores", scores)

    assert 0 == done.returncode, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert ["rollouts.jsonl"] == [report["file"] for report in found["files"]]
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert len({json.dumps(row) for row in rows(scores)}) == len(rows(scores)) > 0


def test_prefixes_are_chosen_and_gone_on_from(drawn: Path, tmp_path: Path) -> None:
    branches, out = tmp_path / "branches.jsonl", tmp_path / "tree.jsonl"

    chosen = run("branch", drawn, "--out", branches, "--most", "3")
    grown = run("rollouts", branches, "--out", out, "--samples", "2")

    assert (0, 0) == (chosen.returncode, grown.returncode), chosen.stderr + grown.stderr
    assert 0 < len(rows(branches)) <= 3
    assert all(row["begun"] != "Step 1:" for row in rows(out))


def test_a_file_of_something_else_is_refused_in_a_sentence(questions: Path) -> None:
    done = run("evaluate", questions)

    assert 4 == done.returncode
    assert done.stderr.startswith("surefoot: ")
    assert "neither" in done.stderr
    assert 1 == done.stderr.count("\n")
