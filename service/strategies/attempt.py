"""One question being solved: what a strategy may do, in the words of the method.

It turns drafts and revisions into prompts, completions into paths, paths into verdicts, and tells
the listener of each. Budgets, batching and tokens are the business of what it is given.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Generic, Literal, TypeVar

from service import events
from service.engines.base import Delta, Engine, Message, Prompt, Sampling, Usage, at
from service.errors import EngineError
from service.solution import NOTHING, Path
from service.strategies import prompts
from verifier import steps
from verifier.answers import Grader
from verifier.scoring import Score, Verdict, Verifier

SAMPLES_MOST = 64  # how far apart the seeds of two rounds lie
RUNS_APART = 64 * SAMPLES_MOST  # and those of two runs

Form = Literal["steps", "free"]
Written = TypeVar("Written", events.Drafted, events.Revised)


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: the conversation for the policy, its last user turn for the verifier.

    `form`: in "steps", with our format and a path begun for the policy; or "free", as it came.
    """

    messages: tuple[Message, ...]
    sampling: Sampling
    form: Form = "steps"

    @property
    def text(self) -> str:
        return next(m.content for m in reversed(self.messages) if m.role == "user")

    def redrawn(self, run: int) -> Question:
        """The question with seeds that no earlier run of it has drawn with."""
        return replace(self, sampling=at(self.sampling, RUNS_APART * run))

    def instructed(self) -> tuple[Message, ...]:
        """The conversation; in steps, its system turn is led by our format."""
        if self.form == "free":
            return self.messages
        own = "\n\n".join(m.content for m in self.messages if m.role == "system")
        system = f"{prompts.FORMAT}\n\n{own}" if own else prompts.FORMAT
        return (Message("system", system), *(m for m in self.messages if m.role != "system"))

    def prompt(self, begins_turns: bool) -> Prompt:
        """What a draft is asked for with."""
        begun = begins_turns and self.form == "steps"
        return Prompt(self.instructed(), steps.OPENING if begun else "")


@dataclass(frozen=True, slots=True)
class Attempt:
    question: Question
    engine: Engine
    verifier: Verifier
    grader: Grader
    tell: events.Listener
    begins_turns: bool
    threshold: Score

    @property
    def greedy(self) -> bool:
        """Whether the same prompt always gets the same completion."""
        return self.question.sampling.temperature == 0

    @property
    def opening(self) -> str:
        """What a draft is begun with."""
        return self.question.prompt(self.begins_turns).prefix

    def open_ended(self, path: Path) -> bool:
        """Whether the path is free text that states no final answer, to be left as it is."""
        return self.question.form == "free" and path.answer is None

    def bar(self, threshold: float | None) -> Score:
        """What scores must reach: what the request says, or else the verifier's own threshold."""
        return self.threshold if threshold is None else Score(threshold, threshold)

    async def draft(self, n: int = 1) -> list[Path]:
        """Sample n paths from scratch; those without a step are left out, unless none has one."""

        def finished(sample: int, suffix: str, usage: Usage) -> events.Drafted:
            return events.Drafted(Path.parse(self.opening + suffix, sample=sample, usage=usage))

        prompt = self.question.prompt(self.begins_turns)
        written, lost = await self._write([prompt] * n, 0, finished)
        if lost:
            self.tell(events.Warned(f"{lost} of {n} samples failed and were left out."))
        paths = [event.path for event in written]
        return [path for path in paths if path.steps] or paths[:1]

    async def revise(self, path: Path, weak: int, round: int, *, rewrite: bool) -> Path:
        """Write the path anew from step `weak` (from 0) on; the steps before it stay."""
        if not rewrite and not self.begins_turns:
            self.tell(events.Warned("revise: 'rewrite' was used; this engine takes whole chats."))
        if rewrite or not self.begins_turns:
            return await self._rewrite(path, weak, round)
        return await self._resume(path, weak, round)

    async def verify(
        self, paths: Sequence[Path], doubt: Callable[[Path], int | None]
    ) -> list[Path]:
        """The paths with a score at every step; `doubt` says which step the listener hears of."""
        question = self.question.text
        chains = [path.chain(question) for path in paths if path.steps]
        verdicts = iter(await self.verifier.score(chains) if chains else ())
        done = []
        for path in paths:
            verdict = next(verdicts) if path.steps else Verdict(())
            done.append(path.scored(verdict.scores))
            self.tell(events.Verified(done[-1], doubt(done[-1]), verdict.cost))
        return done

    def found(self, path: Path, score: float | None) -> None:
        """Tell of one sample of several."""
        self.tell(events.CandidateFound(path.sample, path.answer, score, path.usage.completion))

    async def group(self, paths: Sequence[Path]) -> list[int]:
        """For each path the number of the first one that has the same answer."""
        clusters = await self.grader.group([path.answer or "" for path in paths])
        return [clusters.index(cluster) for cluster in clusters]

    async def _resume(self, path: Path, weak: int, round: int) -> Path:
        """Our default: the kept prefix stands to the character, the policy goes on from it."""

        def finished(_: int, suffix: str, usage: Usage) -> events.Revised:
            return events.Revised(
                path.resumed(weak, suffix, round, usage), weak, path.correct(weak)
            )

        prompt = Prompt(self.question.instructed(), path.prefix(weak))
        (event,), _ = await self._write([prompt], round, finished)
        return event.path

    async def _rewrite(self, path: Path, weak: int, round: int) -> Path:
        """The paper's prompt. Kept steps are restored from our copy, whatever became of them."""

        def finished(_: int, suffix: str, usage: Usage) -> events.Revised:
            rewritten = _restored(path, weak, self.opening + suffix, round, usage)
            return events.Revised(rewritten, weak, path.correct(weak))

        request = prompts.REWRITE.format(
            question=self.question.text,
            path=steps.join([step.text for step in path.steps]),
            percent=f"{100 * (path.correct(weak) or 0.0):.1f}",
            number=weak + 1,
        )
        *earlier, _ = self.question.instructed()
        prompt = Prompt((*earlier, Message("user", request)), self.opening)
        (event,), _ = await self._write([prompt], round, finished)
        return event.path

    async def _write(
        self, prompts: Sequence[Prompt], round: int, finished: Callable[[int, str, Usage], Written]
    ) -> tuple[list[Written], int]:
        """Complete the prompts: what was written, in order, and how many samples were lost."""
        writers = [
            Writer(round, sample, _last_line(prompt.prefix), partial(finished, sample), self.tell)
            for sample, prompt in enumerate(prompts)
        ]

        def watch(delta: Delta) -> bool:
            writers[delta.index].hear(delta)
            return True

        sampling = at(self.question.sampling, SAMPLES_MOST * round)
        await self.engine.complete(prompts, sampling, watch)
        written = [writer.written for writer in writers if writer.written is not None]
        if not written:
            raise EngineError("The engine failed on every sample; look at its log and try again.")
        return written, len(prompts) - len(written)


