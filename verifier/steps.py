r"""Splits a path into steps and joins it again: the only copy, for training and serving alike.

A policy is asked for one "Step k: …" a step, the conclusion behind the last. What it writes may
differ, so `split` takes the first of these that the text has: "Step k" labels (`<Step k>` tags, or
lines, also bold, headings or doubled), Markdown headings, a numbered list, paragraphs. What stands
before the first label is a preamble, not a step; numbering is ours. A body is stripped of white
space, closing tags and labels at its head; an emphasis that its label left open begins in the body.

Blocks hide what they hold from all of that: `\[ … \]`, `\begin{x} … \end{x}`, `$$ … $$`, fences.
A mark that nothing closes opens no block, and of two openers the later one counts. As `$$` reads
alike at both ends, a stray one would turn inside and outside about: so a `$$` never reaches past a
"Step k" label, nor past a blank line unless it ends its own line.

A verifier is shown the question, neutralised, as the user's turn, and the path as `marked` begins
the assistant's; it is read behind each marker. No token reaches past a marker: the tokens up to one
are the first of those up to the next.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

OPENING = "Step 1:"  # what an assistant's turn is begun with
MARKER = " ки"  # behind every step that a verifier reads (Math-Shepherd, 2312.08935)

# A "**" behind a label is taken with it, opened or not: so none put before a body makes it a label.
_CORE = r"""
    (?P<head>\#{1,6}[ \t]*)? (?:\*\*)? step[ \t]*\d+
    (?: (?:\*\*)? [ \t]* (?: [:\uff1a] | [.)–—-](?!\d) ) (?:\*\*)?
      | \*\*(?= \s | \Z | <step[ \t]*\d+[ \t]*> ) | (?(head)\b|(?!)) )
"""
_EXPLICIT = rf"(?: ^[ \t]*{_CORE} | <step[ \t]*\d+[ \t]*> )"
_FLAGS = re.IGNORECASE | re.MULTILINE | re.VERBOSE
_LABEL = re.compile(_EXPLICIT, _FLAGS)
_DOUBLED = re.compile(rf"(?: \s* {_CORE} )*", _FLAGS)
_HEADING = re.compile(r"^(\#{1,6})[ \t]+ (?: \d{1,3}[.)](?=\s) )?", _FLAGS)
_NUMBER = re.compile(r"^(?:\*\*)? \d{1,3}[.)] (?:\*\*)? (?=\s)", _FLAGS)
_GAP = re.compile(r"\A\s* | \n\s*\n\s*", re.VERBOSE)
_CLOSING_TAG = re.compile(r"</step(?:[ ]?\d+)?>(\n?)", re.IGNORECASE)
_CONCLUSION = re.compile(
    r"""[\W_]* (?: (?: (?:so|thus|hence|therefore)\W+ )? (?:the\s+)? (?:final\s+)?
                   answer (?: [\W_]*: | \s+is\b )
               | \\f?box(?:ed)?\b | <ans> ) [^\n]* (?: \n[\W_]* )?""",
    _FLAGS,
)
_MARK = re.compile(
    rf"""(?P<label> {_EXPLICIT} ) | (?P<blank> \n[ \t]*(?=\n) ) | \\[\\$]
    | (?P<open> \\\[ | \\begin\{{\w+\*?\}} ) | (?P<close> \\\] | \\end\{{\w+\*?\}} )
    | (?P<both> \$\$ | ``` )""",
    _FLAGS,
)
_CONTROL = re.compile(
    r"<(?=[|\uff5c][^<>|\uff5c]+[|\uff5c]>|/?s>|[be]os>|(?:start|end)_of_turn>|extra_\d+>)|\[(?=/?INST\])|к(?=и)"
)


@dataclass(frozen=True, slots=True)
class Piece:
    """A step's body, and the offset behind its label: a policy can write on from `text[:start]`."""

    text: str
    start: int


def label(number: int) -> str:
    return f"Step {number}:"


def join(steps: Sequence[str]) -> str:
    return "\n".join(f"{label(number)} {step}" for number, step in enumerate(steps, 1))


def marked(steps: Sequence[str]) -> str:
    """The assistant's turn that a verifier reads: every step, neutralised, with a marker behind."""
    return "\n".join(f"{label(k)} {neutralise(step)}{MARKER}" for k, step in enumerate(steps, 1))


def split(text: str) -> tuple[Piece, ...]:
    masked = _masked(_CLOSING_TAG.sub(lambda tag: tag[1].rjust(len(tag[0])), text))
    regions = _regions(_labels(text, masked), len(text))
    pieces = (_piece(text, masked, *mark.span(), end) for mark, end in regions)
    return tuple(piece for piece in pieces if piece.text)


def neutralise(text: str) -> str:
    """The text with imitated control tokens and verifier's markers broken by a zero-width space."""
    return _CONTROL.sub("\\g<0>\u200b", text)


def _piece(text: str, masked: str, opening: int, start: int, end: int) -> Piece:
    if doubled := _DOUBLED.match(masked, start, end):
        start = doubled.end()
    # Two blanks: with one, the halves of a broken tag around this one could make up a whole one.
    body = _CLOSING_TAG.sub(lambda tag: tag[1] or "  ", text[start:end]).strip()
    if text.count("**", opening, start) % 2 and "**" in body.partition("\n")[0]:
        body = f"**{body}"
    return Piece(body, start)


def _labels(text: str, masked: str) -> list[re.Match[str]]:
    return (
        list(_LABEL.finditer(masked))
        or _headings(masked)
        or list(_NUMBER.finditer(masked))
        or _paragraphs(text, masked)
    )


def _headings(masked: str) -> list[re.Match[str]]:
    """The headings of the highest level that occurs twice: a lone one above it is a title."""
    found = list(_HEADING.finditer(masked))
    levels = Counter(len(heading[1]) for heading in found)
    level = min((level for level, n in levels.items() if n > 1), default=min(levels, default=0))
    return [heading for heading in found if len(heading[1]) == level]


def _paragraphs(text: str, masked: str) -> list[re.Match[str]]:
    """The gaps before paragraphs; a conclusion belongs to the paragraph before it."""
    return [
        gap
        for gap, end in _regions(list(_GAP.finditer(masked)), len(text))
        if not (gap.start() and _CONCLUSION.fullmatch(text, gap.end(), end))
    ]


def _regions(labels: list[re.Match[str]], length: int) -> Iterator[tuple[re.Match[str], int]]:
    """Each label, and where what it labels ends."""
    return zip(labels, [following.start() for following in labels[1:]] + [length], strict=True)


def _masked(text: str) -> str:
    """The text with every block blotted out, so that no pattern matches inside one."""
    parts: list[str] = []
    at = 0
    for start, end in sorted(_blocks(text)):
        if end > at:
            parts += text[at:start], "\0" * (end - max(start, at))
            at = end
    return "".join(parts) + text[at:]


def _blocks(text: str) -> Iterator[tuple[int, int]]:
    """Where blocks begin and end, in one pass: each closing mark with its nearest opening one."""
    opened: dict[str, int] = {}
    for mark in _MARK.finditer(text):
        token = mark[0]
        match mark.lastgroup:
            case "open":
                opened[token.replace("[", "]").replace("begin", "end", 1)] = mark.start()
            case "close" | "both" if token in opened:
                yield opened.pop(token), mark.end()
            case "both":
                opened[token] = mark.start()
            case "label":
                opened.pop("$$", None)
            case "blank" if not text.startswith("$$\n", opened.get("$$", len(text))):
                opened.pop("$$", None)
