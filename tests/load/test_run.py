"""Load tests of real servers in threads: sound ones pass, and what others do wrong is found."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from loading import PLAN, keeping, plan
from staging import SUREFOOT, running
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from typer.testing import CliRunner

from bench.load import outcomes, witness
from bench.load.checks import verdicts
from bench.load.commands import loadtest
from bench.load.run import Evidence, Target, named, run
from bench.load.verdict import Verdict
from bench.peers import environment
from service.app import create_app
from service.engines.base import Completion, Prompt, Sampling, Usage, Watch, unwatched
from service.engines.scripted import ArithmeticVerifier, ScriptedEngine
from service.errors import EngineError, StartupError
from service.keyring import create
from service.settings import Settings

MIXED: dict[str, Any] = {
    "cancelled": 0.3,
    "patience": (0.0, 0.5),
    "invalid": 0.1,
    "tenants": {
        "one": {"share": 1},
        "many": {"share": 3},
        "short": {"share": 1, "tokens_per_day": 120, "max_tokens": 100},
    },
    "stages": [{"arrivals": "closed", "callers": 6, "requests": 90}],
}


@contextmanager
def serving(folder: Path, engine: ScriptedEngine, **settings: Any) -> Iterator[Target]:
    """A service with the tenants of `MIXED`, which keeps its traces."""
    file = folder / "keys.json"
    keys = {
        name: create(file, name, {"tokens_per_day": tenant.get("tokens_per_day", 10**6)})
        for name, tenant in MIXED["tenants"].items()
    }
    chosen = Settings(keys=str(file), **settings)
    with running(create_app(engine, ArithmeticVerifier(), keeping(folder), chosen)) as url:
        yield Target(url, keys=keys)


def loaded(target: Target, **changed: Any) -> Evidence:
    return asyncio.run(run(plan(**MIXED | changed), target, lambda _: None))


def by_name(found: Sequence[Verdict]) -> dict[str, Verdict]:
    return {verdict.name: verdict for verdict in found}


def test_nothing_is_lost_of_a_mixed_load_and_no_request_is_left_out(tmp_path: Path) -> None:
    engine = ScriptedEngine(delay=0.01)
    with serving(tmp_path, engine) as target:
        evidence = loaded(target)
        spent = engine.spent

    found = by_name(verdicts(evidence))
    for name in ("A1", "A2", "A3", "A4", "A5", "A6", "A11", "outcomes", "streams"):
        assert found[name].passed is True, found[name]
    assert list(range(90)) == [each.number for each in evidence.outcomes]
    kinds = {each.kind for each in evidence.outcomes}
    assert {"answered", "cancelled", "refused", "rejected"} == kinds
    told = sum(each.told.generated for each in evidence.outcomes)
    assert evidence.books.untold is not None
    untold = evidence.books.untold.generated
    probes = sum(a.own for b in (evidence.books.before, evidence.books.after) for a in _known(b))
    assert untold > 0
    assert spent.completion == told + untold + probes


def _known(accounts: Any) -> list[Any]:
    return [account for account in accounts.values() if account]


class Forgetful(ScriptedEngine):
    """Counts a token more than it tells of."""

    async def complete(
        self, prompts: Sequence[Prompt], sampling: Sampling, watch: Watch = unwatched
    ) -> list[Completion]:
        done = await super().complete(prompts, sampling, watch)
        self.spent += Usage(completion=1)
        return done


class Failing(ScriptedEngine):
    async def complete(
        self, prompts: Sequence[Prompt], sampling: Sampling, watch: Watch = unwatched
    ) -> list[Completion]:
        raise EngineError("The engine broke; see its log.")


def test_a_token_that_the_engine_made_and_no_ledger_holds_is_found(tmp_path: Path) -> None:
    with serving(tmp_path, Forgetful()) as target:
        found = by_name(verdicts(loaded(target)))

    assert found["A3"].passed is False
    assert "drift" in found["A3"].says


def test_an_engine_that_fails_fails_the_run(tmp_path: Path) -> None:
    with serving(tmp_path, Failing()) as target:
        found = by_name(verdicts(loaded(target)))

    assert found["outcomes"].passed is False
    assert "502 engine_error" in found["outcomes"].says


class Veiled:
    """Shows no metrics."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        veiled = scope.get("path") == "/metrics"
        await (Response(status_code=404) if veiled else self._app)(scope, receive, send)


def test_of_a_service_that_shows_little_little_is_checked_and_nothing_invented(
    tmp_path: Path,
) -> None:
    app = create_app(ScriptedEngine(), ArithmeticVerifier(), None, Settings(keys=""))
    app.add_middleware(Veiled)
    with running(app) as url:
        found = by_name(verdicts(loaded(Target(url), tenants=PLAN["tenants"])))

    assert found["A1"].passed is True
    for name in ("A3", "A4", "A5", "A6", "A9 shares", "A10"):
        assert found[name].passed is None, found[name]


def test_an_overload_is_refused_and_who_comes_again_when_told_to_is_let_in(
    tmp_path: Path,
) -> None:
    """Fifty a second where ten can be done, and a queue for none; those refused come again."""
    stages = [{"arrivals": "poisson", "rate": 50, "seconds": 1}]
    settings = {"concurrency": 2, "queue_tokens": 1}
    with serving(tmp_path, ScriptedEngine(delay=0.01), **settings) as target:
        evidence = loaded(target, stages=stages, honouring=0.1, cancelled=0, invalid=0)

    refused = [each for each in evidence.outcomes if each.kind == "rejected"]
    again = [each for each in evidence.outcomes if each.attempt]
    assert len(refused) > 10
    assert again
    assert all(each.retry_after for each in refused if each.code == "engine_overloaded")
    assert all(each.due >= 1 for each in again), "no sooner than they were told"


