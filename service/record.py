"""What happened in one solve, gathered from its events: rounds, candidates, the best path."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass, field, replace
from statistics import fmean

from service import events
from service.engines.base import Usage
from service.ledger import Call
from service.solution import Path, Solution, StopReason
from verifier.answers import Grader
from verifier.scoring import Cost


@dataclass(frozen=True, slots=True)
class Round:
    """A draft or a revision: steps kept, number of the first weak one, that step's score.

    Of a round of several paths, the first one's steps kept, and nothing of a weak one.
    """

    round: int
    kept: int
    first_weak: int | None
    score: float | None
    tokens: int


@dataclass(frozen=True, slots=True)
class Find:
    """A path that was seen, and how far it got: steps kept of the one before, and its verdict."""

    path: Path
    kept: int = 0
    verdict: events.Verified | None = None

    @property
    def verified(self) -> bool:
        return self.verdict is not None and self.verdict.weak is None


@dataclass(slots=True)
class Record:
    """Hears every event of a solve and passes it on; `finds` keeps each path as it was last."""

    tell: events.Listener = events.unheard
    rounds: dict[int, Round] = field(default_factory=dict)
    drafts: list[Path] = field(default_factory=list)
    candidates: list[events.CandidateFound] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    verifying: list[Cost] = field(default_factory=list)
    """What verifying each draft cost."""
    verdicts: list[events.Verified] = field(default_factory=list)
    """In the order in which they were given."""
    beside: list[Call] = field(default_factory=list)
    """Calls of the measured baseline, which has a ledger of its own."""
    latest: events.Event | None = None
    _seen: dict[tuple[int, int], Find] = field(default_factory=dict)
    _growing: list[events.TextWritten] = field(default_factory=list)

    def hear(self, event: events.Event) -> None:
        self.latest = event
        self._note(event)
        self.tell(event)

    def _note(self, event: events.Event) -> None:
        match event:
            case events.TextWritten(round=0, sample=0):
                self._growing.append(event)
            case events.Drafted(path):
                # One that was refused its tokens is no draft to judge others by.
                self.drafts += [path] if path.usage.completion else []
                self._written(path, kept=0)
            case events.Revised(path, kept):
                self._written(path, kept)
            case events.Verified():
                self._verified(event)
            case events.CandidateFound():
                self.candidates.append(event)
            case events.Warned(message):
                self.warnings += [] if message in self.warnings else [message]
            case events.TextWritten() | events.StepWritten():
                pass

    def best(self, reason: StopReason) -> Solution | None:
        """The best path seen when the solve had to end; None if there is none at all."""
        seen = self.finds
        if not seen:
            return None
        find = max(
            seen,
            key=lambda it: (it.verified, it.path.answer is not None, it.path.score("last") or 0.0),
        )
        score = find.path.score("last") if find.path.steps else None
        return Solution(find.path, find.verified, score, reason)

    async def majority(self, grader: Grader) -> Solution | None:
        """The answer that most samples share, each as it was last written; None if there is none.

        Its score is its share of them. Ties go to the answer that came first.
        """
        last = {path.sample: path for path in (find.path for find in self._seen.values())}
        voters = [path for path in last.values() if path.answer is not None]
        if not voters:
            return None
        groups = await grader.group([path.said for path in voters])
        winner = max(groups, key=groups.count)
        share = groups.count(winner) / len(last)
        return Solution(voters[groups.index(winner)], False, share, "verifier_lost")

    @property
    def finds(self) -> Sequence[Find]:
        """Every path seen, as they were written; or else what there is of the first."""
        return list(self._seen.values()) or [Find(path) for path in self._unfinished()]

    async def differing(self, chosen: Solution, grader: Grader) -> list[Solution]:
        """For each answer that is not the chosen one its best sample, best first.

        A sample without a score counts by the share of the samples that agree with it.
        """
        finds = [self._seen[each.sample, each.round] for each in self.candidates]
        groups = await grader.group([find.path.said for find in finds])
        best: dict[int, Solution] = {}
        for each, find, group in zip(self.candidates, finds, groups, strict=True):
            share = groups.count(group) / len(groups)
            score = share if each.score is None else each.score
            if group not in best or score > (best[group].score or 0):
                best[group] = replace(chosen, path=find.path, verified=find.verified, score=score)
        places = [(each.sample, each.round) for each in self.candidates]
        del best[groups[places.index(chosen.path.place)]]
        return sorted(best.values(), key=lambda it: (it.path.answer is None, -(it.score or 0)))

    def first_call(self, policy: Usage) -> Usage:
        """What the first draft's call cost; `policy` is all that was spent.

        Until a draft is finished all of it went into drafts, and each has its share.
        """
        if self.drafts:
            return self.drafts[0].usage
        calls = max(1, policy.calls)
        return Usage(policy.prompt // calls, policy.cached // calls, policy.completion // calls, 1)

    def mean_draft(self) -> tuple[Usage, Cost]:
        """What one sample of Best-of-N costs, judged by this solve's own drafts: policy, verifier.

        A solve that verified no draft is charged one prefill of question and path for each.
        """
        if not self.drafts:
            return Usage(), Cost()
        whole = [path for path in self.drafts if not path.stopped] or self.drafts
        completion = round(fmean(path.usage.completion for path in whole))
        prompt = self.drafts[0].usage.prompt
        costs = self.verifying or [Cost(prompt + completion, 1)]
        verifying = Cost(*(round(fmean(each)) for each in zip(*map(astuple, costs), strict=True)))
        return Usage(prompt, 0, completion, 1), verifying

    def _written(self, path: Path, kept: int) -> None:
        before = self.rounds.get(path.round, Round(path.round, kept, None, None, 0))
        self.rounds[path.round] = replace(before, tokens=before.tokens + path.usage.completion)
        self._seen[path.place] = Find(path, kept)

    def _verified(self, event: events.Verified) -> None:
        path, weak = event.path, event.weak
        before = self._seen[path.place]
        self._seen[path.place] = replace(before, path=path, verdict=event)
        self.verdicts.append(event)
        if path.round == 0:
            self.verifying.append(event.cost)
        alone = sum(round == path.round for _, round in self._seen) == 1
        if alone and weak is not None:
            doubted = replace(
                self.rounds[path.round], first_weak=weak + 1, score=path.correct(weak)
            )
            self.rounds[path.round] = doubted

    def _unfinished(self) -> Sequence[Path]:
        """What was written of the first draft, when no path came to its end."""
        text = "".join(event.text for event in self._growing)
        spent = Usage(completion=sum(event.tokens for event in self._growing))
        return [replace(Path.parse(text, usage=spent), cut=True)] if text else []
