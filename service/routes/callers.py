"""Who asks: found before anything of a request is read, and asked for by every route but health's.

Here callers are told apart; that a route lets in none but the known is its dependency
`tenants.caller`, which knows nothing of paths. The body of a stranger is never read, on any route.
"""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

from fastapi.security.utils import get_authorization_scheme_param
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import Misdirected, Unauthorized
from service.keyring import Keyring
from service.settings import Settings
from service.tenants import Tenant
from service.traces.trace import KEYLESS


class Callers:
    def __init__(self, app: ASGIApp, keyring: Keyring | None, settings: Settings) -> None:
        self._app = app
        self._keyring = keyring
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            found = self._caller(Headers(scope=scope))
            scope.setdefault("state", {})["caller"] = found
            if isinstance(found, HTTPException):
                receive = _unread(found)
        await self._app(scope, receive, send)

    def _caller(self, headers: Headers) -> Tenant | HTTPException:
        if self._keyring is None:
            return self._keyless(headers.get("host"))
        scheme, key = get_authorization_scheme_param(headers.get("authorization"))
        held = self._keyring.holder(key) if scheme.lower() == "bearer" else None
        if held is None:
            return HTTPException(Unauthorized.status)
        limits = held.limits
        return Tenant(held.tenant, limits.weight, limits.requests_per_minute, limits.tokens_per_day)

    def _keyless(self, host: str | None) -> Tenant | HTTPException:
        """Anybody; but a name that leads here may be a web page's, which could read the answer."""
        settings = self._settings
        if host is not None and not settings.insecure and not _is_local(host):
            return HTTPException(Misdirected.status)
        return Tenant(KEYLESS, 1.0, settings.requests_per_minute, settings.tokens_per_day)


def _is_local(host: str) -> bool:
    """Whether no name server was asked for it."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or bool(ip_address(name))
    except ValueError:
        return False


def _unread(refusal: HTTPException) -> Receive:
    async def refused() -> Message:
        raise refusal

    return refused
