"""Traces, through the clients and the command, against the real service with scripted parts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from staging import service
from typer.testing import CliRunner, Result

from service.traces.keeper import Keeper
from service.traces.retention import Retention
from service.traces.store import Store
from surefoot import AsyncClient, Client, Solution
from surefoot.cli import application
from surefoot.errors import BadRequest
from surefoot.types import Trace, TracePage

SUM = "What is 3 and 4 and 5 and 6?"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with service(keeper=Keeper(Store("sqlite://"), Retention(1, 99, 9), content=True)) as client:
        yield str(client.base_url)


@pytest.fixture(scope="module")
def solution(url: str) -> Solution:
    with Client(url) as client:
        return client.solve(SUM, sampling={"seed": 7}, include_trace=True)


def run(url: str, *args: str) -> Result:
    return CliRunner().invoke(application([]), ["traces", *args, "--server", url])


def test_both_clients_show_what_the_response_held(url: str, solution: Solution) -> None:
    async def ask() -> tuple[Trace, TracePage, list[str]]:
        async with AsyncClient(url) as client:
            async with client.export_traces(strategy="stepco") as lines:
                exported = [line async for line in lines]
            return await client.trace(solution.id), await client.traces(limit=1), exported

    with Client(url) as client, client.export_traces(strategy="stepco") as lines:
        asked = client.trace(solution.id), client.traces(limit=1), list(lines)

    assert asked == asyncio.run(ask())
    assert solution.trace == asked[0]
    assert solution.steps[0].text == asked[0].paths[0].steps[0].text
    assert solution.id == asked[1].data[0].id == json.loads(asked[2][0])["id"]


def test_both_clients_delete(url: str) -> None:
    async def delete(id: str) -> None:
        async with AsyncClient(url) as client:
            await client.delete_trace(id)

    with Client(url) as client:
        first, second = (client.solve(SUM).id for _ in range(2))
        client.delete_trace(first)
        asyncio.run(delete(second))
        for id in (first, second, "export", "../../ready", "\ud800", ""):
            with pytest.raises(BadRequest):
                client.trace(id)


def test_the_list_names_what_one_looks_for(url: str, solution: Solution) -> None:
    told = run(url, "list", "--outcome", "solved", "--limit", "1").stdout

    for word in (solution.id, "stepco", f"{solution.usage.total:,}", str(solution.answer), SUM):
        assert word in told


def test_a_list_says_how_to_go_on(url: str, solution: Solution) -> None:
    with Client(url) as client:
        client.solve(SUM, strategy="single")
    page = json.loads(run(url, "list", "--limit", "1", "--json").stdout)

    assert f"more: --cursor {page['next_cursor']}" in run(url, "list", "--limit", "1").stdout
    following = run(url, "list", "--cursor", page["next_cursor"], "--json").stdout
    assert solution.id in following
    assert page["data"][0]["id"] not in following


def test_a_trace_is_shown_with_its_paths_and_calls(url: str, solution: Solution) -> None:
    told = run(url, "show", solution.id).stdout

    for word in (SUM, "sample 0, round 0", "weak", "kept", "returned", "verified", "verifier"):
        assert word in told
    assert f"{solution.usage.total:,} tokens computed" in told


def test_show_as_json_is_the_whole_trace(url: str, solution: Solution) -> None:
    told = json.loads(run(url, "show", solution.id, "--json").stdout)

    assert solution.trace is not None
    assert (solution.id, len(solution.trace.calls)) == (told["id"], len(told["calls"]))


def test_the_export_goes_to_a_file_or_to_standard_output(
    url: str, solution: Solution, tmp_path: Path
) -> None:
    file = tmp_path / "traces.jsonl"

    done = run(url, "export", "--strategy", "stepco", "--out", str(file))
    told = run(url, "export", "--strategy", "stepco").stdout

    assert (0, "") == (done.exit_code, done.stdout)
    assert solution.id in file.read_text(encoding="utf-8")
    assert told == file.read_text(encoding="utf-8")


def test_what_is_not_there_is_said_with_exit_code_2(url: str) -> None:
    with Client(url) as client:
        id = client.solve(SUM).id

    assert (0, f"{id} is deleted\n") == ((it := run(url, "delete", id)).exit_code, it.stdout)
    for args in (["delete", id], ["show", id], ["show", "x\0"], ["list", "--since", "monday"]):
        refused = run(url, *args)
        assert 2 == refused.exit_code, args
        assert refused.stderr.startswith("surefoot: ")
        assert refused.stderr.count("\n") == 1


def test_a_server_that_is_not_there_is_exit_code_4() -> None:
    assert 4 == run("http://127.0.0.1:9", "list").exit_code


def test_what_rescores_comes_with_the_server() -> None:
    done = CliRunner().invoke(application([]), ["traces", "rescore", "--all"])

    assert 3 == done.exit_code
    assert "pip install surefoot-service" in done.stderr
