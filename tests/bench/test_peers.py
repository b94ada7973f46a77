"""The meter before an engine, and contests: ours here, others' in environments of their own."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest
from scripted_server import served
from staging import running
from typer.testing import CliRunner

from bench.commands import bench
from bench.peers import contest as contests
from bench.peers import environment
from bench.peers.contest import OURS, PEERS, Outcome, Task, contest
from bench.peers.meter import Meter, Metered, metering
from bench.peers.table import as_json, document
from bench.questions import Item
from service.app import create_app
from service.engines.remote.engine import RemoteEngine
from service.engines.remote.server import Server
from service.engines.scripted import ArithmeticVerifier, ScriptedEngine
from service.errors import StartupError

SUMS = [Item(id=str(n), question=f"What is {n} and 4 and 9?", answer=str(n + 13)) for n in range(5)]
TASK = Task(SUMS, "scripted", n=3, at_once=2, max_tokens=64)
CHAT = {"model": "scripted", "messages": [{"role": "user", "content": "What is 1 and 2?"}]}


@contextmanager
def metered() -> Iterator[tuple[ScriptedEngine, str, Meter]]:
    engine = ScriptedEngine()
    with running(served(engine)) as url, metering(url) as (place, meter):
        yield engine, place, meter


@contextmanager
def ours(engine: str) -> Iterator[str]:
    """Our service before the metered engine, its verifier scripted."""
    server = Server(engine, "scripted", key=None, timeout=30)
    remote = RemoteEngine(server, concurrency=8, together=16)
    with running(create_app(remote, ArithmeticVerifier(), None)) as url:
        yield url


def test_a_call_passes_as_it_is_and_is_counted_by_the_engines_own_word() -> None:
    with metered() as (engine, url, meter):
        plain = httpx2.post(f"{url}/v1/chat/completions", json=CHAT | {"n": 2}).json()
        assert "scripted" == httpx2.get(f"{url}/v1/models").json()["data"][0]["id"]

        counted = meter.read()

    assert 2 == len(plain["choices"])
    assert engine.spent.completion == counted.completion == plain["usage"]["completion_tokens"]
    assert (plain["usage"]["prompt_tokens"], 1, 0) == (counted.prompt, counted.calls, counted.lost)
    assert Metered() == meter.read(), "reading begins anew"


def test_a_stream_passes_as_it_is_and_is_counted_once() -> None:
    asked = CHAT | {"stream": True, "stream_options": {"include_usage": True}}
    with metered() as (engine, url, meter):
        with httpx2.stream("POST", f"{url}/v1/chat/completions", json=asked) as said:
            lines = [line for line in said.iter_lines() if line]
        counted = meter.read()

    assert "data: [DONE]" == lines[-1]
    assert (engine.spent.completion, 1, 0) == (counted.completion, counted.calls, counted.lost)


def test_what_the_engine_refuses_is_passed_on_and_costs_nothing() -> None:
    with metered() as (_, url, meter):
        said = httpx2.post(f"{url}/v1/chat/completions", content=b"{}")

        assert 500 == said.status_code
        assert Metered() == meter.read()


def test_our_claims_are_what_the_meter_counted(tmp_path: Path) -> None:
    with metered() as (engine, url, meter), ours(url) as server:
        outcomes = asyncio.run(contest(TASK, url, server, meter, [OURS], tmp_path))

    assert ["best_of_n", "self_consistency"] == [each.way for each in outcomes]
    for outcome in outcomes:
        assert (5, 15, 0) == (outcome.questions, outcome.metered.calls, outcome.failed)
        assert outcome.metered.completion == outcome.claimed["completion"]
        assert outcome.metered.prompt == outcome.claimed["prompt"]
        assert len(outcome.seconds) == 5
        assert max(outcome.seconds) <= outcome.wall
    assert engine.spent.completion == sum(each.metered.completion for each in outcomes)


def test_a_turn_that_is_kept_is_not_taken_again(tmp_path: Path) -> None:
    with metered() as (engine, url, meter), ours(url) as server:
        first = asyncio.run(contest(TASK, url, server, meter, [OURS], tmp_path))
        spent = engine.spent

        again = asyncio.run(contest(TASK, url, server, meter, [OURS], tmp_path))

    assert first == again
    assert spent == engine.spent


def test_a_turn_of_another_task_is_not_taken_for_this_one(tmp_path: Path) -> None:
    with metered() as (_, url, meter), ours(url) as server:
        asyncio.run(contest(TASK, url, server, meter, [OURS], tmp_path))

        with pytest.raises(StartupError, match="name another --out"):
            asyncio.run(contest(replace(TASK, n=2), url, server, meter, [OURS], tmp_path))


PEER = """
import json, sys, urllib.request
task = json.load(sys.stdin)
for question in task["questions"]:
    turns = [{"role": "system", "content": task["system"]}]
    turns += [{"role": "user", "content": question["text"]}]
    body = {"model": task["model"], "n": task["n"], "messages": turns, "seed": 5}
    url = task["engine"] + "/v1/chat/completions"
    asked = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "x"})
    said = json.load(urllib.request.urlopen(asked))
    text = said["choices"][0]["message"]["content"]
    print(json.dumps({"id": question["id"], "text": text, "seconds": 0.1, "claimed": {}}))
