"""A server asked over HTTP: when it is asked once more, and what its failures mean."""

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from email.utils import parsedate_to_datetime
from itertools import count
from time import time

import httpx2
import stamina
from pydantic import ValidationError

from service.correlation import request_id
from service.engines.remote.heard import Heard
from service.errors import ContextLengthExceeded, EngineError, EngineUnavailable, ServiceError

FOREIGN = (httpx2.HTTPError, ValidationError)
"""What a call may end in that `Server.failure` has a word for."""

TIMEOUT = "x-request-timeout-ms"
_DROPPED = (httpx2.NetworkError, httpx2.ConnectTimeout, httpx2.RemoteProtocolError)
_TOO_LONG = re.compile(
    r"context.{0,10}(length|size|window)|maximum model length"
    r"|max_tokens must be at least 1, got 0",  # vLLM, of a prompt that fills its context
    re.IGNORECASE,
)


class Server:
    """`model` is what our calls name; `timeout`, in seconds, from chunk to chunk."""

    def __init__(self, url: str, model: str, key: str | None, timeout: float) -> None:
        address = httpx2.URL(url.rstrip("/").removesuffix("/v1"))
        base = address.copy_with(userinfo=b"", query=None, fragment=None)
        self.model = model
        self.place = f"the engine at {base}"
        self._calls = count()
        self._patiently = stamina.AsyncRetryingCaller(attempts=3, wait_jitter=0.5).on(_again)
        self._client = httpx2.AsyncClient(
            base_url=base,
            headers={"Authorization": f"Bearer {key}"} if key else None,
            auth=(address.username, address.password) if address.userinfo else None,
            timeout=httpx2.Timeout(timeout, connect=5.0, pool=None),
            limits=httpx2.Limits(),
        )

    async def ask(
        self, path: str, body: object = None, session: str = "", seconds: float | None = None
    ) -> Heard:
        """The answer to a GET, or to a POST where there is a body. Raises `ServiceError`."""
        try:
            response = await self._patiently(self._send, path, body, session, seconds)
            return Heard.model_validate_json(await response.aread())
        except FOREIGN as error:
            raise self.failure(error) from error

    async def listen(
        self, path: str, body: object, session: str, seconds: float | None
    ) -> AsyncGenerator[Heard]:
        """The chunks of an answer, to the end: a connection not read out is not used again.

        Raises what is `FOREIGN`.
        """
        sent = await self._patiently(self._send, path, body, session, seconds)
        async with aclosing(sent) as response:
            async for event in httpx2.EventSource(response):
                if event.data not in ("", "[DONE]"):
                    yield Heard.model_validate_json(event.data)

    def failure(self, error: Exception) -> ServiceError:
        """What an error means to us. The server's own words stay behind: they may echo a prompt."""
        if isinstance(error, (httpx2.ConnectError, httpx2.TimeoutException)):
            return EngineUnavailable(f"{self.place} does not answer; check that it runs")
        if not isinstance(error, httpx2.HTTPStatusError):
            return EngineError(f"{self.place} gave no whole answer; check its URL and its log")
        match error.response.status_code:
            case 400 if _TOO_LONG.search(error.response.text):
                return ContextLengthExceeded("this is too long for the model; shorten it")
            case 401 | 403:
                return EngineError(f"{self.place} refused our key; set SUREFOOT_ENGINE_KEY")
            case 404:
                return EngineError(f"{self.place} knows no model {self.model!r}; check the name")
            case 429 | 503:
                return EngineUnavailable(f"{self.place} is overloaded; try again later")
            case status:
                return EngineError(f"{self.place} answered with status {status}; see its log")

    async def close(self) -> None:
        await self._client.aclose()

    async def _send(
        self, path: str, body: object, session: str, seconds: float | None
    ) -> httpx2.Response:
        # vLLM's log names the call by it
        headers = {"X-Request-Id": f"{request_id.get()}.{next(self._calls)}"}
        if session:
            headers["X-Session-ID"] = session
        if seconds is not None:
            headers[TIMEOUT] = str(max(1, int(1000 * seconds)))
        method = "GET" if body is None else "POST"
        request = self._client.build_request(method, path, json=body, headers=headers)
        response = await self._client.send(request, stream=True)
        if not response.is_success:
            await response.aread()
            response.raise_for_status()
        return response


def _again(error: Exception) -> bool | float:
    """Whether to send it once more, as nothing was generated; a number: after so many seconds."""
    if not isinstance(error, httpx2.HTTPStatusError):
        return isinstance(error, _DROPPED)
    headers = error.response.headers
    if error.response.status_code not in (429, 503) or headers.get("x-should-retry") == "false":
        return False
    after = headers.get("retry-after", "")
    with suppress(ValueError):
        wait = parsedate_to_datetime(after).timestamp() - time() if "," in after else float(after)
        return wait <= 10 and max(wait, 0.0)
    return True
