"""A checkpoint in int8, as vLLM serves it on a CPU.

Weights of linear layers are rounded by channel, what goes into them by token while it runs
(compressed-tensors, W8A8); embeddings and the head stay as they are. An adapter is merged first, so
that a verifier is a model of its own. The accuracy in the README was measured on such a pair.
Wants the extra train. Run: python -m bench.quantise CHECKPOINT FOLDER [ADAPTER]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

LINEAR = "_proj.weight"  # how the names of their weights end
WEIGHTS = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel", "dynamic": False}
INPUTS = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "token", "dynamic": True}
SCHEME: dict[str, Any] = {
    "quant_method": "compressed-tensors",
    "format": "int-quantized",
    "quantization_status": "compressed",
    "ignore": ["lm_head"],
    "config_groups": {
        "group_0": {"targets": ["Linear"], "weights": WEIGHTS, "input_activations": INPUTS}
    },
}


def main(checkpoint: Path, folder: Path, adapter: Path | None = None) -> None:
    """Write the folder; it must not be there."""
    import torch
    from peft import PeftModel
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model: Any = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    config = model.config
    if adapter:
        model = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()
    weights: dict[str, Tensor] = {}
    for name, weight in model.state_dict().items():
        if name.endswith(LINEAR):
            rounded, scale = quantised(weight)
            weights |= {name: rounded, f"{name}_scale": scale}
        elif not (config.tie_word_embeddings and name == "lm_head.weight"):
            weights[name] = weight.to(torch.bfloat16).contiguous()
    folder.mkdir(parents=True)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    config.dtype = torch.bfloat16
    config.save_pretrained(folder)
    described = json.loads((folder / "config.json").read_bytes()) | {"quantization_config": SCHEME}
    (folder / "config.json").write_text(json.dumps(described, indent=1), encoding="utf-8")
    AutoTokenizer.from_pretrained(checkpoint).save_pretrained(folder)


def quantised(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Whole numbers of -127 to 127, and for each row what one of them is worth."""
    import torch

    scale = weight.abs().amax(1, keepdim=True).clamp_min(1e-12) / 127
    rounded = torch.clamp(torch.round(weight / scale), -127, 127).to(torch.int8)
    return rounded.contiguous(), scale.to(torch.bfloat16)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
