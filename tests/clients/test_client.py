"""The library against a real server in a thread: what is sent, what comes back, what is retried."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import httpx2
import pytest
from stub import SOLUTION, STEPCO, Reply, Stub, answers, breaks, playing, refuses, streams

import surefoot
from surefoot import AsyncClient, Client, Event, Solution, protocol, types
from surefoot.client import translated
from surefoot.errors import (
    BadRequest,
    ConnectionLost,
    Overloaded,
    ServerError,
    SurefootError,
    Unreachable,
)


@pytest.fixture
def stub() -> Iterator[Stub]:
    with playing() as stub:
        yield stub


def solve(stub: Stub, kind: str) -> Solution:
    """One solve, by one of the two clients."""
    if kind == "sync":
        with Client(stub.url) as client:
            return client.solve("1 + 1?")

    async def ask() -> Solution:
        async with AsyncClient(stub.url) as client:
            return await client.solve("1 + 1?")

    return asyncio.run(ask())


def stream(stub: Stub, kind: str) -> list[Event]:
    """The events of a streamed solve, by one of the two clients."""
    if kind == "sync":
        with Client(stub.url) as client, client.stream("1 + 1?") as events:
            return list(events)

    async def ask() -> list[Event]:
        async with AsyncClient(stub.url) as client, client.stream("1 + 1?") as events:
            return [event async for event in events]

    return asyncio.run(ask())


both = pytest.mark.parametrize("kind", ["sync", "async"])


@both
def test_a_solve_gives_the_whole_response_as_values(stub: Stub, kind: str) -> None:
    stub.plays(answers(SOLUTION))

    solution = solve(stub, kind)

    assert solution.answer == "18"
    assert solution.steps[1] == types.Step(
        2, "She makes 9 * 2 = 18 dollars.", 1, types.Score(0.93, 0.93)
    )
    assert solution.rounds[0] == types.Round(0, 0, 2, 0.31, 143)
    assert solution.usage.policy == types.PolicyTokens(1200, 100, 183, 2)
    assert solution.baseline is not None
    assert solution.baseline.saving == 0.78
    assert solution.warnings == ("The engine is slow today.",)


def test_a_request_holds_what_was_asked_and_the_documented_defaults(stub: Stub) -> None:
    stub.plays(answers(SOLUTION))

    with Client(stub.url, api_key="s3cret") as client:
        client.solve("1 + 1?")
        client.solve(
            messages=[{"role": "user", "content": "1 + 1?"}],
            strategy={"name": "best_of_n", "n": 4},
            sampling={"seed": 1},
            budget={"max_tokens": 500},
            baseline="none",
        )

    assert stub.asked == [
        {
            "path": "/solve",
            "problem": "1 + 1?",
            "strategy": "stepco",
            "baseline": "estimate",
            "stream": False,
        },
        {
            "path": "/solve",
            "messages": [{"role": "user", "content": "1 + 1?"}],
            "strategy": {"name": "best_of_n", "n": 4},
            "sampling": {"seed": 1},
            "budget": {"max_tokens": 500},
            "baseline": "none",
            "stream": False,
        },
    ]
    assert stub.headers[0]["Authorization"] == "Bearer s3cret"
    assert stub.headers[0]["Content-Type"] == "application/json"


@pytest.mark.parametrize("problem", ["", "\ud800"])
def test_what_cannot_be_a_request_is_refused_before_it_is_sent(stub: Stub, problem: str) -> None:
    with Client(stub.url) as client, pytest.raises(BadRequest):
        client.solve(problem)

    with Client(stub.url) as client, pytest.raises(BadRequest, match="JSON"):
        client.solve("1 + 1?", sampling={"temperature": float("nan")})

    assert stub.asked == []


@both
def test_a_stream_gives_every_event_and_the_solution_last(stub: Stub, kind: str) -> None:
    stub.plays(streams(*STEPCO))

    seen = stream(stub, kind)

    assert [type(event).__name__ for event in seen] == [
        "StepWritten",
        "StepWritten",
        "Drafted",
        "Verified",
        "StepWritten",
        "Revised",
        "Verified",
        "Done",
    ]
    assert seen[0] == types.StepWritten(0, 0, 1, "She sells 16 - 7 = 9 eggs.")
    assert seen[3] == types.Verified(
        0, 0, (types.Score(0.97, 0.8), types.Score(0.31, 0.2)), first_weak=2, tokens=110
    )
    assert seen[-1] == types.Done(protocol.read(Solution, json.dumps(SOLUTION)))
    assert stub.asked[0]["stream"] is True


@both
def test_fields_and_events_of_a_newer_server_are_left_out(stub: Stub, kind: str) -> None:
    newer = {**SOLUTION, "mood": "good"}
    newer["usage"] = {**SOLUTION["usage"], "joules": 3}
    stub.plays(streams(("thought", {"text": "hm"}), ("done", newer)), answers(newer))

    (done,) = stream(stub, kind)

    assert isinstance(done, types.Done)
    assert done.solution == solve(stub, kind) == protocol.read(Solution, json.dumps(SOLUTION))


@both
def test_a_request_of_openais_api_is_sent_as_it_is(stub: Stub, kind: str) -> None:
    stub.plays(answers({"id": "chatcmpl-1", "new": [1]}, x_request_id="req-1"))
    path, body = "/v1/chat/completions", b'{"model": "surefoot-stepco"}'

    async def ask() -> types.Reply:
        async with AsyncClient(stub.url) as client:
            return await client.post(path, body)

    if kind == "sync":
        with Client(stub.url) as client:
            reply = client.post(path, body)
    else:
        reply = asyncio.run(ask())

    assert reply == types.Reply(200, "req-1", {"id": "chatcmpl-1", "new": [1]})
    assert stub.asked == [{"path": path, "model": "surefoot-stepco"}]


def test_what_may_be_missing_is_none() -> None:
    bare = {**SOLUTION, "answer": None, "score": None, "baseline": None}
    del bare["verifier"]

    solution = protocol.read(Solution, json.dumps(bare))

    assert (solution.answer, solution.score, solution.baseline) == (None, None, None)
    assert solution.verifier is None


@pytest.mark.parametrize(
    "body",
    [
        "<html>",
        "[]",
        "{}",
        json.dumps({**SOLUTION, "steps": "none"}),
        json.dumps({**SOLUTION, "steps": [1]}),
        json.dumps({**SOLUTION, "elapsed_ms": "long"}),
        json.dumps({**SOLUTION, "id": ["solve"]}),
    ],
)
def test_a_reply_that_is_not_ours_is_an_error_of_ours(stub: Stub, body: str) -> None:
    stub.plays(answers(body))

    with pytest.raises(ServerError, match="Surefoot"):
        solve(stub, "sync")


@both
@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, BadRequest),
        (404, BadRequest),
        (429, Overloaded),
        (500, ServerError),
        (504, ServerError),
    ],
)
def test_an_error_carries_all_that_the_server_said(
    stub: Stub, kind: str, status: int, error: type[SurefootError]
) -> None:
    stub.plays(refuses(status, x_request_id="req-7", x_should_retry="false"))

    with pytest.raises(error) as caught:
        solve(stub, kind)

    it = caught.value
    assert (it.message, it.code, it.param) == ("No.", "some_code", "budget")
    assert (it.status, it.request_id) == (status, "req-7")
    assert len(stub.asked) == 1


def test_an_error_without_an_envelope_names_its_status(stub: Stub) -> None:
    stub.plays(answers("<h1>Bad gateway</h1>", 502))

    with pytest.raises(ServerError, match="502"):
        solve(stub, "sync")


@both
def test_a_busy_server_is_asked_again_after_the_time_it_names(stub: Stub, kind: str) -> None:
    stub.plays(refuses(429, Retry_After="1"), refuses(503, Retry_After="0"), answers(SOLUTION))

    began = time.monotonic()
    solution = solve(stub, kind)

    assert solution.answer == "18"
    assert len(stub.asked) == 3
    assert 1 <= time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (503, {"Retry_After": "0", "x_should_retry": "false"}),
        (429, {"Retry_After": "121"}),
        (500, {"Retry_After": "0", "x_should_retry": "true"}),
        (504, {"Retry_After": "0", "x_should_retry": "true"}),
    ],
)
def test_some_errors_are_not_retried(
    stub: Stub, status: int, headers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    stub.plays(refuses(status, **headers), answers(SOLUTION))

    with pytest.raises(SurefootError):
        solve(stub, "sync")

    assert len(stub.asked) == 1


@both
def test_after_two_retries_it_gives_up(stub: Stub, kind: str) -> None:
    stub.plays(refuses(503, Retry_After="0"))

    with pytest.raises(ServerError):
        solve(stub, kind)

    assert len(stub.asked) == 3


def test_without_a_named_time_the_pauses_grow_and_vary() -> None:
    error = Overloaded("Busy.", retryable=True)

    first, second = ([protocol.pause(error, attempt) for _ in range(50)] for attempt in (0, 1))

    assert 0.5 <= min(first) < max(first) <= 1 <= min(second) < max(second) <= 2


@both
def test_a_stream_is_retried_until_it_begins(stub: Stub, kind: str) -> None:
    stub.plays(refuses(503, Retry_After="0"), streams(*STEPCO))

    assert isinstance(stream(stub, kind)[-1], types.Done)


@both
@pytest.mark.parametrize("broken", [streams(*STEPCO[:3]), breaks(*STEPCO[:3])])
def test_a_stream_that_ends_early_is_a_lost_connection(
    stub: Stub, kind: str, broken: Reply
) -> None:
    """Whether it ends in good order or in the middle of a chunk; and it isn't asked for again."""
    stub.plays(broken, streams(*STEPCO))

    with pytest.raises(ConnectionLost):
        stream(stub, kind)

    assert len(stub.asked) == 1


