"""What the settings make of engine and verifier: which model, which weights, once or twice."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from staging import running, train_at_random

from service.assembly import load
from service.catalogue import Catalogue
from service.engines.base import Backend
from service.engines.llamacpp.engine import LlamaCppEngine
from service.engines.remote.engine import RemoteEngine
from service.errors import StartupError
from service.settings import Settings
from verifier.adapter import Adapter
from verifier.calibration import Calibration
from verifier.readout import Readout
from verifier.scoring import EVEN, Score, VerifierBackend
from verifier.training.export import ship

SMALL = "qwen2.5-coder-0.5b"
OWN = Score(0.3, 0.6)


@pytest.fixture(scope="module")
def psv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run, folder = tmp_path_factory.mktemp("run"), tmp_path_factory.mktemp("weights") / "psv-x"
    train_at_random(run)
    ship(run, Adapter(folder, SMALL, OWN, Calibration()), "someone/a-base")
    return folder


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server that lists its base model first, then an adapter's."""
    app = FastAPI()

    @app.get("/v1/models")
    def models() -> object:
        return {"data": [{"id": name, "owned_by": "vllm"} for name in ("a-base", "psv-x")]}

    with running(app) as url:
        yield url


def loaded(psv: Path, **settings: str) -> tuple[Backend, VerifierBackend]:
    async def main() -> tuple[Backend, VerifierBackend]:
        named = {"verifier": str(psv), **settings}
        engine, verifier = await load(Settings.model_validate(named))
        await verifier.close()
        await engine.close()
        return engine, verifier

    return asyncio.run(main())


def test_a_policy_of_the_adapters_base_shares_its_weights(psv: Path) -> None:
    """Named in the catalogue or by its file: it is the same file that counts."""
    file = Catalogue.load(Settings().folder).resolve(SMALL)

    engine, verifier = loaded(psv, model=str(file))

    assert isinstance(engine, LlamaCppEngine)
    assert isinstance(verifier, Readout)
    assert engine is verifier._reader
    assert (OWN, f"psv:{file.stem}") == (verifier.threshold, verifier.name)


def test_another_policy_has_an_engine_of_its_own(psv: Path, url: str) -> None:
    engine, verifier = loaded(psv, engine="remote", engine_url=url)

    assert isinstance(engine, RemoteEngine)
    assert isinstance(verifier, Readout)
    assert isinstance(verifier._reader, LlamaCppEngine)


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({}, "psv:psv-x"),
        ({"verifier_model": "mine"}, "psv:mine"),
        ({"verifier": "judge"}, "judge:a-base"),
    ],
)
def test_a_server_hosts_the_verifier_under_the_adapters_name(
    psv: Path, url: str, settings: dict[str, str], name: str
) -> None:
    _, verifier = loaded(psv, engine="remote", engine_url=url, verifier_url=url, **settings)

    own = EVEN if "verifier" in settings else OWN
    assert (name, own) == (verifier.name, verifier.threshold)


def test_the_judge_wants_no_adapter(tmp_path: Path, url: str) -> None:
    remote = {"engine": "remote", "engine_url": url, "verifier_url": url}

    _, verifier = loaded(tmp_path, verifier="judge", **remote)

    assert "judge:a-base" == verifier.name


def test_an_adapter_that_is_not_there_keeps_the_service_from_starting(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="holds no verifier"):
        loaded(tmp_path)


def test_the_scripted_engine_brings_its_own_verifier(tmp_path: Path) -> None:
    _, verifier = loaded(tmp_path, engine="scripted")

    assert "arithmetic" == verifier.name
