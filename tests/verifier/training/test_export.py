"""The folder that ships: the same adapter, by llama.cpp's names, under a card that fits it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFReader
from safetensors.numpy import load_file, save_file
from staging import LINEAR, train_at_random

from verifier.adapter import Adapter, AdapterError
from verifier.calibration import Calibration
from verifier.scoring import EVEN
from verifier.training.export import ship, to_gguf


def trained(folder: Path, **config: Any) -> Path:
    """A training run's folder, its config changed."""
    folder.mkdir()
    train_at_random(folder, layers=(3, 23))
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | config), "utf-8")
    return folder


def written(file: Path) -> dict[str, np.ndarray]:
    return {tensor.name: tensor.data for tensor in GGUFReader(file).tensors}


def test_every_tensor_is_there_by_its_name_in_llamacpp_and_no_other(tmp_path: Path) -> None:
    tensors = written(to_gguf(trained(tmp_path / "run")))

    assert 2 * 2 * len(LINEAR) == len(tensors)
    assert {"3", "23"} == {name.split(".")[1] for name in tensors}
    assert (4, 4864) == tensors["blk.23.ffn_down.weight.lora_a"].shape
    assert (896, 4) == tensors["blk.23.ffn_down.weight.lora_b"].shape


def test_what_it_adds_to_the_weights_is_what_peft_adds(tmp_path: Path) -> None:
    run = trained(tmp_path / "run")
    ours, theirs = written(to_gguf(run)), load_file(run / "adapter_model.safetensors")

    path = "base_model.model.model.layers.3.self_attn.k_proj"
    added = theirs[f"{path}.lora_B.weight"] @ theirs[f"{path}.lora_A.weight"]
    a, b = (ours[f"blk.3.attn_k.weight.lora_{side}"].astype("float32") for side in "ab")

    np.testing.assert_allclose(b @ a, added, atol=1e-4)


def test_its_head_says_what_llamacpp_wants_to_know(tmp_path: Path) -> None:
    fields = GGUFReader(to_gguf(trained(tmp_path / "run"))).fields

    assert ("adapter", "lora", "qwen2", 8.0) == tuple(
        fields[name].contents()
        for name in ("general.type", "adapter.type", "general.architecture", "adapter.lora.alpha")
    )


@pytest.mark.parametrize(
    "config", [{"use_rslora": True}, {"use_dora": True}, {"alpha_pattern": {"q_proj": 2}}], ids=str
)
def test_what_llamacpp_would_compute_otherwise_is_refused(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    with pytest.raises(AdapterError, match=next(iter(config))):
        to_gguf(trained(tmp_path / "run", **config))


@pytest.mark.parametrize(
    "name",
    [
        "base_model.model.lm_head.lora_A.weight",
        "base_model.model.model.layers.3.self_attn.q_proj.lora_magnitude_vector",
        "base_model.model.model.layers.3.self_attn.q_norm.lora_A.weight",
    ],
)
def test_what_has_no_name_in_llamacpp_is_refused_and_not_left_out(
    tmp_path: Path, name: str
) -> None:
    run = trained(tmp_path / "run")
    save_file({name: np.zeros((2, 2), "float32")}, run / "adapter_model.safetensors")

    with pytest.raises(AdapterError, match="no part of a plain adapter"):
        to_gguf(run)


@pytest.mark.parametrize("file", ["adapter_config.json", "adapter_model.safetensors"])
def test_a_folder_with_no_adapter_is_refused(tmp_path: Path, file: str) -> None:
    run = trained(tmp_path / "run")
    (run / file).write_bytes(b"nothing of the kind")

    with pytest.raises(AdapterError, match="holds no adapter"):
        to_gguf(run)


def test_what_ships_can_be_loaded_and_tells_nothing_of_where_it_was_trained(
    tmp_path: Path,
) -> None:
    run, folder = trained(tmp_path / "run"), tmp_path / "weights" / "psv"
    adapter = Adapter(folder, "a-base", EVEN, Calibration())

    ship(run, adapter, "someone/a-base")

    assert adapter == Adapter.load(folder)
    assert "where it was trained" in (run / "adapter_config.json").read_text("utf-8")
    config = json.loads((folder / "adapter_config.json").read_text("utf-8"))
    assert ("someone/a-base", 8) == (config["base_model_name_or_path"], config["lora_alpha"])
    halves = load_file(folder / "adapter_model.safetensors")
    assert {np.dtype("float16")} == {tensor.dtype for tensor in halves.values()}
