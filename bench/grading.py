"""Grades answers as `verifier.answers` compares them, and by letter where there are options."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise

from bench.questions import Item
from surefoot import Solution
from verifier.answers import Grader, normal

LETTER = re.compile(r"\W*([A-Z])(?:\b\W.*)?", re.DOTALL)


async def right(grader: Grader, item: Item, answer: str | None) -> bool:
    """An option is named by its letter, or else by what it says."""
    if answer is None:
        return False
    if not item.choices:
        return await grader.same(item.answer, answer)
    if (letter := LETTER.fullmatch(answer)) and letter[1] in item.options:
        return letter[1] == item.answer
    said = item.options.get(item.answer)
    return said is not None and await grader.same(said, answer)


async def grades(grader: Grader, item: Item, solution: Solution) -> list[bool]:
    """Of the answer, and then of every path that was seen."""
    paths = solution.trace.paths if solution.trace else ()
    return [
        await right(grader, item, each) for each in (solution.answer, *(p.answer for p in paths))
    ]


async def mistaken(grader: Grader, items: Sequence[Item]) -> list[str]:
    """A spot check: every gold answer is right, and that of the question before it is wrong.

    Returns a sentence for each that is not so; answers that read alike are left out.
    """
    found = [
        f"{item.id}: the gold answer {item.answer!r} is not graded right"
        for item in items
        if not await right(grader, item, item.answer)
    ]
    for before, item in _differing(items):
        if await right(grader, item, before.answer):
            found.append(f"{item.id}: {before.answer!r} is graded right, gold {item.answer!r}")
    return found


def _differing(items: Sequence[Item]) -> Iterable[tuple[Item, Item]]:
    pairs = pairwise(items)
    return (pair for pair in pairs if normal(pair[0].answer) != normal(pair[1].answer))
