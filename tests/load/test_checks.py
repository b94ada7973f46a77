"""Each check passes where it should, fails where it must, and says so where it cannot tell."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from loading import books, evidence, outcome, plan, rejected, scrape, stretch, told

from bench.load.audit import Account, Row, Settled, Untold
from bench.load.checks import CHECKS, verdicts
from bench.load.figures import counted, jain
from bench.load.outcomes import Outcome, Told
from bench.load.report import Report
from bench.load.run import Evidence
from bench.load.scrapes import Scrape
from bench.load.slopes import slope

ROOT = Path(__file__).parents[2]


def said(name: str, found: Evidence) -> bool | None:
    return CHECKS[name][1](found)[0]


def chat(visible: int) -> Outcome:
    return outcome(path="/v1/chat/completions", told=told(visible=visible))


def accounts(used: int, limit: int = 1000) -> dict[str, Any]:
    return {"after": {"one": Account(limit, used, 1), "many": Account(limit, 6, 1)}}


def drifted(tokens: float) -> dict[str, Any]:
    last = scrape(surefoot_tokens_total__draft=120.0, surefoot_ledger_drift_tokens__engine=tokens)
    return {"settled": Settled(0.1, last, 0, 0)}


def vllm(generated: float) -> dict[str, Any]:
    read, written = "vllm:prompt_tokens_total", "vllm:generation_tokens_total"
    return {
        "engine": (
            Scrape(0, {(read, ()): 7.0, (written, ()): 5.0}),
            Scrape(1, {(read, ()): 7.0, (written, ()): 5.0 + generated}),
        )
    }


def served(one: float, many: float) -> list[Scrape]:
    name = "surefoot_tenant_tokens_total"
    return [
        scrape(float(at), **{f"{name}__one": one * at, f"{name}__many": many * at})
        for at in range(10)
    ]


INFLIGHT = ("surefoot_inflight", ())
CLOSED = [stretch(0, None)]
RUSHED = [stretch(0, 3.0)]
RUSH = [stretch(0, 0.5), stretch(1, 3.0)]


def rush(slow: float, refused: float, tenant: str = "one") -> list[Outcome]:
    usual = [outcome(n, tenant=tenant) for n in range(100)]
    late = [outcome(n, stage=1, tenant=tenant, seconds=slow) for n in range(100)]
    return [*usual, *late, *(rejected(n, refused, stage=1) for n in range(100, 200))]


def again(kind: str, due: float) -> Outcome:
    found = rejected() if kind == "rejected" else outcome()
    return replace(found, attempt=1, due=due, stage=0, waited=2)


RIGHT_AND_WRONG = {
    "A1": (evidence([outcome()]), evidence([outcome(told=told(65))])),
    "A1 untold": (
        evidence(untold=Untold([Row("one", 64, 99, 64)])),
        evidence(untold=Untold([Row("one", 65, 99, 64)])),
    ),
    "A2": (evidence([chat(64)]), evidence([chat(65)])),
    "A3": (evidence(**drifted(0)), evidence(**drifted(1))),
    "A3 vllm": (evidence(**vllm(20)), evidence(**vllm(21))),
    "A3 late": (
        evidence([outcome(told=told(stop_reason="deadline"))], **vllm(84)),
        evidence([outcome(told=told(stop_reason="deadline"))], **vllm(85)),
    ),
    "A4": (evidence(), evidence([outcome(told=told(21))])),
    "A4 untold": (
        evidence([outcome(told=told(8))], untold=Untold([Row("one", 12, 99, 64)])),
        evidence([outcome(told=told(8))], untold=Untold([Row("one", 13, 99, 64)])),
    ),
    "A5": (evidence(**drifted(0)), evidence(**drifted(1))),
    "A6": (evidence(**accounts(26)), evidence(**accounts(27))),
    "A6 over": (evidence(**accounts(26, 26)), evidence(**accounts(26, 25))),
    "A7": (
        evidence([again("answered", 11.0)], RUSHED),
        evidence([again("rejected", 11.0)], RUSHED),
    ),
    "A8 slow": (evidence(rush(1.4, 0.01), RUSH), evidence(rush(1.6, 0.01), RUSH)),
    "A8 refused": (evidence(rush(1.0, 0.049), RUSH), evidence(rush(1.0, 0.051), RUSH)),
    "A9 shares": (
        evidence(stretches=CLOSED, scrapes=served(90, 100)),
        evidence(stretches=CLOSED, scrapes=served(60, 100)),
    ),
    "A9 polite": (evidence(rush(1.4, 0.01), RUSH), evidence(rush(1.6, 0.01), RUSH)),
    "A10": (evidence(), evidence(settled=Settled(1.1, scrape(), 0, 0))),
    "A10 held": (evidence(), evidence(settled=Settled(0.1, scrape(), 0, 9))),
    "A11": (
        evidence([outcome(told=told(stop_reason="token_budget"))]),
        evidence([rejected(code="insufficient_quota")]),
    ),
    "A12": (
        evidence(policy="qwen", cached=(70, 100)),
        evidence(policy="qwen", cached=(50, 100)),
    ),
    "outcomes": (
        evidence([outcome(valid=False, kind="refused", status=400, told=Told())]),
        evidence([outcome(kind="failed", status=500, code="server_error", told=Told())]),
    ),
    "outcomes invalid": (evidence(), evidence([outcome(valid=False)])),
    "streams": (
        evidence([outcome(streamed=True)]),
        evidence([outcome(streamed=True, kind="truncated", told=Told())]),
    ),
}


@pytest.mark.parametrize("case", RIGHT_AND_WRONG)
def test_a_check_tells_right_from_wrong(case: str) -> None:
    right, wrong = RIGHT_AND_WRONG[case]
    name = case if case in CHECKS else case.rpartition(" ")[0]

    assert said(name, right) is True, CHECKS[name][1](right)
    assert said(name, wrong) is False, CHECKS[name][1](wrong)


def test_growth_that_is_more_than_noise_is_told() -> None:
    longest = [stretch(seconds=600.0)]

    def grown(each: float) -> Evidence:
        memory = [
            scrape(float(at), process_resident_memory_bytes=1e8 + each * at + 1e5 * (at % 7))
            for at in range(600)
        ]
        return evidence(stretches=longest, scrapes=memory)

    assert said("slopes", grown(0)) is True
    assert said("slopes", grown(1e5)) is False
    brief = replace(grown(1e5), stretches=[stretch(seconds=300.0)])
    assert said("slopes", brief) is None, "it may be a beginning"
    assert pytest.approx(2.0) == slope("x", [0, 1, 2, 3], [1, 3, 5, 7]).slope.value


UNKNOWN = {
    "A1": evidence([rejected()]),
    "A2": evidence(),
    "A3": evidence(settled=None),
    "A4": evidence(untold=None),
    "A5": evidence(base=None),
    "A6": evidence(before={"": None}),
    "A7": evidence(),
    "A8": evidence(),
    "A9 shares": evidence(),
    "A9 polite": evidence(),
    "A10": evidence(settled=None),
    "A11": evidence(),
    "A12": evidence(),
    "streams": evidence(),
    "slopes": evidence(),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_a_service_does_not_show_is_not_checked_and_never_passed(name: str) -> None:
    passed, why = CHECKS[name][1](UNKNOWN[name])

    assert passed is None
    assert why


def test_tokens_of_other_callers_are_no_drift_of_ours() -> None:
    name = "surefoot_requests_total__/solve"
    base, last = scrape(**{name: 4.0}), scrape(**{name: 6.0})

    passed, why = CHECKS["A4"][1](evidence(base=base, settled=Settled(0.1, last, 0, 0)))

    assert passed is None
    assert "others asked too: 2 served, 1 ours" == why


def test_traces_that_the_service_lost_are_no_tokens_that_it_lost() -> None:
    """A busy machine's store fell behind, and two checks said that tokens were missing."""
    lost = evidence([outcome(told=told(8))], untold=Untold([], lost=1))

    for name in ("A4", "A6"):
        assert (None, "the service kept 1 solves less than there were: its log says why") == (
            CHECKS[name][1](lost)
        )


