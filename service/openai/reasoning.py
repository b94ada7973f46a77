"""The log of a solve as a reader follows it: drafts as they come, scores, what is revised and why.

It only ever grows, so that it can be streamed. Of samples that are written at once one is shown as
it comes; the others wait for their turn, and are then shown as far as they have got.
"""

from collections.abc import Callable

from service import events
from service.solution import Path, Solution

Sample = tuple[int, int]
"""The round and the number of a path that is being written."""


class Log:
    """A listener; each new piece of its `text` is told as well."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.text = ""
        self._tell = tell
        self._shown: Sample | None = None
        self._waiting: dict[Sample, str] = {}
        self._ended: set[Sample] = set()
        self._kept: int | None = 0

    def hear(self, event: events.Event) -> None:
        match event:
            case events.TextWritten(round, sample, text):
                self._written((round, sample), text)
            case events.Drafted(path) | events.Revised(path):
                self._end(_sample(path))
            case events.Verified(path, weak):
                # Where there are several paths, which of them is left is told of when it was.
                alone = path.sample == 0 and self._kept is not None
                self._kept = (weak or 0) if alone else None
                self._note(_scored(path, weak))
            case events.CandidateFound(sample, answer, score=None, round=round):
                self._note(f"{_name((round, sample)).capitalize()} answers {_stated(answer)}.")
            case events.Warned(message):
                self._note(message)
            case events.CandidateFound() | events.StepWritten():
                pass

    def choose(self, solution: Solution) -> None:
        """The last words: what became the answer, and why the solve ended."""
        reason = solution.stop_reason.replace("_", " ")
        self._note(f"Chosen: {_name(_sample(solution.path))} ({reason}).")

    def _written(self, sample: Sample, text: str) -> None:
        if self._shown is None:
            self._show(sample)
        if self._shown == sample:
            self._say(text)
        else:
            self._waiting[sample] = self._waiting.get(sample, "") + text

    def _show(self, sample: Sample) -> None:
        self._shown = sample
        round, _ = sample
        since = "" if self._kept is None else f", from step {self._kept + 1}"
        name = _name(sample)
        self._say(f"{name.capitalize()}{since if round else ''}\n")

    def _end(self, sample: Sample) -> None:
        self._ended.add(sample)
        while self._shown in self._ended:
            self._say("\n\n")
            self._shown = None
            self._next()

    def _next(self) -> None:
        if self._waiting:
            sample = next(iter(self._waiting))
            self._show(sample)
            self._say(self._waiting.pop(sample))

    def _note(self, sentence: str) -> None:
        """A sentence of our own, when all that waited has been shown."""
        while self._shown is not None:
            self._end(self._shown)
        self._say(f"{sentence}\n\n")

    def _say(self, text: str) -> None:
        self.text += text
        self._tell(text)


def _name(sample: Sample) -> str:
    round, number = sample
    if not round:
        return f"draft {number + 1}"
    return f"revision {round}, path {number + 1}" if number else f"revision {round}"


def _sample(path: Path) -> Sample:
    return path.round, path.sample


def _stated(answer: str | None) -> str:
    return "nothing" if answer is None else answer


def _scored(path: Path, weak: int | None) -> str:
    scores = ", ".join(f"{step.score.correct:.2f}" for step in path.steps if step.score)
    name = _name(_sample(path)).capitalize()
    if path.answer is None:
        return f"{name} scored {scores or 'nothing'}; it states no final answer."
    doubt = "no step is in doubt" if weak is None else f"step {weak + 1} is in doubt"
    return f"{name} scored {scores}, step by step; {doubt}."
