"""API keys: who is let in, by which routes, as whom; and how keys are made and revoked."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from hmac import compare_digest
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx2
import pytest
from fastapi.routing import APIRoute, iter_route_contexts
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from staging import Playback, StatedVerifier, service
from typer.testing import CliRunner, Result

from service import keyring
from service.app import create_app
from service.engines.scripted import ArithmeticVerifier, ScriptedEngine
from service.errors import StartupError
from service.keyring import Held, Keyring, Limits, create, revoke
from service.locksmith import keys
from service.settings import Settings
from service.traces.keeper import Keeper
from service.traces.retention import Retention
from service.traces.store import Store

OPEN = {"/health", "/ready"}
PROBLEM = {"problem": "What is 3 and 4?", "strategy": "single"}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the keys of `client` are kept; a change of it counts at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keyring, "AGAIN", 0.0)
        yield tmp_path_factory.mktemp("keys") / "new" / "keys.json"


@pytest.fixture(scope="module")
def key(file: Path) -> str:
    return create(file, "alice", {})


@pytest.fixture(scope="module")
def client(file: Path, key: str) -> Iterator[httpx2.Client]:
    keeper = Keeper(Store("sqlite://"), Retention(30, 1000, 100), content=True)
    with service(keeper=keeper, settings=Settings(keys=str(file))) as client:
        yield client


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """A file of keys that no service reads."""
    return tmp_path / "new" / "keys.json"


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def routes() -> list[tuple[str, str]]:
    """Every route there is; what is no route of FastAPI's has no dependencies, so there is none."""
    app = create_app(ScriptedEngine(), ArithmeticVerifier())
    found = []
    for route in iter_route_contexts(app.routes):
        assert isinstance(route.original_route, APIRoute), route.path
        path = re.sub(r"{[^}]*}", "x", route.path or "")
        found += [(method, path) for method in sorted(route.methods or ())]
    assert {("POST", "/solve"), ("GET", "/docs"), ("GET", "/openapi.json")} < set(found)
    return found


@pytest.mark.parametrize(("method", "path"), routes())
def test_every_route_but_healths_wants_a_key(
    client: httpx2.Client, key: str, method: str, path: str
) -> None:
    strange = client.request(method, path)
    known = client.request(method, path, headers=bearer(key))

    assert (200 if path in OPEN else 401) == strange.status_code
    assert 401 != known.status_code
    if path not in OPEN:
        error = strange.json()["error"]
        assert ("invalid_api_key", "invalid_request_error") == (error["code"], error["type"])
        assert "Bearer" == strange.headers["www-authenticate"]
        assert "false" == strange.headers["x-should-retry"]


@pytest.mark.parametrize(
    "given",
    [
        "",
        "Bearer",
        "Basic {key}",
        "{key}",
        "Bearer {key}x",
        "Bearer x{key}",
        "Bearer {upper}",
        "Bearer {hash}",
        "Bearer ' OR 1=1 --",
        "Bearer é",
        "Bearer " + "x" * 50_000,
        "Bearer {{}} %s %n",
    ],
)
def test_what_is_no_key_opens_nothing(client: httpx2.Client, key: str, given: str) -> None:
    """Of a hash, too, though it is what the file holds; nor is anything of it said again."""
    hash = sha256(key.encode()).hexdigest()
    header = given.replace("{key}", key).replace("{upper}", key.upper()).replace("{hash}", hash)

    refused = client.get("/v1/models", headers=[(b"authorization", header.encode())])

    assert 401 == refused.status_code
    assert "invalid_api_key" == refused.json()["error"]["code"]
    assert key not in refused.text


def answer_to(url: httpx2.URL, head: str) -> str:
    """What comes back for a head, sent as it is, and no body behind it."""
    with socket.create_connection((url.host, url.port or 80), timeout=10) as connection:
        connection.sendall(head.encode())
        return connection.recv(65536).decode()


@pytest.mark.parametrize(("method", "path"), [r for r in routes() if r[1] not in OPEN])
@pytest.mark.parametrize("host", ["x/health?", "x/ready#", "x?/health", "127.0.0.1/health"])
def test_a_host_that_bends_the_url_opens_nothing(
    client: httpx2.Client, method: str, path: str, host: str
) -> None:
    """CVE-2026-48710: a guard that reads `request.url.path` sees another path than is served."""
    head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"

    assert answer_to(client.base_url, head).startswith("HTTP/1.1 401 ")


