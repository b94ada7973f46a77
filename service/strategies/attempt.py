"""One question being solved: what a strategy may do, in the words of the method.

It turns drafts and revisions into prompts, completions into paths, paths into verdicts, and tells
the listener of each. Budgets, batching and tokens are the business of what it is given.
"""

from __future__ import annotations

import random
import re
from asyncio import TaskGroup
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from service import events
from service.engines.base import Delta, Engine, Message, Prompt, Sampling, Usage, at
from service.errors import ContextLengthExceeded, EngineError
from service.solution import UNCHECKED, Path
from service.strategies import prompts
from service.strategies.checking import Check, Stop
from service.strategies.writing import Writer, Written
from verifier import steps
from verifier.answers import Grader
from verifier.scoring import Aggregate, Score, Verdict, Verifier

SAMPLES_MOST = 64  # how far apart the seeds of two rounds lie
RUNS_APART = 64 * SAMPLES_MOST  # and those of two runs

NEXT_STEP = ("\nStep ", "\n**Step ", "\n### Step ", "\n<Step ")  # four: what others' APIs take

Form = Literal["steps", "free"]
Doubt = Callable[[Path], int | None]
"""The step of a verified path that is in doubt, if any."""


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
class Fork:
    """Where another path leaves a path: behind its first `kept` steps."""

    path: Path
    kept: int


@dataclass(frozen=True, slots=True)
class Manner:
    """How paths are written: whole; until `stop` names a step that fails; or one `step` on.

    `greedy`: in the likeliest tokens. `judged`: whether the verifier will be asked about them.
    """

    stop: Stop | None = None
    step: bool = False
    greedy: bool = False
    judged: bool = True


WHOLE = Manner()


