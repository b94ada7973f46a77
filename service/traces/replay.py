"""A kept solve, chosen anew: its own strategy over the paths that were written, and no engine.

The scores, the threshold or the aggregate may be others. Where the strategy would ask the policy
for what was never written, or a limit cut the solve short, the best path seen so far is the
outcome, and `diverged` says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

from pydantic import TypeAdapter, ValidationError

from service.record import Record
from service.solution import Path, Place, Solution
from service.strategies import AnyStrategy
from service.traces.stage import (
    Diverged,
    Mute,
    Stage,
    path_of,
    question_of,
    was_judged,
)
from service.traces.trace import KeptPath, Trace
from verifier.answers import Grader
from verifier.scoring import Aggregate, Score, VerifierBackend


class NotReplayable(Exception):
    """The trace does not hold what it takes; the message is one sentence."""


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
    paths = {(each.sample, each.round): path_of(each) for each in trace.paths}
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


async def _scored(
    trace: Trace, paths: Mapping[Place, Path], verifier: VerifierBackend
) -> dict[Place, Path]:
    if not trace.content:
        raise NotReplayable("Its texts were not kept; the aggregate and the threshold can change.")
    question = question_of(trace).text
    places = [place for place, path in paths.items() if path.steps]
    chains = [replace(paths[place].chain(question), known=()) for place in places]
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
    own = verifier or trace
    return Stage(
        question=question_of(trace),
        engine=Mute(),
        verifier=Mute(),
        grader=grader,
        tell=record.hear,
        begins_turns=True,
        threshold=own.threshold,
        aggregate=own.aggregate,
        heeds=False,
        trace=trace,
        paths=paths,
        anew=verifier is not None,
    )


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
    now, before = stage.paths[place], Mark(kept.first_weak, _scores(path_of(kept)))
    found = {(it.path.sample, it.path.round): it.verdict for it in record.finds}.get(place)
    weak = now.first_weak(bar) if found is None else found.weak
    after = Mark(None if weak is None else weak + 1, _scores(now))
    return Marked(
        *place,
        before=before if was_judged(kept) else UNJUDGED,
        after=after if stage.anew or was_judged(kept) else UNJUDGED,
    )


def _scores(path: Path) -> tuple[Score, ...]:
    return tuple(step.score for step in path.steps if step.score is not None)
