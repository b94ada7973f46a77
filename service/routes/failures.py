"""Every response that is no success: one envelope, never the caller's input, never an internal."""

import logging
import re
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match

from service.correlation import request_id
from service.errors import (
    BodyTooLarge,
    BodyTooSlow,
    BudgetTooLarge,
    DeadlineExceeded,
    EngineError,
    EngineUnavailable,
    HeadersTooLarge,
    InvalidRequest,
    InvalidType,
    Misdirected,
    Overloaded,
    QuotaExhausted,
    QuotasUnavailable,
    RateLimited,
    ServiceError,
    ShuttingDown,
    TooManyConnections,
    Unauthorized,
    UnsupportedEncoding,
    UnsupportedValue,
    VerifierUnavailable,
)
from service.routes.ids import HEADER
from service.telemetry.exchange import exchange
from service.wire import Reply

log = logging.getLogger(__name__)

MOST_ERRORS = 10
METHODS = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
HTTP = {
    401: (Unauthorized.code, "No key, or none that is known; `Authorization: Bearer` takes it."),
    404: ("not_found", "There is nothing at this path; see /docs."),
    405: ("method_not_allowed", "This path does not take that method; see /docs."),
    408: (BodyTooSlow.code, "The body came too slowly; send it at once."),
    413: (BodyTooLarge.code, "The body is over 2 MB; send less."),
    415: (UnsupportedEncoding.code, "The body is compressed; send it as it is."),
    421: (Misdirected.code, "Keyless, this is served at its address alone, or as localhost."),
    431: (HeadersTooLarge.code, "Path and headers are over 64 kB; send less."),
    503: (TooManyConnections.code, "Too many connections are open; try again later."),
}
AGAIN = {kind.status: kind for kind in (BodyTooSlow, TooManyConnections)}
KINDS = {kind.code: kind for kind in InvalidRequest.__subclasses__()} | {
    "literal_error": UnsupportedValue
}
ASKING = (Unauthorized, Misdirected, HeadersTooLarge, TooManyConnections)
"""What can keep a request from being looked at."""
SOLVING = (
    InvalidRequest,
    BudgetTooLarge,
    RateLimited,
    Overloaded,
    QuotaExhausted,
    ShuttingDown,
    QuotasUnavailable,
    BodyTooSlow,
    BodyTooLarge,
    UnsupportedEncoding,
    EngineError,
    EngineUnavailable,
    VerifierUnavailable,
    DeadlineExceeded,
)
"""What a solve can come to instead of an answer."""
RETRY = {
    "x-should-retry": {
        "description": "Whether the same request may succeed later.",
        "required": True,
        "schema": {"type": "string", "enum": ["true", "false"]},
    }
}
RETRY_AFTER = {
    "Retry-After": {
        "description": "Seconds to wait.",
        "required": True,
        "schema": {"type": "string", "pattern": "^[0-9]+$"},
    }
}
PLAIN = re.compile(r"[\w-]{1,64}", re.ASCII)


class Problem(Reply):
    """What went wrong, and what to do."""

    message: str
    """One sentence for a person; it never holds what the caller sent."""
    type: str
    """The kind of failure."""
    param: str | None
    """The field at fault, as `messages[0].content`."""
    code: str
    """What a program tells failures apart by."""


class Failed(Reply):
    """Every response that is no success."""

    error: Problem


def documented(*kinds: type[ServiceError]) -> dict[int | str, dict[str, Any]]:
    """How a route can fail, for the OpenAPI document: a response for each status."""
    told: dict[int | str, dict[str, Any]] = {}
    for status in sorted({kind.status for kind in kinds}):
        alike = [kind for kind in kinds if kind.status == status]
        codes = " or ".join(f"`{kind.code}`" for kind in alike)
        headers = RETRY | (RETRY_AFTER if all(kind.retryable for kind in alike) else {})
        told[status] = {"model": Failed, "description": f"{codes}.", "headers": headers}
    return told


def envelope(error: ServiceError) -> dict[str, dict[str, str | None]]:
    return {"error": {name: getattr(error, name) for name in ("message", "type", "param", "code")}}


def failure(error: BaseException) -> ServiceError:
    """The error as callers may see it; what they may not see goes to the log."""
    seen = error
    if not isinstance(seen, ServiceError):
        log.error("request %s failed", request_id.get(), exc_info=error)
        seen = ServiceError("The service failed; its log says why.")
    _note(seen)
    return seen


def _note(seen: ServiceError) -> None:
    """What the caller is told decides the outcome that is counted."""
    if (now := exchange.get()) is not None:
        now.error = seen


def handle(app: FastAPI) -> None:
    app.add_exception_handler(ServiceError, _service_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _service_error)


def refusal(status: int) -> JSONResponse:
    """What is said where HTTP alone is the reason."""
    code, message = HTTP.get(status, ("invalid_value", "The request cannot be read."))
    seen = AGAIN.get(status, InvalidRequest)(message)
    seen.status, seen.code = status, code
    return _told(seen)


def _told(seen: ServiceError) -> JSONResponse:
    _note(seen)
    headers = {"x-should-retry": "true" if seen.retryable else "false", HEADER: request_id.get()}
    if type(seen).retryable:
        headers["Retry-After"] = str(seen.retry_after)
    if seen.status == Unauthorized.status:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(envelope(seen), seen.status, headers)


async def _service_error(request: Request, error: Exception) -> JSONResponse:
    return _told(failure(error))


async def _validation_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    wrong = error.errors()[:MOST_ERRORS]
    places = [_where(each, error.body) for each in wrong]
    said = (f"{place or 'body'}: {_what(each)}" for place, each in zip(places, wrong, strict=True))
    return _told(_kind(wrong[0])("; ".join(said), places[0] or None))


def _kind(wrong: Mapping[str, Any]) -> type[InvalidRequest]:
    kind = wrong["type"]
    return InvalidType if kind.endswith("_type") else KINDS.get(kind, InvalidRequest)


def _where(wrong: Mapping[str, Any], body: Any) -> str:  # noqa: ANN401 - JSON
    """The field, as `messages[0].content`: what the body has, and at the end what it lacks.

    Of the query, the parameter.

    A name that is long or odd is not repeated, for it is the caller's.
    """
    (place, *path), where = wrong["loc"], ""
    if place != "body":
        return "".join(map(_named, path)).removeprefix(".")
    for number, part in enumerate(path, 1):
        inside = _has(body, part)
        if inside or (number == len(path) and isinstance(body, dict)):
            where += _named(part)
        body = body[part] if inside else body
    return where.removeprefix(".")


def _named(part: str | int) -> str:
    if isinstance(part, int):
        return f"[{part}]"
    return f".{part if PLAIN.fullmatch(part) else '…'}"


def _has(body: Any, part: str | int) -> bool:  # noqa: ANN401 - JSON
    if isinstance(part, int):
        return isinstance(body, list) and part < len(body)
    return isinstance(body, dict) and part in body


def _what(wrong: Mapping[str, Any]) -> str:
    return str(wrong["msg"]).removeprefix("Value error, ")


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    response = refusal(error.status_code)
    if error.status_code == 405:
        response.headers["Allow"] = ", ".join(_methods(request))
    return response


def _methods(request: Request) -> list[str]:
    """What the path takes, whichever of its routes takes it."""
    scopes = {method: {**request.scope, "method": method} for method in METHODS}
    return [
        method
        for method, scope in scopes.items()
        if any(route.matches(scope)[0] is Match.FULL for route in request.app.routes)
    ]