@dataclass(frozen=True, slots=True)
class Attempt:
    question: Question
    engine: Engine
    verifier: Verifier
    grader: Grader
    tell: events.Listener
    begins_turns: bool
    threshold: Score
    aggregate: Aggregate
    heeds: bool
    """Whether the verifier heeds how certain the policy was."""

    @property
    def greedy(self) -> bool:
        """Whether the same prompt always gets the same completion."""
        return self.question.sampling.temperature == 0

    @property
    def opening(self) -> str:
        """What a draft is begun with."""
        return self.question.prompt(self.begins_turns).prefix

    @property
    def stepwise(self) -> bool:
        """Whether a path can be written a step at a time."""
        return self.begins_turns and self.question.form == "steps"

    def open_ended(self, path: Path) -> bool:
        """Whether the path is free text that states no final answer, to be left as it is."""
        return self.question.form == "free" and path.answer is None

    def bar(self, threshold: float | None) -> Score:
        """What scores must reach: what the request says, or else the verifier's own threshold."""
        return self.threshold if threshold is None else Score(threshold, threshold)

    def chance(self, paths: Sequence[Path]) -> random.Random:
        """Draws that a replay repeats: they hang on what was generated, and on nothing else."""
        return random.Random(str([(path.place, path.usage.completion) for path in paths]))

    async def draft(self, n: int = 1, *, first: int = 0, manner: Manner = WHOLE) -> list[Path]:
        """Sample n paths from scratch, numbered from `first` on; greedy ones are all alike.

        Those without a step are left out, unless none has one.
        """

        def finished(sample: int, suffix: str, usage: Usage) -> events.Drafted:
            return events.Drafted(Path.parse(self.opening + suffix, sample=sample, usage=usage))

        prompt = self.question.prompt(self.begins_turns)
        paths = await self._write([prompt] * n, 0, finished, manner, first)
        return [path for path in paths if path.steps] or paths[:1]

    async def revise(
        self, forks: Sequence[Fork], round: int, *, rewrite: bool = False, manner: Manner = WHOLE
    ) -> list[Path]:
        """Write on from every fork, whose number becomes the path's sample; kept steps stay."""
        if not rewrite and not self.begins_turns:
            self.tell(events.Warned("revise: 'rewrite' was used; this engine takes whole chats."))
        anew = rewrite or not self.begins_turns
        prompt, result = (self._rewriting, self._rewritten) if anew else (self._resuming, _resumed)

        def finished(sample: int, suffix: str, usage: Usage) -> events.Revised:
            fork = forks[sample]
            path = replace(result(fork, suffix, round, usage), sample=sample)
            return events.Revised(path, fork.kept, fork.path.correct(fork.kept))

        return await self._write([prompt(fork) for fork in forks], round, finished, manner)

    async def finish(self, path: Path, round: int, doubt: Doubt) -> Path:
        """The path; one that was stopped is written anew from the step that failed, to its end."""
        if not path.stopped:
            return path
        fork = Fork(path, len(path.steps) - 1)
        (whole,) = await self.verify(await self.revise([fork], round), doubt)
        return whole

    async def verify(self, paths: Sequence[Path], doubt: Doubt) -> list[Path]:
        """The paths with a score at every step; `doubt` says which step the listener hears of.

        A path that is longer than the verifier can read has scores at its first steps alone, and is
        in doubt from there. Raises `ContextLengthExceeded` if nothing of any could be read.
        """
        question = self.question.text
        chains = [path.chain(question) for path in paths if path.score("last") is None]
        verdicts = self._read(await self.verifier.score(chains) if chains else [])
        done = []
        for path in paths:
            known = path.chain(question).known
            verdict = next(verdicts) if path.score("last") is None else Verdict(known)
            done.append(replace(path.scored(verdict.scores), checking=UNCHECKED))
            self.tell(events.Verified(done[-1], doubt(done[-1]), path.checking + verdict.cost))
        return done

    def found(self, path: Path, score: float | None) -> None:
        """Tell of one path of several."""
        self.tell(
            events.CandidateFound(
                path.sample, path.answer, score, path.usage.completion, path.round
            )
        )

    async def group(self, paths: Sequence[Path]) -> list[int]:
        """For each path the number of the first one that has the same answer."""
        clusters = await self.grader.group([path.answer or "" for path in paths])
        return [clusters.index(cluster) for cluster in clusters]

    def _resuming(self, fork: Fork) -> Prompt:
        """Our default: the kept prefix stands to the character, the policy goes on from it."""
        return Prompt(self.question.instructed(), fork.path.prefix(fork.kept))

    def _rewriting(self, fork: Fork) -> Prompt:
        """The paper's prompt."""
        request = prompts.REWRITE.format(
            question=self.question.text,
            path=steps.join([step.text for step in fork.path.steps]),
            percent=f"{100 * (fork.path.correct(fork.kept) or 0.0):.1f}",
            number=fork.kept + 1,
        )
        *earlier, _ = self.question.instructed()
        return Prompt((*earlier, Message("user", request)), self.opening)

    def _rewritten(self, fork: Fork, suffix: str, round: int, usage: Usage) -> Path:
        """Kept steps are restored from our copy, whatever became of them in the model's."""
        return _restored(fork.path, fork.kept, self.opening + suffix, round, usage)

    async def _write(
        self,
        prompts: Sequence[Prompt],
        round: int,
        finished: Callable[[int, str, Usage], Written],
        manner: Manner,
        first: int = 0,
    ) -> list[Path]:
        """Complete the prompts; paths come in order, those of lost samples are left out."""
        drawn = at(self.question.sampling, SAMPLES_MOST * round + first)
        sampling = replace(
            drawn,
            temperature=0.0 if manner.greedy else drawn.temperature,
            stop=NEXT_STEP if manner.step and self.stepwise else (),
            certainty=manner.judged and self.heeds,
        )
        try:
            async with TaskGroup() as group:
                writers = [
                    Writer(
                        round=round,
                        sample=sample,
                        begun=_last_line(prompt.prefix),
                        finished=partial(finished, sample),
                        tell=self.tell,
                        check=self._check(manner.stop, group),
                    )
                    for sample, prompt in enumerate(prompts, first)
                ]

                def watch(delta: Delta) -> bool:
                    return writers[delta.index].hear(delta)

                await self.engine.complete(prompts, sampling, watch)
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from failures.exceptions[0].__cause__
        return self._left([writer.path for writer in writers])

    def _read(self, verdicts: Sequence[Verdict]) -> Iterator[Verdict]:
        """The verdicts in turn, when it has been told of those that are cut."""
        if cut := sum(verdict.cut for verdict in verdicts):
            if not any(verdict.scores for verdict in verdicts):
                raise ContextLengthExceeded(
                    "The question and a path are longer than the verifier can read; shorten it.",
                    "problem",
                )
            why = f"{cut} of {len(verdicts)} paths are longer than the verifier can read."
            self.tell(events.Warned(why))
        return iter(verdicts)

    def _check(self, stop: Stop | None, group: TaskGroup) -> Check | None:
        """Free text is never stopped: who knows whether it will state an answer."""
        if stop is None or self.question.form == "free":
            return None
        return Check(self.question.text, self.verifier, stop, group)

    def _left(self, paths: Sequence[Path | None]) -> list[Path]:
        """Those that were not lost."""
        left = [path for path in paths if path is not None]
        if not left:
            raise EngineError("The engine failed on every sample; look at its log and try again.")
        if lost := len(paths) - len(left):
            self.tell(events.Warned(f"{lost} of {len(paths)} samples failed and were left out."))
        return left


def _resumed(fork: Fork, suffix: str, round: int, usage: Usage) -> Path:
    return fork.path.resumed(fork.kept, suffix, round, usage)


def _restored(path: Path, weak: int, turn: str, round: int, usage: Usage) -> Path:
    """The steps before `weak` from `path`, the others from the model's rewritten turn."""
    rewritten = [piece.text for piece in steps.split(turn)]
    first = re.search(r"^\W*step (\d+)", turn, re.IGNORECASE | re.MULTILINE)
    skipped = weak if first is None or int(first[1]) <= 1 else weak + 1 - int(first[1])
    kept = path.steps[:weak]
    text = steps.join([*(step.text for step in kept), *rewritten[max(skipped, 0) :]])
    fresh = Path.parse(text, round=round, sample=path.sample, usage=usage)
    return replace(fresh, steps=(*kept, *fresh.steps[weak:]), parent=path.place)


def _last_line(prefix: str) -> str:
    return prefix.rpartition("\n")[2]
