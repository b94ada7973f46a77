"""`surefoot batch`, against the service with scripted parts, and a server that plays replies."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from staging import service
from stub import Handler, Reply, Server, Stub, answers, playing, refuses
from typer.testing import CliRunner, Result

from surefoot import AsyncClient, batchfile, batchrun, protocol, types
from surefoot.batchfile import BEGINNING, Standing
from surefoot.batchview import time_left, watching
from surefoot.cli import application
from surefoot.errors import BadRequest

COMMAND = [sys.executable, "-c", "from surefoot.cli import main; main()"]
CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
READY, FINE = answers({"status": "ready"}), answers({"object": "chat.completion"})


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with service() as client:
        yield str(client.base_url)


@pytest.fixture
def stub() -> Iterator[Stub]:
    with playing() as stub:
        yield stub


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


def entry(id: str = "a", url: str = CHAT, **fields: Any) -> dict[str, Any]:
    asked = "What is 3 and 4 and 5?"
    told = (
        {"input": asked} if url == RESPONSES else {"messages": [{"role": "user", "content": asked}]}
    )
    body = {"model": "surefoot-single", **told, **fields.pop("body", {})}
    return {"custom_id": id, "method": "POST", "url": url, "body": body, **fields}


def write(out: Path, *lines: object) -> Path:
    """A file of requests beside the output."""
    file = out.with_name("in.jsonl")
    texts = (line if isinstance(line, str) else json.dumps(line) for line in lines)
    file.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    return file


def batch(url: str, out: Path, *lines: object, at_once: int = 1) -> Result:
    options = ["--out", str(out), "--at-once", str(at_once), "--server", url]
    return CliRunner().invoke(application([]), ["batch", str(write(out, *lines)), *options])


def read(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]


def posts(stub: Stub) -> list[str]:
    return [asked["n"] for asked in stub.asked if asked["path"] == CHAT]


def numbered(*ids: str) -> list[dict[str, Any]]:
    return [entry(id, body={"n": id}) for id in ids]


def test_both_of_openais_routes_are_answered_in_openais_form(url: str, out: Path) -> None:
    result = batch(url, out, entry("a"), entry("b", RESPONSES), at_once=2)

    found = {line["custom_id"]: line for line in read(out)}
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"2 answered, 0 failed: {out}\n"
    assert {"a": "chat.completion", "b": "response"} == {
        id: line["response"]["body"]["object"] for id, line in found.items()
    }
    for line in found.values():
        assert ["id", "custom_id", "response", "error"] == list(line)
        assert ["status_code", "request_id", "body"] == list(line["response"])
        assert line["id"].startswith("batch_req_")
        assert line["response"]["status_code"] == 200
        assert line["response"]["request_id"]
        assert line["response"]["body"]["usage"]["total_tokens"] > 0
        assert line["error"] is None


def test_a_refusal_is_a_result_and_one_line_and_the_rest_goes_on(url: str, out: Path) -> None:
    result = batch(url, out, entry("a", body={"model": "gpt-9"}), entry("b"))

    refused, answered = read(out)
    assert result.exit_code == 1
    assert result.stderr.startswith("surefoot: line 1, a: status 404: ")
    assert result.stderr.count("\n") == 1
    assert refused["response"]["status_code"] == 404
    assert refused["response"]["body"]["error"]["code"] == "model_not_found"
    assert refused["response"]["body"]["error"]["type"]
    assert answered["response"]["status_code"] == 200


BAD = {
    "is not JSON": "{",
    "must be a JSON object": "[]",
    "its custom_id must be": {**entry(), "custom_id": 7},
    "its method must be POST": {**entry(), "method": "GET"},
    "its url must be": {**entry(), "url": "/v1/embeddings"},
    "its body must be": {**entry(), "body": None},
    "asks for a stream": entry(body={"stream": True}),
    "JSON cannot hold": json.dumps(entry(body={"n": float("nan")})),
    "is that of line 1": entry("first"),
    "line 3 of": "[" * 100_000,
}


@pytest.mark.parametrize("said", BAD)
def test_a_line_that_cannot_be_sent_is_named_and_nothing_is_sent(
    stub: Stub, out: Path, said: str
) -> None:
    result = batch(stub.url, out, entry("first"), "", BAD[said])

    assert result.exit_code == 2
    assert result.stderr.startswith("surefoot: line 3 of ")
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
    assert not stub.asked
    assert not out.exists()


def test_no_file_and_an_empty_one_are_bad_input(out: Path) -> None:
    assert batch("http://127.0.0.1:1", out).exit_code == 2
    missing = CliRunner().invoke(application([]), ["batch", "nowhere", "--out", str(out)])

    assert missing.exit_code == 2
    assert missing.stderr == "surefoot: No such file or directory: nowhere\n"


def test_what_stands_in_the_output_is_not_asked_again(stub: Stub, out: Path) -> None:
    stub.plays(READY, FINE, refuses(400), READY, FINE)
    batch(stub.url, out, *numbered("a", "b"))

    again = batch(stub.url, out, *numbered("a", "b", "c"))
    once_more = batch(stub.url, out, *numbered("a", "b", "c"))

    assert ["a", "b", "c"] == posts(stub) == [line["custom_id"] for line in read(out)]
    assert again.exit_code == once_more.exit_code == 1, "b failed, and stands"
    assert once_more.stdout == f"2 answered, 1 failed: {out}\n"


def test_a_line_cut_off_in_mid_write_is_taken_out_and_asked_again(stub: Stub, out: Path) -> None:
    stub.plays(READY, FINE, FINE, READY, FINE)
    batch(stub.url, out, *numbered("a", "b"))
    out.write_bytes(out.read_bytes()[:-9])

    assert batch(stub.url, out, *numbered("a", "b")).exit_code == 0
    assert ["a", "b", "b"] == posts(stub)
    assert ["a", "b"] == [line["custom_id"] for line in read(out)]


@settings(max_examples=50)
@given(st.lists(st.sampled_from([200, 400, None]), min_size=1, max_size=5), st.data())
def test_of_an_output_cut_anywhere_the_whole_lines_with_a_reply_stand(
    statuses: list[int | None], data: st.DataObject
) -> None:
    lines = [
        batchfile.Result(
            f"batch_req_{k}",
            str(k),
            types.Reply(status, None, {"text": "é\n"}) if status else None,
            None if status else types.Failure("no_answer", "Lost."),
        ).written()
        for k, status in enumerate(statuses)
    ]
    whole = b"".join(lines)
    cut = data.draw(st.integers(0, len(whole)))
    left = whole[:cut].count(b"\n")
    kept = [k for k in range(left) if statuses[k]]

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "out.jsonl")
        file.write_bytes(whole[:cut])
        standing = batchfile.resumed(file, [str(k) for k in range(len(lines))])

        assert standing.answered == {str(k) for k in kept}
        assert standing.failed == sum(statuses[k] == 400 for k in kept)
        assert file.read_bytes() == b"".join(lines[k] for k in kept)
        assert [file] == list(Path(folder).iterdir())


@pytest.mark.parametrize(
    "found",
    [b"notes of mine", b"notes\n", b"[1]\n", json.dumps(entry()).encode(), BEGINNING + b"\n"],
)
def test_a_file_that_is_no_output_of_these_requests_is_left_alone(out: Path, found: bytes) -> None:
    out.write_bytes(found)

    result = batch("http://127.0.0.1:1", out, entry())

    assert result.exit_code == 2
    assert f"line 1 of {out} is no result of these requests" in result.stderr
    assert out.read_bytes() == found


def test_an_output_of_other_requests_is_left_alone(stub: Stub, out: Path) -> None:
    stub.plays(READY, FINE)
    batch(stub.url, out, entry("a"))

    with pytest.raises(BadRequest, match="no result of these"):
        batchfile.resumed(out, ["b"])


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again_when_it_says(stub: Stub, out: Path, status: int) -> None:
    stub.plays(READY, refuses(status, Retry_After="0"), FINE)

    result = batch(stub.url, out, *numbered("a"))

    assert (result.exit_code, result.stderr) == (0, "")
    assert ["a", "a"] == posts(stub)


@pytest.mark.parametrize(
    "reply",
    [refuses(500), refuses(504), refuses(503, x_should_retry="false")],
    ids=["500", "504", "503"],
)
def test_nothing_else_is_tried_again(stub: Stub, out: Path, reply: Reply) -> None:
    stub.plays(READY, reply)

    assert batch(stub.url, out, *numbered("a")).exit_code == 1
    assert ["a"] == posts(stub)
    assert read(out)[0]["response"]["status_code"] >= 500


def test_a_request_that_got_no_answer_has_an_error_and_is_asked_by_the_next_run(
    stub: Stub, out: Path
) -> None:
    def cut(handler: Handler) -> None:
        handler.begin(200, {"Content-Length": "100"})

    stub.plays(READY, cut, refuses(503, "Busy.", Retry_After="999"), READY, FINE)

    first = batch(stub.url, out, *numbered("a", "b"))
    errors = [line["error"] for line in read(out)]
    second = batch(stub.url, out, *numbered("a", "b"))

    assert first.exit_code == 1
    assert first.stderr.count("\n") == 2
    assert ["no_answer", "some_code"] == [error["code"] for error in errors]
    assert second.exit_code == 0
    assert ["a", "b"] == [line["custom_id"] for line in read(out)]
    assert ["a", "b", "a", "b"] == posts(stub)


def test_no_server_is_one_sentence_and_exit_code_4(out: Path) -> None:
    with playing() as stub:
        url = stub.url

    result = batch(url, out, entry())

    assert result.exit_code == 4
    assert result.stderr.startswith("surefoot: no server answers at 127.0.0.1")
    assert result.stderr.count("\n") == 1


def test_a_server_that_is_not_ready_is_asked_nothing(stub: Stub, out: Path) -> None:
    stub.plays(refuses(503))

    result = batch(stub.url, out, entry())

    assert result.exit_code == 4
    assert "not ready" in result.stderr
    assert ["/ready"] == [asked["path"] for asked in stub.asked]


def test_a_server_that_goes_away_ends_the_run_and_what_was_answered_stays(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "RETRIES", 0)
    with playing() as stub:

        def last(handler: Handler) -> None:
            FINE(handler)
            handler.wfile.flush()
            assert isinstance(handler.server, Server)
            handler.server.socket.close()

        stub.plays(READY, FINE, last)
        result = batch(stub.url, out, *numbered("a", "b", "c", "d"))

    assert result.exit_code == 4
    assert "no server answers" in result.stderr
    assert ["a", "b"] == [line["custom_id"] for line in read(out) if line["error"] is None]


def test_so_many_are_asked_at_once_and_no_more_are_read(stub: Stub, out: Path) -> None:
    lock, now, most, drawn, done, ahead = threading.Lock(), 0, 0, 0, 0, 0

    def slow(handler: Handler) -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.05)
        with lock:
            now -= 1
        FINE(handler)

    def drawing() -> Iterator[batchfile.Entry]:
        nonlocal drawn
        for each in batchfile.entries(file):
            drawn += 1
            yield each

    def told(_: batchfile.Entry, __: batchfile.Result) -> None:
        nonlocal done, ahead
        done += 1
        ahead = max(ahead, drawn - done)

    async def run() -> None:
        async with AsyncClient(stub.url) as client:
            await batchrun.run(client, drawing(), 3, told)

    file = write(out, *numbered(*"abcdefghi"))
    stub.plays(READY, slow)
    asyncio.run(run())

    assert (most, done) == (3, 9)
    assert ahead <= 3


def test_ctrl_c_leaves_an_output_that_is_whole_and_resumes(stub: Stub, out: Path) -> None:
    def stays(handler: Handler) -> None:
        time.sleep(5)

    stub.plays(READY, FINE, FINE, stays)
    file = write(out, *numbered("a", "b", "c"))
    arguments = ["batch", str(file), "--out", str(out), "--server", stub.url, "--at-once", "1"]
    process = subprocess.Popen(
        [*COMMAND, *arguments], stderr=subprocess.PIPE, stdout=subprocess.PIPE
    )
    while len(posts(stub)) < 3:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=10)

    assert process.returncode == 130
    assert b"Traceback" not in said
    assert ["a", "b"] == [line["custom_id"] for line in read(out)]
    stub.plays(READY, FINE)
    assert batch(stub.url, out, *numbered("a", "b", "c")).exit_code == 0
    assert ["a", "b", "c"] == [line["custom_id"] for line in read(out)]


def test_the_time_left_is_at_this_runs_own_pace_and_not_told_too_early() -> None:
    assert time_left(done=3, left=90, seconds=30, at_once=4) is None
    assert time_left(done=10, left=90, seconds=30, at_once=4) == 270


def test_on_a_terminal_the_progress_counts_what_stood_before() -> None:
    console = Console(force_terminal=True, width=100, record=True)
    standing = Standing(frozenset("abc"), 1)
    asked = batchfile.Entry(4, "d\x1b[2J", CHAT, b"{}")
    failed = batchfile.Result("batch_req_1", "d", None, types.Failure("no_answer", "[b]\nLost."))

    with watching(5, standing, 4, console) as tell:
        tell(asked, failed)
    shown = console.export_text()

    assert "4 of 5, 2 failed" in shown
    assert "time left not known yet" in shown
    assert "surefoot: line 4, d[2J: no_answer: [b] Lost." in shown


def test_control_characters_of_a_server_never_reach_the_terminal(stub: Stub, out: Path) -> None:
    stub.plays(READY, refuses(400, "No\x1b[2J\nway."))

    assert batch(stub.url, out, *numbered("a")).stderr == (
        "surefoot: line 1, a: status 400: No[2J way.\n"
    )
