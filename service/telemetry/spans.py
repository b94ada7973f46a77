"""OpenTelemetry traces: a solve, in it its engine calls and its verifications with their results.

The spans are made when the run is over, from its ledger's calls and its record, with the times at
which things happened; so nothing that solves knows of them, and they cost nothing while it does. A
caller's `traceparent` is their parent. What follows from that: an engine is told no span, so its
own traces do not hang below ours. A measured baseline has no spans.
"""

from __future__ import annotations

import json
from asyncio import CancelledError
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from service.engines.base import Message
from service.errors import ServiceError, StartupError
from service.events import Verified
from service.ledger import Call
from service.solver import Loss, Report
from service.telemetry import genai
from service.traces.trace import Origin, Spent

if TYPE_CHECKING:  # an extra
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span, Tracer

Attributes = dict[str, Any]
SECOND = 1_000_000_000  # nanoseconds


class Spans:
    """Exports the spans of runs. `provider` is the kind of engine, `content` whether texts go."""

    def __init__(self, exporter: SpanExporter, provider: str, *, content: bool) -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES go before what is said here
        self._tracers = TracerProvider(resource=Resource.create({"service.name": "surefoot"}))
        self._tracers.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._tracers.get_tracer("surefoot")
        self._provider = provider
        self._content = content

    @classmethod
    def exported(cls, endpoint: str, provider: str, *, content: bool) -> Spans:
        """To a collector, by OTLP over HTTP; raises `StartupError` without the extra `otel`."""
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        except ModuleNotFoundError as error:
            raise StartupError(
                f"{error.name} is not installed; pip install 'surefoot-service[otel]'"
            ) from error
        exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")
        return cls(exporter, provider, content=content)

    def kept(
        self, run: Report | Loss, origin: Origin, request_id: str, headers: Mapping[str, str]
    ) -> None:
        """Make the run's spans; what exports them is a thread of its own."""
        story = Story(run, origin, self._provider, request_id, self._content)
        story.draw(self._tracer, headers)

    def close(self) -> None:
        """Export what is left."""
        self._tracers.shutdown()


