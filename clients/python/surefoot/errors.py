"""Everything that can go wrong for a caller, once.

SurefootError
├── BadRequest         4xx  the request cannot be served as it stands, or not even be sent
│   └── Overloaded     429  it can be, later
├── ServerError        5xx  the server failed, or what answered is no Surefoot server
├── Unreachable         -   no connection could be made
└── ConnectionLost      -   the connection broke, or the stream ended, before the answer
"""

from dataclasses import dataclass


@dataclass(eq=False)
class SurefootError(Exception):
    """One sentence, and what the server said beside it, as far as it did."""

    message: str
    code: str | None = None
    param: str | None = None
    status: int | None = None
    request_id: str | None = None
    retry_after: int | None = None
    retryable: bool = False
    type: str | None = None


class BadRequest(SurefootError): ...


class Overloaded(BadRequest): ...


class ServerError(SurefootError): ...


class Unreachable(SurefootError): ...


class ConnectionLost(SurefootError): ...
