"""Spoils right paths so that the first wrong step is known.

One thing is changed in one step, and what follows from it is carried on to the final answer: later
mentions of a changed number, and the results of equations that it enters. So the rest is sound but
for that step, and a verifier cannot learn to look for mere contradictions. A change that cannot be
carried on exactly is not made. No step is left out: that a step is needed cannot be told from text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from random import Random
from typing import TypeVar

from verifier.answers import extract
from verifier.training.arithmetic import Equation, equations, mentioned
from verifier.training.examples import Example
from verifier.training.expressions import Number, Side, numbers, value

LARGEST = 10**9  # what a changed path may come to
COMMON = frozenset(map(Fraction, (0, 1, 2, 100)))  # they turn up everywhere, meaning anything
FACTORS: Mapping[int, tuple[str, ...]] = {
    2: ("3", "4"), 7: ("5", "6"), 12: ("10", "24"), 24: ("12", "20"), 30: ("31", "28"),
    52: ("50", "48"), 60: ("100", "30"), 100: ("10", "1000"), 365: ("360", "300"),
    1000: ("100", "10000"),
}  # fmt: skip
OPERATIONS = {"+": "-*", "-": "+", "*": "+/", "/": "*"}
SIGNS = {"+": ("+", "+"), "-": ("-", "-"), "*": ("*", r"\times "), "/": ("/", r"\div ")}
WORDS = {
    "+-": {"add": "subtract", "adding": "subtracting", "sum": "difference"},
    "-+": {"subtract": "add", "subtracting": "adding", "difference": "sum"},
    "*/": {"multiply": "divide", "multiplying": "dividing", "product": "quotient"},
    "/*": {"divide": "multiply", "dividing": "multiplying", "quotient": "product"},
    "*+": {"multiply": "add", "multiplying": "adding", "product": "sum"},
    "+*": {"add": "multiply", "adding": "multiplying", "sum": "product"},
}

Item = TypeVar("Item")
Spans = dict[tuple[int, int], str]  # what is put in the place of which part of a step
Moved = dict[Fraction, Fraction]  # which number stands for which from the changed step on


def corruptions(example: Example, rng: Random) -> Example | None:
    """One corruption of a right path, drawn at random; None if nothing in it can be changed.

    `correct` is 1 before the changed step, 0 at it, and not known behind it; `value` is 0 at the
    end of a path whose answer has changed, and not known elsewhere.
    """
    if set(example.correct) != {1.0}:
        return None
    for kind in sorted(WEIGHTS, key=lambda kind: rng.random() ** (1 / WEIGHTS[kind]), reverse=True):
        for at in _shuffled(range(len(example.steps)), rng):
            scene = Scene(example, at)
            for equation in _shuffled(list(equations(scene.text)), rng):
                change = kind(scene, equation, rng)
                if change and (changed := _carried(scene, change)):
                    return _example(example, at, changed)
    return None


@dataclass(frozen=True, slots=True)
class Scene:
    """The step of a path that is to be changed."""

    path: Example
    at: int

    @property
    def text(self) -> str:
        return self.path.steps[self.at]

    @property
    def given(self) -> list[Number]:
        return numbers(self.path.question)

    def meanings(self, number: Fraction) -> int:
        """How many things the number may stand for here, as far as it was seen before."""
        computed = {
            equation.right.stated.value
            for step in self.path.steps[: self.at]
            for equation in equations(step)
            if equation.holds and equation.right.stated
        }
        return sum(one.value == number for one in self.given) + (number in computed)


@dataclass(frozen=True, slots=True)
class Change:
    spans: Spans
    moved: Moved
    loose: bool = False
    """Whether all else is to be left as it is."""


Kind = Callable[[Scene, Equation, Random], Change | None]


def misread(scene: Scene, equation: Equation, rng: Random) -> Change | None:
    """An operand is another: a wrong number of the question, a wrong factor, a slip."""
    if not _is_sound(equation):
        return None
    operand = rng.choice(equation.left.numbers)
    meanings = scene.meanings(operand.value)
    others = [one.text for one in scene.given if one.value not in (0, operand.value)]
    if not meanings and operand.value in FACTORS:
        new = rng.choice(FACTORS[int(operand.value)])
    else:
        new = rng.choice(others) if others and rng.random() < 0.5 else _misprint(operand, rng)
    if meanings > 1 or operand.value in COMMON:
        return Change({operand.span: new}, {})
    return Change({}, {operand.value: Number(0, new).value})


def miscombined(scene: Scene, equation: Equation, rng: Random) -> Change | None:
    """An operation is another, in words too, and its result the true one of that."""
    if not _is_sound(equation) or not equation.left.operators:
        return None
    operator = rng.choice(equation.left.operators)
    sign = rng.choice(OPERATIONS[operator.sign])
    written = SIGNS[sign]["\\" in scene.text[equation.left.start : equation.right.end]]
    spans = {operator.span: written}
    if sum(map(_is_sound, equations(scene.text))) == 1:
        swapped = WORDS.get(operator.sign + sign, {})
        for word in re.finditer(r"\b[A-Za-z]+\b", scene.text):
            if new := swapped.get(word[0].lower()):
                spans[word.span()] = new.capitalize() if word[0][0].isupper() else new
    return Change(spans, {})


def miscalculated(scene: Scene, equation: Equation, rng: Random) -> Change | None:
    """A result, or what is said to be a name's value, is a little off."""
    stated, named = equation.right.stated, not equation.left.numbers
    if not stated or not (named or _is_sound(equation)) or stated.value in COMMON:
        return None
    if scene.meanings(stated.value) > named:
        return None
    new = _misprint(stated, rng)
    return Change({stated.span: new}, {stated.value: Number(0, new).value})


