"""Skywork's architecture for vLLM: Qwen2 and a value head, one number a token.

vLLM imports this file in its own processes, nothing else does.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from vllm.model_executor.models.adapters import as_seq_cls_model
from vllm.model_executor.models.qwen2 import Qwen2ForCausalLM

if TYPE_CHECKING:
    import torch
    from vllm.config import VllmConfig

HEAD = "v_head.summary."


class Qwen2ForPrmModel(as_seq_cls_model(Qwen2ForCausalLM)):  # type: ignore[misc]
    """A classifier of one class, whose weights go by other names."""

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "") -> None:
        vllm_config.model_config.hf_config.num_labels = 1
        super().__init__(vllm_config=vllm_config, prefix=prefix)

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]]) -> set[str]:
        renamed = ((name.replace(HEAD, "score."), weight) for name, weight in weights)
        loaded: set[str] = super().load_weights(
            (name, weight) for name, weight in renamed if not name.startswith("lm_head.")
        )
        return loaded
