"""Whose request it is, and what that tenant may have."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.exceptions import HTTPException

BEARER = HTTPBearer(
    auto_error=False, scheme_name="key", description="An API key, where the service has keys."
)


@dataclass(frozen=True, slots=True)
class Tenant:
    """A caller in whose name is counted.

    `weight`: its share of what is computed, beside the others', when there is not enough for all.
    `requests_per_minute`, `tokens_per_day`: what it may ask for, and how many tokens may be
    generated for it; None is no limit.
    """

    id: str
    weight: float
    requests_per_minute: int | None
    tokens_per_day: int | None

    def salt(self, own: str) -> str:
        """What engines cache under, for all its requests or for those of one salt of their `own`.

        A hash then: engines do not take any text (vLLM 128 characters, no slash).
        """
        return sha256(f"{self.id}/{own}".encode()).hexdigest() if own else self.id


async def caller(
    request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Depends(BEARER)]
) -> Tenant:
    """A dependency of routes: who asks, as `routes.callers` found; raises `HTTPException`."""
    found: Tenant | HTTPException = request.state.caller
    if isinstance(found, HTTPException):
        raise found
    return found
