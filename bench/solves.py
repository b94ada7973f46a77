"""The records of a benchmark: a line of JSON for each solve, whole as the server told it.

What is read back here is what a report needs; the file has more. A later line of a solve stands in
the place of an earlier one.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict

from bench.questions import Item
from service.errors import StartupError
from surefoot import Solution
from verifier.training.data import held

FILE = "solves.jsonl"


class Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Key(NamedTuple):
    """Which solve it is."""

    arm: str
    dataset: str
    question_id: str
    seed: int


class Score(Row):
    correct: float
    value: float


class Policy(Row):
    prompt: int = 0
    cached: int = 0
    completion: int = 0
    calls: int = 0


class Verifier(Row):
    tokens: int = 0
    calls: int = 0


class Usage(Row):
    policy: Policy
    verifier: Verifier
    wasted: int
    total: int


class Step(Row):
    text: str | None
    round: int
    score: Score | None


class Seen(Row):
    """A path that was seen. `kept` steps stand as the path before had them; numbers from 1."""

    sample: int
    round: int
    kept: int
    first_weak: int | None
    steps: tuple[Step, ...]
    answer: str | None
    policy: Policy
    verifier: Verifier


class Trace(Row):
    paths: tuple[Seen, ...]
    chosen: int | None


class Solved(Row):
    id: str
    answer: str | None
    verified: bool
    score: float | None
    stop_reason: str
    usage: Usage
    warnings: tuple[str, ...]
    model: str
    verifier: str | None
    elapsed_ms: int
    trace: Trace


class Solve(Row):
    """One solve of one question, graded. `paths_right` are those of the trace.

    Without a `solution` there is an `error`: the server failed, and there is no answer.
    """

    arm: str
    dataset: str
    question_id: str
    seed: int
    question: str
    gold: str
    asked: dict[str, Any]
    right: bool
    paths_right: tuple[bool, ...]
    solution: Solved | None
    error: str | None

    @property
    def key(self) -> Key:
        return Key(self.arm, self.dataset, self.question_id, self.seed)


def read(folder: Path) -> dict[Key, Solve]:
    """What a run has kept; a line that was cut off is dropped. Raises `DataError`."""
    return {solve.key: solve for solve in held(folder / FILE, Solve)}


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """One run at a time writes to the folder. Raises `StartupError` if another does."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StartupError(
                f"Another run writes to {folder}; wait until it has ended, or name another --out."
            ) from error
        yield
    finally:
        os.close(opened)


def written(
    key: Key,
    item: Item,
    asked: dict[str, Any],
    solution: Solution | str,
    right: Iterable[bool],
) -> str:
    """The line of a solve, or of what went wrong. `right`: the answer's grade, then each path's."""
    chosen, *paths = right
    failed = isinstance(solution, str)
    row = {
        **key._asdict(),
        "question": item.question,
        "gold": item.answer,
        "asked": asked,
        "right": chosen,
        "paths_right": paths,
        "solution": None if isinstance(solution, str) else asdict(solution),
        "error": solution if failed else None,
    }
    return json.dumps(row, ensure_ascii=False) + "\n"