def test_who_waited_through_the_rush_itself_is_not_counted_on() -> None:
    assert said("A7", evidence([again("rejected", 10.9)], RUSHED)) is None


def test_a_kit_that_did_not_keep_up_blames_nobody() -> None:
    """On a busy machine it sent half a second late, and called the service slow."""
    busy = [replace(o, clock=replace(o.clock, sent=0.06)) for o in rush(1.6, 0.2)]

    last = replace(again("rejected", 11.0), clock=busy[0].clock)
    assert said("A7", evidence([last], RUSHED)) is None
    for name in ("A8", "A9 polite"):
        passed, why = CHECKS[name][1](evidence(busy, RUSH))
        assert passed is None
        assert "the kit sent 60 ms late at p99" in why


def test_a_tenant_that_asks_for_more_than_its_share_is_not_polite() -> None:
    """The polite one's rate grew with the rush, until it waited for itself."""
    alike = {"tenants": {"one": {"share": 1}, "many": {"share": 1}}}

    passed, why = CHECKS["A9 polite"][1](evidence(rush(1.4, 0.01), RUSH, plan=plan(**alike)))

    assert passed is None
    assert "one itself asked for 3.00 times its share of what can be done" == why


def test_a_tenant_with_few_callers_is_not_starved() -> None:
    """Of forty at once a tenant of twelve callers can have no more than twelve."""
    busy = [replace(each, values={**each.values, INFLIGHT: 40.0}) for each in served(60, 100)]
    closed = [stretch(0, None, callers=24)]

    passed, why = CHECKS["A9 shares"][1](evidence(stretches=closed, scrapes=busy))

    assert passed is None
    assert "one had too few callers to have one waiting at all times" == why


