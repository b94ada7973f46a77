"""A kept solve, chosen anew: its own strategy over the paths that were written, and no engine.

The scores, the threshold or the aggregate may be others. Where the strategy would ask the policy
for what was never written, or a limit cut the solve short, the best path seen so far is the
outcome, and `diverged` says why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace

from pydantic import TypeAdapter, ValidationError

from service import events
from service.engines.base import Completion, Message, Prompt, Sampling, Watch, unwatched
from service.record import Record
from service.solution import Path, Solution, Step
from service.strategies import AnyStrategy
from service.strategies.attempt import Attempt, Question
from service.traces.trace import KeptPath, Trace
from verifier import steps
from verifier.answers import Grader
from verifier.scoring import Aggregate, Chain, Score, Verdict, VerifierBackend

Place = tuple[int, int]  # of a path: its sample and its round


class NotReplayable(Exception):
    """The trace does not hold what it takes; the message is one sentence."""


class Diverged(Exception):
    """The strategy asks for what was never written; the message says for what."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What to choose by; None is what the solve went by."""

    aggregate: Aggregate | None = None
    threshold: float | None = None


@dataclass(frozen=True, slots=True)
class Mark:
    """The first step in doubt, from 1, and the scores; both None where it was not verified."""

    first_weak: int | None
    scores: tuple[Score, ...] | None


UNJUDGED = Mark(None, None)


@dataclass(frozen=True, slots=True)
class Marked:
    """A path as it was marked, and as it is now."""

    sample: int
    round: int
    before: Mark
    after: Mark


@dataclass(frozen=True, slots=True)
class Choice:
    """The path that is returned: its sample and round, and what it comes to."""

    sample: int
    round: int
    answer: str | None
    verified: bool
    score: float | None


@dataclass(frozen=True, slots=True)
class Replayed:
    """`changed`: another answer is returned. `ignored`: terms that the strategy has no knob for."""

    id: str
    strategy: str
    verifier: str
    paths: tuple[Marked, ...]
    before: Choice | None
    after: Choice | None
    changed: bool
    diverged: str | None
    ignored: tuple[str, ...]


async def replay(
    trace: Trace, terms: Terms, grader: Grader, verifier: VerifierBackend | None = None
) -> Replayed:
    """Without a verifier the scores are those that were kept.

    Raises `NotReplayable` and `VerifierError`.
    """
    if not trace.paths:
        raise NotReplayable("No path was written.")
    strategy, ignored = _strategy(trace, terms)
    paths = {(each.sample, each.round): _path(each) for each in trace.paths}
    if verifier is not None:
        paths = await _scored(trace, paths, verifier)
    record = Record()
    stage = _stage(trace, paths, record, grader, verifier)
    solution, diverged = await _chosen(strategy, stage, record)
    after = _choice(solution, trace) if solution else None
    bar = stage.bar(getattr(strategy, "threshold", None)).correct
    return Replayed(
        id=trace.id,
        strategy=strategy.name,
        verifier=verifier.name if verifier else trace.verifier,
        paths=tuple(_marked(each, stage, record, bar) for each in trace.paths),
        before=_before(trace),
        after=after,
        changed=await stage.differs(solution.path if solution else None),
        diverged=diverged,
        ignored=ignored,
    )


@dataclass(frozen=True)
class Stage(Attempt):
    """An attempt whose drafts and revisions are those of a trace, scored as `paths` are."""

    trace: Trace
    paths: Mapping[Place, Path]
    anew: bool
    """Whether every path has been scored for this; else some may never have been verified."""

    async def draft(self, n: int = 1) -> list[Path]:
        drafts = [path for path in self.paths.values() if path.round == 0]
        for path in drafts:
            self.tell(events.Drafted(path))
        if n > 1 and not self.trace.candidates:
            raise Diverged("The solve was cut short before it chose.")
        return [path for path in drafts if path.steps] or drafts[:1]

    async def revise(self, path: Path, weak: int, round: int, *, rewrite: bool) -> Path:
        kept = {(p.sample, p.round): p.kept for p in self.trace.paths}
        place = (path.sample, round)
        if kept.get(place) != weak:
            raise Diverged(f"Round {round} would revise from step {weak + 1}, which was not done.")
        self.tell(events.Revised(self.paths[place], weak, path.correct(weak)))
        return self.paths[place]

    async def verify(
        self, paths: Sequence[Path], doubt: Callable[[Path], int | None]
    ) -> list[Path]:
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
        return self.anew or _was_judged(kept)

    async def differs(self, path: Path | None) -> bool:
        """Whether the path's answer is another than that which was returned."""
        index = self.trace.chosen
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

    async def score(self, chains: Sequence[Chain]) -> list[Verdict]:
        raise Diverged("The verifier would be asked.")


