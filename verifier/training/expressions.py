r"""Reads the arithmetic that stands in prose or LaTeX: "48/2", "2 \text{ bags} \times 3", "$5 x 4".

A text is cut into segments, each of which may be one side of an equation, and a segment is read by
recursive descent into exact fractions; nothing is evaluated. What is not plainly arithmetic has no
value: names, roots, times of day, words such as "million".
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import combinations, groupby, pairwise

MOST_TOKENS = 80  # of one side; what is longer is not read
MOST_TERMS = 6  # of a sum or product whose partial results are listed
MOST_BITS = 512  # of a power

_TOKEN = re.compile(
    r"""
    (?P<over> (?>(?:\s|\\\\)+)(?=&?\s*(?:=[^>]|≈|\\approx)) | (?<==)\s+ )
    | (?P<line> \n | \\\\ )
    | (?P<stop> ^[^\S\n]*(?:[-*•]|\d{1,3}[.)])[^\S\n]+ | \\[()\[\]] | \$\$ | => | [⇒,;:?"“”]
        | \.(?!\d) | \\(?:implies|Rightarrow|rightarrow|to)(?![a-z])
        | \\(?:begin|end)\{\w+\*?\} )
    | (?P<skip> [^\S\n]+ | \\?\$ | [€£~&] | \\[,;:!\ ] | (?<![\d)])\*\* | \*\*(?![\d(])
        | \\(?:left|right|boxed|fbox|quad|qquad|displaystyle|[bB]igg?[lr]?)(?![a-z]) )
    | (?P<equals> =+ | ≈ | \\approx(?![a-z]) )
    | (?P<odd> \d+(?:st|nd|rd|th)\b | \d+(?::\d+)+ | \d[\d.,]{19,} | 0\d+
        | (?! \d{1,3}(?:,\d{3})+(?!\d) ) \d+(?:,\d+)+ )
    | (?P<number> (?<=frac)\d | (?<=frac\d)\d | (?<=frac[ ])\d | (?<=frac[ ]\d)\d
        | (?: \d{1,3}(?:(?:,|\{,\}|,\\!)\d{3})+(?!\d) | \d+ )(?:\.\d+)? | \.\d+ )
    | (?P<fraction> \\[dtc]?frac(?![a-z]) )
    | (?P<power> \^ | \*\* | [²³] )
    | (?P<percent> \\?% | percent\b )
    | (?P<operator> (?: (?<![\w}])[-/] | [-/](?!(?:[^\W\d_]{2}|\\text)) | [+−–*×·⋅∙∗÷] )
        | \\(?:times|cdot|div|ast)(?![a-z])
        | (?: (?<=[%}]\s) | (?<=/\d\s) )of\b
        | (?<=[\d)}\s])[xX](?=\s*\\?(?:\$?[\d.]|\(\d|frac)) )
    | (?P<unit> [-/]? (?: \\(?:text\w*|mathrm|mbox)\s*\{[^{}\d]*\}
        | (?! (?:[A-Z]{2,}|[b-zB-HJ-Z])(?![^\W\d_]) )
          (?! (?<=\d) (?!(?:[kcm]m|kg|m[gl]|lbs?|oz|ft|mins?|hrs?|mph)\b)
              [^\W\d_]{1,3}(?![^\W\d_]) )
          (?>[^\W\d_]+(?:['’-][^\W\d_]+)*)(?!\() ) )
    | (?P<open> [({\[] ) | (?P<close> [)}\]] )
    | (?P<other> [<>!]=? | \\[a-zA-Z]+ | . )
    """,
    re.VERBOSE | re.MULTILINE | re.DOTALL,
)
_CLOSING = {"(": ")", "{": "}", "[": "]"}
_SIGNS = {"+": "+", "/": "/", "÷": "/", r"\div": "/"} | dict.fromkeys("-−–", "-")
_BEGINS = ("number", "open", "fraction")  # an operand
_ENDS = ("number", "close", "percent")
_LEADING = {"by", "half", "more", "of", "per", "than", "times", "twice"}  # up to a number
_SCALING = {"am", "billion", "dozen", "hundred", "million", "pm", "remainder", "thousand"}


@dataclass(frozen=True, slots=True)
class Written:
    """A part of a text where it stands."""

    start: int
    text: str

    @property
    def span(self) -> tuple[int, int]:
        return self.start, self.start + len(self.text)


class Number(Written):
    """A number; a sign before it is not part of it."""

    __slots__ = ()

    @property
    def value(self) -> Fraction:
        return Fraction(re.sub(r"[^\d.]", "", self.text))

    @property
    def places(self) -> int:
        """How many are written behind the point."""
        return len(self.text.partition(".")[2])

    def states(self, value: Fraction) -> bool:
        """Whether it is this value, cut or rounded to the places that are written."""
        unit = Fraction(bool(self.places), 10**self.places)
        return self.value == value or abs(self.value - value) < unit


class Operator(Written):
    """A "+", "-", "*" or "/", however it is written."""

    __slots__ = ()

    @property
    def sign(self) -> str:
        return _SIGNS.get(self.text, "*")


@dataclass(frozen=True, slots=True)
class Side:
    """What stands on one side of an equals sign.

    `values` are its readings: none if it cannot be read, two if it has a percent sign, whose
    number is first taken for hundredths. `parts` are partial results that one may come by.
    """

    start: int = 0
    end: int = 0
    numbers: tuple[Number, ...] = ()
    operators: tuple[Operator, ...] = ()
    values: tuple[Fraction, ...] = ()
    parts: frozenset[Fraction] = frozenset()

    @property
    def stated(self) -> Number | None:
        """The number that is all of this side, but for its unit."""
        return self.numbers[0] if self.values and self.values[0] == self.numbers[0].value else None

    @property
    def computes(self) -> bool:
        return bool(self.values) and len(self.numbers) > 1


@dataclass(frozen=True, slots=True)
class Token:
    kind: str
    text: str
    start: int

    @property
    def end(self) -> int:
        return self.start + len(self.text)


@dataclass(slots=True)
class Segment:
    """Tokens that may be a side of an equation, and the equals sign right behind them."""

    doubt: bool = False
    """What stands around them may belong to them."""
    tokens: list[Token] = field(default_factory=list)
    sign: str = ""

    @property
    def ended(self) -> bool:
        """Whether an operand ends here."""
        return bool(self.tokens) and self.tokens[-1].kind in _ENDS

    @property
    def depth(self) -> int:
        kinds = [token.kind for token in self.tokens]
        return kinds.count("open") - kinds.count("close")

    def side(self) -> Side:
        tokens = _unbracketed(self.tokens)
        if not 0 < len(tokens) <= MOST_TOKENS:
            return Side()
        values, reader = [], _Reader((), Fraction(1))
        percents = any(token.kind == "percent" for token in tokens)
        for percent in (Fraction(1, 100), Fraction(1))[: 1 + percents]:
            reader = _Reader(tokens, percent)
            try:
                values.append(reader.whole())
            except (_Unreadable, ZeroDivisionError):
                break
        found = tuple(Number(one.start, one.text) for one in tokens if one.kind == "number")
        ends = tokens[0].start, tokens[-1].end
        return Side(*ends, found, tuple(reader.operators), tuple(values), frozenset(reader.parts))


def numbers(text: str) -> list[Number]:
    """The numbers that a text writes in digits."""
    return [Number(token.start, token.text) for token in scan(text) if token.kind == "number"]


def value(expression: str) -> Fraction | None:
    """What an expression comes to; None if it cannot be read."""
    found = [segment for segment in segments(expression) if segment.tokens or segment.doubt]
    plain = len(found) == 1 and not found[0].doubt
    return next(iter(found[0].side().values), None) if plain else None


def segments(text: str) -> list[Segment]:
    """All of a text, cut wherever a side of an equation must end."""
    cutter = _Cutter()
    for token, following in pairwise([*scan(text), Token("stop", "", len(text))]):
        cutter.feed(token, following)
    return cutter.segments


def scan(text: str) -> list[Token]:
    """The tokens of a text; neighbouring words are one."""
    found = [
        Token(str(match.lastgroup), match[0], match.start())
        for match in _TOKEN.finditer(text)
        if match.lastgroup not in ("skip", "over")
    ]
    tokens: list[Token] = []
    for kind, group in groupby(found, lambda token: token.kind):
        run = list(group)
        if kind == "unit":
            run = [Token(kind, text[run[0].start : run[-1].end], run[0].start)]
        tokens += run
    return tokens


def words(text: str) -> list[str]:
    """The words of a text in lower case."""
    return re.findall(r"[a-z]+", text.lower())


class _Cutter:
    def __init__(self) -> None:
        self.segments = [Segment()]

    def feed(self, token: Token, following: Token) -> None:
        match token.kind:
            case "equals":
                self._now.sign = token.text
                self._cut()
            case "unit":
                self._unit(token, following)
            case "open" if self._now.ended and self._now.tokens[-1].end < token.start:
                self._cut(doubt=True)  # "= 7 (as 3 + 4 …"
                self._now.tokens.append(token)
            case "close" if self._now.depth <= 0:
                self._cut(doubt=True)
            case "operator" if not _begins(following):
                self._cut(doubt=True)
            case "number" | "fraction" | "power" | "percent" | "operator" | "open" | "close":
                self._now.tokens.append(token)
            case kind:
                self._cut(doubt=kind in ("other", "odd"))

    @property
    def _now(self) -> Segment:
        return self.segments[-1]

    def _cut(self, doubt: bool = False) -> None:
        """Between the present segment and a new one; doubt is about both."""
        self._now.doubt |= doubt
        self.segments.append(Segment(doubt))

    def _unit(self, token: Token, following: Token) -> None:
        """Words: the unit of the number before them, a name that is counted with, or prose."""
        is_unit = self._now.ended
        if is_unit:
            self._now.tokens.append(token)
            if following.kind in ("operator", "equals", "close"):
                return
        elif self._now.tokens:
            self._now.doubt = True
        self._cut()
        counted = following.kind in ("operator", "power", "percent", "equals", "open")
        self._now.doubt = counted or token.text.rpartition(" ")[2] in _LEADING


def _begins(token: Token) -> bool:
    """Whether an operand begins here."""
    return token.kind in _BEGINS or _SIGNS.get(token.text) == "-"


def _unbracketed(tokens: Sequence[Token]) -> Sequence[Token]:
    """What stands behind the last bracket that nothing closes."""
    depth = 0
    for at in range(len(tokens) - 1, -1, -1):
        depth += {"open": 1, "close": -1}.get(tokens[at].kind, 0)
        if depth > 0:
            return tokens[at + 1 :]
    return tokens


class _Unreadable(ValueError):
    """Tokens that are no arithmetic."""


class _Reader:
    """Recursive descent over the tokens of one side; `percent` is what one percent is worth."""

    def __init__(self, tokens: Sequence[Token], percent: Fraction) -> None:
        self.operators: list[Operator] = []
        self.parts: set[Fraction] = set()
        self._tokens = tokens
        self._percent = percent
        self._at = 0

    def whole(self) -> Fraction:
        """Raises `_Unreadable`."""
        total = self._sum()
        if self._at < len(self._tokens):
            raise _Unreadable
        return total

    def _sum(self) -> Fraction:
        terms = [self._product()]
        while sign := self._operator("+-"):
            term = self._product()
            terms.append(-term if sign == "-" else term)
        return self._joined(terms, sum)

    def _product(self) -> Fraction:
        factors = [self._factor()]
        while (sign := self._operator("*/")) or self._sees("open"):
            factor = self._factor()
            factors.append(1 / factor if sign == "/" else factor)
        return self._joined(factors, math.prod)

    def _factor(self) -> Fraction:
        if self._sees("operator"):
            if _SIGNS.get(self._take("operator").text) != "-":
                raise _Unreadable
            return -self._factor()
        base = self._atom()
        self._unit()
        while self._sees("power"):
            sign = self._take("power").text
            base = _power(base, Fraction("²³".find(sign) + 2) if sign in "²³" else self._atom())
        while self._sees("percent"):
            self._take("percent")
            base *= self._percent
        self._unit()
        return base

    def _atom(self) -> Fraction:
        """A number, a fraction, or what stands in brackets."""
        if self._sees("open"):
            closing = _CLOSING[self._take("open").text]
            inside = self._sum()
            if self._take("close").text != closing:
                raise _Unreadable
            return inside
        if self._sees("fraction"):
            self._take("fraction")
            return self._joined([self._atom(), 1 / self._atom()], math.prod)
        number = Number(0, self._take("number").text).value
        rest = self._atom() if self._sees("fraction") else Fraction(0)  # of a mixed number
        if not 0 <= rest < 1:
            raise _Unreadable
        return number + rest

    def _unit(self) -> None:
        if self._sees("unit") and not _SCALING.isdisjoint(words(self._take("unit").text)):
            raise _Unreadable

    def _operator(self, signs: str) -> str:
        """The sign that stands here, if it is one of these."""
        if not self._sees("operator"):
            return ""
        token = self._tokens[self._at]
        operator = Operator(token.start, token.text)
        if operator.sign not in signs:
            return ""
        self._at += 1
        self.operators.append(operator)
        return operator.sign

    def _sees(self, kind: str) -> bool:
        return self._at < len(self._tokens) and self._tokens[self._at].kind == kind

    def _take(self, kind: str) -> Token:
        if not self._sees(kind):
            raise _Unreadable
        self._at += 1
        return self._tokens[self._at - 1]

    def _joined(
        self, operands: Sequence[Fraction], join: Callable[[Sequence[Fraction]], Fraction | int]
    ) -> Fraction:
        """What the operands come to; each way to come to a part of them is noted."""
        for size in range(2, len(operands) + 1 if len(operands) <= MOST_TERMS else 0):
            self.parts |= {abs(Fraction(join(some))) for some in combinations(operands, size)}
        return Fraction(join(operands))


def _power(base: Fraction, exponent: Fraction) -> Fraction:
    bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    if exponent.denominator != 1 or bits * abs(exponent) > MOST_BITS:
        raise _Unreadable
    return base**exponent.numerator
