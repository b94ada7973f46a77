r"""Extracts the final answer of a text and compares two answers.

Nothing is evaluated in this process: numbers are compared exactly, words by their letters, and all
else goes to math-verify in a process of its own, which is killed when it takes too long. What names
one number among words, "18 eggs" or "She sells 18 eggs", is that number; an option, "(B) 18 eggs",
its letter. Not covered: rounding ("0.33" is not "1/3"), and quarters, which are taken for coins.
"""

import asyncio
import logging
import multiprocessing
import os
import re
from collections.abc import Sequence
from fractions import Fraction
from functools import partial
from typing import Any

from pebble import ProcessExpired, ProcessPool

LONGEST = 1_000  # characters; what is longer is not handed to math-verify

_BARE_BOX = re.compile(r"\\(?:boxed|fbox)\s*(-?\d(?:[\d.,/]*\d)?%?|[A-Za-z]\b)")
_BRACE = re.compile(r"\\[{}]|\\\\(?!boxed|fbox)|(\\(?:boxed|fbox)\s*\{|[{}])")
_TAGGED = re.compile(r"(?s).*<ans>((?:(?!<ans>).)+?)</ans>")
_STATED = re.compile(r"(?is).*\banswer[*_ \t]*(?::|is\b)[:*_\s]*+(\S[^\n]*?)(?:[.!]\s|\n|\Z)")
_REWRITES = (
    (r"\\(?:left|right)(?![a-z])|\\!|\^\{?\\circ\}?|°", ""),
    (r"\\(?:text(?:bf|it|rm)?|math(?:rm|bf)|mbox)\s*\{([^{}]*)\}", r" \1 "),
    (r"\\[dt]frac(?![a-z])", r"\\frac"),
    (r"\\[,;: ]|~", " "),
    (r"\{,\}", ","),
    (r"\\?[$€£¥₹]|(?<=\d)\s*(?:dollars?|euros?)\b", ""),
    (r"\\%|(?<=\d)\s*percent\b", "%"),
    (r"[−–]", "-"),
    (r"\s+", " "),
    (r"\A\(([A-Z])\) [\w$\\-].*", r"\1"),
    (r"(?<!\w) | (?!\w)", ""),
    (r"\.\Z", ""),
    (r"\A\(?([A-Z])\)?:?\Z", r"\1"),
)
_WORDS = re.compile(r"|[A-Z]|(?i:no)|(?=.*[^\W\d_]{3})[^\W\d_]+(?:[ '][^\W\d_]+)*")
_WORD = r"[^\W\d_]++(?:[-'’][^\W\d_]++)*+"
_TALK = rf"(?:{_WORD}|[ ,:;.()])*+"
_STATEMENT = re.compile(rf"({_TALK})(?<![\w.])(-?(?:\d[\d,]*(?:\.\d+)?|\.\d+))(?!\w)({_TALK})")
_OPPOSED = re.compile("than|least|most|not|minus|negative")  # before the number
_MEANT = re.compile(  # by these it is another number
    "dozens?|(?:hundred|thousand|[bmtr]+illion)s?|half|halves|thirds?|(?:four|fif|six|seven|eigh|nin|"
    "ten)ths|squared?|cubed?|roots?|sin|cos|tan|log|mod|factorial"
)
_NUMBER = re.compile(
    r"""(?ax) (?P<sign>[+-]?) [ ]? (?P<whole>\d+[ ](?=\d+/))?
    (?P<rest> \d+/0*[1-9]\d* | (?=\.?\d) (?: \d{1,3}(?:[, ]\d{3})+ | \d* ) (?:\.\d+)? ) %?"""
)


def extract(text: str) -> str | None:
    r"""The last `\boxed{…}`, else the last `<ans>…</ans>`, else what "answer:" or "answer is" says.

    Of a statement, its first sentence. A box or tag that is not closed holds no answer.
    """
    if boxed := _boxed(text):
        return boxed
    for found in (_TAGGED.match(text), _STATED.match(text)):
        if found and "\\boxed" not in found[1] and (answer := _trimmed(found[1])):
            return answer
    return None


def normal(answer: str) -> str:
    """The answer without what only sets its type, and words without case."""
    text = _trimmed(answer)
    for pattern, replacement in _REWRITES:
        text = re.sub(pattern, replacement, text)
    return text.casefold() if len(text) > 1 and _WORDS.fullmatch(text) else text