def _strategy(trace: Trace, terms: Terms) -> tuple[AnyStrategy, tuple[str, ...]]:
    try:
        strategy: AnyStrategy = TypeAdapter(AnyStrategy).validate_python(trace.strategy)
    except ValidationError as error:
        raise NotReplayable("Its strategy, or a knob of it, is not known here.") from error
    given = {name: getattr(terms, name) for name in ("aggregate", "threshold")}
    asked = {name: value for name, value in given.items() if value is not None}
    has = {field.name for field in fields(strategy)} & asked.keys()
    changed = replace(strategy, **{name: asked[name] for name in has})
    return changed, tuple(sorted(asked.keys() - has))


def _path(kept: KeptPath) -> Path:
    """The path; without its texts, what stands for them is equal where they may have been."""
    lengths = str([step.length for step in kept.steps])
    texts = [step.text for step in kept.steps if step.text is not None]
    hidden = None if kept.group is None else f"{kept.group}"
    return Path(
        text=steps.join(texts) if texts else lengths,
        steps=tuple(Step(step.text or "", step.round, step.score) for step in kept.steps),
        answer=hidden if kept.answer is None else kept.answer,
        usage=kept.policy,
        round=kept.round,
        sample=kept.sample,
    )


async def _scored(
    trace: Trace, paths: Mapping[Place, Path], verifier: VerifierBackend
) -> dict[Place, Path]:
    if not trace.content:
        raise NotReplayable("Its texts were not kept; the aggregate and the threshold can change.")
    question = Question(_messages(trace), trace.sampling).text
    places = [place for place, path in paths.items() if path.steps]
    chains = [Chain(question, tuple(step.text for step in paths[it].steps)) for it in places]
    verdicts = await verifier.score(chains)
    fresh = {
        place: paths[place].scored(verdict.scores)
        for place, verdict in zip(places, verdicts, strict=True)
    }
    return {place: fresh.get(place, path) for place, path in paths.items()}


def _stage(
    trace: Trace,
    paths: Mapping[Place, Path],
    record: Record,
    grader: Grader,
    verifier: VerifierBackend | None,
) -> Stage:
    return Stage(
        question=Question(_messages(trace), trace.sampling),
        engine=Mute(),
        verifier=Mute(),
        grader=grader,
        tell=record.hear,
        begins_turns=True,
        threshold=verifier.threshold if verifier else trace.threshold,
        trace=trace,
        paths=paths,
        anew=verifier is not None,
    )


def _messages(trace: Trace) -> tuple[Message, ...]:
    return tuple(Message(turn.role, turn.content or "") for turn in trace.messages)


async def _chosen(
    strategy: AnyStrategy, stage: Stage, record: Record
) -> tuple[Solution | None, str | None]:
    try:
        return await strategy.solve(stage), None
    except Diverged as end:
        return record.best("token_budget"), str(end)


def _choice(solution: Solution, trace: Trace) -> Choice:
    path = solution.path
    answer = path.answer if trace.content else None
    return Choice(path.sample, path.round, answer, solution.verified, solution.score)


def _before(trace: Trace) -> Choice | None:
    if trace.chosen is None:
        return None
    path = trace.paths[trace.chosen]
    return Choice(path.sample, path.round, trace.answer, trace.verified, trace.score)


def _marked(kept: KeptPath, stage: Stage, record: Record, bar: float) -> Marked:
    """A path that the strategy never came to is marked by the threshold alone."""
    place = (kept.sample, kept.round)
    now, before = stage.paths[place], Mark(kept.first_weak, _scores(_path(kept)))
    found = {(it.path.sample, it.path.round): it.verdict for it in record.finds}.get(place)
    weak = now.first_weak(bar) if found is None else found.weak
    after = Mark(None if weak is None else weak + 1, _scores(now))
    return Marked(
        *place,
        before=before if _was_judged(kept) else UNJUDGED,
        after=after if stage.anew or _was_judged(kept) else UNJUDGED,
    )


def _was_judged(kept: KeptPath) -> bool:
    return kept.verified or kept.first_weak is not None


def _scores(path: Path) -> tuple[Score, ...]:
    return tuple(step.score for step in path.steps if step.score is not None)
