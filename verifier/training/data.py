"""Rows of JSON-lines files: questions, graded solutions to them, solutions with a marked error.

A file may be gzipped (its name ends in .gz). What a row has beyond its fields here is left alone.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Self, TextIO, TypeVar, cast

from pydantic import BaseModel, ValidationError, model_validator

from verifier import steps
from verifier.scoring import Chain

Row = TypeVar("Row", bound=BaseModel)


class DataError(Exception):
    """A file cannot be used; the message is one sentence that names the line."""


class Question(BaseModel, frozen=True, extra="ignore"):
    """`steps` are those of a solution that is to be continued; mostly there are none."""

    id: str
    question: str
    answer: str
    solution: str | None = None
    steps: tuple[str, ...] = ()
    meta: dict[str, object] = {}


class Rollout(BaseModel, frozen=True, extra="ignore"):
    """A solution that a policy wrote, and whether its answer is right."""

    question_id: str
    question: str
    policy: str
    temperature: float
    text: str
    """All of it, from "Step 1:" on."""
    begun: str = steps.OPENING
    """What of it the policy was given."""
    answer: str | None
    gold: str
    correct: bool
    completion_tokens: int
    finish_reason: str
    certainties: tuple[float | None, ...] = ()
    """How probable the policy found the numbers in each step, where its engine told."""

    @property
    def chain(self) -> Chain:
        texts = tuple(piece.text for piece in steps.split(self.text))
        return Chain(self.question, texts, certainties=self.certainties)


class Process(BaseModel, frozen=True, extra="ignore"):
    """A solution whose first wrong step is known (ProcessBench, 2412.06559)."""

    id: str
    question: str
    steps: tuple[str, ...]
    label: int
    """From 0; -1 if every step is right."""

    @model_validator(mode="after")
    def _names_a_step(self) -> Self:
        if not -1 <= self.label < len(self.steps):
            raise ValueError(f"label {self.label} is none of {len(self.steps)} steps, nor -1")
        return self

    @property
    def chain(self) -> Chain:
        return Chain(self.question, self.steps)


def read(file: Path, kind: type[Row]) -> Iterator[Row]:
    """The rows of one file. Raises `DataError`."""
    try:
        with _opened(file) as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield _row(file, number, line, kind)
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise DataError(f"{file} cannot be read: {error}") from error


def held(file: Path, kind: type[Row]) -> list[Row]:
    """What a job has appended to its file so far; a line cut off in mid-write is taken out of it.

    Raises `DataError`.
    """
    if not file.exists():
        return []
    with file.open("rb+") as opened:
        opened.truncate(opened.read().rfind(b"\n") + 1)
    return list(read(file, kind))


def write(file: Path, rows: Iterable[BaseModel]) -> None:
    """The rows into one file, whole or not at all."""
    part = file.with_name(f"{file.name}.part")
    opened = gzip.open if file.suffix == ".gz" else open
    with opened(part, "wt", encoding="utf-8") as lines:
        lines.writelines(f"{row.model_dump_json()}\n" for row in rows)
    part.replace(file)


def fraction(question_id: str) -> float:
    """A number in [0, 1) that is the question's own: by it questions are shuffled and split."""
    return int.from_bytes(hashlib.sha256(question_id.encode()).digest()[:6]) / 2**48


def _opened(file: Path) -> TextIO:
    if file.suffix == ".gz":
        return cast(TextIO, gzip.open(file, "rt", encoding="utf-8"))
    return file.open(encoding="utf-8")


def _row(file: Path, number: int, line: str, kind: type[Row]) -> Row:
    try:
        return kind.model_validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the row"
        raise DataError(f"{file}, line {number}: {where}: {first['msg']}") from None
