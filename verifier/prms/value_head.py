"""Skywork's architecture for vLLM: Qwen2 and a value head, one number a token.

vLLM imports this file in its own processes, nothing else does.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import Any

HEAD = "v_head.summary."

_adapters: Any = import_module("vllm.model_executor.models.adapters")
_qwen2: Any = import_module("vllm.model_executor.models.qwen2")


class Qwen2ForPrmModel(_adapters.as_seq_cls_model(_qwen2.Qwen2ForCausalLM)):  # type: ignore[misc]
    """A classifier of one class, whose weights go by other names."""

    def __init__(self, *, vllm_config: Any, prefix: str = "") -> None:  # noqa: ANN401 - vLLM's
        vllm_config.model_config.hf_config.num_labels = 1
        super().__init__(vllm_config=vllm_config, prefix=prefix)

    def load_weights(self, weights: Iterable[tuple[str, Any]]) -> set[str]:
        renamed = ((name.replace(HEAD, "score."), weight) for name, weight in weights)
        loaded: set[str] = super().load_weights(
            (name, weight) for name, weight in renamed if not name.startswith("lm_head.")
        )
        return loaded
