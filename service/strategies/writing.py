"""One path as its text comes: gathered, told, and stopped where its check says so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from service import events
from service.engines.base import Delta, Usage
from service.solution import NOTHING, Path
from service.strategies.checking import Check

Written = TypeVar("Written", events.Drafted, events.Revised)


@dataclass(slots=True)
class Writer(Generic[Written]):
    """Tells of the text, of each step that is finished, and of the path when it is."""

    round: int
    sample: int
    begun: str
    finished: Callable[[str, Usage], Written]
    tell: events.Listener
    check: Check | None = None
    written: Written | None = None
    text: str = ""
    numbers: list[tuple[int, float]] = field(default_factory=list)
    usage: Usage = NOTHING
    paid: int = 0
    told: int = 0
    turning: bool = False

    def hear(self, delta: Delta) -> bool:
        """Whether the path shall be written on."""
        self.usage += delta.usage
        if delta.text:
            self._tell_text(delta.text)
        self.numbers += ((len(self.text) + end, probable) for end, probable in delta.numbers)
        self.text += delta.text
        if delta.finish not in (None, "failed"):
            self._end(delta)
        elif self._turns(delta.text):
            path = self._so_far().path
            self._tell_steps(path, len(path.steps) - 1)
            if self.check:
                self.check.hear(path)
        return self.check is None or self.check.failed is None

    @property
    def path(self) -> Path | None:
        """What came of it, with the scores of the steps that were checked; None if it was lost."""
        if self.written is None:
            return None
        if self.check is None:
            return self.written.path
        path = self.written.path.scored_like(self.check.scored)
        return replace(path, checking=self.check.cost)

    def _turns(self, text: str) -> bool:
        """Whether a step may have ended: behind a line's end, or a label and what follows it."""
        turned, self.turning = self.turning, "\n" in text or ":" in text
        return turned or self.turning

    def _so_far(self) -> Written:
        """A text that was taken up in other words says nothing of how certain these are."""
        written = self.finished(self.text, self.usage)
        if not (self.numbers and written.path.text.endswith(self.text)):
            return written
        begun = len(written.path.text) - len(self.text)
        numbers = [(begun + at, probable) for at, probable in self.numbers]
        return replace(written, path=written.path.certain(numbers))

    def _end(self, delta: Delta) -> None:
        written = self._so_far()
        path = replace(written.path, cut=delta.finish == "length")
        if delta.finish == "aborted" and self.check and self.check.failed is not None:
            path = replace(path.head(self.check.failed + 1), stopped=True)
        self.written = replace(written, path=path)
        self._tell_steps(path, len(path.steps))
        self.tell(self.written)

    def _tell_text(self, text: str) -> None:
        begun = "" if self.text else self.begun
        spent = self.usage.completion - self.paid
        self.paid += spent
        self.tell(events.TextWritten(self.round, self.sample, begun + text, spent))

    def _tell_steps(self, path: Path, done: int) -> None:
        for index in range(self.told, done):
            step = path.steps[index]
            if step.round == path.round:  # a kept step is not written again
                self.tell(events.StepWritten(path.round, self.sample, index, step.text))
            self.told = index + 1
