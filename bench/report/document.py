"""A document of headings, paragraphs, tables, pictures and paths to read; and its Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True)
class Table:
    """The first column is text, the others numbers; in `prose`, text too. `note` stands below."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    folded: bool = False
    """Shown when asked for: it is long."""
    prose: bool = False


@dataclass(frozen=True, slots=True)
class Picture:
    """A file beside the page; `says` what is to be seen in it."""

    file: Path
    says: str

    @classmethod
    def drawn(cls, figure: Figure, file: Path, says: str) -> Picture:
        figure.savefig(file, dpi=130)
        return cls(file, says)


@dataclass(frozen=True, slots=True)
class Line:
    """A step: its text, what the verifier said of it, and the round that wrote it."""

    text: str
    score: str
    round: int


@dataclass(frozen=True, slots=True)
class Case:
    """A solve to read: the question, the right answer, what was seen."""

    title: str
    question: str
    gold: str
    answer: str
    paths: Sequence[tuple[str, Sequence[Line]]]


Part = str | Table | Picture | Case


@dataclass(frozen=True, slots=True)
class Section:
    title: str
    parts: Sequence[Part]


@dataclass(frozen=True, slots=True)
class Document:
    title: str
    lead: Sequence[str]
    sections: Sequence[Section]

    def markdown(self) -> str:
        blocks = [f"# {self.title}", *self.lead]
        for section in self.sections:
            blocks += [f"## {section.title}", *map(_markdown, section.parts)]
        return "\n\n".join(blocks) + "\n"


def _markdown(part: Part) -> str:
    match part:
        case str():
            return part
        case Table():
            return _table(part)
        case Picture(file, says):
            return f"![{says}]({file.name})"
        case Case():
            return _case(part)


def _table(table: Table) -> str:
    rule = [":--", *[":--" if table.prose else "--:"] * (len(table.columns) - 1)]
    cells = [table.columns, rule, *table.rows]
    lines = [f"| {' | '.join(each.replace('|', '¦') for each in row)} |" for row in cells]
    return "\n".join(lines) + (f"\n\n{table.note}" if table.note else "")


def _case(case: Case) -> str:
    lines = [f"**{case.title}**", "", f"> {_quoted(case.question)}", ""]
    lines.append(f"Right: `{case.gold}`. Answered: `{case.answer}`.")
    for title, steps in case.paths:
        lines += ["", f"*{title}*", ""]
        lines += [f"{n}. `{step.score}` {_quoted(step.text)}" for n, step in enumerate(steps, 1)]
    return "\n".join(lines)


def _quoted(text: str) -> str:
    """A model's text as text: no markup of its own, and one line."""
    plain = " ".join(text.split())
    return "".join(f"\\{c}" if c in "\\`*_[]<>#|$" else c for c in plain)
