"""What int8 leaves of a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

from checkpoints import tiny_chat

from bench.quantise import LINEAR, main


def test_quantised_weights_are_the_same_within_half_a_unit_of_their_row(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    checkpoint = tiny_chat(tmp_path / "whole")
    main(checkpoint, tmp_path / "int8")

    before = load_file(checkpoint / "model.safetensors")
    after = load_file(tmp_path / "int8" / "model.safetensors")
    linear = [name for name in before if name.endswith(LINEAR)]
    assert len(linear) == 2 * 7
    for name in linear:
        scale = after[f"{name}_scale"].float()
        off = (after[name].float() * scale - before[name]).abs()
        assert (off <= 0.5 * scale + 0.005 * before[name].abs()).all(), "bfloat16 rounds the scale"
    assert before.keys() == {name for name in after if not name.endswith("_scale")}
    described = json.loads((tmp_path / "int8" / "config.json").read_bytes())
    assert "compressed-tensors" == described["quantization_config"]["quant_method"]
