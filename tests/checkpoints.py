"""A Qwen2 of a few random weights, with a tokenizer of its own, as a folder that vLLM loads."""

from __future__ import annotations

import json
from pathlib import Path

from verifier.readout import MARKED
from verifier.steps import MARKER

CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|odd|>")
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TEXTS = ("Step 1: 12 + 30 = 42. The answer is 42, so the whole costs 42 apples. é∑😀",) * 4


def tiny_chat(folder: Path) -> Path:
    """Write it there: bytes, a few merges, ChatML; it writes noise, and seldom ends."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    words = [*MARKED.correct, *MARKED.value, MARKER]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([*TEXTS, *(word for word in words for _ in range(9))], trainer)
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in CONTROL])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    fast.chat_template = CHATML
    fast.save_pretrained(folder)
    _weigh(folder, len(fast), fast.eos_token_id)
    return folder


def _weigh(folder: Path, vocabulary: int, eos: int) -> None:
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=vocabulary,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=4096,
        tie_word_embeddings=False,
        initializer_range=0.1,
        eos_token_id=eos,
        bos_token_id=None,
    )
    Qwen2ForCausalLM(config).to(torch.float32).save_pretrained(folder)


def architecture(folder: Path, name: str) -> None:
    """Let the checkpoint claim another architecture."""
    file = folder / "config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    config["architectures"] = [name]
    file.write_text(json.dumps(config), encoding="utf-8")
