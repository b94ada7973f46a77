"""What must hold of every run, each with what it rests on: passed, failed, or not checked and why.

None of them takes the service's word for what the kit can count itself; where only the service can
know, it is asked in two ways. Names are those of `docs/load.md`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bench.load.audit import SLACK
from bench.load.figures import Slope, jain, quantile, rejections, slope, warmup
from bench.load.outcomes import Outcome
from bench.load.run import Evidence
from bench.load.scrapes import Scrape
from bench.load.stages import Stretch

SCRIPTED = "scripted"  # the engine without a cache
ABORTED_MOST = 64  # tokens that vLLM may write for a caller before it hears that it left
OVERLOAD = 3.0  # times what can be done
SLOWER_MOST = 1.5  # times the latency of an idle service
REFUSED_WITHIN = 0.05  # seconds
IDLE_WITHIN = 1.0  # seconds
MEMORY_MOST = 1.25  # of what it was when the overload began
SHARES = (0.8, 1.25)
JAIN_LEAST = 0.95
REUSED_LEAST = 0.6
HONOURED_LEAST = 0.95
FEW = 20  # of which no 99th percentile is told
LONG = 60.0  # seconds in which growth can be told from noise
THINNED = 1500  # samples that a slope is taken of

Said = tuple[bool | None, str]


@dataclass(frozen=True, slots=True)
class Verdict:
    """`passed` is None where it was not checked; `says` has the evidence, or why not."""

    name: str
    claim: str
    passed: bool | None
    says: str


def verdicts(evidence: Evidence) -> list[Verdict]:
    return [Verdict(name, claim, *check(evidence)) for name, (claim, check) in CHECKS.items()]


def budgets(evidence: Evidence) -> Said:
    spent = [(each.told.generated, each.budget) for each in evidence.outcomes if each.told.solve]
    rows = [(row.generated, row.budget) for row in evidence.books.untold or ()]
    over = [pair for pair in (*spent, *rows) if pair[0] > pair[1]]
    says = f"{len(over)} over, of {len(spent)} answers and {len(rows)} solves nobody was told of"
    return (not over if spent else None), says


def visible(evidence: Evidence) -> Said:
    chats = [each for each in evidence.outcomes if each.told.visible is not None]
    if not chats:
        return None, "nothing was answered through OpenAI's API"
    over = sum((each.told.visible or 0) > each.budget for each in chats)
    return not over, f"{over} over, of {len(chats)} chat completions"


def generated(evidence: Evidence) -> Said:
    """Ledgers against the engine's own count: by our gauge, or by vLLM's counters."""
    return _against_engine(evidence, "vllm:generation_tokens_total", lambda s: s.written)


def prefilled(evidence: Evidence) -> Said:
    return _against_engine(evidence, "vllm:prompt_tokens_total", lambda s: s.read)


def _against_engine(evidence: Evidence, counter: str, ours: Callable[[Scrape], int]) -> Said:
    base, settled, engine = evidence.books.base, evidence.books.settled, evidence.books.engine
    if base is None or settled is None:
        return None, "the service shows no metrics"
    ledger = ours(settled.scrape) - ours(base)
    if engine is not None:
        gap = int(engine[1].sum(counter) - engine[0].sum(counter)) - ledger
        left = sum(each.kind == "cancelled" for each in evidence.outcomes)
        most = ABORTED_MOST * left if "generation" in counter else 0
        told = f"engine − ledgers = {gap} of {ledger:,} tokens; bound for {left} who left: {most}"
        return 0 <= gap <= most, told
    drift = settled.scrape.get("surefoot_ledger_drift_tokens", against="engine")
    if drift is None:
        return None, "the engine shows no count of its own; name its URL with --engine"
    return drift == 0, f"drift {drift:.0f} of {ledger:,} tokens, by the engine's own count"


def attributed(evidence: Evidence) -> Said:
    """What callers were told, and what traces hold of those who were not, against the ledgers."""
    base, settled, untold = evidence.books.base, evidence.books.settled, evidence.books.untold
    if base is None or settled is None:
        return None, "the service shows no metrics"
    if untold is None:
        return None, "the service keeps no traces, in which those would stand that nobody was told"
    if alone := _others(evidence, base, settled.scrape):
        return None, alone
    told = sum(each.told.generated for each in evidence.outcomes)
    lost = sum(row.generated for row in untold)
    ledger = settled.scrape.written - base.written
    says = f"{told:,} told + {lost:,} in {len(untold)} traces = {told + lost:,}; ledgers {ledger:,}"
    return told + lost == ledger, says


def _others(evidence: Evidence, base: Scrape, last: Scrape) -> str:
    """Says so if others asked the service meanwhile."""
    paths = {each.path for each in evidence.outcomes}
    name = "surefoot_requests_total"
    served = sum(last.sum(name, route=path) - base.sum(name, route=path) for path in paths)
    asked = len(evidence.outcomes)
    return f"others asked too: {served:.0f} served, {asked} ours" if served > asked else ""


def quotas(evidence: Evidence) -> Said:
    books = evidence.books
    accounts = {n: (a, z) for n, a in books.before.items() if a and (z := books.after.get(n))}
    if not accounts:
        return None, "no tenant has tokens a day, and so no account"
    if books.untold is None:
        return None, "the service keeps no traces, in which those would stand that nobody was told"
    spent: dict[str, int] = defaultdict(int)
    for each in evidence.outcomes:
        spent[each.tenant if len(books.before) > 1 else next(iter(accounts))] += each.told.generated
    for row in books.untold:
        spent[row.tenant] += row.generated
    left = {n: z.used - a.used - a.own - spent[n] for n, (a, z) in accounts.items()}
    over = [n for n, (_, z) in accounts.items() if z.used > z.limit]
    held = sum(abs(tokens) for tokens in left.values())
    full = sum(each.code == "insufficient_quota" for each in evidence.outcomes)
    says = f"{held} tokens still reserved or lost over {len(left)} tenants; {len(over)} over quota"
    return not held and not over, f"{says}; {full} requests refused for it"


def honoured(evidence: Evidence) -> Said:
    """Of those who asked again when they were told to, when no more came than can be done."""
    again = [each for each in evidence.outcomes if each.attempt]
    ends = {s.number: s.closed - s.began for s in evidence.stretches}
    calm = [each for each in again if each.due > ends[each.stage]]
    calm += [each for each in again if each.due <= ends[each.stage] and _calm(evidence, each)]
    let_in = sum(each.kind != "rejected" for each in calm)
    all_in = sum(each.kind != "rejected" for each in again)
    says = f"{let_in} of {len(calm)} let in when the rush was over; {all_in} of {len(again)} in all"
    return (let_in >= HONOURED_LEAST * len(calm) if calm else None), says


def _calm(evidence: Evidence, each: Outcome) -> bool:
    load = evidence.stretches[each.stage].load
    return load is not None and load < 1


def overload(evidence: Evidence) -> Said:
    rushed = next((s for s in evidence.stretches if (s.load or 0) >= OVERLOAD), None)
    idle = _idlest(evidence)
    if rushed is None or idle is None:
        return None, f"no stage had {OVERLOAD:g} times what can be done beside one with less"
    slow, usual = _answers(evidence, rushed), _answers(evidence, idle)
    refused = rejections(evidence.of(rushed))
    if min(len(slow), len(usual), len(refused)) < FEW:
        return None, f"fewer than {FEW} answers, or refusals"
    ratio, wait = quantile(slow, 0.99) / quantile(usual, 0.99), quantile(refused, 0.99)
    memory = [s.sum("process_resident_memory_bytes") for s in evidence.during(rushed)]
    grown = max(memory) / memory[0] if memory and memory[0] else None
    says = (
        f"answers' p99 {ratio:.2f} times that of load {idle.load:.2g}; {len(refused)} refused, "
        f"p99 {1000 * wait:.0f} ms; memory at the most "
        + (f"{grown:.2f} of its beginning" if grown else "not shown")
    )
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
    served = [_served(seen, name) / evidence.plan.tenants[name].weight for name in names]
    if len(names) < 2 or not min(served):
        return None, "fewer than two tenants were served"
    index, ratio = jain(served), min(served) / max(served)
    told = ", ".join(f"{n} {tokens:,.0f}" for n, tokens in zip(names, served, strict=True))
    says = f"tokens over weight: {told}; least to most {ratio:.2f}, Jain's index {index:.3f}"
    return ratio >= SHARES[0] and index >= JAIN_LEAST, says


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
    beside, alone = _answers(evidence, rushed, name), _answers(evidence, idle, name)
    if min(len(beside), len(alone)) < FEW:
        return None, f"{name} had {len(beside)} and {len(alone)} answers; {FEW} are needed"
    ratio = quantile(beside, 0.99) / quantile(alone, 0.99)
    return ratio < SLOWER_MOST, f"p99 of {name} {ratio:.2f} times that of load {idle.load:.2g}"


def idle(evidence: Evidence) -> Said:
    settled = evidence.books.settled
    if settled is None:
        return None, "the service shows no metrics"
    if settled.idle is None:
        return False, f"{settled.scrape.inflight:.0f} requests still ran long after all had left"
    blocks = evidence.books.engine and evidence.books.engine[1].get("vllm:kv_cache_usage_perc")
    says = (
        f"nothing ran {settled.idle:.2f} s after the last caller left; {settled.tasks:+} tasks, "
        f"{settled.descriptors:+} file descriptors"
    )
    back = max(settled.tasks, settled.descriptors) <= SLACK and not blocks
    return settled.idle <= IDLE_WITHIN and back, says


def paid_twice(evidence: Evidence) -> Said:
    """Who was stopped by a limit has an answer; and who spent its day is not told to come again."""
    cut = [each for each in evidence.outcomes if each.cut]
    spent = [each for each in evidence.outcomes if each.code == "insufficient_quota"]
    late = [each for each in evidence.outcomes if each.code == "deadline_exceeded"]
    invited = sum(each.status != 200 for each in cut)
    invited += sum(each.should_retry for each in (*spent, *late))
    again = sum(each.attempt > 0 for each in evidence.outcomes)
    share = again / max(1, len(evidence.outcomes))
    says = (
        f"{invited} told to come again, of {len(cut)} that a limit ended, {len(spent)} over quota "
        f"and {len(late)} too late; retries are {share:.1%} of what was sent"
    )
    return (not invited if cut or spent or late else None), says


def reused(evidence: Evidence) -> Said:
    if evidence.ready.get("engine") == SCRIPTED:
        return None, "the scripted engine has no prefix cache"
    if evidence.books.cached is None:
        return None, "the service keeps no traces, in which calls stand"
    cached, prompt = evidence.books.cached
    if not prompt:
        return None, "StepCo revised nothing"
    share = cached / prompt
    return (
        share >= REUSED_LEAST,
        f"{cached:,} of {prompt:,} prompt tokens of revisions: {share:.2f}",
    )


def expected(evidence: Evidence) -> Said:
    """No 5xx but a declared 503, no broken connection; what is invalid is refused, and no other."""
    bad = [each for each in evidence.outcomes if each.kind in ("failed", "lost")]
    passed = [each for each in evidence.outcomes if not each.valid and each.kind == "answered"]
    codes = sorted({f"{each.status} {each.code}" for each in bad})
    invalid = sum(not each.valid for each in evidence.outcomes)
    says = f"{len(bad)} failed of {len(evidence.outcomes)} {', '.join(codes)}".rstrip()
    return not bad and not passed, f"{says}; {len(passed)} of {invalid} invalid ones answered"


def whole(evidence: Evidence) -> Said:
    streams = [o for o in evidence.outcomes if o.streamed and o.kind != "cancelled"]
    cut = sum(each.kind in ("truncated", "lost") for each in streams)
    return (not cut if streams else None), f"{cut} of {len(streams)} streams without a last event"


def flat(evidence: Evidence) -> Said:
    """Over the longest stage, without its first fifth."""
    found = slopes(evidence)
    if not found:
        return None, f"no stage was watched for {LONG:g} s"
    told = (
        f"{each.of} {3600 * each.slope.value:+,.4g} an hour "
        f"({3600 * each.slope.low:+,.4g} to {3600 * each.slope.high:+,.4g}; {each.growth:+.1%})"
        for each in found
    )
    return all(each.flat for each in found), "; ".join(told)


def slopes(evidence: Evidence) -> list[Slope]:
    """Of memory, descriptors, tasks and series, where there was time enough to tell."""
    longest = max(evidence.stretches, key=lambda each: each.closed - each.began)
    seen = evidence.during(longest)
    seen = seen[len(seen) // 5 :]
    if longest.closed - longest.began < LONG or len(seen) < FEW:
        return []
    seen = seen[:: -(-len(seen) // THINNED)]
    at = [each.at for each in seen]
    return [slope(name, at, values) for name, values in held(seen).items()]


def held(seen: Sequence[Scrape]) -> dict[str, list[float]]:
    """What a service that leaks would hold ever more of."""
    return {
        "memory (MB)": [each.sum("process_resident_memory_bytes") / 1e6 for each in seen],
        "file descriptors": [each.sum("process_open_fds") for each in seen],
        "tasks": [each.sum("surefoot_tasks") for each in seen],
        "series": [float(each.series) for each in seen],
    }


CHECKS: Mapping[str, tuple[str, Callable[[Evidence], Said]]] = {
    "A1": ("no solve generates more than its budget", budgets),
    "A2": ("no visible answer is longer than max_completion_tokens", visible),
    "A3": ("the ledgers hold what the engine generated", generated),
    "A4": ("every token is some caller's, told or not", attributed),
    "A5": ("the ledgers hold what the engine prefilled", prefilled),
    "A6": ("no quota is overdrawn, and no reservation is left", quotas),
    "A7": ("who comes again when told to is let in", honoured),
    "A8": ("three times too much is answered and refused in time", overload),
    "A9 shares": ("tenants that always ask are served by their weights", shares),
    "A9 polite": ("a greedy tenant delays itself alone", polite),
    "A10": ("when all have left nothing runs, and nothing is held", idle),
    "A11": ("nobody is told to pay twice", paid_twice),
    "A12": ("revisions find their prefix in the cache", reused),
    "outcomes": ("nothing fails that is not declared to", expected),
    "streams": ("every stream has its last event", whole),
    "slopes": ("memory, descriptors, tasks and series do not grow", flat),
}
