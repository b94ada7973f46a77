"""What a person sees of a solve: a live view on a terminal, one line an event elsewhere.

Text of models and servers is shown less its control characters, and never read as markup.
"""

import unicodedata
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.panel import Panel
from rich.segment import Segment
from rich.spinner import Spinner
from rich.table import Column, Table
from rich.text import Text

from surefoot import types as t


def clean(text: str) -> str:
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs"))


def one_line(text: str) -> str:
    return " ".join(clean(text).split())


def line(event: t.Event) -> str:
    match event:
        case t.StepWritten(round, sample, step, text):
            words = f"round {round}, sample {sample}, step {step}: {text}"
        case t.Drafted(round, sample, steps, answer):
            words = f"round {round}, sample {sample}: {len(steps)} steps, answer {answer or '-'}"
        case t.Verified(round, sample, scores, weak):
            row = " ".join(f"{score.correct:.2f}" for score in scores)
            words = f"round {round}, sample {sample}: scores {row}, first weak: {weak or 'none'}"
        case t.Revised(round, kept, _, score, steps, answer, sample=sample):
            revision = _revision(round, kept + 1, score, sample)
            words = f"{revision}: {len(steps)} steps, answer {answer or '-'}"
        case t.CandidateFound(sample, answer, score):
            words = f"candidate {sample}: answer {answer or '-'}, score {scored(score)}"
        case t.Done(solution):
            words = "; ".join((_outcome(solution), _cost(solution), *solution.warnings))
    return one_line(words)


@contextmanager
def watching(question: str, console: Console | None = None) -> Iterator[Callable[[t.Event], None]]:
    """Gives what to tell the events to. What was heard stays on the terminal, however it ends."""
    scene = Scene(question)
    with Live(scene, console=console):
        try:
            yield scene.hear
        finally:
            scene.over = True


