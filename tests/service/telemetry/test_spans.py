"""A solve as OpenTelemetry sees it, exported to a collector that is really there."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import httpx2
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from staging import Playback, Shortsighted, StatedVerifier, running

from service.app import create_app
from service.assembly import load_spans
from service.engines.base import Backend
from service.engines.scripted import ArithmeticVerifier, ScriptedEngine
from service.settings import Settings
from verifier.scoring import VerifierBackend, VerifierError

DRAFT = "Step 1: one (0.9).\nStep 2: two (0.2).\nAnswer: \\boxed{1}"
SUFFIX = "Step 2: three (0.8).\nAnswer: \\boxed{2}"


@contextmanager
def collector() -> Iterator[tuple[str, list[bytes]]]:
    """A server that takes OTLP over HTTP: its URL, and the bodies it was sent."""
    bodies: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            bodies.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            return None

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", bodies
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def exported(
    engine: Backend,
    verifier: VerifierBackend,
    requests: Sequence[dict[str, Any]],
    headers: dict[str, str] | None = None,
    **settings: Any,
) -> tuple[list[Any], list[bytes]]:
    """The spans of these requests to /solve, in the order of their beginnings, and their bytes."""
    with collector() as (url, bodies):
        set_so = Settings(engine="scripted", otlp_endpoint=url, **settings)
        app = create_app(engine, verifier, None, set_so, load_spans(set_so))
        with running(app) as service, httpx2.Client(base_url=service) as client:
            for each in requests:
                client.post("/solve", json={"problem": "canary 3?"} | each, headers=headers)
        spans = [span for body in bodies for span in _spans(body)]
    return sorted(
        spans, key=lambda span: (span.start_time_unix_nano, bool(span.parent_span_id))
    ), bodies


def _spans(body: bytes) -> Iterator[Any]:
    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        for scope in resource.scope_spans:
            yield from scope.spans


def attributes(of: Any) -> dict[str, Any]:
    return {each.key: _value(each.value) for each in of.attributes}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    found = getattr(value, kind)
    return [_value(each) for each in found.values] if kind == "array_value" else found


def test_a_solve_holds_its_calls_and_the_results_of_its_verifications() -> None:
    engine = ScriptedEngine(Playback(DRAFT, SUFFIX))
    asked = {"baseline": "none", "sampling": {"seed": 5, "max_tokens": 90}}

    spans, _ = exported(engine, StatedVerifier(), [asked])

    assert [span.name for span in spans] == [
        "invoke_workflow stepco",
        "chat scripted",
        "verify stated",
        "chat scripted",
        "verify stated",
    ]
    whole, draft, first, revision, second = spans
    assert {span.parent_span_id for span in spans[1:]} == {whole.span_id}
    kinds = [attributes(span)["openinference.span.kind"] for span in spans]
    assert kinds == ["CHAIN", "LLM", "EVALUATOR", "LLM", "EVALUATOR"]
    assert attributes(whole)["gen_ai.operation.name"] == "invoke_workflow"
    assert attributes(whole)["gen_ai.workflow.name"] == "stepco"
    assert attributes(whole)["surefoot.verified"] is True
    told = attributes(draft) | {}
    assert (told["gen_ai.operation.name"], told["gen_ai.provider.name"]) == ("chat", "scripted")
    assert told["gen_ai.request.model"] == "scripted"
    assert (told["gen_ai.request.seed"], told["gen_ai.request.max_tokens"]) == (5, 90)
    assert told["gen_ai.response.finish_reasons"] == ["stop"]
    calls = [attributes(span) for span in (draft, revision)]
    for name, spent in (
        ("input_tokens", engine.spent.prompt),
        ("cache_read.input_tokens", engine.spent.cached),
        ("output_tokens", engine.spent.completion),
    ):
        assert sum(call[f"gen_ai.usage.{name}"] for call in calls) == spent
    results = [attributes(event) for span in (first, second) for event in span.events]
    assert {event.name for event in first.events} == {"gen_ai.evaluation.result"}
    shown = [
        (
            r["gen_ai.evaluation.name"],
            r["gen_ai.evaluation.score.value"],
            r["gen_ai.evaluation.score.label"],
        )
        for r in results
    ]
    assert shown == [
        ("correct", 0.2, "fail"),
        ("value", 0.2, "fail"),
        ("correct", 0.8, "pass"),
        ("value", 0.8, "pass"),
    ]
    assert results[0]["gen_ai.evaluation.explanation"] == "sample 0, round 0: step 2 is weak"
    for span in spans:
        assert whole.start_time_unix_nano <= span.start_time_unix_nano
        assert span.start_time_unix_nano <= span.end_time_unix_nano <= whole.end_time_unix_nano


def test_samples_of_one_call_are_judged_in_one_span() -> None:
    asked = {"strategy": {"name": "best_of_n", "n": 3}, "baseline": "none"}

    spans, _ = exported(ScriptedEngine(), ArithmeticVerifier(), [asked])

    whole, chat, verify = spans
    assert attributes(chat)["gen_ai.request.choice.count"] == 3
    assert attributes(verify)["surefoot.verifier.paths"] == 3
    assert len(verify.events) == 2 * 3
    assert attributes(whole)["surefoot.tokens"] > 0


def test_a_sample_that_outgrew_the_verifier_has_no_result() -> None:
    engine = ScriptedEngine(Playback(DRAFT, " a\nAnswer: 1"))
    asked = {"strategy": {"name": "best_of_n", "n": 2}, "baseline": "none"}

    spans, _ = exported(engine, Shortsighted(1), [asked])

    told = [attributes(event)["gen_ai.evaluation.explanation"] for event in spans[-1].events]
    assert told == ["sample 1, round 0: no step is weak"] * 2


def test_a_callers_trace_is_gone_on_with() -> None:
    parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    headers = {"traceparent": parent, "x-request-id": "mine"}

    spans, _ = exported(ScriptedEngine(), ArithmeticVerifier(), [{}], headers)

    assert {span.trace_id.hex() for span in spans} == {"4bf92f3577b34da6a3ce929d0e0e4736"}
    assert spans[0].parent_span_id.hex() == "00f067aa0ba902b7"
    assert attributes(spans[0])["surefoot.request.id"] == "mine"


def test_a_solve_that_failed_says_so_by_its_code() -> None:
    class Dying(ArithmeticVerifier):
        async def score(self, chains: Any, meter: Any = None) -> Any:
            raise VerifierError("gone")

    spans, _ = exported(ScriptedEngine(), Dying(), [{}])

    assert attributes(spans[0])["error.type"] == "verifier_unavailable"
    assert spans[0].status.code == spans[0].status.STATUS_CODE_ERROR


@pytest.mark.parametrize("content", [False, True])
def test_texts_are_in_the_spans_only_where_they_are_wanted(content: bool) -> None:
    spans, bodies = exported(
        ScriptedEngine(), ArithmeticVerifier(), [{}], telemetry_content=content
    )

    assert any(b"canary" in body for body in bodies) == content
    whole = attributes(spans[0])
    assert ("gen_ai.input.messages" in whole, "gen_ai.output.messages" in whole) == (
        content,
        content,
    )


def test_no_spans_are_made_where_there_is_no_collector() -> None:
    assert load_spans(Settings(engine="scripted")) is None


def test_the_standard_variable_names_the_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")

    assert Settings().otlp_endpoint == "http://127.0.0.1:4318"
