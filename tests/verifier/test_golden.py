"""The shipped verifier reads alike wherever it runs: torch, where it was trained, and llama.cpp.

The golden scores were read by torch when the adapter was made. llama.cpp computes with a quantised
base and quantised activations, and so comes near, not to the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from vllm_server import vllm_serving

from service.assembly import load, load_verifier
from service.catalogue import Catalogue
from service.checkpoint import dequantised
from service.engines.base import Completion, Message, Prompt, Sampling
from service.engines.llamacpp.engine import LlamaCppEngine
from service.settings import Settings
from verifier.adapter import SHIPPED, Adapter
from verifier.scoring import Chain, Score, Verdict, VerifierBackend
from verifier.training.data import read
from verifier.training.finish import GOLDEN, Golden

PATHS = list(read(SHIPPED / GOLDEN, Golden))
CHAINS = [Chain(path.question, path.steps) for path in PATHS]
PROMPT = Prompt((Message("user", PATHS[0].question),), "Step 1:")
WANTED = np.array([pair for path in PATHS for pair in path.scores])


def base() -> Path:
    return Catalogue.load(Settings().folder).resolve(Adapter.load().base)


async def verdicts(verifier: VerifierBackend) -> list[Verdict]:
    try:
        return await verifier.score(CHAINS)
    finally:
        await verifier.close()


def pairs(scores: Iterable[Score]) -> np.ndarray:
    return np.array([(score.correct, score.value) for score in scores])


def near(read_out: np.ndarray) -> bool:
    """As near as a base or activations of fewer bits allow."""
    apart = np.abs(WANTED - read_out)
    return bool(apart.max() < 0.03 and apart.mean() < 0.01)


def test_the_golden_scores_are_worth_comparing_with() -> None:
    """Paths whose scores are all alike would be matched by a verifier that reads nothing."""
    assert 18 <= len(WANTED)
    assert (0.1 < WANTED.std(axis=0)).all()


def test_llamacpp_reads_what_torch_read() -> None:
    async def read_now() -> list[Verdict]:
        adapter = Adapter.load()
        return await verdicts(adapter.readout(await LlamaCppEngine.load(base(), 2, adapter.gguf)))

    read_out = pairs(score for verdict in asyncio.run(read_now()) for score in verdict.scores)

    assert near(read_out)


@pytest.mark.vllm
@pytest.mark.filterwarnings("ignore")  # vLLM's own are many
def test_vllm_reads_what_torch_read_with_the_adapter_on_the_engine_that_writes() -> None:
    settings = Settings(engine="vllm", model=Adapter.load().base, vllm_context=2048, vllm_cache=0.5)

    async def read_now() -> tuple[list[Verdict], list[Verdict], Completion]:
        engine, verifier = await load(settings)
        try:
            first = [(await verifier.score([chain]))[0] for chain in CHAINS]
            again = await verifier.score(CHAINS[:1])
            (plain,) = await engine.complete([PROMPT], Sampling(0, 1, 24))
            return first, again, plain
        finally:
            await verifier.close()

    first, again, plain = asyncio.run(read_now())

    assert near(pairs(score for verdict in first for score in verdict.scores))
    assert again[0].cost.tokens < 0.5 * first[0].cost.tokens  # its prefix is cached
    assert "ки" not in plain.text  # the adapter is off while the policy writes


@pytest.mark.vllm
@pytest.mark.filterwarnings("ignore")
def test_vllm_serve_reads_what_torch_read(tmp_path: Path) -> None:
    adapter, file = Adapter.load(), base()
    folder = dequantised(file, file.parent)
    served = {
        "enable_lora": True,
        "max_lora_rank": 16,
        "lora_modules": {"name": adapter.name, "path": str(adapter.folder)},
        "block_size": 32,
        "enable_prompt_tokens_details": True,
    }

    async def read_now(url: str) -> list[Verdict]:
        verifier = await load_verifier(Settings(engine="remote", verifier_url=url))
        try:
            return [(await verifier.score([chain]))[0] for chain in CHAINS]
        finally:
            await verifier.close()

    with vllm_serving(folder, tmp_path / "vllm.log", served) as url:
        read_out = asyncio.run(read_now(url))

    assert near(pairs(score for verdict in read_out for score in verdict.scores))
    assert all(verdict.cost.calls == len(verdict.scores) for verdict in read_out)


def test_torch_reads_what_it_read_when_the_adapter_was_made() -> None:
    pytest.importorskip("torch")
    from verifier.training.model import Model
    from verifier.training.trained import Trained

    calibration, trained = Adapter.load().calibration, Trained(Model.saved(base(), SHIPPED), "psv")

    raw = [score for verdict in asyncio.run(verdicts(trained)) for score in verdict.scores]

    assert 0.01 > np.abs(WANTED - pairs(map(calibration, raw))).max()
