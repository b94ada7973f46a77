"""Rows in files: what cannot be read is told by file and line."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from verifier.training.data import DataError, Process, Question, fraction, held, read, write

ROWS = [
    Question(id="a", question="1 + 1?", answer="2"),
    Question(id="b", question="2 + 2?", answer="4", steps=("2 + 2",)),
]


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz"])
def test_what_was_written_is_read_again(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, ROWS)

    assert ROWS == list(read(tmp_path / name, Question))
    assert [tmp_path / name] == list(tmp_path.iterdir())


def test_a_row_that_lacks_a_field_is_named_by_its_line(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(f"{ROWS[0].model_dump_json()}\n\n{json.dumps({'id': 'c'})}\n")

    with pytest.raises(DataError, match=r"rows\.jsonl, line 3: question: Field required"):
        list(read(file, Question))


def test_a_label_must_name_a_step(tmp_path: Path) -> None:
    """ProcessBench counts from 0; a file that counts from 1 must not be scored as if it did."""
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps({"id": "a", "question": "?", "steps": ["x"], "label": 1}))

    with pytest.raises(DataError, match="label 1 is none of 1 steps"):
        list(read(file, Process))


@pytest.mark.parametrize("content", [b"\xff\xfe", gzip.compress(b"{}")[:-3]], ids=["text", "gzip"])
def test_a_file_that_cannot_be_read_is_told_in_a_sentence(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / ("rows.jsonl.gz" if content[:2] == b"\x1f\x8b" else "rows.jsonl")
    file.write_bytes(content)

    with pytest.raises(DataError, match="cannot be read"):
        list(read(file, Question))


def test_a_line_cut_off_by_a_kill_is_taken_out_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    whole = "".join(f"{row.model_dump_json()}\n" for row in ROWS)
    file.write_text(whole + '{"id": "c", "quest')

    assert ROWS == held(file, Question)
    assert whole == file.read_text()


def test_a_job_that_has_not_begun_holds_nothing(tmp_path: Path) -> None:
    assert [] == held(tmp_path / "none.jsonl", Question)


def test_a_questions_own_number_spreads_evenly_and_never_changes() -> None:
    numbers = [fraction(f"q{n}") for n in range(1000)]

    assert 0.9844562317653356 == fraction("gsm8k-train-0")
    assert 480 < sum(number < 0.5 for number in numbers) < 520
    assert numbers == [fraction(f"q{n}") for n in range(1000)]
