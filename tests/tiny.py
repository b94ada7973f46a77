"""A Qwen2 of a few thousand random weights, a tokenizer of bytes, and what they can learn."""

from __future__ import annotations

from typing import Any

from verifier.readout import MARKED
from verifier.training.examples import Example
from verifier.training.model import TARGETS, Lora, Model

WORDS = (*MARKED.correct, *MARKED.value)


class ByteTokenizer:
    def encode(self, text: str, add_special_tokens: bool) -> list[int]:
        return [256 + WORDS.index(text)] if text in WORDS else list(text.encode())

    def apply_chat_template(
        self, turns: list[dict[str, str]], tokenize: bool, add_generation_prompt: bool
    ) -> str:
        return f"<user>{turns[0]['content']}<assistant>"


LORA = Lora(rank=4, alpha=8, first=2)


def tiny(seed: int = 0, lora: Lora = LORA) -> Model:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=256 + len(WORDS),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=False,
        initializer_range=0.15,  # as large as needed for attention to tell tokens apart
    )
    network: Any = Qwen2ForCausalLM(config)
    network.requires_grad_(False)
    adapted = get_peft_model(
        network,
        LoraConfig(
            r=lora.rank,
            lora_alpha=lora.alpha,
            target_modules=TARGETS,
            layers_to_transform=list(range(lora.first, config.num_hidden_layers)),
        ),
    )
    return Model(adapted, ByteTokenizer())


def example(number: int, *, right: bool) -> Example:
    return Example(
        question_id=f"q{number}",
        question=f"{number}?",
        steps=("start", f"it is {number} {'y' if right else 'n'}"),
        correct=(1.0, float(right)),
        value=(0.5, float(not right)),  # the contrary of `correct`: the readouts are two
        source="rollout",
    )
