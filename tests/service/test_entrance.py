"""The way in over HTTP: what a refusal says, what it costs, and that all that is held returns."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import openai
import pytest
from chatting import TURNS
from staging import service

from service.engines.base import Usage
from service.engines.scripted import ScriptedEngine
from service.errors import QuotaExhausted, RateLimited, StartupError
from service.quotas import Quotas, Standing
from service.settings import Settings
from service.tenants import Tenant

SUM = "What is 3 and 4 and 5 and 6?"
ROUTES: dict[str, dict[str, Any]] = {
    "/solve": {"problem": SUM},
    "/v1/chat/completions": {"model": "surefoot-single", "messages": TURNS},
    "/v1/responses": {"model": "surefoot-single", "input": SUM},
}


def ask(client: httpx2.Client, **body: Any) -> httpx2.Response:
    return client.post("/solve", json={"problem": SUM, "strategy": "single"} | body)


def assert_refused(response: httpx2.Response, status: int, code: str, *, again: bool) -> None:
    assert (status, code) == (response.status_code, response.json()["error"]["code"])
    assert response.headers["x-should-retry"] == ("true" if again else "false")
    assert ("retry-after" in response.headers) == again


@pytest.mark.parametrize("route", ROUTES)
def test_the_requests_of_a_minute_are_counted_on_every_route_that_solves(route: str) -> None:
    with service(settings=Settings(requests_per_minute=2)) as client:
        answers = [client.post(route, json=ROUTES[route]) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert_refused(answers[2], 429, "rate_limit_exceeded", again=True)
    assert 1 <= int(answers[2].headers["retry-after"]) <= 60
    remaining = [answer.headers["x-ratelimit-remaining-requests"] for answer in answers]
    assert remaining == ["1", "0", "0"]
    assert {answer.headers["x-ratelimit-limit-requests"] for answer in answers} == {"2"}


def test_a_refused_request_is_not_even_read() -> None:
    """The body is no JSON, and is not found out."""
    with service(settings=Settings(requests_per_minute=1)) as client:
        assert client.post("/solve", content=b"{").status_code == 400

        assert client.post("/solve", content=b"{").status_code == 429


def test_routes_that_do_not_solve_are_not_counted() -> None:
    with service(settings=Settings(requests_per_minute=1)) as client:
        for path in ("/v1/models", "/ready", "/health") * 3:
            assert client.get(path).status_code == 200


def test_what_a_solve_did_not_use_of_its_budget_returns_to_the_quota() -> None:
    engine = ScriptedEngine()
    with service(engine, settings=Settings(tokens_per_day=10_000)) as client:
        first = ask(client, budget={"max_tokens": 4000})
        spent = engine.spent.completion
        second = ask(client, budget={"max_tokens": 1000})

    assert first.headers["x-ratelimit-remaining-tokens"] == "6000"
    assert second.headers["x-ratelimit-remaining-tokens"] == str(10_000 - spent - 1000)
    assert second.headers["x-ratelimit-limit-tokens"] == "10000"


def test_a_measured_baseline_is_reserved_for_and_paid_like_the_rest() -> None:
    engine, body = ScriptedEngine(), {"budget": {"max_tokens": 100}, "sampling": {"max_tokens": 50}}
    with service(engine, settings=Settings(tokens_per_day=10_000)) as client:
        measured = ask(client, baseline="measure", **body)
        spent = engine.spent.completion
        after = ask(client, **body)

    assert measured.headers["x-ratelimit-remaining-tokens"] == str(10_000 - 100 - 10 * 50)
    assert after.headers["x-ratelimit-remaining-tokens"] == str(10_000 - spent - 100)


def test_a_quota_is_never_exceeded_and_what_no_sdk_can_wait_for_is_not_to_be_retried() -> None:
    engine = ScriptedEngine()
    with service(engine, settings=Settings(tokens_per_day=100)) as client:
        budget = {"max_tokens": 60}
        answers = [ask(client, budget=budget) for _ in range(20)]

    assert engine.spent.completion <= 100
    assert answers[0].status_code == 200
    assert_refused(answers[-1], 429, "insufficient_quota", again=False)


def test_a_budget_that_the_quota_can_never_hold_is_a_400_that_names_it() -> None:
    with service(settings=Settings(tokens_per_day=100)) as client:
        response = ask(client, budget={"max_tokens": 101})

    assert_refused(response, 400, "budget_too_large", again=False)
    assert response.json()["error"]["param"] == "budget.max_tokens"


@pytest.mark.parametrize("stream", [False, True])
def test_when_too_much_is_asked_the_rest_is_refused_and_what_was_let_in_is_answered(
    stream: bool,
) -> None:
    engine = ScriptedEngine(delay=0.01)
    settings = Settings(concurrency=2, queue_tokens=20_000)
    with service(engine, settings=settings) as client, ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: ask(client, stream=stream), range(20)))

    taken = [answer for answer in answers if answer.status_code == 200]
    assert 4 <= len(taken) < 20
    assert engine.spent.calls == len(taken)
    for answer in answers:
        if answer.status_code != 200:
            assert_refused(answer, 429, "engine_overloaded", again=True)
            assert 1 <= int(answer.headers["retry-after"]) <= 120


def test_who_waits_in_the_queue_until_its_deadline_has_paid_nothing_and_may_ask_again() -> None:
    engine = ScriptedEngine(lambda *_: " w" * 200, delay=0.01)
    settings = Settings(concurrency=1)
    with service(engine, settings=settings) as client, ThreadPoolExecutor(1) as pool:
        first = pool.submit(ask, client)
        time.sleep(0.3)
        calls = engine.spent.calls
        second = ask(client, budget={"deadline_ms": 300})
        assert first.result().status_code == 200

    assert_refused(second, 429, "engine_overloaded", again=True)
    assert calls == engine.spent.calls == 1


def test_the_time_in_the_queue_is_of_the_deadline() -> None:
    engine = ScriptedEngine(lambda *_: "Step 1: a" + " w" * 100, delay=0.01)
    settings = Settings(concurrency=1)
    with service(engine, settings=settings) as client, ThreadPoolExecutor(1) as pool:
        first = pool.submit(ask, client)
        time.sleep(0.2)
        began = time.monotonic()
        second = ask(client, budget={"deadline_ms": 1500}).json()
        took = time.monotonic() - began
        first.result()

    assert second["stop_reason"] == "deadline"
    assert took == pytest.approx(1.5, abs=0.4)


DEADLINES = [
    ({"x-request-timeout-ms": "250"}, {}),
    ({"x-request-timeout-ms": "250"}, {"deadline_ms": 60_000}),
    ({"x-request-timeout-ms": "60000"}, {"deadline_ms": 250}),
    ({}, {}),
]


@pytest.mark.parametrize(("headers", "budget"), DEADLINES, ids=str)
def test_a_deadline_is_the_headers_or_the_bodys_whichever_is_less_or_by_default_ours(
    headers: dict[str, str], budget: dict[str, int]
) -> None:
    settings = Settings(deadline_ms=120_000 if headers else 250)
    with service(ScriptedEngine(delay=0.01), settings=settings) as client:
        body = {"problem": SUM, "budget": budget}
        solved = client.post("/solve", json=body, headers=headers).json()

    assert solved["stop_reason"] == "deadline"
    assert solved["elapsed_ms"] < 1000


@pytest.mark.parametrize(
    ("route", "headers", "body", "param"),
    [
        ("/solve", {}, {"budget": {"deadline_ms": 5001}}, "budget.deadline_ms"),
        ("/solve", {"x-request-timeout-ms": "5001"}, {}, "x-request-timeout-ms"),
        ("/solve", {"x-request-timeout-ms": "0"}, {}, "x-request-timeout-ms"),
        ("/solve", {"x-request-timeout-ms": "soon"}, {}, "x-request-timeout-ms"),
        (
            "/v1/responses",
            {},
            {"surefoot": {"budget": {"deadline_ms": 5001}}},
            "surefoot.budget.deadline_ms",
        ),
    ],
)
def test_a_deadline_over_the_cap_or_no_number_is_a_400_that_names_it(
    route: str, headers: dict[str, str], body: dict[str, Any], param: str
) -> None:
    with service(settings=Settings(deadline_most_ms=5000, deadline_ms=5000)) as client:
        response = client.post(route, json=ROUTES[route] | body, headers=headers)

    assert (response.status_code, response.json()["error"]["param"]) == (400, param)


def test_openais_own_client_waits_as_it_is_told_and_then_succeeds() -> None:
    """It is refused at first, for the queue is full, and asks again by itself."""
    engine = ScriptedEngine(lambda *_: "Step 1: a\nAnswer: 1" + " w" * 80, delay=0.01)
    settings = Settings(concurrency=1, queue_tokens=1)
    with service(engine, settings=settings) as client, ThreadPoolExecutor(2) as pool:
        url = f"{client.base_url}/v1"
        busy = [pool.submit(ask, client) for _ in range(2)]
        time.sleep(0.3)
        sdk = openai.OpenAI(base_url=url, api_key="-", max_retries=2)
        asked = sdk.chat.completions.with_raw_response.create(
            model="surefoot-single", messages=[{"role": "user", "content": SUM}]
        )
        assert {each.result().status_code for each in busy} == {200}
        sdk.close()

    assert asked.retries_taken >= 1
    assert engine.spent.calls == 3


def test_nothing_is_held_when_all_is_over_whatever_came_of_it() -> None:
    engine = ScriptedEngine(delay=0.001)
    settings = Settings(tokens_per_day=10**6, concurrency=2)
    with service(engine, settings=settings) as client:
        ask(client)
        ask(client, stream=True)
        ask(client, budget={"max_compute_tokens": 1})
        ask(client, budget={"max_tokens": 10**6 + 1})
        client.post("/solve", content=b"{")
        ask(client, budget={"deadline_ms": 1})
        with pytest.raises(httpx2.ReadTimeout):
            client.post("/solve", json={"problem": SUM}, timeout=0.02)
        time.sleep(0.3)
        spent = engine.spent.completion
        last = ask(client, budget={"max_tokens": 1000})

    assert last.headers["x-ratelimit-remaining-tokens"] == str(10**6 - spent - 1000)


def test_a_window_is_the_clocks_and_a_settlement_goes_to_the_day_it_was_taken_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was reserved before midnight and returns after it is not given to the new day."""
    now, told = [86_400.0 * 20_000 - 10], list[Standing]()
    monkeypatch.setattr("service.quotas.time.time", lambda: now[0])
    tenant = Tenant("t", 1.0, None, 1000)

    async def main() -> None:
        quotas = Quotas("memory://")
        reserved = await quotas.reserve(tenant, 900, told.append)
        assert reserved is not None
        with pytest.raises(RateLimited) as soon:
            await quotas.reserve(tenant, 900, told.append)
        assert soon.value.retry_after == 10
        now[0] += 20
        await quotas.settle(reserved, 100)
        await quotas.reserve(tenant, 900, told.append)
        with pytest.raises(QuotaExhausted):
            await quotas.reserve(tenant, 101, told.append)

    asyncio.run(main())

    assert [standing.remaining for standing in told] == [100, 100, 100, 100]


def test_where_quotas_are_kept_is_checked_at_the_start() -> None:
    with pytest.raises(StartupError, match="SUREFOOT_QUOTAS"):
        Quotas("nonsense://")


def test_a_store_of_quotas_that_does_not_answer_lets_nobody_in_and_is_said_plainly() -> None:
    pytest.importorskip("redis", reason="the extra redis is not installed")
    from pydantic import SecretStr

    engine = ScriptedEngine()
    nowhere = Settings(quotas=SecretStr("redis://127.0.0.1:9"), requests_per_minute=5)
    with service(engine, settings=nowhere) as client:
        response = ask(client)

    assert_refused(response, 503, "quotas_unavailable", again=True)
    assert Usage() == engine.spent
