"""When more is asked than can be done: who is answered in time, and who has what share."""

from __future__ import annotations

from collections.abc import Sequence

from bench.load.figures import jain, quantile, rejections, warmup
from bench.load.run import Evidence
from bench.load.scrapes import Scrape
from bench.load.stages import Stretch
from bench.load.verdict import Said

OVERLOAD = 3.0  # times what can be done
SLOWER_MOST = 1.5  # times the latency of an idle service
REFUSED_WITHIN = 0.05  # seconds
ENOUGH = 100  # of fewer the 99th percentile is the longest, and that a matter of luck
MEMORY_MOST = 1.25  # of what it was when the overload began
SHARE_LEAST = 0.8  # of what the best served tenant had
JAIN_LEAST = 0.95


def overload(evidence: Evidence) -> Said:
    rushed = next((s for s in evidence.stretches if (s.load or 0) >= OVERLOAD), None)
    idle = _idlest(evidence)
    if rushed is None or idle is None:
        return None, f"no stage had {OVERLOAD:g} times what can be done beside one with less"
    slow, usual = _answers(evidence, rushed), _answers(evidence, idle)
    warm = [o for o in evidence.of(rushed) if o.due >= warmup(evidence, rushed)]
    refused = rejections(warm)
    if min(len(slow), len(usual), len(refused)) < ENOUGH:
        return None, f"fewer than {ENOUGH} answers, or refusals"
    ratio, wait = quantile(slow, 0.99) / quantile(usual, 0.99), quantile(refused, 0.99)
    memory = [s.sum("process_resident_memory_bytes") for s in evidence.during(rushed)]
    grown = max(memory) / memory[0] if memory and memory[0] else None
    says = (
        f"answers' p99 {ratio:.2f} times that of load {idle.load:.2g}; {len(refused)} refused, "
        f"p99 {1000 * wait:.0f} ms; memory at the most "
        + (f"{grown:.2f} of its beginning" if grown else "not shown")
    )
    if busy := late(evidence, rushed):
        return None, f"{busy}; {says}"
    bounded = grown is None or grown <= MEMORY_MOST
    return ratio <= SLOWER_MOST and wait < REFUSED_WITHIN and bounded, says


def _idlest(evidence: Evidence) -> Stretch | None:
    idle = [s for s in evidence.stretches if s.load is not None and s.load < 1]
    return min(idle, key=lambda s: s.load or 0, default=None)


def _answers(evidence: Evidence, stretch: Stretch, tenant: str | None = None) -> list[float]:
    """Seconds of answers that were due behind the warm-up."""
    return [
        each.clock.end
        for each in evidence.of(stretch)
        if each.kind == "answered" and each.due >= warmup(evidence, stretch)
        if tenant in (None, each.tenant) and each.valid
    ]


def shares(evidence: Evidence) -> Said:
    """Tokens computed for each tenant over its weight, while all always had more to ask."""
    closed = [s for s in evidence.stretches if not s.stage.open]
    seen = evidence.during(closed[-1]) if closed else []
    if len(seen) < 2 or len(evidence.books.before) < 2:
        return None, "no closed stage with tenants of their own whose tokens are shown"
    names = _unbounded(evidence, closed[-1])
    if few := _idle_at_times(evidence, closed[-1], names):
        return None, f"{few} had too few callers to have one waiting at all times"
    served = [_served(seen, name) / evidence.plan.tenants[name].weight for name in names]
    if len(names) < 2 or not min(served):
        return None, "fewer than two tenants were served"
    index, ratio = jain(served), min(served) / max(served)
    told = ", ".join(f"{n} {tokens:,.0f}" for n, tokens in zip(names, served, strict=True))
    says = f"tokens over weight: {told}; least to most {ratio:.2f}, Jain's index {index:.3f}"
    return ratio >= SHARE_LEAST and index >= JAIN_LEAST, says


def _idle_at_times(evidence: Evidence, stretch: Stretch, names: Sequence[str]) -> str:
    """The tenant whose callers are fewer than may be solved for it at once; "" if there is none."""
    tenants, seen = evidence.plan.tenants, evidence.during(stretch)
    running = max(each.inflight - each.sum("surefoot_queue_depth") for each in seen)
    callers = stretch.stage.callers // len(tenants)
    part = running / sum(tenants[name].weight for name in names)
    return next((name for name in names if callers < 1.25 * part * tenants[name].weight), "")


def _unbounded(evidence: Evidence, stretch: Stretch) -> list[str]:
    """The tenants that no quota kept from asking."""
    short = {o.tenant for o in evidence.of(stretch) if o.code == "insufficient_quota"}
    return [name for name in evidence.plan.tenants if name not in short]


def _served(seen: Sequence[Scrape], tenant: str) -> float:
    name = "surefoot_tenant_tokens_total"
    return seen[-1].sum(name, tenant=tenant) - seen[len(seen) // 5].sum(name, tenant=tenant)


def polite(evidence: Evidence) -> Said:
    """The tenant that asks least, beside the one that asks most: in the rush and without."""
    tenants, idle = evidence.plan.tenants, _idlest(evidence)
    rushed = next((s for s in evidence.stretches if (s.load or 0) >= OVERLOAD), None)
    free = _unbounded(evidence, rushed) if rushed else []
    if rushed is None or idle is None or len(free) < 2 or len(evidence.books.before) < 2:
        return None, f"no stage had {OVERLOAD:g} times what can be done, of tenants of their own"
    name = min(free, key=lambda each: tenants[each].share)
    if (asked := _asked(evidence, rushed, name)) >= 1:
        return None, f"{name} itself asked for {asked:.2f} times its share of what can be done"
    beside, alone = _answers(evidence, rushed, name), _answers(evidence, idle, name)
    if min(len(beside), len(alone)) < ENOUGH:
        return None, f"{name} had {len(beside)} and {len(alone)} answers; {ENOUGH} are needed"
    ratio = quantile(beside, 0.99) / quantile(alone, 0.99)
    says = (
        f"p99 of {name}, which asked for {asked:.2f} of its share, {ratio:.2f} times that of load "
        f"{idle.load:.2g}"
    )
    if busy := late(evidence, rushed):
        return None, f"{busy}; {says}"
    return ratio < SLOWER_MOST, says


def _asked(evidence: Evidence, rushed: Stretch, name: str) -> float:
    """What the tenant asked for, over what it can have while all others ask."""
    tenants = evidence.plan.tenants
    part = tenants[name].share / sum(each.share for each in tenants.values())
    own = tenants[name].weight / sum(each.weight for each in tenants.values())
    return (rushed.load or 0) * part / own


def late(evidence: Evidence, stretch: Stretch) -> str:
    """Says so if the kit itself did not keep up, and times are its own; "" if it did."""
    sent = [each.clock.sent for each in evidence.of(stretch)]
    behind = quantile(sent, 0.99) if sent else 0.0
    busy = f"the kit sent {1000 * behind:.0f} ms late at p99: its machine was too busy"
    return busy if behind >= REFUSED_WITHIN else ""
