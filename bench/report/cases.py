"""Solves and verdicts picked out to be read, always the same ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from itertools import islice
from pathlib import Path

from bench.report.document import Case, Line, Part
from bench.report.found import Found
from bench.solves import Seen, Solve, Solved
from verifier.answers import normal
from verifier.training.data import fraction

OF_EACH = 4  # failures of a kind
VERDICTS = 12  # of each grade


def failures(found: Found, folder: Path) -> Iterator[Part]:
    """Wrong answers of each kind, by turns of the arms."""
    for kind, title in KINDS.items():
        wrong = [s for s in found.board.solves if s.solution and _kind(s) == kind]
        ranked = sorted(wrong, key=lambda s: (fraction(s.question_id), s.arm))
        for solve in islice(_by_turns(ranked), OF_EACH):
            if solve.solution:
                yield _case(title, solve, solve.solution)


def judged(found: Found) -> list[tuple[str, str, str]]:
    """Answers that differ from the gold in their letters, with their grades."""
    verdicts: dict[tuple[str, str], bool] = {}
    for solve in found.board.solves:
        answers = [p.answer for p in solve.solution.trace.paths] if solve.solution else []
        for answer, right in zip(answers, solve.paths_right, strict=False):
            if answer is not None and normal(answer) != normal(solve.gold):
                verdicts[answer, solve.gold] = right
    rows = []
    for grade in (True, False):
        own = [pair for pair, right in verdicts.items() if right == grade]
        own.sort(key=lambda pair: (-SequenceMatcher(None, *pair).ratio(), pair))
        rows += [(*pair, "right" if grade else "wrong") for pair in own[:VERDICTS]]
    return rows


KINDS = {
    "broken": "Right, and made wrong",
    "passed over": "A right path was seen, and another taken",
    "hopeless": "No path that was seen is right",
}


def _kind(solve: Solve) -> str | None:
    if solve.right:
        return None
    if any(solve.paths_right):
        return "broken" if solve.paths_right[0] else "passed over"
    return "hopeless"


def _by_turns(solves: Sequence[Solve]) -> Iterator[Solve]:
    """An arm's first, the next arm's first, and so on; no question twice."""
    queues: dict[str, list[Solve]] = {}
    for solve in solves:
        queues.setdefault(solve.arm, []).append(solve)
    seen = set()
    while any(queues.values()):
        for queue in queues.values():
            while queue:
                solve = queue.pop(0)
                if solve.question_id not in seen:
                    seen.add(solve.question_id)
                    yield solve
                    break


def _case(title: str, solve: Solve, solution: Solved) -> Case:
    paths, chosen = solution.trace.paths, solution.trace.chosen
    shown = {0: "The first draft"}
    shown |= {p: "A right path" for p, right in enumerate(solve.paths_right) if right and p} and {
        next(p for p, right in enumerate(solve.paths_right) if right): "A right path"
    }
    if chosen is not None:
        shown[chosen] = "What was answered"
    return Case(
        f"{title} · {solve.arm} · {solve.dataset} {solve.question_id}",
        solve.question,
        solve.gold,
        solution.answer or "nothing",
        [
            (
                f"{name}: {_described(paths[place], right=solve.paths_right[place])}",
                _lines(paths[place]),
            )
            for place, name in sorted(shown.items())
            if place < len(paths)
        ],
    )


def _described(path: Seen, right: bool) -> str:
    made = f"round {path.round}, {path.kept} steps kept" if path.round else f"sample {path.sample}"
    return f"{made}; {path.answer or 'no answer'}, {'right' if right else 'wrong'}"


def _lines(path: Seen) -> list[Line]:
    return [
        Line(
            step.text or "",
            f"{step.score.correct:.2f} {step.score.value:.2f}" if step.score else "",
            step.round,
        )
        for step in path.steps
    ]
