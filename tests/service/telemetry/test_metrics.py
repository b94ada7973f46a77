"""The metrics say what happened: requests, solves, tokens, limits, cancels; and stay few."""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families
from staging import Playback, StatedVerifier, running, service

from service.app import create_app
from service.engines.base import Prompt, Usage
from service.engines.scripted import ArithmeticVerifier, ScriptedEngine
from service.errors import EngineUnavailable, ServiceError
from service.routes import keeping
from service.strategies import STRATEGIES
from service.telemetry import solves
from service.telemetry.metrics import Metrics
from verifier.scoring import VerifierError

Series = dict[str, float]


def scraped(client: httpx2.Client) -> Series:
    """Every sample by its name and labels, as `name{label="value"}`."""
    response = client.get("/metrics")
    assert response.status_code == 200
    found = {}
    for family in text_string_to_metric_families(response.text):
        for sample in family.samples:
            labels = ",".join(f'{k}="{v}"' for k, v in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def total(series: Series, name: str) -> float:
    return sum(value for key, value in series.items() if key.partition("{")[0] == name)


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def ask(client: httpx2.Client, **fields: Any) -> dict[str, Any]:
    body = {"problem": "What is 3 and 4 and 5?", **fields}
    solved: dict[str, Any] = client.post("/solve", json=body).raise_for_status().json()
    return solved


def test_every_token_is_counted_once_and_by_what_it_was_for() -> None:
    engine = ScriptedEngine()
    with service(engine) as client:
        for seed in range(5):
            for name in STRATEGIES:
                ask(client, strategy=name, sampling={"seed": seed}, baseline="none")
        ask(client, strategy="single", baseline="measure")
        series = scraped(client)

    kinds = {
        kind: series[f'surefoot_tokens_total{{kind="{kind}"}}']
        for kind in ("prompt", "cached", "draft", "sample", "revise", "wasted", "baseline")
    }
    assert all(kinds[kind] > 0 for kind in kinds if kind != "wasted")
    assert kinds["prompt"] + kinds["cached"] == engine.spent.prompt
    assert kinds["cached"] == engine.spent.cached
    generated = sum(kinds[k] for k in ("draft", "sample", "revise", "wasted", "baseline"))
    assert generated == engine.spent.completion


def test_the_accounts_agree_and_would_be_seen_not_to() -> None:
    """An engine that generates a token it does not tell is found out when nothing is in flight."""
    engine = ScriptedEngine()
    with service(engine) as client:
        ask(client, strategy="best_of_n", baseline="measure")
        sound = scraped(client)
        engine.spent += Usage(completion=7)
        silent = scraped(client)

    assert sound['surefoot_ledger_drift_tokens{against="calls"}'] == 0
    assert sound['surefoot_ledger_drift_tokens{against="engine"}'] == 0
    assert silent['surefoot_ledger_drift_tokens{against="engine"}'] == 7


class Uncounted:
    """The scripted engine, without its count."""

    name, begins_turns = "uncounted", True

    def __init__(self) -> None:
        inner = ScriptedEngine()
        self.complete, self.measure = inner.complete, inner.measure
        self.check, self.close = inner.check, inner.close


def test_an_engine_without_a_count_of_its_own_is_not_compared() -> None:
    with service(Uncounted()) as client:
        ask(client)
        series = scraped(client)

    assert series['surefoot_ledger_drift_tokens{against="calls"}'] == 0
    assert 'surefoot_ledger_drift_tokens{against="engine"}' not in series


def test_requests_are_counted_by_route_strategy_and_outcome() -> None:
    with service() as client:
        ask(client, strategy="single")
        chat = {"model": "surefoot-stepco", "messages": [{"role": "user", "content": "3 and 4?"}]}
        client.post("/v1/chat/completions", json=chat).raise_for_status()
        client.post("/solve", json={"no": "problem"})
        client.get("/v1/traces/solve-abc")
        client.get("/a/path/of/the/callers")
        series = scraped(client)

    counted = {key for key in series if key.startswith("surefoot_requests_total")}
    assert counted == {
        f'surefoot_requests_total{{algorithm="{algorithm}",outcome="{outcome}",route="{route}"}}'
        for route, algorithm, outcome in (
            ("/solve", "single", "answered"),
            ("/v1/chat/completions", "stepco", "answered"),
            ("/solve", "none", "refused"),
            ("/v1/traces/{id}", "none", "refused"),
            ("other", "none", "refused"),
        )
    }
    labels = '{algorithm="single",route="/solve"}'
    for name in ("request_duration", "time_to_first_byte", "time_to_first_answer_token"):
        assert series[f"surefoot_{name}_seconds_count{labels}"] == 1
    assert total(series, "surefoot_time_to_first_answer_token_seconds_count") == 2


def test_what_was_seen_on_the_way_is_measured() -> None:
    draft = "Step 1: one (0.9).\nStep 2: two (0.2).\nAnswer: \\boxed{1}"
    suffix = "Step 2: three (0.8).\nAnswer: \\boxed{2}"
    engine = ScriptedEngine(Playback(draft, suffix))
    with service(engine, StatedVerifier()) as client:
        ask(client, strategy="stepco", baseline="none", budget={"max_tokens": 100})
        series = scraped(client)

    assert series["surefoot_revisions_total"] == 1
    assert series["surefoot_steps_per_solve_sum"] == 2
    scores = 'surefoot_verifier_score_count{readout="correct"}'
    assert series[scores] == 3  # the kept step's score is the one it had
    assert series['surefoot_verifier_score_sum{readout="value"}'] == pytest.approx(1.9)
    assert series['surefoot_solves_total{algorithm="stepco",outcome="accepted"}'] == 1
    used = engine.spent.completion / 100
    assert series["surefoot_budget_utilization_ratio_sum"] == pytest.approx(used)


def test_limits_that_end_solves_are_counted() -> None:
    with service(ScriptedEngine(delay=0.01)) as client:
        ask(client, budget={"max_tokens": 5})
        ask(client, budget={"deadline_ms": 60})
        series = scraped(client)

    assert series['surefoot_budget_stops_total{reason="token_budget"}'] == 1
    assert series['surefoot_budget_stops_total{reason="deadline"}'] == 1
    assert series['surefoot_solves_total{algorithm="stepco",outcome="deadline"}'] == 1
    assert series['surefoot_tokens_total{kind="wasted"}'] > 0
    assert series['surefoot_ledger_drift_tokens{against="engine"}'] == 0


@contextmanager
def left(client: httpx2.Client, stream: bool) -> Iterator[None]:
    """A caller that asks, waits for what happens in the block, and leaves."""
    body = {"problem": "What is 3 and 4 and 5?", "stream": stream}
    with httpx2.Client(base_url=client.base_url, timeout=0.4) as other:
        thread = threading.Thread(target=lambda: _ask_in_vain(other, body))
        thread.start()
        try:
            yield
        finally:
            thread.join()


def _ask_in_vain(client: httpx2.Client, body: dict[str, Any]) -> None:
    with pytest.raises(httpx2.TimeoutException), client.stream("POST", "/solve", json=body) as r:
        r.read()


@pytest.mark.parametrize("stream", [False, True])
def test_a_caller_that_leaves_is_counted_by_what_was_going_on(stream: bool) -> None:
    with service(ScriptedEngine(delay=1.0)) as client:
        with left(client, stream):
            eventually(lambda: scraped(client)["surefoot_inflight"] == 1)
        eventually(lambda: scraped(client)["surefoot_inflight"] == 0)
        series = scraped(client)

    assert series['surefoot_cancellations_total{phase="waiting"}'] == 1
    assert series['surefoot_solves_total{algorithm="stepco",outcome="cancelled"}'] == 1
    cancelled = '{algorithm="stepco",outcome="cancelled",route="/solve"}'
    assert series[f"surefoot_requests_total{cancelled}"] == 1


def test_a_stream_that_began_well_and_failed_is_no_answer() -> None:
    class Dying(ArithmeticVerifier):
        async def score(self, chains: Any, meter: Any = None) -> Any:
            raise VerifierError("gone")

    with service(verifier=Dying()) as client:
        body = {"problem": "What is 3 and 4?", "stream": True}
        streamed = client.post("/solve", json=body)
        series = scraped(client)

    assert (200, True) == (streamed.status_code, "event: error" in streamed.text)
    failed = '{algorithm="stepco",outcome="failed",route="/solve"}'
    assert series[f"surefoot_requests_total{failed}"] == 1


def test_engine_and_verifier_that_do_not_answer_are_down() -> None:
    class Gone(ScriptedEngine):
        async def check(self) -> None:
            raise EngineUnavailable("gone")

    class Silent(ArithmeticVerifier):
        async def check(self) -> None:
            raise VerifierError("gone")

    with service() as client:
        well = scraped(client)
    with service(Gone(), Silent()) as client:
        ill = scraped(client)

    assert (well["surefoot_engine_up"], well["surefoot_verifier_up"]) == (1, 1)
    assert (ill["surefoot_engine_up"], ill["surefoot_verifier_up"]) == (0, 0)


def test_tenants_are_named_up_to_a_number_and_then_are_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(solves, "TENANTS_MOST", 3)
    app = create_app(ScriptedEngine(), ArithmeticVerifier())
    names = iter(["ann", "bob", "cy", "dee", "ann", "eve"])
    app.dependency_overrides[keeping.tenant] = lambda: next(names)
    with running(app) as url, httpx2.Client(base_url=url) as client:
        for _ in range(6):
            ask(client, strategy="single", baseline="none")
        series = scraped(client)

    tokens = {
        name: series.get(f'surefoot_tenant_tokens_total{{tenant="{name}"}}')
        for name in ("ann", "bob", "cy", "dee", "eve", "other")
    }
    assert {name for name, count in tokens.items() if count} == {"ann", "bob", "cy", "other"}


def test_what_admits_requests_is_asked_at_every_scrape() -> None:
    class Waiting:
        waiting, queued_tokens = 3, 4096.0

    app = create_app(ScriptedEngine(), ArithmeticVerifier())
    with running(app) as url, httpx2.Client(base_url=url) as client:
        metrics: Metrics = app.state.metrics
        metrics.watch(Waiting())
        before = scraped(client)
        Waiting.waiting = 0
        after = scraped(client)

    assert (before["surefoot_queue_depth"], before["surefoot_queued_tokens"]) == (3, 4096)
    assert after["surefoot_queue_depth"] == 0


@pytest.mark.parametrize("stream", [False, True])
def test_who_is_turned_away_is_counted_by_the_code_of_the_error(stream: bool) -> None:
    """Also in a stream that had begun while its request waited."""

    class Full(ScriptedEngine):
        async def complete(self, *_: Any) -> Any:
            error = ServiceError("Too many; try again later.")
            error.status, error.code = 429, "engine_overloaded"
            raise error

    with service(Full()) as client:
        client.post("/solve", json={"problem": "3?", "stream": stream})
        series = scraped(client)

    assert series['surefoot_rejections_total{reason="engine_overloaded"}'] == 1
    rejected = '{algorithm="stepco",outcome="rejected",route="/solve"}'
    assert series[f"surefoot_requests_total{rejected}"] == 1


def test_the_number_of_series_does_not_grow_with_what_callers_send() -> None:
    rng = random.Random(7)

    def word() -> str:
        return "".join(rng.choices("abcdefghij", k=9))

    def wave(client: httpx2.Client) -> None:
        for _ in range(5):
            client.get(f"/{word()}")
            client.get(f"/v1/models/{word()}")
            client.request(word().upper(), "/solve")
            client.post("/solve", json={"problem": word(), "strategy": word()})
            client.post("/solve", json={"problem": word(), "strategy": "single"})
            client.post("/v1/chat/completions", json={"model": word(), "messages": []})
            client.get("/health", headers={"x-request-id": word(), "user-agent": word()})

    with service() as client:
        wave(client)
        scraped(client)
        before = scraped(client).keys()
        for _ in range(3):
            wave(client)
        after = scraped(client).keys()

    assert before == after


def test_two_applications_in_a_process_count_for_themselves() -> None:
    with service() as one, service() as other:
        ask(one)

        assert total(scraped(one), "surefoot_solves_total") == 1
        assert total(scraped(other), "surefoot_solves_total") == 0


def test_no_text_of_a_caller_stands_in_the_metrics() -> None:
    def echo(prompt: Prompt, _: random.Random) -> str:
        return f"Step 1: {prompt.messages[-1].content}.\nAnswer: \\boxed{{canary}}"

    with service(ScriptedEngine(echo)) as client:
        ask(client, problem="canary")
        client.post("/solve/canary", headers={"Authorization": "Bearer canary"})
        text = client.get("/metrics").text

    assert "surefoot_solves_total" in text
    assert not re.search("canary", text)
