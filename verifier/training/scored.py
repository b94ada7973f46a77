"""Has many paths scored, several batches in flight, and keeps every verdict as it comes.

The file of scores is the job's only state: what it holds is not scored again, so a killed run goes
on where it ended, and figures can be made anew without the verifier. It knows a verifier by its
name: one that changes must change its name.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import Protocol

from pydantic import BaseModel

from verifier.scoring import Chain, Score, Verifier, checked
from verifier.training.data import held

BATCH = 2
AT_ONCE = 8  # batches; more paths in flight than a reader has slots would cost it its prefix cache

Progress = Callable[[int, int], None]
"""Told how many paths are scored, of how many that have to be."""


class Named(Verifier, Protocol):
    name: str


class Kept(BaseModel, frozen=True):
    """A path's scores: for each step `correct` and `value`."""

    key: str
    scores: tuple[tuple[float, float], ...]


def key(name: str, chain: Chain) -> str:
    """What a path goes by in a file of scores."""
    return hashlib.sha256(json.dumps([name, chain.question, chain.steps]).encode()).hexdigest()


async def score(
    chains: Sequence[Chain], verifier: Named, kept: Path | None, progress: Progress
) -> list[tuple[Score, ...]]:
    """Every path's scores, in order; none for a path of no steps, which is not asked about.

    Raises `VerifierError`, and `DataError` if `kept` is no file of scores.
    """
    keys = [key(verifier.name, chain) for chain in chains]
    paths = dict(zip(keys, chains, strict=True))
    known: dict[str, tuple[Score, ...]] = {name: () for name in paths if not paths[name].steps}
    known |= _held(kept) if kept else {}
    wanted = {name: chain for name, chain in paths.items() if name not in known}
    waiting, done = iter(wanted.items()), 0
    with kept.open("a", encoding="utf-8") if kept else nullcontext() as file:

        async def work() -> None:
            nonlocal done
            while batch := dict(islice(waiting, BATCH)):
                asked = list(batch.values())
                verdicts = checked(asked, await verifier.score(asked))
                found = {n: verdict.scores for n, verdict in zip(batch, verdicts, strict=True)}
                if file:
                    file.writelines(f"{_line(*item)}\n" for item in found.items())
                    file.flush()
                known.update(found)
                done += len(batch)
                progress(done, len(wanted))

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(AT_ONCE):
                    group.create_task(work())
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
    return [known[name] for name in keys]


def _line(name: str, scores: Sequence[Score]) -> str:
    pairs = tuple((score.correct, score.value) for score in scores)
    return Kept(key=name, scores=pairs).model_dump_json()


def _held(kept: Path) -> dict[str, tuple[Score, ...]]:
    return {row.key: tuple(Score(*pair) for pair in row.scores) for row in held(kept, Kept)}
