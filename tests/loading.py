"""Evidence of load tests that never were: what each check is shown, and what it must say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.load.audit import Account, Settled, Untold
from bench.load.mix import Plan, Stage
from bench.load.outcomes import Clock, Outcome, Told
from bench.load.run import Books, Evidence
from bench.load.scrapes import Scrape
from bench.load.stages import Stretch
from service.traces.keeper import Keeper
from service.traces.retention import Retention
from service.traces.store import Store

PLAN: dict[str, Any] = {
    "name": "small",
    "warmup": 0.0,
    "work": [
        {"share": 1, "strategy": {"name": "stepco"}},
        {"share": 1, "strategy": {"name": "best_of_n", "n": 3}},
        {"share": 1, "strategy": {"name": "single"}},
    ],
    "budgets": [{"share": 1, "max_tokens": 32}, {"share": 1, "max_tokens": 512}],
    "tenants": {"one": {"share": 1}, "many": {"share": 10}},
    "stages": [{"arrivals": "closed", "callers": 4, "requests": 20}],
}


def keeping(folder: Path) -> Keeper:
    """What keeps the traces of a service there, all of them."""
    store = Store(f"sqlite:///{folder}/traces.db")
    return Keeper(store, Retention(1, 10**6, 1000), content=True)


def plan(**changed: Any) -> Plan:
    return Plan.model_validate(PLAN | changed)


def told(generated: int = 20, **changed: Any) -> Told:
    return replace(Told("solve-1", "accepted", 50, generated, 50 + generated, None), **changed)


def outcome(number: int = 0, **changed: Any) -> Outcome:
    """An answer that took a second."""
    clock = Clock(0.0, 0.5, 0.5, 1.0, changed.pop("seconds", 1.0))
    whole = Outcome(
        number, 0, "one", "single", 64, "/solve", False, True, 0, 1.0, "answered", 200, None,
        clock, told(),
    )  # fmt: skip
    return replace(whole, **changed)


def rejected(number: int = 0, seconds: float = 0.01, **changed: Any) -> Outcome:
    changed = {"code": "engine_overloaded", "retry_after": 2, "should_retry": True} | changed
    return outcome(number, kind="rejected", status=429, told=Told(), seconds=seconds, **changed)


def scrape(at: float = 0.0, **values: float) -> Scrape:
    """`label__kind` of a value stands for the series with that label."""
    return Scrape(at, {_series(name): value for name, value in values.items()})


def _series(name: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    family, _, label = name.partition("__")
    labels = {
        "surefoot_tokens_total": "kind",
        "surefoot_ledger_drift_tokens": "against",
        "surefoot_tenant_tokens_total": "tenant",
        "surefoot_requests_total": "route",
    }
    return family, ((labels[family], label),) if label else ()


def stretch(
    number: int = 0, load: float | None = 0.5, seconds: float = 10.0, **stage: Any
) -> Stretch:
    kind = {"arrivals": "poisson", "rate": 1.0} if load else {"arrivals": "closed"}
    return Stretch(number, Stage(**kind | stage), 1.0, load, 0.0, seconds, seconds + 1)


def books(**changed: Any) -> Books:
    """Two tenants, one answer of twenty tokens, nothing left."""
    base = scrape(surefoot_tokens_total__draft=100.0, surefoot_ledger_drift_tokens__engine=0.0)
    last = scrape(surefoot_tokens_total__draft=120.0, surefoot_ledger_drift_tokens__engine=0.0)
    before: Mapping[str, Account | None] = {n: Account(1000, 5, 1) for n in ("one", "many")}
    after = {"one": Account(1000, 26, 1), "many": Account(1000, 6, 1)}
    whole = Books(base, Settled(0.1, last, 0, 0), None, before, after, Untold([]), (0, 0))
    return replace(whole, **changed)


def evidence(
    outcomes: Sequence[Outcome] = (),
    stretches: Sequence[Stretch] = (),
    scrapes: Sequence[Scrape] = (),
    **changed: Any,
) -> Evidence:
    ready = {"engine": changed.pop("policy", "scripted"), "verifier": "arithmetic"}
    made = datetime(2026, 5, 1, tzinfo=UTC)
    told_of = list(outcomes) or [outcome()]
    asked = changed.pop("plan", plan())
    held = books(**changed)
    ran = list(stretches) or [stretch()]
    return Evidence(asked, made, ready, 2.0, ran, told_of, list(scrapes), held)
