"""Every response has a request id, the caller's own if it is fit for a log."""

from __future__ import annotations

import logging

import httpx2
import pytest
from staging import service

from service.engines.scripted import ScriptedEngine

REQUESTS = [
    ("GET", "/health", None),
    ("GET", "/nowhere", None),
    ("GET", "/solve", None),
    ("POST", "/solve", {}),
    ("POST", "/solve", {"problem": "1 and 2?", "strategy": "single"}),
    ("POST", "/solve", {"problem": "1 and 2?", "stream": True}),
    ("POST", "/v1/responses", {"model": "surefoot-single", "input": "1 and 2?"}),
    ("POST", "/v1/responses", {"model": "none", "input": "1 and 2?"}),
]


@pytest.mark.parametrize(("method", "path", "body"), REQUESTS)
def test_every_response_has_an_id_of_its_own_or_the_callers(
    client: httpx2.Client, method: str, path: str, body: object
) -> None:
    def told(*given: tuple[str, str]) -> str:
        return client.request(method, path, json=body, headers=list(given)).headers["x-request-id"]

    assert told() != told()
    assert told(("x-request-id", "trace-1.a:B_2")) == "trace-1.a:B_2"


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, "<script>", "é"])
def test_an_id_that_is_long_or_odd_is_replaced(client: httpx2.Client, given: str) -> None:
    response = client.get("/health", headers=[(b"x-request-id", given.encode())])

    assert response.headers["x-request-id"].startswith("req_")


def test_a_defect_is_logged_under_the_requests_id(caplog: pytest.LogCaptureFixture) -> None:
    def script(*_: object) -> str:
        raise RuntimeError("a defect")

    with caplog.at_level(logging.ERROR), service(ScriptedEngine(script)) as client:
        for stream in (False, True):
            name = f"mine-{stream}"
            body = {"problem": "1 and 2?", "stream": stream}
            response = client.post("/solve", json=body, headers={"x-request-id": name})

            assert response.headers["x-request-id"] == name
            assert f"request {name} failed" in caplog.text