def mistyped(scene: Scene, equation: Equation, rng: Random) -> Change | None:
    """A number is a little off, and the rest does not take note of it."""
    found = (*equation.left.numbers, *equation.right.numbers)
    if not found:
        return None
    number = rng.choice(found)
    return Change({number.span: _misprint(number, rng)}, {}, loose=True)


WEIGHTS: Mapping[Kind, float] = {misread: 3, miscombined: 3, miscalculated: 3, mistyped: 1}


class _Tangled(Exception):
    """A change cannot be carried on exactly."""


def _carried(scene: Scene, change: Change) -> list[str] | None:
    """The steps from the changed one on; None if that cannot be done exactly."""
    text, *later = scene.path.steps[scene.at :]
    if change.loose:
        return [_applied(text, change.spans), *later]
    moved = dict(change.moved)
    earlier = (scene.path.question, *scene.path.steps[: scene.at])
    unclear = set(COMMON).union(*map(mentioned, earlier)) - moved.keys()
    try:
        changed = [_rewritten(text, change.spans, moved, unclear)]
        changed += [_rewritten(step, {}, moved, unclear) for step in later]
    except _Tangled:
        return None
    return changed if moved else None


def _rewritten(text: str, spans: Spans, moved: Moved, unclear: set[Fraction]) -> str:
    """The step with the numbers that are others now; what is new about them is noted."""
    noted = -1
    edits: Spans = {}
    while noted < len(moved):  # a result may be named before it is computed
        noted = len(moved)
        edits = _edits(text, spans, moved, unclear)
    unclear |= {one.value for one in numbers(text) if one.span not in edits}
    changed = _applied(text, edits)
    before, after = list(equations(text)), list(equations(changed))
    if len(before) != len(after) or not all(
        _survived(old, new, edits) for old, new in zip(before, after, strict=True)
    ):
        raise _Tangled
    return changed


def _edits(text: str, spans: Spans, moved: Moved, unclear: set[Fraction]) -> Spans:
    """All that is to be written anew, from left to right."""
    edits = dict(spans)
    computed = {
        equation.right.stated.start: equation
        for equation in equations(text)
        if equation.holds and equation.right.stated
    }
    for number in numbers(text):
        if number.span in spans:
            continue
        if equation := computed.get(number.start):
            new = _recomputed(text, edits, equation, number)
            outcome = Number(0, new).value if new else number.value
            if moved.get(number.value, outcome) != outcome:
                unclear.add(number.value)
            elif new:
                moved[number.value] = outcome
        else:
            new = _mention(text, number, moved, unclear)
        if new:
            edits[number.span] = new
    return edits


