"""What must hold of every run, each with what it rests on: passed, failed, or not checked and why.

None of them takes the service's word for what the kit can count itself; where only the service can
know, it is asked in two ways. Names are those of `docs/load.md`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping

from bench.load.audit import SLACK, Untold
from bench.load.outcomes import Outcome
from bench.load.run import Evidence
from bench.load.rush import late, overload, polite, shares
from bench.load.scrapes import CACHE, Scrape
from bench.load.slopes import flat
from bench.load.verdict import Said, Verdict

SCRIPTED = "scripted"  # the engine without a cache
ABORTED_MOST = 64  # tokens that vLLM may write for a solve before it hears that it is over
IDLE_WITHIN = 1.0  # seconds
REUSED_LEAST = 0.6
HONOURED_LEAST = 0.95


def verdicts(evidence: Evidence) -> list[Verdict]:
    return [Verdict(name, claim, *check(evidence)) for name, (claim, check) in CHECKS.items()]


def budgets(evidence: Evidence) -> Said:
    spent = [(each.told.generated, each.budget) for each in evidence.outcomes if each.told.solve]
    untold = evidence.books.untold
    rows = [(row.generated, row.budget) for row in (untold.rows if untold else ())]
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
        cut = sum(each.kind == "cancelled" or each.late for each in evidence.outcomes)
        most = ABORTED_MOST * cut if "generation" in counter else 0
        told = (
            f"engine − ledgers = {gap} of {ledger:,} tokens; bound for {cut} whose callers left or "
            f"whose deadline came: {most}"
        )
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
    if untold is None or untold.lost:
        return None, _unkept(untold)
    if alone := _others(evidence, base, settled.scrape):
        return None, alone
    told = sum(each.told.generated for each in evidence.outcomes)
    both, ledger = told + untold.generated, settled.scrape.written - base.written
    traced = f"{untold.generated:,} in {len(untold.rows)} traces"
    return both == ledger, f"{told:,} told + {traced} = {both:,}; ledgers {ledger:,}"


def _unkept(untold: Untold | None) -> str:
    """Why traces do not tell what nobody was told."""
    if untold is None:
        return "the service keeps no traces, in which solves would stand that nobody was told of"
    return f"the service kept {untold.lost:,} solves less than there were: its log says why"


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
    if books.untold is None or books.untold.lost:
        return None, _unkept(books.untold)
    spent: dict[str, int] = defaultdict(int)
    for each in evidence.outcomes:
        spent[each.tenant if len(books.before) > 1 else next(iter(accounts))] += each.told.generated
    for row in books.untold.rows:
        spent[row.tenant] += row.generated
    left = {n: z.used - a.used - a.own - spent[n] for n, (a, z) in accounts.items()}
    over = [n for n, (_, z) in accounts.items() if z.used > z.limit]
    held = sum(abs(tokens) for tokens in left.values())
    full = sum(each.code == "insufficient_quota" for each in evidence.outcomes)
    says = f"{held} tokens still reserved or lost over {len(left)} tenants; {len(over)} over quota"
    return not held and not over, f"{says}; {full} requests refused for it"


def honoured(evidence: Evidence) -> Said:
    """Of those who asked again when they were told to, when nobody else came any more."""
    again = [each for each in evidence.outcomes if each.attempt]
    steady = [stretch.number for stretch in evidence.stretches if not late(evidence, stretch)]
    calm = [each for each in again if each.stage in steady and _calm(evidence, each)]
    let_in = sum(each.kind != "rejected" for each in calm)
    all_in = sum(each.kind != "rejected" for each in again)
    says = f"{let_in} of {len(calm)} let in when the rush was over; {all_in} of {len(again)} in all"
    return (let_in >= HONOURED_LEAST * len(calm) if calm else None), says


def _calm(evidence: Evidence, each: Outcome) -> bool:
    """Whether at least half of its wait was behind the rush."""
    stretch = evidence.stretches[each.stage]
    return each.due - (stretch.closed - stretch.began) >= 0.5 * (each.waited or 0)


def idle(evidence: Evidence) -> Said:
    settled = evidence.books.settled
    if settled is None:
        return None, "the service shows no metrics"
    if settled.idle is None:
        return False, f"{settled.scrape.inflight:.0f} requests still ran long after all had left"
    blocks = evidence.books.engine and evidence.books.engine[1].get(CACHE)
    says = (
        f"nothing ran {settled.idle:.2f} s after the last caller left; {settled.tasks:+} tasks, "
        f"{settled.descriptors:+} file descriptors"
        + (f"; {blocks:.1%} of the engine's cache in use" if blocks else "")
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
