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

from service.catalogue import Catalogue
from service.engines.llamacpp import LlamaCppEngine
from service.settings import Settings
from verifier.adapter import SHIPPED, Adapter
from verifier.scoring import Chain, Score, Verdict, VerifierBackend
from verifier.training.data import read
from verifier.training.finish import GOLDEN, Golden

PATHS = list(read(SHIPPED / GOLDEN, Golden))
CHAINS = [Chain(path.question, path.steps) for path in PATHS]
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


def test_the_golden_scores_are_worth_comparing_with() -> None:
    """Paths whose scores are all alike would be matched by a verifier that reads nothing."""
    assert 18 <= len(WANTED)
    assert (0.1 < WANTED.std(axis=0)).all()


def test_llamacpp_reads_what_torch_read() -> None:
    async def read_now() -> list[Verdict]:
        adapter = Adapter.load()
        return await verdicts(adapter.readout(await LlamaCppEngine.load(base(), 2, adapter.gguf)))

    read_out = pairs(score for verdict in asyncio.run(read_now()) for score in verdict.scores)

    assert 0.03 > np.abs(WANTED - read_out).max()
    assert 0.01 > np.abs(WANTED - read_out).mean()


def test_torch_reads_what_it_read_when_the_adapter_was_made() -> None:
    pytest.importorskip("torch")
    from verifier.training.model import Model
    from verifier.training.trained import Trained

    calibration, trained = Adapter.load().calibration, Trained(Model.saved(base(), SHIPPED), "psv")

    raw = [score for verdict in asyncio.run(verdicts(trained)) for score in verdict.scores]

    assert 0.01 > np.abs(WANTED - pairs(map(calibration, raw))).max()
