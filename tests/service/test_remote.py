"""The remote engine against a real server in a thread that plays scripts, good and bad."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any, TypeVar

import pytest
import stamina
from fastapi import FastAPI, Request, Response
from hypothesis import given, settings
from hypothesis import strategies as st
from staging import running
from stamina.instrumentation import LoggingOnRetryHook, set_on_retry_hooks
from starlette.responses import JSONResponse, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from service.correlation import request_id
from service.engines.base import Completion, Delta, Message, Prompt, Sampling, Usage
from service.engines.remote.engine import RemoteEngine
from service.errors import ContextLengthExceeded, EngineError, EngineUnavailable
from service.text import readable
from verifier.readout import Query, marked
from verifier.scoring import Cost, VerifierError

T = TypeVar("T")
Play = Callable[[Request], Awaitable[Response]]
ASK = Prompt((Message("user", "What is 2 + 3?"),))
SAMPLING = Sampling()
BEGUN = Prompt(ASK.messages, prefix="Step 1: ")


@dataclass
class Stub:
    """What the server shall do, one reply a completion, and what it has seen."""

    address: str = ""
    turn: int = 0
    """Counts the plays: what an earlier test's client sent too late is not played to."""
    owner: str = "openai"
    replies: list[Play] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    ports: set[int] = field(default_factory=set)
    mute: bool = False
    """Whether it does not tokenise."""
    context: int | None = None
    """Tokens that it has room for."""
    open: int = 0
    most_open: int = 0
    left: threading.Event = field(default_factory=threading.Event)
    """Set when a caller left in the middle of a stream."""

    def plays(self, *replies: Play, owner: str = "openai", mute: bool = False) -> None:
        turn = self.turn + 1
        self.__init__(self.address, turn, owner, list(replies), mute=mute)  # type: ignore[misc]

    @property
    def url(self) -> str:
        return f"{self.address}/{self.turn}"

    def note(self, request: Request) -> None:
        self.paths.append(request.url.path)
        self.headers.append(dict(request.headers))
        self.ports.add(request.client.port if request.client else 0)


STUB = Stub()


def chunk(text: str | None = None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    """A chat's chunk; `usage` is (prompt, cached, completion)."""
    if usage := more.pop("usage", None):
        prompt, cached, completion = usage
        details = {"cached_tokens": cached}
        more["usage"] = {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "prompt_tokens_details": details,
        }
    delta = {"role": "assistant", "content": text} | more.pop("delta", {})
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]} | more


def counted(prompt: int, cached: int, completion: int) -> dict[str, Any]:
    return chunk(usage=(prompt, cached, completion)) | {"choices": []}


def streams(*events: object, pause: float = 0, stay: bool = False, cut: bool = False) -> Play:
    """`stay`: keep the stream open until the caller leaves; `cut`: drop the connection."""

    async def body() -> AsyncIterator[str]:
        STUB.open += 1
        STUB.most_open = max(STUB.most_open, STUB.open)
        ended = False
        try:
            for event in events:
                yield ": keep-alive\n\n"
                yield f"data: {event if isinstance(event, str) else json.dumps(event)}\n\n"
                await asyncio.sleep(pause)
            while stay:
                yield ": keep-alive\n\n"
                await asyncio.sleep(0.01)
            ended = True
            if cut:
                raise OSError("the power went")
        finally:
            STUB.open -= 1
            if not ended:
                STUB.left.set()

    async def play(_: Request) -> Response:
        return StreamingResponse(body(), media_type="text/event-stream")

    return play


def refuses(status: int, error: object = "SECRET", **headers: str) -> Play:
    async def play(_: Request) -> Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return JSONResponse({"error": error}, status, named)

    return play


FIVE = streams(
    chunk(""), chunk("It is"), chunk(" 5."), chunk(None, "stop"), counted(20, 16, 4), "[DONE]"
)


@pytest.fixture(scope="module", autouse=True)
def _server() -> Iterator[None]:
    app = FastAPI()

    @app.get("/v1/models")
    def models(request: Request) -> object:
        STUB.note(request)
        first = {"id": "first", "owned_by": STUB.owner, "max_model_len": STUB.context}
        return {"data": [first, {"id": "second"}]}

    @app.post("/apply-template")
    async def render(request: Request) -> object:
        turns = (await request.json())["messages"]
        return {"prompt": "".join(f"<{t['role']}>{t['content']}" for t in turns) + "<assistant>"}

    @app.post("/tokenize")
    async def tokenize(request: Request) -> object:
        STUB.note(request)
        asked = await request.json()
        if STUB.mute:
            return JSONResponse({"error": "not here"}, 404)
        turns = asked.get("messages", ())
        words = asked.get("prompt", " ".join(turn["content"] for turn in turns)).split()
        return {"count": len(words), "tokens": [len(word) for word in words]}

    @app.post("/pooling")
    @app.post("/v1/{kind:path}")
    async def complete(request: Request) -> Response:
        turn, body = STUB.turn, await request.json()
        if turn != STUB.turn:
            return Response(status_code=410)
        STUB.note(request)
        STUB.bodies.append(body)
        play = STUB.replies.pop(0) if len(STUB.replies) > 1 else STUB.replies[0]
        return await play(request)

    app.add_middleware(OfThisTurn)
    with running(app) as STUB.address:
        yield


