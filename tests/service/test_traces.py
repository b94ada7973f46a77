"""The store of traces behind a real server: what is kept, whose it is, how it is had."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import httpx2
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from fastapi import Header
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr
from sqlalchemy import create_engine, text
from staging import Playback, StatedVerifier, running, service

from service.app import create_app
from service.assembly import load_keeper
from service.engines.base import Message, Sampling
from service.engines.scripted import ArithmeticVerifier, ScriptedEngine
from service.errors import StartupError
from service.events import unheard
from service.ledger import Budget
from service.routes.keeping import tenant
from service.settings import Settings
from service.solver import Report, Solver, Task
from service.strategies import STRATEGIES, BestOfN, Single, StepCo
from service.strategies.attempt import Question
from service.strategies.base import Strategy
from service.traces.keeper import Keeper
from service.traces.retention import Retention
from service.traces.store import Filter, Place, Store
from service.traces.tables import Kept
from service.traces.trace import KEYLESS, Origin, Trace, Turn
from service.traces.tracing import traced
from verifier.answers import Grader
from verifier.scoring import EVEN, VerifierBackend, VerifierError

SUM = "What is 3 and 4 and 5 and 6?"
HERE = Origin(KEYLESS, "/solve", "m", "v", EVEN, "last")
KEPT = Retention(days=30, most=1000, megabytes=100)


def keeper(url: str = "sqlite://", *, content: bool = True) -> Keeper:
    return Keeper(Store(url), KEPT, content=content)


@pytest.fixture(scope="module")
def client() -> Iterator[httpx2.Client]:
    with service(keeper=keeper()) as client:
        yield client


def ask(client: httpx2.Client, **body: Any) -> dict[str, Any]:
    asked = {"problem": SUM, "sampling": {"seed": 7}} | body
    return dict(client.post("/solve", json=asked).json())


def traces(client: httpx2.Client, **query: Any) -> list[dict[str, Any]]:
    return list(client.get("/v1/traces", params=query).json()["data"])


def shown(client: httpx2.Client, id: str) -> dict[str, Any]:
    return dict(client.get(f"/v1/traces/{id}").raise_for_status().json())


def test_a_solve_can_be_read_again_as_soon_as_it_is_answered(client: httpx2.Client) -> None:
    solved = ask(client)

    trace = shown(client, solved["id"])
    for name in ("answer", "verified", "score", "stop_reason", "rounds", "usage", "baseline"):
        assert solved[name] == trace[name], name
    assert [{"role": "user", "content": SUM, "length": len(SUM)}] == trace["messages"]
    assert ("/solve", "solved", None) == (trace["route"], trace["outcome"], trace["error"])
    assert "stepco" == trace["strategy"]["name"]
    assert 5 == trace["strategy"]["max_rounds"]
    chosen = trace["paths"][trace["chosen"]]
    assert [step["text"] for step in solved["steps"]] == [step["text"] for step in chosen["steps"]]
    assert [step["score"] for step in solved["steps"]] == [
        step["score"] for step in chosen["steps"]
    ]


def test_every_path_is_kept_with_what_it_kept_and_where_it_was_doubted(
    client: httpx2.Client,
) -> None:
    paths = shown(client, ask(client)["id"])["paths"]

    assert [0, 1] == [path["round"] for path in paths[:2]]
    assert paths[0]["first_weak"] == paths[1]["kept"] + 1
    assert not paths[0]["verified"]
    assert paths[-1]["verified"]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_calls_add_up_to_the_usage(client: httpx2.Client, strategy: str) -> None:
    trace = shown(client, ask(client, strategy=strategy)["id"])

    def total(kind: str, name: str) -> int:
        return sum(int(call[kind][name]) for call in trace["calls"])

    for kind in ("policy", "verifier"):
        for name, tokens in trace["usage"][kind].items():
            assert tokens == total(kind, name)
    assert trace["usage"]["wasted"] == sum(call["wasted"] for call in trace["calls"])


def test_the_trace_comes_with_the_response_when_it_is_asked_for(client: httpx2.Client) -> None:
    solved = ask(client, include_trace=True)

    assert ask(client)["trace"] is None
    assert solved["trace"] == shown(client, solved["id"])


def test_traces_are_listed_newest_first_and_page_by_page() -> None:
    with service(keeper=keeper()) as client:
        ids = [ask(client)["id"] for _ in range(5)][::-1]
        seen, query = [], {"limit": "2"}
        for _ in range(3):
            page = client.get("/v1/traces", params=query).json()
            seen.append([each["id"] for each in page["data"]])
            query["cursor"] = page["next_cursor"]

    assert [ids[:2], ids[2:4], ids[4:]] == seen
    assert page["next_cursor"] is None


def test_a_list_is_filtered_by_strategy_outcome_and_time() -> None:
    with service(keeper=keeper()) as client:
        first = ask(client, strategy="single")["id"]
        between = datetime.now(UTC).isoformat()
        second = ask(client)["id"]
        client.post("/solve", json={"problem": SUM, "budget": {"max_compute_tokens": 1}})

        def ids(**query: str) -> list[str]:
            return [each["id"] for each in traces(client, **query)]

        assert [first] == ids(strategy="single")
        assert 1 == len(ids(outcome="failed"))
        assert [second, first] == ids(outcome="solved")
        assert [first] == ids(until=between)
        assert [second] == ids(since=between, outcome="solved")


def test_a_list_tells_of_each_what_one_looks_for(client: httpx2.Client) -> None:
    solved = ask(client, problem=f"{SUM} {'x' * 500}")

    newest = traces(client)[0]

    for name in ("id", "answer", "verified", "score", "stop_reason", "strategy", "model"):
        assert solved[name] == newest[name]
    assert 200 == len(newest["question"])
    assert solved["usage"]["total"] == newest["tokens"]


def test_the_export_is_every_trace_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with service(keeper=keeper()) as client:
        monkeypatch.setattr("service.traces.store.PAGE", 2)
        ids = [ask(client, strategy="single")["id"] for _ in range(5)]
        response = client.get("/v1/traces/export", params={"strategy": "single"})
        nothing = client.get("/v1/traces/export", params={"strategy": "stepco"})

    lines = response.text.splitlines()
    assert "application/jsonl" in response.headers["content-type"]
    assert ids[::-1] == [json.loads(line)["id"] for line in lines]
    assert Trace.model_validate_json(lines[0]).content
    assert (200, "") == (nothing.status_code, nothing.text)


def test_a_deleted_trace_is_gone(client: httpx2.Client) -> None:
    id = ask(client)["id"]

    assert 204 == client.delete(f"/v1/traces/{id}").status_code
    assert 404 == client.delete(f"/v1/traces/{id}").status_code
    assert 404 == client.get(f"/v1/traces/{id}").status_code


@pytest.mark.parametrize(
    "id", ["solve-" + "0" * 32, "x", "%00", "a%00b", "%F0%9F", "'%20or%201=1", "x" * 5000]
)
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_an_id_that_is_none_is_a_plain_404(client: httpx2.Client, method: str, id: str) -> None:
    response = client.request(method, f"/v1/traces/{id}")

    assert (404, "not_found") == (response.status_code, response.json()["error"]["code"])


@pytest.mark.parametrize(
    "query",
    [
        {"limit": "0"},
        {"limit": "101"},
        {"cursor": "x"},
        {"outcome": "odd"},
        {"since": "monday"},
        {"since": "2026-01-01T00:00:00"},
        {"strategy": "\0"},
        {"surprise": "1"},
    ],
    ids=str,
)
def test_a_query_that_cannot_be_is_a_clear_400(
    client: httpx2.Client, query: dict[str, str]
) -> None:
    response = client.get("/v1/traces", params=query)

    assert 400 == response.status_code
    assert response.json()["error"]["param"].endswith(next(iter(query)))


def test_where_none_are_kept_there_is_nothing_and_it_says_so() -> None:
    with service() as client:
        response, ready = client.get("/v1/traces"), client.get("/ready").json()

    assert 404 == response.status_code
    assert "SUREFOOT_TRACES" in response.json()["error"]["message"]
    assert "off" == ready["traces"]


def named(x_tenant: Annotated[str, Header()]) -> str:
    return x_tenant


def test_a_tenant_sees_and_deletes_its_own_alone() -> None:
    app = create_app(ScriptedEngine(), ArithmeticVerifier(), keeper())
    app.dependency_overrides[tenant] = named
    with running(app) as url:
        ours, theirs = (
            httpx2.Client(base_url=url, headers={"x-tenant": name}) for name in ("ours", "theirs")
        )
        with ours, theirs:
            id = ask(ours)["id"]

            assert [] == traces(theirs)
            assert "" == theirs.get("/v1/traces/export").text
            assert 404 == theirs.get(f"/v1/traces/{id}").status_code
            assert 404 == theirs.delete(f"/v1/traces/{id}").status_code
            assert [id] == [each["id"] for each in traces(ours)]
            assert "ours" == shown(ours, id)["tenant"]


def test_a_failed_solve_is_kept_with_what_it_had() -> None:
    class Deaf(StatedVerifier):
        async def score(self, chains: object, meter: object = None) -> Any:
            raise VerifierError("secret detail")

    with service(verifier=Deaf(), keeper=keeper()) as client:
        ask(client)
        (listed,) = traces(client)
        trace = shown(client, listed["id"])

    assert ("failed", "verifier_unavailable") == (trace["outcome"], trace["error"]["code"])
    assert "secret" not in json.dumps(trace)
    assert 4 == len(trace["paths"][0]["steps"])
    assert trace["paths"][0]["steps"][0]["score"] is None
    assert trace["usage"]["policy"]["completion"] > 0


def test_a_defect_is_kept_without_its_details() -> None:
    def script(*_: object) -> str:
        raise RuntimeError("secret detail")

    with service(ScriptedEngine(script), keeper=keeper()) as client:
        ask(client)
        trace = shown(client, traces(client)[0]["id"])

    assert ("failed", "server_error") == (trace["outcome"], trace["error"]["code"])
    assert "secret" not in json.dumps(trace)


@pytest.mark.parametrize("stream", [False, True])
def test_a_cancelled_solve_is_kept_with_the_steps_and_tokens_it_had(stream: bool) -> None:
    engine = ScriptedEngine(delay=0.5)
    with service(engine, keeper=keeper()) as client:
        with pytest.raises(httpx2.ReadTimeout):
            client.post("/solve", json={"problem": SUM, "stream": stream}, timeout=2).read()
        deadline = time.monotonic() + 20
        while not (listed := traces(client)) and time.monotonic() < deadline:
            time.sleep(0.05)
        trace = shown(client, listed[0]["id"])

    assert "cancelled" == trace["outcome"]
    assert engine.spent.completion == trace["usage"]["policy"]["completion"]
    assert trace["usage"]["wasted"] == trace["usage"]["policy"]["completion"] > 0
    assert trace["usage"]["wasted"] == trace["calls"][0]["wasted"]


def test_without_content_the_numbers_are_kept_and_no_text_is(tmp_path: Path) -> None:
    file = tmp_path / "traces.db"
    body = {"problem": f"CANARY {SUM}", "strategy": {"name": "best_of_n", "n": 3}}
    with service(keeper=keeper(f"sqlite:///{file}", content=False)) as client:
        solved = ask(client, **body, baseline="measure", include_trace=True)
        trace = shown(client, solved["id"])

    assert solved["trace"]["messages"][0]["content"].startswith("CANARY")
    assert not trace["content"]
    assert (None, len(body["problem"])) == (
        trace["messages"][0]["content"],
        trace["messages"][0]["length"],
    )
    assert solved["usage"] == trace["usage"]
    kept, told = trace["paths"], solved["trace"]["paths"]
    assert [path["group"] for path in told] == [path["group"] for path in kept]
    assert [s["score"] for p in told for s in p["steps"]] == [
        s["score"] for p in kept for s in p["steps"]
    ]
    on_disk = b"".join(each.read_bytes() for each in tmp_path.iterdir())
    for secret in ("CANARY", told[0]["steps"][0]["text"], '"answer":"'):
        assert secret.encode() not in on_disk


def test_nul_and_surrogates_in_what_a_model_writes_do_not_break_the_store() -> None:
    script = Playback(" a\x00b \ud83d\nAnswer: \\boxed{\ud800\x007}")
    report = solved(ScriptedEngine(script), StatedVerifier(), BestOfN(n=1))

    trace = Trace.model_validate_json(traced(report, HERE).model_dump_json())

    assert "a\ufffdb \ufffd" == (trace.paths[0].steps[0].text or "").splitlines()[0]
    assert "\ufffd\ufffd7" == trace.answer == trace.candidates[0].answer


def test_what_is_queued_at_the_end_is_written(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/new/folder/traces.db"
    with service(keeper=keeper(url)) as client:
        ids = {ask(client, strategy="single")["id"] for _ in range(5)}
    with service(keeper=keeper(url)) as client:
        assert ids == {each["id"] for each in traces(client)}


def test_a_database_that_cannot_be_had_breaks_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    with service(keeper=keeper(f"sqlite:///{tmp_path}/file/traces.db")) as client:
        answers = [ask(client)["answer"] for _ in range(3)]
        listed, ready = client.get("/v1/traces"), client.get("/ready")

    assert ["18"] * 3 == answers
    assert (503, "traces_unavailable") == (listed.status_code, listed.json()["error"]["code"])
    assert (200, True) == (ready.status_code, "cannot be written" in ready.json()["traces"])
    assert 1 == sum("traces are not being kept" in each.message for each in caplog.records)


def test_a_locked_database_loses_nothing_once_it_is_free(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "traces.db"
    monkeypatch.setattr("service.traces.store.LOCKED", 0.1)
    monkeypatch.setattr("service.traces.keeper.AGAIN", 0.05)
    with service(keeper=keeper(f"sqlite:///{file}")) as client:
        first = ask(client)["id"]
        traces(client)
        other = sqlite3.connect(file, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        second = ask(client)["id"]
        deadline = time.monotonic() + 20
        while client.get("/ready").json()["traces"] == "kept" and time.monotonic() < deadline:
            time.sleep(0.05)
        told = client.get("/ready").json()["traces"]
        other.execute("COMMIT")
        other.close()
        while client.get("/ready").json()["traces"] != "kept" and time.monotonic() < deadline:
            time.sleep(0.05)
        kept = [each["id"] for each in traces(client)]

    assert "cannot be written" in told
    assert [second, first] == kept
    assert ["traces are not being kept", "traces are kept again"] == [
        each.message.split(":")[0].split(";")[0] for each in caplog.records if "traces" in each.name
    ]


def test_a_store_that_takes_too_long_is_said_to(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten thousand solves on a busy machine: the log said "traces are not being kept: " and no
    more, for a time-out has no words of its own.
    """
    file = tmp_path / "traces.db"
    monkeypatch.setattr("service.traces.keeper.AGAIN", 0.05)
    with service(keeper=keeper(f"sqlite:///{file}")) as client:
        ask(client)
        traces(client)
        monkeypatch.setattr("service.traces.keeper.WRITTEN_WITHIN", 0.05)
        other = sqlite3.connect(file, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        ask(client)
        deadline = time.monotonic() + 20
        while client.get("/ready").json()["traces"] == "kept" and time.monotonic() < deadline:
            time.sleep(0.05)
        other.execute("COMMIT")
        other.close()
        monkeypatch.setattr("service.traces.keeper.WRITTEN_WITHIN", 20)

    assert "traces are not being kept: the store takes too long" in caplog.messages


@cache
def made() -> Trace:
    return traced(solved(ScriptedEngine(), ArithmeticVerifier(), StepCo()), HERE)


def like(number: int, when: datetime, tenant: str = KEYLESS, text: str = SUM) -> Trace:
    """That one, under another id, of another time and tenant, with another question."""
    turn = made().messages[0].model_copy(update={"content": text})
    update = {"id": id_of(number), "created": when, "tenant": tenant, "messages": (turn,)}
    return made().model_copy(update=update)


def id_of(number: int) -> str:
    return f"solve-{number:032x}"


def solved(
    engine: ScriptedEngine, verifier: VerifierBackend, strategy: Strategy, seed: int = 7
) -> Report:
    """A real solve, without a server."""

    async def solve() -> Report:
        question = Question((Message("user", SUM),), Sampling(seed=seed))
        task = Task(question, strategy, Budget(1000, None, 60_000), "none")
        return await Solver(engine, verifier, Grader()).solve(task, unheard)

    return asyncio.run(solve())


async def ids(store: Store, tenant: str = KEYLESS, filter: Filter = Filter()) -> list[str]:  # noqa: B008
    return [each.id for each in await store.page(tenant, filter, 100)]


def in_store(url: str, work: Callable[[Store], Awaitable[object]]) -> None:
    async def run() -> None:
        store = Store(url)
        try:
            await work(store)
        finally:
            await store.close()

    asyncio.run(run())


POSTGRES = shutil.which("postgres") or next(
    map(str, Path("/usr/lib/postgresql").glob("*/bin/postgres")), None
)


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL of our own, on a socket in a folder of ours."""
    if POSTGRES is None:
        pytest.skip("PostgreSQL's server is not installed")
    folder = tmp_path_factory.mktemp("postgres")
    tools = Path(POSTGRES).resolve().parent
    user: dict[str, Any] = {}
    if os.getuid() == 0:  # which it refuses to run as
        nobody = pwd.getpwnam("nobody")
        user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        for each in (folder, *list(folder.parents)[:2]):
            each.chmod(0o755)
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    data = folder / "data"
    subprocess.run(
        [tools / "initdb", "-D", data, "-U", "surefoot", "--no-sync", "-E", "UTF8", "--locale=C"],
        check=True,
        capture_output=True,
        cwd=folder,
        **user,
    )
    command = [
        str(tools / "postgres"),
        "-D",
        str(data),
        "-k",
        str(folder),
        "-c",
        "listen_addresses=",
        "-F",
    ]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, cwd=folder, **user) as server:
        try:
            asking = [str(tools / "pg_isready"), "-q", "-h", str(folder), "-t", "1"]
            while subprocess.run(asking, check=False).returncode:
                assert server.poll() is None
                time.sleep(0.05)
            yield f"postgresql://surefoot@/postgres?host={folder}"
        finally:
            server.send_signal(signal.SIGINT)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database of each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/traces.db"
        return
    url = request.getfixturevalue("postgres")
    yield url
    engine = create_engine(url.replace("postgresql", "postgresql+psycopg"))
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    engine.dispose()


NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


def test_what_is_stored_comes_back_as_it_was(url: str) -> None:
    kept = like(1, NOW, text="\U0001f600 ' \\ \x7f \x01 \u2028")

    async def work(store: Store) -> None:
        await store.add([kept])
        body = await store.get(KEYLESS, kept.id)
        assert body is not None
        assert kept == Trace.model_validate_json(body)
        (summary,) = await store.page(KEYLESS, Filter(), 10)
        assert (kept.created, kept.question) == (summary.created, summary.question)

    in_store(url, work)


def test_no_query_reaches_another_tenants_traces(url: str) -> None:
    async def work(store: Store) -> None:
        await store.add([like(1, NOW, "ours"), like(2, NOW, "theirs")])
        assert [id_of(1)] == await ids(store, "ours")
        assert await store.get("ours", id_of(2)) is None
        assert not await store.delete("ours", id_of(2))
        assert [id_of(2)] == [Trace.model_validate_json(b).id async for b in store.each("theirs")]

    in_store(url, work)


def test_pages_meet_without_gap_or_overlap_also_where_times_are_equal(url: str) -> None:
    """Thirty traces at three times, in pages of four."""

    async def work(store: Store) -> None:
        await store.add([like(k, NOW + timedelta(microseconds=k % 3)) for k in range(30)])
        seen: list[str] = []
        place: Place | None = None
        while page := await store.page(KEYLESS, Filter(), 4, place):
            seen += [each.id for each in page]
            place = Place.parse(str(Place(page[-1].created, page[-1].id)))
        assert [id_of(k) for m in (2, 1, 0) for k in range(29, -1, -1) if k % 3 == m] == seen

    in_store(url, work)


def test_times_are_compared_in_whatever_zone_they_are_given(url: str) -> None:
    async def work(store: Store) -> None:
        await store.add([like(k, NOW + timedelta(hours=k)) for k in range(3)])
        there = timezone(timedelta(hours=9))
        since, until = (NOW + timedelta(hours=k) for k in (1, 2))
        wanted = Filter(since=since.astimezone(there), until=until.astimezone(there))
        assert [id_of(1)] == await ids(store, filter=wanted)

    in_store(url, work)


@pytest.mark.parametrize(
    ("retention", "left"),
    [
        (Retention(days=3, most=100, megabytes=100), [0, 1, 2]),
        (Retention(days=100, most=4, megabytes=100), [0, 1, 2, 3]),
        (Retention(days=100, most=100, megabytes=1), [0, 1]),
    ],
    ids=["days", "most", "megabytes"],
)
def test_a_sweep_deletes_the_oldest_beyond_a_limit(
    url: str, retention: Retention, left: list[int]
) -> None:
    """One trace a day back from now, of 400 kB each."""
    now = datetime.now(UTC)

    async def work(store: Store) -> None:
        old = [like(k, now - timedelta(days=k, hours=1), text="x" * 400_000) for k in range(8)]
        await store.add(old)
        assert 8 - len(left) == await store.sweep(retention)
        assert [id_of(k) for k in left] == await ids(store)

    in_store(url, work)


def test_the_models_and_the_migrations_agree(url: str) -> None:
    in_store(url, lambda store: ids(store))
    engine = create_engine(url.replace("postgresql", "postgresql+psycopg"))
    with engine.connect() as connection:
        found = compare_metadata(MigrationContext.configure(connection), Kept.metadata)
    engine.dispose()

    assert [] == found


def test_stores_that_open_at_once_do_not_trip_over_each_other(url: str) -> None:
    async def run() -> None:
        stores = [Store(url) for _ in range(4)]
        await asyncio.gather(*(s.add([like(k, NOW)]) for k, s in enumerate(stores)))
        assert 4 == len(await ids(stores[0]))
        for store in stores:
            await store.close()

    asyncio.run(run())


def test_the_service_keeps_its_traces_in_postgresql_too(postgres: str) -> None:
    with service(keeper=keeper(postgres)) as client:
        solved = ask(client)
        assert solved["answer"] == shown(client, solved["id"])["answer"]
        assert 204 == client.delete(f"/v1/traces/{solved['id']}").status_code


@given(
    content=st.text(st.characters(exclude_categories=()), max_size=40),
    when=st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),
)
@settings(max_examples=50, deadline=None)
def test_any_text_can_be_stored_and_any_place_found_again(content: str, when: datetime) -> None:
    turn = Turn(role="user", content=content, length=len(content))
    kept = like(1, when, text=turn.content or "")

    assert kept == Trace.model_validate_json(kept.model_dump_json())
    assert Place(when, kept.id) == Place.parse(str(Place(when, kept.id)))


def test_what_the_database_refuses_costs_only_itself(caplog: pytest.LogCaptureFixture) -> None:
    """A run that is kept twice has an id that is there already."""
    reports = [solved(ScriptedEngine(), ArithmeticVerifier(), Single()) for _ in range(3)]

    async def run() -> None:
        kept = keeper()
        keep = kept.keeping(HERE)
        for report in (reports[0], reports[1], reports[1], reports[2]):
            keep(report)
        kept.start()
        store = await kept.settled(within=60)
        assert {report.id for report in reports} == set(await ids(store))
        await kept.close()

    asyncio.run(run())


def test_a_queue_that_is_full_loses_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr("service.traces.keeper.WAITING", 2)
    monkeypatch.setattr("service.traces.keeper.CLOSED_WITHIN", 0.1)
    with service(keeper=(kept := keeper(f"sqlite:///{tmp_path}/file/traces.db"))) as client:
        assert ["18"] * 5 == [ask(client)["answer"] for _ in range(5)]
        assert 3 == kept.lost

    assert 5 == kept.lost


@pytest.mark.parametrize("url", ["mysql://x/y", "nonsense", "", "sqlite:nope"])
def test_a_url_that_names_no_database_keeps_the_service_from_starting(url: str) -> None:
    with pytest.raises(StartupError, match="SUREFOOT_TRACES"):
        load_keeper(Settings(traces=SecretStr(url)))


def test_off_keeps_nothing() -> None:
    assert load_keeper(Settings(traces=SecretStr("off"))) is None