def _restored(path: Path, weak: int, turn: str, round: int, usage: Usage) -> Path:
    """The steps before `weak` from `path`, the others from the model's rewritten turn."""
    rewritten = [piece.text for piece in steps.split(turn)]
    first = re.search(r"^\W*step (\d+)", turn, re.IGNORECASE | re.MULTILINE)
    skipped = weak if first is None or int(first[1]) <= 1 else weak + 1 - int(first[1])
    kept = path.steps[:weak]
    text = steps.join([*(step.text for step in kept), *rewritten[max(skipped, 0) :]])
    fresh = Path.parse(text, round=round, sample=path.sample, usage=usage)
    return replace(fresh, steps=(*kept, *fresh.steps[weak:]))


def _last_line(prefix: str) -> str:
    return prefix.rpartition("\n")[2]


@dataclass(slots=True)
class Writer(Generic[Written]):
    """Gathers one path as its text comes, tells it, and tells of each step that is finished."""

    round: int
    sample: int
    begun: str
    finished: Callable[[str, Usage], Written]
    tell: events.Listener
    written: Written | None = None
    text: str = ""
    usage: Usage = NOTHING
    paid: int = 0
    told: int = 0

    def hear(self, delta: Delta) -> None:
        self.usage += delta.usage
        if delta.text:
            self._tell_text(delta.text)
        self.text += delta.text
        if delta.finish == "failed":
            return
        if delta.finish is None and "\n" not in delta.text:
            return
        written = self.finished(self.text, self.usage)
        written = replace(written, path=replace(written.path, cut=delta.finish == "length"))
        self._tell_steps(written.path, whole=delta.finish is not None)
        if delta.finish is not None:
            self.written = written
            self.tell(written)

    def _tell_text(self, text: str) -> None:
        begun = "" if self.text else self.begun
        spent = self.usage.completion - self.paid
        self.paid += spent
        self.tell(events.TextWritten(self.round, self.sample, begun + text, spent))

    def _tell_steps(self, path: Path, *, whole: bool) -> None:
        done = len(path.steps) if whole else len(path.steps) - 1
        for index in range(self.told, done):
            step = path.steps[index]
            if step.round == path.round:  # a kept step is not written again
                self.tell(events.StepWritten(path.round, self.sample, index, step.text))
            self.told = index + 1
