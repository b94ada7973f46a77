"""Finds the equations that a text states and tells true from false: precision before recall.

An equation is called false only where no doubt is left: units that convert, rounded factors, shares
of things not named, or an "=" that only says "and then" leave it open, as does all that
`expressions` cannot read. Not covered: equations in words, inequalities.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise

from verifier.training.expressions import Side, numbers, segments, words

LOOSE = Fraction(2, 100)  # how far off "≈" and percentages may be and not be called false

_CONVERTING = {
    name: kind
    for kind, names in {
        "money": "cent dime nickel quarter penny dollar",
        "time": "second sec minute min hour hr day week month year decade",
        "length": "mm cm inch foot feet yard meter metre km kilometer mile",
        "weight": "gram kg kilogram ounce oz pound lb ton",
        "volume": "ml teaspoon tablespoon cup pint quart liter litre gallon",
    }.items()
    for name in names.split()
}
_WORDS = {
    word: Fraction(number)
    for number, same in {
        "1/4": "quarter", "1/3": "third", "1/2": "half", "1": "one once", "2": "two twice double",
        "3": "three thrice triple", "4": "four", "5": "five", "6": "six", "7": "seven",
        "8": "eight", "9": "nine", "10": "ten", "11": "eleven", "12": "twelve dozen",
        "13": "thirteen", "14": "fourteen", "15": "fifteen", "16": "sixteen", "17": "seventeen",
        "18": "eighteen", "19": "nineteen", "20": "twenty", "30": "thirty", "40": "forty",
        "50": "fifty", "60": "sixty", "70": "seventy", "80": "eighty", "90": "ninety",
        "100": "hundred",
    }.items()
    for word in same.split()
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Equation:
    """Two neighbours of an equals sign; `holds` is None where that cannot be told."""

    left: Side
    right: Side
    holds: bool | None


@lru_cache(maxsize=4096)
def equations(text: str) -> tuple[Equation, ...]:
    """The equations that the text states, in order; of a chain, each link."""
    return tuple(_equations(text))


def mentioned(text: str) -> set[Fraction]:
    """The numbers in digits and in words, and what the text's equations may come by."""
    found = {number.value for number in numbers(text)}
    found |= {_WORDS[word] for word in words(text) if word in _WORDS}
    for equation in equations(text):
        for side in (equation.left, equation.right):
            found |= side.parts | {abs(value) for value in side.values}
    return found


def results(text: str) -> list[Fraction]:
    """What a step computes: right-hand sides, or the one number that it states without any."""
    if found := equations(text):
        return [equation.right.values[0] for equation in found if equation.right.values]
    stated = {number.value for number in numbers(text)}
    return list(stated) if len(stated) == 1 else []


def _equations(text: str) -> Iterator[Equation]:
    chained = False
    for before, behind in pairwise(segments(text)):
        if before.sign:
            left, right = before.side(), behind.side()
            doubt = before.doubt or behind.doubt or _converts(text, left, right)
            holds = _holds(left, right, loose="=" not in before.sign, chained=chained)
            yield Equation(left, right, None if doubt and holds is False else holds)
        chained = bool(before.sign)


def _holds(left: Side, right: Side, loose: bool, chained: bool) -> bool | None:
    if not (left.values and right.values) or not (left.computes or right.computes):
        return None
    stated = right.stated
    if any(one in right.values or (stated and stated.states(one)) for one in left.values):
        return True
    if not left.computes or _says_and_then(left, right, chained) or _is_share(left, right):
        return None
    if any(_near(one, other, left, right, loose) for one in left.values for other in right.values):
        return None
    return False


def _near(one: Fraction, other: Fraction, left: Side, right: Side, loose: bool) -> bool:
    """Whether they may be the same but for rounding."""
    written = [number for number in (*left.numbers, *right.numbers) if number.places]
    share = sum(Fraction(5, 10 ** (n.places + 1)) / n.value for n in written if n.value)
    if loose or len(left.values) + len(right.values) > 2:
        share = max(share, LOOSE)
    gap, whole = abs(one - other), not any(number.places for number in right.numbers)
    return gap <= share * abs(one) or (gap < 1 and whole and (loose or one.denominator > 1))


def _says_and_then(left: Side, right: Side, chained: bool) -> bool:
    """Whether the sign only leads to the next calculation: "2 + 3 = 5 * 4 = 20"."""
    starts = right.parts | {right.numbers[0].value} if right.computes else frozenset()
    runs_on = not starts.isdisjoint(left.values)
    return runs_on or (chained and not left.parts.isdisjoint(right.values))


def _is_share(left: Side, right: Side) -> bool:
    """Whether a share is of something else: "1/4 = 15 sheep", "80 + 10% = 88", "6 / 1/2 = 12"."""
    signs = "".join(operator.sign for operator in left.operators)
    percents = len(left.values) + len(right.values) > 2
    bare = len(left.numbers) == 2 and 0 < abs(left.values[0]) < 1 <= right.values[0]
    return bare or "//" in signs or (percents and ("+" in signs or "-" in signs))


def _converts(text: str, left: Side, right: Side) -> bool:
    """Whether units of one kind meet, as hours and minutes do."""
    span = text[max(left.start - 2, 0) : right.end]  # from a "$" before it on
    found = {
        name
        for word in words(span.replace("$", " dollar "))
        for name in (word, word[:-1], word[:-2])
        if name in _CONVERTING
    }
    return len({_CONVERTING[name] for name in found}) < len(found)