class Scene:
    """All that is known of a solve so far; of several samples, the path of the first.

    A thread of rich's renders it, so what it holds is replaced and never changed.
    """

    def __init__(self, question: str) -> None:
        self.over = False
        self._question = Panel(Text(clean(question)), title="question", title_align="left")
        self._steps: tuple[t.Step, ...] = ()
        self._weak: int | None = None
        self._causes: dict[int, t.Score | None] = {}
        self._candidates: dict[tuple[int, int], t.Candidate] = {}
        self._solution: t.Solution | None = None
        self._spinner = Spinner("dots", "waiting for the first step")

    def hear(self, event: t.Event) -> None:
        self._spinner.update(text=Text(line(event)[:70], "dim"))
        match event:
            case t.StepWritten(round, 0, step, text):
                self._write(round, step - 1, (text,))
            case t.Drafted(round, sample, steps, answer, tokens):
                found = t.Candidate(sample, answer, None, tokens)
                self._candidates = {**self._candidates, (sample, 0): found}
                if sample == 0:
                    self._write(round, 0, steps)
            case t.Revised(round, kept, _, _, steps, sample=0):
                stands = tuple(step.text for step in self._steps[:kept]) == steps[:kept]
                self._write(round, kept, steps[kept:]) if stands else self._write(round, 0, steps)
            case t.Verified(round, 0, scores, weak):
                pairs = zip(self._steps, scores, strict=False)
                self._steps = tuple(replace(step, score=score) for step, score in pairs)
                self._weak = weak
                cause = dict(enumerate(scores, 1)).get(weak or 0)
                self._causes = {**self._causes, round + 1: cause}
            case t.CandidateFound(sample, round=round):
                self._candidates = {**self._candidates, (sample, round): event}
            case t.Done(solution):
                self._steps, self._solution = solution.steps, solution
                last = max((step.round for step in solution.steps), default=0)
                self._weak = {it.round: it.first_weak for it in solution.rounds}.get(last)

    def _write(self, round: int, kept: int, texts: Iterable[str]) -> None:
        written = (t.Step(kept + k, text, round, None) for k, text in enumerate(texts, 1))
        self._steps, self._weak = (*self._steps[:kept], *written), None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Once it is over, all of it; before, as many of its last lines as the terminal is high."""
        parts: list[RenderableType] = [self._question, self._path(), ""]
        if len(self._candidates) > 1:
            parts.append(_samples(self._candidates.values()))
        if self._solution:
            parts.extend(_result(self._solution))
        elif not self.over:
            parts.append(self._spinner)
        rows = console.render_lines(Group(*parts), options)
        for row in rows if self.over else rows[1 - console.height :]:
            yield from (*row, Segment.line())

    def _path(self) -> Table:
        table = Table.grid("", "", "", "", padding=(0, 1))
        steps, round = self._steps, 0
        for step in steps:
            if step.round > round:
                round = step.round
                revision = _revision(round, step.step, self._causes.get(round))
                table.add_row("", "", "", Text(revision, "bold magenta"))
            kept = Text("kept" if step.round < steps[-1].round else "", "green")
            state = Text("weak", "bold red") if step.step == self._weak else kept
            table.add_row(str(step.step), scored(step.score), state, Text(clean(step.text)))
        return table


def scored(score: t.Score | float | None) -> Text:
    number = score.correct if isinstance(score, t.Score) else score
    if number is None:
        return Text("-", "dim")
    return Text(f"{number:.2f}", "green" if number >= 0.8 else "yellow" if number >= 0.5 else "red")


def _revision(round: int, step: int, score: t.Score | float | None, sample: int = 0) -> str:
    path = f"round {round}, sample {sample}" if sample else f"round {round}"
    return f"{path}: revising from step {step} ({scored(score)})"


def _outcome(solution: t.Solution) -> str:
    answer = "none found" if solution.answer is None else solution.answer
    checked = "verified" if solution.verified else "not verified"
    return clean(f"answer: {answer} ({checked}, {solution.stop_reason})")


def _cost(solution: t.Solution) -> str:
    spent = f"{solution.usage.total:,} tokens computed"
    if (other := solution.baseline) is None:
        return spent
    against = f"{other.strategy}, n={other.n} ({other.kind})"
    return clean(f"{spent}, {other.saving:.0%} saved against {against}")


def _samples(candidates: Iterable[t.Candidate]) -> Table:
    table = Table("sample", "answer", "score", "tokens")
    for found in candidates:
        answer, score = Text(clean(found.answer or "-")), scored(found.score)
        name = f"{found.sample}, round {found.round}" if found.round else str(found.sample)
        table.add_row(name, answer, score, f"{found.tokens:,}")
    return table


def _result(solution: t.Solution) -> list[RenderableType]:
    style = "bold green" if solution.verified else "bold yellow"
    warnings = [Text(f"warning: {clean(warning)}", "yellow") for warning in solution.warnings]
    return [Text(_outcome(solution), style), *warnings, _tokens(solution), Text(_cost(solution))]


def _tokens(solution: t.Solution) -> Table:
    (first, *names), *rows = token_rows(solution)
    table = Table(first, *(Column(clean(name), justify="right") for name in names))
    for row in rows:
        table.add_row(*row, style="bold" if row is rows[-1] else None)
    return table


def token_rows(solution: t.Solution) -> list[list[str]]:
    """What the solve cost by kind, beside its baseline if it has one; names first."""
    costs: list[t.Usage | t.Baseline] = [solution.usage]
    names = ["tokens", "this solve"]
    if solution.baseline is not None:
        costs.append(solution.baseline)
        names.append(solution.baseline.strategy)
    return [
        names,
        ["policy, prompt", *(f"{cost.policy.prompt:,}" for cost in costs)],
        ["policy, cached of it", *(f"{cost.policy.cached:,}" for cost in costs)],
        ["policy, generated", *(f"{cost.policy.completion:,}" for cost in costs)],
        ["verifier", *(f"{cost.verifier.tokens:,}" for cost in costs)],
        ["computed in all", *(f"{cost.total:,}" for cost in costs)],
    ]


def plain(event: t.Event) -> str:
    """What is printed of an event where there is no terminal: a line, and the tokens at the end."""
    if not isinstance(event, t.Done):
        return line(event)
    rows = token_rows(event.solution)
    table = [
        f"{clean(name):<22}" + "".join(f"{clean(n):>14}" for n in rest) for name, *rest in rows
    ]
    return "\n".join([line(event), *table])