class Grader:
    """Compares answers; hard cases go to math-verify in a process that can be killed."""

    def __init__(self, timeout: float = 5.0, workers: int = 1) -> None:
        spawn: Any = multiprocessing.get_context("spawn")  # pebble's type for it is too narrow
        self._new_pool = partial(ProcessPool, workers, initializer=_prepare, context=spawn)
        self._pool = self._new_pool()  # starts nothing before its first task
        self._timeout = timeout

    async def same(self, gold: str, answer: str) -> bool:
        """Whether they mean the same; no, if that cannot be found out in time."""
        plain = _plainly_same(gold, answer)
        if plain is not None:
            return plain
        if not self._pool.active:
            self._pool = self._new_pool()
        future = self._pool.schedule(_equivalent, args=(gold, answer), timeout=self._timeout)
        try:
            return await asyncio.wrap_future(future)
        except (TimeoutError, ProcessExpired):
            return False

    async def group(self, answers: Sequence[str]) -> list[int]:
        """The number of each answer's cluster, in order of first appearance."""
        leaders: list[str] = []
        clusters: dict[str, int] = {}
        for answer in answers:
            if normal(answer) not in clusters:
                clusters[normal(answer)] = await self._place(answer, leaders)
        return [clusters[normal(answer)] for answer in answers]

    def close(self) -> None:
        self._pool.stop()  # type: ignore[no-untyped-call]
        self._pool.join()

    async def _place(self, answer: str, leaders: list[str]) -> int:
        for number, leader in enumerate(leaders):
            if await self.same(leader, answer):
                return number
        leaders.append(answer)
        return len(leaders) - 1


def _boxed(text: str) -> str | None:
    text = _BARE_BOX.sub(r"\\boxed{\1}", text)
    opened: list[int] = []  # for each open brace, where a box's content begins, or 0
    answer, at = None, 0
    for brace in _BRACE.finditer(text):
        if brace[1] == "}":
            begin = opened.pop() if opened else 0
            if begin > at and (content := text[begin : brace.start()].strip()):
                answer, at = content, begin
        elif brace[1]:
            opened.append(0 if brace[1] == "{" else brace.end())
    return answer


def _trimmed(answer: str) -> str:
    text = answer.strip().strip("*").rstrip(".*").strip()
    if text.startswith(("\\(", "\\[")) and text.endswith(("\\)", "\\]")):
        text = text[2:-2]
    return text.strip("$ ") if text.startswith("$") and text.endswith("$") else text


def _plainly_same(gold: str, answer: str) -> bool | None:
    """What can be told without mathematics; None if nothing can."""
    wanted, given = normal(gold), normal(answer)
    if wanted == given:
        return True
    if max(len(gold), len(answer)) > LONGEST or any(map(_WORDS.fullmatch, (wanted, given))):
        return False
    (left, of), (right, by) = _quantity(wanted), _quantity(given)
    if left is None or right is None:
        return None
    hundredfold = wanted.endswith("%") and not given.endswith("%")
    alike = left == right or (hundredfold and left == 100 * right)
    return alike and (of <= by or by <= of)


def _quantity(form: str) -> tuple[Fraction | None, frozenset[str]]:
    """The one number that a normal form names, and the words around it."""
    if not (found := _STATEMENT.fullmatch(form)):
        return _number(form), frozenset()
    before, after = (re.findall(_WORD, found[group].casefold()) for group in (1, 3))
    if not (words := frozenset(before + after)):
        return _number(form), words
    told = max(map(len, words)) > 2 and all(len(word) > 1 or word in "ai" for word in words)
    opposed = before and _OPPOSED.fullmatch(before[-1])
    if opposed or not told or any(map(_MEANT.fullmatch, words)):
        return None, words
    return _number(found[2]), words


def _number(form: str) -> Fraction | None:
    """The number that a normal form writes, a percent sign apart."""
    found = _NUMBER.fullmatch(re.sub(r"\\frac\{(\d+)\}\{(\d+)\}", r" \1/\2", form).strip())
    if not found:
        return None
    value = Fraction(re.sub("[, ]", "", found["rest"])) + int(found["whole"] or 0)
    return -value if found["sign"] == "-" else value


def _equivalent(gold: str, answer: str) -> bool:
    """In the worker, whose main thread math-verify's own timeouts need: what math-verify says."""
    from math_verify import LatexExtractionConfig, parse, verify

    latex = [LatexExtractionConfig()]
    wanted, given = (parse(f"\\boxed{{{_trimmed(text)}}}", latex) for text in (gold, answer))
    return bool(verify(wanted, given))


def _prepare() -> None:
    """In the worker: all loaded before the first comparison's time runs, and no noise from then."""
    _equivalent("x", "y")
    logging.disable()
    for stream in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
