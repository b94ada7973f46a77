"""The OpenAPI document is true, and nothing that it lets a caller send breaks the service."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from staging import service

from service.keyring import create
from service.settings import Settings
from service.traces.keeper import Keeper
from service.traces.retention import Retention
from service.traces.store import Store

ROOT = Path(__file__).parents[1]
PHASES = ("Examples", "Coverage", "Fuzzing", "Stateful")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys") / "keys.json"


@pytest.fixture(scope="module")
def client(keys: Path) -> Iterator[httpx2.Client]:
    """A client with a key, of a service that wants one."""
    key = create(keys, "alice", {})
    keeper = Keeper(Store("sqlite://"), Retention(days=30, most=1000, megabytes=100), content=True)
    with service(keeper=keeper, settings=Settings(keys=str(keys))) as client:
        client.headers["Authorization"] = f"Bearer {key}"
        yield client


@pytest.fixture(scope="module")
def document(client: httpx2.Client) -> dict[str, Any]:
    return dict(client.get("/openapi.json").raise_for_status().json())


def operations(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [operation for path in document["paths"].values() for operation in path.values()]


def test_requests_good_and_bad_get_what_the_document_promises(client: httpx2.Client) -> None:
    """All phases of schemathesis, as schemathesis.toml has them; NUL bytes are among the bad.

    Every operation that it gets an answer from, it asks again without the key and with a wrong one
    (its check `ignored_auth`).
    """
    program = Path(sys.executable).with_name("schemathesis")
    key = f"Authorization: {client.headers['Authorization']}"

    run = subprocess.run(
        [program, "run", f"{client.base_url}/openapi.json", "--no-color", "--header", key],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert run.returncode == 0, run.stdout + run.stderr
    for phase in PHASES:
        assert f"✅ {phase}" in run.stdout, phase


def test_every_operation_but_healths_declares_that_it_wants_a_key(
    document: dict[str, Any],
) -> None:
    """Where none is declared, `ignored_auth` checks nothing."""
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert (path in ("/health", "/ready")) == ("security" not in operation), path


def test_every_operation_is_named_and_summed_up(document: dict[str, Any]) -> None:
    named = [operation["operationId"] for operation in operations(document)]

    assert len(named) == len(set(named))
    for operation in operations(document):
        assert operation["summary"]
        assert operation["description"]
        assert operation["tags"]


def test_every_response_has_an_id_and_every_failure_the_envelope(document: dict[str, Any]) -> None:
    for operation in operations(document):
        assert "422" not in operation["responses"]
        for status, response in operation["responses"].items():
            assert "x-request-id" in response["headers"]
            if status >= "400":
                schema = response["content"]["application/json"]["schema"]
                assert schema == {"$ref": "#/components/schemas/Failed"}
                assert ("Retry-After" in response["headers"]) == (status in ("408", "503"))


@pytest.mark.parametrize("path", ["/solve", "/v1/chat/completions", "/v1/responses"])
def test_the_examples_work(client: httpx2.Client, document: dict[str, Any], path: str) -> None:
    content = document["paths"][path]["post"]["requestBody"]["content"]
    name = content["application/json"]["schema"]["$ref"].rpartition("/")[2]

    examples = document["components"]["schemas"][name]["examples"]

    assert examples
    for example in examples:
        assert client.post(path, json=example).status_code == 200, json.dumps(example)


@pytest.mark.parametrize(
    ("path", "methods"),
    [("/v1/traces/solve-0", "DELETE, GET"), ("/v1/models/x", "GET"), ("/solve", "POST")],
)
def test_a_405_names_every_method_that_the_path_takes(
    client: httpx2.Client, path: str, methods: str
) -> None:
    assert methods == client.put(path).headers["allow"]


@pytest.mark.parametrize("since", ["0.5", "1e3", "2026-01-31"])
def test_a_number_is_no_date(client: httpx2.Client, since: str) -> None:
    assert 400 == client.get("/v1/traces", params={"since": since}).status_code


@pytest.mark.parametrize("knobs", [0, False, "", []], ids=repr)
def test_knobs_are_an_object_or_null(client: httpx2.Client, knobs: object) -> None:
    turns = [{"role": "user", "content": "1 and 2?"}]
    chat = {"model": "surefoot-single", "messages": turns, "surefoot": knobs}

    refused = client.post("/v1/chat/completions", json=chat)

    assert (400, "surefoot") == (refused.status_code, refused.json()["error"]["param"])
    assert 200 == client.post("/v1/chat/completions", json=chat | {"surefoot": None}).status_code


def test_a_body_that_is_missing_is_named(client: httpx2.Client) -> None:
    error = client.post("/solve").json()["error"]

    assert ("body: Field required", None) == (error["message"], error["param"])
