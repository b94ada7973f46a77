"""A stage for a strategy on which nothing is written: the paths of a trace are all there is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from service import events
from service.engines.base import Completion, Message, Prompt, Sampling, Watch, unwatched
from service.solution import Path, Place, Step
from service.strategies.attempt import WHOLE, Attempt, Doubt, Fork, Manner, Question
from service.traces.trace import KeptPath, Trace
from verifier import steps
from verifier.scoring import Chain, Meter, Verdict, unmetered


class Diverged(Exception):
    """The strategy asks for what was never written; the message says for what."""


@dataclass(frozen=True)
class Stage(Attempt):
    """An attempt whose drafts and revisions are those of a trace, scored as `paths` are."""

    trace: Trace
    paths: Mapping[Place, Path]
    anew: bool
    """Whether every path has been scored for this; else some may never have been verified."""

    async def draft(self, n: int = 1, *, first: int = 0, manner: Manner = WHOLE) -> list[Path]:
        places = [(sample, 0) for sample in range(first, first + n)]
        drafts = [self.paths[place] for place in places if place in self.paths]
        for path in drafts:
            self.tell(events.Drafted(path))
        over = bool(self.trace.candidates) or any(path.round for path in self.trace.paths)
        if not drafts or (n > 1 and not over):
            raise Diverged("The solve was cut short before it chose.")
        return [path for path in drafts if path.steps] or drafts[:1]

    async def revise(
        self, forks: Sequence[Fork], round: int, *, rewrite: bool = False, manner: Manner = WHOLE
    ) -> list[Path]:
        written = {(p.sample, p.round): p for p in self.trace.paths}
        for sample, fork in enumerate(forks):
            kept = written.get((sample, round))
            if kept is None or kept.kept != fork.kept or kept.parent not in (None, fork.path.place):
                step = f"step {fork.kept + 1} of sample {fork.path.sample}"
                raise Diverged(f"Round {round} would go on from {step}, which was not done.")
            path = self.paths[sample, round]
            self.tell(events.Revised(path, fork.kept, fork.path.correct(fork.kept)))
        return [self.paths[sample, round] for sample in range(len(forks))]

    async def verify(self, paths: Sequence[Path], doubt: Doubt) -> list[Path]:
        for path in paths:
            if not self.is_judged(path):
                raise Diverged(f"Sample {path.sample} of round {path.round} was never scored.")
            self.tell(events.Verified(path, doubt(path), Verdict(()).cost))
        return list(paths)

    async def group(self, paths: Sequence[Path]) -> list[int]:
        if self.trace.content:
            return await Attempt.group(self, paths)
        answers = [path.answer for path in paths]
        return [answers.index(answer) for answer in answers]

    def is_judged(self, path: Path) -> bool:
        kept = {(p.sample, p.round): p for p in self.trace.paths}[path.sample, path.round]
        return self.anew or was_judged(kept)

    async def differs(self, path: Path | None) -> bool:
        """Whether the path's answer is another than that which was returned."""
        index = None if self.trace.stop_reason == "abstained" else self.trace.chosen
        old = None if index is None else self.trace.paths[index]
        was = self.paths[old.sample, old.round].answer if old else None
        now = path.answer if path else None
        if was is None or now is None or not self.trace.content:
            return was != now
        return not await self.grader.same(was, now)


class Mute:
    """Stands where an engine and a verifier would; a replay asks neither."""

    async def complete(
        self, prompts: Sequence[Prompt], sampling: Sampling, watch: Watch = unwatched
    ) -> list[Completion]:
        raise Diverged("The policy would be asked.")

    async def score(self, chains: Sequence[Chain], meter: Meter = unmetered) -> list[Verdict]:
        raise Diverged("The verifier would be asked.")


def path_of(kept: KeptPath) -> Path:
    """The path; without its texts, what stands for them is equal where they may have been."""
    lengths = str([step.length for step in kept.steps])
    texts = [step.text for step in kept.steps if step.text is not None]
    hidden = None if kept.group is None else f"{kept.group}"
    return Path(
        text=steps.join(texts) if texts else lengths,
        steps=tuple(
            Step(step.text or "", step.round, step.score, step.certainty) for step in kept.steps
        ),
        answer=hidden if kept.answer is None else kept.answer,
        usage=kept.policy,
        round=kept.round,
        sample=kept.sample,
        parent=kept.parent,
        stopped=kept.stopped,
    )


def question_of(trace: Trace) -> Question:
    messages = tuple(Message(turn.role, turn.content or "") for turn in trace.messages)
    return Question(messages, trace.sampling, trace.form)


def was_judged(kept: KeptPath) -> bool:
    return kept.verified or kept.first_weak is not None