def test_a_server_that_is_not_there_is_said_in_a_sentence() -> None:
    with pytest.raises(StartupError, match=r"No service answers at http://127\.0\.0\.1:9"):
        loaded(Target("http://127.0.0.1:9"))


def test_a_key_that_is_not_known_is_said_in_a_sentence(tmp_path: Path) -> None:
    with (
        serving(tmp_path, ScriptedEngine()) as target,
        pytest.raises(StartupError, match="that of one is none"),
    ):
        loaded(replace(target, keys={**target.keys, "one": "sf-nobody"}))


def test_keys_are_read_a_line_a_tenant(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("one sf-1\n\nmany sf-2\n", encoding="utf-8")

    assert {"one": "sf-1", "many": "sf-2"} == named(file)


def test_the_command_starts_its_own_service_and_leaves_a_whole_report(tmp_path: Path) -> None:
    mix, out = tmp_path / "tiny.toml", tmp_path / "out"
    mix.write_text(
        """
        like = "standard"
        patience = [0.0, 0.3]
        stages = [
            { arrivals = "closed", callers = 4, requests = 12 },
            { arrivals = "poisson", load = 0.5, seconds = 1.5 },
            { arrivals = "bursty", rate = 5, seconds = 1.5 },
        ]
        """,
        encoding="utf-8",
    )

    result = CliRunner().invoke(loadtest, ["run", "--out", str(out), "--mix", str(mix), "--json"])

    told = json.loads(result.stdout.splitlines()[-1])
    assert told["checks"].items() >= dict.fromkeys(["A1", "A3", "A4", "A6"], "passed").items()
    assert int(not told["passed"]) == result.exit_code, result.output
    kept = outcomes.read(out)
    assert told["requests"] == len({(each.stage, each.number) for each in kept})
    assert sum(told["outcomes"].values()) == told["requests"] >= 12
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert 3 == len(report["stages"])
    assert told["checks"] == report["checks"]
    page = (out / "report.html").read_text(encoding="utf-8")
    assert 4 == page.count("data:image/png;base64,")
    assert "http" not in page.replace("http-equiv", "").split("<body>")[0]
    assert "sf-" not in page + json.dumps(report), "no key is in what is left"


def test_a_command_that_is_told_to_end_ends_its_service_too(tmp_path: Path) -> None:
    """One that SIGTERM ended once left its service running, on a port that nobody knew."""
    command = [SUREFOOT, "loadtest", "run", "--out", str(tmp_path)]
    with subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL) as kit:
        while not (tmp_path / "service.log").exists():
            assert kit.poll() is None
            time.sleep(0.05)
        time.sleep(0.5)  # the service is a process by now
        kit.terminate()

        assert 128 + signal.SIGTERM == kit.wait(timeout=30)

    with pytest.raises(ProcessLookupError):
        os.killpg(kit.pid, 0)


def test_a_mix_that_is_not_there_ends_the_command_with_four(tmp_path: Path) -> None:
    result = CliRunner().invoke(loadtest, ["run", "--out", str(tmp_path), "--mix", "nowhere"])

    assert 4 == result.exit_code
    assert "there are budgets, overload, soak, standard" in result.stderr


WITNESS = """
import json, sys, urllib.request
task = json.load(sys.stdin)
for prompt in task["prompts"]:
    turns = [{"role": "user", "content": prompt}]
    body = {"model": task["model"], "messages": turns, "max_completion_tokens": 64}
    url = task["url"] + "/v1/chat/completions"
    headers = {"Content-Type": "application/json"}
    asked = urllib.request.Request(url, json.dumps(body).encode(), headers)
    usage = json.load(urllib.request.urlopen(asked))["usage"]
    completion = usage["completion_tokens"] + OFF
    print(json.dumps({"prompt": usage["prompt_tokens"], "completion": completion}))
"""


@pytest.mark.parametrize("off", [0, 1])
def test_a_witness_that_counts_otherwise_is_heard(
    off: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "guidellm").mkdir()
    script = WITNESS.replace("OFF", str(off))
    (tmp_path / "guidellm/ask.py").write_text(script, encoding="utf-8")
    (tmp_path / "guidellm/requirements.txt").touch()
    monkeypatch.setattr(witness, "HOME", tmp_path)
    monkeypatch.setattr(environment, "python", lambda *_, **__: sys.executable)
    app = create_app(ScriptedEngine(), ArithmeticVerifier(), keeping(tmp_path), Settings(keys=""))

    with running(app) as url:
        asked = ["witness", "guidellm", "--server", url, "--requests", "3"]
        result = CliRunner().invoke(loadtest, asked)

    assert off == result.exit_code, result.output
    told = json.loads(result.stdout.splitlines()[-1])
    counts = told["completion"]
    assert told["agrees"] is not bool(off)
    assert 3 == told["requests"]["witness"] == told["requests"]["wire"]
    assert counts["wire"] == counts["metrics"] == counts["traces"] == counts["witness"] - 3 * off