print(json.dumps({"wall": 0.5}))
"""


def test_a_peer_gets_the_same_task_and_is_graded_and_metered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "peer").mkdir()
    (tmp_path / "peer/ask.py").write_text(PEER, encoding="utf-8")
    monkeypatch.setattr(contests, "HOME", tmp_path)
    monkeypatch.setattr(environment, "python", lambda *_: sys.executable)

    with metered() as (engine, url, meter):
        outcomes = asyncio.run(contest(TASK, url, "", meter, ["peer"], tmp_path))

    for outcome in outcomes:
        assert (5, 0.5, 5) == (outcome.metered.calls, outcome.wall, outcome.questions)
        assert 5 == outcome.right
    assert engine.spent.completion == sum(each.metered.completion for each in outcomes)


def test_the_table_sets_claims_beside_the_meter_and_walls_beside_ours() -> None:
    us = Outcome(OURS, "best_of_n", {}, 5, 4, 0, 2.0, [1.0], {"completion": 90, "prompt": 50})
    them = Outcome("peer", "best_of_n", {}, 5, 2, 1, 9.0, [4.0], {}, Metered(100, 40, 300, 12))

    told = document(TASK, [us, them]).markdown()

    assert (
        "| peer | 40.0 (11.8 to 76.9) | 1 | 9.0 | 4.50 | 4.0 | 12 | 100 | 40 | 300 | 360 | –"
        in told
    )
    assert "| 90 | 50 |" in told
    assert 360 == json.loads(as_json(TASK, [us, them]))["outcomes"][1]["computed"]


def test_a_peer_that_is_not_known_is_said_in_a_sentence(tmp_path: Path) -> None:
    asked = ["peers", "x.jsonl", "--engine", "http://127.0.0.1:9", "--model", "m", "--peer", "z"]

    result = CliRunner().invoke(bench, [*asked, "--out", str(tmp_path)])

    assert 4 == result.exit_code
    assert "There are no peers z" in result.stderr


@pytest.mark.real
def test_the_peers_as_released_answer_through_the_meter(tmp_path: Path) -> None:
    """What each claims to have generated is within what was; neither counts what its judge read."""
    with metered() as (_, url, meter):
        outcomes = asyncio.run(contest(TASK, url, "", meter, PEERS, tmp_path))

    found = {(each.name, each.way): each for each in outcomes}
    assert 4 == len(found)
    for outcome in outcomes:
        assert (5, 0) == (outcome.questions, outcome.failed)
        assert 0 < outcome.claimed["completion"] <= outcome.metered.completion
    assert 5 * 3 == found["its_hub", "self_consistency"].metered.calls
    assert 5 * 3 == found["optillm", "self_consistency"].metered.calls
    assert 5 * (1 + 3) == found["optillm", "best_of_n"].metered.calls
