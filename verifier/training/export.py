"""Makes of a trained adapter the folder that ships: half precision, and llama.cpp's file beside.

Only plain LoRA over the linear layers of Qwen2 is written (as `convert_lora_to_gguf.py` of
llama.cpp does it); whatever else PEFT can train is refused rather than left out.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from verifier.adapter import Adapter, AdapterError

if TYPE_CHECKING:
    import numpy as np

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
ARCHITECTURE = "qwen2"
LAYERS = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
NAME = re.compile(r"base_model\.model\.model\.layers\.(\d+)\.(\w+\.\w+)\.lora_([AB])\.weight")
PLAIN = {
    "use_rslora": False,
    "use_dora": False,
    "bias": "none",
    "rank_pattern": {},
    "alpha_pattern": {},
}


def ship(trained: Path, adapter: Adapter, base: str) -> None:
    """Fill the adapter's folder from that of a training run. Raises `AdapterError`.

    `base` is what PEFT and vLLM are to load beneath it: a repository on the hub.
    """
    from safetensors.numpy import save_file

    config, tensors = _trained(trained)
    adapter.folder.mkdir(parents=True, exist_ok=True)
    halves = {name: tensor.astype("float16") for name, tensor in tensors.items()}
    save_file(halves, adapter.folder / WEIGHTS, {"format": "pt"})
    own = json.dumps(config | {"base_model_name_or_path": base}, indent=2, sort_keys=True)
    (adapter.folder / CONFIG).write_text(f"{own}\n", encoding="utf-8")
    to_gguf(adapter.folder)
    adapter.save()


def to_gguf(folder: Path) -> Path:
    """Write `adapter.gguf` beside PEFT's files. Raises `AdapterError`."""
    from gguf import GGUFType, GGUFWriter

    config, tensors = _trained(folder)
    file = folder / "adapter.gguf"
    writer = GGUFWriter(file, ARCHITECTURE)
    writer.add_type(GGUFType.ADAPTER)
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", config["lora_alpha"])
    for name, tensor in sorted(tensors.items()):
        writer.add_tensor(_renamed(name), tensor.astype("float16"))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _trained(folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """PEFT's config and tensors: A of shape (rank, in), B of shape (out, rank)."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        config: dict[str, Any] = json.loads((folder / CONFIG).read_bytes())
        tensors = load_file(folder / WEIGHTS)
    except (OSError, ValueError, SafetensorError) as error:
        raise AdapterError(f"{folder} holds no adapter of PEFT's: {error}") from error
    for option, plain in PLAIN.items():
        if config.get(option, plain) not in (plain, None):
            raise AdapterError(f"{folder} was trained with {option}, which cannot be exported.")
    return config, tensors


def _renamed(name: str) -> str:
    """What llama.cpp calls PEFT's tensor."""
    found = NAME.fullmatch(name)
    if not found or found[2] not in LAYERS:
        raise AdapterError(f"{name} is no part of a plain adapter; train linear layers alone.")
    return f"blk.{found[1]}.{LAYERS[found[2]]}.weight.lora_{found[3].lower()}"
