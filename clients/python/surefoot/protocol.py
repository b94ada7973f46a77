"""The wire, without the wire: requests written, replies and events read, retries decided.

What a newer server adds is left out. Sending, waiting and closing are the client's.
"""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Literal, TypedDict, TypeVar, cast, get_args, get_origin
from urllib.parse import quote

from surefoot import types
from surefoot.errors import BadRequest, Overloaded, ServerError, SurefootError

SERVER = "http://127.0.0.1:8321"
RETRIES = 2
LONGEST_PAUSE = 120.0
EVENTS = {
    "step": types.StepWritten,
    "drafted": types.Drafted,
    "verified": types.Verified,
    "revised": types.Revised,
    "candidate": types.CandidateFound,
}
Baseline = Literal["none", "estimate", "measure"]
T = TypeVar("T")


class Options(TypedDict, total=False):
    """What may be asked for beside the problem; `messages` stand in its place."""

    messages: Sequence[Mapping[str, str]]
    strategy: str | Mapping[str, object]
    sampling: Mapping[str, object]
    budget: Mapping[str, object]
    baseline: Baseline
    include_trace: bool
    cache_salt: str


class Wanted(TypedDict, total=False):
    """Which traces; times are ISO 8601 with their zone. `limit` and `cursor` are a page's."""

    strategy: str
    outcome: Literal["solved", "failed", "cancelled"]
    since: str
    until: str
    limit: int
    cursor: str


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, as it is sent."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None


def traces_request(wanted: Wanted, path: str = "") -> Asked:
    query = {name: str(value) for name, value in wanted.items() if value is not None}
    return Asked("GET", f"/v1/traces{path}", query)


def trace_request(method: Literal["GET", "DELETE"], id: str) -> Asked:
    if id in ("", ".", "..", "export"):
        raise BadRequest("there is no such trace", "not_found", "id")
    return Asked(method, f"/v1/traces/{quote(id, safe='', errors='replace')}")


def solve_request(problem: str, options: Options, *, stream: bool) -> Asked:
    if bool(problem) == bool(options.get("messages")):
        raise BadRequest("give a problem or messages, one of the two")
    asked = {"strategy": "stepco", "baseline": "estimate", **options, "problem": problem or None}
    body = {name: value for name, value in asked.items() if value is not None}
    try:
        told = json.dumps(body | {"stream": stream}, allow_nan=False, ensure_ascii=False)
        return Asked("POST", "/solve", body=told.encode())
    except (TypeError, ValueError) as error:
        raise BadRequest(f"the request cannot be written as JSON: {error}") from error


def reply(status: int, body: bytes, headers: Mapping[str, str]) -> types.Reply:
    return types.Reply(status, headers.get("x-request-id"), read(dict[str, object], body))


def read_event(name: str, body: str, headers: Mapping[str, str]) -> types.Event | None:
    """The event, or None if its kind is unknown here; raises what an `error` event says."""
    if name == "error":
        raise failure(None, body, headers)
    if name == "done":
        return types.Done(read(types.Solution, body))
    kind: type[types.Event] | None = EVENTS.get(name)
    return None if kind is None else read(kind, body)


def failure(status: int | None, body: str | bytes, headers: Mapping[str, str]) -> SurefootError:
    """What an unsuccessful reply means; an `error` event has no status, so its type tells."""
    try:
        said = dict(json.loads(body)["error"])
    except (ValueError, TypeError, KeyError):
        said = {"message": f"the server answered with status {status} and no reason"}
    refused = status // 100 == 4 if status else said.get("type") == "invalid_request_error"
    kind = Overloaded if status == 429 else BadRequest if refused else ServerError
    error = kind(str(said.get("message")), said.get("code"), said.get("param"), status)
    error.type = said.get("type")
    error.request_id = headers.get("x-request-id")
    if (seconds := headers.get("retry-after", "")).isdecimal():
        error.retry_after = int(seconds)
    error.retryable = status in (429, 503) and headers.get("x-should-retry") != "false"
    return error


def pause(error: SurefootError, attempt: int) -> float:
    """Seconds to wait before the next attempt; raises the error if there shall be none."""
    wait = random.uniform(0.5, 1) * 2**attempt if error.retry_after is None else error.retry_after
    if attempt >= RETRIES or not error.retryable or wait > LONGEST_PAUSE:
        raise error
    return wait


def read(kind: type[T], body: str | bytes) -> T:
    try:
        return cast(T, _shaped(kind, json.loads(body)))
    except (TypeError, ValueError) as error:
        raise ServerError(f"the reply is not Surefoot's, or of another age: {error}") from error


def _shaped(kind: Any, value: Any) -> Any:  # noqa: ANN401 - X, X | None or tuple[X, ...]; JSON
    if type(None) in get_args(kind):
        return None if value is None else _shaped(get_args(kind)[0], value)
    if isinstance(value, dict):
        if get_origin(kind) is dict:
            return value
        own = [each for each in fields(kind) if each.name in value or each.default is MISSING]
        return kind(**{each.name: _shaped(each.type, value.get(each.name)) for each in own})
    if isinstance(value, list):
        item, _ = get_args(kind)
        return tuple(_shaped(item, each) for each in value)
    if not isinstance(value, (int, float) if kind is float else kind):
        raise TypeError(f"{value!r:.80} is no {kind}")
    return value
