"""One caller: sends an order, hears what comes, leaves when its patience ends, and says what was.

It does not retry by itself, as a client library would: every attempt is an outcome.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.load.orders import CHAT, Order
from bench.load.outcomes import Clock, Kind, Outcome, Told
from service.telemetry.exchange import REJECTIONS

if TYPE_CHECKING:
    import httpx2

RETRIES = "x-stainless-retry-count"  # what OpenAI's clients send
Headers = Mapping[str, str]


@dataclass(slots=True)
class Reply:
    """What has come of a response so far."""

    clock: Clock
    began: float
    status: int | None = None
    headers: Headers | None = None
    code: str | None = None
    told: Told | None = None
    whole: bool = False

    @property
    def now(self) -> float:
        return time.perf_counter() - self.began


@dataclass(frozen=True, slots=True)
class Caller:
    """Asks in the name of all tenants; `keys` may be empty."""

    client: httpx2.AsyncClient
    keys: Mapping[str, str]

    async def ask(self, order: Order, due: float, since: float, attempt: int = 0) -> Outcome:
        """Send it now; it was due so many seconds after `since`, by `time.perf_counter`."""
        import httpx2

        reply = Reply(Clock(), since + due)
        reply.clock.sent = reply.now
        kind: Kind | None = None
        try:
            async with asyncio.timeout(order.leaves):
                await self._hear(order, attempt, reply)
        except TimeoutError:
            kind = None if reply.whole else "cancelled"
        except (httpx2.HTTPError, ValueError):
            kind = "lost"
        reply.clock.end = reply.now
        return _outcome(order, due, attempt, reply, kind)

    async def _hear(self, order: Order, attempt: int, reply: Reply) -> None:
        headers = {"Content-Type": "application/json", **self.authorized(order.tenant)}
        if attempt:
            headers[RETRIES] = str(attempt)
        asked = self.client.build_request("POST", order.path, content=order.body, headers=headers)
        response = await self.client.send(asked, stream=True)
        async with aclosing(response):
            reply.status, reply.headers = response.status_code, response.headers
            if "event-stream" in response.headers.get("content-type", ""):
                await _stream(response, reply)
                return
            body = await response.aread()
            reply.clock.first_byte = reply.now
            _whole(json.loads(body), order, reply)

    def authorized(self, tenant: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.keys[tenant]}"} if self.keys else {}


async def _stream(response: httpx2.Response, reply: Reply) -> None:
    import httpx2

    async for event in httpx2.EventSource(response):
        if reply.clock.first_byte is None:
            reply.clock.first_byte = reply.now
        if event.data == "[DONE]":
            reply.whole = reply.told is not None
        elif event.event == "message":
            _chunk(json.loads(event.data), reply)
        else:
            _event(event.event, json.loads(event.data), reply)


def _event(name: str, data: dict[str, Any], reply: Reply) -> None:
    """One of `/solve`."""
    match name:
        case "done":
            reply.clock.answer = reply.now
            reply.told, reply.whole = _solved(data), True
        case "error":
            reply.code, reply.whole = data["error"]["code"], True
        case _ if reply.clock.reasoning is None:
            reply.clock.reasoning = reply.now


def _chunk(data: dict[str, Any], reply: Reply) -> None:
    """One of `/v1/chat/completions`; the strategy's own field comes before the usage."""
    if "error" in data:
        reply.code, reply.whole = data["error"]["code"], True
        return
    for choice in data["choices"]:
        delta, clock = choice["delta"], reply.clock
        if delta.get("reasoning") and clock.reasoning is None:
            clock.reasoning = reply.now
        if delta.get("content") and clock.answer is None:
            clock.answer = reply.now
    if "surefoot" in data:
        own = data["surefoot"]
        reply.told = Told(own["trace_id"], own["stop_reason"])
    if data.get("usage") and reply.told:
        reply.told = _used(reply.told.solve, reply.told.stop_reason, data["usage"])


def _whole(body: dict[str, Any], order: Order, reply: Reply) -> None:
    reply.whole = True
    if "error" in body:
        reply.code = body["error"]["code"]
        return
    reply.clock.answer = reply.now
    if order.path == CHAT:
        own = body["surefoot"]
        reply.told = _used(own["trace_id"], own["stop_reason"], body["usage"])
    else:
        reply.told = _solved(body)


def _solved(body: dict[str, Any]) -> Told:
    policy = body["usage"]["policy"]
    spent = policy["prompt"], policy["completion"], body["usage"]["total"]
    return Told(body["id"], body["stop_reason"], *spent)


def _used(solve: str | None, stop_reason: str | None, usage: dict[str, Any]) -> Told:
    compute, generated = usage["compute"], usage["completion_tokens"]
    computed = compute["prefill"] + compute["generated"] + compute["verifier"]
    visible = generated - usage["completion_tokens_details"]["reasoning_tokens"]
    prompt = compute["prefill"] + compute["cached"]
    return Told(solve, stop_reason, prompt, generated, computed, visible)


def _outcome(order: Order, due: float, attempt: int, reply: Reply, kind: Kind | None) -> Outcome:
    headers = reply.headers or {}
    after, left = headers.get("retry-after"), headers.get("x-ratelimit-remaining-tokens")
    return Outcome(
        order.number, order.stage, order.tenant, order.strategy, order.budget, order.path,
        order.streamed, order.valid, attempt, due, kind or _kind(order, reply), reply.status,
        reply.code, reply.clock, (reply.whole and reply.told) or Told(),
        int(after) if after else None,
        headers.get("x-should-retry") == "true",
        int(left) if left else None,
    )  # fmt: skip


def _kind(order: Order, reply: Reply) -> Kind:
    if not reply.whole:
        return "truncated"
    if reply.code is None:
        return "answered"
    if reply.code in REJECTIONS:
        return "rejected"
    invited = not order.valid or reply.code == "budget_too_large"
    return "refused" if invited and (reply.status or 500) < 500 else "failed"
