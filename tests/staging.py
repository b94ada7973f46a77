"""What tests share: a real server in a thread or a process, a script of texts, stated scores."""

from __future__ import annotations

import json
import random
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import httpx2
import uvicorn
from fastapi import FastAPI

from service.app import create_app
from service.engines.base import Backend, Prompt
from service.engines.scripted import ArithmeticVerifier, ScriptedEngine
from service.reception import reception
from service.settings import Settings
from service.traces.keeper import Keeper
from verifier.scoring import (
    EVEN,
    Aggregate,
    Chain,
    Cost,
    Meter,
    Score,
    Verdict,
    VerifierBackend,
    unmetered,
)

SUREFOOT = str(Path(sys.executable).with_name("surefoot"))
KEEPS_NONE = "SUREFOOT_TRACES=off"  # unless a test says so: a home directory is not for tests


@contextmanager
def running(app: FastAPI) -> Iterator[str]:
    """The app on a real server in a thread; yields its base URL."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(reception(app, log_level="error", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@contextmanager
def service(
    engine: Backend | None = None,
    verifier: VerifierBackend | None = None,
    keeper: Keeper | None = None,
    settings: Settings | None = None,
) -> Iterator[httpx2.Client]:
    """A client of the whole service around an engine, a verifier and a keeper of traces."""
    app = create_app(engine or ScriptedEngine(), verifier or ArithmeticVerifier(), keeper, settings)
    with running(app) as url, httpx2.Client(base_url=url, timeout=30) as client:
        yield client


@contextmanager
def serving(
    *arguments: str, variables: Sequence[str] = (KEEPS_NONE,), log: IO[str] | None = None
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = ["env", *variables, SUREFOOT, "serve", "--port", "0", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as process:
        try:
            assert process.stdout is not None
            ready = re.search(r"http://[\d.:]+", process.stdout.readline())
            assert ready is not None
            yield process, ready[0]
        finally:
            process.kill()


class Playback:
    """A script that plays its texts in order, whatever the prompt; it keeps the prompts."""

    def __init__(self, *texts: str) -> None:
        self.texts = list(texts)
        self.prompts: list[Prompt] = []

    def __call__(self, prompt: Prompt, _: random.Random) -> str:
        self.prompts.append(prompt)
        return self.texts[len(self.prompts) - 1]


class StatedVerifier:
    """Gives a step the score that its text states in brackets, "(0.2)"; 0.9 where there is none.

    It keeps the chains.
    """

    name = "stated"

    def __init__(
        self, threshold: Score = EVEN, aggregate: Aggregate = "last", *, heeds: bool = False
    ) -> None:
        self.threshold = threshold
        self.aggregate = aggregate
        self.heeds = heeds
        self.chains: list[Chain] = []

    async def score(self, chains: Sequence[Chain], meter: Meter = unmetered) -> list[Verdict]:
        self.chains += chains
        verdicts = [
            Verdict(tuple(_stated(step) for step in chain.steps), Cost(10 * len(chain.steps), 1))
            for chain in chains
        ]
        meter(sum((verdict.cost for verdict in verdicts), Cost()))
        return verdicts

    async def measure(self, chains: Sequence[Chain]) -> list[int]:
        return [10 * len(chain.steps) for chain in chains]

    async def check(self) -> None:
        return None

    async def close(self) -> None:
        return None


class Shortsighted(StatedVerifier):
    """Reads paths of so many steps, and of longer ones nothing that is new."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps

    async def score(self, chains: Sequence[Chain], meter: Meter = unmetered) -> list[Verdict]:
        return [
            Verdict(chain.known, cut=True) if len(chain.steps) > self.steps else verdict
            for chain, verdict in zip(chains, await super().score(chains, meter), strict=True)
        ]


LINEAR = {
    "self_attn.q_proj": (896, 896),
    "self_attn.k_proj": (896, 128),
    "self_attn.v_proj": (896, 128),
    "self_attn.o_proj": (896, 896),
    "mlp.gate_proj": (896, 4864),
    "mlp.up_proj": (896, 4864),
    "mlp.down_proj": (4864, 896),
}  # inputs and outputs in the 0.5B


def train_at_random(folder: Path, layers: Sequence[int] = (4, 21), size: float = 0.1) -> None:
    """An adapter for the 0.5B as PEFT saves one, drawn with a fixed seed; `size` is that of B."""
    import numpy as np
    from safetensors.numpy import save_file

    rng, rank, tensors = np.random.default_rng(0), 4, {}
    for layer in layers:
        for name, (inputs, outputs) in LINEAR.items():
            path = f"base_model.model.model.layers.{layer}.{name}"
            a = rng.normal(0, inputs**-0.5, (rank, inputs))
            b = rng.normal(0, size, (outputs, rank))
            tensors[f"{path}.lora_A.weight"] = a.astype("float32")
            tensors[f"{path}.lora_B.weight"] = b.astype("float32")
    save_file(tensors, folder / "adapter_model.safetensors", {"format": "pt"})
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": "where it was trained",
        "r": rank,
        "lora_alpha": 8,
        "target_modules": [name.partition(".")[2] for name in LINEAR],
        "layers_to_transform": list(layers),
    }
    (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")


def _stated(step: str) -> Score:
    found = re.search(r"\((\d\.\d+)\)", step)
    probability = float(found[1]) if found else 0.9
    return Score(probability, probability)
