"""Others' load tools as they are published count the tokens that we say we spent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from loading import keeping
from staging import running

from bench.load.run import Target
from bench.load.witness import Task, hear
from service.app import create_app
from service.engines.scripted import ArithmeticVerifier, ScriptedEngine
from service.settings import Settings

PROMPTS = [f"What is {n} and {n + 1} and {n + 4}?" for n in range(6)]


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Target]:
    app = create_app(ScriptedEngine(), ArithmeticVerifier(), keeping(tmp_path), Settings(keys=""))
    with running(app) as url:
        yield Target(url)


def agrees(witness: str, target: Target) -> None:
    found = hear(witness, Task("surefoot-single", PROMPTS), target)

    assert len(PROMPTS) == len(found.counts)
    assert found.agrees, found.as_json()
    assert found.written == sum(count.completion for count in found.counts) > 0


@pytest.mark.real
def test_guidellm_counts_what_we_count(target: Target) -> None:
    agrees("guidellm", target)


@pytest.mark.vllm
def test_vllm_bench_serve_counts_what_we_count(target: Target) -> None:
    agrees("vllm", target)