@dataclass(frozen=True, slots=True)
class Story:
    """One run, to be told in spans."""

    run: Report | Loss
    origin: Origin
    provider: str
    request_id: str
    content: bool

    @property
    def began(self) -> int:
        return int(self.run.created.timestamp() * SECOND)

    def draw(self, tracer: Tracer, headers: Mapping[str, str]) -> None:
        from opentelemetry.trace import SpanKind, set_span_in_context
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        parent = TraceContextTextMapPropagator().extract(headers)
        name = f"{genai.INVOKE_WORKFLOW} {self.run.strategy}"
        whole = tracer.start_span(name, parent, attributes=self._whole(), start_time=self.began)
        inside, verdicts = set_span_in_context(whole), iter(self.run.record.verdicts)
        for call in self.run.calls:
            began = self.began + int(call.began * SECOND)
            name, about = self._call(call)
            kind = SpanKind.CLIENT if call.kind == "policy" else SpanKind.INTERNAL
            span = tracer.start_span(name, inside, kind, about, start_time=began)
            ended = began + int(call.seconds * SECOND)
            if call.kind == "verifier":
                _judged(span, _of(verdicts, call.paths), ended)
            span.end(ended)
        self._failed(whole)
        whole.end(self.began + int(self.run.seconds * SECOND))

    def _whole(self) -> Attributes:
        run, spent = self.run, Spent.of(self.run.calls)
        about: Attributes = {
            genai.OPERATION: genai.INVOKE_WORKFLOW,
            genai.WORKFLOW: run.strategy,
            genai.SPAN_KIND: genai.CHAIN,
            "surefoot.solve.id": run.id,
            "surefoot.request.id": self.request_id,
            "surefoot.route": self.origin.route,
            "surefoot.tenant": self.origin.tenant,
            "surefoot.tokens": spent.total,
            "surefoot.tokens.wasted": spent.wasted,
            "surefoot.revisions": sum(number > 0 for number in run.record.rounds),
        }
        if isinstance(run, Report):
            about["surefoot.stop_reason"] = run.solution.stop_reason
            about["surefoot.verified"] = run.solution.verified
            about["surefoot.steps"] = len(run.solution.path.steps)
            if run.solution.score is not None:
                about["surefoot.score"] = run.solution.score
        return about | (self._texts() if self.content else {})

    def _texts(self) -> Attributes:
        texts = {genai.INPUT_MESSAGES: _messages(self.run.task.question.messages)}
        if isinstance(self.run, Report):
            said = Message("assistant", self.run.solution.path.text)
            texts[genai.OUTPUT_MESSAGES] = _messages([said])
        return texts

    def _call(self, call: Call) -> tuple[str, Attributes]:
        if call.kind == "policy":
            return f"{genai.CHAT} {self.origin.model}", self._chat(call)
        about = {
            genai.SPAN_KIND: genai.EVALUATOR,
            "surefoot.verifier": self.origin.verifier,
            "surefoot.verifier.paths": call.paths,
            "surefoot.verifier.tokens": call.verifier.tokens,
        }
        return f"verify {self.origin.verifier}", about

    def _chat(self, call: Call) -> Attributes:
        sampling = self.run.task.question.sampling
        about: Attributes = {
            genai.OPERATION: genai.CHAT,
            genai.PROVIDER: self.provider,
            genai.MODEL: self.origin.model,
            genai.SPAN_KIND: genai.LLM,
            genai.MAX_TOKENS: sampling.max_tokens,
            genai.TEMPERATURE: sampling.temperature,
            genai.TOP_P: sampling.top_p,
            genai.INPUT_TOKENS: call.policy.prompt,
            genai.CACHED_TOKENS: call.policy.cached,
            genai.OUTPUT_TOKENS: call.policy.completion,
            genai.FINISH_REASONS: call.finishes,
        }
        if sampling.seed is not None:
            about[genai.SEED] = sampling.seed
        if call.paths != 1:
            about[genai.CHOICES] = call.paths
        return about

    def _failed(self, span: Span) -> None:
        """A caller that left is no error of ours."""
        from opentelemetry.trace import Status, StatusCode

        if not isinstance(self.run, Loss):
            return
        error = self.run.error
        if isinstance(error, CancelledError):
            span.set_attribute(genai.ERROR, "cancelled")
            return
        code = error.code if isinstance(error, ServiceError) else type(error).__name__
        span.set_attribute(genai.ERROR, code)
        span.set_status(Status(StatusCode.ERROR))


def _of(verdicts: Iterator[Verified], paths: int) -> Iterable[Verified]:
    """The results of the next call: those of paths with steps, for no other was scored."""
    return islice((verdict for verdict in verdicts if verdict.path.steps), paths)


def _judged(span: Span, verdicts: Iterable[Verified], at: int) -> None:
    for verdict in verdicts:
        steps = [step.score for step in verdict.path.steps if step.score is not None]
        if not steps:
            continue  # longer than the verifier can read
        place = f"sample {verdict.path.sample}, round {verdict.path.round}"
        sound = verdict.weak is None
        doubt = "no step is weak" if sound else f"step {(verdict.weak or 0) + 1} is weak"
        results = {
            "correct": min(score.correct for score in steps),
            "value": steps[-1].value,
        }
        for name, value in results.items():
            about: Attributes = {
                genai.EVALUATION_NAME: name,
                genai.SCORE: value,
                genai.LABEL: "pass" if sound else "fail",
                genai.EXPLANATION: f"{place}: {doubt}",
            }
            span.add_event(genai.EVALUATION, about, at)


def _messages(turns: Sequence[Message]) -> str:
    """Messages in the conventions' JSON."""
    told = [
        {"role": turn.role, "parts": [{"type": "text", "content": turn.content}]} for turn in turns
    ]
    return json.dumps(told, ensure_ascii=False)
