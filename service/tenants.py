"""Whose request it is, and what that tenant may have."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import Request

from service.settings import Settings
from service.traces.trace import KEYLESS


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


async def caller(request: Request) -> Tenant:
    """A dependency of routes: whoever asks is the one tenant there is."""
    settings: Settings = request.app.state.settings
    return Tenant(KEYLESS, 1.0, settings.requests_per_minute, settings.tokens_per_day)