def test_the_body_of_a_stranger_is_not_waited_for(client: httpx2.Client) -> None:
    head = "POST /solve HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
    began = time.monotonic()

    assert answer_to(client.base_url, head).startswith("HTTP/1.1 401 ")
    assert time.monotonic() - began < 2


def test_keys_come_and_go_while_the_service_runs(
    client: httpx2.Client, file: Path, key: str
) -> None:
    def status(key: str) -> int:
        return client.get("/v1/models", headers=bearer(key)).status_code

    new = create(file, "bob", {})
    both = status(key), status(new)
    revoke(file, keyring.key_id(new))

    assert (200, 200) == both
    assert (200, 401) == (status(key), status(new))


@pytest.mark.parametrize("damage", ["", "{", '{"tenants": {"alice": {"keys": 3}}}', None])
def test_a_file_that_breaks_lets_in_those_it_let_in_before(
    client: httpx2.Client,
    file: Path,
    key: str,
    damage: str | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An editor that saves half of it must not open the service, nor close it to everybody."""
    whole = file.read_text(encoding="utf-8")
    if damage is None:
        file.unlink()
    else:
        file.write_text(damage, encoding="utf-8")
    try:
        assert 200 == client.get("/v1/models", headers=bearer(key)).status_code
        assert 401 == client.get("/v1/models").status_code
        assert 1 == caplog.text.count("the keys last read stay in use")
    finally:
        file.write_text(whole, encoding="utf-8")


def test_a_tenant_sees_and_deletes_its_own_traces_alone(
    client: httpx2.Client, file: Path, key: str
) -> None:
    stranger, second = bearer(create(file, "bob", {})), bearer(create(file, "alice", {}))
    solved = client.post("/solve", json=PROBLEM, headers=bearer(key)).json()["id"]
    trace = f"/v1/traces/{solved}"

    assert [] == client.get("/v1/traces", headers=stranger).json()["data"]
    assert "" == client.get("/v1/traces/export", headers=stranger).text
    assert 404 == client.get(trace, headers=stranger).status_code
    assert 404 == client.delete(trace, headers=stranger).status_code
    assert "alice" == client.get(trace, headers=second).json()["tenant"]
    assert 204 == client.delete(trace, headers=second).status_code


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8321", 200),
        ("127.0.0.1", 200),
        ("[::1]:80", 200),
        ("evil.example", 421),
        ("127.0.0.1.evil.example:8321", 421),
        ("x/v1/models?", 421),
        ("[::1", 421),
        ("", 421),
    ],
)
def test_without_keys_a_web_page_cannot_pass_itself_off_as_this_service(
    host: str, status: int
) -> None:
    """DNS rebinding (CVE-2024-28224): the page's own name comes to mean 127.0.0.1."""
    with service() as client:
        assert status == client.get("/v1/models", headers={"Host": host}).status_code
    with service(settings=Settings(insecure=True)) as client:
        assert 200 == client.get("/v1/models", headers={"Host": host}).status_code


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", None])
def test_a_form_of_another_page_is_no_request(kind: str | None) -> None:
    """A page may send these to any address, its reader's own too, without asking first."""
    engine = ScriptedEngine()
    with service(engine) as client:
        headers = {"Origin": "http://evil.example"} | ({"content-type": kind} if kind else {})
        refused = client.post("/solve", content=json.dumps(PROBLEM), headers=headers)

    assert 400 == refused.status_code
    assert "access-control-allow-origin" not in refused.headers
    assert 0 == engine.spent.calls


def test_every_hash_is_compared_whichever_it_is(
    other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CVE-2025-59425: the time of an answer must not tell how near a guess was."""
    held = [create(other, f"tenant-{n}", {}) for n in range(5)]
    ring, compared = Keyring(other), []

    def counting(one: str, other: str) -> bool:
        compared.append((one, other))
        return compare_digest(one, other)

    monkeypatch.setattr(keyring, "compare_digest", counting)
    counts = []
    for key in (*held, "sf-none"):
        compared.clear()
        ring.holder(key)
        counts.append(len(compared))

    assert [5] * 6 == counts


names = st.sampled_from(["alice", "bob", "c.d-e_2"])


@given(st.lists(st.one_of(names, st.integers(0, 9)), max_size=8))
@effort(max_examples=25, deadline=None)
def test_the_keys_that_open_are_those_made_and_not_revoked(doings: list[str | int]) -> None:
    with TemporaryDirectory() as folder:
        file, made = Path(folder) / "keys.json", dict[str, str]()
        create(file, "first", {})
        revoked: set[str] = set()
        for doing in doings:
            if isinstance(doing, str):
                made[create(file, doing, {})] = doing
            elif doing < len(made):
                key = list(made)[doing]
                if key not in revoked:
                    revoke(file, keyring.key_id(key))
                    revoked.add(key)
        ring = Keyring(file)
        opened = {key: held.tenant for key in made if (held := ring.holder(key))}

        assert {key: who for key, who in made.items() if key not in revoked} == opened


def test_no_key_is_in_the_file_and_none_but_its_owner_reads_it(other: Path) -> None:
    key = create(other, "alice", {})

    assert key not in other.read_text(encoding="utf-8")
    assert key.removeprefix("sf-") not in other.read_text(encoding="utf-8")
    assert 0o600 == other.stat().st_mode & 0o777
    assert 0o700 == other.parent.stat().st_mode & 0o777
    other.chmod(0o640)  # the service may be another's
    create(other, "alice", {})
    assert 0o640 == other.stat().st_mode & 0o777
    assert len(key) >= 43 + len("sf-"), "256 bits in base64"


def test_limits_are_the_tenants_and_a_later_key_may_change_them(other: Path) -> None:
    first = create(other, "alice", {"weight": 2.0, "tokens_per_day": 1000})
    second = create(other, "alice", {"requests_per_minute": 60})

    limits = Limits(weight=2.0, requests_per_minute=60, tokens_per_day=1000)
    ring = Keyring(other)
    assert Held("alice", limits) == ring.holder(first) == ring.holder(second)


def test_writers_at_once_lose_no_key(other: Path) -> None:
    other.parent.mkdir()
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda n: create(other, f"tenant-{n % 3}", {}), range(24)))

    ring = Keyring(other)
    assert all(ring.holder(key) for key in made)


def command(file: Path | str, *arguments: str) -> Result:
    return CliRunner().invoke(keys, arguments, env={"SUREFOOT_KEYS": str(file)})


def test_a_key_is_printed_once_and_listed_by_its_id(other: Path) -> None:
    made = command(other, "create", "alice", "--weight", "2", "--tokens-per-day", "100000")
    key = made.stdout.strip()
    (line,) = command(other, "list").stdout.splitlines()

    assert line.startswith(f"{keyring.key_id(key)}  alice  ")
    assert "weight 2  any requests a minute  100,000 tokens a day" in line
    assert key not in line + made.stderr
    assert 0 == command(other, "revoke", keyring.key_id(key)).exit_code
    assert "" == command(other, "list").stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["create", "Alice Cooper"], "the tenant"),
        (["create", "../etc"], "the tenant"),
        (["create", ""], "the tenant"),
        (["create", "alice", "--weight", "0"], "weight"),
        (["create", "alice", "--weight", "nan"], "weight"),
        (["create", "alice", "--tokens-per-day", "0"], "tokens_per_day"),
        (["revoke", "0123456789ab"], "surefoot keys list"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(other: Path, arguments: list[str], words: str) -> None:
    create(other, "bob", {})

    refused = command(other, *arguments)

    assert 4 == refused.exit_code
    assert words in refused.stderr
    assert 1 == refused.stderr.count("\n")


def test_the_file_must_be_named_and_there(tmp_path: Path) -> None:
    assert "SUREFOOT_KEYS" in command("", "create", "alice").stderr
    assert "surefoot keys create" in command(tmp_path / "none", "list").stderr
    with pytest.raises(StartupError, match="surefoot keys create"):
        create_app(ScriptedEngine(), ArithmeticVerifier(), None, Settings(keys="/none/keys.json"))


def test_what_an_engine_caches_for_one_tenant_is_of_no_use_to_another(other: Path) -> None:
    """The policy's prompts and the verifier's chains are stamped with whose they are, and with
    the salt that the caller has chosen: one that names another tenant is its own all the same.
    """
    made = {name: create(other, name, {}) for name in ("alice", "bob")}
    script, verifier = Playback(*[" so.\nAnswer: 7"] * 4), StatedVerifier()
    with service(ScriptedEngine(script), verifier, settings=Settings(keys=str(other))) as client:
        for key, salt in product(made.values(), ("", "bob")):
            said = {"problem": "What is 3 and 4?", "strategy": "single", "baseline": "none"}
            said |= {"cache_salt": salt}
            client.post("/solve", json=said, headers=bearer(key)).raise_for_status()

    salts = [prompt.salt for prompt in script.prompts]
    assert (4, ["alice", "bob"]) == (len({*salts}), salts[::2])
    assert all(len(salt) <= 128 and not {*salt} & {*"@/\\\0"} for salt in salts)  # vLLM's bounds
    assert salts == [chain.salt for chain in verifier.chains]