class OfThisTurn:
    """Takes the turn from a request's path, and lets no other turn's through."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        _, turn, path = scope["path"].split("/", 2)
        now = turn == str(STUB.turn)
        await (self.app if now else Response(status_code=410))(
            {**scope, "path": f"/{path}"}, receive, send
        )


@pytest.fixture(autouse=True)
def _impatient() -> Iterator[None]:
    """Retries wait for nothing, and are as many as the engine says."""
    with stamina.set_testing(True, attempts=100, cap=True):
        yield


def using(
    work: Callable[[RemoteEngine], Awaitable[T]], url: str | None = None, **options: Any
) -> T:
    async def main() -> T:
        engine = await RemoteEngine.connect(url or STUB.url, **options)
        try:
            async with asyncio.timeout(10):
                return await work(engine)
        finally:
            await engine.close()

    return asyncio.run(main())


def complete(
    *prompts: Prompt,
    sampling: Sampling = SAMPLING,
    watch: Callable[[Delta], bool] = lambda _: True,
    **options: Any,
) -> list[Completion]:
    return using(lambda engine: engine.complete(prompts or (ASK,), sampling, watch), **options)


def eventually(holds: Callable[[], bool]) -> None:
    """Within a second."""
    end = time.monotonic() + 1
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


class Listener:
    """A watch that keeps what it hears, and stops at a text."""

    def __init__(self, stop_at: str | None = None) -> None:
        self.heard: list[Delta] = []
        self.stop_at = stop_at

    def __call__(self, delta: Delta) -> bool:
        self.heard.append(delta)
        return delta.text != self.stop_at

    def of(self, index: int) -> Completion:
        """What was told of one prompt, added up."""
        mine = [delta for delta in self.heard if delta.index == index]
        text = "".join(delta.text for delta in mine)
        usage = sum((delta.usage for delta in mine), Usage())
        return Completion(text, mine[-1].finish or "aborted", usage)


def test_a_stream_becomes_a_completion_with_the_servers_own_figures() -> None:
    STUB.plays(FIVE)
    listener = Listener()

    completions = complete(watch=listener)

    assert completions == [Completion("It is 5.", "stop", Usage(20, 16, 4, calls=1))]
    assert listener.of(0) == completions[0]
    assert all(min(d.usage.prompt, d.usage.completion) >= 0 for d in listener.heard)


def test_a_text_is_heard_while_it_is_written() -> None:
    STUB.plays(streams(chunk("It is"), stay=True))
    listener = Listener(stop_at="It is")

    complete(watch=listener)

    assert listener.heard[0] == Delta(0, "It is", Usage(completion=1, calls=1))


def test_without_any_count_chunks_are_counted_and_the_prompt_is_measured() -> None:
    STUB.plays(streams(chunk("It is"), chunk(" 5."), chunk(None, "length"), "[DONE]"))

    async def work(engine: RemoteEngine) -> tuple[list[Completion], list[int]]:
        return await engine.complete([ASK], SAMPLING), await engine.measure([ASK])

    [completion], [bound] = using(work)

    assert completion == Completion("It is 5.", "length", Usage(bound, 0, 2, calls=1))


def test_a_count_of_zeros_is_not_believed() -> None:
    STUB.plays(streams(chunk("It is"), chunk(" 5."), chunk(None, "stop"), counted(0, 0, 0)))

    [completion] = complete()

    assert completion.usage.completion == 2
    assert completion.usage.prompt > 0


def test_vllm_counts_aloud_so_a_stopped_completion_is_counted_exactly() -> None:
    aloud = [chunk("", usage=(20, 0, 0)), chunk("It is", usage=(20, 0, 3)), chunk(" 5.")]
    STUB.plays(streams(*aloud, stay=True), owner="vllm")

    [completion] = complete(watch=Listener(stop_at="It is"))

    assert completion == Completion("It is", "aborted", Usage(20, 0, 3, calls=1))
    assert STUB.bodies[0]["stream_options"]["continuous_usage_stats"] is True


def test_llamacpp_counts_aloud_in_its_timings() -> None:
    timings = {"cache_n": 15, "prompt_n": 2, "predicted_n": 3}
    text = {"choices": [{"text": "It is", "finish_reason": None}], "timings": timings}
    STUB.plays(streams(text, stay=True), owner="llamacpp")

    [completion] = complete(watch=Listener(stop_at="It is"))

    assert completion == Completion("It is", "aborted", Usage(17, 15, 3, calls=1))
    assert STUB.bodies[0]["timings_per_token"] is True


def test_a_stranger_is_asked_for_nothing_but_openais_own_fields() -> None:
    STUB.plays(FIVE)

    complete(sampling=Sampling(0.5, 0.9, 64))

    assert STUB.bodies == [
        {
            "model": "first",
            "messages": [{"role": "user", "content": "What is 2 + 3?"}],
            "temperature": 0.5,
            "top_p": 0.9,
            "max_tokens": 64,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    ]


def test_thoughts_cost_tokens_but_are_no_text() -> None:
    thought = chunk(None, delta={"reasoning_content": "Let me see."})
    STUB.plays(streams(thought, thought, chunk("5"), chunk(None, "stop")))

    [completion] = complete()

    assert (completion.text, completion.usage.completion) == ("5", 3)


@settings(max_examples=20, deadline=None)
@given(
    texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=9), max_size=6),
    aloud=st.lists(st.booleans(), min_size=6, max_size=6),
    total=st.none() | st.tuples(st.integers(1, 99), st.integers(0, 9), st.integers(0, 99)),
)
def test_what_a_watch_hears_adds_up_to_the_completion(
    texts: list[str], aloud: list[bool], total: tuple[int, int, int] | None
) -> None:
    """The law of deltas, however a server cuts its text and whenever it counts."""
    says = zip(texts, aloud, strict=False)
    chunks = [chunk(t, usage=(7, 0, n) if a else None) for n, (t, a) in enumerate(says, 1)]
    STUB.plays(streams(*chunks, chunk(None, "stop"), *([counted(*total)] if total else [])))
    listener = Listener()

    [completion] = complete(watch=listener)

    assert listener.of(0) == completion
    assert completion.text == readable("".join(texts))
    assert total is None or completion.usage == Usage(*total, calls=1)


@pytest.mark.parametrize(
    ("owner", "begins"), [("vllm", True), ("sglang", True), ("llamacpp", True), ("openai", False)]
)
def test_a_server_says_what_it_is_and_can_be_contradicted(owner: str, begins: bool) -> None:
    STUB.plays(FIVE, owner=owner)

    async def work(engine: RemoteEngine) -> tuple[str, bool]:
        return engine.name, engine.begins_turns

    assert using(work) == ("first", begins)
    assert using(work, model="mine", begins_turns=not begins) == ("mine", not begins)


@pytest.mark.parametrize("owner", ["vllm", "sglang"])
def test_a_begun_turn_is_continued(owner: str) -> None:
    STUB.plays(FIVE, owner=owner, mute=True)

    complete(BEGUN)

    assert STUB.bodies[0]["messages"][-1] == {"role": "assistant", "content": "Step 1: "}
    assert STUB.bodies[0]["continue_final_message"] is True
    assert STUB.bodies[0]["add_generation_prompt"] is False


def written(text: str, *tokens: int, finish: str | None = None) -> dict[str, Any]:
    """What vLLM streams of a text completion, with its tokens."""
    return {"choices": [{"text": text, "token_ids": tokens, "finish_reason": finish}]}


def test_vllm_is_sent_the_tokens_that_it_wrote_where_a_prefix_is_kept() -> None:
    """Tokenised anew, "so 5" might be other tokens, and the cache would not know them."""
    says = [written(" so", 901), written("", 902), written(" 5\nS", 903), written("tep 2", 904)]
    STUB.plays(streams(*says, written("!", 905, finish="stop")), owner="vllm")

    async def work(engine: RemoteEngine) -> None:
        await engine.complete([BEGUN], SAMPLING)
        for prefix in ("Step 1:  so 5\nS", "Step 1:  so 5\nSte bb", "Step 1: ccc"):
            await engine.complete([Prompt(ASK.messages, prefix)], SAMPLING)

    using(work)

    head, begun = [4, 2, 1, 1, 2], [4, 2]  # the stub's tokens are the lengths of words
    assert [body["prompt"] for body in STUB.bodies] == [
        head + begun,
        [*head, *begun, 901, 902, 903],
        [*head, *begun, 901, 902, 903, 2, 2],
        [*head, *begun, 3],
    ]
    assert {path for path in STUB.paths if "completions" in path} == {"/v1/completions"}
    assert STUB.bodies[0]["return_token_ids"] is True


def test_a_text_that_stops_somewhere_comes_late_and_its_tokens_are_not_remembered() -> None:
    STUB.plays(streams(written(" so", 901), written(" 5", 902, finish="stop")), owner="vllm")

    async def work(engine: RemoteEngine) -> None:
        await engine.complete([BEGUN], Sampling(stop=("\n",)))
        await engine.complete([Prompt(ASK.messages, "Step 1:  so")], SAMPLING)

    using(work)

    assert STUB.bodies[1]["prompt"] == [4, 2, 1, 1, 2, 4, 2, 2]


def test_a_server_that_dies_is_not_asked_how_long_the_prompt_was() -> None:
    """Behind a router that drops usage: its 502 to that question hid that the stream had broken."""
    STUB.plays(streams(written(" so", 901), cut=True), owner="vllm")
    heard = Usage()

    def watch(delta: Delta) -> bool:
        nonlocal heard
        STUB.mute = True
        heard += delta.usage
        return True

    with pytest.raises(EngineError, match="no whole answer"):
        complete(BEGUN, watch=watch)

    assert heard == Usage(prompt=7, completion=1, calls=1)


CERTAIN = Sampling(certainty=True)
HALF = math.log(0.5)


@pytest.mark.parametrize(
    ("owner", "asks", "logprobs"),
    [
        ("vllm", ("logprobs", 0), {"tokens": ["5", " apples"], "token_logprobs": [HALF, -9.0]}),
        ("sglang", ("logprobs", True), {"content": [{"token": " x5", "logprob": HALF}]}),
        ("llamacpp", ("n_probs", 1), {"content": [{"token": "5", "logprob": HALF, "id": 20}]}),
    ],
)
def test_a_server_tells_how_probable_it_found_its_numbers(
    owner: str, asks: tuple[str, object], logprobs: dict[str, Any]
) -> None:
    said = written("5 apples", 901, 902) if owner == "vllm" else chunk("5 apples")
    said["choices"][0]["logprobs"] = logprobs
    STUB.plays(streams(said, chunk(None, "stop"), counted(5, 0, 2)), owner=owner)
    listener = Listener()

    complete(sampling=CERTAIN, watch=listener)
    complete(sampling=SAMPLING)

    ((_, probable),) = (number for delta in listener.heard for number in delta.numbers)
    assert pytest.approx(0.5) == probable
    assert STUB.bodies[0][asks[0]] == asks[1]
    assert asks[0] not in STUB.bodies[1]


def test_of_an_unknown_server_no_probabilities_are_asked() -> None:
    """Some models refuse a request for them."""
    STUB.plays(FIVE)

    complete(sampling=CERTAIN)

    assert not {"logprobs", "n_probs", "certainty"} & STUB.bodies[0].keys()


def test_on_vllm_a_prompt_is_measured_to_the_token() -> None:
    STUB.plays(FIVE, owner="vllm")

    async def work(engine: RemoteEngine) -> list[int]:
        return await engine.measure([ASK, BEGUN])

    assert using(work) == [5, 7]


def test_every_call_has_a_name_that_leads_to_the_request_it_serves() -> None:
    STUB.plays(FIVE)
    known = request_id.set("req_7")

    complete(ASK, ASK)

    request_id.reset(known)
    names = [headers["x-request-id"] for headers in STUB.headers]
    assert len(set(names)) == len(names)
    assert all(name.startswith("req_7.") for name in names)


def test_llamacpp_renders_the_conversation_and_the_prefix_is_put_behind_it() -> None:
    STUB.plays(streams({"choices": [{"text": "5", "finish_reason": "stop"}]}), owner="llamacpp")

    [completion] = complete(BEGUN)

    assert completion.text == "5"
    assert STUB.paths[-1] == "/v1/completions"
    assert STUB.bodies[0]["prompt"] == "<user>What is 2 + 3?<assistant>Step 1: "


def test_a_prefix_for_a_server_that_cannot_begin_turns_is_a_bug() -> None:
    STUB.plays(FIVE)

    with pytest.raises(ValueError, match="prefix"):
        complete(BEGUN)

    assert not STUB.bodies


@pytest.mark.parametrize("owner", ["vllm", "llamacpp"])
def test_control_tokens_in_a_text_are_broken_before_they_leave(owner: str) -> None:
    STUB.plays(streams(chunk("5", "stop")), owner=owner, mute=True)

    complete(Prompt((Message("user", "a<|im_end|>b"),), prefix="c<|im_end|>d"))

    sent = json.dumps(STUB.bodies[0], ensure_ascii=False)
    assert "<|im_end|>" not in sent
    assert sent.count("|im_end|>") == 2


def test_the_time_that_is_left_goes_with_a_call_and_is_no_field_of_openais() -> None:
    STUB.plays(FIVE)

    complete(sampling=Sampling(seconds=1.5))
    complete()

    _, timed, _, without = STUB.headers
    assert timed["x-request-timeout-ms"] == "1500"
    assert "x-request-timeout-ms" not in without
    assert "seconds" not in STUB.bodies[0]


def test_samples_are_drawn_apart_and_stops_are_sent() -> None:
    STUB.plays(FIVE)

    complete(ASK, ASK, ASK, sampling=Sampling(stop=("\n\n",), seed=7))

    assert sorted(body["seed"] for body in STUB.bodies) == [7, 8, 9]
    assert STUB.bodies[0]["stop"] == ["\n\n"]


def test_no_more_requests_run_at_once_than_allowed() -> None:
    STUB.plays(streams(*[chunk("x")] * 10, chunk(None, "stop"), pause=0.01))

    complete(*[ASK] * 6, concurrency=2)

    assert (len(STUB.bodies), STUB.most_open) == (6, 2)


def test_connections_are_used_again() -> None:
    STUB.plays(FIVE)

    async def work(engine: RemoteEngine) -> None:
        for _ in range(5):
            await engine.complete([ASK], SAMPLING)

    using(work)

    assert len(STUB.bodies) == 5
    assert len(STUB.ports) == 1


def test_no_prompts_need_no_server() -> None:
    async def work(engine: RemoteEngine) -> list[Completion]:
        return await engine.complete([], SAMPLING)

    STUB.plays(FIVE)

    assert using(work) == []
    assert not STUB.bodies


# Failures


@pytest.mark.parametrize("status", [429, 503])
def test_an_overloaded_server_is_asked_again(status: int) -> None:
    STUB.plays(refuses(status), refuses(status, retry_after="0"), FIVE)

    [completion] = complete()

    assert completion == Completion("It is 5.", "stop", Usage(20, 16, 4, calls=1))
    assert len(STUB.bodies) == 3


def test_after_three_attempts_it_is_enough() -> None:
    STUB.plays(refuses(503))

    with pytest.raises(EngineUnavailable, match="overloaded"):
        complete()

    assert len(STUB.bodies) == 3


def test_a_wait_that_the_server_asks_for_is_kept() -> None:
    STUB.plays(refuses(429, retry_after="1"), FIVE)

    with stamina.set_testing(False):
        began = time.monotonic()
        complete()

    assert 1 <= time.monotonic() - began < 3


@pytest.mark.parametrize(
    ("headers", "attempts"),
    [
        ({"retry_after": "11"}, 1),
        ({"retry_after": formatdate(time.time() + 3600, usegmt=True)}, 1),
        ({"retry_after": formatdate(time.time() - 3600, usegmt=True)}, 3),
        ({"retry_after": "soon"}, 3),
        ({"x_should_retry": "false"}, 1),
    ],
)
def test_a_server_may_say_that_it_is_no_use(headers: dict[str, str], attempts: int) -> None:
    STUB.plays(refuses(429, **headers))

    with pytest.raises(EngineUnavailable):
        complete()

    assert len(STUB.bodies) == attempts


@pytest.mark.parametrize("status", [408, 500, 502, 504])
def test_what_may_have_generated_something_is_not_paid_twice(status: int) -> None:
    STUB.plays(refuses(status))

    with pytest.raises(EngineError, match=str(status)):
        complete()

    assert len(STUB.bodies) == 1


@pytest.mark.parametrize(
    "error",
    [
        {"message": "Too many tokens.", "code": "context_length_exceeded"},
        {
            "message": "This model's maximum context length is 1024 tokens. However, you ...",
            "code": 400,
        },
        {
            "message": "The decoder prompt is longer than the maximum model length of 1024.",
            "code": 400,
        },
        {
            "message": "request exceeds the available context size",
            "type": "exceed_context_size_error",
        },
        {"message": "max_tokens must be at least 1, got 0. (parameter=max_tokens, value=0)"},
        "The input (2000 tokens) is longer than the model's context length (1024 tokens).",
    ],
)
def test_every_servers_word_for_a_prompt_too_long_is_known(error: object) -> None:
    STUB.plays(refuses(400, error))

    with pytest.raises(ContextLengthExceeded):
        complete()


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (400, "status 400"),
        (401, "refused our key; set SUREFOOT_ENGINE_KEY"),
        (403, "refused our key; set SUREFOOT_ENGINE_KEY"),
        (404, "knows no model 'first'"),
    ],
)
def test_a_refusal_of_one_sample_is_one_of_all(status: int, words: str) -> None:
    """The siblings are cancelled, though their streams go well."""
    STUB.plays(refuses(status), streams(chunk("x"), stay=True))

    with pytest.raises(EngineError, match=words) as caught:
        complete(ASK, ASK, ASK)

    assert "SECRET" not in caught.value.message
    eventually(lambda: STUB.open == 0)


BROKEN = {
    "an error in the stream": streams(chunk("It"), {"error": {"message": "SECRET", "code": 500}}),
    "an error that is a sentence": streams(chunk("It"), {"error": "SECRET"}, "[DONE]"),
    "an end without an ending": streams(chunk("It"), "[DONE]"),
    "an engine that gave up": streams(chunk("It"), chunk(None, "abort"), "[DONE]"),
    "a connection lost": streams(chunk("It"), cut=True),
    "half a chunk": streams(chunk("It"), '{"choices": [{"del'),
    "something else": streams(chunk("It"), chunk(["SECRET"])),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_a_completion_that_breaks_is_an_error_but_what_was_told_stays_paid(broken: Play) -> None:
    STUB.plays(broken)
    listener = Listener()

    with pytest.raises(EngineError, match="no whole answer") as caught:
        complete(watch=listener)

    told = listener.of(0)
    assert (told.text, told.finish, told.usage.completion) == ("It", "failed", 1)
    assert told.usage.prompt > 0
    assert "SECRET" not in f"{caught.value.message}{caught.value.__cause__}"


@pytest.mark.parametrize("broken", [*BROKEN.values(), refuses(500)], ids=[*BROKEN, "a status"])
def test_one_lost_sample_does_not_lose_the_others(broken: Play) -> None:
    STUB.plays(FIVE, broken, FIVE)
    listener = Listener()

    completions = complete(ASK, ASK, ASK, watch=listener, concurrency=1)

    assert [completion.finish for completion in completions] == ["stop", "failed", "stop"]
    assert completions == [listener.of(index) for index in range(3)]


def test_only_when_all_are_lost_is_it_an_error() -> None:
    STUB.plays(streams(chunk("It"), "[DONE]"))

    with pytest.raises(EngineError):
        complete(ASK, ASK, ASK)

    assert len(STUB.bodies) == 3


def test_a_silent_server_is_not_waited_for() -> None:
    STUB.plays(lambda _: asyncio.sleep(0.5, Response()))

    with pytest.raises(EngineUnavailable, match="does not answer"):
        complete(timeout=0.05)

    assert len(STUB.bodies) == 1


def test_an_error_of_the_watch_is_its_own() -> None:
    STUB.plays(streams(chunk("x"), stay=True))

    def watch(_: Delta) -> bool:
        raise KeyError("a bug of the caller")

    with pytest.raises(KeyError):
        complete(ASK, ASK, watch=watch)

    assert STUB.left.wait(2)


# Stopping


def test_a_watch_stops_its_own_prompt_alone() -> None:
    STUB.plays(streams(chunk("Stop here"), stay=True), FIVE)
    listener = Listener(stop_at="Stop here")

    completions = complete(ASK, ASK, watch=listener, concurrency=1)

    assert [completion.finish for completion in completions] == ["aborted", "stop"]
    assert completions == [listener.of(0), listener.of(1)]
    assert completions[0].usage.prompt > 0
    assert STUB.left.wait(2)


def test_a_completion_that_has_ended_cannot_be_stopped() -> None:
    STUB.plays(streams(chunk("5", "stop"), counted(20, 16, 4), "[DONE]"))

    assert complete(watch=lambda _: False) == [Completion("5", "stop", Usage(20, 16, 4, calls=1))]


def test_cancelling_closes_every_connection_and_what_was_told_stays_paid() -> None:
    STUB.plays(streams(chunk("x"), stay=True))
    listener = Listener()

    began = asyncio.Event()

    def watch(delta: Delta) -> bool:
        listener(delta)
        if {delta.index for delta in listener.heard} == {0, 1, 2}:
            began.set()
        return True

    async def work(engine: RemoteEngine) -> None:
        task = asyncio.create_task(engine.complete([ASK] * 3, SAMPLING, watch))
        await began.wait()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert task.cancelled()
        await asyncio.to_thread(eventually, lambda: STUB.open == 0)

    using(work)

    assert STUB.left.is_set()
    assert all(listener.of(index).usage.prompt > 0 for index in range(3))
    assert all(listener.of(index).text == "x" for index in range(3))


# Meeting a server


def test_the_key_is_sent_and_the_url_may_end_in_v1() -> None:
    STUB.plays(FIVE)

    complete(url=f"{STUB.url}/v1/", key="sesame")

    assert STUB.paths == ["/v1/models", "/v1/chat/completions"]
    assert all(headers["authorization"] == "Bearer sesame" for headers in STUB.headers)


def test_a_password_in_the_url_is_sent_and_never_told(caplog: pytest.LogCaptureFixture) -> None:
    STUB.plays(refuses(503))

    with pytest.raises(EngineUnavailable) as caught:
        complete(url=STUB.url.replace("//", "//bob:secret@"))

    assert {headers["authorization"] for headers in STUB.headers} == {"Basic Ym9iOnNlY3JldA=="}
    assert STUB.url in caught.value.message
    logged = [str(vars(record)) for record in caplog.records]
    assert "secret" not in "".join([str(caught.value.__cause__), *logged])


def nowhere() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"127.0.0.1:{listener.getsockname()[1]}"


def test_where_nothing_runs_a_sentence_says_so_and_keeps_the_password() -> None:
    place = nowhere()

    with pytest.raises(EngineUnavailable) as caught:
        asyncio.run(RemoteEngine.connect(f"http://bob:secret@{place}/v1"))

    assert caught.value.message == (
        f"the engine at http://{place} does not answer; check that it runs"
    )


async def raw(replies: Sequence[bytes]) -> tuple[asyncio.Server, str]:
    """A server of bare replies, one a connection; an empty one hangs up."""
    rest = iter(replies)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(next(rest))
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    return server, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def meet(*replies: str) -> RemoteEngine:
    async def main() -> RemoteEngine:
        heads = (
            f"HTTP/1.1 200 OK\r\nContent-Length: {len(r)}\r\n\r\n{r}" if r else "" for r in replies
        )
        server, url = await raw([head.encode() for head in heads])
        async with server:
            engine = await RemoteEngine.connect(url)
            await engine.close()
            return engine

    return asyncio.run(main())


def test_a_connection_that_the_server_drops_unanswered_is_made_anew() -> None:
    assert meet("", '{"data": [{"id": "m"}]}').name == "m"


@pytest.mark.parametrize(
    "said", ["<html>Welcome</html>", "[]", '{"data": []}', '{"data": "m"}', "{}"]
)
def test_what_is_no_engine_is_told_apart(said: str) -> None:
    with pytest.raises(EngineError) as caught:
        meet(said)

    assert not isinstance(caught.value, EngineUnavailable)
    assert "Welcome" not in caught.value.message


def test_check_passes_while_the_server_answers() -> None:
    STUB.plays(FIVE)

    async def work(engine: RemoteEngine) -> int:
        await engine.check()
        return len(STUB.paths)

    assert using(work) == 2


def test_a_measure_is_never_too_few() -> None:
    """A tokeniser by bytes needs a token a byte at most, also for what `neutralise` put in."""
    prompt = Prompt((Message("system", "é" * 999), Message("user", "<|im_end|>")), "ab")
    STUB.plays(FIVE)

    [bound] = using(lambda engine: engine.measure([prompt]))

    assert bound > 2 * 999 + len("<\u200b|im_end|>".encode()) + 2


def test_no_text_of_a_caller_reaches_the_log(caplog: pytest.LogCaptureFixture) -> None:
    STUB.plays(refuses(429, error="It is 5."), FIVE)
    set_on_retry_hooks([LoggingOnRetryHook])

    with caplog.at_level(logging.WARNING, logger="stamina"):
        complete(Prompt((Message("user", "canary"),)), key="sesame")

    set_on_retry_hooks(None)
    assert caplog.records, "a retry is logged"
    said = "".join(str(vars(record)) for record in caplog.records)
    assert not [word for word in ("canary", "sesame", "It is 5.") if word in said]


@pytest.mark.parametrize("status", [301, 304, 402, 408, 413, 422, 431, 501, 529])
def test_every_status_is_an_error_of_ours(status: int) -> None:
    STUB.plays(refuses(status))

    with pytest.raises(EngineError, match=str(status)):
        complete()


def likely(**logprobs: float) -> Play:
    """A reply that names these tokens with their log-probabilities."""
    tops = [{"token": token, "logprob": logprob} for token, logprob in logprobs.items()]
    usage = {"prompt_tokens": 30, "completion_tokens": 1}
    details = {"prompt_tokens_details": {"cached_tokens": 24}}

    async def play(_: Request) -> Response:
        choice = {"message": {}, "logprobs": {"content": [{"top_logprobs": tops}]}}
        return JSONResponse({"choices": [choice], "usage": usage | details})

    return play


def test_odds_are_read_off_the_likeliest_tokens() -> None:
    STUB.plays(likely(Yes=-0.5, maybe=-3.0, No=-1.5))

    (reading,) = using(lambda e: e.read([Query("Judge.", "2 + 2 = 4?")], [("Yes", "No")]))

    assert pytest.approx(1 / (1 + 2.718281828**-1.0)) == reading.odds[0]
    assert Cost(30 - 24 + 1, 1) == reading.cost
    (body,) = STUB.bodies
    assert (True, 20, 1) == (body["logprobs"], body["top_logprobs"], body["max_tokens"])
    assert "stream" not in body


def test_a_token_that_is_not_named_counts_as_the_last_of_those_that_are() -> None:
    STUB.plays(likely(Yes=-0.5, maybe=-3.0))

    (reading,) = using(lambda e: e.read([Query("", "2 + 2 = 4?")], [("Yes", "No")]))

    assert pytest.approx(1 / (1 + 2.718281828**-2.5)) == reading.odds[0]


def test_what_a_server_calls_impossible_is_so_and_no_accident() -> None:
    """vLLM writes -9999 for what cannot be; the power of e to that was an error of ours."""
    STUB.plays(likely(Yes=-9999.0, No=0.0), likely(Yes=0.0, No=-9999.0))

    readings = [
        using(lambda e: e.read([Query("", "2 + 2 = 4?")], [("Yes", "No")]))[0] for _ in range(2)
    ]

    assert [reading.odds for reading in readings] == [(0.0,), (1.0,)]


def test_a_query_is_sent_with_its_markers_and_all_else_of_callers_is_broken() -> None:
    """A layout has neutralised what it shows: doing so once more here would break its markers."""
    STUB.plays(likely(Yes=-0.5, No=-1.5), owner="vllm")
    query = marked("</s>ки", ["a ки"])

    using(lambda e: e.read([query], [("Yes", "No")]))

    *_, user, begun = STUB.bodies[-1]["messages"]
    assert ("<\u200b/s>к\u200bи", "Step 1: a к\u200bи ки") == (user["content"], begun["content"])


def test_vllm_is_asked_for_the_tokens_themselves_likely_or_not() -> None:
    STUB.plays(likely(Yes=-9.5, No=-9.0), owner="vllm")

    first, second = using(lambda e: e.read([Query("", "a"), Query("", "b")], [("Yes", "No")]))

    assert [[3, 2]] * 2 == [body["logprob_token_ids"] for body in STUB.bodies]
    assert 3 == STUB.paths.count("/tokenize"), "each word is looked up once, behind a trial"
    assert pytest.approx(1 / (1 + 2.718281828**0.5)) == first.odds[0] == second.odds[0]


def test_a_word_of_several_tokens_cannot_be_read_from_vllm() -> None:
    STUB.plays(likely(Yes=-0.5, No=-1.5), owner="vllm")

    with pytest.raises(VerifierError, match="no single token"):
        using(lambda e: e.read([Query("", "a")], [("Yes it is", "No")]))


@pytest.mark.parametrize("play", [likely(maybe=-0.1), likely(), refuses(500), FIVE])
def test_a_server_that_gives_no_reading_is_a_verifier_that_fails(play: Play) -> None:
    STUB.plays(play)

    with pytest.raises(VerifierError):
        using(lambda e: e.read([Query("", "2 + 2 = 4?")], [("Yes", "No")]))


def test_the_time_that_is_left_goes_with_a_reading() -> None:
    STUB.plays(likely(Yes=-0.1, No=-2.0))
    timed, without = Query("", "a", until=time.monotonic() + 1.5), Query("", "b")

    using(lambda e: e.read([timed, without], [("Yes", "No")]))

    *_, first, second = STUB.headers
    assert 1000 < int(first["x-request-timeout-ms"]) <= 1500
    assert "x-request-timeout-ms" not in second


def test_every_call_of_a_solve_names_its_session_and_a_lone_call_names_none() -> None:
    """A router sends calls of one session to one replica, which has their tokens in its cache."""
    STUB.plays(FIVE)
    complete(Prompt(ASK.messages, session="solve-1"), ASK)
    assert {headers.get("x-session-id") for headers in STUB.headers[-2:]} == {"solve-1", None}

    STUB.plays(likely(Yes=-0.5, No=-1.5))
    using(lambda e: e.read([Query("", "2 + 2 = 4?", session="solve-2")], [("Yes", "No")]))
    assert STUB.headers[-1]["x-session-id"] == "solve-2"


def test_vllm_is_told_whose_cache_a_call_may_use_and_since_when_it_is_wanted() -> None:
    asked = Prompt(ASK.messages, salt="alice", since=1_790_000_000)

    STUB.plays(FIVE, owner="vllm")
    complete(asked)
    assert ("alice", 1_790_000_000) == tuple(map(STUB.bodies[-1].get, ("cache_salt", "priority")))

    STUB.plays(FIVE)
    complete(asked)
    assert not {"cache_salt", "priority"} & STUB.bodies[-1].keys()


def test_vllm_is_asked_for_no_more_than_it_has_room_for() -> None:
    STUB.plays(FIVE, owner="vllm")
    STUB.context = 100
    complete(ASK)

    assert 100 == len(STUB.bodies[-1]["prompt"]) + STUB.bodies[-1]["max_tokens"]

    STUB.context = 5
    with pytest.raises(ContextLengthExceeded, match="does not fit in 5 tokens"):
        complete(ASK)


def test_samples_beyond_those_that_stay_together_begin_sessions_of_their_own() -> None:
    STUB.plays(FIVE)

    complete(*[Prompt(ASK.messages, session="s")] * 5, together=2)

    named = sorted(headers["x-session-id"] for headers in STUB.headers[-5:])
    assert named == ["s", "s", "s:1", "s:1", "s:2"]


def test_behind_a_router_that_drops_usage_the_tokens_of_each_chunk_are_counted() -> None:
    """vllm-router 0.1.17 passes `stream_options` on without `continuous_usage_stats`.

    A chunk holds what was written since the last, on a busy server several tokens; a call that was
    cut off was recorded with one a chunk.
    """
    written: list[dict[str, Any]] = [chunk("It"), chunk(" is 5, as")]
    for each, ids in zip(written, ([11], [12, 13, 14, 15]), strict=True):
        each["choices"][0]["token_ids"] = ids
    STUB.plays(streams(*written, stay=True), owner="vllm")
    listener = Listener(stop_at=" is 5, as")

    (stopped,) = complete(watch=listener)

    assert (stopped.finish, stopped.usage.completion) == ("aborted", 5)
    assert STUB.bodies[-1]["return_token_ids"] is True


# A pooling server


def pooled(*rows: list[list[float]]) -> Play:
    """What vLLM says of each prompt; out of order, as its index tells which is which."""
    data = [{"index": index, "data": each} for index, each in enumerate(rows)]

    async def play(_: Request) -> Response:
        return JSONResponse({"object": "list", "data": data[::-1]})

    return play


def test_paths_are_pooled_in_one_request_and_answered_in_order() -> None:
    STUB.plays(pooled([[0.25], [0.5]], [[0.75]]), owner="vllm")

    rows = using(lambda engine: engine.pool([[1, 2], [3]]))

    assert rows == [[[0.25], [0.5]], [[0.75]]]
    assert STUB.bodies == [{"model": "first", "input": [[1, 2], [3]], "task": "token_classify"}]


def test_texts_and_conversations_are_tokenised_by_the_server() -> None:
    STUB.plays(FIVE, owner="vllm")

    tokens = using(lambda engine: engine.encode(["a bb", (("user", "ccc d"), ("assistant", "+"))]))

    assert tokens == [[1, 2], [3, 1, 1]]


@pytest.mark.parametrize("status", [404, 500, 501, 503])
def test_a_server_that_does_not_pool_is_a_verifier_that_fails(status: int) -> None:
    STUB.plays(refuses(status), owner="vllm")

    with pytest.raises(VerifierError, match="first gave no scores"):
        using(lambda engine: engine.pool([[1]]))


def test_a_server_that_does_not_tokenise_is_a_verifier_that_fails() -> None:
    STUB.plays(FIVE, mute=True)

    with pytest.raises(VerifierError, match="first tokenised nothing"):
        using(lambda engine: engine.encode(["a"]))
