"""POST /solve over a real server: the response, the events, the errors, the budgets."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx2
import pytest
from staging import Playback, StatedVerifier, service

from service.engines.base import Usage
from service.engines.scripted import ArithmeticVerifier, ScriptedEngine
from service.settings import Settings
from service.strategies import STRATEGIES
from verifier.scoring import VerifierError

SUM = "What is 3 and 4 and 5 and 6?"


def ask(client: httpx2.Client, **body: Any) -> httpx2.Response:
    return client.post("/solve", json={"problem": SUM} | body)


def events(client: httpx2.Client, **body: Any) -> list[tuple[str, Any]]:
    body = {"problem": SUM, "stream": True} | body
    with client.stream("POST", "/solve", json=body) as response:
        return [(e.event, e.json()) for e in httpx2.EventSource(response) if e.data]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_solves_and_its_usage_is_the_engines_own(strategy: str) -> None:
    engine = ScriptedEngine()
    with service(engine) as client:
        solved = ask(client, strategy=strategy, sampling={"seed": 1}).json()

    usage = solved["usage"]
    spent = engine.spent
    assert {
        "prompt": spent.prompt,
        "cached": spent.cached,
        "completion": spent.completion,
        "calls": spent.calls,
    } == usage["policy"]
    assert spent.computed + usage["verifier"]["tokens"] == usage["total"]
    assert strategy == solved["strategy"]


def test_stepco_finds_the_slip_and_puts_it_right(client: httpx2.Client) -> None:
    solved = ask(client, sampling={"seed": 7}).json()

    assert (solved["answer"], solved["verified"], solved["stop_reason"]) == ("18", True, "accepted")
    assert len(solved["rounds"]) > 1
    assert {step["round"] for step in solved["steps"]} == {r["round"] for r in solved["rounds"]}


def test_a_stream_tells_the_solve_and_ends_with_what_the_plain_answer_says(
    client: httpx2.Client,
) -> None:
    told = events(client, sampling={"seed": 7})
    plain = ask(client, sampling={"seed": 7}).json()

    names = [name for name, _ in told]
    done = told[-1][1]
    assert names[:6] == ["step", "step", "step", "step", "drafted", "verified"]
    assert "revised" in names
    assert names[-1] == "done"
    for changing in ("id", "elapsed_ms"):
        del done[changing], plain[changing]
    assert plain == done


def test_candidates_are_told_with_their_scores(client: httpx2.Client) -> None:
    told = events(client, strategy={"name": "best_of_n", "n": 3}, sampling={"seed": 1})

    found = [data for name, data in told if name == "candidate"]
    assert [each["sample"] for each in found] == [0, 1, 2]
    assert found == told[-1][1]["candidates"]


def test_messages_are_taken_in_place_of_a_problem(client: httpx2.Client) -> None:
    turns = [{"role": "system", "content": "Be terse."}, {"role": "user", "content": SUM}]

    solved = client.post("/solve", json={"messages": turns, "sampling": {"seed": 3}}).json()

    assert solved["answer"] == "18"


def test_the_estimated_baseline_is_ten_of_this_solves_own_drafts(client: httpx2.Client) -> None:
    solved = ask(client, strategy="single", sampling={"seed": 3}).json()

    usage, baseline = solved["usage"], solved["baseline"]
    assert (baseline["kind"], baseline["n"]) == ("estimated", 10)
    assert 10 * usage["policy"]["completion"] == baseline["policy"]["completion"]
    assert 10 * usage["verifier"]["tokens"] == baseline["verifier"]["tokens"]
    assert pytest.approx(1 - usage["total"] / baseline["total"]) == baseline["saving"]


def test_samples_that_the_budget_refused_do_not_cheapen_the_estimate(client: httpx2.Client) -> None:
    body = {"strategy": {"name": "best_of_n", "n": 8}, "sampling": {"seed": 1, "max_tokens": 64}}

    whole, cut = (
        ask(client, **body, budget={"max_tokens": most}).json()["baseline"]["policy"]["completion"]
        for most in (4096, 70)
    )

    assert pytest.approx(whole, rel=0.25) == cut


def test_the_measured_baseline_is_really_run_and_kept_apart() -> None:
    engine = ScriptedEngine()
    with service(engine) as client:
        solved = ask(client, strategy="single", baseline="measure").json()

    baseline, policy = solved["baseline"], solved["usage"]["policy"]
    assert (baseline["kind"], baseline["policy"]["calls"]) == ("measured", 10)
    assert engine.spent.completion == policy["completion"] + baseline["policy"]["completion"]
    assert baseline["answer"] is not None


@pytest.mark.parametrize("budget", [1, 2, 7, 30])
def test_a_token_budget_is_never_exceeded_and_the_best_path_so_far_is_the_answer(
    client: httpx2.Client, budget: int
) -> None:
    for strategy in STRATEGIES:
        response = ask(client, strategy=strategy, budget={"max_tokens": budget})

        assert response.status_code == 200
        assert response.json()["usage"]["policy"]["completion"] <= budget
        assert response.json()["stop_reason"] in ("token_budget", "sampled", "accepted")


def test_a_compute_budget_too_small_for_the_question_is_refused(client: httpx2.Client) -> None:
    response = ask(client, budget={"max_compute_tokens": 5})

    assert (response.status_code, response.json()["error"]["param"]) == (
        400,
        "budget.max_compute_tokens",
    )


def test_at_the_deadline_the_steps_written_so_far_are_the_answer() -> None:
    with service(ScriptedEngine(delay=0.01)) as client:
        started = time.monotonic()
        solved = ask(client, budget={"deadline_ms": 250}).json()

    assert time.monotonic() - started < 1
    assert (solved["stop_reason"], solved["verified"]) == ("deadline", False)
    assert len(solved["steps"]) >= 1
    assert solved["usage"]["wasted"] == solved["usage"]["policy"]["completion"] > 0


def test_a_deadline_with_nothing_to_show_is_an_error_that_no_sdk_retries() -> None:
    with service(ScriptedEngine(delay=1.0)) as client:
        response = ask(client, budget={"deadline_ms": 50})

    assert (response.status_code, response.json()["error"]["code"]) == (504, "deadline_exceeded")
    assert response.headers["x-should-retry"] == "false"


@pytest.mark.parametrize("stream", [False, True])
def test_a_caller_that_leaves_stops_the_engine(stream: bool) -> None:
    engine = ScriptedEngine(lambda prompt, rng: " w" * 400, delay=0.01)
    with service(engine) as client:
        with pytest.raises(httpx2.ReadTimeout):
            client.post("/solve", json={"problem": SUM, "stream": stream}, timeout=0.3).read()
        time.sleep(0.5)
        spent = engine.spent.completion
        time.sleep(0.3)

    assert 0 < spent == engine.spent.completion < 150


def test_health_and_readiness(client: httpx2.Client) -> None:
    assert client.get("/health").json() == {"status": "alive"}
    ready = {"status": "ready", "engine": "scripted", "verifier": "arithmetic", "traces": "off"}
    assert ready == client.get("/ready").json()


class DeadVerifier(ArithmeticVerifier):
    async def score(self, chains: object, meter: object = None) -> Any:
        raise VerifierError("it is dead")

    async def check(self) -> None:
        raise VerifierError("it is dead")


def test_a_dead_verifier_is_said_plainly_and_is_not_ready() -> None:
    """The draft has been paid for; an SDK that asked again by itself would pay for another."""
    with service(verifier=DeadVerifier()) as client:
        for response, again in ((ask(client), "false"), (client.get("/ready"), "true")):
            assert response.status_code == 503
            assert response.json()["error"]["code"] == "verifier_unavailable"
            assert response.headers["x-should-retry"] == again
            assert "retry-after" in response.headers
        assert events(client)[-1][0] == "error"


class NonsenseVerifier(ArithmeticVerifier):
    async def score(self, chains: Any, meter: object = None) -> Any:
        return (await super().score(chains))[:0]


def test_a_verifier_that_miscounts_is_an_error_and_not_a_score() -> None:
    with service(verifier=NonsenseVerifier()) as client:
        assert ask(client).status_code == 503


def test_a_failure_nobody_foresaw_shows_nothing_of_itself() -> None:
    def script(*_: object) -> str:
        raise RuntimeError("secret detail")

    with service(ScriptedEngine(script)) as client:
        plain, streamed = ask(client), events(client)[-1]

    assert plain.status_code == 500
    assert streamed[0] == "error"
    assert "secret" not in plain.text + json.dumps(streamed)


BAD: list[dict[str, Any]] = [
    {},
    {"problem": ""},
    {"problem": " \n\t"},
    {"problem": "a\x00b"},
    {"problem": 7},
    {"problem": None},
    {"problem": "x" * 64_001},
    {"problem": SUM, "messages": [{"role": "user", "content": SUM}]},
    {"messages": []},
    {"messages": [{"role": "assistant", "content": "a"}]},
    {"messages": [{"role": "tool", "content": "a"}]},
    {"messages": "hello"},
    {"problem": SUM, "strategy": "magic"},
    {"problem": SUM, "strategy": {"name": "magic"}},
    {"problem": SUM, "strategy": {}},
    {"problem": SUM, "strategy": 5},
    {"problem": SUM, "strategy": {"name": "stepco", "surprise": 1}},
    {"problem": SUM, "strategy": {"name": "stepco", "threshold": 1.5}},
    {"problem": SUM, "strategy": {"name": "stepco", "max_rounds": 10**30}},
    {"problem": SUM, "strategy": {"name": "stepco", "max_rounds": "3"}},
    {"problem": SUM, "strategy": {"name": "best_of_n", "n": 0}},
    {"problem": SUM, "strategy": {"name": "best_of_n", "n": 65}},
    {"problem": SUM, "strategy": {"name": "best_of_n", "n": True}},
    {"problem": SUM, "strategy": {"name": "best_of_n", "aggregate": "best"}},
    {"problem": SUM, "sampling": {"temperature": -1}},
    {"problem": SUM, "sampling": {"temperature": 1e400}},
    {"problem": SUM, "sampling": {"top_p": 0}},
    {"problem": SUM, "sampling": {"seed": -1}},
    {"problem": SUM, "budget": {"max_tokens": 0}},
    {"problem": SUM, "budget": {"deadline_ms": 10**9}},
    {"problem": SUM, "baseline": "maybe"},
    {"problem": SUM, "stream": "yes"},
    {"problem": SUM, "surprise": 1},
]


@pytest.mark.parametrize("body", BAD, ids=lambda body: json.dumps(body)[:60])
def test_bad_input_is_a_clear_400_and_never_reaches_the_engine(body: dict[str, Any]) -> None:
    engine = ScriptedEngine()
    with service(engine) as client:
        response = client.post("/solve", content=json.dumps(body))

    assert_enveloped(response, 400)
    assert Usage() == engine.spent


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b'"text"', b"\xff\xfe", b'{"problem": "\\ud800"}', b"[" * 100_000],
    ids=repr,
)
def test_a_body_that_is_no_request_is_a_clear_400(client: httpx2.Client, content: bytes) -> None:
    assert_enveloped(client.post("/solve", content=content), 400)


def assert_enveloped(response: httpx2.Response, status: int) -> None:
    assert status == response.status_code
    error = response.json()["error"]
    assert {"message", "type", "param", "code"} == set(error)
    assert error["message"]
    assert error["type"] == "invalid_request_error"


def test_paths_methods_and_sizes_fail_in_the_same_envelope(client: httpx2.Client) -> None:
    assert_enveloped(client.get("/nowhere"), 404)
    assert_enveloped(client.get("/solve"), 405)
    assert_enveloped(client.post("/solve", content=b"x" * 2_000_001), 413)

    def chunks() -> Any:
        for _ in range(30):
            yield b"x" * 100_000

    assert_enveloped(client.post("/solve", content=chunks()), 413)


def test_a_large_bad_request_gets_a_small_answer_that_does_not_echo_it(
    client: httpx2.Client,
) -> None:
    wrong = [{"role": "user", "content": "", "CANARY": "CANARY"}] * 200
    body = {"messages": wrong, "strategy": "CANARY" * 10_000, "CANARY": 1}

    response = client.post("/solve", json=body)

    assert_enveloped(response, 400)
    assert len(response.content) < 4000
    assert "CANARYCANARY" not in response.text


def test_the_openapi_page_is_there(client: httpx2.Client) -> None:
    assert client.get("/docs").status_code == 200
    schema = client.get("/openapi.json").json()
    served = {"/v1/chat/completions", "/v1/responses", "/v1/models", "/v1/models/{model}"}
    traces = {"/v1/traces", "/v1/traces/export", "/v1/traces/{id}"}
    assert {"/solve", "/health", "/ready", "/metrics"} | served | traces == set(schema["paths"])


def test_the_same_seed_gives_the_same_answer_and_usage() -> None:
    with service() as client:
        first, second = (ask(client, sampling={"seed": 5}).json() for _ in range(2))

    assert (first["answer"], first["usage"]) == (second["answer"], second["usage"])


def test_special_tokens_in_a_question_reach_the_policy_as_text() -> None:
    script = Playback("Step 1: a\nAnswer: 1")
    with service(ScriptedEngine(script), StatedVerifier()) as client:
        ask(client, problem="<|im_end|> hello", strategy="single")

    assert script.prompts[0].messages[-1].content == "<|im_end|> hello"


def test_settings_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUREFOOT_PORT", "4242")

    assert Settings().port == 4242


def test_all_calls_of_a_solve_are_of_one_session_that_is_its_id() -> None:
    script = Playback("Step 1: a\nStep 2: b (0.2)", "c\nAnswer: \\boxed{1}")
    verifier = StatedVerifier()
    with service(ScriptedEngine(script), verifier) as client:
        solved = ask(client, strategy="stepco").json()

    assert (len(script.prompts), len(verifier.chains)) == (2, 2)
    assert {prompt.session for prompt in script.prompts} == {solved["id"]}
    assert {chain.session for chain in verifier.chains} == {solved["id"]}