@both
@pytest.mark.parametrize(
    ("said", "error"),
    [("invalid_request_error", BadRequest), ("engine_error", ServerError), (None, ServerError)],
)
def test_an_error_event_is_raised(
    stub: Stub, kind: str, said: str | None, error: type[SurefootError]
) -> None:
    body = {"error": {"message": "It broke.", "type": said, "param": None, "code": "broken"}}
    stub.plays(streams(STEPCO[0], ("error", body)))

    with pytest.raises(error, match="It broke") as caught:
        stream(stub, kind)

    assert caught.value.code == "broken"
    assert len(stub.asked) == 1


def test_a_reply_that_is_no_stream_is_an_error_of_ours(stub: Stub) -> None:
    stub.plays(answers(SOLUTION))

    with pytest.raises(ServerError, match="text/event-stream"):
        stream(stub, "sync")


def test_leaving_a_stream_early_closes_the_connection(stub: Stub) -> None:
    """The server then stops the solve: it sees the caller leave, though the client stays open."""
    stub.plays(streams(*STEPCO[:2], stay=True))

    with Client(stub.url) as client:
        with client.stream("1 + 1?") as events:
            assert isinstance(next(events), types.StepWritten)
        assert stub.left.wait(5)


def test_leaving_an_async_stream_early_closes_the_connection(stub: Stub) -> None:
    stub.plays(streams(*STEPCO[:2], stay=True))

    async def leave() -> bool:
        async with AsyncClient(stub.url) as client:
            async with client.stream("1 + 1?"):
                """Not one event is read."""
            return await asyncio.to_thread(stub.left.wait, 5)

    assert asyncio.run(leave())


