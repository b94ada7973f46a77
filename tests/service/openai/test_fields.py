"""Every field of a chat completion's request: honoured, without effect on purpose, or refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from chatting import SUM, TURNS, chat, content, post, refusal
from staging import Playback, StatedVerifier, service

from service.engines.base import Message, Sampling
from service.engines.scripted import ScriptedEngine
from service.openai.names import SLUGS
from service.openai.request import ChatRequest
from service.openai.task import EFFORTS, task
from verifier.scoring import Score

WITHOUT_EFFECT: dict[str, Any] = {
    "user": "u1",
    "metadata": {"team": "a"},
    "safety_identifier": "s1",
    "prompt_cache_key": "k1",
    "prompt_cache_options": {"mode": "implicit"},
    "prompt_cache_retention": "24h",
    "parallel_tool_calls": True,
    "verbosity": "low",
    "service_tier": "auto",
    "store": False,
    "tools": [],
    "tool_choice": "none",
    "functions": [],
    "function_call": "none",
    "response_format": {"type": "text"},
    "modalities": ["text"],
    "presence_penalty": 0,
    "frequency_penalty": 0.0,
    "logit_bias": {},
    "logprobs": False,
    "top_logprobs": 0,
    "audio": None,
    "prediction": None,
    "web_search_options": None,
    "moderation": None,
}

REFUSED: dict[str, tuple[Any, str, str]] = {
    "service_tier": ("flex", "service_tier", "unsupported_value"),
    "store": (True, "store", "unsupported_parameter"),
    "tools": ([{"type": "function"}], "tools", "unsupported_parameter"),
    "tool_choice": ("required", "tool_choice", "unsupported_parameter"),
    "functions": ([{"name": "f"}], "functions", "unsupported_parameter"),
    "function_call": ({"name": "f"}, "function_call", "unsupported_parameter"),
    "response_format": ({"type": "json_object"}, "response_format.type", "unsupported_value"),
    "modalities": (["text", "audio"], "modalities[1]", "unsupported_value"),
    "presence_penalty": (0.5, "presence_penalty", "unsupported_parameter"),
    "frequency_penalty": (-1, "frequency_penalty", "unsupported_parameter"),
    "logit_bias": ({"50256": -100}, "logit_bias", "unsupported_parameter"),
    "logprobs": (True, "logprobs", "unsupported_parameter"),
    "top_logprobs": (3, "top_logprobs", "unsupported_parameter"),
    "audio": ({"voice": "x"}, "audio", "unsupported_parameter"),
    "prediction": ({"type": "content"}, "prediction", "unsupported_parameter"),
    "web_search_options": ({"a": 1}, "web_search_options", "unsupported_parameter"),
    "moderation": ({"model": "m"}, "moderation", "unsupported_parameter"),
    "temperature": (2.5, "temperature", "invalid_value"),
    "top_p": (0, "top_p", "invalid_value"),
    "n": (9, "n", "invalid_value"),
    "seed": (1.5, "seed", "invalid_type"),
    "stop": (list("abcde"), "stop", "invalid_value"),
    "stream": ("yes", "stream", "invalid_type"),
    "max_tokens": (0, "max_tokens", "invalid_value"),
    "max_completion_tokens": (10**7, "max_completion_tokens", "invalid_value"),
    "reasoning_effort": ("enormous", "reasoning_effort", "unsupported_value"),
    "reasoning": ({"effort": "enormous"}, "reasoning.effort", "unsupported_value"),
    "include_reasoning": ("no", "include_reasoning", "invalid_type"),
    "messages": ([], "messages", "invalid_value"),
    "surefoot": ({"surprise": 1}, "surefoot.surprise", "invalid_value"),
}


@pytest.fixture(scope="module")
def plain(client: httpx2.Client) -> str:
    """What is answered when nothing but model, messages and seed is given."""
    return content(client)


@pytest.mark.parametrize("field", WITHOUT_EFFECT)
def test_a_field_without_effect_is_accepted(client: httpx2.Client, plain: str, field: str) -> None:
    response = post(client, **{field: WITHOUT_EFFECT[field]})

    assert response.status_code == 200, response.text
    assert plain == response.json()["choices"][0]["message"]["content"]
    assert "x-surefoot-ignored" not in response.headers


@pytest.mark.parametrize("field", REFUSED)
def test_a_refused_field_is_named_in_the_400(client: httpx2.Client, field: str) -> None:
    value, param, code = REFUSED[field]

    assert (param, code) == refusal(client, **{field: value})


@pytest.mark.parametrize(
    "metadata",
    [
        {"a": 1},
        {"a": "x" * 513},
        {"a" * 65: "x"},
        {str(n): "x" for n in range(17)},
        {"a": "\ud800"},
    ],
    ids=["number", "long", "long key", "many", "surrogate"],
)
def test_metadata_is_as_small_as_openais(client: httpx2.Client, metadata: Any) -> None:
    """Responses repeat it, so what is taken comes back."""
    body = json.dumps({"model": "surefoot-single", "input": "1 and 2?", "metadata": metadata})
    headers = {"content-type": "application/json"}

    assert 400 == client.post("/v1/responses", content=body, headers=headers).status_code


def test_null_is_as_good_as_leaving_a_field_out(client: httpx2.Client, plain: str) -> None:
    required = {"model", "messages", "surefoot", "seed"}
    nulls: dict[str, Any] = dict.fromkeys(set(ChatRequest.model_fields) - required)

    assert plain == content(client, **nulls)


@pytest.mark.parametrize("model", SLUGS)
def test_the_model_chooses_the_strategy(client: httpx2.Client, model: str) -> None:
    for name in (f"surefoot-{model}", f"scripted:{model}"):
        answer = chat(client, model=name)

        assert name == answer["model"]
        assert model.replace("-", "_") == answer["surefoot"]["strategy"]


@pytest.mark.parametrize("model", ["gpt-5", "surefoot", "stepco", "other:stepco", "scripted:", ""])
def test_an_unknown_model_is_a_404(client: httpx2.Client, model: str) -> None:
    for response in (post(client, model=model), client.get(f"/v1/models/{model or 'x'}")):
        assert response.status_code == 404
        assert response.json()["error"]["code"] == "model_not_found"


def test_models_are_listed_and_each_is_served(client: httpx2.Client) -> None:
    listed = client.get("/v1/models").json()

    assert listed["object"] == "list"
    assert len(listed["data"]) == 2 * len(SLUGS)
    for model in listed["data"]:
        assert model == client.get(f"/v1/models/{model['id']}").json()
        assert {"id", "object", "created", "owned_by"} == set(model)
        assert chat(client, model=model["id"])["choices"][0]["message"]["content"]


@pytest.fixture
def script() -> Playback:
    return Playback(*["Sure.", "Sure."])


@pytest.fixture
def played(script: Playback) -> Iterator[httpx2.Client]:
    """A service whose policy says what the script says."""
    with service(ScriptedEngine(script), StatedVerifier()) as client:
        yield client


def test_roles_and_parts_reach_the_policy_as_one_conversation(
    played: httpx2.Client, script: Playback
) -> None:
    turns = [
        {"role": "developer", "content": "Be terse."},
        {"role": "user", "content": "Hello", "name": "ann"},
        {"role": "assistant", "content": "Hi!", "reasoning_content": "dropped", "refusal": None},
        {
            "role": "user",
            "content": [{"type": "text", "text": "And "}, {"type": "text", "text": "now?"}],
        },
    ]

    chat(played, messages=turns)

    assert script.prompts[0].messages == (
        Message("system", "Be terse."),
        Message("user", "Hello"),
        Message("assistant", "Hi!"),
        Message("user", "And now?"),
    )


BAD_TURNS: list[tuple[Any, str, str]] = [
    ({"role": "tool", "content": "a", "tool_call_id": "1"}, ".role", "unsupported_value"),
    ({"role": "function", "content": "a", "name": "f"}, ".role", "unsupported_value"),
    ({"role": "user"}, ".content", "invalid_value"),
    ({"role": "user", "content": None}, ".content", "invalid_type"),
    ({"role": "user", "content": ""}, ".content", "invalid_value"),
    ({"role": "user", "content": " \n"}, ".content", "invalid_value"),
    ({"role": "user", "content": []}, ".content", "invalid_value"),
    ({"role": "user", "content": "a\0b"}, ".content", "invalid_value"),
    ("hello", "", "invalid_type"),
    (
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x"}}]},
        ".content[0].type",
        "unsupported_content_part",
    ),
    (
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "input_audio"}]},
        ".content[1].type",
        "unsupported_content_part",
    ),
    (
        {"role": "assistant", "content": "a", "tool_calls": [{"id": "1"}]},
        ".tool_calls",
        "unsupported_parameter",
    ),
]


@pytest.mark.parametrize(("turn", "where", "code"), BAD_TURNS, ids=lambda it: json.dumps(it)[:50])
def test_a_turn_that_cannot_be_read_is_named(
    client: httpx2.Client, turn: Any, where: str, code: str
) -> None:
    assert (f"messages[1]{where}", code) == refusal(client, messages=[*TURNS, turn])


def test_the_last_turn_must_be_the_users(client: httpx2.Client) -> None:
    turns = [*TURNS, {"role": "assistant", "content": "18"}]

    assert refusal(client, messages=turns) == ("messages", "invalid_value")


@pytest.mark.parametrize("field", ["max_completion_tokens", "max_tokens"])
@pytest.mark.parametrize("limit", [1, 5, 20])
def test_a_limit_is_hard_and_at_it_the_best_so_far_is_a_200(
    client: httpx2.Client, field: str, limit: int
) -> None:
    for model in SLUGS:
        answer = chat(client, model=f"surefoot-{model}", **{field: limit})

        assert 0 < answer["usage"]["completion_tokens"] <= limit
        assert answer["choices"][0]["finish_reason"] == "length"
        assert answer["choices"][0]["message"]["content"]
        assert answer["surefoot"]["stop_reason"] == "token_budget"


def test_both_limits_must_agree(client: httpx2.Client) -> None:
    own = {"surefoot": {"budget": {"max_tokens": 51}}}
    assert refusal(client, max_tokens=50, max_completion_tokens=51)[0] == "max_tokens"
    assert refusal(client, max_tokens=50, **own)[0] == "surefoot.budget.max_tokens"
    assert chat(client, max_tokens=51, max_completion_tokens=51, **own)


def test_at_the_deadline_what_there_is_is_a_200_of_finish_length() -> None:
    with service(ScriptedEngine(delay=0.02)) as client:
        answer = chat(client, surefoot={"budget": {"deadline_ms": 300}})

    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["choices"][0]["message"]["content"].startswith("Step 1: 0")
    assert answer["surefoot"]["stop_reason"] == "deadline"


def asked(**body: Any) -> ChatRequest:
    return ChatRequest.model_validate({"model": "surefoot-stepco", "messages": TURNS} | body)


@pytest.mark.parametrize(("effort", "tokens"), EFFORTS.items())
def test_an_effort_is_a_budget_and_a_limit_goes_before_it(effort: str, tokens: int) -> None:
    own = {"surefoot": {"budget": {"max_tokens": 77}}}

    assert tokens == task(asked(reasoning_effort=effort), 60_000).budget.max_tokens
    assert tokens == task(asked(reasoning={"effort": effort}), 60_000).budget.max_tokens
    assert task(asked(reasoning_effort=effort, max_tokens=99), 60_000).budget.max_tokens == 99
    assert task(asked(reasoning_effort=effort, **own), 60_000).budget.max_tokens == 77
    assert task(asked(), 60_000).budget.max_tokens == 8192


def test_temperature_top_p_and_seed_reach_the_policy() -> None:
    drawn = task(asked(temperature=0, top_p=0.5, seed=-1), 60_000).question.sampling

    assert Sampling(0, 0.5, drawn.max_tokens, (), 2**31 - 1) == drawn


def test_the_same_seed_gives_the_same_answer(client: httpx2.Client, plain: str) -> None:
    others = {content(client, model="surefoot-single", seed=seed) for seed in range(12)}

    assert plain == content(client)
    assert len(others) > 1


@pytest.mark.parametrize("stop", ["Step 3", ["nowhere", "Step 3"]])
def test_a_stop_ends_the_visible_answer(client: httpx2.Client, plain: str, stop: Any) -> None:
    answer = chat(client, stop=stop, max_tokens=400)

    assert plain.partition("Step 3")[0].rstrip() == answer["choices"][0]["message"]["content"]
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["surefoot"]["answer"] == "18"


@pytest.mark.parametrize("model", ["best-of-n", "self-consistency"])
def test_n_of_samples_are_the_best_of_different_answers(client: httpx2.Client, model: str) -> None:
    answer = chat(client, model=f"surefoot-{model}", n=3)

    told = [answer["surefoot"], *answer["surefoot"]["others"]]
    assert [0, 1, 2] == [choice["index"] for choice in answer["choices"]]
    assert len({each["answer"] for each in told}) == 3
    scores = [each["score"] for each in told[1:]]
    assert scores == sorted(scores, reverse=True)
    assert answer["usage"] == chat(client, model=f"surefoot-{model}")["usage"] | {
        "completion_tokens_details": answer["usage"]["completion_tokens_details"]
    }


def test_fewer_answers_than_asked_for_come_with_a_warning(played: httpx2.Client) -> None:
    knobs = {"surefoot": {"strategy": {"n": 2}}}

    answer = chat(played, model="surefoot-best-of-n", n=2, **knobs)

    assert len(answer["choices"]) == 1
    assert "1 of 2 answers" in answer["surefoot"]["warnings"][0]


@pytest.mark.parametrize("model", ["stepco", "single"])
def test_n_of_other_strategies_are_runs_with_other_seeds_in_one_budget(
    client: httpx2.Client, model: str
) -> None:
    one = chat(client, model=f"surefoot-{model}")
    four = chat(client, model=f"surefoot-{model}", n=4, max_tokens=4000)
    cut = chat(client, model=f"surefoot-{model}", n=8, max_tokens=100)

    texts = [choice["message"]["content"] for choice in four["choices"]]
    reasons = [choice["message"]["reasoning"] for choice in four["choices"]]
    assert len(texts) == 4
    assert texts[0] == one["choices"][0]["message"]["content"]
    assert len(set(reasons)) > 1
    assert len({each["trace_id"] for each in four["surefoot"]["others"]}) == 3
    assert cut["usage"]["completion_tokens"] <= 100
    assert 1 <= len(cut["choices"]) < 8
    assert any("of 8 answers" in warning for warning in cut["surefoot"]["warnings"])


def test_unknown_keys_are_passed_over_and_named(client: httpx2.Client, plain: str) -> None:
    response = post(client, top_k=4, **{"odd key": 1, "x" * 100: 1})

    assert plain == response.json()["choices"][0]["message"]["content"]
    assert response.headers["x-surefoot-ignored"] == "top_k"
    assert response.json()["surefoot"]["warnings"] == ["Without effect: top_k."]


@pytest.mark.parametrize(
    "key",
    [
        "api_base",
        "base_url",
        "model_base_url",
        "api_key",
        "chat_template",
        "chat_template_kwargs",
        "guided_json",
        "guided_regex",
        "structured_outputs",
        "continue_final_message",
        "add_generation_prompt",
        "grammar",
        "json_schema",
        "regex",
        "ebnf",
        "logits_processors",
        "mm_processor_kwargs",
        "kv_transfer_params",
    ],
)
def test_keys_that_choose_a_server_or_a_template_are_refused(
    client: httpx2.Client, key: str
) -> None:
    assert (key, "unsupported_parameter") == refusal(client, **{key: "x"})


def test_the_knobs_are_those_of_solve(client: httpx2.Client) -> None:
    knobs = {
        "strategy": {"max_rounds": 0, "threshold": 0.5},
        "budget": {"max_tokens": 500, "max_compute_tokens": 5000, "deadline_ms": 9000},
        "baseline": "none",
        "cache_salt": "of its own",
    }

    answer = chat(client, surefoot=knobs)

    assert (answer["surefoot"]["revisions"], answer["surefoot"]["baseline"]) == (0, None)
    assert answer["surefoot"]["stop_reason"] == "max_rounds"


@pytest.mark.parametrize(
    ("knobs", "param"),
    [
        ({"strategy": {"rounds": 1}}, "surefoot.strategy.rounds"),
        ({"strategy": {"n": 4}}, "surefoot.strategy.n"),
        ({"strategy": {"name": "best_of_n"}}, "surefoot.strategy.name"),
        ({"strategy": "single"}, "surefoot.strategy.name"),
        ({"strategy": 5}, "surefoot.strategy"),
        ({"budget": {"tokens": 4}}, "surefoot.budget.tokens"),
        ({"budget": {"max_compute_tokens": 5}}, "surefoot.budget.max_compute_tokens"),
        ({"baseline": "maybe"}, "surefoot.baseline"),
        ({"include_trace": "yes"}, "surefoot.include_trace"),
        ("stepco", "surefoot"),
    ],
    ids=json.dumps,
)
def test_knobs_that_do_not_fit_are_named(client: httpx2.Client, knobs: Any, param: str) -> None:
    assert param == refusal(client, surefoot=knobs)[0]


def test_reasoning_can_be_left_out(client: httpx2.Client) -> None:
    for body in ({"include_reasoning": False}, {"reasoning": {"exclude": True}}):
        message = chat(client, **body)["choices"][0]["message"]
        assert {"role", "content", "refusal"} == set(message)

    message = chat(client)["choices"][0]["message"]
    assert message["reasoning"] == message["reasoning_content"] != ""


def test_stream_options_go_with_a_stream(client: httpx2.Client) -> None:
    assert refusal(client, stream_options={"include_usage": True})[0] == "stream_options"


def test_the_service_tier_is_told_where_it_was_asked_for(client: httpx2.Client) -> None:
    assert chat(client, service_tier="auto")["service_tier"] == "default"
    assert "service_tier" not in chat(client)


def test_the_fingerprint_changes_with_models_and_thresholds() -> None:
    engine, strict = ScriptedEngine(), StatedVerifier(Score(0.9, 0.9))
    engine.name = "another"
    prints = []
    for each in (
        (None, None),
        (None, None),
        (engine, None),
        (None, StatedVerifier()),
        (None, strict),
    ):
        with service(*each) as client:
            prints.append(chat(client)["system_fingerprint"])

    assert prints[0] == prints[1]
    assert len(set(prints)) == 4


def test_a_whole_answer_has_openais_shape(client: httpx2.Client) -> None:
    answer = chat(client)

    assert answer["id"].startswith("chatcmpl-")
    assert answer["object"] == "chat.completion"
    assert isinstance(answer["created"], int)
    (choice,) = answer["choices"]
    assert (choice["logprobs"], choice["message"]["refusal"]) == (None, None)
    told = answer["surefoot"]
    assert (told["answer"], told["verified"], told["stop_reason"]) == ("18", True, "accepted")
    assert told["trace_id"].startswith("solve-")
    assert told["baseline"]["saving"] < 1


def test_the_question_must_fit_the_compute_budget_whatever_else(client: httpx2.Client) -> None:
    body = {"messages": [{"role": "user", "content": SUM * 40}]}
    knobs = {"surefoot": {"budget": {"max_compute_tokens": 30}}}

    assert refusal(client, **body, **knobs)[0] == "surefoot.budget.max_compute_tokens"
