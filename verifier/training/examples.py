r"""Labels the steps of paths: from graded rollouts and from gold solutions.

`value` comes from outcomes alone: the mean of the rollouts that passed through a prefix, or the
share of those drawn from it on purpose (StepCo, 2410.12934: a node's label is its leaves' mean).
`correct` of a path that ended right is 1. In one that ended wrong, a prefix from which another
rollout ended right is right (Math-Shepherd's hard estimation, 2312.08935), a false equation is
wrong, and a result that nobody reaches who is right is doubtful. Behind the first error nothing is
said of a step (Let's Verify Step by Step, 2305.20050, section 2.6): what follows from a wrong step
is neither right nor wrong.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby
from statistics import fmean
from typing import Literal

from pydantic import BaseModel

from verifier import steps
from verifier.scoring import Chain
from verifier.training.arithmetic import equations, mentioned, results
from verifier.training.data import Question, Rollout

TRUSTED = 0.85  # before the first doubtful step: all results are known, the reasoning is not
DOUBTFUL = 0.15  # a result that is not known
SHORT = 40  # characters: a sentence of fewer goes with the one after it
SCALES = Fraction(1), Fraction(100), Fraction(1, 100)

_SENTENCE = re.compile(
    r"""
    (?P<formula> \$\$.*?\$\$ | (?<!\\)\$.*?(?<!\\)\$ | \\\(.*?\\\) | \\\[.*?\\\]
        | \\begin\{(?P<name>\w+\*?)\}.*?\\end\{(?P=name)\} ) (?= (?P<fresh> \s*[A-Z] )? )
    | \b(?:e\.g|i\.e|cf|vs|etc|resp|Fig|Eq|No|Mr|Mrs|Ms|Dr|St|[A-Z])\.
    | (?P<end> [.!?]["')]*\s+(?=[A-Z$\\(\d]) )
    """,
    re.VERBOSE | re.DOTALL,
)
_FULL_STOP = re.compile(r"\.\W*(?:end\{\w+\*?\})?\Z")
_DRAWING = re.compile(r"\[asy\].*?\[/asy\]", re.DOTALL)


class Example(BaseModel, frozen=True):
    """A path with what is known about each of its steps; None where nothing is."""

    question_id: str
    question: str
    steps: tuple[str, ...]
    correct: tuple[float | None, ...]
    """P(the step holds no error, if none before it does); None behind the first error."""
    value: tuple[float | None, ...]
    """P(the path ends right)."""
    source: Literal["rollout", "gold", "corruption"]

    @property
    def chain(self) -> Chain:
        return Chain(self.question, self.steps)


def from_rollouts(rollouts: Sequence[Rollout], questions: Mapping[str, Question]) -> list[Example]:
    """Rollouts that have steps, labelled by their outcomes, each other's and gold solutions.

    `questions` holds those by id whose gold solution is known.
    """
    paths = [path for rollout in rollouts if (path := _path(rollout)).steps]
    paths.sort(key=lambda path: path.rollout.question_id)
    examples: list[Example] = []
    for question_id, group in groupby(paths, key=lambda path: path.rollout.question_id):
        examples += _labelled(list(group), questions.get(question_id))
    return examples


def from_gold(questions: Iterable[Question]) -> list[Example]:
    """Gold solutions: right from end to end, but of no policy's hand."""
    return [
        Example(
            question_id=row.id,
            question=row.question,
            steps=cut,
            correct=(1.0,) * len(cut),
            value=(None,) * len(cut),
            source="gold",
        )
        for row in questions
        if row.solution and (cut := _gold_steps(row, row.solution))
    ]


Prefix = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Path:
    """A rollout cut into steps; the first `given` are not its own, from `false` on none is sound.

    `false` is the first step that states a false equation, or the number of all steps.
    """

    rollout: Rollout
    steps: Prefix
    given: int
    false: int

    def prefixes(self, first: int, last: int) -> Iterable[Prefix]:
        return (self.steps[:length] for length in range(first, last + 1))


def _path(rollout: Rollout) -> _Path:
    cut = tuple(piece.text for piece in steps.split(rollout.text))
    given = len(steps.split(rollout.begun))
    false = (n for n, step in enumerate(cut) if any(e.holds is False for e in equations(step)))
    return _Path(rollout, cut, given, next(false, len(cut)))


def _labelled(paths: Sequence[_Path], question: Question | None) -> Iterable[Example]:
    """The paths of one question."""
    right = [path for path in paths if path.rollout.correct]
    proven = {prefix for path in right for prefix in path.prefixes(1, path.false)}
    known = _known(question, right)
    outcomes = _outcomes(paths)
    for path in paths:
        yield Example(
            question_id=path.rollout.question_id,
            question=path.rollout.question,
            steps=path.steps,
            correct=_right(path) if path.rollout.correct else _wrong(path, proven, known),
            value=tuple(outcomes.get(prefix) for prefix in path.prefixes(1, len(path.steps))),
            source="rollout",
        )


def _outcomes(paths: Sequence[_Path]) -> dict[Prefix, float]:
    """For each prefix the share of rollouts from it that ended right.

    A rollout tells nothing about prefixes shorter than what it was given: those were chosen. Where
    some were drawn from a prefix itself, they alone count: the path it is from was chosen, too.
    """
    passed, drawn = defaultdict[Prefix, list[bool]](list), defaultdict[Prefix, list[bool]](list)
    for path in paths:
        for prefix in path.prefixes(max(path.given, 1), len(path.steps)):
            (drawn if len(prefix) == path.given else passed)[prefix].append(path.rollout.correct)
    return {prefix: fmean(ends) for prefix, ends in (passed | drawn).items()}


def _right(path: _Path) -> tuple[float | None, ...]:
    """It may have come right by luck behind a false equation."""
    return (1.0,) * path.false + (None,) * (len(path.steps) - path.false)


def _wrong(
    path: _Path, proven: set[Prefix], known: set[Fraction] | None
) -> tuple[float | None, ...]:
    """Of a path that ended wrong; the last step of one that was cut off tells nothing."""
    answered = path.rollout.answer is not None
    last = len(path.steps) - 1
    false = path.false if path.false < last or answered else last + 1
    sound = max((n for n in range(1, false + 1) if path.steps[:n] in proven), default=0)
    doubtful = _doubtful(path.steps[: last + answered], sound, known)
    trusted = TRUSTED if min(false, doubtful) <= last and known is not None else None

    def label(at: int) -> float | None:
        if at > min(false, doubtful):
            return None
        if at == false or (at == last == sound and answered):
            return 0.0
        if at == doubtful:
            return DOUBTFUL
        return 1.0 if at < sound else trusted

    return tuple(label(at) for at in range(last + 1))


def _doubtful(cut: Prefix, sound: int, known: set[Fraction] | None) -> int:
    """The first step behind the sound ones with a result that is not known, or past the end."""
    for at in range(sound, len(cut)):
        if known is not None and not all(_is_known(result, known) for result in results(cut[at])):
            return at
    return len(cut) + 1


def _known(question: Question | None, right: Sequence[_Path]) -> set[Fraction] | None:
    """The numbers of the question, its gold solution and right rollouts; None without these two."""
    gold = (question.meta.get("solution_annotated") or question.solution) if question else None
    texts = [step for path in right for step in path.steps[: path.false]]
    if gold:
        texts.append(str(gold))
    if not texts:
        return None
    given = question.question if question else right[0].rollout.question
    return set[Fraction]().union(*map(mentioned, {given, *texts}))


def _is_known(result: Fraction, known: set[Fraction]) -> bool:
    """Also rounded, and in cents or percent."""
    return any(
        abs(abs(result) * scale - number) <= (0 if number.denominator == 1 else Fraction(1, 100))
        for scale in SCALES
        for number in known
    )


def _gold_steps(row: Question, solution: str) -> Prefix:
    """GSM8K has a line a step; MATH has paragraphs, which are cut into sentences."""
    if "solution_annotated" in row.meta:
        cut = [line.strip() for line in solution.splitlines() if line.strip()]
    else:
        paragraphs = steps.split(_DRAWING.sub("", solution))
        cut = [sentence for piece in paragraphs for sentence in _sentences(piece.text)]
    if cut and "\\boxed" not in cut[-1]:
        cut[-1] += f"\nAnswer: \\boxed{{{row.answer}}}"
    return tuple(cut)


def _sentences(text: str) -> list[str]:
    """Not cut within formulas, and none of fewer than `SHORT` characters but a lone one."""
    found, start = [], 0
    for mark in _SENTENCE.finditer(text):
        ends = mark["end"] or (mark["fresh"] and _FULL_STOP.search(mark["formula"]))
        if ends and mark.end() - start >= SHORT and len(text) - mark.end() >= SHORT:
            found.append(text[start : mark.end()].strip())
            start = mark.end()
    return [*found, text[start:].strip()]