def test_tokens_that_vllm_wrote_for_who_had_left_are_bounded_not_denied() -> None:
    left = outcome(1, kind="cancelled", told=Told())

    assert said("A3", evidence([outcome(), left], **vllm(20 + 64))) is True
    assert said("A3", evidence([outcome(), left], **vllm(20 + 65))) is False
    assert said("A3", evidence([outcome(), left], **vllm(19))) is False, "ledgers hold too much"


def test_every_check_is_run_and_a_failed_one_fails_the_report() -> None:
    found = evidence([outcome(told=told(65))])

    report = Report.of(found, verdicts(found))

    assert list(CHECKS) == [verdict.name for verdict in report.verdicts]
    assert report.passed is False
    assert "FAILED" == report.summary()["checks"]["A1"]


def test_every_request_is_counted_once_by_what_came_of_it_last() -> None:
    told_of = [outcome(0), rejected(1), rejected(2), replace(outcome(2), attempt=1)]

    assert {"answered": 2, "rejected": 1} == {k: n for k, n in counted(told_of).items() if n}


def test_jains_index_is_one_for_all_alike_and_a_share_for_one_alone() -> None:
    assert 1.0 == jain([3, 3, 3])
    assert pytest.approx(1 / 3) == jain([5, 0, 0])


def test_every_check_stands_on_the_page_with_its_claim() -> None:
    page = (ROOT / "docs/load.md").read_text(encoding="utf-8")
    for name, (claim, _) in CHECKS.items():
        assert f"| {name} | {claim} |" in page, name


def test_a_run_without_tenants_of_their_own_is_one_account() -> None:
    alone: dict[str, Any] = {
        "before": {"": Account(1000, 5, 1)},
        "after": {"": Account(1000, 26, 1)},
    }

    assert said("A6", evidence(plan=plan(), **alone)) is True
    assert books(**alone).before[""] == Account(1000, 5, 1)
