"""The metrics of solves, from runs that are over: what they spent, where they ended, what was seen.

Labels come from closed sets. Tenants alone are named by configuration, and so many of them: those
that come later are "other".
"""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Iterator
from functools import partial
from typing import Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Histogram

from service import events
from service.ledger import Limit
from service.record import Record
from service.solver import Loss, Report
from service.telemetry.drift import Drift
from service.traces.trace import Spent

Kind = Literal["prompt", "cached", "draft", "sample", "revise", "wasted", "baseline", "verify"]
Phase = Literal["waiting", "drafting", "verifying", "revising", "choosing"]

TENANTS_MOST = 100
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
STEPS = (0, 1, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 50)


class Solves:
    def __init__(self, registry: CollectorRegistry, drift: Drift) -> None:
        self._drift = drift
        self._tenants: set[str] = set()
        self._count(registry)
        self._measure(registry)

    def kept(self, run: Report | Loss, tenant: str) -> None:
        """Count a run that is over."""
        self._drift.note(run)
        self._ended(run)
        self._spent(run, tenant)
        self._seen(run.record)

    def _count(self, registry: CollectorRegistry) -> None:
        counter = partial(Counter, registry=registry)
        self._total = counter(
            "surefoot_solves_total",
            "Solves that are over, by strategy and why they ended: a stop reason, or failed, or "
            "cancelled.",
            ("algorithm", "outcome"),
        )
        tokens = counter("surefoot_tokens_total", "Tokens by what they were for.", ("kind",))
        self._tokens = {kind: tokens.labels(kind) for kind in get_args(Kind)}
        self._tenant_tokens = counter(
            "surefoot_tenant_tokens_total",
            "Tokens computed for each tenant: prompt - cached + completion + verifier.",
            ("tenant",),
        )
        stops = counter("surefoot_budget_stops_total", "Solves that a limit ended.", ("reason",))
        self._stops = {limit: stops.labels(limit) for limit in get_args(Limit)}
        self._revisions = counter("surefoot_revisions_total", "Paths that were written anew.")
        left = counter(
            "surefoot_cancellations_total",
            "Solves whose caller left, by what was going on.",
            ("phase",),
        )
        self._cancellations = {phase: left.labels(phase) for phase in get_args(Phase)}

    def _measure(self, registry: CollectorRegistry) -> None:
        histogram = partial(Histogram, registry=registry)
        self._utilization = histogram(
            "surefoot_budget_utilization_ratio",
            "Share of max_tokens that was generated.",
            buckets=SHARES,
        )
        self._steps = histogram(
            "surefoot_steps_per_solve", "Steps of the path that was returned.", buckets=STEPS
        )
        scores = histogram(
            "surefoot_verifier_score",
            "The verifier's scores of fresh steps.",
            ("readout",),
            buckets=SHARES,
        )
        self._correct, self._value = scores.labels("correct"), scores.labels("value")

    def _ended(self, run: Report | Loss) -> None:
        if run.ledger.exhausted:
            self._stops[run.ledger.exhausted].inc()
        match run:
            case Report(solution=solution):
                outcome: str = solution.stop_reason
                self._steps.observe(len(solution.path.steps))
            case Loss(error=CancelledError()):
                outcome = "cancelled"
                self._cancellations[_phase(run.record.latest)].inc()
            case _:
                outcome = "failed"
        self._total.labels(run.strategy, outcome).inc()

    def _spent(self, run: Report | Loss, tenant: str) -> None:
        computed = 0
        for kind, tokens in _kinds(run):
            self._tokens[kind].inc(tokens)
            computed += 0 if kind == "cached" else tokens
        self._tenant_tokens.labels(self._named(tenant)).inc(computed)
        generated = run.ledger.policy.completion
        self._utilization.observe(generated / run.ledger.budget.max_tokens)

    def _seen(self, record: Record) -> None:
        self._revisions.inc(sum(number > 0 for number in record.rounds))
        for verdict in record.verdicts:
            for step in verdict.path.steps:
                if step.score is not None and step.round == verdict.path.round:
                    self._correct.observe(step.score.correct)
                    self._value.observe(step.score.value)

    def _named(self, tenant: str) -> str:
        if tenant not in self._tenants and len(self._tenants) >= TENANTS_MOST:
            return "other"
        self._tenants.add(tenant)
        return tenant


def _kinds(run: Report | Loss) -> Iterator[tuple[Kind, int]]:
    """The run's tokens, each once; what was generated and stands in no path was wasted."""
    own, beside = Spent.of(run.calls), Spent.of(run.record.beside)
    drafted = sum(round.tokens for number, round in run.record.rounds.items() if number == 0)
    revised = sum(round.tokens for number, round in run.record.rounds.items() if number > 0)
    policy = own.policy + beside.policy
    yield "prompt", policy.prompt - policy.cached
    yield "cached", policy.cached
    yield "sample" if len(run.record.drafts) > 1 else "draft", drafted
    yield "revise", revised
    yield "wasted", max(0, own.policy.completion - drafted - revised)
    yield "baseline", beside.policy.completion
    yield "verify", (own.verifier + beside.verifier).tokens


def _phase(latest: events.Event | None) -> Phase:
    """What was going on after that was heard."""
    match latest:
        case None | events.Warned():
            return "waiting"
        case events.TextWritten(round=0) | events.StepWritten(round=0):
            return "drafting"
        case events.Drafted() | events.Revised():
            return "verifying"
        case events.CandidateFound():
            return "choosing"
        case _:
            return "revising"