def _recomputed(text: str, edits: Spans, equation: Equation, stated: Number) -> str | None:
    """The result as it is now written; None if it is still the same."""
    left = equation.left
    inside = {
        (start - left.start, end - left.start): new
        for (start, end), new in edits.items()
        if left.start <= start < left.end
    }
    if not inside:
        return None
    outcome = value(_applied(text[left.start : left.end], inside))
    if outcome is None or not stated.states(left.values[0]):
        raise _Tangled
    return None if stated.states(outcome) else _printed(outcome, stated, text)


def _mention(text: str, number: Number, moved: Moved, unclear: set[Fraction]) -> str | None:
    """What is to be written for a number that is only mentioned; None if it stays."""
    if number.value not in moved:
        return None
    if number.value in unclear:
        raise _Tangled
    return _printed(moved[number.value], number, text)


def _survived(old: Equation, new: Equation, edits: Spans) -> bool:
    """Whether an equation that held still does; one that cannot be read must not be touched."""
    stated = old.right.stated
    if stated and stated.span in edits and not _touched(old.left, edits):
        return True  # the changed result itself
    if old.holds:
        return new.holds is True
    reads = bool(old.left.numbers) or old.right.computes
    return not _touched(old.left, edits) and not (reads and _touched(old.right, edits))


def _touched(side: Side, edits: Spans) -> bool:
    return any(side.start <= start < side.end for start, _ in edits)


def _applied(text: str, spans: Spans) -> str:
    parts: list[str] = []
    at = 0
    for (start, end), new in sorted(spans.items()):
        parts += text[at:start], new
        at = end
    return "".join(parts) + text[at:]


def _printed(number: Fraction, like: Number, step: str) -> str:
    """The number in the manner of the one before. Raises `_Tangled` if it looks unnatural."""
    exact = next((places for places in range(3) if (number * 10**places).denominator == 1), 0)
    rounds = (number * 100).denominator > 1
    if not 0 < number <= LARGEST or (rounds and not like.places):
        raise _Tangled
    text = f"{float(number):,.{max(exact, like.places)}f}"
    alone = like.value >= 1000 or step[like.start - 1 : like.start] == "{"  # in a box
    comma = re.search(r"(?<=\d)(?:\{,\}|,\\!|,)(?=\d{3})", like.text if alone else step)
    return text.replace(",", comma[0] if comma else "")


def _misprint(number: Number, rng: Random) -> str:
    """The number with a digit a little off, or two digits swapped."""
    text = number.text
    digits = [at for at, sign in enumerate(text) if sign.isdigit()]
    found = [
        f"{text[:at]}{int(text[at]) + off}{text[at + 1 :]}"
        for at in digits
        for off in (-2, -1, 1, 2)
        if 0 <= int(text[at]) + off <= 9
    ]
    for one, two in pairwise(digits):
        found.append(text[:one] + text[two] + text[one + 1 : two] + text[one] + text[two + 1 :])
    natural = [new for new in found if new[0] != "0" or text[0] == "0"]
    return rng.choice([new for new in natural if Number(0, new).value not in (0, number.value)])


def _is_sound(equation: Equation) -> bool:
    return bool(equation.holds and equation.left.computes and equation.right.stated)


def _shuffled(items: Sequence[Item], rng: Random) -> list[Item]:
    return rng.sample(items, len(items))


def _example(path: Example, at: int, changed: Sequence[str]) -> Example:
    cut = (*path.steps[:at], *changed)
    end = 0.0 if extract(cut[-1]) != extract(path.steps[-1]) else None
    return Example(
        question_id=path.question_id,
        question=path.question,
        steps=cut,
        correct=(1.0,) * at + (0.0,) + (None,) * (len(changed) - 1),
        value=(None,) * (len(cut) - 1) + (end,),
        source="corruption",
    )