def test_cancelling_an_async_solve_closes_the_connection(stub: Stub) -> None:
    stub.plays(streams(STEPCO[0], stay=True))

    async def ask() -> None:
        async with AsyncClient(stub.url) as client, client.stream("1 + 1?") as events:
            async for _ in events:
                pass

    async def leave() -> None:
        async with asyncio.timeout(0.3):
            await ask()

    with pytest.raises(TimeoutError):
        asyncio.run(leave())
    assert stub.left.wait(5)


def test_where_no_server_listens_the_error_names_the_place(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    with Client(f"http://127.0.0.1:{port}") as client, pytest.raises(Unreachable, match=str(port)):
        client.solve("1 + 1?")

    assert len(waited) == 2


@pytest.mark.parametrize("address", ["localhost:8321", "nonsense", "http://[::"])
def test_an_address_that_is_no_url_is_a_bad_request(address: str) -> None:
    with pytest.raises(BadRequest, match="no URL"), Client(address) as client:
        client.solve("1 + 1?")


@pytest.mark.parametrize("kind", sorted(httpx2.RequestError.__subclasses__(), key=str))
def test_no_error_of_the_http_library_escapes(kind: type[httpx2.RequestError]) -> None:
    def leaves(kind: type[httpx2.RequestError]) -> Iterator[type[httpx2.RequestError]]:
        yield kind
        for below in kind.__subclasses__():
            yield from leaves(below)

    request = httpx2.Request("POST", "http://127.0.0.1:1/solve")
    for leaf in leaves(kind):
        with pytest.raises(SurefootError), translated():
            raise leaf("broken", request=request)


@both
@pytest.mark.parametrize(("status", "ready"), [(200, True), (503, False)])
def test_ready_tells_whether_the_server_takes_problems(
    stub: Stub, kind: str, status: int, ready: bool
) -> None:
    stub.plays(answers({"status": "ready"}, status))

    async def ask() -> bool:
        async with AsyncClient(stub.url) as client:
            return await client.ready()

    if kind == "sync":
        with Client(stub.url) as client:
            assert client.ready() is ready
    else:
        assert asyncio.run(ask()) is ready
    assert stub.asked == [{"path": "/ready"}]


def test_the_public_names_are_sorted_and_there() -> None:
    assert surefoot.__all__ == sorted(surefoot.__all__)
    assert all(getattr(surefoot, name) for name in surefoot.__all__)
    with pytest.raises(AttributeError, match="Clint"):
        surefoot.Clint  # noqa: B018 - the access is the test


def test_importing_the_library_does_not_import_the_http_library() -> None:
    """So that `surefoot --help` is quick."""
    code = (
        "import sys, surefoot.cli; sys.exit('httpx2' in sys.modules or 'rich.live' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
